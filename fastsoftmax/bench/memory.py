"""How much memory a call needs while it runs, by what the kernel counts. Times nothing.

Resident memory and not what was asked for: pages of C++ code count, and an array that nobody has
written to does not.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import NamedTuple

import fastsoftmax as fs

RESOLUTION = 5 << 20
"""Bytes that a peak may be wrong by; less is returned as 0.

Of an array of 4 MiB or more, for which NumPy asks for huge pages, either end may lie in one of
2 MiB, the whole of which is resident: 32 MiB that nobody wrote to counted as 2 MiB. Besides, the
kernel counts pages for each processor and adds them up in batches, of 32 pages (128 KiB) on up to
16 processors. Seen on two, in 100 calls each of 0 to 32 MiB on 1 to 4 threads: at most 12 KiB too
much, and 292 KiB too little where the memory was unmapped before the peak was read. Threads on more
processors may leave out more.
"""

_CLEAR, _STATUS = "/proc/self/clear_refs", "/proc/self/status"
_RESET_PEAK = "5"


def peak(call: Callable[[], object]) -> int | None:
    """Bytes of resident memory that a call needs beyond what was resident when it began.

    What is kept for results to come is given back to the system first, so a result counts unless
    the caller hands it in. A library may keep it all the same: the result of a call before is alive
    meanwhile, so that its memory cannot be had again; without that TensorFlow and JAX seem to need
    none. What such a library keeps for use within a call does not count. Nor does what glibc keeps
    of arrays of a few MiB, as it did late in a long run of the tests: of 32 MiB in 16 arrays 2 MiB
    were seen. The peak of the process is reset, so other threads had better be idle.

    Parameters
    ----------
    call : callable
        Called twice, for its code and threads come with the first call. The result is alive when
        the peak is read: the kernel's count is exact for memory that is still there, which a peak
        at the end of the call then is.

    Returns
    -------
    int or None
        0 for less than `RESOLUTION`; None where the kernel does not tell (it does on Linux).
    """
    before_it = call()
    _give_back()
    try:
        with open(_CLEAR, "w", encoding="ascii") as opened:
            opened.write(_RESET_PEAK)
    except OSError:
        return None
    if (before := _resident()) is None:
        return None
    result = call()
    after = _resident()
    del result, before_it
    if after is None:
        return None
    needed = after.peak - before.now
    return needed if needed >= RESOLUTION else 0


class _Resident(NamedTuple):
    now: int
    peak: int


def _resident() -> _Resident | None:
    """Bytes that are resident, and were at most since the peak was reset."""
    try:
        with open(_STATUS, encoding="utf-8", errors="replace") as opened:
            fields = dict(line.split(":", 1) for line in opened if ":" in line)
        now, peak = (int(fields[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))
    except (OSError, KeyError, ValueError, IndexError):  # a sandbox that lacks the file or a line
        return None
    return _Resident(now, peak)


def _give_back() -> None:
    """Return unused memory to the system: else a call finds it there and seems to need none."""
    gc.collect()  # results first, whose memory the core keeps
    fs.clear_cache()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # another C library than glibc, or none by name
        return
    trim(ctypes.c_size_t(0))
