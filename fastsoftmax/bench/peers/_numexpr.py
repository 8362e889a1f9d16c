"""numexpr: the formula with its exponentials as expressions, blocks of them dealt to threads.

Maxima and sums are NumPy's: numexpr has no maximum along an axis, and its sums run on one thread.
So is what has an operand for each row, which numexpr copies out for every element: with x - max and
the quotient in its expressions softmax took up to 1.8 times as long, and never less time.
"""

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

Evaluate = Callable[..., Any]
"""`numexpr.evaluate`, told its operands by name: it would look for them in the caller's frame."""


def _exp(evaluate: Evaluate, y: Array) -> Array:
    """In place."""
    evaluate("exp(y)", {"y": y}, out=y)
    return y


def _softmax(evaluate: Evaluate, x: Array, axis: int, out: Array) -> Array:
    np.subtract(x, x.max(axis, keepdims=True), out)
    _exp(evaluate, out)
    out /= out.sum(axis, keepdims=True)
    return out


def _log_softmax(evaluate: Evaluate, x: Array, axis: int, out: Array) -> Array:
    np.subtract(x, x.max(axis, keepdims=True), out)
    out -= np.log(evaluate("exp(y)", {"y": out}).sum(axis, keepdims=True))
    return out


def _logsumexp(evaluate: Evaluate, x: Array, axis: int, out: Array) -> Array:
    top = x.max(axis, keepdims=True)
    np.log(_exp(evaluate, x - top).sum(axis), out)
    out += top.squeeze(axis)
    return out


def _sigmoid(evaluate: Evaluate, x: Array, out: Array) -> Array:
    evaluate("1 / (1 + exp(-x))", {"x": x}, out=out)
    return out


def _cross_entropy(evaluate: Evaluate, x: Array, labels: Array, out: Array) -> Any:
    top = x.max(-1, keepdims=True)
    own = np.take_along_axis(x, labels[..., None], -1)
    return (np.log(_exp(evaluate, x - top).sum(-1, keepdims=True)) + top - own).mean()


def _cross_entropy_and_gradient(
    evaluate: Evaluate, x: Array, labels: Array, out: Array
) -> tuple[Any, Array]:
    top, at = x.max(-1, keepdims=True), labels[..., None]
    own = np.take_along_axis(x, at, -1)
    np.subtract(x, top, out)
    total = _exp(evaluate, out).sum(-1, keepdims=True)
    loss = (np.log(total) + top - own).mean()
    out /= total * labels.size
    share = np.take_along_axis(out, at, -1)
    np.put_along_axis(out, at, share - out.dtype.type(1 / labels.size), -1)
    return loss, out


def _binary_cross_entropy(
    evaluate: Evaluate, x: Array, targets: Array, out: Array
) -> tuple[Any, Array]:
    operands = {"x": x, "t": targets, "n": x.dtype.type(x.size)}
    loss = evaluate("where(x > 0, x, 0) - x * t + log1p(exp(-abs(x)))", operands).mean()
    evaluate("(1 / (1 + exp(-x)) - t) / n", operands, out=out)
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


class NumExpr(Peer):
    """The formula with expressions in it, in place where that saves an array."""

    name = "numexpr"
    distribution = "numexpr"
    modules = ("numexpr",)
    operations = tuple(KNOWN)

    def library(self) -> Any:
        """See `Peer`."""
        import numexpr

        return numexpr

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`; the threads are numexpr's global setting."""
        library, name = self.library(), work.case.operation.name
        library.set_num_threads(work.case.threads)
        if name in OPERATIONS:
            form = _FORMS[name]
            return Trial(partial(form, library.evaluate, work.x, work.case.axis, work.out))
        given = () if work.given is None else (work.given,)
        return Trial(partial(_FURTHER[name], library.evaluate, work.x, *given, work.out))
