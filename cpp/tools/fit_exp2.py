"""Fit the series of exp2.inl: 2^(n + r) from a table over n mod 2^bits and a polynomial in r.

The table holds factor * 2^(i / 2^bits). The factor is common to all exponentials of a row, so it
cancels in a quotient, and it is searched for: the one whose table entries lie nearest to numbers of
the target type. The polynomial has c0 = 1 and is least squares of the relative error at Chebyshev
points of |r| <= 2^-bits / 2, its coefficients rounded one by one, lowest first, the rest fitted
anew. The series for machines without fused multiply-add are of e^r on |r| <= log(2) / 2, c1 = 1 as
well. Prints all of it with the largest relative errors before an evaluation rounds. Needs mpmath
and NumPy, takes a minute:

    python cpp/tools/fit_exp2.py
"""

from __future__ import annotations

import mpmath as mp
import numpy as np

mp.mp.prec = 200

SERIES = (
    (np.float32, 3, 4),
    (np.float32, 4, 3),
    (np.float64, 0, 11),
    (np.float64, 4, 6),
)
"""Type, bits of the table, degree of the polynomial."""

NATURAL = ((np.float32, 6), (np.float64, 11))
"""Type and degree of the series of e^r."""

TRIALS = 1 << 24
"""Factors that are tried at random where the type has too many to try all."""


def fit(
    degree: int, dtype: type[np.floating], reach: mp.mpf, base: mp.mpf, known: int = 1
) -> list[float]:
    """Coefficients of base^r on |r| <= reach, each a number of `dtype`, the first `known` all 1."""
    count = 8 * degree
    points = [mp.cos(mp.pi * (2 * i + 1) / (2 * count)) * reach for i in range(count)]
    fixed = [1.0] * known
    while len(fixed) <= degree:
        rows = [[r**k / mp.power(base, r) for k in range(len(fixed), degree + 1)] for r in points]
        rest = [
            1 - mp.fsum(c * r**k for k, c in enumerate(fixed)) / mp.power(base, r) for r in points
        ]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix(rest))
        fixed.append(float(dtype(solution[0])))
    return fixed


def largest_error(coefficients: list[float], reach: mp.mpf, base: mp.mpf) -> mp.mpf:
    """Largest relative error over 2001 points of the interval."""
    points = [mp.mpf(i) / 1000 * reach for i in range(-1000, 1001)]
    return max(
        abs(mp.fsum(c * r**k for k, c in enumerate(coefficients)) / mp.power(base, r) - 1)
        for r in points
    )


def candidates(dtype: type[np.floating], bits: int) -> np.ndarray:
    """First table entries to try, in long double: from 1 to 2^(1 / 2^bits), between numbers too."""
    step = np.longdouble(np.finfo(dtype).eps)
    span = int((np.longdouble(2) ** (np.longdouble(1) / 2**bits) - 1) / step)
    if span < TRIALS:
        whole, part = np.arange(span), np.arange(-20, 21) / np.longdouble(50)
        return (1 + (whole[:, None] + part) * step).ravel()
    rng = np.random.default_rng(1)
    return 1 + (rng.integers(span, size=TRIALS) + rng.uniform(-0.4, 0.4, TRIALS)) * step


def search(dtype: type[np.floating], bits: int) -> tuple[np.longdouble, list[float], float]:
    """The factor, the table, and the largest relative error of its entries."""
    first = candidates(dtype, bits)
    error = np.zeros(len(first))
    for i in range(2**bits):
        exact = first * np.longdouble(2) ** (np.longdouble(i) / 2**bits)
        off = np.abs(exact.astype(dtype) - exact) / exact
        error = np.maximum(error, off.astype(float))
        kept = error <= np.sort(error)[: 1 + len(error) // 2][-1]  # the better half goes on
        first, error = (first[kept], error[kept]) if i < 2**bits - 1 else (first, error)
    best = int(error.argmin())
    factor = first[best]
    table = [
        float(dtype(factor * np.longdouble(2) ** (np.longdouble(i) / 2**bits)))
        for i in range(2**bits)
    ]
    return factor, table, float(error[best])


if __name__ == "__main__":
    for dtype, bits, degree in SERIES:
        reach = mp.mpf(2) ** -bits / 2
        found = fit(degree, dtype, reach, mp.mpf(2))
        off = mp.nstr(largest_error(found, reach, mp.mpf(2)), 3)
        print(f"{dtype.__name__}, table of {2**bits}, degree {degree}: polynomial off by {off}")
        print("   ", ", ".join(c.hex() for c in found[:0:-1]))
        if bits:
            factor, table, off = search(dtype, bits)
            high = float(factor)
            print(f"  table off by {off:.3g}, factor {high.hex()} + {float(factor - high).hex()}")
            print("   ", ", ".join(entry.hex() for entry in table))
    for dtype, degree in NATURAL:
        reach = mp.log(2) / 2
        found = fit(degree, dtype, reach, mp.e, known=2)
        off = mp.nstr(largest_error(found, reach, mp.e), 3)
        print(f"{dtype.__name__}, e^r, degree {degree}: polynomial off by {off}")
        print("   ", ", ".join(c.hex() for c in found[:1:-1]))
