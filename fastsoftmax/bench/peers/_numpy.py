"""What users write themselves: the formula in NumPy, in place where that saves an array."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastsoftmax._typing import Array
from fastsoftmax.bench.cases import KNOWN, OPERATIONS
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


def _sigmoid(x: Array, out: Array) -> Array:
    np.negative(x, out)
    np.exp(out, out)
    out += 1
    return np.reciprocal(out, out)


def _cross_entropy(x: Array, labels: Array, out: Array) -> Any:
    top = x.max(-1, keepdims=True)
    own = np.take_along_axis(x, labels[..., None], -1)
    return (np.log(np.exp(x - top).sum(-1, keepdims=True)) + top - own).mean()


def _cross_entropy_and_gradient(x: Array, labels: Array, out: Array) -> tuple[Any, Array]:
    top, at = x.max(-1, keepdims=True), labels[..., None]
    own = np.take_along_axis(x, at, -1)
    np.subtract(x, top, out)
    np.exp(out, out)
    total = out.sum(-1, keepdims=True)
    loss = (np.log(total) + top - own).mean()
    out /= total * labels.size
    share = np.take_along_axis(out, at, -1)
    np.put_along_axis(out, at, share - out.dtype.type(1 / labels.size), -1)
    return loss, out


def _binary_cross_entropy(x: Array, targets: Array, out: Array) -> tuple[Any, Array]:
    loss = (np.maximum(x, 0) - x * targets + np.log1p(np.exp(-np.abs(x)))).mean()
    _sigmoid(x, out)
    out -= targets
    out /= x.size
    return loss, out


_FORMS: dict[str, Callable[..., Any]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
}
_FURTHER: dict[str, Callable[..., Any]] = {
    "cross_entropy": _cross_entropy,
    "cross_entropy+grad": _cross_entropy_and_gradient,
    "binary_cross_entropy+grad": _binary_cross_entropy,
    "sigmoid": _sigmoid,
}


class PlainNumpy(Peer):
    """The formula in NumPy; it runs on one thread."""

    name = "plain NumPy"
    distribution = "numpy"
    modules = ("numpy",)
    operations = tuple(KNOWN)
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        return np

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        name = work.case.operation.name
        if name in OPERATIONS:
            return Trial(partial(_FORMS[name], work.x, work.case.axis, work.out))
        given = () if work.given is None else (work.given,)
        return Trial(partial(_FURTHER[name], work.x, *given, work.out))
