"""The formula as loops under `@njit` with no options: what users of Numba write themselves."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from fastsoftmax._typing import Array
from fastsoftmax.bench.cases import CALL, CLASS, KNOWN, LABELS, ROW
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

    @njit
    def cross_entropy(x: Any, labels: Any, out: Any) -> Any:
        loss = 0.0
        for i in range(x.shape[0]):
            top = x[i].max()
            loss += top + np.log(total(x[i], top)) - x[i, labels[i]]
        return loss / x.shape[0]

    @njit
    def cross_entropy_and_gradient(x: Any, labels: Any, out: Any) -> Any:
        loss = 0.0
        rows = x.shape[0]
        for i in range(rows):
            top = x[i].max()
            found = top - top
            for k in range(x.shape[1]):
                term = np.exp(x[i, k] - top)
                out[i, k] = term
                found += term
            loss += top + np.log(found) - x[i, labels[i]]
            for k in range(x.shape[1]):
                out[i, k] /= found * rows
            out[i, labels[i]] -= 1 / rows
        return loss / rows

    @njit
    def binary_cross_entropy(x: Any, targets: Any, out: Any) -> Any:
        loss = 0.0
        for i in range(x.shape[0]):
            for k in range(x.shape[1]):
                score, target = x[i, k], targets[i, k]
                loss += max(score, 0) - score * target + np.log1p(np.exp(-abs(score)))
                out[i, k] = (1 / (1 + np.exp(-score)) - target) / x.size
        return loss / x.size

    @njit
    def sigmoid(x: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            for k in range(x.shape[1]):
                out[i, k] = 1 / (1 + np.exp(-x[i, k]))

    return {
        "softmax": softmax,
        "log_softmax": log_softmax,
        "logsumexp": logsumexp,
        "cross_entropy": cross_entropy,
        "cross_entropy+grad": cross_entropy_and_gradient,
        "binary_cross_entropy+grad": binary_cross_entropy,
        "sigmoid": sigmoid,
    }


class PlainNumba(Peer):
    """Rows one after another, on one thread."""

    name = "plain Numba"
    distribution = "numba"
    modules = ("numba",)
    operations = tuple(KNOWN)
    any_axis = False
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        return _loops()

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        case = work.case
        rows, classes = (case.batch,), (case.batch, case.classes)
        shape = {CLASS: classes, ROW: rows, CALL: ()}[case.operation.results[-1].per]
        x, out = work.x.reshape(classes), work.out.reshape(shape)
        function = self.library()[case.operation.name]
        if work.given is None:
            return Trial(partial(function, x, out), lambda _: work.out)
        given = work.given.reshape(rows if case.operation.given == LABELS else classes)
        call = partial(function, x, given, out)
        if case.operation.with_gradient:
            return Trial(call, lambda loss: (_as_in(work, loss), work.out))
        return Trial(call, partial(_as_in, work))


def _as_in(work: Workload, loss: float) -> Array:
    """A loss, added up in float64, in the case's type."""
    return np.asarray(loss).astype(work.out.dtype)
