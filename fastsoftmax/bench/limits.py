"""What the hardware allows in a case: bytes at the rate of a copy, exponentials in registers.

The probes are loops of the C++ core on the case's own arrays, timed in turns with the contestants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._arrays import compute_dtype
from fastsoftmax._truth import as_dtype
from fastsoftmax._typing import Array
from fastsoftmax.backends import _cpp
from fastsoftmax.bench.cases import Case
from fastsoftmax.bench.workload import Workload

AT_LEAST = 2 << 20
"""Bytes that a probe moves in one call, by repetition, so that calling it costs nothing."""

EXPONENTIALS = 1 << 16
"""How many of them one call of the probe takes: 10 us; the rate is the same for any number."""

LONGER = 100
"""Times as much in a call on several threads, whose start alone takes 50 us."""

SMALL = 100
"""Elements below which a call takes longer than its work: there calling is a limit too."""


class Probe(NamedTuple):
    """A call whose time over `share` is what the case takes at least, as far as `name` goes."""

    name: str
    call: Callable[[], object]
    share: float


class Limit(NamedTuple):
    """The least time that a case can take, and what decides it."""

    seconds: float
    binds: str


def missing() -> str | None:
    """Why there are no limits here, or None: the probes are in the C++ core."""
    return _cpp.reason()


def probes(work: Workload, elsewhere: Array | None = None) -> list[Probe]:
    """The probes of a case, none without the core; those of copies write to `work.out`.

    If the case's arrays are not in the caches, `elsewhere` is memory that is not either.
    """
    if missing() is not None:
        return []
    case, core = work.case, _cpp.load(None)
    found = []
    if case.operation.per_class:
        for name, non_temporal in (("copy", False), ("NT copy", True)):
            copy = partial(core.copy, non_temporal=non_temporal)
            arrays = (work.x, work.out) if elsewhere is None else np.split(elsewhere, 2)
            found.append(_moving(name, copy, case, *arrays))
    else:
        found.append(_moving("read", core.read, case, work.x if elsewhere is None else elsewhere))
    kind = compute_dtype(as_dtype(case.dtype)).name
    n = EXPONENTIALS * _longer(case)
    call = _together([partial(core.exponentials, kind, n)] * case.threads)
    found.append(Probe("exp", call, n * case.threads / case.elements))
    if case.elements < SMALL:
        found.append(Probe("call", core.nothing(), 1))
    return found


def _moving(name: str, move: Callable[..., object], case: Case, *arrays: Array) -> Probe:
    """A probe that moves all of the arrays' bytes, each thread its part of them."""
    moved = sum(array.nbytes for array in arrays)
    repetitions = max(1, AT_LEAST * _longer(case) // moved)
    parts = zip(*(_parts(array, case.threads) for array in arrays), strict=True)
    call = _together([partial(move, *part, repetitions=repetitions) for part in parts])
    return Probe(name, call, repetitions * moved / case.bytes_moved)


def _longer(case: Case) -> int:
    return LONGER if case.threads > 1 else 1


def _parts(array: Array, count: int) -> list[Array]:
    """The array's memory in that many pieces, whole cache lines but for the last."""
    raw = array.reshape(-1).view(np.uint8)
    step = -(-raw.size // (64 * count)) * 64
    return [raw[i * step : (i + 1) * step] for i in range(count)]


def _together(calls: list[Callable[[], Any]]) -> Callable[[], object]:
    """One call that makes them all at the same time, each on a thread of its own."""
    if len(calls) == 1:
        return calls[0]
    pool = ThreadPoolExecutor(len(calls) - 1)

    def run() -> None:
        others = [pool.submit(call) for call in calls[1:]]
        calls[0]()
        for other in others:
            other.result()

    return run


def limit_of(beside: Sequence[Probe], samples: Sequence[Sequence[float]]) -> Limit | None:
    """The limit by the samples of each probe; None without probes."""
    taken = {
        probe.name: float(np.median(times)) / probe.share
        for probe, times in zip(beside, samples, strict=True)
    }
    return limit(taken) if taken else None


def limit(seconds: Mapping[str, float]) -> Limit:
    """From a time by each probe's name, its share allowed for: the longest of what must be done.

    Of the two ways to copy the faster one counts: beyond the last-level cache that is the
    non-temporal one, and how large that cache is need not be known (a virtual machine may not say).
    """
    ways = [name for name in seconds if name.endswith("copy")]
    must = {name for name in seconds if name not in ways}
    if ways:
        must.add(min(ways, key=seconds.__getitem__))
    binds = max(must, key=seconds.__getitem__)
    return Limit(seconds[binds], binds)
