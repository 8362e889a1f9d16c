"""The readable reference: ufuncs in place, block by block, so that temporaries stay in the cache.

Subtracts the maximum, hence its accuracy: 4 + (max - x) ULP; where softmax does without, it is
better. Results below the smallest normal number are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from math import prod
from typing import Any

import numpy as np

from fastsoftmax._ordinary import Rows, shortcuts
from fastsoftmax._typing import Array, Call

BLOCK = 1 << 19
"""Bytes of x that one step works on: large enough for calls to cost little, and still near L2."""

RUN = 256
"""Neighbours that a step leaves together, as every run of them costs a ufunc some 20 ns."""

SMALL = 2048
"""Terms up to which the calls of a faster sum take longer than the slowest one."""

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


def _quiet_context() -> Any:
    context = copy_context()
    context.run(np.seterr, all="ignore")
    return context


if int(np.__version__.split(".")[0]) >= 2:  # which keeps what to do on errors in a context
    _QUIET = _quiet_context()

    def _quietly(function: Callable[..., None], *arguments: Any) -> None:
        """Call without warnings of NaN and infinities; np.errstate takes 0.9 us, this 0.1 us."""
        _QUIET.copy().run(function, *arguments)

else:

    def _quietly(function: Callable[..., None], *arguments: Any) -> None:
        """Call without warnings of NaN and infinities."""
        with np.errstate(all="ignore"):
            function(*arguments)


def _steps(call: Call, *more: Array | None) -> list[tuple[Call, tuple[Array | None, ...]]]:
    """The call cut along its longest batch axis into blocks, with `more` arrays cut alike."""
    x = call.x
    if x.nbytes <= BLOCK or len(call.axes) == x.ndim or _works_whole(call):
        return [(call, more)]
    axis = max((i for i in range(x.ndim) if i not in call.axes), key=x.shape.__getitem__)
    length = x.shape[axis]
    step = max(1, BLOCK * length // x.nbytes)
    if x.strides[axis] == x.itemsize:
        step = max(step, RUN)
    steps = []
    for start in range(0, length, step):
        cut = (slice(None),) * axis + (slice(start, start + step),)
        where = None if call.where is None else call.where[cut]
        scale = call.temperature
        scale = scale if isinstance(scale, float) else scale[cut]
        part = Call(x[cut], call.out[cut], call.axes, where, scale, call.threads)
        steps.append((part, tuple(None if array is None else array[cut] for array in more)))
    return steps


def _works_whole(call: Call) -> bool:
    """Whether the passes need no temporaries and cutting would only shorten their inner loops.

    That is so where classes lie farther apart than rows: (1000, 1024) in stripes of 256 columns,
    which share few places in a cache, takes 1.5 times as long.
    """
    x, out, axes = call.x, call.out, call.axes
    return (
        len(axes) > 0
        and _is_plain(call)
        and x.shape == out.shape
        and x.strides == out.strides
        and abs(x.strides[axes[-1]]) > x.itemsize
    )


def _is_plain(call: Call) -> bool:
    """Whether the call has one type throughout, every class and the temperature 1."""
    x, out, _, where, temperature, _ = call
    return (
        where is None
        and type(temperature) is float
        and temperature == 1.0
        and x.dtype == out.dtype == call.compute_dtype
    )


def _is_lone(x: Array, axes: tuple[int, ...]) -> bool:
    """Whether x is a single row."""
    return len(axes) == x.ndim or (len(axes) == 1 and x.shape[axes[0]] == x.size)


def _over(ufunc: np.ufunc, x: Array, axes: tuple[int, ...], dtype: Any = None) -> Any:
    """The ufunc's reduction over the class axes, which stay, at length 1.

    Of a lone row 0-d, which broadcasts as well and takes a third of the time.
    """
    if _is_lone(x, axes):
        return np.asarray(ufunc.reduce(x, None, dtype))
    return ufunc.reduce(x, axes, dtype, keepdims=True)


def _masked(call: Call) -> Array:
    """x in the compute type, -inf where classes are left out; x itself if that changes nothing."""
    if call.where is None:
        return call.x.astype(call.compute_dtype, copy=False)
    return np.where(call.where, call.x, -np.inf).astype(call.compute_dtype, copy=False)


def _wider(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64 if dtype == np.float32 else np.longdouble)


def _parts(array: Array, axes: tuple[int, ...]) -> list[Array]:
    """An array cut along its class axes' first into parts whose temporaries stay in the cache."""
    if array.nbytes <= BLOCK or not axes:
        return [array]
    length, before = array.shape[axes[0]], (slice(None),) * axes[0]
    step = max(1, BLOCK * length // array.nbytes)
    return [array[(*before, slice(i, i + step))] for i in range(0, length, step)]


def _sums(terms: Array, axes: tuple[int, ...], *, exp: bool = False) -> Any:
    """The sums of terms from 0 to 1, in a wider type and as exact as if added in it.

    NumPy sums pairwise along the last axis only, and even there 18 roundings may add up. With
    `exp`, what is given are the logarithms of the terms.
    """
    if terms.size <= SMALL:
        return _sum_wider(np.exp(terms) if exp else terms, axes)
    add = _sum_in_parts if terms.dtype == np.float64 else _sum_wider
    sums = [add(np.exp(part) if exp else part, axes) for part in _parts(terms, axes)]
    return sums[0] if len(sums) == 1 else sum(sums)


def _sum_wider(terms: Array, axes: tuple[int, ...]) -> Any:
    return _over(np.add, terms, axes, _wider(terms.dtype))


def _sum_in_parts(terms: Array, axes: tuple[int, ...]) -> Any:
    """The same of float64 in 0.8 ns an element, where a sum in long double takes 3 ns.

    The high parts of the terms have an exact sum, and the low ones are so small that no error in
    theirs matters.
    """
    cut = 1.5 * 2.0 ** prod(terms.shape[axis] for axis in axes).bit_length()
    high = terms + cut
    np.subtract(high, cut, out=high)
    total = _over(np.add, high, axes).astype(np.longdouble)
    total += _over(np.add, np.subtract(terms, high, out=high), axes)
    return total


def _total(terms: Array, axes: tuple[int, ...]) -> Any:
    """The sum of terms from 0 to 1, rounded twice at most, in their type."""
    if SMALL < terms.size <= BLOCK // terms.itemsize:
        long = FOLD if terms.dtype == np.float32 else FOLD // 8
        if axes and terms.shape[axes[-1]] >= long:
            terms = _folded(terms, axes[-1])
    return _sums(terms, axes).astype(terms.dtype)


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
    top = _over(np.maximum, x, call.axes)
    if isinstance(call.temperature, float) and call.temperature == 1.0:
        if (by := shift(top)) is None:
            return x
        plain: Array = np.subtract(x, by, out=into)
        return plain
    # Wider: one rounding, and no overflow of a difference that is still to be divided.
    scores = np.subtract(x, top, dtype=_wider(x.dtype))
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
    rest = np.asarray((_sums(scores, axes, exp=True) - 1.0).astype(np.float64))
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
    return terms.sum(1, dtype=_wider(rows.dtype)) + (np.count_nonzero(top, axis=1) - 1)


def _needed(top: Array) -> Array | None:
    """What softmax subtracts of maxima, row by row: a row does not depend on those beside it."""
    if top.dtype != np.float32:
        return top
    tame = (top >= LEAST) & (top <= MOST)
    return None if tame.all() else np.where(tame, np.float32(0), top)


def _softmax(call: Call) -> None:
    if call.x.size <= SMALL and _is_lone(call.x, call.axes) and _is_plain(call):
        _softmax_row(call.x, call.out)
        return
    for step, _ in _steps(call):
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
    for step, _ in _steps(call):
        scores = _scores(step)
        np.subtract(scores, _log_total(scores, step.axes).astype(scores.dtype), out=scores)
        _finish(step, scores, -np.inf)


def _logsumexp(call: Call, weights: Array | None, sign: Array | None) -> None:
    if call.out.size == call.x.size and weights is None and sign is None and call.where is None:
        np.copyto(call.out, call.x, casting="same_kind")
        return
    for step, (factors, signs) in _steps(call, weights, sign):
        x = _masked(step)
        if factors is None:
            largest = _over(np.maximum, x, step.axes)
            finite = np.isfinite(largest)
            shift = largest if finite.all() else np.where(finite, largest, 0)
            lse = shift + _log_total(x - shift, step.axes)
            if shift is not largest:
                lse = np.where(finite, lse, largest)
            total = lse > -np.inf if signs is None else np.where(np.isnan(lse), lse, lse > -np.inf)
        else:
            # The weights count too in what is largest: exp(x) alone could underflow.
            addends = np.where(x == -np.inf, x, x + np.log(np.abs(factors)))
            largest = _over(np.maximum, addends, step.axes)
            shift = np.where(np.isfinite(largest), largest, 0)
            terms = np.exp(addends - shift)
            np.multiply(terms, np.sign(factors), out=terms, where=terms != 0)
            total = _over(np.add, terms, step.axes, _wider(terms.dtype))
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
            _quietly(_softmax_row, x, out)
        else:
            _quietly(operation, Call(x, out, (1,), None, 1.0, 1))
        return True

    return dict.fromkeys((_FLOAT32, _FLOAT64), rows)


class NumpyBackend:
    """The operations in NumPy."""

    name = "numpy"

    def __init__(self) -> None:
        self.shortcuts = shortcuts(_rows(_softmax), _rows(_log_softmax))

    def softmax(self, call: Call) -> None:
        """See `fastsoftmax.softmax`."""
        _quietly(_softmax, call)

    def log_softmax(self, call: Call) -> None:
        """See `fastsoftmax.log_softmax`."""
        _quietly(_log_softmax, call)

    def logsumexp(self, call: Call, weights: Array | None, sign: Array | None) -> None:
        """See `fastsoftmax.logsumexp`."""
        _quietly(_logsumexp, call, weights, sign)
