"""Where a call's arrays are when it begins: in the caches (hot), or driven out of them (cold).

Hot calls are on the same arrays again and again; that needs nothing from here but its name.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from fastsoftmax import _machine
from fastsoftmax.bench import runner
from fastsoftmax.bench.runner import Timed, Turn
from fastsoftmax.bench.sampled import AnyCase
from fastsoftmax.bench.workload import aligned

HOT, COLD = "hot", "cold"

COPIES = 16
"""The most that a sample goes through. A ring that by itself is larger than the last-level cache
would be half a million copies of ten numbers, and JAX compiles for each."""

UNKNOWN = 64 << 20
"""Bytes of the last-level cache where nothing is known of it: as large as they come."""


def last_level() -> int:
    """Bytes of the last-level cache."""
    return max(_machine.caches().values(), default=UNKNOWN)


class Cold:
    """A ring of copies, and a filler of twice the last-level cache that is read before each lap.

    A lap goes through each copy once. Between two calls on a copy lie the filler and all others.
    """

    def __init__(self) -> None:
        # Not zeros, which would be one page of memory, mapped everywhere.
        self.filler = aligned((2 * last_level() // 8,), np.dtype(np.float64))
        self.filler.fill(1.0)

    def copies(self, case: AnyCase) -> int:
        """How many of a case: as many as hold as much as the filler, within 1 and `COPIES`."""
        return min(COPIES, -(-self.filler.nbytes // case.bytes_moved))

    def turn(self, calls: Sequence[Timed], laps: int, threads: int) -> Turn:
        """So many laps a sample, of all calls but the first: that one brings threads and code."""
        first, *ring = calls
        return Turn(lambda: None, lambda: self._sample(first, ring, laps, threads))

    def _sample(self, first: Timed, ring: Sequence[Timed], laps: int, threads: int) -> float:
        seconds = 0.0
        for _ in range(laps):
            self.filler.sum()
            runner.begin_turn(first, threads)
            seconds += _once_around(ring)
        return seconds / (laps * len(ring))


def _once_around(ring: Sequence[Timed]) -> float:
    begin = time.perf_counter()
    for call in ring:
        call()
    return time.perf_counter() - begin
