"""Steps of optimizers on rows of tables in Numba: kernels, and what brings arrays into their form.

Kernels take contiguous arrays of one compute type. No vectors by hand: nothing is summed here, so
the compiler takes elements side by side by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastsoftmax._typing import Array, UpdateCall
from fastsoftmax.backends._numba_kernels import _jit
from fastsoftmax.backends._numba_pieces import cuts, deal, threads_worth


@_jit
def _sgd(weight: Array, ids: Array, rows: Array, rate: Any, decay: Any) -> None:
    for i in range(len(ids)):
        row = weight[ids[i]]
        for k in range(len(row)):
            g = rows[i, k]
            if decay != 0:
                g += decay * row[k]
            row[k] -= rate * g


@_jit
def _adagrad(
    weight: Array, squares: Array, ids: Array, rows: Array, rate: Any, decay: Any, eps: Any
) -> None:
    for i in range(len(ids)):
        row, square = weight[ids[i]], squares[ids[i]]
        for k in range(len(row)):
            g = rows[i, k]
            if decay != 0:
                g += decay * row[k]
            s = square[k] + g * g
            square[k] = s
            row[k] -= rate * (g / (np.sqrt(s) + eps))


@_jit
def _adam(
    weight: Array,
    means: Array,
    squares: Array,
    ids: Array,
    rows: Array,
    rate: Any,
    decay: Any,
    eps: Any,
    share: Any,
    share_of_square: Any,
) -> None:
    for i in range(len(ids)):
        row, mean, square = weight[ids[i]], means[ids[i]], squares[ids[i]]
        for k in range(len(row)):
            g = rows[i, k]
            if decay != 0:
                g += decay * row[k]
            m = mean[k] + (g - mean[k]) * share
            s = square[k] + (g * g - square[k]) * share_of_square
            mean[k], square[k] = m, s
            row[k] -= rate * (m / (np.sqrt(s) + eps))


_KERNELS: dict[str, Callable[..., None]] = {"sgd": _sgd, "adagrad": _adagrad, "adam": _adam}
_NUMBERS = {"sgd": 2, "adagrad": 3, "adam": 5}  # of rate, decay, eps and the shares


def update_rows(call: UpdateCall) -> None:
    """See `UpdateCall`."""
    real = np.dtype(np.float64 if call.weight.dtype == np.float64 else np.float32)
    tables = (call.weight, *call.states)
    in_place = all(table.dtype == real and table.flags.carray for table in tables)
    kernel, given = _KERNELS[call.rule], (call.rate, call.decay, call.eps, *call.shares)
    numbers = [real.type(number) for number in given[: _NUMBERS[call.rule]]]

    def work(pieces: Iterator[slice]) -> None:
        for at in pieces:
            ids, rows = call.ids[at], call.rows[at]
            if not (rows.dtype == real and rows.flags.carray):  # read-only ones are another type
                with np.errstate(all="ignore"):
                    rows = np.array(rows, real, order="C")
            if in_place:
                kernel(*tables, ids, rows, *numbers)
            else:
                _beside(tables, ids, rows)

    def _beside(tables: tuple[Array, ...], ids: Array, rows: Array) -> None:
        own = [np.ascontiguousarray(table[ids], real) for table in tables]
        kernel(*own, np.arange(len(ids)), rows, *numbers)
        with np.errstate(all="ignore"):
            for table, changed in zip(tables, own, strict=True):
                table[ids] = changed

    deal(work, cuts(*call.rows.shape), threads_worth(call.threads, call.rows.size))
