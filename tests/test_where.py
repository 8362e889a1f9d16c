"""`where=`: masked classes take no part, whatever they hold."""

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs

ABSENT = {"softmax": 0.0, "log_softmax": -np.inf, "logsumexp": -np.inf}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("axis", [-1, 0, (0, 1), None])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_masked_classes_take_no_part(operation, judge, rng, dtype, axis, share):
    x = rng.normal(0, 3, (13, 37)).astype(dtype)
    where = rng.random(x.shape) < share
    hidden = np.where(where, x, rng.choice([np.nan, np.inf, -np.inf, 6e4], x.shape)).astype(dtype)
    got = operation(hidden, axis, where=where)
    judge(operation.name, got, x, axis, where=where)
    if operation.name != "logsumexp":
        np.testing.assert_array_equal(got[~where], ABSENT[operation.name])


@pytest.mark.parametrize("classes", [1, 2, 9, 16, 33, 100, 5000])
def test_fully_masked_rows(operation, rng, classes):
    x = rng.normal(size=(4, classes)).astype(np.float32)
    x[1] = np.nan
    where = np.ones(x.shape, bool)
    where[[1, 2]] = False
    got = operation(x, where=where)
    np.testing.assert_array_equal(got[[1, 2]], ABSENT[operation.name])
    np.testing.assert_array_equal(got[[0, 3]], operation(x, where=where | True)[[0, 3]])


@pytest.mark.parametrize("kept", [0, 5, 15, 16, 32])
def test_a_single_class_left(operation, judge, rng, kept):
    x = rng.normal(0, 30, (3, 33)).astype(np.float32)
    where = np.arange(33) == kept
    got = operation(x, where=where)
    judge(operation.name, got, x, where=where)
    if operation.name != "logsumexp":
        np.testing.assert_array_equal(got[:, ~where], ABSENT[operation.name])


def test_unmasked_nan_and_infinities_still_count(operation, rng):
    x = rng.normal(size=(3, 20)).astype(np.float32)
    x[:, 4] = np.nan, np.inf, -np.inf
    where = rng.random(x.shape) < 0.5
    where[:, 4] = True
    got = operation(x, where=where)
    if operation.name == "logsumexp":
        assert np.isnan(got[0])
        assert got[1] == np.inf
        assert np.isfinite(got[2]) or where[2].sum() == 1
        return
    assert np.isnan(got[:2][where[:2]]).all()
    np.testing.assert_array_equal(got[~where], ABSENT[operation.name])
    assert got[2, 4] == ABSENT[operation.name]


@pytest.mark.parametrize("shape", [(), (7,), (5, 1), (1, 7), (1, 1, 7), (4, 5, 7), (4, 1, 1)])
@pytest.mark.parametrize("axis", [-1, 0])
def test_where_broadcasts(operation, rng, shape, axis):
    x = rng.normal(size=(4, 5, 7)).astype(np.float32)
    where = np.asarray(rng.random(shape) < 0.7)
    full = np.broadcast_to(where, x.shape).copy()
    np.testing.assert_array_equal(operation(x, axis, where=where), operation(x, axis, where=full))


def test_where_of_any_strides(operation, rng):
    x = rng.normal(size=(6, 33)).astype(np.float32)
    where = rng.random(x.shape) < 0.5
    wanted = operation(x, where=where)
    for same in (
        np.asfortranarray(where),
        np.repeat(where, 3, 1)[:, ::3],
        where[:, ::-1].copy()[:, ::-1],
    ):
        np.testing.assert_array_equal(operation(x, where=same), wanted)
    np.testing.assert_array_equal(operation(x, where=where.tolist()), wanted)


def test_masked_entries_of_out_are_written(backend, rng):
    x = rng.normal(size=(6, 33)).astype(np.float32)
    where = rng.random(x.shape) < 0.5
    for function, absent in ((fs.softmax, 0), (fs.log_softmax, -np.inf)):
        out = np.full_like(x, 7)
        function(x, where=where, out=out, backend=backend)
        np.testing.assert_array_equal(out[~where], absent)
        np.testing.assert_array_equal(out, function(x, where=where, backend=backend))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, object])
def test_masks_that_are_not_bool_are_refused(operation, dtype):
    with pytest.raises(TypeError, match="where must be of bool"):
        operation([1.0, 2.0], where=np.array([1, 0], dtype))


@pytest.mark.parametrize("shape", [(3,), (2, 2), (2, 1, 2), (0,)])
def test_masks_that_do_not_broadcast_are_refused(operation, shape):
    with pytest.raises(ValueError, match="where has shape"):
        operation(np.zeros((1, 2)), where=np.ones(shape, bool))


def test_where_with_temperature(backend, judge, rng):
    x = rng.normal(0, 3, (5, 40)).astype(np.float32)
    where = rng.random(x.shape) < 0.5
    where[:, 0] = True
    heat = rng.uniform(0.5, 2, 5)
    for name in ("softmax", "log_softmax"):
        got = getattr(fs, name)(x, where=where, temperature=heat, backend=backend)
        judge(name, got, x, where=where, temperature=heat[:, None])
