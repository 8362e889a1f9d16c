"""Who takes part in cases of candidate sampling, and what they take at least: matrix products.

What `contestants` and `limits` are for rows of logits. Other libraries are in `peers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax import _registry
from fastsoftmax._sampling.base_sampler import BaseSampler
from fastsoftmax._truth import Bound
from fastsoftmax._typing import Array
from fastsoftmax.bench.cases import PLAIN
from fastsoftmax.bench.contestants import Trial, refusal
from fastsoftmax.bench.limits import Probe
from fastsoftmax.bench.peers import PEERS, Peer
from fastsoftmax.bench.regimes import PUBLIC
from fastsoftmax.bench.sampled import (
    SampledCase,
    SampledWorkload,
    Step,
    lack_of_memory,
    zipf_counts,
)
from fastsoftmax.bench.workload import aligned
from fastsoftmax.sampled import sampled_softmax_loss
from fastsoftmax.samplers import LogUniform, Uniform, Unigram

BOUNDS = (Bound(256),)
"""Of the largest number: 3e-5, which float32 sums of a thousand products keep within."""


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "LogUniform": LogUniform,
    "Uniform": Uniform,
    "Unigram": lambda classes: Unigram(zipf_counts(classes)),
}
"""From a task's name for it and a number of classes to the sampler."""


class SampledOwn(NamedTuple):
    """The functions of this package as a user calls them; the backend may be left open."""

    name: str
    backend: str | None

    def against(self, case: SampledCase) -> str | None:
        """See `Contestant`."""
        why = refusal() if self.backend is None else _registry.reasons()[self.backend]
        return why or lack_of_memory(case)

    def bind(self, work: SampledWorkload) -> Trial:
        """See `Contestant`."""
        case, backend = work.case, self.backend
        sampler, rng = SAMPLERS[case.operation.sampler](case.classes), np.random.default_rng()
        if case.operation.draws:
            return Trial(
                lambda: sampler.sample(case.sampled, rng=rng, backend=backend),
                lambda candidates: candidates.ids,
            )

        def step() -> Any:
            candidates = sampler.sample(case.sampled, rng=rng, backend=backend)
            return candidates, sampled_softmax_loss(
                work.x,
                work.weight,
                work.labels,
                bias=work.bias,
                sampler=sampler,
                candidates=candidates,
                return_grad=True,
                backend=backend,
            )

        def result(returned: Any) -> Step:
            candidates, (loss, grads) = returned
            of_true = sampler.expected_count(work.labels, candidates)
            of_candidates = sampler.expected_count(candidates.ids, candidates)
            return Step(candidates.ids, of_true, of_candidates, np.asarray(loss), *grads)

        return Trial(step, result)

    def bounds(self, case: SampledCase) -> tuple[Bound, ...]:
        """See `Contestant`."""
        return BOUNDS


class SampledPeer(NamedTuple):
    """Another library."""

    peer: Peer

    @property
    def name(self) -> str:
        """See `Contestant`."""
        return self.peer.name

    def against(self, case: SampledCase) -> str | None:
        """See `Contestant`."""
        if case.operation.name not in self.peer.sampled:
            return f"has no {case.operation.name}"
        if case.option != PLAIN:
            return f"is not compared in: {case.option.name}"
        return self.peer.missing() or lack_of_memory(case)

    def bind(self, work: SampledWorkload) -> Trial:
        """See `Contestant`."""
        return self.peer.bind_sampled(work)

    def bounds(self, case: SampledCase) -> tuple[Bound, ...]:
        """See `Contestant`."""
        return BOUNDS


def contestant(name: str) -> SampledOwn | SampledPeer:
    """Whoever tables call by this name."""
    if name in PEERS:
        return SampledPeer(PEERS[name])
    return SampledOwn(name, None if name == PUBLIC else name)


def probes(work: SampledWorkload) -> list[Probe]:
    """The three matrix products of a step, on rows that are gathered already; none of a draw.

    By NumPy's BLAS, whichever that is, on as many threads as it takes.
    """
    if work.case.operation.draws:
        return []
    x, rows = work.x, work.weight[: work.case.sampled].copy()
    logits = aligned((len(x), len(rows)), x.dtype)
    by_inputs, by_rows = np.empty_like(x), np.empty_like(rows)

    def products() -> Array:
        np.matmul(x, rows.T, out=logits)
        np.matmul(logits, rows, out=by_inputs)
        return np.matmul(logits.T, x, out=by_rows)

    return [Probe("products", products, 1.0)]
