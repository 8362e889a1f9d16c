"""What this machine does at most, whatever the case: bytes by working set, exponentials, calls.

`limits` is what it allows in one case, on that case's arrays and threads; these are on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from fastsoftmax._typing import Call
from fastsoftmax.backends import _cpp
from fastsoftmax.bench import limits, runner
from fastsoftmax.bench.inputs import last_level
from fastsoftmax.bench.workload import aligned

SMALLEST = 16 << 10
"""Bytes of the first working set: within any L1. The others are four times the one before."""

LARGEST = 256 << 20
"""Bytes of the last one, where that is not beyond every cache before."""

SPLIT = (32, 1000)
"""Rows and classes for each thread when what it takes to start them is measured: enough of them
that the core asks for all threads, and all in L2."""


class Rates(NamedTuple):
    """Bytes per second by bytes of the working set, exponentials per second by dtype, seconds."""

    copy: dict[int, float]
    nt_copy: dict[int, float]
    read: dict[int, float]
    exp: dict[str, float]
    empty_call: float | None
    fork_join: float | None  # with all threads; None with one, or where it is lost in the noise


NONE = Rates({}, {}, {}, {}, None, None)
"""Nothing is known."""


def measure(threads: int) -> Rates:
    """Time the probes, which takes a second or two; there are none without the C++ core."""
    if limits.missing() is not None:
        return NONE
    core = _cpp.load(None)
    found: dict[str, dict[int, float]] = {"copy": {}, "nt_copy": {}, "read": {}}
    for size in _sizes():
        half = aligned((size // 8,), np.dtype(np.float32))
        both = half, aligned(half.shape, half.dtype)
        whole = aligned((size // 4,), np.dtype(np.float32))
        for array in (*both, whole):
            array.fill(1.0)
        repetitions = max(1, limits.AT_LEAST // size)
        moves: dict[str, Callable[[], object]] = {
            "copy": partial(core.copy, *both, False, repetitions),
            "nt_copy": partial(core.copy, *both, True, repetitions),
            "read": partial(core.read, whole, repetitions),
        }
        for name, move in moves.items():
            found[name][size] = repetitions * size / _seconds(move)
    n = limits.EXPONENTIALS
    exp = {
        dtype: n / _seconds(partial(core.exponentials, dtype, n))
        for dtype in ("float32", "float64")
    }
    fork_join = _fork_join(threads) if threads > 1 else None
    return Rates(**found, exp=exp, empty_call=_seconds(core.nothing()), fork_join=fork_join)


def _sizes() -> list[int]:
    sizes = [SMALLEST]
    while sizes[-1] < min(2 * last_level(), LARGEST):
        sizes.append(4 * sizes[-1])
    return sizes


def _seconds(call: Callable[[], object], threads: int = 1) -> float:
    count, _ = runner.warm_up(call)
    ((samples),) = runner.rounds([call], [count], threads, 0.0)
    return float(np.median(samples))


def _fork_join(threads: int) -> float | None:
    """What a call on all threads takes beyond its part of the work."""
    rows, classes = SPLIT
    x = aligned((threads * rows, classes), np.dtype(np.float32))
    x.fill(1.0)
    out = aligned(x.shape, x.dtype)
    alone, together = (
        _seconds(
            _cpp.load(None).bare("softmax", Call(x, out, (1,), None, 1.0, count)),
            count,
        )
        for count in (1, threads)
    )
    beyond = together - alone / threads
    return beyond if beyond > 0 else None
