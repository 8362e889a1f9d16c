"""What may be handed in and what comes back: dtypes, layouts, axes, `out`, foreign arrays."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs

HALVES = (np.float16, ml_dtypes.bfloat16)
FLOATS = (np.float32, np.float64, *HALVES)
EPS = {np.dtype(kind): float(ml_dtypes.finfo(kind).eps) for kind in FLOATS}


def close(got, wanted, dtype=np.float64):
    """Equal but for a few rounding errors; the accuracy tests are elsewhere."""
    rtol = 16 * EPS[np.dtype(dtype)]
    np.testing.assert_allclose(np.float64(got), np.float64(wanted), rtol=rtol, atol=rtol / 8)


@pytest.fixture
def x(rng):
    return rng.normal(0, 3, (4, 5, 6, 7)).astype(np.float32)


# dtypes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda kind: np.dtype(kind).name)
def test_floats_keep_their_type(operation, judge, rng, dtype):
    x = rng.normal(0, 3, (5, 33)).astype(dtype)
    got = operation(x)
    assert got.dtype == dtype
    judge(operation.name, got, x)


@pytest.mark.parametrize("dtype", ["?", "b", "B", "h", "H", "i", "I", "q", "Q"])
def test_integers_and_bool_become_float64(operation, judge, rng, dtype):
    x = rng.integers(0, 2, (5, 33)).astype(dtype) * np.ones((), dtype)
    got = operation(x)
    assert got.dtype == np.float64
    judge(operation.name, got, x)


@pytest.mark.parametrize("of", [np.int8, *FLOATS], ids=lambda kind: np.dtype(kind).name)
def test_dtype_is_the_results(operation, judge, rng, of):
    x = rng.normal(0, 3, (5, 33)).astype(of)
    for to in FLOATS:
        got = operation(x, dtype=to)
        assert got.dtype == to
        computed = x.astype(np.float64 if to is np.float64 else np.float32)
        judge(operation.name, got, computed)


def test_dtype_may_be_a_name(operation, rng):
    x = rng.normal(size=(2, 9))
    assert operation(x, dtype="bfloat16").dtype == ml_dtypes.bfloat16
    assert operation(x, dtype="float16").dtype == np.float16
    assert operation(x, dtype=">f4").dtype == np.float32


@pytest.mark.parametrize(
    "x",
    [
        np.array([1, None], object),
        np.array(["a", "b"]),
        np.array([b"a"]),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([1], "m8[s]"),
        np.zeros(2, [("a", "f4"), ("b", "f4")]),
        np.zeros(2, "V2"),
        np.zeros(2, np.complex64),
        np.zeros(2, np.longdouble),
    ],
    ids=lambda x: str(x.dtype),
)
def test_other_dtypes_are_refused_by_name(operation, x):
    with pytest.raises(TypeError, match="x has dtype") as refusal:
        operation(x)
    assert str(x.dtype) in str(refusal.value)


@pytest.mark.parametrize(
    "dtype", [np.int32, bool, "U1", complex, object, np.longdouble, "nonsense"]
)
def test_result_dtypes_that_are_not_floats_are_refused(operation, dtype):
    with pytest.raises(TypeError, match="dtype"):
        operation([1.0, 2.0], dtype=dtype)


def test_ragged_lists_are_refused(operation):
    with pytest.raises(ValueError, match="x cannot be made an array"):
        operation([[1.0, 2.0], [3.0]])


# axes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -4, (0, 2), (3, 1), (-1, -2), (0, 1, 2, 3), None])
def test_any_axes(operation, judge, x, axis):
    judge(operation.name, operation(x, axis), x, axis)


@pytest.mark.parametrize("dtype", HALVES, ids=lambda kind: np.dtype(kind).name)
@pytest.mark.parametrize("axis", [0, 1, (0, 2), None])
def test_any_axes_of_half_types(operation, judge, x, axis, dtype):
    x = x.astype(dtype)
    judge(operation.name, operation(x, axis), x, axis)


def test_default_axes(backend, judge, x):
    judge("softmax", fs.softmax(x, backend=backend), x)
    judge("log_softmax", fs.log_softmax(x, backend=backend), x)
    judge("logsumexp", fs.logsumexp(x, backend=backend), x, None)


def test_no_axes_make_every_element_a_row(operation, x):
    wanted = {"softmax": np.ones_like(x), "log_softmax": np.zeros_like(x), "logsumexp": x}
    np.testing.assert_array_equal(operation(x, ()), wanted[operation.name])


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_dim_is_an_alias_of_axis(backend, x, name):
    function = getattr(fs, name)
    for axis in (1, (0, 2), None):
        by_axis = function(x, axis=axis, backend=backend)
        np.testing.assert_array_equal(function(x, dim=axis, backend=backend), by_axis)
    for axis in (0, -1, None):
        with pytest.raises(TypeError, match=r"axis=.*dim="):
            function(x, axis=axis, dim=axis, backend=backend)


@pytest.mark.parametrize("axis", [4, -5, 2**63 - 1, -(2**63), 2**70, (0, 4)])
def test_axes_out_of_range(operation, x, axis):
    with pytest.raises(np.exceptions.AxisError, match="out of bounds"):
        operation(x, axis)


@pytest.mark.parametrize("axis", [(0, 0), (1, -3), (2, 1, 2)])
def test_axes_named_twice(operation, x, axis):
    with pytest.raises(ValueError, match="twice"):
        operation(x, axis)


@pytest.mark.parametrize("axis", [1.0, "1", True, (0, 1.5), [0, 1], np.array([0, 1])])
def test_axes_that_are_not_integers(operation, x, axis):
    with pytest.raises(TypeError, match="axis"):
        operation(x, axis)


# layouts ------------------------------------------------------------------------------------------

LAYOUTS = {
    "every second": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "backwards": lambda x: x[:, ::-1, :, ::-1].copy()[:, ::-1, :, ::-1],
    "Fortran": np.asfortranarray,
    "permuted": lambda x: x.transpose(2, 0, 3, 1).copy().transpose(1, 3, 0, 2),
    "sliced": lambda x: np.pad(x, 3, constant_values=np.nan)[3:-3, 3:-3, 3:-3, 3:-3],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "unaligned": lambda x: shifted_by_a_byte(x),
    "record field": lambda x: as_field(x),
    "read-only": lambda x: frozen(x),
}


def shifted_by_a_byte(x):
    buffer = np.empty(x.nbytes + 1, np.uint8)
    moved = buffer[1:].view(x.dtype).reshape(x.shape)
    moved[...] = x
    assert not moved.flags.aligned
    return moved


def as_field(x):
    records = np.zeros(x.shape, np.dtype([("tag", "u1"), ("score", x.dtype), ("rest", "u2")]))
    records["score"] = x
    return records["score"]


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16], ids=lambda d: d.__name__)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(operation, judge, x, layout, dtype):
    x = x.astype(dtype)
    laid = LAYOUTS[layout](x)
    np.testing.assert_array_equal(laid, x)
    for axis in (-1, 0, 1, (1, 3)):
        got = operation(laid, axis)
        assert got.dtype == dtype
        judge(operation.name, got, x, axis)
    np.testing.assert_array_equal(laid, x)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_zero_strides(operation, judge, rng, axis):
    row = rng.normal(size=(1, 1, 9)).astype(np.float32)
    x = np.broadcast_to(row, (4, 5, 9))
    judge(operation.name, operation(x, axis), x, axis)
    x = np.broadcast_to(row.reshape(9, 1, 1), (9, 5, 4))
    judge(operation.name, operation(x, axis), x, axis)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_result_keeps_the_order_of_memory(operation, x, order):
    x = x.transpose(order).copy().transpose(np.argsort(order))
    if operation.name == "logsumexp":
        assert operation(x, 0).shape == x.shape[1:]
    else:
        assert operation(x, 0).strides == x.strides


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("layout", ["C", "Fortran", "every second", "backwards", "unaligned"])
def test_no_hidden_full_copy(operation, rng, layout, axis):
    x = rng.normal(size=(2048, 1024)).astype(np.float32)
    x = {
        "C": x,
        "Fortran": np.asfortranarray(x),
        "every second": np.repeat(x, 2, 1)[:, ::2],
        "backwards": x[::-1, ::-1],
        "unaligned": shifted_by_a_byte(x),
    }[layout]
    kept = x.copy()
    out = np.empty(x.shape[1 - axis] if operation.name == "logsumexp" else x.shape, x.dtype)
    operation(x, axis, out=out)  # what is allocated once may be kept
    tracemalloc.start()
    operation(x, axis, out=out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 2
    np.testing.assert_array_equal(x, kept)


# out ----------------------------------------------------------------------------------------------


def result_shape(name, shape, axis=-1):
    return np.empty(shape).max(axis).shape if name == "logsumexp" else shape


@pytest.mark.parametrize("axis", [0, -1, (0, 2)])
@pytest.mark.parametrize("layout", ["C", "F", "every second", "backwards", "unaligned", "field"])
def test_out_of_any_strides_is_filled_and_returned(operation, x, axis, layout):
    wanted = operation(x, axis)
    empty = np.full(wanted.shape, 7, np.float32)
    out = {
        "C": empty,
        "F": np.asfortranarray(empty),
        "every second": np.repeat(empty, 2, -1)[..., ::2],
        "backwards": empty[..., ::-1],
        "unaligned": shifted_by_a_byte(empty),
        "field": as_field(empty),
    }[layout]
    assert operation(x, axis, out=out) is out
    close(out, wanted, np.float32)


def test_strided_out_leaves_its_neighbours_alone(operation, rng):
    x = rng.normal(size=(7, 33)).astype(np.float32)
    shape = result_shape(operation.name, x.shape)
    whole = np.full((*shape[:-1], 3 * shape[-1]), 7, np.float32)
    operation(x, out=whole[..., 1::3])
    assert (whole[..., ::3] == 7).all()
    assert (whole[..., 2::3] == 7).all()
    assert not (whole[..., 1::3] == 7).any()


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda kind: np.dtype(kind).name)
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_out_may_be_x(backend, rng, axis, dtype):
    for function in (fs.softmax, fs.log_softmax):
        x = rng.normal(0, 3, (37, 41)).astype(dtype)
        wanted = function(x, axis, backend=backend)
        assert function(x, axis, out=x, backend=backend) is x
        assert x.tobytes() == wanted.tobytes()


OVERLAPS = {
    "one on": (slice(0, -1), slice(1, None)),
    "one back": (slice(1, None), slice(0, -1)),
    "backwards": (slice(None), slice(None, None, -1)),
    "interleaved": (slice(0, None, 2), slice(1, None, 2)),
}


@pytest.mark.parametrize("shape", [(64,), (6, 64), (40, 6), (8000,)])
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_out_may_overlap_x(backend, rng, shape, overlap):
    of, to = OVERLAPS[overlap]
    for function in (fs.softmax, fs.log_softmax):
        for axis in range(len(shape)):
            memory = rng.normal(0, 3, shape).astype(np.float32)
            wanted = function(memory[..., of].copy(), axis, backend=backend)
            function(memory[..., of], axis, out=memory[..., to], backend=backend)
            close(memory[..., to], wanted, np.float32)


def test_out_of_logsumexp_may_lie_in_x(backend, rng):
    x = rng.normal(0, 3, (9, 9)).astype(np.float32)
    for of, to in ((1, 0), (0, 1)):
        memory = x.copy()
        wanted = fs.logsumexp(memory, of, backend=backend)
        out = memory[3] if to == 0 else memory[:, 3]
        fs.logsumexp(memory, of, out=out, backend=backend)
        np.testing.assert_array_equal(out, wanted)


def test_out_may_overlap_the_mask_and_the_weights(backend, rng):
    x = rng.normal(0, 3, (4, 64)).astype(np.float32)
    memory = np.zeros((4, 64), np.float32)
    mask = memory.view(np.bool_).reshape(4, 64, 4)[:, :, 0]
    mask[...] = rng.random((4, 64)) < 0.5
    wanted = fs.softmax(x, where=mask.copy(), backend=backend)
    np.testing.assert_array_equal(fs.softmax(x, where=mask, out=memory, backend=backend), wanted)
    weights = rng.random((4, 64)).astype(np.float32)
    wanted = fs.logsumexp(x, -1, b=weights.copy(), backend=backend)
    np.testing.assert_array_equal(
        fs.logsumexp(x, -1, b=weights, out=weights[:, 5], backend=backend), wanted
    )


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.zeros((2, 4), np.float32), ValueError),
        (np.zeros(3, np.float32), ValueError),
        (np.zeros((1, 2, 3), np.float32), ValueError),
        (np.zeros((2, 3), np.float64), ValueError),
        (np.zeros((2, 3), np.int32), ValueError),
        (np.zeros((2, 3), ">f4"), ValueError),
        (frozen(np.zeros((2, 3), np.float32)), ValueError),
        ([[0.0] * 3] * 2, TypeError),
    ],
    ids=["longer", "flat", "deeper", "float64", "int32", "big-endian", "read-only", "list"],
)
def test_unfit_out_is_refused_and_unchanged(backend, out, error):
    x = np.ones((2, 3), np.float32)
    before = np.array(out)
    for function in (fs.softmax, fs.log_softmax):
        with pytest.raises(error, match="out"):
            function(x, out=out, backend=backend)
    with pytest.raises(error, match="out"):
        fs.logsumexp(x[None], 0, out=out, backend=backend)
    np.testing.assert_array_equal(np.array(out), before)


# scalars, empty arrays, foreign arrays ------------------------------------------------------------


@pytest.mark.parametrize("x", [3.5, 3, True, np.float32(3.5), np.array(3.5), np.float16(3.5)])
def test_a_single_number(operation, x):
    got = operation(x)
    assert np.ndim(got) == 0
    assert isinstance(got, np.generic)
    floats = np.asarray(x).dtype if np.asarray(x).dtype.kind == "f" else np.float64
    assert got.dtype == floats
    assert got == {"softmax": 1, "log_softmax": 0, "logsumexp": x}[operation.name]
    for axis in (0, -1, None):
        assert operation(x, axis) == got
    with pytest.raises(np.exceptions.AxisError):
        operation(x, 1)


def test_a_single_number_into_out(operation):
    out = np.zeros(())
    assert operation(3.5, out=out) is out
    assert out == {"softmax": 1, "log_softmax": 0, "logsumexp": 3.5}[operation.name]


def test_lists_and_tuples(operation):
    rows = [[1.0, 2.0, 3.0], [4, 5, 7]]
    wanted = operation(np.array(rows))
    np.testing.assert_array_equal(operation(rows), wanted)
    np.testing.assert_array_equal(operation(tuple(map(tuple, rows))), wanted)
    assert isinstance(operation(rows), np.ndarray)


class Tagged(np.ndarray):
    """A subclass whose operators must not take part."""

    def __array_ufunc__(self, *arguments, **options):
        raise AssertionError("a ufunc saw the subclass")


def test_subclasses(operation, rng, tmp_path):
    x = rng.normal(size=(6, 9))
    wanted = operation(x)
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", offset=24, shape=x.shape)
    odd = np.memmap(tmp_path / "odd", np.float64, "w+", offset=4099, shape=x.shape)
    mapped[...] = odd[...] = x
    assert not odd.flags.aligned
    for given in (x.view(Tagged), mapped, odd, x.view(np.recarray)):
        got = operation(given)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, wanted)


def test_masked_arrays(operation, rng):
    x = rng.normal(size=(6, 33))
    mask = rng.random(x.shape) < 0.3
    x[mask] = rng.choice([np.nan, np.inf, -np.inf, 1e30], x.shape)[mask]
    wanted = operation(x, where=~mask)
    np.testing.assert_array_equal(operation(np.ma.array(x, mask=mask)), wanted)
    both = rng.random(x.shape) < 0.6
    np.testing.assert_array_equal(
        operation(np.ma.array(x, mask=mask), where=both), operation(x, where=~mask & both)
    )
    clean = np.ma.array(np.nan_to_num(x))
    np.testing.assert_array_equal(operation(clean), operation(np.nan_to_num(x)))


class OnlyDLPack:
    """An array of some other library: it speaks DLPack and nothing else."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("shape", [(5, 9), (3, 4, 5), (9,)])
def test_dlpack_producers(operation, rng, shape):
    x = rng.normal(size=shape).astype(np.float32)
    got = operation(OnlyDLPack(x))
    np.testing.assert_array_equal(got, operation(x))


class Liar:
    """Promises more memory than it has."""

    def __init__(self):
        self.__array_interface__ = {
            "shape": (1000,),
            "typestr": "<f4",
            "data": bytes(16),
            "version": 3,
        }


def test_a_lying_array_interface_is_refused(operation):
    with pytest.raises(TypeError, match="x cannot be made an array: buffer is too small"):
        operation(Liar())


class OwnError(TypeError):
    """Of another library: made of something else than a message."""

    def __init__(self, culprit):
        super().__init__(f"{culprit.name} has no value yet")


class Abstract:
    """What a compiler traces with: a shape without numbers."""

    name = "tracer"

    def __array__(self, dtype=None, copy=None):
        raise OwnError(self)


def test_an_error_of_another_library_becomes_ours(operation):
    with pytest.raises(TypeError, match="x cannot be made an array: tracer has no value yet"):
        operation(Abstract())
    with pytest.raises(TypeError, match="where cannot be made an array: tracer"):
        operation([1.0, 2.0], where=Abstract())


def test_keepdims(backend, x):
    for axis in (0, (1, 3), None):
        kept = fs.logsumexp(x, axis, keepdims=True, backend=backend)
        assert kept.shape == x.max(axis, keepdims=True).shape
        np.testing.assert_array_equal(
            kept.ravel(), np.ravel(fs.logsumexp(x, axis, backend=backend))
        )
