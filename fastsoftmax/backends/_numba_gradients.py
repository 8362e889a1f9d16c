"""Gradients through softmax and log_softmax in Numba, of C-contiguous rows of one compute type.

Exp and its sums are in `_numba_kernels`; no strides, half types or threads here. Numba's cache of
these kernels looks at the date of this file only: after a change there, touch it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastsoftmax._typing import Array
from fastsoftmax.backends import _numba_kernels as kernels
from fastsoftmax.backends._numba_vectors import (
    fma,
    lanes,
    moved,
    pointer,
    room,
    splat,
    where_less,
    zeros,
)


@kernels._inlined
def _dot(a: Any, b: Any, count: int) -> Any:
    """The sum of products, each rounded."""
    v = lanes(a)
    total = kernels._sum_of(splat(kernels._like(a, 0.0)))
    for at in range(0, count, v):
        c, d = (
            kernels._zeros_within(moved(a, at), count - at),
            kernels._zeros_within(moved(b, at), count - at),
        )
        total = kernels._merged(total, kernels._sum_of(c * d))
    return kernels._across_any(total)


@kernels._inlined
def _sum(a: Any, count: int) -> Any:
    v = lanes(a)
    total = kernels._sum_of(splat(kernels._like(a, 0.0)))
    for at in range(0, count, v):
        total = kernels._merged(
            total, kernels._sum_of(kernels._zeros_within(moved(a, at), count - at))
        )
    return kernels._across_any(total)


@kernels._jit
def softmax_backward(dy: Array, y: Array, dx: Array) -> None:
    """y * (dy - sum(dy * y)) of every row; dx is the same memory as either or disjoint."""
    rows, classes = y.shape
    v = lanes(pointer(y, 0))
    for i in range(rows):
        p, q = pointer(dy, i * classes), pointer(y, i * classes)
        to = pointer(dx, i * classes)
        mean = splat(kernels._like(q, _dot(p, q, classes)))
        for at in range(0, classes, v):
            left = classes - at
            a, b = (
                kernels._zeros_within(moved(p, at), left),
                kernels._zeros_within(moved(q, at), left),
            )
            kernels._store_within(moved(to, at), b * (a - mean), left)


@kernels._jit
def log_softmax_backward(dy: Array, y: Array, dx: Array) -> None:
    """dy - exp(y) * sum(dy) of every row, likewise."""
    rows, classes = y.shape
    v, kept = lanes(pointer(y, 0)), room(y.dtype.type(0))
    for i in range(rows):
        p, q = pointer(dy, i * classes), pointer(y, i * classes)
        to = pointer(dx, i * classes)
        # The logarithm of a probability is not positive; if it is, exp must not overflow before the
        # result does.
        top = max(kernels._largest(q, classes), kernels._like(q, 0.0))
        plan, _ = kernels._plan(q, top, 1.0, kernels.RAISED)
        kernels._keep(kept, 0, plan)
        plan = kernels._plan_of_row(kept, 0)
        rounded = np.rint(float(top) * kernels.LOG2E)
        smallest = splat(kernels._like(q, kernels._format(q).smallest * 2.0**kernels.RAISED))
        lower = splat(kernels._like(q, 2.0**-kernels.RAISED))
        total = splat(kernels._like(q, -_sum(p, classes) * 2.0**rounded))
        for at in range(0, classes, v):
            left = classes - at
            a = kernels._zeros_within(moved(p, at), left)
            t = kernels._terms(kernels._load_within(moved(q, at), left), plan)
            t = where_less(t, smallest, zeros(t), t) * lower
            kernels._store_within(moved(to, at), fma(t, total, a), left)
