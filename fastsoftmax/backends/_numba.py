"""Numba as a backend: cuts a call into pieces of contiguous rows and deals them to threads.

Strides, masks, half types and threads are settled here; the arithmetic is in `_numba_kernels`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from math import prod
from typing import TypeAlias

import numpy as np

from fastsoftmax._typing import Array, Call, Mask

Index: TypeAlias = "tuple[int | slice, ...]"

PIECE = 1 << 16
"""Elements that a thread takes at a time: 30 us of work in float32, and 256 KiB of L2."""

SHARE = 1 << 15
"""Elements that make one more thread worth waking."""


def reason() -> str | None:
    """Why Numba cannot run here, or None; does not import it."""
    if find_spec("numba") is None:
        return "not installed; pip install 'fastsoftmax[numba]'"
    return None


def variants() -> dict[str, str | None]:
    """There are none."""
    return {}


def load(variant: str | None) -> NumbaBackend:
    """The backend; imports Numba, compiles nothing yet."""
    return NumbaBackend()


@cache
def _pool() -> ThreadPoolExecutor:
    # One for the process, so that concurrent callers share one budget of computing threads.
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1), "fastsoftmax-numba")


if hasattr(os, "register_at_fork"):  # a forked child has none of the pool's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


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


def _gather(x: Array, mask: Mask | None, into: Array) -> Array:
    """x as the kernels want it: itself, or copied into `into` with -inf for absent classes."""
    if mask is None and x.dtype == into.dtype and x.flags.carray:
        return x
    np.copyto(into, x, casting="unsafe")
    if mask is not None:
        np.copyto(into, -np.inf, where=~mask)
    return into


class _Rows:
    """A call seen as rows: its arrays with the batch axes first and the class axes last."""

    def __init__(self, call: Call) -> None:
        batch_axes = [i for i in range(call.x.ndim) if i not in call.axes]
        # Outermost what lies farthest apart, so that pieces are contiguous in Fortran order too.
        batch_axes.sort(key=lambda i: -abs(call.out.strides[i]))
        self._order = (*batch_axes, *call.axes)
        self._threads = call.threads
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

    def scratch(self, classes: int) -> Array:
        """Room for the rows of any piece."""
        return np.empty(self.limit * classes, self.real)

    def deal(self, work: Callable[[Iterator[Index]], None]) -> None:
        """Run `work` on as many threads as pay, the caller's among them, each on its pieces."""
        left = deque(_pieces(self._batch, self.limit))

        def run() -> None:
            with np.errstate(all="ignore"):
                work(_taken(left))

        wanted = min(self._threads, len(left), self.x.size // SHARE + 1) - 1
        helpers = _submitted(run, wanted) if wanted else []
        try:
            run()
        finally:  # however this call ends, `out` must not change after it
            left.clear()
            started = [helper for helper in helpers if not helper.cancel()]
            wait(started)
        for helper in started:
            helper.result()


def _taken(left: deque[Index]) -> Iterator[Index]:
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
            helpers.append(_pool().submit(run))
    return helpers


def _elementwise(kernel: Callable[[Array, Array, Array], None], call: Call, absent: float) -> None:
    rows = _Rows(call)

    def work(pieces: Iterator[Index]) -> None:
        scratch, temperatures = rows.scratch(rows.classes), np.empty(rows.limit)
        if isinstance(rows.temperature, float):
            temperatures.fill(rows.temperature)
        for at in pieces:
            x, out = rows.x[at], rows.out[at]
            mask = None if rows.where is None else rows.where[at]
            direct = out.dtype == rows.real and out.flags.carray
            y = out if direct else scratch[: x.size].reshape(x.shape)
            source = _gather(x, mask, y).reshape(-1, rows.classes)
            count = len(source)
            if not isinstance(rows.temperature, float):
                temperatures[:count] = rows.temperature[at].ravel()
            kernel(source, y.reshape(-1, rows.classes), temperatures[:count])
            if mask is not None:
                np.copyto(y, absent, where=~mask)
            if not direct:
                np.copyto(out, y, casting="unsafe")

    rows.deal(work)


class NumbaBackend:
    """The operations in Numba."""

    name = "numba"

    def __init__(self) -> None:
        from fastsoftmax.backends import _numba_kernels

        self._kernels = _numba_kernels

    def softmax(self, call: Call) -> None:
        """See `fastsoftmax.softmax`."""
        _elementwise(self._kernels.softmax, call, 0.0)

    def log_softmax(self, call: Call) -> None:
        """See `fastsoftmax.log_softmax`."""
        _elementwise(self._kernels.log_softmax, call, -np.inf)

    def logsumexp(self, call: Call, weights: Array | None, sign: Array | None) -> None:
        """See `fastsoftmax.logsumexp`."""
        rows = _Rows(call)
        if rows.classes == 1 and weights is None and sign is None and call.where is None:
            with np.errstate(all="ignore"):
                np.copyto(call.out, call.x, casting="unsafe")
            return
        factors = None if weights is None else rows.turned(weights)
        signs = None if sign is None else rows.turned(sign)
        if factors is not None:
            rows.real = np.dtype(np.float64)

        def work(pieces: Iterator[Index]) -> None:
            scratch = rows.scratch(rows.classes)
            factor_scratch = scratch if factors is None else np.empty_like(scratch)
            lse_rows, sign_rows = rows.scratch(1), rows.scratch(1)
            for at in pieces:
                x, out = rows.x[at], rows.out[at]
                mask = None if rows.where is None else rows.where[at]
                source = _gather(x, mask, scratch[: x.size].reshape(x.shape))
                source = source.reshape(-1, rows.classes)
                lse, sgn = lse_rows[: len(source)], sign_rows[: len(source)]
                if factors is None:
                    self._kernels.logsumexp(source, lse)
                    np.copyto(sgn, np.where(np.isnan(lse), lse, lse > -np.inf))
                else:
                    into = factor_scratch[: x.size].reshape(x.shape)
                    factor = _gather(factors[at], None, into).reshape(-1, rows.classes)
                    self._kernels.weighted_logsumexp(source, factor, lse, sgn)
                if signs is None:
                    lse[sgn < 0] = np.nan
                else:
                    np.copyto(signs[at], sgn.reshape(out.shape), casting="unsafe")
                np.copyto(out, lse.reshape(out.shape), casting="unsafe")

        rows.deal(work)
