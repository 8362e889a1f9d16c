"""Measures a case: every contestant's result is checked first, then they are timed in turns.

Times only; formatting belongs to `report`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple, Protocol

import numpy as np

import fastsoftmax as fs
from fastsoftmax._truth import Bound, Deviation, Truth, deviation, promise, truth
from fastsoftmax._typing import Array
from fastsoftmax.bench.cases import Case, Operation

SAMPLE = 200e-6
"""Seconds that a sample takes at least: 1000 times the clock's own cost and more."""

WARM_UP = 20e-3
"""Seconds of calls before the first sample: wakes threads, fills caches, lets the clock rise."""

PAUSE = 5e-3
"""Seconds before a contestant's turn with several threads: the previous one's still spin."""

ROUNDS = 5
"""The least number of samples per contestant, so that quartiles mean something."""


class Contestant(Protocol):
    """Who takes part: gives a call without arguments that writes its result into `out`."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def bind(
        self, operation: Operation, x: Array, out: Array, threads: int
    ) -> Callable[[], object]:
        """The call to be checked and timed."""

    def bound(self, operation: Operation, dtype: str) -> Bound:
        """The error that its results may have."""


class Backend(NamedTuple):
    """One backend or variant of this package, called as a user would."""

    name: str

    def bind(
        self, operation: Operation, x: Array, out: Array, threads: int
    ) -> Callable[[], object]:
        """See `Contestant`."""
        function = getattr(fs, operation.name)
        return partial(function, x, axis=-1, out=out, backend=self.name, threads=threads)

    def bound(self, operation: Operation, dtype: str) -> Bound:
        """See `Contestant`."""
        return promise(self.name, operation.name, dtype)


class WrongResult(Exception):
    """A contestant's result breaks its bound: its time would mean nothing."""


class Measurement(NamedTuple):
    """One contestant's seconds per call in one case: a value per sample of `calls` calls."""

    contestant: str
    samples: list[float]
    calls: int
    worst: Deviation

    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile, in seconds per call."""
        first, median, third = np.quantile(self.samples, (0.25, 0.5, 0.75))
        return float(first), float(median), float(third)


class Cell(NamedTuple):
    """What came of one case."""

    case: Case
    measurements: list[Measurement]


def measure(case: Case, contestants: Sequence[Contestant], seconds: float) -> Cell:
    """Check, then time all contestants on the same arrays.

    Raises
    ------
    WrongResult
        If a contestant's result breaks its bound.
    """
    out = case.room()  # first: what does not fit into memory fails before any work
    block = case.block()
    x, expected = case.logits(block), truth(case.operation.name, block)
    calls, found = [], []
    for contestant in contestants:
        call = contestant.bind(case.operation, x, out, case.threads)
        out.fill(np.nan)
        call()
        worst = check(out, expected, contestant.bound(case.operation, case.dtype))
        if not worst.ok:
            raise WrongResult(f"{contestant.name}, {case}: {worst}")
        calls.append(call)
        found.append(worst)
    timed = take_turns(calls, case.threads, seconds)
    return Cell(
        case,
        [
            Measurement(contestant.name, samples, count, worst)
            for contestant, (samples, count), worst in zip(contestants, timed, found, strict=True)
        ],
    )


def check(out: Array, expected: Truth, bound: Bound) -> Deviation:
    """The worst result of a batch whose rows repeat those that `expected` belongs to."""
    rows = len(expected.values)
    worst = deviation(out[:rows], expected, bound)
    for start in range(rows, len(out), rows):
        block = out[start : start + rows]
        if np.array_equal(block, out[: len(block)]):  # judged already
            continue
        seen = deviation(block, expected.first(len(block)), bound)
        if seen.share > worst.share:
            row, *rest = seen.place
            worst = seen._replace(place=(start + row, *rest))
    return worst


def take_turns(
    calls: Sequence[Callable[[], object]], threads: int, seconds: float
) -> list[tuple[list[float], int]]:
    """Time the calls in rounds of one sample each, each round begun by another one.

    Returns
    -------
    list of (samples, calls per sample)
        In the order of `calls`; samples are seconds per call.
    """
    counts = [_calibrated(call) for call in calls]
    samples: list[list[float]] = [[] for _ in calls]
    deadline = time.perf_counter() + seconds
    turn = 0
    while turn < ROUNDS or time.perf_counter() < deadline:
        for i in range(turn, turn + len(calls)):
            place = i % len(calls)
            call, count = calls[place], counts[place]
            if threads > 1:
                time.sleep(PAUSE)
                call()  # wakes the threads, which can take longer than the work
            samples[place].append(_sample(call, count))
        turn += 1
    return list(zip(samples, counts, strict=True))


def _sample(call: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in repeat(None, count):
        call()
    return (time.perf_counter() - begin) / count


def _calibrated(call: Callable[[], object]) -> int:
    """How many calls fill a sample, found while warming up."""
    count, fastest = 1, float("inf")
    deadline = time.perf_counter() + WARM_UP
    while time.perf_counter() < deadline:
        fastest = min(fastest, _sample(call, count))
        count = max(1, -int(-SAMPLE // fastest))
    return count
