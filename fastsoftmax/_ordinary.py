"""The shortcut of the backends in Python: small ordinary calls, as rows, taken past `_arrays`.

Which calls those are stands here, once. It refuses nothing and computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from fastsoftmax._memory import empty
from fastsoftmax._typing import UNSET, Array, Shortcut

Rows: TypeAlias = "Callable[[Array, Array], bool]"
"""Computes rows of scores into rows of results of the same type, both in C order, on one thread.

Declines, by False and with the results untouched, unless the two have one shape and are the very
same memory or disjoint: compiled code sees that in no time, where np.may_share_memory takes 0.2 us.
"""

SMALL = 1 << 15
"""Elements from which on a call takes long enough to hide 2 us, and more threads may pay."""

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_ndarray = np.ndarray


def shortcuts(
    softmax: Mapping[np.dtype[Any], Rows], log_softmax: Mapping[np.dtype[Any], Rows]
) -> dict[str, Shortcut]:
    """The shortcuts over a backend's functions for rows, by the type they are in.

    None for `logsumexp`: refining results near 0 takes longer than the general way there.
    """
    return {"softmax": _elementwise(softmax), "log_softmax": _elementwise(log_softmax)}


def _elementwise(rows: Mapping[np.dtype[Any], Rows]) -> Shortcut:
    # A closure: a method of an object would have to look up what it is of, 0.02 us each time.
    def shortcut(
        x: Any,
        axis: Any,
        out: Any,
        dtype: Any,
        where: Any,
        temperature: Any,
        dim: Any,
        threads: int,
        /,
    ) -> Any:
        if (
            type(x) is not _ndarray
            or ((kind := x.dtype) is not _FLOAT32 and kind is not _FLOAT64)
            or where is not None
            or dtype is not None
            or dim is not UNSET
            or (axis is not UNSET and (type(axis) is not int or -1 != axis != x.ndim - 1))
            or type(temperature) is not float
            or temperature != 1.0
            or not 0 < x.size < SMALL
            or not x.flags.carray
        ):
            return NotImplemented
        if out is None:
            out = empty(x.shape, kind, x)
        elif type(out) is not _ndarray or out.dtype is not kind or not out.flags.carray:
            return NotImplemented
        if x.ndim == 2 == out.ndim:
            return out if rows[kind](x, out) else NotImplemented
        if x.ndim == 0 or x.shape != out.shape:
            return NotImplemented
        shape = (-1, x.shape[-1])
        return out if rows[kind](x.reshape(shape), out.reshape(shape)) else NotImplemented

    return shortcut
