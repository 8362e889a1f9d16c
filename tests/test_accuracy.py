"""The promise itself: errors in ULP against long double, at any scale and any number of classes.

The long-double truth is in turn checked against mpmath, and so is the package's own yardstick.
"""

import runpy
from pathlib import Path

import ml_dtypes
import mpmath
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import fastsoftmax as fs
from fastsoftmax import _truth

SCALES = (1, 10, 100)
OFFSETS = (0, 1000)
CLASSES = (1, 2, 10, 17, 1000, 4096, 100_000)
NUMBERS = 8192
"""In a case of few classes, so that a bad row has a chance to be met."""

EXP_TOOL = Path(__file__).parents[1] / "cpp" / "tools" / "exp_ulp.py"

FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda kind: kind.__name__)
HALVES = pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])


def logits(rng, classes, scale, offset, dtype):
    rows = max(1, NUMBERS // classes)
    return (rng.standard_normal((rows, classes)) * scale + offset).astype(dtype)


# The yardsticks -----------------------------------------------------------------------------------


def by_mpmath(name, row):
    """The operation on a row, to 60 digits."""
    with mpmath.workdps(60):
        scores = [mpmath.mpf(float(score)) for score in row]
        top = max(scores)
        terms = [mpmath.exp(score - top) for score in scores]
        winner = scores.index(top)
        rest = mpmath.fsum(terms[:winner] + terms[winner + 1 :])
        if name == "softmax":
            return [term / (1 + rest) for term in terms]
        if name == "log_softmax":
            return [score - top - mpmath.log1p(rest) for score in scores]
        return [top + mpmath.log1p(rest)]


def as_mpf(value):
    """A long double by way of two float64, which mpmath takes."""
    fraction, exponent = np.frexp(value)
    high = float(fraction)
    with mpmath.workdps(60):
        return mpmath.ldexp(mpmath.mpf(high) + float(fraction - high), int(exponent))


@pytest.mark.parametrize("name", _truth.OPERATIONS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("classes", [1, 2, 17, 500])
@FLOATS
def test_the_truth_agrees_with_mpmath(reference, rng, name, scale, offset, classes, dtype):
    x = logits(rng, classes, scale, offset, dtype)[:2]
    for expected in (
        _truth.truth(name, x),
        reference(name, x, -1, True, 1.0, x.dtype.name),
    ):
        for row, values, unit in zip(x, expected.values, expected.unit, strict=True):
            gap = float(row.max()) - float(row.min())
            for exact, value, ulp in zip(
                by_mpmath(name, row), np.atleast_1d(values), np.atleast_1d(unit), strict=True
            ):
                # A long double has 11 bits more, and rounds the difference of two scores.
                assert abs(as_mpf(value) - exact) <= as_mpf(ulp) * (0.02 + gap * 2.0**-11)


@FLOATS
def test_both_truths_measure_alike(reference, rng, dtype):
    x = logits(rng, 33, 30, 0, dtype)
    for name in _truth.OPERATIONS:
        ours, theirs = reference(name, x, -1, True, 1.0, x.dtype.name), _truth.truth(name, x)
        pair = np.float64(ours.values), np.float64(theirs.values)
        np.testing.assert_allclose(*pair, rtol=1e-15)
        # Within rounding of a power of two, either unit is right.
        edge = np.logical_or(*(np.abs(np.frexp(values)[0]) == 0.5 for values in pair))
        np.testing.assert_array_equal(ours.unit[~edge], theirs.unit[~edge])


def test_an_ulp_is_an_ulp():
    x = np.zeros((1, 2), np.float32)
    expected = _truth.truth("softmax", x)
    half = np.float32(0.5)
    for steps in (0, 1, 3):
        got = np.float32([[half + steps * np.spacing(half), half]])
        np.testing.assert_array_equal(_truth.ulps(got, expected), [[steps, 0]])
    assert _truth.ulps(np.float32([[np.nan, 0.5]]), expected)[0, 0] == np.inf


def test_the_bounds_are_those_of_the_contract():
    for family in ("cpp", "cpp:avx2", "numba"):
        for dtype, bounds in {"float32": (4, 3, 1.5), "float64": (4, 3, 2)}.items():
            promised = [_truth.promise(family, name, dtype) for name in _truth.OPERATIONS]
            assert promised == [_truth.Bound(bound) for bound in bounds]
    for dtype in ("float32", "float64"):
        for name in _truth.OPERATIONS:
            bound = _truth.promise("numpy", name, dtype)
            assert bound.fixed <= 4
            assert bound.per_gap <= 1
    assert _truth.SUM_TOLERANCE == 2.5e-7


# Accuracy -----------------------------------------------------------------------------------------


@FLOATS
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_within_its_bound(operation, judge, rng, classes, scale, dtype):
    for offset in OFFSETS:
        x = logits(rng, classes, scale, offset, dtype)
        judge(operation.name, operation(x), x)


@FLOATS
@pytest.mark.parametrize(("scale", "offset"), [(1, 1000), (10, 0), (100, 0)])
def test_a_million_classes(operation, judge, rng, scale, offset, dtype):
    x = logits(rng, 10**6, scale, offset, dtype)
    judge(operation.name, operation(x), x)


@FLOATS
@pytest.mark.parametrize("shape", [(1000, 3, 2), (10, 4, 200), (17, 1, 33), (5000, 70), (2, 4000)])
@pytest.mark.parametrize("scale", [1, 30])
def test_along_the_first_and_a_middle_axis(operation, judge, rng, shape, scale, dtype):
    x = (rng.standard_normal(shape) * scale).astype(dtype)
    for axis in range(len(shape) - 1):
        judge(operation.name, operation(x, axis), x, axis)


@FLOATS
@pytest.mark.parametrize("heat", [0.05, 0.3, 1.7, 40.0])
@pytest.mark.parametrize("classes", [2, 17, 1000])
def test_at_any_temperature(backend, judge, rng, classes, heat, dtype):
    x = logits(rng, classes, 10 * heat, 0, dtype)
    scaled = rng.uniform(0.5, 1.5, (len(x), 1)) * heat
    for name in ("softmax", "log_softmax"):
        function = getattr(fs, name)
        judge(name, function(x, temperature=heat, backend=backend), x, temperature=heat)
        judge(name, function(x, temperature=scaled, backend=backend), x, temperature=scaled)


@FLOATS
@pytest.mark.parametrize("classes", [3, 5, 21, 33, 64, 65, 300])
@pytest.mark.parametrize("dominating", [2, 3, 5])
@pytest.mark.parametrize("top", [None, 0.0])
def test_few_classes_that_dominate(operation, judge, rng, classes, dominating, top, dtype):
    """Where a sum's roundings show most: few terms, in lanes that are added, a result near 0."""
    rows = np.arange(1000)
    x = np.full((len(rows), classes), -60, dtype)
    first, step = rng.integers(0, 16, len(rows)), rng.choice([1, 4, 8, 16], len(rows))
    for i in range(dominating):
        x[rows, (first + step * i) % classes] = rng.normal(0, rng.choice([0.2, 1, 3]), len(rows))
    if top is not None:
        x += dtype(top) - x.max(-1, keepdims=True)
    judge(operation.name, operation(x), x)
    judge(operation.name, operation(x.T.copy(), 0), x.T, 0)


@pytest.mark.parametrize("classes", [16, 21, 64, 200])
def test_a_search_for_bad_rows(backend, exact, rng, classes):
    """Four scores at a time are changed where that makes a row worse, in lanes that are added."""
    if not exact:
        pytest.skip("the NumPy backend's bound grows with the gap")
    rows = np.arange(400)
    x = rng.normal(-4, 4, (len(rows), classes)).astype(np.float32)

    def errors(x):
        got = fs.softmax(x, backend=backend).astype(np.float64)
        wanted = np.exp(x.astype(np.float64))
        wanted /= wanted.sum(-1, keepdims=True)
        return (np.abs(got - wanted) / np.spacing(wanted.astype(np.float32))).max(-1)

    worst = errors(x)
    for _ in range(300):
        first, step = rng.integers(0, classes, len(rows)), rng.choice([1, 4, 8, 16], len(rows))
        changed = x.copy()
        for i in range(4):
            changed[rows, (first + step * i) % classes] += rng.normal(
                0, rng.choice([0.01, 0.3, 3]), len(rows)
            )
        found = errors(changed)
        better = found > worst
        x[better], worst[better] = changed[better], found[better]
    assert worst.max() > 2  # it did search
    assert worst.max() <= _truth.promise(backend, "softmax", "float32").fixed


LOWEST = {np.float32: -87, np.float64: -708}
"""Exponents close to the smallest normal number."""


@FLOATS
@pytest.mark.parametrize("classes", [10, 1000, 200_000])
@pytest.mark.parametrize("below", [10, 17.5, 24, 33, 300])
def test_terms_that_count_by_their_number_alone(operation, judge, exact, classes, below, dtype):
    """A maximum that leaves next to nothing: a runner-up, and many terms far below even that."""
    if not exact:
        pytest.skip("NumPy adds such terms up as subnormal numbers, of few digits")
    runner_up = np.linspace(LOWEST[dtype], LOWEST[dtype] + 15, 8, dtype=dtype)
    x = np.full((8, classes), LOWEST[dtype] - below, dtype)
    x[:, 3], x[:, classes // 2] = 0, runner_up
    judge(operation.name, operation(x), x)
    judge(operation.name, operation(x.T.copy(), 0), x.T, 0)


@FLOATS
@pytest.mark.parametrize("classes", [100, 20_000])
def test_probabilities_near_the_smallest_number(backend, judge, rng, classes, dtype):
    x = rng.uniform(-3, 0, (8, classes)).astype(dtype)
    x[:, ::2] += LOWEST[dtype] + rng.choice([0, 5, 10, 20], (8, 1))
    judge("softmax", fs.softmax(x, backend=backend), x)
    judge("softmax", fs.softmax(x.T.copy(), 0, backend=backend), x.T, 0)
    spread = np.repeat(x, 2, -1)[:, ::2]
    judge("softmax", fs.softmax(spread, backend=backend), x)


@FLOATS
def test_probabilities_just_above_the_smallest_number(backend, judge, rng, dtype):
    """They are not 0, be they ever so little above: of the second class, 1 to 1.000001 times it."""
    info = np.finfo(dtype)
    x = np.zeros((1000, 2), dtype)
    x[:, 1] = np.log(np.float64(info.tiny)) + rng.uniform(0, 1e-6, len(x))
    judge("softmax", fs.softmax(x, backend=backend), x)
    judge("softmax", fs.softmax(x.T.copy(), 0, backend=backend), x.T, 0)


@HALVES
@pytest.mark.parametrize("classes", [1, 2, 10, 17, 64, 65, 1000, 32000, 200_000])
@pytest.mark.parametrize("scale", [1, 10])
def test_half_types_are_rounded_once(operation, judge, rng, classes, scale, dtype):
    x = logits(rng, classes, scale, 0, dtype)
    judge(operation.name, operation(x), x)
    judge(operation.name, operation(x.T.copy(), 0), x.T, 0)


@HALVES
@pytest.mark.parametrize("classes", [2, 10, 33, 257, 5000])
@pytest.mark.parametrize("axis", [0, 1])
def test_half_types_are_the_rounding_of_float32(operation, exact, rng, classes, axis, dtype):
    x = rng.normal(0, 3, (131, classes) if axis else (classes, 131)).astype(dtype)
    wide = operation(x.astype(np.float32), axis)
    got = operation(x, axis)
    if exact:
        np.testing.assert_array_equal(got, wide.astype(dtype))
    spacing = np.float64(np.spacing(np.abs(got)))
    assert (np.abs(np.float64(got) - wide) <= spacing).all()


@pytest.mark.parametrize("classes", [1, 2, 10, 1000, 32000, 100_000, 10**6])
@pytest.mark.parametrize("scale", [0, 1, 10])
def test_probabilities_sum_to_one(backend, rng, classes, scale):
    x = logits(rng, classes, scale, 5, np.float32)
    totals = fs.softmax(x, backend=backend).sum(-1, dtype=np.longdouble)
    assert np.abs(totals - 1).max() <= _truth.SUM_TOLERANCE


def test_confident_winners_keep_their_digits(backend):
    x = np.float32([[30, 0], [0, 50], [86, 0]])
    got = fs.log_softmax(x, backend=backend).max(-1)
    np.testing.assert_allclose(got, -np.exp(np.float64([-30, -50, -86])), rtol=1e-5)


# The exponential on its own: two classes, one of them x, make softmax nearly exp ------------------


def test_exponentials_of_sampled_floats(backend, judge, rng):
    x = np.zeros((200_000, 2), np.float32)
    lowest = int(np.float32(-104).view(np.uint32))
    x[:, 1] = rng.integers(2**31, lowest + 1, len(x), np.uint32).view(np.float32)
    judge("softmax", fs.softmax(x, backend=backend), x)
    judge("log_softmax", fs.log_softmax(x, backend=backend), x)


def test_exponentials_of_the_core(backend, rng):
    """A sample of what cpp/tools/exp_ulp.py measures, by its own yardstick."""
    if not backend.startswith("cpp:"):
        pytest.skip("the tool is that of the C++ core")
    tool = runpy.run_path(str(EXP_TOOL))
    lowest = int(np.float32(-104).view(np.uint32))
    x = rng.integers(2**31, lowest + 1, 2_000_000, np.uint32).view(np.float32)
    worst = np.float32(
        [float.fromhex(at) for at in ("-0x1.d238fap-7", "-0x1.58a64cp-5", "-0x1.61bfe6p-2")]
    )
    target = tool["_core"].target(backend.partition(":")[2])
    error = tool["errors"](target, np.concatenate([x, worst, np.float32([-0.0, -104])]))
    assert 0.5 < error.max() <= 1.25


# Properties ---------------------------------------------------------------------------------------

finite = st.floats(-1e4, 1e4, width=32)
row_of_scores = arrays(np.float32, st.integers(1, 70), elements=finite)


@given(x=row_of_scores)
@settings(deadline=None, database=None)
def test_probabilities_are_a_distribution_in_the_order_of_scores(backend, x):
    got = fs.softmax(x, backend=backend)
    assert (got >= 0).all()
    assert (got <= 1).all()
    assert abs(got.sum(dtype=float) - 1) <= _truth.SUM_TOLERANCE
    ordered = got[np.argsort(x, kind="stable")]
    assert (np.diff(ordered) >= -4 * np.spacing(ordered[1:])).all()


@given(x=row_of_scores, steps=st.integers(-64, 64))
@settings(deadline=None, database=None)
def test_shifts_change_nothing_but_rounding(backend, judge, x, steps):
    shifted = np.float32(x + np.float32(steps))
    for name in ("softmax", "log_softmax"):
        judge(name, getattr(fs, name)(shifted, backend=backend), shifted)
    whole = np.round(x)  # an exact shift: the truth is the same, so both are near it
    moved = fs.softmax(whole + np.float32(steps), backend=backend)
    judge("softmax", moved, whole)


@given(x=row_of_scores, data=st.data())
@settings(deadline=None, database=None)
def test_permutations_permute(backend, judge, x, data):
    order = np.array(data.draw(st.permutations(range(len(x)))))
    judge("softmax", fs.softmax(x[order], backend=backend)[np.argsort(order)], x)
    judge("log_softmax", fs.log_softmax(x[order], backend=backend)[np.argsort(order)], x)
    judge("logsumexp", np.asarray(fs.logsumexp(x[order], backend=backend)), x)


@given(x=row_of_scores)
@settings(deadline=None, database=None)
def test_logsumexp_lies_between_the_maximum_and_that_of_equal_scores(backend, x):
    got, top = fs.logsumexp(x, backend=backend), x.max()
    slack = 4 * np.spacing(max(abs(top), np.float32(1)))
    assert top - slack <= got <= top + np.log(len(x)) + slack


@given(x=arrays(np.float32, st.integers(1, 70), elements=st.floats(width=32)))
@settings(deadline=None, database=None)
def test_any_floats_whatever(backend, judge, x):
    for name in _truth.OPERATIONS:
        function = getattr(fs, name)
        judge(name, np.asarray(function(x, axis=-1, backend=backend)), x)


# SciPy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2)])
def test_agrees_with_scipy(operation, rng, axis):
    x = rng.normal(0, 5, (6, 7, 8))
    wanted = getattr(scipy.special, operation.name)(x, axis=axis)
    np.testing.assert_allclose(operation(x, axis), wanted, rtol=1e-13, atol=1e-15)
