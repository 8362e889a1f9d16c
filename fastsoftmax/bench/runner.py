"""How calls are timed: a contestant's result is checked first, then all are timed in turns.

Who they are is others' affair, as is what becomes of the times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._truth import Deviation
from fastsoftmax.bench.contestants import Contestant, Trial
from fastsoftmax.bench.workload import Workload

SAMPLE = 200e-6
"""Seconds that a sample takes at least: 1000 times the clock's own cost and more."""

WARM_UP = 20e-3
"""Seconds of calls before the first sample: wakes threads, fills caches, lets the clock rise."""

PAUSE = 5e-3
"""Seconds before a contestant's turn with several threads: the previous one's still spin."""

ROUNDS = 5
"""The least number of samples per contestant, so that quartiles mean something."""

Timed = Callable[[], Any]


class WrongResult(Exception):
    """A contestant's result breaks its bound: its time would mean nothing."""


class Turn(NamedTuple):
    """What a contestant does when it is its turn."""

    begin: Callable[[], None]  # not timed
    sample: Callable[[], float]  # seconds per call


def refusal(error: Exception) -> str:
    """Why a peer that has raised this is absent: a line."""
    return str(error).partition("\n")[0] or type(error).__name__


def admit(contestant: Contestant, work: Workload) -> tuple[Trial, Deviation]:
    """What a contestant does on these arrays, and the worst number of what it gave there.

    Raises
    ------
    WrongResult
        If it breaks the contestant's bound.
    """
    trial = contestant.bind(work)
    work.out.fill(np.nan)
    worst = work.judge(trial.result(trial.call()), *contestant.bounds(work.case))
    if not worst.ok:
        raise WrongResult(f"{contestant.name}, {work.case}: {worst}")
    return trial, worst


def take_turns(
    calls: Sequence[Timed], threads: int, seconds: float
) -> list[tuple[list[float], int]]:
    """Warm up, then time the calls in rounds of one sample each, each round begun by another one.

    Returns
    -------
    list of (samples, calls per sample)
        In the order of `calls`; samples are seconds per call.
    """
    counts = [warm_up(call)[0] for call in calls]
    samples = rounds(calls, counts, threads, seconds)
    return list(zip(samples, counts, strict=True))


def rounds(
    calls: Sequence[Timed], counts: Sequence[int], threads: int, seconds: float
) -> list[list[float]]:
    """Seconds per call, a list for each of the calls, a sample of `counts` calls per round."""
    return in_turns(
        [turn_of(*found, threads) for found in zip(calls, counts, strict=True)], seconds
    )


def turn_of(call: Timed, count: int, threads: int) -> Turn:
    """A sample of so many calls on the arrays that the call before has left in the caches."""
    return Turn(partial(begin_turn, call, threads), partial(_sample, call, count))


def in_turns(turns: Sequence[Turn], seconds: float) -> list[list[float]]:
    """The samples of each, one per round."""
    samples: list[list[float]] = [[] for _ in turns]
    deadline = time.perf_counter() + seconds
    first = 0
    while first < ROUNDS or time.perf_counter() < deadline:
        for i in range(first, first + len(turns)):
            turn = turns[i % len(turns)]
            turn.begin()
            samples[i % len(turns)].append(turn.sample())
        first += 1
    return samples


def begin_turn(call: Timed, threads: int) -> None:
    """Untimed calls: they bring back the arrays that the others' have driven from the caches.

    A parked worker can take longer to wake than to work, and on a virtual machine whose kernel puts
    it beside the thread that woke it, milliseconds to get a processor of its own.
    """
    if threads > 1:
        time.sleep(PAUSE)
    deadline = time.perf_counter() + (WARM_UP if threads > 1 else 0.0)
    call()
    while time.perf_counter() < deadline:
        call()


def one_by_one(call: Timed, seconds: float) -> list[float]:
    """Seconds of single calls without a break, at least `ROUNDS` of them: for quantiles."""
    warm_up(call)
    samples: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(samples) < ROUNDS or time.perf_counter() < deadline:
        samples.append(_sample(call, 1))
    return samples


def _sample(call: Timed, count: int) -> float:
    begin = time.perf_counter()
    for _ in repeat(None, count):
        call()
    return (time.perf_counter() - begin) / count


def warm_up(call: Timed) -> tuple[int, float]:
    """How many calls fill a sample, and the fewest seconds that one of them took."""
    count, fastest = 1, float("inf")
    deadline = time.perf_counter() + WARM_UP
    while time.perf_counter() < deadline:
        fastest = min(fastest, _sample(call, count))
        count = max(1, -int(-SAMPLE // fastest))
    return count, fastest
