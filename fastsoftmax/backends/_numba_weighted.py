"""logsumexp with weights (`b`) in Numba, row by row. Exp and its sums are in `_numba_kernels`.

Numba's cache of these kernels looks at the date of this file only: after a change there, touch it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastsoftmax._typing import Array
from fastsoftmax.backends import _numba_kernels as kernels
from fastsoftmax.backends._numba_vectors import (
    alive,
    lanes,
    moved,
    pointer,
    read,
    room,
    splat,
    where_less,
)


@kernels._jit
def _folded(x: Array, weights: Array) -> tuple[Array, Array]:
    """x and its weights, as x + log(abs(weights)) and signs if weights and terms may overflow."""
    extreme = False
    for j in range(x.size):
        size, absent = abs(weights[j]), x[j] == -np.inf or weights[j] == 0
        extreme |= not (2.0**-500 <= size <= 2.0**500 or absent)
    if not extreme:
        return x, weights
    addends, signs = x.copy(), np.sign(weights)
    for j in range(x.size):
        if x[j] != -np.inf:  # an absent class stays so, whatever its weight
            addends[j] += math.log(abs(weights[j]))
    return addends, signs


@kernels._inlined
def _weighted_total(x: Any, weights: Any, classes: int, plan: kernels._Plan, fraction: Any) -> Any:
    """Sum of weights * exp(x - largest), raised."""
    v = lanes(x)
    total = kernels._sum_of(splat(0.0))
    fraction = splat(fraction)
    lowest, zero = splat(plan.lowest), splat(0.0)
    kept = room(0.0)
    kernels._keep(kept, 0, plan)
    plan = kernels._plan_of_row(kept, 0)
    for at in range(0, classes, v):
        a = kernels._load_within(moved(x, at), classes - at)
        b = kernels._load_within(moved(weights, at), classes - at)
        # Terms that stand for 0 are 0, lest they are all that is left after others cancel.
        t = where_less(
            a - plan.base, lowest, zero, kernels._relative_terms(a, plan, fraction)[0] * b
        )
        total = kernels._merged(total, kernels._sum_of(t))
    return kernels._across(total)


@kernels._inlined
def _infinite_total(x: Any, weights: Any, classes: int) -> float:
    """The sum if the largest x is not finite: only the infinities count, and NaN."""
    total = 0.0
    for j in range(classes):
        a = read(moved(x, j))
        if a != -np.inf:
            total += a * read(moved(weights, j)) if abs(a) == np.inf else a - a
    return total


@kernels._jit
def weighted_logsumexp(x: Array, weights: Array, lse: Array, sign: Array) -> None:
    """log(abs(sum(weights * exp(x)))) of every row and the sum's sign, in float64 only.

    float32 terms would underflow where a small x has a large weight.
    """
    classes = x.shape[1]
    for i in range(x.shape[0]):
        addends, factors = _folded(x[i], weights[i])
        p, q = pointer(addends, 0), pointer(factors, 0)
        largest = kernels._largest(p, classes)
        plan, fraction = kernels._plan(p, largest, 1.0, kernels.RAISED_FOR_LOG)
        if math.isfinite(largest):
            total = _weighted_total(p, q, classes, plan, fraction) * 2.0**-kernels.RAISED_FOR_LOG
            lse[i] = largest + math.log(abs(total))
        else:
            total = _infinite_total(p, q, classes)
            lse[i] = math.log(abs(total))
        sign[i] = np.sign(total)
        alive(addends)
        alive(factors)
