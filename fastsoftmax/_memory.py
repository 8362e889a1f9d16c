"""Memory of results that the caller does not hand in: recycled by the core, else NumPy's own."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np

from fastsoftmax._typing import Array


class _Recycler(Protocol):
    def reason(self) -> str | None: ...
    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any], like: Array | None) -> Array: ...
    def clear_cache(self) -> None: ...


@cache
def _recycler() -> _Recycler | None:
    """The core, whichever backend computes; None where it cannot run."""
    core = cast(_Recycler, import_module("fastsoftmax.backends._cpp"))
    return core if core.reason() is None else None


def empty(shape: tuple[int, ...], dtype: np.dtype[Any], like: Array | None = None) -> Array:
    """An array of unknown content; its order in memory is that of `like`, which has its shape."""
    if (recycler := _recycler()) is not None:
        return recycler.empty(shape, dtype, like)
    if like is None:
        return np.empty(shape, dtype)
    return np.empty_like(like, dtype=dtype, subok=False)


def clear_cache() -> None:
    """Return the memory that is kept for results to the system.

    Fresh memory costs more time than a softmax, so that of results of 64 KiB or more is kept when
    they are gone, for results of about the same size: at most 1 GiB in a process, an eighth of the
    memory where that is less; what was unused longest goes first. Results that are alive are not
    touched.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.clear_cache()
    """
    if (recycler := _recycler()) is not None:
        recycler.clear_cache()
