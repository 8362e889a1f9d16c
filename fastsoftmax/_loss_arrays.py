"""From what a caller hands to a loss or a gradient to its normal form in `_typing`, and back.

Beside `_arrays`, whose rules for dtypes, axes and overlap hold here too: labels, class weights,
targets, reductions. No arithmetic on the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, nan
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from fastsoftmax._arrays import (
    apart,
    apart_or_same,
    as_array,
    as_floats,
    as_mask,
    compute_dtype,
    is_float,
    kept_shape,
    normalize_axes,
    reduced_shape,
    result_array,
)
from fastsoftmax._labels import as_ignore_index, class_indices, total_weight
from fastsoftmax._typing import (
    INVALID,
    UNSET,
    Array,
    AxisLike,
    BackwardCall,
    BinaryCall,
    LossCall,
)

REDUCTIONS = ("mean", "sum", "none")
ON_EMPTY = ("nan", "zero")


class Reduction(NamedTuple):
    """How losses become the result: which reduction, what a mean divides by, the result's type."""

    kind: str
    divisor: float
    empty: float  # a mean over nothing
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def scale(self) -> float:
        """The derivative of the result by each loss."""
        if self.kind != "mean":
            return 1.0
        return 1.0 / self.divisor if self.divisor else self.empty

    def each(self, losses: Array) -> Any:
        """The result that is every loss; a scalar where it has no dimensions."""
        with np.errstate(all="ignore"):  # a half type has less room
            result = losses.reshape(self.shape).astype(self.dtype, copy=False)
        return result if result.ndim else result[()]

    def of_sum(self, total: float) -> Any:
        """The result from the sum of the losses."""
        if self.kind == "mean":
            total = total / self.divisor if self.divisor else self.empty
        with np.errstate(all="ignore"):
            return np.float64(total).astype(self.dtype)[()]


C = TypeVar("C", LossCall, BinaryCall)


class Loss(Generic[C]):
    """The call of a loss, and how its result is made."""

    def __init__(self, call: C, reduction: Reduction, grad: Array | None) -> None:
        self.call: C = call
        self.reduction = reduction
        self.grad = grad

    def by(self, compute: Callable[[C], float]) -> Any:
        """The loss, with its gradient if that was wanted; `compute` returns the sum of all."""
        total = compute(self.call) if self.call.logits.size else _of_nothing(self.call)
        if self.reduction.kind == "none":
            assert self.call.losses is not None
            loss = self.reduction.each(self.call.losses)
        else:
            loss = self.reduction.of_sum(total)
        return loss if self.grad is None else (loss, self.grad)


def _of_nothing(call: LossCall | BinaryCall) -> float:
    """The sum of the losses, which are filled, of no rows or of rows of no classes."""
    if isinstance(call, BinaryCall):
        return 0.0
    call.losses.fill(0.0)
    if call.labels is not None:
        np.copyto(call.losses, nan, where=call.labels == INVALID)
    return float(call.losses.sum())


def choice(name: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, not {value!r}")
    return value


def _class_axis(axis: AxisLike, ndim: int) -> int:
    if axis is None or isinstance(axis, tuple):
        raise TypeError(f"axis must be an int, the one class axis, not {axis!r}")
    return normalize_axes(axis, UNSET, -1, ndim)[0]


def _smoothing(label_smoothing: Any) -> float:
    try:
        smoothing = nan if isinstance(label_smoothing, str) else float(label_smoothing)
    except (TypeError, ValueError):
        smoothing = nan
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, not {label_smoothing!r}")
    return smoothing


def _class_weight(weight: Any, classes: int, dtype: np.dtype[Any]) -> Array | None:
    if weight is None:
        return None
    values = as_floats(weight, "weight").astype(dtype, order="C", copy=True)
    if values.shape != (classes,):
        raise ValueError(
            f"weight has shape {values.shape}; it must be ({classes},), a number per class"
        )
    bad = ~((values >= 0) & (values < np.inf))
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"weight must be finite and not negative, but weight[{place}] is {values[place]}"
        )
    return values


def _gradient(
    grad_out: Any, return_grad: bool, like: Array, shape: tuple[int, ...]
) -> tuple[Array | None, Array | None]:
    """The array for the gradient as the caller gets it, and the plain one that is written."""
    if not return_grad:
        if grad_out is not None:
            raise ValueError("grad_out is given, but return_grad is False")
        return None, None
    grad = result_array(grad_out, shape, like.dtype, like, "grad_out")
    return grad, grad.view(np.ndarray)


def _all_apart(grad: Array, *arrays: Array | None) -> list[Array | None]:
    """The arrays that there are, apart from the gradient's memory."""
    return [None if array is None else apart(array, grad) for array in arrays]


def _indices_or_probabilities(
    labels: Any, logits: Array, axis: int, ignore_index: int | None, check: bool
) -> tuple[Array | None, Array | None]:
    given = as_array(labels, "labels")
    rows = reduced_shape(logits.shape, (axis,))
    if given.shape == logits.shape:
        if is_float(given.dtype):
            return None, as_floats(given, "labels")
        dense = as_floats(given, "labels")  # refuses what is no number
        return None, dense.astype(compute_dtype(logits.dtype), copy=False)
    if given.shape != rows:
        raise ValueError(
            f"labels has shape {given.shape}; for logits of shape {logits.shape} and class axis "
            f"{axis} it must be {rows} for class indices or {logits.shape} for probabilities"
        )
    return _indices(given, logits, axis, ignore_index, check), None


def _indices(
    labels: Array, logits: Array, axis: int, ignore_index: int | None, check: bool
) -> Array:
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"labels has dtype {labels.dtype}; class indices are integers, as by astype(int), and "
            f"class probabilities have the logits' shape {logits.shape}"
        )
    indices = class_indices(labels, logits.shape[axis], ignore_index, check)
    return indices.reshape(kept_shape(logits.shape, (axis,)))


def cross_entropy_call(
    logits: Any,
    labels: Any,
    axis: AxisLike,
    weight: Any,
    ignore_index: Any,
    label_smoothing: Any,
    reduction: Any,
    where: Any,
    return_grad: bool,
    grad_out: Any,
    check_labels: bool,
    on_empty: Any,
    threads: int,
) -> Loss[LossCall]:
    """Normal form of `cross_entropy`."""
    kind = choice("reduction", reduction, REDUCTIONS)
    empty = 0.0 if choice("on_empty", on_empty, ON_EMPTY) == "zero" else nan
    ignored, smoothing = as_ignore_index(ignore_index), _smoothing(label_smoothing)
    x = as_floats(logits, "logits")
    class_axis = _class_axis(axis, x.ndim)
    mask = as_mask(logits, where, x.shape, "logits")
    computed = compute_dtype(x.dtype)
    factors = _class_weight(weight, x.shape[class_axis], computed)
    hard, soft = _indices_or_probabilities(labels, x, class_axis, ignored, check_labels)
    kept, reduced = kept_shape(x.shape, (class_axis,)), reduced_shape(x.shape, (class_axis,))
    losses = np.empty(kept, computed)
    divisor = float(losses.size) if hard is None else total_weight(hard, factors)
    how = Reduction(kind, divisor, empty, reduced, x.dtype)
    grad, plain = _gradient(grad_out, return_grad, x, x.shape)
    if grad_out is not None and plain is not None:
        x = apart_or_same(x, plain)
        mask, soft = _all_apart(plain, mask, soft)
    call = LossCall(
        *(x, class_axis, mask, hard, soft, factors, smoothing, losses, plain, how.scale, threads)
    )
    return Loss(call, how, grad)


def nll_loss_call(
    log_probs: Any,
    labels: Any,
    axis: AxisLike,
    weight: Any,
    ignore_index: Any,
    reduction: Any,
    threads: int,
) -> Loss[LossCall]:
    """Normal form of `nll_loss`."""
    kind = choice("reduction", reduction, REDUCTIONS)
    ignored = as_ignore_index(ignore_index)
    x = as_floats(log_probs, "log_probs")
    class_axis = _class_axis(axis, x.ndim)
    computed = compute_dtype(x.dtype)
    factors = _class_weight(weight, x.shape[class_axis], computed)
    given = as_array(labels, "labels")
    reduced = reduced_shape(x.shape, (class_axis,))
    if given.shape != reduced:
        raise ValueError(
            f"labels has shape {given.shape}; for log_probs of shape {x.shape} and class axis "
            f"{class_axis} it must be {reduced}"
        )
    hard = _indices(given, x, class_axis, ignored, True)
    losses = np.empty(hard.shape, computed)
    how = Reduction(kind, total_weight(hard, factors), nan, reduced, x.dtype)
    call = LossCall(
        *(x, class_axis, None, hard, None, factors, 0.0, losses, None, how.scale, threads)
    )
    return Loss(call, how, None)


def binary_cross_entropy_call(
    logits: Any,
    targets: Any,
    weight: Any,
    pos_weight: Any,
    reduction: Any,
    return_grad: bool,
    grad_out: Any,
    threads: int,
) -> Loss[BinaryCall]:
    """Normal form of `binary_cross_entropy`."""
    kind = choice("reduction", reduction, REDUCTIONS)
    x = as_floats(logits, "logits")
    given = as_array(targets, "targets")
    if given.shape != x.shape:
        raise ValueError(
            f"targets has shape {given.shape}, but logits has shape {x.shape}; they must be the "
            "same, nothing is broadcast"
        )
    computed = compute_dtype(x.dtype)
    aims = as_floats(given, "targets")
    if not is_float(given.dtype):
        aims = aims.astype(computed, copy=False)
    shape = x.shape
    factors = _broadcast(weight, "weight", shape, computed)
    pos_factors = _broadcast(pos_weight, "pos_weight", shape, computed)
    how = Reduction(kind, float(x.size), nan, shape, x.dtype)
    grad, plain = _gradient(grad_out, return_grad, x, shape)
    if not shape:  # a single number is a row of one
        x, aims, shape = x.reshape(1), aims.reshape(1), (1,)
        factors = None if factors is None else factors.reshape(1)
        pos_factors = None if pos_factors is None else pos_factors.reshape(1)
        plain = None if plain is None else plain.reshape(1)
    losses = np.empty(shape, x.dtype) if kind == "none" else None
    if grad_out is not None and plain is not None:
        x, aims = apart_or_same(x, plain), apart(aims, plain)
        factors, pos_factors = _all_apart(plain, factors, pos_factors)
    scale = how.scale if isfinite(how.scale) else 0.0  # not used: there are no elements
    return Loss(BinaryCall(x, aims, factors, pos_factors, losses, plain, scale, threads), how, grad)


def _broadcast(
    weight: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array | None:
    if weight is None:
        return None
    values = as_floats(weight, name).astype(dtype, copy=False)
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise ValueError(
            f"{name} has shape {values.shape}, which does not broadcast to logits' shape {shape}"
        ) from None


def backward_call(
    grad_output: Any, output: Any, axis: AxisLike, out: Any, threads: int
) -> tuple[BackwardCall, Array]:
    """Normal form of `softmax_backward` and its like, and the result."""
    dy, y = as_floats(grad_output, "grad_output"), as_floats(output, "output")
    if dy.shape != y.shape:
        raise ValueError(
            f"grad_output has shape {dy.shape}, but output has shape {y.shape}; they must be the "
            "same"
        )
    shape = y.shape
    result = result_array(out, shape, promoted(dy.dtype, y.dtype), y if shape else None)
    plain = result.view(np.ndarray)
    if not shape:
        dy, y, plain = dy.reshape(1), y.reshape(1), plain.reshape(1)
    axes = normalize_axes(axis, UNSET, -1, y.ndim)
    if out is not None:
        dy, y = apart_or_same(dy, plain), apart_or_same(y, plain)
    return BackwardCall(dy, y, plain, axes, threads), result


def promoted(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The smallest type that holds both; NumPy knows of no common one for the two half types."""
    if a == b:
        return a
    return np.dtype(np.float64 if "d" in (a.char, b.char) else np.float32)
