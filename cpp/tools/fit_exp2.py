"""Fit the polynomials of exp2.inl: 2^r on |r| <= 1/2, c0 = 1, coefficients of the target type.

Least squares of the relative error at Chebyshev points, rounding one coefficient at a time, lowest
first, and fitting the rest anew; prints the coefficients and the largest relative error before the
rounding of an evaluation. Needs mpmath and NumPy: python cpp/tools/fit_exp2.py
"""

from __future__ import annotations

import mpmath as mp
import numpy as np

mp.mp.prec = 200


def fit(degree: int, dtype: type[np.floating]) -> list[float]:
    """Coefficients c0 = 1, c1, ... of 2^r, each a number of `dtype`."""
    count = 8 * degree
    points = [mp.cos(mp.pi * (2 * i + 1) / (2 * count)) / 2 for i in range(count)]
    fixed: list[float] = [1.0]
    while len(fixed) <= degree:
        rows = [[r**k / mp.power(2, r) for k in range(len(fixed), degree + 1)] for r in points]
        rest = [1 - mp.fsum(c * r**k for k, c in enumerate(fixed)) / mp.power(2, r) for r in points]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix(rest))
        fixed.append(float(dtype(solution[0])))
    return fixed


def largest_error(coefficients: list[float]) -> mp.mpf:
    """Largest relative error over 2001 points of the interval."""
    points = [mp.mpf(i) / 2000 for i in range(-1000, 1001)]
    return max(
        abs(mp.fsum(c * r**k for k, c in enumerate(coefficients)) / mp.power(2, r) - 1)
        for r in points
    )


if __name__ == "__main__":
    for name, degree, dtype in (("float32", 6, np.float32), ("float64", 11, np.float64)):
        found = fit(degree, dtype)
        print(f"{name}, degree {degree}: largest relative error {mp.nstr(largest_error(found), 3)}")
        for c in found:
            print("   ", c.hex())
