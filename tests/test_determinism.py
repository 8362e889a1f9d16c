"""The same bits however the work is dealt out: threads, batches, alignment, in place, strides.

The order of summation may depend on the number of classes, the dtype, the instruction set and
whether the classes are contiguous; on nothing else. NumPy promises this for threads only.
"""

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs

TYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
FLOATS = pytest.mark.parametrize("dtype", TYPES)
SHAPES = [(1, 300_000), (5, 100_001), (300, 1000), (20_000, 10), (3000, 33), (7, 4097)]


@pytest.fixture
def fixed(operation, exact):
    """An operation whose bits are promised."""
    if not exact:
        pytest.skip("the NumPy backend does not promise these bits")
    return operation


def same(got, wanted):
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    assert got.tobytes() == wanted.tobytes()


@FLOATS
@pytest.mark.parametrize("shape", SHAPES)
def test_any_number_of_threads(operation, rng, shape, dtype):
    x = rng.normal(0, 5, shape).astype(dtype)
    for axis in (0, 1, None):
        wanted = operation(x, axis, threads=1)
        for threads in (2, 3, 7):
            same(operation(x, axis, threads=threads), wanted)


@FLOATS
@pytest.mark.parametrize("options", ["where", "temperature", "b"])
def test_any_number_of_threads_with_options(backend, rng, options, dtype):
    x = rng.normal(0, 5, (400, 1003)).astype(dtype)
    given = {
        "where": rng.random(x.shape) < 0.8,
        "temperature": rng.uniform(0.5, 2, 400),
        "b": rng.uniform(0.5, 2, x.shape),
    }[options]
    function = fs.logsumexp if options == "b" else fs.softmax
    run = lambda n: function(x, axis=-1, backend=backend, threads=n, **{options: given})  # noqa: E731
    for threads in (2, 3, 7):
        same(run(threads), run(1))


@FLOATS
@pytest.mark.parametrize("classes", [1, 2, 10, 16, 33, 64, 100, 1000, 4097, 70_000])
def test_a_row_alone_or_in_a_batch(fixed, rng, classes, dtype):
    x = rng.normal(0, 5, (max(2, min(37, 400_000 // classes)), classes)).astype(dtype)
    batch = fixed(x)
    for row in {0, 1, len(x) // 2, len(x) - 1}:
        same(np.asarray(fixed(x[row])), np.asarray(batch[row]))
        same(fixed(x[row : row + 2]), batch[row : row + 2])


@FLOATS
def test_rows_of_few_classes_alone_or_in_a_batch(fixed, rng, dtype):
    """Several at a time, some of which need another kernel. NaN may have either sign."""
    for classes in rng.choice(np.arange(2, 72), 16, replace=False):
        scale, mean = rng.choice([1, 10, 100]), rng.uniform(-90, 90)
        x = rng.normal(mean, scale, (rng.integers(2, 90), classes)).astype(dtype)
        x[rng.integers(len(x)), rng.integers(classes)] = rng.choice([-np.inf, np.inf, np.nan, 6e4])
        batch = fixed(x)
        alone = [fixed(row) for row in x]
        np.testing.assert_array_equal(np.asarray(alone, np.float64), batch.astype(np.float64))


@pytest.mark.parametrize("offset", [0, 1])
def test_rows_of_few_classes_past_the_caches(fixed, rng, offset):
    """Results of 28 MB, at the start of a line of the caches and elsewhere."""
    x = rng.normal(0, 5, (110_000, 64)).astype(np.float32)
    out = np.empty(x.size + 64, np.float32)[offset:]
    out = out[-out.ctypes.data % 64 // 4 + offset :][: x.size].reshape(x.shape)
    if fixed.name == "logsumexp":
        pytest.skip("its results are small")
    fixed(x, out=out)
    same(out, np.concatenate([fixed(part) for part in np.split(x, 11)]))


@FLOATS
@pytest.mark.parametrize("classes", [1, 2, 10, 17, 100, 1000, 5001])
def test_a_column_alone_or_in_a_batch(fixed, rng, classes, dtype):
    x = rng.normal(0, 5, (classes, 67)).astype(dtype)
    batch = fixed(x, 0)
    for column in (0, 1, 15, 16, 63, 64, 66):
        same(np.array(fixed(x[:, column])), np.array(batch[..., column]))
        same(np.array(fixed(x[:, column:], 0)), np.array(batch[..., column:]))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("rest", [0, 5], ids=["whole lines", "shared lines"])
@pytest.mark.parametrize("offset", [0, 1, 4], ids=lambda offset: f"{offset} bytes off")
def test_columns_past_the_caches(fixed, rng, rest, offset, dtype):
    """Results of 28 MB are written past the caches; in parts they are not."""
    if fixed.name == "logsumexp":
        pytest.skip("its results are small")
    columns = (1 << 22) // np.dtype(dtype).itemsize + rest
    x = rng.normal(0, 5, (7, columns)).astype(dtype)
    wanted = np.concatenate([fixed(part, 0) for part in np.array_split(x, 8, axis=1)], axis=1)
    buffer = np.zeros(x.nbytes + 64 + offset, np.uint8)
    start = -buffer.ctypes.data % 64 + offset
    out = buffer[start : start + x.nbytes].view(dtype).reshape(x.shape)
    same(fixed(x, 0, out=out), wanted)
    assert not buffer[:start].any()
    assert not buffer[start + x.nbytes :].any()
    out[...] = x
    same(fixed(out, 0, out=out), wanted)


@FLOATS
@pytest.mark.parametrize("classes", [1, 5, 16, 33, 100, 1000, 20_001])
def test_any_alignment(fixed, rng, classes, dtype):
    x = rng.normal(0, 5, (3, classes)).astype(dtype)
    wanted = fixed(x)
    size = x.itemsize
    for offset in (0, 1, 3, size, 2 * size, 5 * size, 32, 48, 64 - size):
        buffers = [np.zeros(x.nbytes + 128, np.uint8) for _ in range(2)]
        moved, out = (b[offset : offset + x.nbytes].view(dtype).reshape(x.shape) for b in buffers)
        moved[...] = x
        if fixed.name == "logsumexp":
            out = out.ravel()[: len(x)]
        same(fixed(moved), wanted)
        same(fixed(x, out=out), wanted)
        same(fixed(moved, out=out), wanted)


@FLOATS
@pytest.mark.parametrize("shape", [(500, 10), (40, 1000), (3, 100_001), (2000, 65)])
@pytest.mark.parametrize("axis", [0, 1])
def test_any_place_for_the_result(fixed, rng, shape, axis, dtype):
    x = rng.normal(0, 5, shape).astype(dtype)
    wanted = fixed(x, axis)
    for layout in ("strided", "backwards"):
        step = {"strided": 3, "backwards": -1}[layout]
        out = np.zeros((*wanted.shape[:-1], abs(step) * wanted.shape[-1]), dtype)[..., ::step]
        same(np.array(fixed(x, axis, out=out)), wanted)
    if fixed.name != "logsumexp":
        same(fixed(x, axis, out=np.zeros_like(x, order="F")).copy("C"), wanted)
        same(fixed(x, axis, out=x), wanted)


@FLOATS
def test_again_and_again(operation, rng, dtype):
    x = rng.normal(0, 5, (50, 5000)).astype(dtype)
    wanted = operation(x)
    for _ in range(5):
        same(operation(x), wanted)
