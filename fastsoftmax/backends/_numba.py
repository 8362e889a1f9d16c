"""Numba as a backend: its table of operations, and how those of the softmax family are run.

Strides, masks and half types are settled here; the arithmetic is in `_numba_kernels`, pieces and
threads are in `_numba_pieces`, and what runs losses and gradients is in `_numba_loss_calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from math import prod
from typing import Any, NamedTuple, TypeAlias

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
    Match,
    UpdateCall,
)
from fastsoftmax.backends._numba_pieces import (
    PIECE,
    CallRows,
    Index,
    cuts,
    deal,
    gather,
    threads_worth,
)

Kernel: TypeAlias = Callable[..., None]


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
    threads = threads_worth(call.threads, call.x.size)
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

    deal(work, cuts(*x.shape), threads)


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

    deal(work, cuts(vectors, classes * lanes), threads)


# Any other arrays ---------------------------------------------------------------------------------


def _by_rows(kernel: Kernel, call: Call, absent: float) -> None:
    rows = CallRows(call)

    def work(pieces: Iterator[Index]) -> None:
        scratch = rows.scratch(rows.classes)
        temperature = rows.temperature
        for at in pieces:
            x, out = rows.x[at], rows.out[at]
            mask = None if rows.where is None else rows.where[at]
            direct = out.dtype == rows.real and out.flags.carray
            y = out if direct else scratch[: x.size].reshape(x.shape)
            source = gather(x, mask, y).reshape(-1, rows.classes)
            if not isinstance(rows.temperature, float):
                temperature = np.ascontiguousarray(rows.temperature[at]).reshape(-1)
            kernel(source, y.reshape(-1, rows.classes), temperature)
            if mask is not None:
                np.copyto(y, absent, where=~mask)
            if not direct:
                np.copyto(out, y, casting="unsafe")

    rows.deal(work)


class NumbaBackend(NumpySteps):
    """The operations in Numba."""

    name = "numba"

    def __init__(self) -> None:
        from fastsoftmax.backends import _numba_kernels as kernels
        from fastsoftmax.backends import _numba_loss_calls as losses
        from fastsoftmax.backends import _numba_steps as steps
        from fastsoftmax.backends import _numba_updates as updates
        from fastsoftmax.backends import _numba_weighted as weighted

        self._softmax = _Kernels(kernels.softmax_rows, kernels.softmax_columns)
        self._log_softmax = _Kernels(kernels.log_softmax_rows, kernels.log_softmax_columns)
        self._logsumexp = _Kernels(kernels.logsumexp_rows, kernels.logsumexp_columns)
        self._losses = losses
        self._steps = steps
        self._updates = updates
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
        rows = CallRows(call)
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
                source = gather(x, mask, scratch[: x.size].reshape(x.shape))
                source = source.reshape(-1, rows.classes)
                lse, sgn = lse_rows[: len(source)], sign_rows[: len(source)]
                if factors is None:
                    self._logsumexp.rows(source, lse.reshape(-1, 1), 1.0)
                    np.copyto(sgn, np.where(np.isnan(lse), lse, lse > -np.inf))
                else:
                    into = factor_scratch[: x.size].reshape(x.shape)
                    factor = gather(factors[at], None, into).reshape(-1, rows.classes)
                    self._weighted_logsumexp(source, factor, lse, sgn)
                if signs is None:
                    lse[sgn < 0] = np.nan
                else:
                    np.copyto(signs[at], sgn.reshape(out.shape), casting="unsafe")
                np.copyto(out, lse.reshape(out.shape), casting="unsafe")

        rows.deal(work)

    def sigmoid(self, call: Call) -> None:
        """See `fastsoftmax.sigmoid`."""
        self._losses.sigmoid(call)

    def log_sigmoid(self, call: Call) -> None:
        """See `fastsoftmax.log_sigmoid`."""
        self._losses.log_sigmoid(call)

    def softmax_backward(self, call: BackwardCall) -> None:
        """See `fastsoftmax.softmax_backward`."""
        self._losses.softmax_backward(call)

    def log_softmax_backward(self, call: BackwardCall) -> None:
        """See `fastsoftmax.log_softmax_backward`."""
        self._losses.log_softmax_backward(call)

    def cross_entropy(self, call: LossCall) -> float:
        """See `fastsoftmax.cross_entropy`."""
        return self._losses.cross_entropy(call)

    def nll_loss(self, call: LossCall) -> float:
        """See `fastsoftmax.nll_loss`."""
        return nll_loss(call)

    def binary_cross_entropy(self, call: BinaryCall) -> float:
        """See `fastsoftmax.binary_cross_entropy`."""
        return self._losses.binary_cross_entropy(call)

    def add_scaled_rows(self, factors: Array, rows: Array, out: Array, threads: int) -> None:
        """See `Backend`."""
        self._steps.add_scaled_rows(factors, rows, out, threads)

    def sum_rows(
        self,
        match: Match,
        of_candidates: Array,
        factors: Array,
        x: Array,
        out: Array,
        threads: int,
    ) -> None:
        """See `Backend`."""
        self._steps.sum_rows(match, of_candidates, factors, x, out, threads)

    def draw(self, call: DrawCall) -> tuple[int, int]:
        """See `Backend`."""
        from fastsoftmax.backends._numba_draws import draw

        return draw(call)

    def update_rows(self, call: UpdateCall) -> None:
        """See `Backend`."""
        self._updates.update_rows(call)
