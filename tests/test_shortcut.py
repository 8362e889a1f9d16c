"""The shortcut for ordinary calls is invisible: it gives what the general way gives or declines."""

from inspect import signature
from zlib import crc32

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _registry
from fastsoftmax._typing import UNSET

FUNCTIONS = (fs.softmax, fs.log_softmax, fs.logsumexp)
ROUNDS = 400
HALF = 1 << 17
"""Bytes for x, and as many for `out`."""


@pytest.fixture
def shortcut(backend):
    """The shortcuts of a backend, by the function's name."""
    return _registry.resolve(backend).shortcuts


@pytest.fixture
def wide_shortcut(backend, shortcut):
    """The shortcuts of the C++ core, which takes options, all axes and any size."""
    if not backend.startswith("cpp"):
        pytest.skip(f"{backend} takes the plainest calls only")
    return shortcut


def generally(function):
    """The function without shortcuts."""
    return getattr(function, "__wrapped__", function)


def attempt(shortcut, function, x, axis=UNSET, *, threads=1, **options):
    """What the shortcut says to a call."""
    if function.__name__ not in shortcut:
        return NotImplemented
    call = signature(function).bind(x, axis, threads=threads, **options)
    call.apply_defaults()
    del call.arguments["backend"]
    return shortcut[function.__name__](*call.arguments.values())


def outcome(function, x, memory, out, options):
    """All that a caller can see of a call: result, memory afterwards, or the refusal."""
    try:
        got = function(x, out=out, **options)
    except Exception as error:
        return type(error), str(error), crc32(memory)
    strides = None if out is not None else got.strides
    return type(got), got.dtype, got.shape, strides, got is out, got.tobytes(), crc32(memory)


# Drawing calls ------------------------------------------------------------------------------------

DTYPES = [np.float32] * 6 + [np.float64] * 4 + [np.float16, ml_dtypes.bfloat16] * 2
DTYPES += [">f4", np.int32]
LAYOUTS = ["C"] * 6 + ["F", "step", "backwards", "unaligned", "read-only", "subclass", "list"]
OUTS = ["none"] * 4 + [
    *("fresh", "fresh", "x", "x", "shifted", "F", "wide", "wide", "narrow", "narrow"),
    *("read-only", "longer", "big", "list"),
    *("subclass", "unaligned", "swapped", "same memory"),
]


class Sub(np.ndarray):
    """An array that is not exactly one."""


def place(memory, shape, dtype, layout, start):
    """An array of that kind in `memory`, from the byte `start` on."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=int))
    start += layout == "unaligned"
    step = 2 if layout == "step" else 1
    flat = memory[start : start + count * dtype.itemsize * step].view(dtype)
    if layout == "F":
        return flat.reshape(shape[::-1]).T
    if layout == "step" and shape:
        return flat.reshape(*shape[:-1], 2 * shape[-1])[..., ::2]
    if layout == "backwards" and shape:
        return flat.reshape(shape)[..., ::-1]
    array = flat[:count].reshape(shape)
    if layout == "read-only":
        array.flags.writeable = False
    return array.view(Sub) if layout == "subclass" else array


def scene(rng):
    """A way to make x, `out` and options, the same each time it is asked."""
    dtype = DTYPES[rng.integers(len(DTYPES))]
    ndim = int(rng.choice(5, p=[0.05, 0.4, 0.35, 0.1, 0.1]))
    sizes = [0, 1, 1, 2, 3, 5, 9, 16, 17, 70] if ndim < 3 else [0, 1, 2, 3, 4, 6]
    shape = tuple(int(n) for n in rng.choice(sizes, ndim))
    layout = LAYOUTS[rng.integers(len(LAYOUTS))]
    axes = [UNSET, -1, None, ndim - 1, 0, -ndim, ndim, (ndim - 1,), np.int64(-1), True, "-1", 2**70]
    axis = axes[rng.choice(len(axes), p=[0.2, 0.3, 0.2, *[0.3 / 9] * 9])]
    options = {
        "axis": axis,
        "threads": [None, 1, 2, 0, 1.5][rng.choice(5, p=[0.5, 0.2, 0.2, 0.05, 0.05])],
    }
    if axis is UNSET:
        del options["axis"]
        if rng.random() < 0.2:
            options["dim"] = -1
    elif rng.random() < 0.02:
        options["dim"] = -1
    if rng.random() < 0.3:
        kinds = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, "f4", np.dtype("f8")]
        kinds += [np.dtype(ml_dtypes.bfloat16), np.dtype(">f8"), np.int32, "nonsense"]
        options["dtype"] = kinds[rng.integers(len(kinds))]
    if rng.random() < 0.3:
        mask = np.asarray(rng.random(shape) < 0.7)
        masks = [mask, mask, mask, mask.T, mask.ravel()[:1], mask.tolist(), mask.view(np.uint8)]
        options["where"] = masks[rng.integers(len(masks))]
    warmth = None
    if rng.random() < 0.3:
        numbers = [0.7, 0.7, 30.0, 1e30, 0.0, -1.0, np.nan, 2, np.float64(3), np.ones(3)]
        warmth = numbers[rng.integers(len(numbers))]
    kind = OUTS[rng.integers(len(OUTS))]
    values = rng.normal(0, 10, shape)
    if rng.random() < 0.2 and values.size:
        values.flat[rng.integers(values.size)] = rng.choice([np.nan, np.inf, -np.inf])
    reduced = shape[:-1] if axis is not None else ()
    noise = rng.integers(0, 256, 2 * HALF, dtype=np.uint8)

    def make(function):
        memory = noise.copy()
        x = place(memory, shape, dtype, "C" if layout in ("read-only", "list") else layout, 0)
        with np.errstate(all="ignore"):
            x[...] = values
        if layout == "read-only":
            x.flags.writeable = False
        like = reduced if function is fs.logsumexp else shape
        given = dict(options)
        if warmth is not None and function is not fs.logsumexp:
            given["temperature"] = warmth
        outs = {
            "none": lambda: None,
            "fresh": lambda: place(memory, like, x.dtype, "C", HALF),
            "F": lambda: place(memory, like, x.dtype, "F", HALF),
            "unaligned": lambda: place(memory, like, x.dtype, "unaligned", HALF),
            "read-only": lambda: place(memory, like, x.dtype, "read-only", HALF),
            "subclass": lambda: place(memory, like, x.dtype, "subclass", HALF),
            "longer": lambda: place(memory, (*like, 2), x.dtype, "C", HALF),
            "wide": lambda: place(memory, like, np.float64, "C", HALF),
            "narrow": lambda: place(memory, like, np.float32, "C", HALF),
            "big": lambda: place(memory, like, x.dtype.newbyteorder(), "C", HALF),
            "swapped": lambda: place(memory, like[::-1], x.dtype, "C", HALF),
            "x": lambda: x,
            "same memory": lambda: place(memory, like, x.dtype, "C", 0),
            "shifted": lambda: place(memory, like, x.dtype, "C", x.dtype.itemsize),
            "list": lambda: [0.0],
        }
        out = outs[kind]()
        return (x.tolist() if layout == "list" else x), memory, out, given

    return make


def test_every_call_is_as_the_general_way_has_it(backend, shortcut, rng):
    scenes = [scene(rng) for _ in range(ROUNDS)]
    cases = [(function, make) for make in scenes for function in FUNCTIONS]

    for function, make in cases:
        (x, memory, out, options), again = make(function), make(function)
        seen = outcome(function, x, memory, out, {**options, "backend": backend})
        wanted = outcome(generally(function), *again[:3], {**options, "backend": backend})
        assert seen == wanted, (function.__name__, np.shape(x), np.shape(out), options)
    taken = [
        attempt(shortcut, function, x, options.get("axis", UNSET), out=out) is not NotImplemented
        for function, make in cases
        for x, _, out, options in [make(function)]
    ]
    assert any(taken)
    assert not all(taken)


OPTIONS = {
    "where": {"where": np.arange(48).reshape(6, 8) % 5 > 0},
    "temperature": {"temperature": 0.3},
    "float64": {"dtype": np.float64},
    "float32": {"dtype": np.dtype(np.float32)},
}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_ordinary_options_take_it(wide_shortcut, backend, function, option, dtype, rng):
    if option == "temperature" and function is fs.logsumexp:
        pytest.skip("logsumexp has no temperature")
    x, given = rng.normal(size=(6, 8)).astype(dtype), OPTIONS[option]
    wanted = generally(function)(x, -1, backend=backend, **given)
    got = attempt(wide_shortcut, function, x, -1, **given)
    assert got.dtype == wanted.dtype
    assert got.tobytes() == wanted.tobytes()
    out = np.full_like(wanted, 7)
    assert attempt(wide_shortcut, function, x, -1, out=out, **given) is out
    assert out.tobytes() == wanted.tobytes()


def test_a_mask_that_the_result_overlaps_is_declined(wide_shortcut):
    memory = np.ones(6 * 8 * 4, np.uint8)
    x, out = np.zeros((6, 8), np.float32), memory.view(np.float32).reshape(6, 8)
    where = memory[:48].view(np.bool_).reshape(6, 8)
    assert attempt(wide_shortcut, fs.softmax, x, where=where) is not NotImplemented
    assert attempt(wide_shortcut, fs.softmax, x, where=where, out=out) is NotImplemented


# What is taken and what is declined ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_ordinary_calls_take_it(wide_shortcut, backend, function, dtype, rng):
    shortcut = wide_shortcut
    for shape in [(10,), (1, 1000), (3, 4, 5), (1,), (300, 200)]:
        x = rng.normal(size=shape).astype(dtype)
        for axis in (UNSET, -1, len(shape) - 1, None):
            given = {} if axis is UNSET else {"axis": axis}
            wanted = generally(function)(x, backend=backend, **given)
            got = attempt(shortcut, function, x, axis)
            assert type(got) is type(wanted)
            assert got.tobytes() == wanted.tobytes()
            out = np.full(wanted.shape, 7, dtype)
            if out.ndim:
                assert attempt(shortcut, function, x, axis, out=out) is out
                assert out.tobytes() == wanted.tobytes()
    x = rng.normal(size=(4, 5)).astype(dtype)
    if function is not fs.logsumexp:
        assert attempt(shortcut, function, x, out=x) is x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", [fs.softmax, fs.log_softmax], ids=lambda f: f.__name__)
def test_every_shortcut_takes_the_plainest_calls(shortcut, backend, function, dtype, rng):
    # Rows whose maxima the NumPy backend subtracts from all, from some and from none of them.
    for shape in [(10,), (1, 1000), (1, 2000), (1, 5000), (3, 4, 5), (1,), (7, 1), (30, 200)]:
        for scale in (1, 100):
            x = (scale * rng.normal(size=shape)).astype(dtype)
            for axis in (UNSET, -1, len(shape) - 1):
                given = {} if axis is UNSET else {"axis": axis}
                wanted = generally(function)(x, backend=backend, **given)
                got = attempt(shortcut, function, x, axis)
                assert got.tobytes() == wanted.tobytes()
                out = np.full(shape, 7, dtype)
                assert attempt(shortcut, function, x, axis, out=out) is out
                assert out.tobytes() == wanted.tobytes()
    x = rng.normal(size=(4, 5)).astype(dtype)
    assert attempt(shortcut, function, x, out=x) is x


def other_kinds(x):
    """Arrays of the same numbers that are not ordinary."""
    yield x.view(Sub)
    yield x.astype(x.dtype.newbyteorder())
    yield x.astype(np.int32)
    yield x[:, ::-1]
    yield x[:, ::2]
    yield np.asfortranarray(x)
    yield np.ma.array(x)
    yield x.tolist()
    yield x[:0]
    yield x[0, 0]
    yield x[0, 0].reshape(())


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_all_others_are_declined(shortcut, function, rng):
    x = rng.normal(size=(6, 8)).astype(np.float32)
    takes = attempt(shortcut, function, x) is not NotImplemented
    assert takes or function is fs.logsumexp
    for other in other_kinds(x):
        assert attempt(shortcut, function, other) is NotImplemented, type(other)
    for axis in (0, -2, 2, 2**70, (1,), True, np.int64(1), "1", 1.0):
        assert attempt(shortcut, function, x, axis) is NotImplemented, axis
    options = [{"dim": -1}, {"dim": None}, {"where": True}, {"where": np.ones(8, np.bool_)}]
    options += [{"where": np.ones((6, 8), np.uint8)}, {"dtype": np.int32}, {"dtype": "f4"}]
    if function is fs.logsumexp:
        options += [{"b": 1.0}, {"keepdims": True}, {"keepdims": 0}, {"return_sign": True}]
    else:
        options += [{"temperature": 1e30}, {"temperature": 0.0}, {"temperature": np.nan}]
        options += [{"temperature": 1}, {"temperature": np.ones(6)}]
    for option in options:
        assert attempt(shortcut, function, x, **option) is NotImplemented, option
    fits = np.empty(6 if function is fs.logsumexp else (6, 8), np.float32)
    frozen = fits.copy()
    frozen.flags.writeable = False
    unfit = [fits[:-1], fits[None], fits.astype("f8"), fits.astype(">f4"), frozen, fits.view(Sub)]
    unfit += [np.asfortranarray(fits), [0.0]] if fits.ndim == 2 else [fits.repeat(2)[::2], 0]
    assert not takes or attempt(shortcut, function, x, -1, out=fits) is fits
    for out in unfit:
        assert attempt(shortcut, function, x, -1, out=out) is NotImplemented, out
    both = np.zeros(50, np.float32)
    x, out = both[:48].reshape(6, 8), both[2:].reshape(6, 8)
    out = out.ravel()[40:46] if function is fs.logsumexp else out
    assert attempt(shortcut, function, x, -1, out=out) is NotImplemented


def test_choosing_comes_first(shortcut):
    x = np.zeros(4, np.float32)
    with pytest.raises(fs.BackendUnavailable):
        fs.softmax(x, backend="nonesuch")
    with fs.use_backend("numpy"):
        assert _registry.resolve().name == "numpy"
    with pytest.raises(ValueError, match="threads must be between"):
        fs.softmax(x, threads=0)
