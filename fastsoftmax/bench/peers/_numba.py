"""The formula as loops under `@njit` with no options: what users of Numba write themselves."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.workload import Workload


@cache
def _loops() -> dict[str, Any]:
    from numba import njit

    @njit
    def total(row: Any, top: Any) -> Any:
        found = top - top  # 0 in the type of the row
        for value in row:
            found += np.exp(value - top)
        return found

    @njit
    def softmax(x: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            top = x[i].max()
            found = top - top
            for k in range(x.shape[1]):
                term = np.exp(x[i, k] - top)
                out[i, k] = term
                found += term
            for k in range(x.shape[1]):
                out[i, k] /= found

    @njit
    def log_softmax(x: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            top = x[i].max()
            shift = top + np.log(total(x[i], top))
            for k in range(x.shape[1]):
                out[i, k] = x[i, k] - shift

    @njit
    def logsumexp(x: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            top = x[i].max()
            out[i] = top + np.log(total(x[i], top))

    return {"softmax": softmax, "log_softmax": log_softmax, "logsumexp": logsumexp}


class PlainNumba(Peer):
    """Rows one after another, on one thread."""

    name = "plain Numba"
    distribution = "numba"
    modules = ("numba",)
    any_axis = False
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        return _loops()

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        rows = (work.case.batch, work.case.classes)
        x = work.x.reshape(rows)
        out = work.out.reshape(rows if work.case.operation.per_class else rows[:1])
        function = self.library()[work.case.operation.name]
        return Trial(partial(function, x, out), lambda _: work.out)
