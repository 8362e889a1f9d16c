"""Measures one case: all contestants and the hardware's limits in turns, disturbed ones again.

Times only; formatting belongs to `report` and `document`.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

from fastsoftmax._truth import Deviation
from fastsoftmax.bench import limits, runner
from fastsoftmax.bench.cases import Case
from fastsoftmax.bench.contestants import Contestant
from fastsoftmax.bench.inputs import Cold
from fastsoftmax.bench.limits import Limit
from fastsoftmax.bench.peers import Peer
from fastsoftmax.bench.runner import Timed, Turn
from fastsoftmax.bench.workload import Workload

CALM = 1.15
"""Third over first quartile above which other work on the machine has disturbed the samples."""

REPEATS = 2
"""How often disturbed samples are taken again."""


class Measurement(NamedTuple):
    """One contestant's seconds per call in one case: a value per sample of `calls` calls."""

    contestant: str
    samples: list[float]
    calls: int
    worst: Deviation
    repeats: int = 0

    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile, in seconds per call."""
        first, median, third = np.quantile(self.samples, (0.25, 0.5, 0.75))
        return float(first), float(median), float(third)

    @property
    def spread(self) -> float:
        """Third quartile over the first."""
        first, _, third = self.quartiles()
        return third / first

    @property
    def disturbed(self) -> bool:
        """Whether the samples differ more than calls by themselves do."""
        return self.spread > CALM


class Cell(NamedTuple):
    """What came of one case: who was measured, who was not and why, what the hardware allows."""

    case: Case
    measurements: list[Measurement]
    absent: dict[str, str]
    limit: Limit | None


def measure(
    case: Case, contestants: Sequence[Contestant], seconds: float, cold: Cold | None = None
) -> Cell:
    """Check, then time all contestants on the same arrays.

    Disturbed samples are taken again, at most `REPEATS` times, and the calmest are kept: whether
    they are also the fastest plays no part.

    Raises
    ------
    WrongResult
        If a result of this package breaks its bound. A peer whose result is wrong is absent.
    """
    work = Workload(case)
    ring = [] if cold is None else [work.copy() for _ in range(cold.copies(case))]
    absent: dict[str, str] = {}
    turns: list[Turn] = []
    found: list[Measurement] = []
    for contestant in contestants:
        admitted = _admitted(contestant, work)
        if isinstance(admitted, str):
            absent[contestant.name] = admitted
            continue
        call, worst = admitted
        if cold is None:
            count = runner.warm_up(call)[0]
            turns.append(runner.turn_of(call, count, case.threads))
        else:
            calls = [call, *(contestant.bind(other).call for other in ring)]
            for each in calls:  # what is compiled has been by then
                each()
            _, fastest = runner.warm_up(call)
            laps = max(1, ceil(runner.SAMPLE / (fastest * len(ring))))
            count = laps * len(ring)
            turns.append(cold.turn(calls, laps, case.threads))
        found.append(Measurement(contestant.name, [], count, worst))
    gc.collect()
    probes = limits.probes(work, None if cold is None else cold.filler)
    beside = [
        runner.turn_of(probe.call, runner.warm_up(probe.call)[0], case.threads) for probe in probes
    ]
    samples = runner.in_turns([*turns, *beside], seconds)
    limit = limits.limit_of(probes, samples[len(turns) :])
    found = [one._replace(samples=own) for one, own in zip(found, samples, strict=False)]
    return Cell(case, _calmed(found, turns, seconds), absent, limit)


def _admitted(contestant: Contestant, work: Workload) -> tuple[Timed, Deviation] | str:
    """What is to be timed and its largest error, or why a peer is absent."""
    if (why := contestant.against(work.case)) is not None:
        return why
    try:
        trial, worst = runner.admit(contestant, work)
    except runner.REFUSALS as error:
        if not isinstance(contestant, Peer):
            raise
        return str(error).partition("\n")[0]
    return trial.call, worst


def _calmed(
    found: Sequence[Measurement], turns: Sequence[Turn], seconds: float
) -> list[Measurement]:
    """The same, with calmer samples where there are any to be had."""
    kept = list(found)
    for _ in range(REPEATS):
        places = [i for i, one in enumerate(kept) if one.disturbed]
        if not places:
            break
        again = runner.in_turns([turns[i] for i in places], seconds * len(places) / len(turns))
        for i, samples in zip(places, again, strict=True):
            once_more = kept[i]._replace(samples=samples)
            calmer = min(kept[i], once_more, key=lambda one: one.spread)
            kept[i] = calmer._replace(repeats=kept[i].repeats + 1)
    return kept
