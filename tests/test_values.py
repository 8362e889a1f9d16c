"""What a row may hold: NaN, infinities, the largest and the smallest numbers, gaps, ties."""

from itertools import product

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs

TYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
FLOATS = pytest.mark.parametrize("dtype", TYPES)
CLASSES = pytest.mark.parametrize(
    "group", [(2, 3, 7, 8), (9, 15, 16, 17), (31, 33, 64, 100), (257, 5000)], ids=str
)
ALL_BUT_ONE = {"softmax": 1.0, "log_softmax": 0.0}


def rows(rng, classes, dtype=np.float32, count=5):
    return rng.normal(0, 3, (count, classes)).astype(dtype)


def places(rng, classes):
    """The head, the last lane of a tail, and somewhere between."""
    return sorted({0, 1, classes // 2, classes - 1, int(rng.integers(classes))})


@FLOATS
@CLASSES
@pytest.mark.parametrize("axis", [1, 0])
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_nan_and_infinity_spoil_their_own_row_only(operation, rng, group, dtype, axis, special):
    for classes in group:
        x = rows(rng, classes, dtype)
        clean = operation(x if axis else x.T.copy(), axis)
        for place in places(rng, classes):
            spoilt = x.copy()
            spoilt[2, place] = special
            got = operation(spoilt if axis else spoilt.T.copy(), axis)
            got, wanted = (got, clean) if axis else (got.T, clean.T)
            others = [0, 1, 3, 4]
            np.testing.assert_array_equal(got[others], wanted[others])
            if operation.name == "logsumexp":
                np.testing.assert_array_equal(np.float64(got[2]), special)
            else:
                assert np.isnan(got[2]).all()


@FLOATS
@CLASSES
@pytest.mark.parametrize("axis", [1, 0])
def test_a_nan_may_have_any_sign_and_payload(operation, rng, group, dtype, axis):
    infinity = np.array(np.inf, dtype).view(f"u{np.dtype(dtype).itemsize}").item()
    for classes in group:
        x = rows(rng, classes, dtype, 64)
        bits = rng.integers(0, 256, (len(x), x.itemsize), np.uint8).view(f"u{x.itemsize}")[:, 0]
        places = rng.integers(0, classes, len(x))
        x.view(bits.dtype)[np.arange(len(x)), places] = bits | infinity | 1
        with np.errstate(invalid="ignore"):  # ml_dtypes compares signalling NaN
            assert np.isnan(x).any(1).all()
        for result in {dtype, np.float16, ml_dtypes.bfloat16}:
            assert np.isnan(operation(x if axis else x.T.copy(), axis, dtype=result)).all()


@CLASSES
def test_nan_wins_over_infinity(operation, rng, group):
    for classes in group:
        for first, second in ((np.nan, np.inf), (np.inf, np.nan), (np.nan, -np.inf)):
            x = rows(rng, classes)
            x[2, [0, -1]] = first, second
            assert np.isnan(operation(x)[2]).all()
            assert np.isfinite(operation(x)[[0, 1, 3, 4]]).all()


@CLASSES
def test_several_infinities(operation, rng, group):
    for classes in group:
        for others in (np.inf, -np.inf):
            x = rows(rng, classes)
            x[2] = others
            x[2, classes // 2] = np.inf
            x[2, -1] = np.inf
            got = operation(x)[2]
            assert (got == np.inf) if operation.name == "logsumexp" else np.isnan(got).all()


@FLOATS
@CLASSES
def test_minus_infinity_has_no_probability(operation, judge, rng, group, dtype):
    for classes in group:
        for kept in {1, classes // 2, classes - 1}:
            x = rows(rng, classes, dtype)
            gone = rng.permuted(np.arange(classes) >= kept)
            x[2, gone] = -np.inf
            got = operation(x)
            judge(operation.name, got, x)
            if operation.name != "logsumexp":
                absent = 0 if operation.name == "softmax" else -np.inf
                np.testing.assert_array_equal(got[2, gone], absent)


@FLOATS
@CLASSES
def test_nothing_but_minus_infinity(operation, rng, group, dtype):
    for classes in group:
        x = rows(rng, classes, dtype)
        x[2] = -np.inf
        got = operation(x)
        if operation.name == "logsumexp":
            assert got[2] == -np.inf
        else:
            assert np.isnan(got[2]).all()
        assert np.isfinite(got[[0, 1, 3, 4]]).all()


@FLOATS
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5])
def test_a_single_class(operation, special, dtype):
    got = operation(np.full((3, 1), special, dtype))
    if operation.name == "logsumexp":
        assert got.tobytes() == np.full(3, special, dtype).tobytes()
    else:
        wanted = ALL_BUT_ONE[operation.name] if np.isfinite(special) else np.nan
        np.testing.assert_array_equal(np.float64(got), np.full((3, 1), wanted))


@FLOATS
def test_logsumexp_of_one_class_is_x_bit_for_bit(backend, rng, dtype):
    bits = rng.integers(0, 256, (1000, np.dtype(dtype).itemsize), np.uint8)
    x = bits.view(dtype)
    with np.errstate(invalid="ignore"):  # ml_dtypes compares signalling NaN
        x = np.where(np.isnan(x), 1, x).astype(dtype)
    assert fs.logsumexp(x, -1, backend=backend).tobytes() == x.tobytes()


@FLOATS
@CLASSES
def test_ties(operation, judge, dtype, group):
    for classes in group:
        x = np.full((3, classes), 7.25, dtype)
        x[1, ::2] -= 1
        judge(operation.name, operation(x), x)


def test_a_million_equal_values(operation, judge):
    x = np.full(10**6, -3.0, np.float32)
    judge(operation.name, operation(x), x)


def test_one_huge_and_a_million_tiny(operation, judge):
    x = np.full(10**6 + 1, -14.0, np.float32)
    x[12345] = 0.0
    judge(operation.name, operation(x), x)


@pytest.fixture
def lost_below_normal(reference, exact):
    """Assert that the C++ and Numba backends give 0 below the smallest normal number."""

    def check(got, x):
        if exact:
            values = reference("softmax", x, -1, True, 1.0, x.dtype.name).values
            tiny = values < np.finfo(x.dtype).tiny * (1 - 16 * np.finfo(x.dtype).eps)
            np.testing.assert_array_equal(got[tiny], 0)

    return check


@pytest.mark.parametrize(
    "gap", [87.0, 87.3, 87.5, 88.0, 88.8, 95.0, 103.97, 104.0, 150.0, 1e4, 1e30]
)
def test_gaps(operation, judge, lost_below_normal, rng, gap):
    for top, classes in product((0.0, 55.5, -1000.0), (2, 5, 16, 33, 300)):
        x = rng.uniform(-1, 0, (4, classes)).astype(np.float32) + np.float32(top)
        x[:, classes // 2] += np.float32(gap)
        got = operation(x)
        judge(operation.name, got, x)
        if operation.name == "softmax":
            lost_below_normal(got, x)


@pytest.mark.parametrize("gap", [690.0, 708.0, 708.5, 709.8, 745.2, 1e5, 1e300])
def test_gaps_of_float64(operation, judge, lost_below_normal, rng, gap):
    x = rng.uniform(-1, 0, (400, 33))
    x[:, 7] += gap
    got = operation(x)
    judge(operation.name, got, x)
    if operation.name == "softmax":
        lost_below_normal(got, x)


@FLOATS
@CLASSES
def test_the_largest_numbers(operation, judge, rng, group, dtype):
    for classes in group:
        most = ml_dtypes.finfo(dtype).max
        for high, low in ((most, -most), (most, 0), (0, -most), (most, most), (-most, -most)):
            x = np.full((3, classes), low, dtype)
            x[:, [0, -1]] = high
            x[1] = rng.permutation(x[1])
            judge(operation.name, operation(x), x)


@pytest.mark.parametrize("masked", [np.finfo(np.float32).min, -1e30, -1e9, -65504.0])
@CLASSES
def test_large_negative_numbers_as_masks(operation, judge, rng, masked, group):
    for classes in group:
        for hidden in {1, classes // 2, classes - 1, classes}:
            x = rows(rng, classes)
            x[2, rng.permuted(np.arange(classes) < hidden)] = masked
            got = operation(x)
            assert np.isfinite(got).all()
            judge(operation.name, got, x)


@FLOATS
def test_signed_zeros(operation, judge, dtype):
    x = np.array([[0.0, -0.0, 0.0], [-0.0, -0.0, -0.0]], dtype)
    judge(operation.name, operation(x), x)
    assert operation(x[:1]).tobytes() == operation(np.zeros((1, 3), dtype)).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@CLASSES
def test_subnormal_inputs(operation, judge, rng, dtype, group):
    for classes in group:
        tiny = ml_dtypes.finfo(dtype).tiny
        x = rng.uniform(-0.99, 0.99, (4, classes)).astype(dtype) * tiny
        assert (np.abs(x) < tiny).all()
        judge(operation.name, operation(x), x)


@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("classes", [1, 2, 100])
def test_subnormal_inputs_are_normal_in_float64(backend, kind, classes):
    x = np.full((3, classes), -np.inf, kind)
    x[:, 0] = [ml_dtypes.finfo(kind).smallest_subnormal, -ml_dtypes.finfo(kind).tiny / 2, -0.0]
    got = fs.logsumexp(x, -1, dtype=np.float64, backend=backend)
    np.testing.assert_array_equal(got, x[:, 0].astype(np.float64))


def test_a_cast_comes_first(operation, rng):
    """What is computed in float32 is computed from float32."""
    for shape in [(200, 2), (200, 70), (20, 1000)]:
        x = rng.normal(0, 10, shape)
        x -= x.max(-1, keepdims=True)  # logsumexp close to 0
        got = operation(x, dtype=np.float32)
        np.testing.assert_array_equal(got, operation(x.astype(np.float32)))


def test_float16_sums_above_its_largest_number(operation, judge):
    x = np.full((2, 70000), 11.0, np.float16)
    x[1] = -11.0
    judge(operation.name, operation(x), x)


def test_float16_results_keep_their_subnormals(backend):
    got = fs.softmax(np.zeros((2, 32000), np.float16), backend=backend)
    assert (got == np.float16(1 / 32000)).all()
    assert 0 < got[0, 0] < np.finfo(np.float16).tiny


def test_integers_beyond_float64(operation, judge):
    x = np.array([[2**63 - 1, 2**63 - 1, 0], [-(2**63), 5, 6]])
    judge(operation.name, operation(x), x)


def test_a_cast_that_overflows_is_infinite(operation):
    x = np.array([[1e300, 0.0], [1.0, 2.0]])
    got = operation(x, dtype=np.float32)
    if operation.name == "logsumexp":
        assert got[0] == np.inf
    else:
        assert np.isnan(got[0]).all()
    assert np.isfinite(got[1]).all()


@FLOATS
@pytest.mark.parametrize("axis", [0, 1, None])
def test_no_floating_point_warnings_or_errors(operation, rng, dtype, axis):
    most, tiny = ml_dtypes.finfo(dtype).max, ml_dtypes.finfo(dtype).tiny
    specials = [np.nan, np.inf, -np.inf, most, -most, tiny, tiny / 8, 0.0, -0.0, 200.0]
    x = rng.choice(np.array(specials, dtype), (64, 33))
    x[:5] = -np.inf
    with np.errstate(all="raise"):
        operation(x, axis)
        operation(np.zeros((0, 3), dtype), axis)
        operation(x, axis, where=rng.random(x.shape) < 0.5)
        operation(x.astype(np.float64), axis, dtype=dtype)
