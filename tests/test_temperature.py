"""`temperature=`: one number for all rows or one per row, exact at any value."""

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs


@pytest.fixture(params=["softmax", "log_softmax"])
def heated(request, backend):
    """softmax and log_softmax on the backend, with their name as `.name`."""
    function = getattr(fs, request.param)

    def run(x, axis=-1, **options):
        return function(x, axis, backend=backend, **options)

    run.name = request.param
    return run


def close(got, wanted, dtype):
    rtol = 32 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(np.float64(got), np.float64(wanted), rtol=rtol, atol=1e-37)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("heat", [0.25, 0.7, 1, 1.0, 3, np.float32(2.5), np.array(1.7), 1e3])
def test_scalars(heated, judge, rng, dtype, heat):
    x = rng.normal(0, 2, (6, 33)).astype(dtype)
    judge(heated.name, heated(x, temperature=heat), x, temperature=heat)


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("kept", [True, False])
def test_one_per_row(heated, judge, rng, axis, kept):
    x = rng.normal(0, 3, (5, 6, 7)).astype(np.float32)
    full = rng.uniform(0.5, 4, x.max(axis, keepdims=True).shape)
    heat = full if kept else full.squeeze(axis)
    judge(heated.name, heated(x, axis, temperature=heat), x, axis, temperature=full)


def test_a_row_has_the_bits_of_its_own_scalar(heated, exact, rng):
    x = rng.normal(0, 3, (9, 100)).astype(np.float32)
    heat = rng.uniform(0.5, 4, 9)
    heat[3] = 1.0
    together = heated(x, temperature=heat)
    for row, one, got in zip(x, heat, together, strict=True):
        if exact:
            np.testing.assert_array_equal(got, heated(row, temperature=one))
        else:
            close(got, heated(row, temperature=one), np.float32)


def test_lists_and_integers(heated, rng):
    x = rng.normal(size=(3, 4))
    wanted = heated(x, temperature=np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(heated(x, temperature=[1, 2, 3]), wanted)
    np.testing.assert_array_equal(heated(x, temperature=np.array([[1], [2], [3]], "i1")), wanted)


def test_cold_rows_are_one_hot(heated):
    got = heated(np.float32([1.0, 3.0, 2.0]), temperature=1e-20)
    np.testing.assert_array_equal(np.exp(got) if heated.name == "log_softmax" else got, [0, 1, 0])


def test_hot_rows_are_uniform(heated):
    got = heated(np.float32([1.0, 3.0, 2.0, -80.0]), temperature=1e20)
    close(got, np.full(4, 0.25 if heated.name == "softmax" else np.log(0.25)), np.float32)


@pytest.mark.parametrize("heat", [1e24, 1e-24, 3.3e23, 7e-23])
def test_the_largest_and_the_smallest_temperatures(heated, judge, rng, heat):
    x = (rng.normal(0, 3, (5, 40)) * heat).astype(np.float32)
    judge(heated.name, heated(x, temperature=heat), x, temperature=heat)
    x[:, 7] = np.finfo(np.float32).max
    x[:, 9] = np.finfo(np.float32).min
    judge(heated.name, heated(x, temperature=heat), x, temperature=heat)


@pytest.mark.parametrize(
    "heat", [0, 0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 1e-320, 1e-40, [1.0, 0.0], [np.nan, 1.0]]
)
def test_values_that_are_not_temperatures(heated, heat):
    with pytest.raises(ValueError, match="temperature must be finite and positive"):
        heated(np.zeros((2, 3), np.float32), temperature=heat)


@pytest.mark.parametrize("heat", ["1", None, 1j, [[1.0], [2.0, 3.0]], np.array(["a"]), True])
def test_kinds_that_are_not_temperatures(heated, heat):
    with pytest.raises((TypeError, ValueError), match="temperature"):
        heated(np.zeros((2, 3), np.float32), temperature=heat)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), (1, 2), (2, 1, 1), (0,)])
def test_shapes_that_are_not_one_per_row(heated, shape):
    with pytest.raises(ValueError, match="temperature has shape"):
        heated(np.zeros((2, 3), np.float32), temperature=np.ones(shape))


def test_temperature_may_lie_in_out(heated, rng):
    x = rng.normal(size=(5, 9))
    out = np.full((5, 9), 2.0)
    wanted = heated(x, temperature=np.full(5, 2.0))
    np.testing.assert_array_equal(heated(x, temperature=out[:, 3], out=out), wanted)
