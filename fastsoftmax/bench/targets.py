"""Measures the regimes: whatever a line is compared with takes turns with it, the limits included.

Prints nothing but progress; `verdicts` judges and shows.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import fastsoftmax as fs
from fastsoftmax.bench import blas, limits, runner
from fastsoftmax.bench.kinds import kind
from fastsoftmax.bench.limits import Limit, Probe
from fastsoftmax.bench.peers import PEERS
from fastsoftmax.bench.regimes import FASTEST, LIMIT, Line, Regime
from fastsoftmax.bench.runner import Timed
from fastsoftmax.bench.sampled import AnyCase

SECONDS = 1.0
"""For the samples of one group of rivals, by default."""

HOPELESS = 5.0
"""A peer that takes this many times the fastest contestant's time gets no turns after the first."""


class Entry(NamedTuple):
    """Who is measured in what."""

    contestant: str
    case: AnyCase

    def label(self, group: AnyCase) -> str:
        """Who it is among the entries of a group, and in what its case is another one."""
        sizes = self.case.layout if self.case.sizes != group.sizes else ""
        threads = f"{self.case.threads} threads" if self.case.threads != group.threads else ""
        option = self.case.option.name if self.case.option != group.option else ""
        return ", ".join(filter(None, (self.contestant, sizes, threads, option)))


class Time(NamedTuple):
    """Seconds per call of an entry, and its largest error."""

    median: float
    best: float
    ninth_decile: float
    ulp: float
    samples: int  # 1: it was too slow for more, see HOPELESS


class Group(NamedTuple):
    """Entries that took turns, those that could not and why, and the limit of the plain case."""

    case: AnyCase
    times: dict[Entry, Time]
    absent: dict[Entry, str]
    limit: Limit | None

    def fastest_peer(self) -> Entry | None:
        """The peer with the least time in the plain case; None if not all of them were asked."""
        asked = {entry.contestant for entry in (*self.times, *self.absent)}
        if not asked.issuperset(PEERS):
            return None
        peers = [e for e in self.times if e.contestant in PEERS and e.case == self.case]
        return min(peers, key=lambda entry: self.times[entry].median, default=None)


def plan(regimes: Sequence[Regime]) -> dict[AnyCase, dict[Entry, bool]]:
    """The groups to be measured; whether an entry has its turns however slow it is."""
    groups: dict[AnyCase, dict[Entry, bool]] = {}
    for regime in regimes:
        for line in regime.lines:
            entries = groups.setdefault(line.group, {})
            for entry in _required(line):
                entries[entry] = True
            if regime.compared or any(target.rival == FASTEST for target in line.targets):
                for name in PEERS:
                    entries.setdefault(Entry(name, line.group), False)
    return groups


def _required(line: Line) -> Iterator[Entry]:
    """The line's own entry and those of the rivals that its targets name."""
    yield Entry(line.contestant, line.case)
    for target in line.targets:
        if isinstance(target.rival, AnyCase):
            yield Entry(line.contestant, target.rival)
        elif target.rival not in (FASTEST, LIMIT, None):
            yield Entry(target.rival, line.group)


def measure(case: AnyCase, entries: dict[Entry, bool], seconds: float) -> Group:
    """Check and time one group.

    Parameters
    ----------
    case : Case
        The plain case.
    entries : dict of Entry to bool
        Whether each has its turns however slow it is.
    seconds : float
        For all samples of the group; each entry gets `runner.ROUNDS` of them at least.

    Returns
    -------
    Group
        A peer whose result is wrong is absent from the times.

    Raises
    ------
    WrongResult
        If a result of this package breaks its bound.
    """
    works: dict[AnyCase, Any] = {}
    who, workload, probes = kind(case)
    absent: dict[Entry, str] = {}
    calls: dict[Entry, Timed] = {}
    ulps: dict[Entry, float] = {}
    # This package is called as by a user who has said once how many threads there are.
    with fs.threads(1), blas.one_thread():
        for entry in entries:
            rival = who(entry.contestant)
            if (why := rival.against(entry.case)) is not None:
                absent[entry] = why
                continue
            if entry.case not in works:
                works[entry.case] = workload(entry.case)
            try:
                trial, worst = runner.admit(rival, works[entry.case])
            except Exception as error:  # whatever a library may raise
                if entry.contestant not in PEERS:
                    raise
                absent[entry] = runner.refusal(error)
                continue
            calls[entry], ulps[entry] = trial.call, worst.largest
        warm = {entry: runner.warm_up(call) for entry, call in calls.items()}
        best = min(fastest for _, fastest in warm.values())
        slow = {
            entry
            for entry, (_, fastest) in warm.items()
            if fastest > HOPELESS * best and not entries[entry]
        }
        for entry in slow:
            del calls[entry]
        gc.collect()  # what the slow ones held
        beside = probes(works[case]) if case in works else []
        samples, limit = _turns(calls, warm, beside, case.threads, seconds)
    times = {entry: _time(samples[entry], ulps[entry]) for entry in calls}
    times |= {e: Time(*(warm[e][1],) * 3, ulps[e], 1) for e in slow}
    return Group(case, times, absent, limit)


def _turns(
    calls: dict[Entry, Timed],
    warm: dict[Entry, tuple[int, float]],
    probes: Sequence[Probe],
    threads: int,
    seconds: float,
) -> tuple[dict[Entry, list[float]], Limit | None]:
    """Samples of all entries and of the probes, those beside a busy process after the others."""
    quiet = [entry for entry in calls if not entry.case.option.crowded]
    crowded = [entry for entry in calls if entry.case.option.crowded]
    counts = [warm[entry][0] for entry in quiet] + [runner.warm_up(p.call)[0] for p in probes]
    turns = [calls[entry] for entry in quiet] + [probe.call for probe in probes]
    found = runner.rounds(turns, counts, threads, seconds)
    samples = dict(zip(quiet, found, strict=False))
    if crowded:
        with _busy_process():
            # A mean of several calls would hide the slow ones.
            samples |= {entry: runner.one_by_one(calls[entry], seconds) for entry in crowded}
    return samples, limits.limit_of(probes, found[len(quiet) :])


def _time(samples: Sequence[float], ulp: float) -> Time:
    median, ninth = np.quantile(samples, (0.5, 0.9))
    return Time(float(median), min(samples), float(ninth), ulp, len(samples))


@contextmanager
def _busy_process() -> Iterator[None]:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        child.kill()
        child.wait()
