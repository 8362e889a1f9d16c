"""The Numba kernels: exp, its sums, and the operations on C-contiguous arrays of one compute type.

Classes are the last axis (`*_rows`) or the middle one of three (`*_columns`): the same bits. No
other strides, no masks, half types or threads here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numba import types
from numba.extending import overload

from fastsoftmax._typing import Array
from fastsoftmax.backends._numba_vectors import (
    alive,
    exchanged,
    exponent,
    first,
    fma,
    halves_in_double,
    lanes,
    load,
    load_or_zeros,
    load_some,
    maximum,
    moved,
    pointer,
    read,
    room,
    splat,
    store,
    store_some,
    where_equal,
    where_less,
    write,
    zeros,
)

F = TypeVar("F", bound=Callable[..., Any])

RAISED, RAISED_FOR_LOG = 40, 100
"""Terms come out so many powers of two too large.

With 40, a quotient becomes 0 in the final product and nowhere before, and the factor in it stays
normal with its low part. With 100, no term is lost that log1p could see.
"""

FAR = 2.0**20
"""|max * c| from which the maximum is subtracted first, which then loses nothing that matters."""

SHORT = 2048
"""Numbers of all rows that are worked on together: with their terms and results they fill L1."""

TOGETHER = 16
"""Rows or columns that take each step together, which hides how long the step takes in one."""

PLANES, SCRATCH = 4, 1 << 17
"""Vectors of columns that are read together, as long as they have no more numbers than SCRATCH."""

LOG2E, LOG2E_REST = (float.fromhex(h) for h in ("0x1.71547652b82fep+0", "0x1.777d0ffda0d24p-56"))


def _jit(function: F, nogil: bool = True) -> F:
    # No fastmath: what rounds on purpose must stay (contraction alone cost 45 ULP). No parallel:
    # Numba's threading layers die in a forked child (omp) or under concurrent callers (workqueue).
    options: dict[str, Any] = {"error_model": "numpy", "nogil": nogil}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no directory to write the cache to
        return cast(F, numba.njit(**options)(function))


def _small(function: F) -> F:
    """For calls of a few microseconds, of which letting go of the interpreter would cost 0.03."""
    return _jit(function, nogil=False)


def _inlined(function: F) -> F:
    # A call would pass vectors through memory.
    return cast(F, numba.njit(error_model="numpy", forceinline=True)(function))


def _by_type(choose: Callable[..., Any]) -> Any:
    """A function for kernels of which `choose` picks the implementation by the arguments' types."""

    def chosen(*arguments: Any) -> Any:
        raise NotImplementedError("compiled code only")

    overload(chosen, jit_options={"error_model": "numpy", "forceinline": True})(choose)
    return chosen


class _Format(NamedTuple):
    """Constants of a floating-point type."""

    magic: float  # added to an integer, leaves it in the lowest bits as a biased exponent
    lowest: float  # exponent of the smallest terms
    smallest: float  # a little above the smallest normal number


def _format_of(real: type[np.floating[Any]]) -> _Format:
    info = np.finfo(real)
    magic = 1.5 * 2.0**info.nmant - info.minexp + 1
    # 2 more: factors 2**r may be below 1, and the limit that is made of this is rounded.
    smallest = 2.0**info.minexp * (1 + 8 * float(info.eps))
    return _Format(magic, float(info.minexp + 2), smallest)


_REALS = {types.float32: np.float32, types.float64: np.float64}
_FORMATS = {
    types.float32: _format_of(np.float32),
    types.float64: _format_of(np.float64),
}


@_by_type
def _format(p: Any) -> Any:
    """The format of the elements at p."""
    constants = _FORMATS[p.dtype]

    def implementation(p: Any) -> Any:
        return constants

    return implementation


@_by_type
def _like(p: Any, number: Any) -> Any:
    """A number rounded to the type of the elements at p."""
    real = _REALS[p.dtype]

    def implementation(p: Any, number: Any) -> Any:
        return real(number)

    return implementation


@_by_type
def _at(temperature: Any, i: Any) -> Any:
    """The temperature of row i, be it one for all or one for each."""

    def common(temperature: Any, i: Any) -> Any:
        return temperature

    def own(temperature: Any, i: Any) -> Any:
        return temperature[i]

    return common if isinstance(temperature, types.Float) else own


# exp ----------------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """What the terms of a row are made with, in scalars or in vectors.

    Terms are 2**((x - base) * c - shift), c = log2(e) / T. x is reduced itself, and the shift, an
    integer, goes into the exponent: rounding x - max first would cost 60 ULP at scale 10.
    """

    base: Any  # 0 unless the largest is FAR
    lowest: Any  # what smaller numbers are taken for: its term is next to nothing, and normal
    c_high: Any
    c_low: Any
    magic: Any  # the format's, less the shift


@_inlined
def _plan(p: Any, largest: Any, temperature: float, raised: int) -> tuple[_Plan, Any]:
    """The plan of a row, and what the rounding of its shift added: raised - log2(largest term).

    Both are NaN unless the largest is finite.
    """
    c = LOG2E / temperature
    c_rest = (fma(-c, temperature, LOG2E) + LOG2E_REST) / temperature
    base = 0.0 if abs(largest * c) <= FAR else float(largest)
    top = largest - base
    rounded = np.rint(top * c)
    shift = rounded - raised
    c_high = _like(p, c)
    plan = _Plan(
        _like(p, base),
        _like(p, (_format(p).lowest + shift) * (temperature * (1 / LOG2E))),
        c_high,
        _like(p, (c - c_high) + c_rest),
        _like(p, _format(p).magic - shift),
    )
    return plan, _like(p, -(fma(top, c, -rounded) + top * c_rest))


SERIES = {
    np.float32: "1 0x1.62e430p-1 0x1.ebfbdcp-3 0x1.c6af7ap-5 0x1.3b2dd2p-7 0x1.5f0948p-10 "
    "0x1.417a70p-13",
    np.float64: "1 0x1.62e42fefa39efp-1 0x1.ebfbdff82c59cp-3 0x1.c6b08d704a0d4p-5 "
    "0x1.3b2ab6fba11f2p-7 0x1.5d87fe78b3be8p-10 0x1.4309130c01ca2p-13 0x1.ffcbfbf89eda9p-17 "
    "0x1.62bfcddd076aap-20 0x1.b5260e0e6f145p-24 0x1.e611a23e70e8ap-28 0x1.e80e23a04489bp-32",
}
"""2**r on [-1/2, 1/2], lowest degree first: off by 3.0e-9 and 4.1e-18 before evaluation rounds.

exp stays within 0.99 ULP in float32 (worst at -0x1.54c57ep+5) and 1.00 in float64 (worst at
-0x1.48e5f96cd6607p+8); tests/test_numba_exp.py makes the coefficients and measures.
"""


@_by_type
def _power(r: Any) -> Any:
    """2**r for |r| <= 1/2, and what the last rounding took from it."""
    real = _REALS[r.real]
    leading, *others = reversed([real(float.fromhex(c)) for c in SERIES[real].split()])
    middle, last = tuple(others[:-1]), others[-1]

    def implementation(r: Any) -> Any:
        p = splat(leading)
        for c in middle:
            p = fma(p, r, splat(c))
        power = fma(p, r, splat(last))
        return power, fma(p, r, splat(last) - power)

    return implementation


@_inlined
def _terms_and_lost(x: Any, plan: _Plan) -> Any:
    """Terms of a vector of scores, and what they lost."""
    # Adding a large number rounds to integers. In another rounding mode |r| reaches 1, where the
    # polynomial is off by 1.5e-5; llvm.roundeven would not be, for 0.014 ns an element.
    x = maximum(x - plan.base, plan.lowest)
    z = fma(x, plan.c_high, plan.magic)
    r = fma(x, plan.c_low, fma(x, plan.c_high, plan.magic - z))
    (power, lost), scale = _power(r), exponent(z)
    return power * scale, lost * scale


@_inlined
def _terms(x: Any, plan: _Plan) -> Any:
    """Terms alone."""
    return _terms_and_lost(x, plan)[0]


@_inlined
def _relative_terms(x: Any, plan: _Plan, fraction: Any) -> Any:
    """Terms times 2**-fraction, and what they lost. Scaling their sum so would cost 1 ULP."""
    x = maximum(x - plan.base, plan.lowest)
    z = fma(x, plan.c_high, fraction) + plan.magic
    r = fma(x, plan.c_low, fma(x, plan.c_high, plan.magic - z) + fraction)
    (power, lost), scale = _power(r), exponent(z)
    return power * scale, lost * scale


# Sums ---------------------------------------------------------------------------------------------


class _Double(NamedTuple):
    """The sum of float32 vectors, lane by lane in float64."""

    low: Any
    high: Any


class _Compensated(NamedTuple):
    """The sum of float64 vectors, and what its roundings lost."""

    total: Any
    lost: Any


@_by_type
def _sum_of(v: Any) -> Any:
    """The sum of one vector."""

    def double(v: Any) -> Any:
        low, high = halves_in_double(v)
        return _Double(low, high)

    def compensated(v: Any) -> Any:
        return _Compensated(v, splat(0.0))

    return double if v.real == types.float32 else compensated


@_by_type
def _sum_of_two(a: Any, b: Any) -> Any:
    """The sum of two vectors: rounded once in float32, exact in float64."""

    def double(a: Any, b: Any) -> Any:
        return _sum_of(a + b)

    def compensated(a: Any, b: Any) -> Any:
        return _merged(_sum_of(a), _sum_of(b))

    return double if a.real == types.float32 else compensated


@_by_type
def _restored(s: Any, lost: Any) -> Any:
    """A sum with what its terms had lost: a ULP of logsumexp where few decide. None in float32."""

    def double(s: Any, lost: Any) -> Any:
        return s

    def compensated(s: Any, lost: Any) -> Any:
        return _Compensated(s.total, s.lost + lost)

    return double if lost.real == types.float32 else compensated


@_by_type
def _sum_at(p: Any, sums: Any) -> Any:
    """A sum of vectors of the elements at p, kept at `sums`."""

    def double(p: Any, sums: Any) -> Any:
        return _Double(load(sums), load(moved(sums, lanes(sums))))

    def compensated(p: Any, sums: Any) -> Any:
        return _Compensated(load(sums), load(moved(sums, lanes(sums))))

    return double if p.dtype == types.float32 else compensated


@_inlined
def _keep_sum(sums: Any, s: Any) -> None:
    store(sums, s[0])
    store(moved(sums, lanes(sums)), s[1])


@_by_type
def _merged(a: Any, b: Any) -> Any:
    """The sum of two sums."""

    def double(a: Any, b: Any) -> Any:
        return _Double(a.low + b.low, a.high + b.high)

    def compensated(a: Any, b: Any) -> Any:  # Knuth's two-sum
        total = a.total + b.total
        rounded = total - a.total
        lost = (a.total - (total - rounded)) + (b.total - rounded)
        return _Compensated(total, (a.lost + b.lost) + lost)

    return double if a.instance_class is _Double else compensated


@_by_type
def _across(s: Any) -> Any:
    """The sum of a sum's lanes."""

    def double(s: Any) -> Any:
        v = s.low + s.high
        v = v + exchanged(v, 4)
        v = v + exchanged(v, 2)
        v = v + exchanged(v, 1)
        return first(v)

    def compensated(s: Any) -> Any:
        s = _merged(s, _Compensated(exchanged(s.total, 4), exchanged(s.lost, 4)))
        s = _merged(s, _Compensated(exchanged(s.total, 2), exchanged(s.lost, 2)))
        s = _merged(s, _Compensated(exchanged(s.total, 1), exchanged(s.lost, 1)))
        return first(s.total) + first(s.lost)

    return double if s.instance_class is _Double else compensated


@_by_type
def _across_any(s: Any) -> Any:
    """The same of a sum that may be infinite: NaN is what that has lost."""

    def double(s: Any) -> Any:
        return _across(s)

    def compensated(s: Any) -> Any:
        total, v = _across(s), s.total
        v = v + exchanged(v, 4)
        v = v + exchanged(v, 2)
        v = v + exchanged(v, 1)
        return first(v) if total != total else total

    return double if s.instance_class is _Double else compensated


@_by_type
def _write_lanes(s: Any, totals: Any) -> Any:
    """Write a sum lane by lane, one float64 for each."""

    def double(s: Any, totals: Any) -> Any:
        store(totals, s.low)
        store(moved(totals, lanes(totals)), s.high)

    def compensated(s: Any, totals: Any) -> Any:
        store(totals, s.total + s.lost)

    return double if s.instance_class is _Double else compensated


# Results from sums --------------------------------------------------------------------------------


class _Quotient(NamedTuple):
    """How terms become probabilities: times factor + rest, or 0 below smallest."""

    factor: Any
    rest: Any
    smallest: Any


@_inlined
def _quotient(p: Any, total: float) -> _Quotient:
    inverse = 1.0 / total
    factor = _like(p, inverse)
    rest = (inverse - factor) + inverse * fma(-inverse, total, 1.0)
    return _Quotient(factor, _like(p, rest), _like(p, _format(p).smallest * total))


@_inlined
def _divided(t: Any, q: _Quotient) -> Any:
    # Small terms are zeroed first: the product must neither be subnormal nor depend on the
    # caller's flush-to-zero mode.
    t = where_less(t, q.smallest, zeros(t), t)
    return fma(t, q.factor, t * q.rest)


@_inlined
def _log_total(rest: float, ties: float) -> float:
    """log(sum(exp((x - largest) / T))) from the terms without the largest, which were `ties`.

    Left out of the sum and brought back by log1p, since that keeps the digits of a small rest.
    """
    return math.log1p(rest * 2.0**-RAISED_FOR_LOG + (ties - 1.0))


class _Line(NamedTuple):
    """How scores become log-probabilities: (x / 2 - top) * inverse - log_total."""

    minus_top: Any
    inverse: Any
    minus_log_total: Any


@_inlined
def _line(p: Any, largest: Any, temperature: float, log_total: float) -> _Line:
    # In halves, as the distance of two float32 may overflow although its T-th part would not.
    d = 0.0 if log_total < _format(p).smallest else log_total
    return _Line(_like(p, -0.5 * largest), _like(p, 2.0 / temperature), _like(p, -d))


@_inlined
def _on_line(x: Any, half: Any, line: _Line) -> Any:
    return fma(fma(x, half, line.minus_top), line.inverse, line.minus_log_total)


# Rows ---------------------------------------------------------------------------------------------


@_inlined
def _keep(kept: Any, i: int, numbers: Any) -> None:
    """Keep the numbers of row i; vectors of TOGETHER rows can be loaded from there."""
    for number in numbers:
        write(moved(kept, i), number)
        kept = moved(kept, TOGETHER)


@_inlined
def _plan_of_row(kept: Any, i: int) -> _Plan:
    p = moved(kept, i)
    return _Plan(
        splat(read(p)),
        splat(read(moved(p, TOGETHER))),
        splat(read(moved(p, 2 * TOGETHER))),
        splat(read(moved(p, 3 * TOGETHER))),
        splat(read(moved(p, 4 * TOGETHER))),
    )


@_inlined
def _largest(x: Any, classes: int) -> Any:
    """The largest number of a row, NaN passed over; -inf if there is none."""
    v = lanes(x)
    m = n = splat(_like(x, -np.inf))
    at = 0
    while at + 2 * v <= classes:
        m = maximum(m, load(moved(x, at)))
        n = maximum(n, load(moved(x, at + v)))
        at += 2 * v
    if at + v <= classes:
        m = maximum(m, load(moved(x, at)))
        at += v
    if at < classes:
        n = maximum(n, load_some(moved(x, at), classes - at))
    m = maximum(m, n)
    m = maximum(m, exchanged(m, 8))
    m = maximum(m, exchanged(m, 4))
    m = maximum(m, exchanged(m, 2))
    m = maximum(m, exchanged(m, 1))
    return first(m)


# Pairs of vectors are added before they are folded into float64 or compensated. Fours would save
# 0.02 ns an element and come 0.4 ULP closer to the bound.


@_inlined
def _store_terms(x: Any, classes: int, plan: _Plan, t: Any, padded: bool) -> Any:
    """Write the terms of a row to t, up to a whole vector if `padded`; returns their sum."""
    v = lanes(x)
    total = _sum_of(splat(_like(x, 0.0)))
    at = 0
    while at + 2 * v <= classes:
        a, b = _terms(load(moved(x, at)), plan), _terms(load(moved(x, at + v)), plan)
        store(moved(t, at), a)
        store(moved(t, at + v), b)
        total = _merged(total, _sum_of_two(a, b))
        at += 2 * v
    if at < classes:
        last = splat(_like(x, 0.0))
        if at + v <= classes:
            last = _terms(load(moved(x, at)), plan)
            store(moved(t, at), last)
            at += v
        if at < classes:
            a = _terms(load_some(moved(x, at), classes - at), plan)
            if padded:
                store(moved(t, at), a)
            else:
                store_some(moved(t, at), a, classes - at)
            total = _merged(total, _sum_of_two(last, a))
        else:
            total = _merged(total, _sum_of(last))
    return total


@_inlined
def _divide(t: Any, y: Any, classes: int, q: _Quotient, padded: bool) -> None:
    v = lanes(y)
    at = 0
    while at + v <= classes:
        store(moved(y, at), _divided(load(moved(t, at)), q))
        at += v
    if at < classes:
        left = classes - at
        a = load(moved(t, at)) if padded else load_some(moved(t, at), left)
        store_some(moved(y, at), _divided(a, q), left)


@_inlined
def _load_within(p: Any, left: int) -> Any:
    """A vector, with -inf in the lanes that are not there."""
    return load(p) if left >= lanes(p) else load_some(p, left)


@_inlined
def _zeros_within(p: Any, left: int) -> Any:
    """The same with zeros in the lanes that are not there."""
    return load(p) if left >= lanes(p) else load_or_zeros(p, left)


@_inlined
def _store_within(p: Any, a: Any, left: int) -> None:
    if left >= lanes(p):
        store(p, a)
    else:
        store_some(p, a, left)


@_inlined
def _others(a: Any, top: Any, plan: _Plan, fraction: Any) -> Any:
    """Terms but for those of the largest score, and what they lost."""
    (t, lost), zero = _relative_terms(a, plan, fraction), zeros(a)
    return where_equal(a, top, zero, t), where_equal(a, top, zero, lost)


@_inlined
def _rest(x: Any, classes: int, plan: _Plan, fraction: Any, largest: Any) -> Any:
    """The sum of the terms of a row without the largest, and how many those were."""
    v = lanes(x)
    top, minus, one = splat(largest), splat(fraction), splat(_like(x, 1.0))
    zero = zeros(one)
    total, ties = _sum_of(zero), zero
    at = 0
    while at < classes:
        a = _load_within(moved(x, at), classes - at)
        (t, lost), (b, less) = _others(a, top, plan, minus), (zero, zero)
        ties = ties + where_equal(a, top, one, zero)
        at += v
        if at < classes:
            a = _load_within(moved(x, at), classes - at)
            b, less = _others(a, top, plan, minus)
            ties = ties + where_equal(a, top, one, zero)
            at += v
        total = _restored(_merged(total, _sum_of_two(t, b)), lost + less)
    return _across(total), _across(_sum_of(ties))


@_jit
def softmax_rows(x: Array, y: Array, temperature: Any) -> None:
    """Probabilities of every row; x and y are the same memory or disjoint."""
    rows, classes = x.shape
    # Terms go to whole vectors of a scratch where that is not a detour: what was written in part
    # cannot be read back before it has left the store buffer, which cost 70 ns a row.
    padded = classes <= SHORT and rows > 1
    together = _together(classes)
    v = lanes(pointer(x, 0))
    width = (classes + v - 1) // v * v
    terms = np.empty(width * min(together, rows) if padded else 0, x.dtype)
    plans, totals = room(x.dtype.type(0)), room(0.0)
    for begin in range(0, rows, together):
        count = min(together, rows - begin)
        for i in range(count):
            p = pointer(x, (begin + i) * classes)
            plan, _ = _plan(p, _largest(p, classes), _at(temperature, begin + i), RAISED)
            _keep(plans, i, plan)
        for i in range(count):
            at = (begin + i) * classes
            t = pointer(terms, i * width) if padded else pointer(y, at)
            total = _store_terms(pointer(x, at), classes, _plan_of_row(plans, i), t, padded)
            write(moved(totals, i), _across(total))
        for i in range(count):
            at = (begin + i) * classes
            t = pointer(terms, i * width) if padded else pointer(y, at)
            q = _quotient(t, read(moved(totals, i)))
            q = _Quotient(splat(q.factor), splat(q.rest), splat(q.smallest))
            _divide(t, pointer(y, at), classes, q, padded)
    alive(terms)


@_inlined
def _together(classes: int) -> int:
    return max(1, min(TOGETHER, SHORT // classes))


@_inlined
def _log_totals(
    x: Any, classes: int, count: int, temperature: Any, begin: int, largest: Any, logs: Any
) -> None:
    """The largest number and the log of the sum of `count` rows, row `begin` of all the first."""
    plans, fractions, ties = room(read(x)), room(read(x)), room(0.0)
    for i in range(count):
        p = moved(x, i * classes)
        top = _largest(p, classes)
        plan, fraction = _plan(p, top, _at(temperature, begin + i), RAISED_FOR_LOG)
        _keep(plans, i, plan)
        write(moved(fractions, i), fraction)
        write(moved(largest, i), top)
    for i in range(count):
        plan, top = _plan_of_row(plans, i), read(moved(largest, i))
        fraction = read(moved(fractions, i))
        rest, tied = _rest(moved(x, i * classes), classes, plan, fraction, top)
        write(moved(logs, i), rest)
        write(moved(ties, i), tied)
    for i in range(count):
        log = moved(logs, i)
        write(log, _log_total(read(log), read(moved(ties, i))))


@_inlined
def _draw(x: Any, y: Any, classes: int, line: _Line) -> None:
    v, half = lanes(x), splat(_like(x, 0.5))
    line = _Line(splat(line.minus_top), splat(line.inverse), splat(line.minus_log_total))
    at = 0
    while at + v <= classes:
        store(moved(y, at), _on_line(load(moved(x, at)), half, line))
        at += v
    if at < classes:
        left = classes - at
        store_some(moved(y, at), _on_line(load_some(moved(x, at), left), half, line), left)


@_jit
def log_softmax_rows(x: Array, y: Array, temperature: Any) -> None:
    """Log-probabilities of every row; x and y are the same memory or disjoint."""
    rows, classes = x.shape
    together = _together(classes)
    largest, logs = room(x.dtype.type(0)), room(0.0)
    for begin in range(0, rows, together):
        count = min(together, rows - begin)
        p, q = pointer(x, begin * classes), pointer(y, begin * classes)
        _log_totals(p, classes, count, temperature, begin, largest, logs)
        for i in range(count):
            t = _at(temperature, begin + i)
            line = _line(p, read(moved(largest, i)), t, read(moved(logs, i)))
            _draw(moved(p, i * classes), moved(q, i * classes), classes, line)


@_jit
def logsumexp_rows(x: Array, lse: Array, temperature: float) -> None:
    """log(sum(exp(x))) of every row; the temperature is 1."""
    rows, classes = x.shape
    together = _together(classes)
    largest, logs = room(x.dtype.type(0)), room(0.0)
    for begin in range(0, rows, together):
        count = min(together, rows - begin)
        p = pointer(x, begin * classes)
        _log_totals(p, classes, count, temperature, begin, largest, logs)
        for i in range(count):
            top, log = read(moved(largest, i)), read(moved(logs, i))
            result = _log_of_sum(moved(p, i * classes), classes, 1, top, log)
            write(pointer(lse, begin + i), _like(p, result))


@_inlined
def _log_of_sum(x: Any, classes: int, step: int, largest: Any, log: float) -> float:
    if math.isfinite(largest):
        return float(largest) + log
    return np.nan if _has_nan(x, classes, step) else float(largest)


@_inlined
def _has_nan(x: Any, count: int, step: int) -> bool:
    for j in range(count):
        number = read(moved(x, j * step))
        if number != number:
            return True
    return False


# Small ordinary calls: see `_ordinary.Rows`. To find out whether memory overlaps is free here.


@_inlined
def _apart(x: Array, y: Array) -> bool:
    """Whether x and y have one shape and are the very same memory or disjoint."""
    gap = y.ctypes.data - x.ctypes.data
    return x.shape == y.shape and (gap == 0 or abs(gap) >= x.nbytes)


@_small
def softmax_small(x: Array, y: Array) -> bool:
    """Probabilities of every row, if x and y are `_apart`."""
    apart = _apart(x, y)
    if apart:
        softmax_rows(x, y, 1.0)
    return apart


@_small
def log_softmax_small(x: Array, y: Array) -> bool:
    """Log-probabilities of every row, if x and y are `_apart`."""
    apart = _apart(x, y)
    if apart:
        log_softmax_rows(x, y, 1.0)
    return apart


# Columns ------------------------------------------------------------------------------------------

# A stripe of columns at a time. Its rows lie far apart, often by a power of two, so that a cache
# holds few of them: they are read once, into a scratch with a plane for each vector of columns, and
# the result is written once. Stripes of a single vector took twice as long on (1000, 1024).


class _Stripe(NamedTuple):
    """Columns that are worked on together."""

    start: int  # flat index of its first number
    row: int  # index of its first column, of all
    last: int  # the last column that there is beside it
    columns: int
    vectors: int


@_inlined
def _stripe(shape: tuple[int, int, int], v: int, begin: int, end: int) -> _Stripe:
    """The stripe that begins with vector of columns `begin` and ends before `end`."""
    _, classes, inner = shape
    across = (inner + v - 1) // v
    outer, place = begin // across, begin % across
    vectors = min(_planes(classes, v), across - place, end - begin)
    columns, first = min(vectors * v, inner - place * v), outer * inner
    start = first * classes + place * v
    return _Stripe(start, first + place * v, first + inner - 1, columns, vectors)


@_inlined
def _planes(classes: int, v: int) -> int:
    return max(1, min(PLANES, SCRATCH // (classes * v)))


@_inlined
def _gather(x: Any, classes: int, step: int, stripe: _Stripe, scores: Any, largest: Any) -> None:
    """Copy a stripe into the planes of `scores`, and the largest of each column to `largest`."""
    v = lanes(x)
    for g in range(stripe.vectors):
        store(moved(largest, g * v), splat(_like(x, -np.inf)))
    for k in range(classes):
        for g in range(stripe.vectors):
            a = _load_within(moved(x, k * step + g * v), stripe.columns - g * v)
            store(moved(scores, (g * classes + k) * v), a)
            m = moved(largest, g * v)
            store(m, maximum(load(m), a))


@_inlined
def _plan_of_columns(p: Any) -> _Plan:
    return _Plan(
        load(p),
        load(moved(p, TOGETHER)),
        load(moved(p, 2 * TOGETHER)),
        load(moved(p, 3 * TOGETHER)),
        load(moved(p, 4 * TOGETHER)),
    )


@_inlined
def _add_up(sums: Any, p: Any) -> Any:
    """The sum of the kept sums, in the order of `_across`."""
    n = lanes(p) // 2
    while n > 0:
        for i in range(n):
            a = moved(sums, 2 * i * lanes(sums))
            b = moved(sums, 2 * (i + n) * lanes(sums))
            _keep_sum(a, _merged(_sum_at(p, a), _sum_at(p, b)))
        n //= 2
    return _sum_at(p, sums)


@_inlined
def _clear(sums: Any, p: Any) -> None:
    nothing = _sum_of(splat(_like(p, 0.0)))
    for i in range(lanes(p)):
        _keep_sum(moved(sums, 2 * i * lanes(sums)), nothing)


@_inlined
def _store_column_terms(t: Any, classes: int, plan: _Plan) -> Any:
    """Turn a plane of scores into terms; returns the sums of its columns.

    Classes are added in the order in which the lanes of `_store_terms` add them.
    """
    v, sums = lanes(t), room(0.0)
    _clear(sums, t)
    for begin in range(0, classes, 2 * v):
        for i in range(min(v, classes - begin)):
            p, kept = moved(t, (begin + i) * v), moved(sums, 2 * i * lanes(sums))
            a, b = _terms(load(p), plan), zeros(plan.base)
            store(p, a)
            if begin + i + v < classes:
                p = moved(p, v * v)
                b = _terms(load(p), plan)
                store(p, b)
            _keep_sum(kept, _merged(_sum_at(t, kept), _sum_of_two(a, b)))
    return _add_up(sums, t)


@_inlined
def _column_rest(x: Any, classes: int, plan: _Plan, fraction: Any, top: Any, ties: Any) -> Any:
    """The sums of a plane's terms without the largest; how many those were goes to ties."""
    v, sums = lanes(x), room(0.0)
    zero, one = zeros(top), splat(_like(x, 1.0))
    tied = zero
    _clear(sums, x)
    for begin in range(0, classes, 2 * v):
        for i in range(min(v, classes - begin)):
            p, kept = moved(x, (begin + i) * v), moved(sums, 2 * i * lanes(sums))
            a = load(p)
            (t, lost), (b, less) = _others(a, top, plan, fraction), (zero, zero)
            tied = tied + where_equal(a, top, one, zero)
            if begin + i + v < classes:
                a = load(moved(p, v * v))
                b, less = _others(a, top, plan, fraction)
                tied = tied + where_equal(a, top, one, zero)
            total = _merged(_sum_at(x, kept), _sum_of_two(t, b))
            _keep_sum(kept, _restored(total, lost + less))
    _write_lanes(_sum_of(tied), ties)
    return _add_up(sums, x)


@_jit
def softmax_columns(x: Array, y: Array, temperature: Any, begin: int, end: int) -> None:
    """Probabilities along the middle axis, of the vectors of columns from `begin` to `end`."""
    _, classes, inner = x.shape
    v, number = lanes(pointer(x, 0)), x.dtype.type(0)
    scratch = np.empty(classes * v * _planes(classes, v), x.dtype)
    plans, largest, totals, quotients = room(number), room(number), room(0.0), room(number)
    t = pointer(scratch, 0)
    while begin < end:
        stripe = _stripe(x.shape, v, begin, end)
        _gather(pointer(x, stripe.start), classes, inner, stripe, t, largest)
        for g in range(stripe.vectors):
            for i in range(v):
                own = _at(temperature, min(stripe.row + g * v + i, stripe.last))
                plan, _ = _plan(t, read(moved(largest, g * v + i)), own, RAISED)
                _keep(plans, i, plan)
            plane, q = moved(t, g * classes * v), moved(quotients, g * 3 * TOGETHER)
            _write_lanes(_store_column_terms(plane, classes, _plan_of_columns(plans)), totals)
            for i in range(v):
                _keep(q, i, _quotient(t, read(moved(totals, i))))
        for k in range(classes):
            for g in range(stripe.vectors):
                p = moved(quotients, g * 3 * TOGETHER)
                q = _Quotient(load(p), load(moved(p, TOGETHER)), load(moved(p, 2 * TOGETHER)))
                a = _divided(load(moved(t, (g * classes + k) * v)), q)
                to = pointer(y, stripe.start + k * inner + g * v)
                _store_within(to, a, stripe.columns - g * v)
        begin += stripe.vectors
    alive(scratch)


@_inlined
def _column_logs(
    x: Any, classes: int, temperature: Any, row: int, last: int, largest: Any, logs: Any
) -> None:
    """The log of the sum of every column of a plane; `row` to `last` have temperatures."""
    plans, fractions, ties = room(read(x)), room(read(x)), room(0.0)
    for i in range(lanes(x)):
        own = _at(temperature, min(row + i, last))
        plan, fraction = _plan(x, read(moved(largest, i)), own, RAISED_FOR_LOG)
        _keep(plans, i, plan)
        write(moved(fractions, i), fraction)
    plan, fraction, top = _plan_of_columns(plans), load(fractions), load(largest)
    _write_lanes(_column_rest(x, classes, plan, fraction, top, ties), logs)
    for i in range(lanes(x)):
        log = moved(logs, i)
        write(log, _log_total(read(log), read(moved(ties, i))))


@_jit
def log_softmax_columns(x: Array, y: Array, temperature: Any, begin: int, end: int) -> None:
    """Log-probabilities along the middle axis, of the vectors of columns `begin` to `end`."""
    _, classes, inner = x.shape
    v, number, half = lanes(pointer(x, 0)), x.dtype.type(0), splat(x.dtype.type(0.5))
    scratch = np.empty(classes * v * _planes(classes, v), x.dtype)
    largest, logs, lines = room(number), room(0.0), room(number)
    t = pointer(scratch, 0)
    while begin < end:
        stripe = _stripe(x.shape, v, begin, end)
        _gather(pointer(x, stripe.start), classes, inner, stripe, t, largest)
        for g in range(stripe.vectors):
            row, top, to = stripe.row + g * v, moved(largest, g * v), moved(lines, g * 3 * TOGETHER)
            plane = moved(t, g * classes * v)
            _column_logs(plane, classes, temperature, row, stripe.last, top, logs)
            for i in range(v):
                own = _at(temperature, min(row + i, stripe.last))
                _keep(to, i, _line(t, read(moved(top, i)), own, read(moved(logs, i))))
        for k in range(classes):
            for g in range(stripe.vectors):
                p = moved(lines, g * 3 * TOGETHER)
                line = _Line(load(p), load(moved(p, TOGETHER)), load(moved(p, 2 * TOGETHER)))
                a = _on_line(load(moved(t, (g * classes + k) * v)), half, line)
                to = pointer(y, stripe.start + k * inner + g * v)
                _store_within(to, a, stripe.columns - g * v)
        begin += stripe.vectors
    alive(scratch)


@_jit
def logsumexp_columns(x: Array, lse: Array, temperature: float, begin: int, end: int) -> None:
    """log(sum(exp(x))) along the middle axis, likewise; the temperature is 1."""
    _, classes, inner = x.shape
    v, number = lanes(pointer(x, 0)), x.dtype.type(0)
    scratch = np.empty(classes * v * _planes(classes, v), x.dtype)
    largest, logs = room(number), room(0.0)
    t = pointer(scratch, 0)
    while begin < end:
        stripe = _stripe(x.shape, v, begin, end)
        _gather(pointer(x, stripe.start), classes, inner, stripe, t, largest)
        for g in range(stripe.vectors):
            plane = moved(t, g * classes * v)
            _column_logs(plane, classes, temperature, 0, 0, moved(largest, g * v), logs)
            for i in range(min(v, stripe.columns - g * v)):
                top, log = read(moved(largest, g * v + i)), read(moved(logs, i))
                result = _log_of_sum(moved(plane, i), classes, v, top, log)
                write(pointer(lse, stripe.row + g * v + i), _like(t, result))
        begin += stripe.vectors
    alive(scratch)
