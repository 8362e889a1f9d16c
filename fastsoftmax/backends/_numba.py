"""Numba as a backend: cuts a call into pieces of contiguous rows and deals them to threads.

Strides, masks, half types and threads are settled here; the arithmetic is in `_numba_kernels`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from math import prod
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from fastsoftmax._ordinary import Rows, shortcuts
from fastsoftmax._typing import Array, Call, Mask

Index: TypeAlias = "tuple[int | slice, ...]"
Kernel: TypeAlias = Callable[..., None]
T = TypeVar("T")

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


def _deal(work: Callable[[Iterator[T]], None], pieces: Sequence[T], threads: int) -> None:
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
            helpers.append(_pool().submit(run))
    return helpers


class _MachineCode(dict[np.dtype[Any], Rows]):
    """A kernel's entries by dtype, each compiled when it is first looked up.

    Numba's own way to them finds out the arguments' types, which are known here: 0.1 us of 0.6.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __missing__(self, dtype: np.dtype[Any]) -> Rows:
        import numba

        rows = numba.from_dtype(dtype)[:, ::1]
        self._kernel.compile((rows, rows))
        entry: Rows = self._kernel.overloads[rows, rows].entry_point
        self[dtype] = entry
        return entry


# Arrays that the kernels take as they are ---------------------------------------------------------


class _Kernels(NamedTuple):
    """The two kernels of an operation: classes in the last axis, or in the middle one of three."""

    rows: Kernel
    columns: Kernel


def _compute(kernels: _Kernels, call: Call) -> bool:
    """Run a kernel on the arrays themselves, if strides, masks and types allow that."""
    x, out, axes, where, temperature, threads = call
    if where is not None or not axes or x.dtype != out.dtype or x.dtype.char not in "fd":
        return False
    if not (x.flags.carray and out.flags.carray):
        x, out = x.T, out.T  # flags.farray is true of any array
        if not (x.flags.carray and out.flags.carray and len(axes) == 1):
            return False
        axes = (x.ndim - 1 - axes[0],)
        temperature = temperature if isinstance(temperature, float) else temperature.T
    first, end = axes[0], axes[-1] + 1
    if end - first != len(axes):
        return False
    if not isinstance(temperature, float):
        temperature = np.ascontiguousarray(temperature).reshape(-1)
    outer, classes, inner = prod(x.shape[:first]), prod(x.shape[first:end]), prod(x.shape[end:])
    threads = _threads_worth(call)
    if inner == 1:
        x, out = x.reshape(outer, classes), out.reshape(outer, -1)
        _over_rows(kernels.rows, x, out, temperature, threads)
    else:
        x, out = x.reshape(outer, classes, inner), out.reshape(outer, -1, inner)
        _over_columns(kernels.columns, x, out, temperature, threads)
    return True


def _over_rows(
    kernel: Kernel, x: Array, out: Array, temperature: float | Array, threads: int
) -> None:
    if threads == 1:
        kernel(x, out, temperature)
        return

    def work(pieces: Iterator[slice]) -> None:
        for at in pieces:
            own = temperature if isinstance(temperature, float) else temperature[at]
            kernel(x[at], out[at], own)

    _deal(work, _cuts(*x.shape), threads)


def _over_columns(
    kernel: Kernel, x: Array, out: Array, temperature: float | Array, threads: int
) -> None:
    outer, classes, inner = x.shape
    lanes = 64 // x.itemsize
    vectors = outer * -(-inner // lanes)
    if threads == 1:
        kernel(x, out, temperature, 0, vectors)
        return

    def work(pieces: Iterator[slice]) -> None:
        for at in pieces:
            kernel(x, out, temperature, at.start, at.stop)

    _deal(work, _cuts(vectors, classes * lanes), threads)


def _threads_worth(call: Call) -> int:
    return min(call.threads, call.x.size // SHARE + 1)


def _cuts(count: int, size: int) -> list[slice]:
    """Pieces of `count` things of `size` elements each."""
    step = max(1, PIECE // size)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


# Any other arrays ---------------------------------------------------------------------------------


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
        self._threads = _threads_worth(call)
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
        """Run `work` on as many threads as pay, each on its pieces."""

        def silent(pieces: Iterator[Index]) -> None:
            with np.errstate(all="ignore"):
                work(pieces)

        _deal(silent, _pieces(self._batch, self.limit), self._threads)


def _by_rows(kernel: Kernel, call: Call, absent: float) -> None:
    rows = _Rows(call)

    def work(pieces: Iterator[Index]) -> None:
        scratch = rows.scratch(rows.classes)
        temperature = rows.temperature
        for at in pieces:
            x, out = rows.x[at], rows.out[at]
            mask = None if rows.where is None else rows.where[at]
            direct = out.dtype == rows.real and out.flags.carray
            y = out if direct else scratch[: x.size].reshape(x.shape)
            source = _gather(x, mask, y).reshape(-1, rows.classes)
            if not isinstance(rows.temperature, float):
                temperature = np.ascontiguousarray(rows.temperature[at]).reshape(-1)
            kernel(source, y.reshape(-1, rows.classes), temperature)
            if mask is not None:
                np.copyto(y, absent, where=~mask)
            if not direct:
                np.copyto(out, y, casting="unsafe")

    rows.deal(work)


class NumbaBackend:
    """The operations in Numba."""

    name = "numba"

    def __init__(self) -> None:
        from fastsoftmax.backends import _numba_kernels as kernels
        from fastsoftmax.backends import _numba_weighted as weighted

        self._softmax = _Kernels(kernels.softmax_rows, kernels.softmax_columns)
        self._log_softmax = _Kernels(kernels.log_softmax_rows, kernels.log_softmax_columns)
        self._logsumexp = _Kernels(kernels.logsumexp_rows, kernels.logsumexp_columns)
        self._weighted_logsumexp = weighted.weighted_logsumexp
        self.shortcuts = shortcuts(
            _MachineCode(kernels.softmax_small), _MachineCode(kernels.log_softmax_small)
        )

    def softmax(self, call: Call) -> None:
        """See `fastsoftmax.softmax`."""
        if not _compute(self._softmax, call):
            _by_rows(self._softmax.rows, call, 0.0)

    def log_softmax(self, call: Call) -> None:
        """See `fastsoftmax.log_softmax`."""
        if not _compute(self._log_softmax, call):
            _by_rows(self._log_softmax.rows, call, -np.inf)

    def logsumexp(self, call: Call, weights: Array | None, sign: Array | None) -> None:
        """See `fastsoftmax.logsumexp`."""
        if weights is None and sign is None and call.where is None:
            if call.out.size == call.x.size:
                with np.errstate(all="ignore"):
                    np.copyto(call.out, call.x, casting="unsafe")
                return
            if _compute(self._logsumexp, call):
                self._refine(call)
                return
        self._reduce_by_rows(call, weights, sign)
        if weights is None:
            self._refine(call)

    def _refine(self, call: Call) -> None:
        """Compute float32 results near 0 again, in float64.

        A ULP is small there, and where few classes dominate a sum of float32 terms errs by 2.1.
        """
        if call.out.dtype != np.float32:
            return
        batch = [i for i in range(call.x.ndim) if i not in call.axes]
        order = (*batch, *call.axes)
        x, out = call.x.transpose(order), call.out.transpose(order)
        mask = None if call.where is None else call.where.transpose(order)
        near = np.abs(out.reshape(out.shape[: len(batch)])) < 2
        chosen = np.nonzero(near) if batch else ()
        count = int(np.count_nonzero(near))
        step = max(1, PIECE * call.out.size // call.x.size)
        for start in range(0, count, step):
            at = tuple(index[start : start + step] for index in chosen) if batch else ()
            with np.errstate(all="ignore"):  # rounded as for all other results of this type
                scores = x[at].astype(np.float32).astype(np.float64)
            if mask is not None:
                np.copyto(scores, -np.inf, where=~mask[at])
            lse = np.empty((min(step, count - start), 1))
            self._logsumexp.rows(scores.reshape(len(lse), -1), lse, 1.0)
            out[at] = lse.reshape(out[at].shape)

    def _reduce_by_rows(self, call: Call, weights: Array | None, sign: Array | None) -> None:
        rows = _Rows(call)
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
                    self._logsumexp.rows(source, lse.reshape(-1, 1), 1.0)
                    np.copyto(sgn, np.where(np.isnan(lse), lse, lse > -np.inf))
                else:
                    into = factor_scratch[: x.size].reshape(x.shape)
                    factor = _gather(factors[at], None, into).reshape(-1, rows.classes)
                    self._weighted_logsumexp(source, factor, lse, sgn)
                if signs is None:
                    lse[sgn < 0] = np.nan
                else:
                    np.copyto(signs[at], sgn.reshape(out.shape), casting="unsafe")
                np.copyto(out, lse.reshape(out.shape), casting="unsafe")

        rows.deal(work)
