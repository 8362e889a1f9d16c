"""What users write themselves: the formula in NumPy, in place where that saves an array."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastsoftmax._typing import Array
from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.workload import Workload


def _softmax(x: Array, axis: int, out: Array) -> Array:
    np.subtract(x, x.max(axis, keepdims=True), out)
    np.exp(out, out)
    out /= out.sum(axis, keepdims=True)
    return out


def _log_softmax(x: Array, axis: int, out: Array) -> Array:
    np.subtract(x, x.max(axis, keepdims=True), out)
    out -= np.log(np.exp(out).sum(axis, keepdims=True))
    return out


def _logsumexp(x: Array, axis: int, out: Array) -> Array:
    top = x.max(axis, keepdims=True)
    np.log(np.exp(x - top).sum(axis), out)
    out += top.squeeze(axis)
    return out


class PlainNumpy(Peer):
    """The formula in NumPy; it runs on one thread."""

    name = "plain NumPy"
    distribution = "numpy"
    modules = ("numpy",)
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        return np

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        forms = {"softmax": _softmax, "log_softmax": _log_softmax, "logsumexp": _logsumexp}
        form = forms[work.case.operation.name]
        return Trial(partial(form, work.x, work.case.axis, work.out))
