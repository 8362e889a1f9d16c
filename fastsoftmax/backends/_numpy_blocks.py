"""What the NumPy backend's operations share: blocks that stay in the cache, sums, silence.

No operation lives here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from math import prod
from typing import Any, TypeVar

import numpy as np

from fastsoftmax._typing import Array, Call

T = TypeVar("T")

BLOCK = 1 << 19
"""Bytes of x that one step works on: large enough for calls to cost little, and still near L2."""

RUN = 256
"""Neighbours that a step leaves together, as every run of them costs a ufunc some 20 ns."""

SMALL = 2048
"""Terms up to which the calls of a faster sum take longer than the slowest one."""


def _quiet_context() -> Any:
    context = copy_context()
    context.run(np.seterr, all="ignore")
    return context


if int(np.__version__.split(".")[0]) >= 2:  # which keeps what to do on errors in a context
    _QUIET = _quiet_context()

    def quietly(function: Callable[..., T], *arguments: Any) -> T:
        """Call without warnings of NaN and infinities; np.errstate takes 0.9 us, this 0.1 us."""
        result: T = _QUIET.copy().run(function, *arguments)
        return result

else:

    def quietly(function: Callable[..., T], *arguments: Any) -> T:
        """Call without warnings of NaN and infinities."""
        with np.errstate(all="ignore"):
            return function(*arguments)


def steps(
    call: Call, *more: Array | None, temporaries: bool = False
) -> list[tuple[Call, tuple[Array | None, ...]]]:
    """The call cut along its longest batch axis into blocks, with `more` arrays cut alike.

    Not cut where that only costs time, unless there are `temporaries` in any case.
    """
    x = call.x
    if x.nbytes <= BLOCK or len(call.axes) == x.ndim or (not temporaries and _works_whole(call)):
        return [(call, more)]
    axis = max((i for i in range(x.ndim) if i not in call.axes), key=x.shape.__getitem__)
    length = x.shape[axis]
    step = max(1, BLOCK * length // x.nbytes)
    if x.strides[axis] == x.itemsize:
        step = max(step, RUN)
    parts = []
    for start in range(0, length, step):
        cut = (slice(None),) * axis + (slice(start, start + step),)
        where = None if call.where is None else call.where[cut]
        scale = call.temperature
        scale = scale if isinstance(scale, float) else scale[cut]
        part = Call(x[cut], call.out[cut], call.axes, where, scale, call.threads)
        parts.append((part, tuple(None if array is None else array[cut] for array in more)))
    return parts


def _works_whole(call: Call) -> bool:
    """Whether the passes need no temporaries and cutting would only shorten their inner loops.

    That is so where classes lie farther apart than rows: (1000, 1024) in stripes of 256 columns,
    which share few places in a cache, takes 1.5 times as long.
    """
    x, out, axes = call.x, call.out, call.axes
    return (
        len(axes) > 0
        and is_plain(call)
        and x.shape == out.shape
        and x.strides == out.strides
        and abs(x.strides[axes[-1]]) > x.itemsize
    )


def is_plain(call: Call) -> bool:
    """Whether the call has one type throughout, every class and the temperature 1."""
    x, out, _, where, temperature, _ = call
    return (
        where is None
        and type(temperature) is float
        and temperature == 1.0
        and x.dtype == out.dtype == call.compute_dtype
    )


def is_lone(x: Array, axes: tuple[int, ...]) -> bool:
    """Whether x is a single row."""
    return len(axes) == x.ndim or (len(axes) == 1 and x.shape[axes[0]] == x.size)


def over(ufunc: np.ufunc, x: Array, axes: tuple[int, ...], dtype: Any = None) -> Any:
    """The ufunc's reduction over the class axes, which stay, at length 1.

    Of a lone row 0-d, which broadcasts as well and takes a third of the time.
    """
    if is_lone(x, axes):
        return np.asarray(ufunc.reduce(x, None, dtype))
    return ufunc.reduce(x, axes, dtype, keepdims=True)


def wider(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64 if dtype == np.float32 else np.longdouble)


def _parts(array: Array, axes: tuple[int, ...]) -> list[Array]:
    """An array cut along its class axes' first into parts whose temporaries stay in the cache."""
    if array.nbytes <= BLOCK or not axes:
        return [array]
    length, before = array.shape[axes[0]], (slice(None),) * axes[0]
    step = max(1, BLOCK * length // array.nbytes)
    return [array[(*before, slice(i, i + step))] for i in range(0, length, step)]


def sums(terms: Array, axes: tuple[int, ...], *, exp: bool = False) -> Any:
    """The sums of terms from 0 to 1, in a wider type and as exact as if added in it.

    NumPy sums pairwise along the last axis only, and even there 18 roundings may add up. With
    `exp`, what is given are the logarithms of the terms.
    """
    if terms.size <= SMALL:
        return _sum_wider(np.exp(terms) if exp else terms, axes)
    add = _sum_in_parts if terms.dtype == np.float64 else _sum_wider
    totals = [add(np.exp(part) if exp else part, axes) for part in _parts(terms, axes)]
    return totals[0] if len(totals) == 1 else sum(totals)


def _sum_wider(terms: Array, axes: tuple[int, ...]) -> Any:
    return over(np.add, terms, axes, wider(terms.dtype))


def _sum_in_parts(terms: Array, axes: tuple[int, ...]) -> Any:
    """The same of float64 in 0.8 ns an element, where a sum in long double takes 3 ns.

    The high parts of the terms have an exact sum, and the low ones are so small that no error in
    theirs matters.
    """
    cut = 1.5 * 2.0 ** prod(terms.shape[axis] for axis in axes).bit_length()
    high = terms + cut
    np.subtract(high, cut, out=high)
    total = over(np.add, high, axes).astype(np.longdouble)
    total += over(np.add, np.subtract(terms, high, out=high), axes)
    return total
