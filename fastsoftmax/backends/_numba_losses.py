"""The cross-entropy of exclusive classes in Numba, of C-contiguous rows of one compute type.

By a label in each row, or by a distribution over its classes. Exp and its sums are in
`_numba_kernels`; no strides, masks, half types or threads here. Numba's cache of these kernels
looks at the date of this file only: after a change there, touch it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from fastsoftmax._typing import INVALID, Array
from fastsoftmax.backends import _numba_kernels as kernels
from fastsoftmax.backends._numba_vectors import (
    alive,
    fma,
    lanes,
    load,
    moved,
    pointer,
    read,
    room,
    splat,
    store,
    where_equal,
    where_less,
    without,
    write,
)

RAISED = {types.float32: 60, types.float64: 100}
"""As `kernels.RAISED`. So far up, 2**32 terms of next to nothing are half a ULP of a normal loss;
and the gradient's factor still keeps its low part in float32, but for scales that LOW is about."""

LOW = 2.0**30
"""Smallest normal numbers that the factor must be worth; else terms are made smaller."""

HOPELESS = 2.0**60
"""Odds against a label from which on its own term may be next to nothing instead of itself."""

LN2 = math.log(2.0)


# By labels ----------------------------------------------------------------------------------------

# The label's own term is left out of the sum: its share, and that of all others, keep their digits
# whether the row is sure of it or not. It is computed by itself, for TOGETHER rows in one vector.


@kernels._by_type
def _raised(p: Any) -> Any:
    """How many powers of two too large terms are."""
    powers = RAISED[p.dtype]

    def implementation(p: Any) -> Any:
        return powers

    return implementation


@kernels._inlined
def _sum_without(
    x: Any, classes: int, label: int, plan: kernels._Plan, t: Any, stored: bool, padded: bool
) -> Any:
    """The sum of a row's terms but for the label's; if `stored`, they all go to t.

    Up to a whole vector if `padded`.
    """
    v = lanes(x)
    total = kernels._sum_of(splat(kernels._like(x, 0.0)))
    pair = label // (2 * v) * (2 * v)
    at = 0
    while at + 2 * v <= classes:
        a, a_lost = kernels._terms_and_lost(load(moved(x, at)), plan)
        b, b_lost = kernels._terms_and_lost(load(moved(x, at + v)), plan)
        if stored:
            store(moved(t, at), a)
            store(moved(t, at + v), b)
        if at == pair:
            a, b = without(a, label - at), without(b, label - at - v)
            a_lost, b_lost = without(a_lost, label - at), without(b_lost, label - at - v)
        total = kernels._restored(
            kernels._merged(total, kernels._sum_of_two(a, b)), a_lost + b_lost
        )
        at += 2 * v
    while at < classes:
        a, lost = kernels._terms_and_lost(kernels._load_within(moved(x, at), classes - at), plan)
        if stored and padded:
            store(moved(t, at), a)
        elif stored:
            kernels._store_within(moved(t, at), a, classes - at)
        a, lost = without(a, label - at), without(lost, label - at)
        total = kernels._restored(kernels._merged(total, kernels._sum_of(a)), lost)
        at += v
    return kernels._across(total)


@kernels._inlined
def _loss(
    p: Any, others: float, own: float, lost: float, score: float, top: float, fraction: float
) -> float:
    """The loss by a label from its own term, which had lost so much, and the sum of the others."""
    odds = others / own
    if odds >= HOPELESS:
        log_total = math.log(others * 2.0 ** -_raised(p)) + fraction * LN2
        return (top - score) + log_total
    odds -= odds * (lost / own)
    # Below that, all that is left may be terms that stand for 0.
    return 0.0 if odds < kernels._format(p).smallest else math.log1p(odds)


@kernels._inlined
def _weighted(weight: float, loss: float) -> float:
    """The product, in which a weight of 0 takes an infinite loss out."""
    return 0.0 if weight == 0.0 and abs(loss) == np.inf else weight * loss


@kernels._inlined
def _lowered(t: Any, classes: int) -> None:
    """Undo the raising of a row's terms."""
    v, factor = lanes(t), splat(kernels._like(t, 2.0 ** -_raised(t)))
    for at in range(0, classes, v):
        a = kernels._load_within(moved(t, at), classes - at) * factor
        kernels._store_within(moved(t, at), a, classes - at)


@kernels._inlined
def _share(p: Any, total: float, lost: float, scale: float) -> kernels._Quotient:
    """How terms become `scale` times probabilities, or 0 where either is below smallest."""
    inverse = 1.0 / total
    exact = scale * inverse
    factor = kernels._like(p, exact)
    rest = (exact - factor) + inverse * (fma(-exact, total, scale) - exact * lost)
    smallest = kernels._format(p).smallest * total / min(abs(scale), 1.0)
    return kernels._Quotient(factor, kernels._like(p, rest), kernels._like(p, smallest))


@kernels._inlined
def _write_gradient(
    t: Any,
    grad: Any,
    classes: int,
    label: int,
    others: float,
    own: float,
    lost: float,
    scale: float,
    padded: bool,
) -> None:
    """`scale` times the gradient of a row from its terms; the label's own had lost so much."""
    total = others + own
    smallest = kernels._format(t).smallest
    if 0.0 < scale < smallest * LOW * total:
        _lowered(t, classes)
        lower = 2.0 ** -_raised(t)
        others, total, lost = others * lower, total * lower, lost * lower
    q = _share(t, total, lost, scale)
    q = kernels._Quotient(splat(q.factor), splat(q.rest), splat(q.smallest))
    kernels._divide(t, grad, classes, q, padded)
    # p - 1 of the label is what the others sum to, which keeps its digits for a sure one too.
    unsure = others / total
    unsure -= unsure * (lost / total)
    at_label = 0.0 - scale * (0.0 if unsure < smallest else unsure)
    write(moved(grad, label), kernels._like(grad, 0.0 if abs(at_label) < smallest else at_label))


@kernels._inlined
def _clear(grad: Any, classes: int) -> None:
    v, zero = lanes(grad), splat(kernels._like(grad, 0.0))
    for at in range(0, classes, v):
        kernels._store_within(moved(grad, at), zero, classes - at)


@kernels._jit
def cross_entropy_rows(
    x: Array, labels: Array, weight: Array, losses: Array, grad: Array, scale: float
) -> None:
    """Every row's loss by its label, and `scale` times the gradient unless `grad` is empty.

    An empty `weight` stands for 1 throughout. x and grad are the same memory or disjoint.
    """
    rows, classes = x.shape
    wanted = grad.size > 0
    padded = wanted and classes <= kernels.SHORT and rows > 1  # as in softmax
    together = kernels._together(classes)
    v, number = lanes(pointer(x, 0)), x.dtype.type(0)
    width = (classes + v - 1) // v * v
    terms = np.empty(width * min(together, rows) if padded else 0, x.dtype)
    plans, scores, tops, fractions = room(number), room(number), room(number), room(number)
    owns, losts, sums = room(number), room(number), room(0.0)
    for begin in range(0, rows, together):
        count = min(together, rows - begin)
        for i in range(count):
            p = pointer(x, (begin + i) * classes)
            top = kernels._largest(p, classes)
            plan, fraction = kernels._plan(p, top, 1.0, _raised(p))
            kernels._keep(plans, i, plan)
            write(moved(tops, i), top)
            write(moved(fractions, i), fraction)
            write(moved(scores, i), read(moved(p, max(labels[begin + i], 0))))
        for i in range(0, count, v):
            plan = kernels._plan_of_columns(moved(plans, i))
            own, lost = kernels._terms_and_lost(load(moved(scores, i)), plan)
            store(moved(owns, i), own)
            store(moved(losts, i), lost)
        for i in range(count):
            at, label = (begin + i) * classes, labels[begin + i]
            t = pointer(terms, i * width) if padded else pointer(grad, at)
            if label >= 0:
                plan = kernels._plan_of_row(plans, i)
                others = _sum_without(pointer(x, at), classes, label, plan, t, wanted, padded)
                write(moved(sums, i), others)
        for i in range(count):
            at, label = (begin + i) * classes, labels[begin + i]
            q = pointer(grad, at)
            if label < 0:
                losses[begin + i] = np.nan if label == INVALID else 0.0
                if wanted:
                    _clear(q, classes)
                continue
            others, own, lost = read(moved(sums, i)), read(moved(owns, i)), read(moved(losts, i))
            score, top = float(read(moved(scores, i))), float(read(moved(tops, i)))
            loss = _loss(q, others, own, lost, score, top, read(moved(fractions, i)))
            factor = float(weight[label]) if weight.size > 0 else 1.0
            losses[begin + i] = _weighted(factor, loss)
            if wanted:
                t = pointer(terms, i * width) if padded else q
                _write_gradient(t, q, classes, label, others, own, lost, factor * scale, padded)
    alive(terms)


# By distributions ---------------------------------------------------------------------------------


@kernels._inlined
def _place_of(number: Any, x: Any, classes: int) -> int:
    """Where a row has this number first; 0 if nowhere."""
    for j in range(classes):
        if read(moved(x, j)) == number:
            return j
    return 0


@kernels._inlined
def _sums_of_weights(x: Any, weights: Any, classes: int, top: Any) -> Any:
    """The sum of the weights, and that of weights times (top - x), where 0 * inf is 0."""
    v, zero = lanes(x), splat(kernels._like(x, 0.0))
    top = splat(top)
    total, far = kernels._sum_of(zero), kernels._sum_of(zero)
    for at in range(0, classes, v):
        a = kernels._load_within(moved(x, at), classes - at)
        w = kernels._zeros_within(moved(weights, at), classes - at)
        total = kernels._merged(total, kernels._sum_of(w))
        far = kernels._merged(far, kernels._sum_of(where_equal(w, zero, zero, w * (top - a))))
    return kernels._across_any(total), kernels._across_any(far)


@kernels._inlined
def _write_slopes(
    x: Any,
    weights: Any,
    grad: Any,
    classes: int,
    plan: kernels._Plan,
    fraction: Any,
    factor: float,
    scale: float,
) -> None:
    """Terms times `factor` less weights times `scale`."""
    v, zero = lanes(x), splat(kernels._like(x, 0.0))
    raised = 2.0**kernels.RAISED_FOR_LOG
    least = splat(kernels._like(x, kernels._format(x).smallest * raised))
    lower, fraction = splat(kernels._like(x, 1.0 / raised)), splat(fraction)
    factor, scale = splat(kernels._like(x, factor)), splat(kernels._like(x, scale))
    for at in range(0, classes, v):
        a = kernels._load_within(moved(x, at), classes - at)
        w = kernels._zeros_within(moved(weights, at), classes - at)
        t = kernels._relative_terms(a, plan, fraction)[0]
        t = where_less(t, least, zero, t) * lower
        kernels._store_within(moved(grad, at), fma(t, factor, zero - w * scale), classes - at)


@kernels._jit
def cross_entropy_of_distributions(
    x: Array, weights: Array, losses: Array, grad: Array, scale: float
) -> None:
    """Every row's loss, its log-probabilities counted by `weights`, and `scale` times the gradient.

    No gradient if `grad` is empty. The weights are used up. x and grad are the same memory or
    disjoint.
    """
    rows, classes = x.shape
    kept = room(x.dtype.type(0))
    for i in range(rows):
        p, w = pointer(x, i * classes), pointer(weights, i * classes)
        top = kernels._largest(p, classes)
        plan, fraction = kernels._plan(p, top, 1.0, kernels.RAISED_FOR_LOG)
        kernels._keep(kept, 0, plan)
        plan = kernels._plan_of_row(kept, 0)
        rest, ties = kernels._rest(p, classes, plan, fraction, top)
        rest = rest * 2.0**-kernels.RAISED_FOR_LOG + (ties - 1.0)
        rest = rest if math.isfinite(top) else np.nan  # nothing but -inf: as many ties as classes
        # The most probable class adds its log-probability only, which is next to 0 for a sure one.
        winner = _place_of(top, p, classes)
        own = float(read(moved(w, winner)))
        write(moved(w, winner), kernels._like(p, 0.0))
        others, far = _sums_of_weights(p, w, classes, top)
        everything = others + own
        losses[i] = everything * math.log1p(rest) + far
        if grad.size > 0:
            q, total = pointer(grad, i * classes), 1.0 + rest
            # sum(w t) p - w t of that class, where the two may be nearly alike.
            slope = others - everything * (rest / total)
            factor = scale * everything / total
            _write_slopes(p, w, q, classes, plan, fraction, factor, scale)
            write(moved(q, winner), kernels._like(q, scale * slope))
