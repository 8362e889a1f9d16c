"""The Numba kernels' exp: how its coefficients are made, and its error in ULP.

Run as a script, this fits the coefficients anew and prints them with what they achieve.
"""

import mpmath
import numpy as np
import pytest

numba = pytest.importorskip("numba")
kernels = pytest.importorskip("fastsoftmax.backends._numba_kernels")
vectors = pytest.importorskip("fastsoftmax.backends._numba_vectors")

POINTS, ROUNDS = 40, 30  # of the fit: points per coefficient, rounds of reweighting


def relative_error(coefficients, r):
    value = sum(mpmath.mpf(c) * r**k for k, c in enumerate(coefficients))
    return value / mpmath.power(2, r) - 1


def fit(degree, fixed):
    """Coefficients of 2**r from `len(fixed)` to `degree`, minimax on [-1/2, 1/2].

    Lawson's method: least squares, reweighted by its own errors until they are level. The error
    counts relative to 2**r.
    """
    unknown = range(len(fixed), degree + 1)
    count = POINTS * len(unknown)
    nodes = [mpmath.cos(mpmath.pi * (i + 0.5) / count) / 2 for i in range(count)]
    design = [[r**k / mpmath.power(2, r) for k in unknown] for r in nodes]
    wanted = [-relative_error(fixed, r) for r in nodes]
    weights, best, least = [mpmath.mpf(1)] * count, None, mpmath.inf
    for _ in range(ROUNDS):
        weighted = [[w * a for a in row] for w, row in zip(weights, design, strict=True)]
        columns = list(zip(*weighted, strict=True))
        normal = mpmath.matrix(
            [[mpmath.fdot(c, other) for other in zip(*design, strict=True)] for c in columns]
        )
        found = mpmath.lu_solve(normal, mpmath.matrix([mpmath.fdot(c, wanted) for c in columns]))
        errors = [abs(mpmath.fdot(row, found) - b) for row, b in zip(design, wanted, strict=True)]
        if max(errors) < least:
            best, least = list(found), max(errors)
        weights = [w * e for w, e in zip(weights, errors, strict=True)]
        total = sum(weights)
        weights = [w / total for w in weights]
    return best


def rounded_fit(degree, real):
    """The coefficients in the type they are used in, each rounded before the next are fitted."""
    coefficients = [1.0]
    while len(coefficients) <= degree:
        first = fit(degree, coefficients)[0]
        coefficients.append(float(real(float(first))))
    return coefficients


def largest_error(coefficients):
    return max(abs(relative_error(coefficients, mpmath.mpf(i) / 1000)) for i in range(-500, 501))


def shipped(real):
    return [float.fromhex(c) for c in kernels.SERIES[real].split()]


@numba.njit(error_model="numpy")
def terms(x, largest, out, relative):
    """exp(x - largest) * 2**RAISED straight from the kernels; `relative` as log_softmax takes it.

    Otherwise the power of two that is nearest to exp(largest) stands in for it, as in softmax.
    """
    p, q, kept = vectors.pointer(x, 0), vectors.pointer(out, 0), vectors.room(x[0])
    plan, fraction = kernels._plan(p, largest, 1.0, kernels.RAISED)
    kernels._keep(kept, 0, plan)
    plan = kernels._plan_of_row(kept, 0)
    for at in range(0, x.size, vectors.lanes(p)):
        v = kernels._load_within(vectors.moved(p, at), x.size - at)
        if relative:
            t, _ = kernels._relative_terms(v, plan, vectors.splat(fraction))
        else:
            t = kernels._terms(v, plan)
        kernels._store_within(vectors.moved(q, at), t, x.size - at)


def exp_ulps(x, largest=0.0, relative=True):
    """Error of exp(x - largest) for every x, in ULP of the exact result."""
    out = np.empty_like(x)
    terms(x, x.dtype.type(largest), out, relative)
    exact = np.exp(x.astype(np.longdouble) - np.longdouble(largest))
    digits = np.finfo(x.dtype).nmant
    ulp = np.exp2(np.floor(np.log2(exact)) - digits)
    return np.abs(np.ldexp(out.astype(np.longdouble), -kernels.RAISED) - exact) / ulp


def samples(real, lowest):
    """Evenly in value and in bits down to `lowest`, and around every multiple of ln(2) / 2."""
    edges = np.arange(int(lowest / np.log(2) * 2) - 1, 1) * (np.log(2) / 2)
    near = np.concatenate([edges + k * np.spacing(real(np.abs(lowest))) for k in range(-40, 41)])
    even = np.linspace(lowest, 0, 2_000_003)
    tiny = -np.exp2(np.linspace(-40, np.log2(-lowest), 500_009))
    every = np.concatenate([even, near, tiny]).astype(real)
    return every[(every >= lowest) & (every <= 0)]


@pytest.mark.parametrize(("real", "bound"), [(np.float32, 3.0e-9), (np.float64, 4.2e-18)])
def test_the_coefficients_are_off_by_no_more_than_stated(real, bound):
    with mpmath.workprec(200):
        assert largest_error(shipped(real)) <= bound


def test_a_new_fit_gives_the_coefficients_in_use():
    with mpmath.workprec(200):
        assert rounded_fit(6, np.float32) == shipped(np.float32)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(
    ("real", "lowest", "bound"), [(np.float32, -104.0, 1.25), (np.float64, -734.0, 1.25)]
)
def test_exp_keeps_its_bound(real, lowest, bound, relative):
    assert exp_ulps(samples(real, lowest), relative=relative).max() <= bound


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("largest", [1000.0, -1000.0, 3.3])
def test_exp_keeps_its_bound_away_from_zero(real, largest):
    x = np.linspace(largest - 80, largest, 300_007).astype(real)
    # 0.35 more: the part of max * log2(e) that is left over is rounded once more.
    assert exp_ulps(x[x <= largest], real(largest)).max() <= 1.6


def test_lengths_around_every_lane_give_the_same_bits():
    x = np.linspace(-104, 0, 130).astype(np.float32)
    whole = np.empty_like(x)
    terms(x, x[-1], whole, False)
    for n in range(1, 130):
        part = np.empty(n, x.dtype)
        terms(x[:n], x[-1], part, False)
        np.testing.assert_array_equal(part, whole[:n])


if __name__ == "__main__":
    mpmath.mp.prec = 200
    for real, degree, lowest in ((np.float32, 6, -104.0), (np.float64, 11, -734.0)):
        coefficients = rounded_fit(degree, real)
        x = samples(real, lowest)
        ulps = exp_ulps(x)
        print(real.__name__, " ".join(c.hex() for c in coefficients))
        print("relative error", mpmath.nstr(largest_error(coefficients), 3))
        print(f"in use: {ulps.max():.3f} ULP at {float(x[ulps.argmax()]).hex()}")
