"""What the Numba backend's operations share: pieces of rows, and threads that take them.

No operation lives here, and nothing that Numba compiles.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from math import prod
from typing import TypeAlias, TypeVar

import numpy as np

from fastsoftmax._typing import Array, Call, Mask

Index: TypeAlias = "tuple[int | slice, ...]"
T = TypeVar("T")

PIECE = 1 << 16
"""Elements that a thread takes at a time: 30 us of work in float32, and 256 KiB of L2."""

SHARE = 1 << 15
"""Elements that make one more thread worth waking."""


@cache
def pool() -> ThreadPoolExecutor:
    # One for the process, so that concurrent callers share one budget of computing threads.
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1), "fastsoftmax-numba")


if hasattr(os, "register_at_fork"):  # a forked child has none of the pool's threads
    os.register_at_fork(after_in_child=pool.cache_clear)


def deal(work: Callable[[Iterator[T]], None], pieces: Sequence[T], threads: int) -> None:
    """Run `work` on at most so many threads, the caller's among them, each on pieces it takes."""
    left = deque(pieces)
    held = [work]  # by this call only: what was cancelled stays in the pool's queue for a while

    def run() -> None:
        held[0](_taken(left))

    wanted = min(threads, len(left)) - 1
    helpers = _submitted(run, wanted) if wanted > 0 else []
    try:
        run()
    finally:  # however this call ends, `out` must not change after it
        left.clear()
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
        held.clear()
    for helper in started:
        helper.result()


def _taken(left: deque[T]) -> Iterator[T]:
    while True:
        try:
            yield left.popleft()
        except IndexError:
            return


def _submitted(run: Callable[[], None], count: int) -> list[Future[None]]:
    helpers: list[Future[None]] = []
    # RuntimeError: the interpreter is shutting down and starts no more threads.
    with suppress(RuntimeError):
        for _ in range(count):
            helpers.append(pool().submit(run))
    return helpers


def threads_worth(threads: int, size: int) -> int:
    """At most so many threads as there is work for in an array of this size."""
    return min(threads, size // SHARE + 1)


def cuts(count: int, size: int) -> list[slice]:
    """Pieces of `count` things of `size` elements each."""
    step = max(1, PIECE // size)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _pieces(batch: tuple[int, ...], rows: int) -> list[Index]:
    """Indices that cut the batch axes into pieces of at most `rows` rows, or of one."""
    axis, inner = len(batch), 1
    while axis and inner * batch[axis - 1] <= rows:
        axis -= 1
        inner *= batch[axis]
    if axis == 0:
        return [()]
    step = max(1, rows // inner)
    starts = range(0, batch[axis - 1], step)
    return [(*at, slice(i, i + step)) for at in np.ndindex(*batch[: axis - 1]) for i in starts]


def gather(x: Array, mask: Mask | None, into: Array) -> Array:
    """x as the kernels want it: itself, or copied into `into` with -inf for absent classes."""
    if mask is None and x.dtype == into.dtype and x.flags.carray:
        return x
    np.copyto(into, x, casting="unsafe")
    if mask is not None:
        np.copyto(into, -np.inf, where=~mask)
    return into


class CallRows:
    """A call seen as rows: its arrays with the batch axes first and the class axes last."""

    def __init__(self, call: Call) -> None:
        batch_axes = [i for i in range(call.x.ndim) if i not in call.axes]
        # Outermost what lies farthest apart, so that pieces are contiguous in Fortran order too.
        batch_axes.sort(key=lambda i: -abs(call.out.strides[i]))
        self._order = (*batch_axes, *call.axes)
        self._threads = threads_worth(call.threads, call.x.size)
        self.x, self.out = self.turned(call.x), self.turned(call.out)
        self.where = None if call.where is None else self.turned(call.where)
        t = call.temperature
        self.temperature = t if isinstance(t, float) else self.turned(t)
        self.real = call.compute_dtype
        self._batch = self.x.shape[: len(batch_axes)]
        self.classes = prod(self.x.shape[len(batch_axes) :])
        self.limit = min(max(1, PIECE // self.classes), prod(self._batch))

    def turned(self, array: Array) -> Array:
        """An array of as many dimensions as x, its axes in this order."""
        return array.transpose(self._order)

    def turned_or_none(self, array: Array | None) -> Array | None:
        """The same of an array that may be missing."""
        return None if array is None else self.turned(array)

    def scratch(self, classes: int) -> Array:
        """Room for the rows of any piece."""
        return np.empty(self.limit * classes, self.real)

    def deal(self, work: Callable[[Iterator[Index]], None]) -> None:
        """Run `work` on as many threads as pay, each on its pieces."""

        def silent(pieces: Iterator[Index]) -> None:
            with np.errstate(all="ignore"):
                work(pieces)

        deal(silent, _pieces(self._batch, self.limit), self._threads)
