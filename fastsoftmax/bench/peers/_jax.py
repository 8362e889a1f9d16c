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


class Jax(Peer):
    """jax.nn under jit, until the result is there."""

    name = "JAX"
    distribution = "jax"
    modules = ("jax", "jaxlib")
    dtypes = ("float32", "float64", "float16", "bfloat16")
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        return _jax()

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        jax = self.library()
        x = jax.device_put(work.x).block_until_ready()
        function = jax.jit(partial(getattr(jax.nn, work.case.operation.name), axis=work.case.axis))
        return Trial(lambda: function(x).block_until_ready())
