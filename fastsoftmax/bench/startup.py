"""What a program pays before its first result: the import and a first call, in a fresh process.

Numba is asked twice, as it compiles for the first program and loads from its cache for the next.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

_COMPILES = "numba"

REPEATS = 3
"""How many programs of each kind medians are of."""

# The parent's path, so that it is the same package: with -c the folder comes first, which may be a
# source tree. An error becomes one line, for BackendUnavailable ends in a table.
_PROGRAM = """
import sys, time
sys.excepthook = lambda kind, error, _: print(
    f"{kind.__name__}: {error}".partition(chr(10))[0], file=sys.stderr
)
backend, *sys.path = sys.argv[1:]
import numpy as np
x = np.zeros((1, 10), np.float32)
begin = time.perf_counter()
import fastsoftmax as fs
imported = time.perf_counter()
fs.softmax(x, backend=backend)
print(imported - begin, time.perf_counter() - imported)
"""


class Startup(NamedTuple):
    """What one backend's programs have paid, medians."""

    contestant: str
    cached: bool
    """Whether Numba found its machine code in the cache; False for what compiles nothing."""
    import_seconds: float
    """Of fastsoftmax, where NumPy is imported already; byte code is as the installation left it."""
    first_call_seconds: float
    """Of softmax of ten numbers; loads the backend."""


class _Paid(NamedTuple):
    importing: float
    first_call: float


def measure(names: Sequence[str], repeats: int = REPEATS) -> list[Startup]:
    """Start programs, `repeats` of each kind, one after another.

    Parameters
    ----------
    names : sequence of str
        Of backends that can run here.
    repeats : int, default 3
        How many programs of each kind.

    Returns
    -------
    list of Startup
        One for each name in that order; two for numba, without its cache and then with it.

    Raises
    ------
    RuntimeError
        If a program fails; the message has the last line of what it said.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    return [found for name in names for found in _of_backend(name, repeats)]


def _of_backend(name: str, repeats: int) -> Iterator[Startup]:
    if name != _COMPILES:
        yield _medians(name, False, [_child(name) for _ in range(repeats)])
        return
    cold, cached = [], []
    for _ in range(repeats):
        with TemporaryDirectory(prefix="fastsoftmax-") as empty:
            cold.append(_child(name, empty))
            cached.append(_child(name, empty))  # no longer so
    yield _medians(name, False, cold)
    yield _medians(name, True, cached)


def _medians(name: str, cached: bool, paid: Sequence[_Paid]) -> Startup:
    return Startup(name, cached, *(median(seconds) for seconds in zip(*paid, strict=True)))


def _child(name: str, cache: str | None = None) -> _Paid:
    """Run one program, with Numba's cache in that folder if one is given."""
    child = subprocess.run(
        [sys.executable, "-c", _PROGRAM, name, *sys.path],
        env=os.environ if cache is None else {**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        *_, said = child.stderr.strip().splitlines() or [f"exit code {child.returncode}"]
        raise RuntimeError(f"the first call of backend {name!r} failed: {said}")
    return _Paid(*map(float, child.stdout.split()))
