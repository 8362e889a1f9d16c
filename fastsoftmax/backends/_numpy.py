"""The readable reference: ufuncs in place, block by block, so that temporaries stay in the cache.

Subtracts the maximum, hence its accuracy: 4 + (max - x) ULP. Results below the smallest normal
number are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from fastsoftmax._typing import Array, Call

BLOCK = 1 << 16
"""Elements that one step works on: 256 KiB of float32, so that the passes meet their data in L2."""


def reason() -> str | None:
    """NumPy is a requirement of the package: nothing speaks against this backend."""
    return None


def variants() -> dict[str, str | None]:
    """There are none."""
    return {}


def load(variant: str | None) -> NumpyBackend:
    """The backend."""
    return NumpyBackend()


def _steps(call: Call, *more: Array | None) -> Iterator[tuple[Call, list[Array | None]]]:
    """The call cut along its longest batch axis into blocks, with `more` arrays cut alike."""
    batch = [i for i in range(call.x.ndim) if i not in call.axes]
    if call.x.size <= BLOCK or not batch:
        yield call, list(more)
        return
    axis = max(batch, key=call.x.shape.__getitem__)
    length = call.x.shape[axis]
    step = max(1, BLOCK * length // call.x.size)
    for start in range(0, length, step):
        cut = (slice(None),) * axis + (slice(start, start + step),)
        x, out = call.x[cut], call.out[cut]
        where = None if call.where is None else call.where[cut]
        scale = call.temperature
        scale = scale if isinstance(scale, float) else scale[cut]
        yield (
            Call(x, out, call.axes, where, scale, call.threads),
            [None if array is None else array[cut] for array in more],
        )


def _masked(call: Call) -> Array:
    """x in the compute type, -inf where classes are left out; x itself if that changes nothing."""
    if call.where is None:
        return call.x.astype(call.compute_dtype, copy=False)
    return np.where(call.where, call.x, -np.inf).astype(call.compute_dtype, copy=False)


def _wider(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64 if dtype == np.float32 else np.longdouble)


def _total(terms: Array, axes: tuple[int, ...]) -> Array:
    # NumPy sums pairwise along the last axis only, and even there 18 roundings may add up.
    total: Array = terms.sum(axes, dtype=_wider(terms.dtype), keepdims=True)
    return total.astype(terms.dtype, copy=False)


def _scores(call: Call) -> Array:
    """(x - max) / T, written into `out` where its type allows."""
    x = _masked(call)
    into = call.out if call.out.dtype == call.compute_dtype else None
    top = x.max(call.axes, keepdims=True)
    if isinstance(call.temperature, float) and call.temperature == 1.0:
        plain: Array = np.subtract(x, top, out=into)
        return plain
    # Wider: one rounding, and no overflow of a difference that is still to be divided.
    scores = np.subtract(x, top, dtype=_wider(x.dtype))
    np.divide(scores, call.temperature, out=scores)
    rounded: Array = scores.astype(call.compute_dtype)
    return rounded


def _finish(call: Call, result: Array, absent: float) -> None:
    if call.where is not None:
        np.copyto(result, absent, where=~call.where)
    if result is not call.out:
        np.copyto(call.out, result, casting="same_kind")


def _log_total(scores: Array, axes: tuple[int, ...]) -> Array:
    """log(sum(exp(scores))) for scores whose maximum is 0, that maximum left out of the sum."""
    top = scores == 0
    terms = np.exp(scores)
    terms[top] = 0
    ties = np.count_nonzero(top, axis=axes, keepdims=True) - 1
    rest = _total(terms, axes)
    np.add(rest, ties, out=rest, casting="same_kind")
    np.log1p(rest, out=rest)
    return rest


class NumpyBackend:
    """The operations in NumPy."""

    name = "numpy"

    def softmax(self, call: Call) -> None:
        """See `fastsoftmax.softmax`."""
        with np.errstate(all="ignore"):
            for step, _ in _steps(call):
                terms = _scores(step)
                np.exp(terms, out=terms)
                np.divide(terms, _total(terms, step.axes), out=terms)
                _finish(step, terms, 0.0)

    def log_softmax(self, call: Call) -> None:
        """See `fastsoftmax.log_softmax`."""
        with np.errstate(all="ignore"):
            for step, _ in _steps(call):
                scores = _scores(step)
                np.subtract(scores, _log_total(scores, step.axes), out=scores)
                _finish(step, scores, -np.inf)

    def logsumexp(self, call: Call, weights: Array | None, sign: Array | None) -> None:
        """See `fastsoftmax.logsumexp`."""
        classes = prod(call.x.shape[axis] for axis in call.axes)
        with np.errstate(all="ignore"):
            if classes == 1 and weights is None and sign is None and call.where is None:
                np.copyto(call.out, call.x, casting="same_kind")
                return
            for step, (factors, signs) in _steps(call, weights, sign):
                x = _masked(step)
                largest = x.max(step.axes, keepdims=True)
                shift = np.where(np.isfinite(largest), largest, 0)
                if factors is None:
                    lse = shift + _log_total(x - shift, step.axes)
                    np.copyto(lse, largest, where=~np.isfinite(largest))
                    total = np.where(np.isnan(lse), np.nan, lse > -np.inf)
                else:
                    # The weights count too in what is largest: exp(x) alone could underflow.
                    addends = np.where(x == -np.inf, x, x + np.log(np.abs(factors)))
                    largest = addends.max(step.axes, keepdims=True)
                    shift = np.where(np.isfinite(largest), largest, 0)
                    terms = np.exp(addends - shift)
                    np.multiply(terms, np.sign(factors), out=terms, where=terms != 0)
                    total = _total(terms, step.axes)
                    lse = shift + np.log(np.abs(total))
                    if signs is None:
                        np.copyto(lse, np.nan, where=total < 0)
                if signs is not None:
                    np.copyto(signs, np.sign(total), casting="same_kind")
                np.copyto(step.out, lse, casting="same_kind")
