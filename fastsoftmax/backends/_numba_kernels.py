"""The Numba kernels: exp, its sums, and the operations on contiguous rows of one compute type.

The only file that imports numba. No strides, masks, half types or threads here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba.extending
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import overload

from fastsoftmax._typing import Array

F = TypeVar("F", bound=Callable[..., Any])

BLOCK = 512
"""Classes that a pass takes at a time, so that the next pass finds their terms in L1."""

RAISED = 40
"""Terms come out 2**40 too large, so that only the final product can leave the normal numbers."""

FAR = 2.0**20
"""|max * c| from which the maximum is subtracted first, which then loses nothing that matters."""

LOG2E, LOG2E_REST = (float.fromhex(h) for h in ("0x1.71547652b82fep+0", "0x1.777d0ffda0d24p-56"))


def _jit(function: F, **options: Any) -> F:
    # No fastmath: what rounds on purpose must stay (contraction alone cost 45 ULP). No parallel:
    # Numba's threading layers die in a forked child (omp) or under concurrent callers (workqueue).
    options |= {"error_model": "numpy", "nogil": True}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no directory to write the cache to
        return cast(F, numba.njit(**options)(function))


def _intrinsic(lower: F) -> Any:
    # Any: what is called from kernels has no typing context as its first argument any more.
    return numba.extending.intrinsic(lower)


def _sum_jit(function: F) -> F:
    # The order is LLVM's, but one for every call: it depends on the length alone.
    return _jit(function, fastmath={"reassoc"})


@_intrinsic
def _fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once; a literal a * b + c costs up to 521 ULP at scale 100."""
    return a(a, a, a), lambda context, builder, signature, args: builder.fma(*args)


@_intrinsic
def _nearest(typing: Any, x: Any) -> Any:
    """x rounded to an integer whatever the caller's rounding mode, which x + magic would obey."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(
            builder.module.declare_intrinsic("llvm.roundeven", [args[0].type]), args
        )

    return x(x), lower


@_intrinsic
def _exponent(typing: Any, z: Any) -> Any:
    """The number whose sign and exponent are the lowest bits of z, and its mantissa 0."""
    bits, mantissa = ir.IntType(z.bitwidth), {32: 23, 64: 52}[z.bitwidth]

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shifted = builder.shl(builder.bitcast(args[0], bits), bits(mantissa))
        return builder.bitcast(shifted, args[0].type)

    return z(z), lower


@_intrinsic
def _ordered(typing: Any, x: Any) -> Any:
    """An integer that sorts like the float x, or x from that integer: the map is its own inverse.

    NaN sorts beyond the infinity of its sign.
    """
    width = x.bitwidth
    integer, real = (types.int32, types.float32) if width == 32 else (types.int64, types.float64)
    result = integer if isinstance(x, types.Float) else real

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = ir.IntType(width)
        i = builder.bitcast(args[0], bits)
        flip = builder.lshr(builder.ashr(i, bits(width - 1)), bits(1))
        return builder.bitcast(builder.xor(i, flip), context.get_value_type(result))

    return result(x), lower


def _term(x: Any, lowest: Any, c_high: Any, c_low: Any, shift: Any, fraction: Any) -> Any:
    """2**(x * c - shift - fraction + RAISED), one version for each type; c has two parts.

    x is reduced itself, and the shift goes into the exponent: rounding x - max first would cost
    60 ULP at scale 10. NaN stays, x below `lowest` gives 0.
    """


def _term_for(real: type[np.floating[Any]], coefficients: str) -> Callable[..., Any]:
    info = np.finfo(real)
    integers = 1.5 * 2.0**info.nmant
    # Added to an integer, it leaves that integer, biased like an exponent, in the lowest bits.
    magic = real(integers + RAISED - info.minexp + 1)
    smallest = real(integers + 2)  # p may be below 1: one power more than the smallest normal
    zero = real(0)
    first, *others = (real(float.fromhex(c)) for c in reversed(coefficients.split()))
    rest = tuple(others)

    def term(x: Any, lowest: Any, c_high: Any, c_low: Any, shift: Any, fraction: Any) -> Any:
        x = lowest if x < lowest else x
        n = _nearest(_fma(x, c_high, -fraction))
        r = _fma(x, c_low, _fma(x, c_high, -n) - fraction)
        z = n + (magic - shift)
        scale = zero if z < smallest else _exponent(z)
        p = first
        for c in rest:
            p = _fma(r, p, c)
        return p * scale

    return term


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

_TERMS = {
    types.float32: _term_for(np.float32, SERIES[np.float32]),
    types.float64: _term_for(np.float64, SERIES[np.float64]),
}


@overload(_term)
def _(x: Any, lowest: Any, c_high: Any, c_low: Any, shift: Any, fraction: Any) -> Any:
    return _TERMS[x]


class _Row(NamedTuple):
    """What the passes over a row share: the terms are of x - base, and c is log2(e) / T."""

    largest: Any  # of x
    base: Any  # 0 unless the largest is FAR
    top: Any  # largest - base
    lowest: Any
    c_high: Any
    c_low: Any
    shift: Any  # top * c, rounded to an integer, and
    fraction: Any  # the rest of it, or 0 where the terms need not be relative to exp(largest / T)


@_jit
def _largest(x: Array) -> Any:
    m = _ordered(x[0])
    for i in range(x.size):
        m = max(m, _ordered(x[i]))
    return _ordered(m)


@_jit
def _row(x: Array, temperature: float, relative: bool) -> _Row:
    real, single = x.dtype.type, x.itemsize == 4
    largest = _largest(x)
    c = LOG2E / temperature
    c_rest = (_fma(-c, temperature, LOG2E) + LOG2E_REST) / temperature
    base = 0.0 if abs(largest * c) <= FAR else float(largest)
    top = largest - base
    shift = np.rint(top * c)
    lowest = (shift - (190.0 if single else 1100.0)) / c
    c_high = real(c)
    return _Row(
        largest,
        real(base),
        real(top),
        real(lowest),
        c_high,
        real((c - c_high) + c_rest),
        real(shift),
        real(_fma(top, c, -shift) + top * c_rest if relative else 0.0),
    )


@_jit
def _block(x: Array, start: int, moved: Array, row: _Row) -> Array:
    x = x[start : start + BLOCK]
    if row.base == 0:
        return x
    moved = moved[: x.size]
    for i in range(x.size):
        moved[i] = x[i] - row.base
    return moved


@_jit
def _copy(source: Array, target: Array) -> None:
    # A slice assignment takes 5 times as long.
    for i in range(source.size):
        target[i] = source[i]


@_jit
def _terms(x: Array, t: Array, row: _Row) -> None:
    # t overlaps x nowhere, or else LLVM's check for it would choose the scalar loop.
    for i in range(x.size):
        t[i] = _term(x[i], row.lowest, row.c_high, row.c_low, row.shift, row.fraction)


@_jit
def _add(total: float, lost: float, more: float) -> tuple[float, float]:
    """A sum and what its roundings lost so far (Knuth's two-sum)."""
    new = total + more
    rounded = new - total
    return new, lost + ((total - (new - rounded)) + (more - rounded))


@_sum_jit
def _sum_in_double(t: Array) -> float:
    total = 0.0
    for i in range(t.size):
        total += np.float64(t[i])
    return total


@_jit
def _sum(t: Array, lost: Array) -> tuple[float, float]:
    """The sum and its rounding errors; float64 terms are folded in halves and overwritten.

    float32 lanes instead would save 0.05 ns an element, and cost softmax of 10 classes 5 ULP.
    """
    if t.itemsize == 4:
        return _sum_in_double(t), 0.0
    n = t.size
    for i in range(n):
        lost[i] = 0.0
    while n > 1:
        half = (n + 1) // 2
        for i in range(n - half):
            t[i], lost[i] = _add(t[i], lost[i] + lost[half + i], t[half + i])
        n = half
    return t[0], lost[0]


@_jit
def _leave_out(x: Array, top: Any, t: Array) -> Any:
    """Take the terms of the largest x out; returns how many they were."""
    zero, count = t.dtype.type(0), np.int32(0)
    for i in range(x.size):
        t[i] = zero if x[i] == top else t[i]
    for i in range(x.size):
        count += np.int32(x[i] == top)
    return count


@_jit
def _scale(y: Array, total: float) -> None:
    # Small terms are zeroed first: the product must neither be subnormal nor depend on the
    # caller's flush-to-zero mode.
    real = y.dtype.type
    zero = real(0)
    inverse = 1.0 / total
    factor = real(inverse)
    rest = real((inverse - factor) + inverse * _fma(-inverse, total, 1.0))
    smallest = real((2.0**-126 if y.itemsize == 4 else 2.0**-1022) * (1 + 2.0**-20) * total)
    for i in range(y.size):
        p = zero if y[i] < smallest else y[i]
        y[i] = _fma(p, factor, p * rest)


@_jit
def _buffers(x: Array) -> tuple[Array, Array, Array]:
    return np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype)


@_jit
def softmax(x: Array, y: Array, temperatures: Array) -> None:
    """Rows of probabilities; x and y are the same memory or disjoint."""
    buffer, moved, errors = _buffers(x)
    for i in range(x.shape[0]):
        row = _row(x[i], temperatures[i], False)
        if not math.isfinite(row.largest):
            y[i] = np.nan
            continue
        total = lost = 0.0
        for start in range(0, x.shape[1], BLOCK):
            block = _block(x[i], start, moved, row)
            t = buffer[: block.size]
            _terms(block, t, row)
            _copy(t, y[i, start : start + BLOCK])
            more, more_lost = _sum(t, errors)
            total, lost = _add(total, lost + more_lost, more)
        _scale(y[i], total + lost)


@_jit
def _log_total(x: Array, row: _Row, buffer: Array, moved: Array, errors: Array) -> float:
    """log(sum(exp((x - largest) / T))), the largest left out of the sum: log1p keeps its digits."""
    total = lost = 0.0
    ties = -1
    for start in range(0, x.size, BLOCK):
        block = _block(x, start, moved, row)
        t = buffer[: block.size]
        _terms(block, t, row)
        ties += _leave_out(block, row.top, t)
        more, more_lost = _sum(t, errors)
        total, lost = _add(total, lost + more_lost, more)
    return math.log1p((total + lost) * 2.0**-RAISED + ties)


@_jit
def log_softmax(x: Array, y: Array, temperatures: Array) -> None:
    """Rows of log-probabilities; x and y are the same memory or disjoint."""
    real = x.dtype.type
    buffer, moved, errors = _buffers(x)
    for i in range(x.shape[0]):
        row = _row(x[i], temperatures[i], True)
        if not math.isfinite(row.largest):
            y[i] = np.nan
            continue
        d = _log_total(x[i], row, buffer, moved, errors)
        if d < (2.0**-126 if x.itemsize == 4 else 2.0**-1022):
            d = 0.0
        log_total = real(d)
        # In halves, as the distance of two float32 may overflow although its T-th part would not.
        half, inverse = real(0.5), real(2.0 / temperatures[i])
        top = half * row.largest
        for start in range(0, x.shape[1], BLOCK):
            block = x[i, start : start + BLOCK]
            t = buffer[: block.size]
            for j in range(block.size):
                t[j] = _fma(_fma(block[j], half, -top), inverse, -log_total)
            _copy(t, y[i, start : start + BLOCK])


@_jit
def logsumexp(x: Array, lse: Array) -> None:
    """log(sum(exp(x))) of every row."""
    buffer, moved, errors = _buffers(x)
    for i in range(x.shape[0]):
        row = _row(x[i], 1.0, True)
        if math.isfinite(row.largest):
            lse[i] = row.largest + _log_total(x[i], row, buffer, moved, errors)
        else:
            lse[i] = np.nan if _has_nan(x[i]) else row.largest


@_jit
def _has_nan(x: Array) -> bool:
    for j in range(x.size):  # noqa: SIM110  # Numba compiles no generators in any()
        if x[j] != x[j]:
            return True
    return False


@_jit
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


@_jit
def _weigh(t: Array, weights: Array) -> None:
    for j in range(t.size):
        t[j] = 2.0**-RAISED * t[j] * weights[j] if t[j] != 0 else 0.0


@_jit
def _weighted_total(x: Array, weights: Array, row: _Row) -> float:
    """Sum of weights * exp(x - largest); for an infinite largest only the infinities count."""
    buffer, moved, errors = _buffers(x)
    total = lost = 0.0
    if not math.isfinite(row.largest):
        for j in range(x.size):
            if x[j] != -np.inf:
                total += x[j] * weights[j] if abs(x[j]) == np.inf else x[j] - x[j]
        return total
    for start in range(0, x.size, BLOCK):
        block = _block(x, start, moved, row)
        t = buffer[: block.size]
        _terms(block, t, row)
        _weigh(t, weights[start : start + BLOCK])
        more, more_lost = _sum(t, errors)
        total, lost = _add(total, lost + more_lost, more)
    return total + lost


@_jit
def weighted_logsumexp(x: Array, weights: Array, lse: Array, sign: Array) -> None:
    """log(abs(sum(weights * exp(x)))) of every row and the sum's sign, in float64 only.

    float32 terms would underflow where a small x has a large weight.
    """
    for i in range(x.shape[0]):
        addends, factors = _folded(x[i], weights[i])
        row = _row(addends, 1.0, True)
        total = _weighted_total(addends, factors, row)
        sign[i] = np.sign(total)
        if math.isfinite(row.largest):
            lse[i] = row.largest + math.log(abs(total))
        else:
            lse[i] = math.log(abs(total))
