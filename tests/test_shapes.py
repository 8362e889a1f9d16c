"""Shapes at the edge: empty, every small K, 64 dimensions, beyond 2^31 elements or bytes."""

from itertools import product

import numpy as np
import pytest

import fastsoftmax as fs

HUGE = 2**31 + 5


@pytest.mark.parametrize("shape", [(0, 5), (0,), (5, 0), (0, 0), (3, 0, 4), (0, 3, 0)])
def test_empty(operation, shape):
    kinds = {"f4": "f4", "f8": "f8", "f2": "f2", "i4": "f8"}
    for (of, to), axis in product(kinds.items(), (*range(len(shape)), None)):
        x = np.zeros(shape, of)
        got = operation(x, axis)
        assert got.dtype == to
        if operation.name == "logsumexp":
            assert got.shape == x.sum(axis).shape
            np.testing.assert_array_equal(got, -np.inf)
        else:
            assert got.shape == shape


def test_empty_with_options(backend):
    x = np.zeros((3, 0), np.float32)
    out = np.full(3, 7, np.float32)
    assert fs.logsumexp(x, -1, out=out, backend=backend) is out
    np.testing.assert_array_equal(out, -np.inf)
    lse, sign = fs.logsumexp(x, -1, keepdims=True, return_sign=True, backend=backend)
    np.testing.assert_array_equal(lse, np.full((3, 1), -np.inf))
    np.testing.assert_array_equal(sign, np.zeros((3, 1)))
    assert fs.logsumexp([], backend=backend) == -np.inf
    assert fs.softmax(x, where=np.ones(0, bool), backend=backend).shape == (3, 0)
    assert fs.softmax(x, temperature=np.ones(3), backend=backend).shape == (3, 0)


def test_bad_arguments_are_refused_for_empty_arrays_too(operation):
    x = np.zeros((0, 3), np.float32)
    with pytest.raises(np.exceptions.AxisError):
        operation(x, 2)
    with pytest.raises(ValueError, match="where"):
        operation(x, where=np.ones((0, 4), bool))
    with pytest.raises(ValueError, match="out"):
        operation(x, out=np.zeros((9, 9), np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16], ids=lambda d: d.__name__)
@pytest.mark.parametrize("rows", [1, 19])
def test_every_small_number_of_classes_on_both_axes(operation, judge, rng, rows, dtype):
    for classes in range(1, 131):
        x = rng.normal(0, 10, (rows, classes)).astype(dtype)
        judge(operation.name, operation(x), x)
        judge(operation.name, operation(x.T, 0), x.T, 0)
        judge(operation.name, operation(x.T.copy(), 0), x.T, 0)


def test_64_dimensions(operation, judge, rng):
    most = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
    shape = [1] * most
    shape[0], shape[20], shape[-1] = 3, 5, 7
    x = rng.normal(size=shape).astype(np.float32)
    where = rng.random(shape) < 0.9
    for axis in (-1, 20, 0, (0, 20), (5, 20), 1, None):
        judge(operation.name, operation(x, axis), x, axis)
        judge(operation.name, operation(x, axis, where=where), x, axis, where=where)


@pytest.mark.parametrize("axes", [(0, 2), (1, 3), (0, 1, 3), (0, 2, 4), (1, 2, 4)])
def test_axes_apart(operation, judge, rng, axes):
    x = rng.normal(size=(3, 4, 5, 6, 7)).astype(np.float32)
    judge(operation.name, operation(x, axes), x, axes)
    turned = x.transpose(4, 1, 0, 3, 2)
    judge(operation.name, operation(turned, axes), turned, axes)


@pytest.mark.parametrize("step", [-1, -2, 3, 7])
def test_odd_strides(operation, judge, rng, step):
    x = rng.normal(size=(9, 400)).astype(np.float32)[::step, ::step]
    for axis in (0, 1):
        judge(operation.name, operation(x, axis), x, axis)


@pytest.mark.parametrize("offset", [1, 2, 3, 5])
def test_strides_that_are_not_multiples_of_an_element(operation, judge, rng, offset):
    whole = np.zeros(20 * 131 + offset, np.uint8)
    x = np.ndarray((20, 31), np.float32, whole, offset, (131, 4))
    x[...] = rng.normal(size=x.shape)
    for axis in (0, 1):
        judge(operation.name, operation(x, axis), x, axis)
    if operation.name != "logsumexp":
        wanted = operation(x, 1)
        np.testing.assert_array_equal(operation(x, 1, out=x), wanted)


def test_strides_of_more_than_2_to_the_31_bytes(operation, judge, rng, tmp_path):
    far = 2**31 + 4 * 12345
    x = np.memmap(tmp_path / "sparse", np.float32, "w+", shape=(3 * far // 4,))
    x = np.lib.stride_tricks.as_strided(x, (3, 50), (far, 4))
    x[...] = rng.normal(size=x.shape)
    kept = np.array(x)
    for axis in (0, 1, None):
        judge(operation.name, operation(x, axis), kept, axis)
    if operation.name != "logsumexp":
        operation(x, 0, out=x)
        judge(operation.name, np.array(x), kept, 0)


def test_more_than_2_to_the_31_classes(backend):
    if backend != fs.backends()[0] or not backend.startswith("cpp"):
        pytest.skip("takes seconds: only on the best instruction set of the C++ core")
    x = np.broadcast_to(np.float32(1.5), (1, HUGE))
    got = fs.logsumexp(x, -1, backend=backend)
    assert got[0] == pytest.approx(1.5 + np.log(HUGE), rel=2e-7)


def test_more_than_2_to_the_31_numbers_in_many_rows(backend):
    if backend != fs.backends()[0] or not backend.startswith("cpp"):
        pytest.skip("takes seconds: only on the best instruction set of the C++ core")
    x = np.broadcast_to(np.linspace(-3, 3, 2**15 + 1, dtype=np.float32), (2**16 + 1, 2**15 + 1))
    got = fs.logsumexp(x, -1, backend=backend)
    np.testing.assert_array_equal(got, fs.logsumexp(x[0], backend=backend))
    assert len(got) == 2**16 + 1
