"""Measures one case: all contestants and the hardware's limits in turns, disturbed ones again.

Times only; formatting belongs to `report` and `document`.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np

import fastsoftmax as fs
from fastsoftmax._truth import Deviation
from fastsoftmax.bench import limits, memory, runner
from fastsoftmax.bench.inputs import Cold
from fastsoftmax.bench.kinds import kind
from fastsoftmax.bench.limits import Limit
from fastsoftmax.bench.peers import PEERS
from fastsoftmax.bench.runner import Timed, Turn
from fastsoftmax.bench.sampled import AnyCase

CALM = 1.15
"""Third over first quartile above which other work on the machine has disturbed the samples."""

REPEATS = 2
"""How often disturbed samples are taken again."""

LARGE = 32 << 20
"""Bytes of a case from which on its memory is measured: results of a smaller one are no more than a
few times what the measurement is off by."""


def quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile."""
    first, median, third = np.quantile(samples, (0.25, 0.5, 0.75))
    return float(first), float(median), float(third)


def spread(samples: Sequence[float]) -> float:
    """Third quartile over the first."""
    first, _, third = quartiles(samples)
    return third / first


class Measurement(NamedTuple):
    """One contestant's seconds per call in one case: a value per sample of `calls` calls."""

    contestant: str
    samples: list[float]
    calls: int
    worst: Deviation
    peak: int | None = None  # bytes that a call takes beyond what was there; None: not known
    repeats: int = 0

    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile, in seconds per call."""
        return quartiles(self.samples)

    @property
    def disturbed(self) -> bool:
        """Whether the samples differ more than calls by themselves do."""
        return spread(self.samples) > CALM


class Cell(NamedTuple):
    """What came of one case: who was measured, who was not and why, what the hardware allows."""

    case: AnyCase
    measurements: list[Measurement]
    absent: dict[str, str]
    limit: Limit | None


class _Ready(NamedTuple):
    """A contestant that may be timed."""

    turn: Turn
    measurement: Measurement  # without samples yet


def measure(case: AnyCase, names: Sequence[str], seconds: float, cold: Cold | None = None) -> Cell:
    """Check, then time all contestants on the same arrays.

    Disturbed samples, of the limits too, are taken again, at most `REPEATS` times, and the calmest
    are kept: whether they are also the fastest plays no part.

    Raises
    ------
    WrongResult
        If a result of this package breaks its bound. A peer whose result is wrong is absent.
    """
    who, workload, probes = kind(case)
    absent = {name: why for name in names if (why := who(name).against(case)) is not None}
    if len(absent) == len(set(names)):
        return Cell(case, [], absent, None)
    # Called as by a user who has said once how many threads there are.
    with fs.threads(case.threads):
        work = workload(case)
        ring = [] if cold is None else [work.copy() for _ in range(cold.copies(case))]
        ready: list[_Ready] = []
        for name in names:
            if name not in absent:
                made = _ready(name, work, ring, cold)
                if isinstance(made, str):
                    absent[name] = made
                else:
                    ready.append(made)
        gc.collect()
        beside = probes(work) if cold is None else limits.probes(work, cold.filler)
        turns = [
            *(one.turn for one in ready),
            *(runner.turn_of(p.call, runner.warm_up(p.call)[0], case.threads) for p in beside),
        ]
        kept = _calmed(runner.in_turns(turns, seconds), turns, seconds)
        limit = limits.limit_of(beside, [samples for samples, _ in kept[len(ready) :]])
        found = [
            one.measurement._replace(samples=samples, repeats=repeats)
            for one, (samples, repeats) in zip(ready, kept, strict=False)
        ]
        return Cell(case, found, absent, limit)


def _ready(name: str, work: Any, ring: Sequence[Any], cold: Cold | None) -> _Ready | str:
    """Check a contestant and make it ready for its turns, or say why a peer is absent."""
    case = work.case
    contestant = kind(case).contestant(name)
    try:
        trial, worst = runner.admit(contestant, work)
    except Exception as error:  # whatever a library may raise
        if name not in PEERS:
            raise
        return runner.refusal(error)
    beyond = peak(trial.call, case)
    if cold is None:
        count = runner.warm_up(trial.call)[0]
        turn = runner.turn_of(trial.call, count, case.threads)
    else:
        calls = [trial.call, *(contestant.bind(other).call for other in ring)]
        turn, count = _cold_turn(calls, cold, case.threads)
    return _Ready(turn, Measurement(name, [], count, worst, beyond))


def peak(call: Timed, case: AnyCase) -> int | None:
    """Bytes that a call of this case takes beyond what was there; None where it is too small."""
    return memory.peak(call) if case.bytes_moved >= LARGE else None


def _cold_turn(calls: Sequence[Timed], cold: Cold, threads: int) -> tuple[Turn, int]:
    """A turn of as many laps as fill a sample, and how many calls that are."""
    for each in calls:  # what is compiled has been by then
        each()
    _, fastest = runner.warm_up(calls[0])
    ring = len(calls) - 1
    laps = max(1, ceil(runner.SAMPLE / (fastest * ring)))
    return cold.turn(calls, laps, threads), laps * ring


def _calmed(
    samples: Sequence[list[float]], turns: Sequence[Turn], seconds: float
) -> list[tuple[list[float], int]]:
    """The calmest samples of each turn, and how often they were taken again."""
    kept = [(own, 0) for own in samples]
    for _ in range(REPEATS):
        places = [i for i, (own, _) in enumerate(kept) if spread(own) > CALM]
        if not places:
            break
        again = runner.in_turns([turns[i] for i in places], seconds * len(places) / len(turns))
        for i, once_more in zip(places, again, strict=True):
            own, repeats = kept[i]
            kept[i] = min(own, once_more, key=spread), repeats + 1
    return kept
