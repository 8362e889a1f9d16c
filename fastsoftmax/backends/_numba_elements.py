"""The sigmoid, its logarithm and the binary cross-entropy in Numba, of contiguous elements.

Exp is in `_numba_kernels`; no strides, half types or threads here. Numba's cache of these kernels
looks at the date of this file only: after a change there, touch it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._typing import Array
from fastsoftmax.backends import _numba_kernels as kernels
from fastsoftmax.backends._numba_vectors import (
    first_lanes,
    fma,
    lanes,
    maximum,
    moved,
    pointer,
    room,
    splat,
    where_equal,
    where_less,
    zeros,
)

COEFFICIENTS = {np.float32: 5, np.float64: 12}
"""Of log1p: the next would be 2e-10 of the result in float32 and 3e-20 in float64."""

LN2 = {
    np.float32: ("0x1.62e430p-1", "-0x1.05c610p-29"),
    np.float64: ("0x1.62e42fefa39efp-1", "0x1.abc9e3b39803fp-56"),
}
"""log(2), rounded, and what that took from it."""


class _Unlikely(NamedTuple):
    """What exp(-|x|) is made with, in vectors: the plan, and how its terms are lowered or 0."""

    plan: Any
    smallest: Any
    lower: Any


@kernels._inlined
def _unlikely(p: Any) -> _Unlikely:
    plan, _ = kernels._plan(p, kernels._like(p, 0.0), 1.0, kernels.RAISED)
    kept = room(kernels._like(p, 0.0))
    kernels._keep(kept, 0, plan)
    smallest = kernels._format(p).smallest * 2.0**kernels.RAISED
    return _Unlikely(
        kernels._plan_of_row(kept, 0),
        splat(kernels._like(p, smallest)),
        splat(kernels._like(p, 2.0**-kernels.RAISED)),
    )


@kernels._inlined
def _exp_of_minus_size(x: Any, how: _Unlikely) -> Any:
    """exp(-|x|), 0 below the smallest normal number, and what it lost."""
    zero = zeros(x)
    t, lost = kernels._terms_and_lost(where_less(x, zero, x, zero - x), how.plan)
    least, lower = how.smallest, how.lower
    return (
        where_less(t, least, zero, t) * lower,
        where_less(t, least, zero, lost) * lower,
    )


@kernels._by_type
def _log1p(u: Any, lost: Any) -> Any:
    """log(1 + u + lost) for u from 0 to 1 and a `lost` below its ULP.

    From 1/2 on as log(2) + log(1 + f), f = (u - 1) / 2. There s = f / (2 + f) is at most 1/5, and
    log(1 + f) = 2 atanh(s) = f - (f^2 / 2 - s (f^2 / 2 + s^2 (2/3 + 2/5 s^2 + ...))).
    """
    real = kernels._REALS[u.real]
    count = COEFFICIENTS[real]
    leading, *others = (real(2 / (2 * k + 1)) for k in range(count, 0, -1))
    series = tuple(others)
    high, low = (real(float.fromhex(h)) for h in LN2[real])

    def implementation(u: Any, lost: Any) -> Any:
        zero, half = zeros(u), splat(real(0.5))
        f = where_less(u, half, u, (u - splat(real(1.0))) * half)
        lost = where_less(u, half, lost, lost * half)
        s = f / (splat(real(2.0)) + f)
        z = s * s
        r = splat(leading)
        for c in series:
            r = fma(r, z, splat(c))
        square = f * f * half
        # To first order log1p(f + lost) - log1p(f) is lost / (1 + f), of which 1 - f is enough.
        less = square - fma(s, fma(r, z, square), fma(zero - f, lost, lost))
        whole = where_less(u, half, zero, splat(high))
        return whole + (f - (less - where_less(u, half, zero, splat(low))))

    return implementation


@kernels._inlined
def _sides(t: Any, lost: Any, one: Any) -> Any:
    """1 / (1 + t) and t / (1 + t)."""
    likely = one / (one + t)
    return likely, fma(t, likely, lost * likely)


@kernels._jit
def sigmoid(x: Array, y: Array) -> None:
    """1 / (1 + exp(-x)); x and y are the same memory or disjoint."""
    p, q = pointer(x, 0), pointer(y, 0)
    v, how = lanes(p), _unlikely(p)
    zero, one = splat(x.dtype.type(0)), splat(x.dtype.type(1))
    for at in range(0, x.size, v):
        a = kernels._load_within(moved(p, at), x.size - at)
        t, lost = _exp_of_minus_size(a, how)
        likely, unlikely = _sides(t, lost, one)
        b = where_less(a, zero, unlikely, likely)
        kernels._store_within(moved(q, at), b, x.size - at)


@kernels._jit
def log_sigmoid(x: Array, y: Array) -> None:
    """min(x, 0) - log(1 + exp(-|x|)), likewise."""
    p, q = pointer(x, 0), pointer(y, 0)
    v, how, zero = lanes(p), _unlikely(p), splat(x.dtype.type(0))
    for at in range(0, x.size, v):
        a = kernels._load_within(moved(p, at), x.size - at)
        t, lost = _exp_of_minus_size(a, how)
        b = where_less(a, zero, a, zero) - _log1p(t, lost)
        kernels._store_within(moved(q, at), b, x.size - at)


@kernels._inlined
def _weights(weight: Any, at: int, left: int, one: Any) -> Any:
    """Weights from there on, 1 if none are given; 0 in lanes beyond what is left."""
    if weight.size > 0:
        return kernels._zeros_within(pointer(weight, at), left)
    return one if left >= lanes(pointer(weight, 0)) else first_lanes(one, left)


@kernels._inlined
def _times(weights: Any, values: Any) -> Any:
    """The product, in which a weight of 0 takes an infinity out."""
    zero = zeros(values)
    return where_equal(weights, zero, zero, weights * values)


@kernels._jit
def binary_cross_entropy(
    x: Array,
    targets: Array,
    weight: Array,
    pos_weight: Array,
    losses: Array,
    grad: Array,
    scale: float,
) -> Any:
    """The sum of a log(1 + exp(-x)) + b log(1 + exp(x)), a = w t pos_weight and b = w (1 - t).

    An empty `weight` or `pos_weight` stands for 1; `losses` and `scale` times the gradient go where
    they are wanted, which are no empty arrays. x is the same memory as a result or disjoint.
    """
    p = pointer(x, 0)
    v, how = lanes(p), _unlikely(p)
    zero, one = splat(x.dtype.type(0)), splat(x.dtype.type(1))
    by, total = splat(kernels._like(p, scale)), kernels._sum_of(splat(x.dtype.type(0)))
    for at in range(0, x.size, v):
        left = x.size - at
        a = kernels._zeros_within(moved(p, at), left)
        yes = kernels._zeros_within(pointer(targets, at), left)
        w = _weights(weight, at, left, one)
        no = w * (one - yes)
        yes = w * (yes * _weights(pos_weight, at, left, one))
        t, lost = _exp_of_minus_size(a, how)
        loss = _times(yes, maximum(zero - a, zero)) + _times(no, maximum(a, zero))
        loss = loss + (yes + no) * _log1p(t, lost)
        if grad.size > 0:
            likely, unlikely = _sides(t, lost, one)
            up = where_less(a, zero, unlikely, likely)
            down = where_less(a, zero, likely, unlikely)
            kernels._store_within(pointer(grad, at), (no * up - yes * down) * by, left)
        if losses.size > 0:
            kernels._store_within(pointer(losses, at), loss, left)
        total = kernels._merged(total, kernels._sum_of(loss))
    return kernels._across_any(total)
