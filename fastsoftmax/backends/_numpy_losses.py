"""Losses and gradients in NumPy, block by block like the softmax family beside it.

Every loss is a sum of terms of one sign, so that no digits cancel. What a confident row's result is
made of, the sum of all terms but the largest, is taken by itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._at_labels import rounded_sum, settle_others, total_of
from fastsoftmax._typing import Array, BackwardCall, BinaryCall, Call, LossCall
from fastsoftmax.backends._numpy_blocks import steps, sums, wider

CONFIDENT = 0.5
"""Sum of the terms behind the largest, which is 1, below which they are summed by themselves.

The gaps that decide it are wide then, and what rounding them costs is one ULP for every unit.
"""


def _in_steps(call: LossCall) -> list[LossCall]:
    outline = Call(call.logits, call.losses, (call.axis,), call.where, 1.0, call.threads)
    return [
        call._replace(
            logits=part.x,
            where=part.where,
            losses=part.out,
            labels=labels,
            probabilities=probabilities,
            grad=grad,
        )
        for part, (labels, probabilities, grad) in steps(
            outline, call.labels, call.probabilities, call.grad, temporaries=True
        )
    ]


class _Rows(NamedTuple):
    """Rows of logits and what is known of their distributions."""

    x: Array  # in the compute type, -inf where classes are left out
    top: Array
    scores: Array  # x - top
    terms: Array  # exp(scores)
    rest: Array  # their sum without one of the largest, in float64

    @property
    def total(self) -> Array:
        """The sum of the terms."""
        return 1.0 + self.rest


def _rows(call: LossCall) -> _Rows:
    dtype = call.losses.dtype
    x = call.logits.astype(dtype, copy=False)
    if call.where is not None:
        x = np.where(call.where, x, dtype.type(-np.inf))
    top = np.maximum.reduce(x, call.axis, keepdims=True)
    # A row without any class is no distribution: 0 everywhere instead of NaN.
    absent = None if call.where is None else ~call.where.any(call.axis, keepdims=True)
    if absent is not None:
        np.copyto(top, 0.0, where=absent)
    scores = x - top
    terms = np.exp(scores)
    total = np.reshape(sums(terms, (call.axis,)), top.shape)
    rest = (total - 1.0).astype(np.float64)
    confident = rest < CONFIDENT
    if absent is not None:
        np.copyto(rest, 0.0, where=absent)
        confident &= ~absent
    if confident.any():
        chosen = np.moveaxis(x, call.axis, -1)[np.moveaxis(confident, call.axis, -1)[..., 0]]
        rest[confident] = _rest(chosen, top[confident])
    return _Rows(x, top, scores, terms, rest)


def _rest(rows: Array, top: Array) -> Array:
    """The sum without one of the largest, in float64.

    The error of every difference is brought back: what is left has no digits but of exp itself.
    """
    x, by = rows.astype(np.float64), top.astype(np.float64)[:, None]
    gap = x - by
    part = gap - x
    error = (x - (gap - part)) - (by + part)
    terms = np.exp(gap)
    np.add(terms, terms * error, out=terms, where=terms > 0)  # not at -inf, where it is NaN
    largest = rows.argmax(1)[:, None]
    np.put_along_axis(terms, largest, 0.0, 1)
    # Not by `sums`: under another rounding mode its parts of such small terms have no digits left.
    return np.asarray(terms.sum(1, dtype=wider(terms.dtype)).astype(np.float64))


def cross_entropy(call: LossCall) -> float:
    """The losses, and the gradient where it is wanted."""
    is_plain = call.labels is not None and call.smoothing == 0
    for part in _in_steps(call):
        if is_plain:
            _at_labels(part)
        else:
            _over_all_classes(part)
    return total_of(call)


def _at_labels(call: LossCall) -> None:
    """Of one class in each row: the gradient is p, less 1 there."""
    assert call.labels is not None
    rows, at = _rows(call), np.maximum(call.labels, 0)
    gap = np.take_along_axis(rows.x, at, call.axis).astype(np.float64) - rows.top
    factor: Any = 1.0 if call.weight is None else call.weight[at].astype(np.float64)
    _settle(call, _times(factor, np.log1p(rows.rest) - gap))
    if call.grad is None:
        return
    factor, total, grad = factor * call.scale, rows.total, rows.terms
    # 1 - p of the label is what the others sum to, which keeps its digits for a sure one too.
    label = np.take_along_axis(rows.terms, at, call.axis)
    others = np.where(gap == 0, rows.rest, total - label)
    np.multiply(grad, (factor / total).astype(grad.dtype), out=grad)
    np.put_along_axis(grad, at, (-factor * (others / total)).astype(grad.dtype), call.axis)
    _finish(call, grad)


def _over_all_classes(call: LossCall) -> None:
    """Of a distribution over classes, t: the gradient is sum(w t) p - w t."""
    rows, weights = _rows(call), _weights(call)
    wide, axis = wider(weights.dtype), call.axis
    sum_of_weights = weights.sum(axis, dtype=wide, keepdims=True)
    far = _times(weights, rows.scores).sum(axis, dtype=wide, keepdims=True)
    _settle(call, sum_of_weights * np.log1p(rows.rest) - far)
    if call.grad is None:
        return
    total, grad = rows.total, rows.terms
    winner = rows.scores.argmax(axis, keepdims=True)
    # The same of the most probable class, where sum(w t) p and w t may be nearly alike.
    others = sum_of_weights - np.take_along_axis(weights, winner, axis)
    label = others - sum_of_weights * (rows.rest / total)
    np.multiply(grad, (sum_of_weights * call.scale / total).astype(grad.dtype), out=grad)
    np.subtract(grad, np.multiply(weights, call.scale, dtype=grad.dtype), out=grad)
    np.put_along_axis(grad, winner, (label * call.scale).astype(grad.dtype), axis)
    _finish(call, grad)


def _weights(call: LossCall) -> Array:
    """w t for every class, in the compute type: what the loss counts its log-probability by."""
    dtype, shape, axis = call.losses.dtype, call.logits.shape, call.axis
    smoothing = call.smoothing
    if call.probabilities is not None:
        weights = call.probabilities.astype(dtype)
        if smoothing:
            weights *= dtype.type(1 - smoothing)
    else:
        assert call.labels is not None
        weights = np.zeros(shape, dtype)
        np.put_along_axis(weights, np.maximum(call.labels, 0), dtype.type(1 - smoothing), axis)
    if smoothing:
        count: Any = shape[axis]
        if call.where is not None:
            count = np.maximum(call.where.sum(axis, keepdims=True), 1)
        share = np.asarray(smoothing / count).astype(dtype)
        np.add(weights, share, out=weights, where=True if call.where is None else call.where)
    if call.weight is not None:
        weights *= call.weight.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return weights


def _times(weights: Any, values: Array) -> Array:
    """The product, in which a weight of 0 takes an infinity out, but not a NaN."""
    product = np.multiply(weights, values)
    return np.asarray(np.where((weights == 0) & np.isinf(values), product.dtype.type(0), product))


def _settle(call: LossCall, losses: Array) -> None:
    np.copyto(call.losses, losses, casting="same_kind")
    if call.labels is not None:
        settle_others(call.losses, call.labels)


def _finish(call: LossCall, grad: Array) -> None:
    assert call.grad is not None
    if call.where is not None:
        np.copyto(grad, 0.0, where=~call.where)
    if call.labels is not None:
        np.copyto(grad, 0.0, where=call.labels < 0)
    np.copyto(call.grad, grad, casting="same_kind")


def _floats(array: Array, dtype: np.dtype[Any]) -> Array:
    return array.astype(dtype, copy=False)


def sigmoid(call: Call) -> None:
    """Of exp(-|x|), which does not overflow, without a subtraction."""
    for part, _ in steps(call):
        x = _floats(part.x, call.compute_dtype)
        likely, unlikely = _sides(np.exp(-np.abs(x)))
        np.copyto(part.out, np.where(x < 0, unlikely, likely), casting="same_kind")


def log_sigmoid(call: Call) -> None:
    """Two terms of one sign."""
    for part, _ in steps(call):
        x = _floats(part.x, call.compute_dtype)
        result = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))
        np.copyto(part.out, result, casting="same_kind")


def _sides(term: Array) -> tuple[Array, Array]:
    """1 / (1 + term) and term / (1 + term)."""
    total = 1 + term
    return 1 / total, term / total


def binary_cross_entropy(call: BinaryCall) -> float:
    """a log(1 + exp(-x)) + b log(1 + exp(x)) for a = w t pos_weight and b = w (1 - t)."""
    dtype = np.dtype(np.float64 if call.logits.dtype.char == "d" else np.float32)
    outline = Call(call.logits, call.logits, (), None, 1.0, call.threads)
    arrays = (call.targets, call.weight, call.pos_weight, call.losses, call.grad)
    totals = []
    for part, (targets, weight, pos_weight, losses, grad) in steps(outline, *arrays):
        assert targets is not None
        x, yes = _floats(part.x, dtype), _floats(targets, dtype)
        no = 1 - yes
        if pos_weight is not None:
            yes = yes * pos_weight
        if weight is not None:
            yes, no = yes * weight, no * weight
        term = np.exp(-np.abs(x))
        loss = _times(yes, np.maximum(-x, 0)) + _times(no, np.maximum(x, 0))
        loss += (yes + no) * np.log1p(term)
        totals.append(float(loss.sum(dtype=np.float64)))
        if losses is not None:
            np.copyto(losses, loss, casting="same_kind")
        if grad is not None:
            likely, unlikely = _sides(term)
            up, down = np.where(x < 0, unlikely, likely), np.where(x < 0, likely, unlikely)
            np.copyto(grad, (no * up - yes * down) * dtype.type(call.scale), casting="same_kind")
    return rounded_sum(totals)


def _backward_steps(call: BackwardCall) -> list[tuple[Array, Array, Array]]:
    """Gradient and output in the type computed in, and where the result goes."""
    outline = Call(call.output, call.out, call.axes, None, 1.0, call.threads)
    dtype = outline.compute_dtype
    return [
        (_floats(dy, dtype), _floats(part.x, dtype), part.out)
        for part, (dy,) in steps(outline, call.grad_output, temporaries=True)
        if dy is not None
    ]


def _sum(terms: Array, axes: tuple[int, ...]) -> Array:
    total = terms.sum(axes, dtype=wider(terms.dtype), keepdims=True)
    return np.asarray(total).astype(terms.dtype)


def softmax_backward(call: BackwardCall) -> None:
    """y * (dy - sum(dy * y))."""
    for dy, y, out in _backward_steps(call):
        np.copyto(out, y * (dy - _sum(dy * y, call.axes)), casting="same_kind")


def log_softmax_backward(call: BackwardCall) -> None:
    """dy - exp(y) * sum(dy)."""
    for dy, y, out in _backward_steps(call):
        np.copyto(out, dy - np.exp(y) * _sum(dy, call.axes), casting="same_kind")
