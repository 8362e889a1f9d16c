"""What cases of each type are measured with: who takes part, their arrays, their limits.

The one place that tells rows of logits from samples of the classes. Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastsoftmax.bench import limits, sampled_contestants
from fastsoftmax.bench.cases import Case
from fastsoftmax.bench.contestants import Backend, Contestant, Core, Public
from fastsoftmax.bench.peers import PEERS
from fastsoftmax.bench.regimes import CORE, PUBLIC
from fastsoftmax.bench.sampled import AnyCase, SampledCase, SampledWorkload
from fastsoftmax.bench.workload import Workload


class Kind(NamedTuple):
    """What cases of one type are measured with."""

    contestant: Callable[[str], Any]  # by name, a `Contestant` of such cases
    workload: Callable[[Any], Any]
    probes: Callable[[Any], list[limits.Probe]]


def contestant(name: str) -> Contestant:
    """Whoever tables call by this name, for rows of logits."""
    own: dict[str, Contestant] = {PUBLIC: Public(), CORE: Core()}
    return PEERS.get(name) or own.get(name) or Backend(name)


_KINDS: dict[type, Kind] = {
    Case: Kind(contestant, Workload, limits.probes),
    SampledCase: Kind(sampled_contestants.contestant, SampledWorkload, sampled_contestants.probes),
}


def kind(case: AnyCase) -> Kind:
    """What cases of this one's type are measured with."""
    return _KINDS[type(case)]
