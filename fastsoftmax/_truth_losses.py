"""The yardstick of losses and gradients: truths and bounds as in `_truth`, for these operations.

Used by `selftest`, `bench` and the tests; `import fastsoftmax` does not need it. Formulas in long
double, along the last axis, of finite numbers and infinities that have a result.
"""

from __future__ import annotations

import numpy as np

from fastsoftmax._truth import FORMATS, Bound, Truth, _unit, narrowed, promise, truth
from fastsoftmax._typing import Array

_QUANTITIES = ("cross_entropy", "label_gradient", "sigmoid", "log_sigmoid", "binary_cross_entropy")
PROMISES = {
    "cpp": dict.fromkeys(_QUANTITIES, Bound(4)),
    "numba": dict.fromkeys(_QUANTITIES, Bound(4)),
    "numpy": dict.fromkeys(_QUANTITIES, Bound(4))
    | dict.fromkeys(("cross_entropy", "label_gradient"), Bound(4, 1)),
}
"""Per backend and operation; the losses of rows by labels, and the gradient at the labels."""


def promises(backend: str) -> dict[str, Bound]:
    """Those of a backend or a variant of it."""
    return PROMISES[backend.partition(":")[0]]


def promise_of(backend: str, quantity: str, dtype: str) -> Bound:
    """The bound for `sigmoid` and for what `of_mean` knows, by what is promised of its parts.

    One ULP more than those: a mean is rounded to its type, a gradient scaled by a rounded factor.
    """
    family = promises(backend)
    if quantity == "sigmoid":
        return narrowed(family[quantity], dtype)
    if quantity == "gradient":
        others = promise(backend, "softmax", "float64" if dtype == "float64" else "float32")
        most = Bound(*map(max, family["label_gradient"], others))
    else:
        most = family["sigmoid" if quantity == "binary_gradient" else quantity]
    return narrowed(most._replace(fixed=most.fixed + 1), dtype)


def _truth(values: Array, dtype: np.dtype[np.floating], gap: Array, own_error: Bound) -> Truth:
    kind = FORMATS[dtype.name]
    size = np.nan_to_num(np.abs(values), posinf=0)
    return Truth(values, _unit(size, kind), gap, 2.0**kind.lowest, own_error)


def _own_error() -> Bound:
    """That of the truth for float64: none where long double is wider."""
    return Bound(0) if np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant else Bound(4, 1)


def by_label(operation: str, x: Array, labels: Array) -> Truth:
    """Each row's cross-entropy ("cross_entropy"), or its derivative by the label's logit."""
    scores, at = x.astype(np.longdouble), labels[:, None]
    winner = scores.argmax(-1)[:, None]
    shifted = scores - np.take_along_axis(scores, winner, -1)
    terms = np.exp(shifted)
    rest = terms.copy()
    np.put_along_axis(rest, winner, 0.0, -1)
    behind = shifted.copy()
    np.put_along_axis(behind, winner, -np.inf, -1)
    gap = -behind.max(-1)
    if operation == "cross_entropy":
        values = np.log1p(rest.sum(-1)) - np.take_along_axis(shifted, at, -1)[:, 0]
    else:
        np.put_along_axis(terms, at, 0.0, -1)  # what is not the label's, itself not a difference
        values = -terms.sum(-1) / (1 + rest.sum(-1))
    return _truth(values, x.dtype, gap, _own_error())


def of_elements(operation: str, x: Array, targets: Array | None = None) -> Truth:
    """`sigmoid`, `log_sigmoid`, or the binary cross-entropy for targets of 0 and 1."""
    scores = x.astype(np.longdouble)
    if targets is not None:
        scores = np.where(targets == 1, scores, -scores)
    if operation == "sigmoid":
        term = np.exp(-np.abs(scores))
        values = np.where(scores < 0, term, 1) / (1 + term)
    else:
        values = np.minimum(scores, 0) - np.log1p(np.exp(-np.abs(scores)))
        if operation == "binary_cross_entropy":
            values = -values
    return _truth(values, x.dtype, np.zeros_like(scores), _own_error())


def of_mean(quantity: str, x: Array, given: Array, copies: Array) -> Truth:
    """A mean loss of rows that are there so many times each, or every row's part of its gradient.

    Of labels "cross_entropy" or "gradient", of targets "binary_cross_entropy" or "binary_gradient".
    """
    if quantity == "cross_entropy":
        return _mean(by_label(quantity, x, given), x.dtype, copies)
    if quantity == "binary_cross_entropy":
        return _mean(of_elements(quantity, x, given), x.dtype, copies)
    if quantity == "gradient":
        parts, count = _gradient(x, given), copies.sum()
    else:
        parts, count = _binary_gradient(x, given), copies.sum() * x.shape[-1]
    return _truth(parts.values / count, x.dtype, parts.gap, parts.own_error)


def _mean(losses: Truth, dtype: np.dtype[np.floating], copies: Array) -> Truth:
    """Of losses that err by all they may, and to the same side: their mean ULP, their mean gap."""
    weights = copies.reshape(-1, *[1] * (losses.values.ndim - 1))
    count = weights.sum() * losses.values[0].size
    values = (losses.values * weights).sum() / count
    errors = losses.unit * weights
    unit = np.maximum(errors.sum() / count, _unit(values, FORMATS[dtype.name]))
    gap = (errors * losses.gap).sum() / count / unit
    return losses._replace(values=values[None], unit=unit[None], gap=gap[None])


def _gradient(x: Array, labels: Array) -> Truth:
    """Each row's probabilities, less 1 at the label."""
    rows, at = truth("softmax", x), labels[:, None]
    own = by_label("label_gradient", x, labels)
    values, gap = rows.values.astype(np.longdouble), rows.gap.astype(np.longdouble)
    np.put_along_axis(values, at, own.values[:, None], -1)
    np.put_along_axis(gap, at, own.gap[:, None], -1)
    return own._replace(values=values, gap=gap)


def _binary_gradient(x: Array, targets: Array) -> Truth:
    """The sigmoid, less 1 where the target is 1."""
    sides = np.where(targets == 1, -1, 1)
    of_others = of_elements("sigmoid", sides * x)
    return of_others._replace(values=sides * of_others.values)
