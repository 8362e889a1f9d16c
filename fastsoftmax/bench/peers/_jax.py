"""JAX: compiled by XLA for the CPU. The result is allocated in the call.

XLA's pool has as many threads as the process may use processors when its client is made, and stays
so: it is made while this thread is confined to one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from fastsoftmax.bench.cases import KNOWN
from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.workload import Workload


@contextmanager
def _on_one_processor() -> Iterator[None]:
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@cache
def _jax() -> Any:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with _on_one_processor():
        import jax

        jax.config.update("jax_enable_x64", True)  # else float64 is taken as float32
        jax.devices()
    return jax


@cache
def _losses() -> dict[str, Any]:
    """As optax has them, in the form whose gradient XLA does best.

    The cross-entropy from log_softmax takes 1.8 to 2.5 times as long, the binary one from
    log_sigmoid nearly 5 times.
    """
    jax = _jax()
    numpy = jax.numpy

    def cross_entropy(x: Any, labels: Any) -> Any:
        own = numpy.take_along_axis(x, labels[..., None], -1)[..., 0]
        return (jax.nn.logsumexp(x, -1) - own).mean()

    def binary_cross_entropy(x: Any, targets: Any) -> Any:
        far = numpy.log1p(numpy.exp(-abs(x)))
        return (numpy.maximum(x, 0) - x * targets + far).mean()

    return {"cross_entropy": cross_entropy, "binary_cross_entropy": binary_cross_entropy}


class Jax(Peer):
    """jax.nn, and losses in its terms, under jit, until the result is there."""

    name = "JAX"
    distribution = "jax"
    modules = ("jax", "jaxlib")
    operations = tuple(KNOWN)
    dtypes = ("float32", "float64", "float16", "bfloat16")
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        return _jax()

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        jax, operation = self.library(), work.case.operation
        given = [work.x] if work.given is None else [work.x, work.given]
        arguments = jax.block_until_ready(jax.device_put(given))
        function = _losses().get(operation.function) or getattr(jax.nn, operation.function)
        if operation.with_gradient:
            function = jax.value_and_grad(function)
        elif operation.given is None and operation.along_axis:
            function = partial(function, axis=work.case.axis)
        compiled = jax.jit(function)
        return Trial(lambda: jax.block_until_ready(compiled(*arguments)))
