"""The readable reference: ufuncs in place, block by block, so that temporaries stay in the cache.

Subtracts the maximum, hence its accuracy: 4 + (max - x) ULP; where softmax does without, it is
better. Results below the smallest normal number are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastsoftmax._at_labels import nll_loss
from fastsoftmax._ordinary import Rows, shortcuts
from fastsoftmax._sampling.numpy_steps import NumpySteps
from fastsoftmax._typing import (
    Array,
    BackwardCall,
    BinaryCall,
    Call,
    DrawCall,
    LossCall,
    UpdateCall,
)
from fastsoftmax.backends import _numpy_losses as losses
from fastsoftmax.backends import _numpy_updates as updates
from fastsoftmax.backends._numpy_blocks import (
    BLOCK,
    SMALL,
    is_lone,
    is_plain,
    over,
    quietly,
    steps,
    sums,
    wider,
)
from fastsoftmax.backends._numpy_draws import draw

LEAST, MOST = -1.0, 64.0
"""Maxima of float32 rows that softmax need not subtract: one pass of five less, and one rounding.

exp(x) has all its digits then wherever the result has, but for 1.4 ULP at the very smallest, and a
sum of 2**35 of them is finite. Not in float64, where sums ask for terms up to 1.
"""

ONES = np.ones(SMALL)
"""By them a dot product sums a small row, in half the time of np.add.reduce."""

FOLD = 4096
"""Classes, an eighth as many in float64, from which on their halves are added first."""

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

CONFIDENT = 2.0**-10 if np.finfo(np.longdouble).nmant > 52 else 0.5
"""Sum of the terms behind the largest, which is 1, below which they are summed by themselves.

The sum of all less 1 would have too few digits left, if long double is no wider than float64 soon.
"""


def reason() -> str | None:
    """NumPy is a requirement of the package: nothing speaks against this backend."""
    return None


def variants() -> dict[str, str | None]:
    """There are none."""
    return {}


def load(variant: str | None) -> NumpyBackend:
    """The backend."""
    return NumpyBackend()


def _masked(call: Call) -> Array:
    """x in the compute type, -inf where classes are left out; x itself if that changes nothing."""
    if call.where is None:
        return call.x.astype(call.compute_dtype, copy=False)
    return np.where(call.where, call.x, -np.inf).astype(call.compute_dtype, copy=False)


def _total(terms: Array, axes: tuple[int, ...]) -> Any:
    """The sum of terms from 0 to 1, rounded twice at most, in their type."""
    if SMALL < terms.size <= BLOCK // terms.itemsize:
        long = FOLD if terms.dtype == np.float32 else FOLD // 8
        if axes and terms.shape[axes[-1]] >= long:
            terms = _folded(terms, axes[-1])
    return sums(terms, axes).astype(terms.dtype)


def _folded(terms: Array, axis: int) -> Array:
    """The two halves of an axis added: half as much is left for the slower, exact sum."""
    length, before = terms.shape[axis], (slice(None),) * axis
    half = length // 2
    folded: Array = terms[(*before, slice(half))] + terms[(*before, slice(half, 2 * half))]
    if length % 2:
        folded[(*before, slice(1))] += terms[(*before, slice(-1, None))]
    return folded


def _scores(call: Call, shift: Callable[[Array], Array | None] = np.asarray) -> Array:
    """(x - shift(max)) / T, written into `out` where its type allows; x itself if that is None."""
    x = _masked(call)
    into = call.out if call.out.dtype == x.dtype else None
    top = over(np.maximum, x, call.axes)
    if isinstance(call.temperature, float) and call.temperature == 1.0:
        if (by := shift(top)) is None:
            return x
        plain: Array = np.subtract(x, by, out=into)
        return plain
    # Wider: one rounding, and no overflow of a difference that is still to be divided.
    scores = np.subtract(x, top, dtype=wider(x.dtype))
    np.divide(scores, call.temperature, out=scores)
    rounded: Array = scores.astype(x.dtype)
    return rounded


def _finish(call: Call, result: Array, absent: float) -> None:
    if call.where is not None:
        np.copyto(result, absent, where=~call.where)
    if result is not call.out:
        np.copyto(call.out, result, casting="same_kind")


def _log_total(scores: Array, axes: tuple[int, ...]) -> Any:
    """log(sum(exp(scores))) for scores whose maximum is 0, in float64."""
    rest = np.asarray((sums(scores, axes, exp=True) - 1.0).astype(np.float64))
    confident = rest < CONFIDENT
    if confident.any():
        rows = np.moveaxis(scores, axes, range(-len(axes), 0))
        chosen = rows[confident.reshape(rows.shape[: rows.ndim - len(axes)])]
        rest[confident] = _rest(chosen.reshape(len(chosen), -1))
    return np.log1p(rest)


def _rest(rows: Array) -> Any:
    """The sum without the largest term, which is left out: rests near 0 keep their digits."""
    top, terms = rows == 0, np.exp(rows)
    np.copyto(terms, 0.0, where=top)
    return terms.sum(1, dtype=wider(rows.dtype)) + (np.count_nonzero(top, axis=1) - 1)


def _needed(top: Array) -> Array | None:
    """What softmax subtracts of maxima, row by row: a row does not depend on those beside it."""
    if top.dtype != np.float32:
        return top
    tame = (top >= LEAST) & (top <= MOST)
    return None if tame.all() else np.where(tame, np.float32(0), top)


def _softmax(call: Call) -> None:
    if call.x.size <= SMALL and is_lone(call.x, call.axes) and is_plain(call):
        _softmax_row(call.x, call.out)
        return
    for step, _ in steps(call):
        # In a small call a subtraction takes 0.5 us, and finding out that it can go 4 us.
        scores = _scores(step, _needed if step.x.size > SMALL else np.asarray)
        terms = step.out if step.out.dtype == scores.dtype else np.empty_like(scores)
        np.exp(scores, out=terms)
        np.divide(terms, _total(terms, step.axes), out=terms)
        _finish(step, terms, 0.0)


def _softmax_row(x: Array, out: Array) -> None:
    """The same of a lone small row, in fewer and cheaper calls."""
    # The dtype by its letter and `out` by its place: each is 0.1 us less of 3.
    narrow = x.dtype.char == "f"
    top = x.item(x.argmax())  # a NaN, if there is one; np.maximum.reduce takes 0.7 us more
    if narrow and LEAST <= top <= MOST:
        np.exp(x, out)
    else:
        np.subtract(x, top, out)
        np.exp(out, out)
    if narrow:
        total = np.float32(out.astype(_FLOAT64).ravel().dot(ONES[: out.size]))
    else:
        total = np.add.reduce(out, None, np.longdouble).astype(np.float64)
    np.divide(out, total, out)


def _log_softmax(call: Call) -> None:
    for step, _ in steps(call):
        scores = _scores(step)
        np.subtract(scores, _log_total(scores, step.axes).astype(scores.dtype), out=scores)
        _finish(step, scores, -np.inf)


def _logsumexp(call: Call, weights: Array | None, sign: Array | None) -> None:
    if call.out.size == call.x.size and weights is None and sign is None and call.where is None:
        np.copyto(call.out, call.x, casting="same_kind")
        return
    for step, (factors, signs) in steps(call, weights, sign):
        x = _masked(step)
        if factors is None:
            largest = over(np.maximum, x, step.axes)
            finite = np.isfinite(largest)
            shift = largest if finite.all() else np.where(finite, largest, 0)
            lse = shift + _log_total(x - shift, step.axes)
            if shift is not largest:
                lse = np.where(finite, lse, largest)
            total = lse > -np.inf if signs is None else np.where(np.isnan(lse), lse, lse > -np.inf)
        else:
            # The weights count too in what is largest: exp(x) alone could underflow.
            addends = np.where(x == -np.inf, x, x + np.log(np.abs(factors)))
            largest = over(np.maximum, addends, step.axes)
            shift = np.where(np.isfinite(largest), largest, 0)
            terms = np.exp(addends - shift)
            np.multiply(terms, np.sign(factors), out=terms, where=terms != 0)
            total = over(np.add, terms, step.axes, wider(terms.dtype))
            lse = shift + np.log(np.abs(total))
            if signs is None:
                lse = np.where(total < 0, np.nan, lse)
        if signs is not None:
            np.copyto(signs, np.sign(total), casting="same_kind")
        np.copyto(step.out, lse, casting="same_kind")


def _rows(operation: Callable[[Call], None]) -> dict[np.dtype[Any], Rows]:
    """An operation as the shortcut wants it: of rows in float32 and in float64."""

    def rows(x: Array, out: Array) -> bool:
        if x is not out and (x.shape != out.shape or np.may_share_memory(x, out)):
            return False
        if operation is _softmax and len(x) == 1 and x.size <= SMALL:
            quietly(_softmax_row, x, out)
        else:
            quietly(operation, Call(x, out, (1,), None, 1.0, 1))
        return True

    return dict.fromkeys((_FLOAT32, _FLOAT64), rows)


class NumpyBackend(NumpySteps):
    """The operations in NumPy."""

    name = "numpy"

    def __init__(self) -> None:
        self.shortcuts = shortcuts(_rows(_softmax), _rows(_log_softmax))

    def softmax(self, call: Call) -> None:
        """See `fastsoftmax.softmax`."""
        quietly(_softmax, call)

    def log_softmax(self, call: Call) -> None:
        """See `fastsoftmax.log_softmax`."""
        quietly(_log_softmax, call)

    def logsumexp(self, call: Call, weights: Array | None, sign: Array | None) -> None:
        """See `fastsoftmax.logsumexp`."""
        quietly(_logsumexp, call, weights, sign)

    def sigmoid(self, call: Call) -> None:
        """See `fastsoftmax.sigmoid`."""
        quietly(losses.sigmoid, call)

    def log_sigmoid(self, call: Call) -> None:
        """See `fastsoftmax.log_sigmoid`."""
        quietly(losses.log_sigmoid, call)

    def softmax_backward(self, call: BackwardCall) -> None:
        """See `fastsoftmax.softmax_backward`."""
        quietly(losses.softmax_backward, call)

    def log_softmax_backward(self, call: BackwardCall) -> None:
        """See `fastsoftmax.log_softmax_backward`."""
        quietly(losses.log_softmax_backward, call)

    def cross_entropy(self, call: LossCall) -> float:
        """See `fastsoftmax.cross_entropy`."""
        return quietly(losses.cross_entropy, call)

    def nll_loss(self, call: LossCall) -> float:
        """See `fastsoftmax.nll_loss`."""
        return nll_loss(call)

    def binary_cross_entropy(self, call: BinaryCall) -> float:
        """See `fastsoftmax.binary_cross_entropy`."""
        return quietly(losses.binary_cross_entropy, call)

    def draw(self, call: DrawCall) -> tuple[int, int]:
        """See `Backend`."""
        return draw(call)

    def update_rows(self, call: UpdateCall) -> None:
        """See `Backend`."""
        quietly(updates.update_rows, call)
