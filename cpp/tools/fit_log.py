"""Fit the polynomial of log.inl: log((1 + s) / (1 - s)) = 2 s + s R(s^2), |s| <= 3 - 2 sqrt(2).

Least squares of the relative error at Chebyshev points, coefficients rounded to float64 one by one,
lowest first, the rest fitted anew. Prints the coefficients of R(z) / z and the largest error of the
logarithm in units of its last place. Needs mpmath: python cpp/tools/fit_log.py
"""

from __future__ import annotations

import mpmath as mp

mp.mp.prec = 200
TERMS = 7
REACH = (3 - 2 * mp.sqrt(2)) ** 2
"""Largest s^2: the argument lies between 1 / sqrt(2) and sqrt(2)."""


def exact(z: mp.mpf) -> mp.mpf:
    """R(z) / z."""
    s = mp.sqrt(z)
    return (mp.log((1 + s) / (1 - s)) - 2 * s) / (s * z)


def fit() -> list[float]:
    """Coefficients, lowest first."""
    count = 8 * TERMS
    points = [REACH * (1 + mp.cos(mp.pi * (2 * i + 1) / (2 * count))) / 2 for i in range(count)]
    values = [exact(z) for z in points]
    fixed: list[float] = []
    while len(fixed) < TERMS:
        # What counts is z R's error relative to the logarithm, so the larger z the more.
        rows = [[z**k * z for k in range(len(fixed), TERMS)] for z in points]
        rest = [
            (v - mp.fsum(c * z**k for k, c in enumerate(fixed))) * z
            for z, v in zip(points, values, strict=True)
        ]
        fixed.append(float(mp.lu_solve(mp.matrix(rows), mp.matrix(rest))[0]))
    return fixed


if __name__ == "__main__":
    found = fit()
    worst = max(
        abs(mp.fsum(c * z**k for k, c in enumerate(found)) - exact(z)) * z / 2
        for z in (REACH * i / 2000 for i in range(1, 2001))
    )
    print(f"relative error of log: {mp.nstr(worst, 3)} ({mp.nstr(worst * 2**53, 3)} ULP)")
    for c in reversed(found):
        print("   ", c.hex())
