"""The shortcut of `cross_entropy` is invisible: it gives what the general way gives or declines."""

from inspect import signature

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _registry

GENERALLY = getattr(fs.cross_entropy, "__wrapped__", fs.cross_entropy)
"""The function without shortcuts."""

FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])
REDUCTIONS = ("mean", "sum", "none")


class Sub(np.ndarray):
    """An array that is not exactly one."""


@pytest.fixture
def shortcut(backend):
    """Ask the backend's shortcut as compiled code does: its result, or NotImplemented."""
    offered = _registry.resolve(backend).shortcuts.get("cross_entropy")
    if offered is None:
        pytest.skip(f"{backend} has no shortcut of cross_entropy")

    def ask(*arguments, threads=1, **options):
        call = signature(GENERALLY).bind(*arguments, threads=threads, **options)
        call.apply_defaults()
        del call.arguments["backend"]
        return offered(*call.arguments.values())

    return ask


@pytest.fixture
def same(shortcut, backend):
    """Assert that the shortcut takes a call, and gives what the general way gives."""

    def check(x, labels, **options):
        out = options.pop("grad_out", None)
        before = x.tobytes()
        wanted = GENERALLY(x, labels, backend=backend, **options)
        given = {"grad_out": out} if out is not None else {}
        got = shortcut(x, labels, **given, **options)
        assert got is not NotImplemented
        if options.get("return_grad"):
            assert type(got) is tuple
            assert out is None or got[1] is out
            same_array(got[1], wanted[1])
            got, wanted = got[0], wanted[0]
        same_array(got, wanted)
        assert out is x or x.tobytes() == before

    return check


def same_array(got, wanted):
    assert type(got) is type(wanted)
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    np.testing.assert_array_equal(got, wanted)  # NaN may have either sign
    assert np.array_equal(np.signbit(got[got == got]), np.signbit(wanted[wanted == wanted]))


@pytest.fixture
def call(rng):
    """Logits and labels of an ordinary call."""
    return rng.normal(0, 4, (6, 8)).astype(np.float32), rng.integers(8, size=6)


# What is taken ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 10), (6, 8), (3, 4, 5), (300, 70), (7, 1), (2, 3000)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("whole", [np.int32, np.int64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@FLOATS
def test_ordinary_calls_take_it(same, rng, shape, reduction, whole, smoothing, dtype):
    x = rng.normal(0, 4, shape).astype(dtype)
    labels = rng.integers(shape[-1], size=shape[:-1]).astype(whole)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    for axis in (-1, x.ndim - 1):
        same(x, labels, axis=axis, **options)
        same(x, labels, axis=axis, return_grad=True, **options)
    same(x, labels, return_grad=True, grad_out=np.full_like(x, 7), **options)
    same(x, labels, return_grad=True, grad_out=x, **options)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@FLOATS
def test_one_row_without_a_batch_axis_takes_it(same, rng, reduction, dtype):
    x, label = rng.normal(size=9).astype(dtype), np.array(4)
    same(x, label, reduction=reduction)
    same(x, label, reduction=reduction, return_grad=True, grad_out=x)


@pytest.mark.parametrize("ignored", [-100, -1, 3, 8, 2**62, -(2**63), None])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("whole", [np.int32, np.int64])
def test_rows_that_are_ignored(same, call, ignored, reduction, whole):
    x, labels = call
    if ignored is not None and (whole is np.int64 or abs(ignored) < 2**31):
        labels[[0, 3]] = ignored
        x[3] = np.nan
    labels[1] = 3  # a class, unless that is the label to be ignored
    options = {"ignore_index": ignored, "reduction": reduction}
    same(x, labels.astype(whole), **options)
    same(x, labels.astype(whole), return_grad=True, **options)
    same(x, labels.astype(whole), return_grad=True, grad_out=x, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_no_row_that_counts(same, call, reduction):
    same(call[0], np.full(6, -100), reduction=reduction, return_grad=True)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 3e38, 1e-40])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_special_values(same, call, special, reduction):
    x, labels = call
    x[1, 2], x[2, labels[2]], x[4] = special, special, special
    for smoothing in (0.0, 0.2):
        options = {"reduction": reduction, "label_smoothing": smoothing}
        same(x, labels, **options)
        same(x, labels, return_grad=True, **options)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_rows_for_several_threads(same, rng, threads):
    x, labels = rng.normal(size=(2000, 300)).astype(np.float32), rng.integers(300, size=2000)
    for reduction in REDUCTIONS:
        same(x, labels, reduction=reduction, return_grad=True, threads=threads)


def test_arrays_that_are_not_aligned(same, call):
    x, labels = call

    def moved(a):
        memory = np.zeros(a.nbytes + 1, np.uint8)[1:]
        memory[:] = a.view(np.uint8).ravel()
        return memory.view(a.dtype).reshape(a.shape)

    for whole in (np.int32, np.int64):
        same(moved(x), moved(labels.astype(whole)), return_grad=True, grad_out=moved(x))


def test_labels_in_the_memory_of_the_gradient(same):
    memory = np.zeros((6, 8), np.int64)
    memory[0, :6] = 5, 1, 0, 7, 3, 2
    labels = memory[0, :6]
    x = np.arange(48.0).reshape(6, 8) % 7
    same(x, labels, return_grad=True, grad_out=memory.view(np.float64))


# What is declined ---------------------------------------------------------------------------------


OPTIONS = [
    *({"weight": np.ones(8)}, {"where": np.ones((6, 8), bool)}, {"where": True}),
    *({"axis": 0}, {"axis": -2}, {"axis": 2}, {"axis": 2**70}, {"axis": True}, {"axis": (1,)}),
    *({"axis": np.int64(-1)}, {"axis": "1"}, {"axis": None}, {"axis": 1.0}),
    *({"ignore_index": 1.5}, {"ignore_index": np.int64(3)}, {"ignore_index": 2**63}),
    *({"ignore_index": True}, {"ignore_index": "3"}),
    *({"label_smoothing": 0}, {"label_smoothing": -0.1}, {"label_smoothing": 1.1}),
    *({"label_smoothing": np.nan}, {"label_smoothing": "0.1"}, {"label_smoothing": None}),
    *({"reduction": "avg"}, {"reduction": None}, {"reduction": b"mean"}, {"reduction": "Mean"}),
    *({"return_grad": 1}, {"return_grad": np.True_}, {"return_grad": None}),
    *({"check_labels": False}, {"check_labels": 1}, {"on_empty": "zero"}, {"on_empty": None}),
    *({"grad_out": np.zeros((6, 8), np.float32)}, {"on_empty": "Nan"}),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_other_options_are_declined(shortcut, call, options):
    assert shortcut(*call) is not NotImplemented
    assert shortcut(*call, **options) is NotImplemented


def other_kinds(a):
    """Arrays of the same numbers that are not ordinary."""
    yield a.view(Sub)
    yield a.astype(a.dtype.newbyteorder())
    yield a[..., ::-1]
    yield np.repeat(a, 2, -1)[..., ::2]
    yield np.ma.array(a)
    yield a.tolist()
    yield a[:0]
    yield a[None]
    yield a[:-1]


def test_other_logits_are_declined(shortcut, call):
    x, labels = call
    kinds = (
        np.float16,
        ml_dtypes.bfloat16,
        np.int32,
        np.bool_,
        np.complex64,
        np.longdouble,
        object,
    )
    others = [*other_kinds(x), *map(x.astype, kinds), np.asfortranarray(x), x[0], x[0, 0], x[:, :0]]
    for other in others:
        assert shortcut(other, labels) is NotImplemented, type(other)
    assert shortcut(x[0], np.array(1), reduction="none") is NotImplemented
    assert shortcut(x[:0], labels[:0]) is NotImplemented


def test_other_labels_are_declined(shortcut, call):
    x, labels = call
    kinds = (np.int8, np.int16, np.uint8, np.uint32, np.uint64, np.bool_, np.float32, np.float64)
    others = [*other_kinds(labels), *map(labels.astype, kinds), x, labels[:, None], np.array(1), 1]
    others += [labels.astype("m8[s]"), labels.astype("M8[s]"), labels.astype(object)]
    for other in others:
        assert shortcut(x, other) is NotImplemented, other
    assert shortcut(x[0], 1) is NotImplemented
    assert shortcut(x[0], np.int64(1)) is NotImplemented


@pytest.mark.parametrize("whole", [np.int32, np.int64])
@pytest.mark.parametrize("bad", [-1, 8, -99, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_wrong_labels_are_declined_before_anything_is_written(shortcut, call, whole, bad, place):
    x, labels = call
    labels[place] = bad
    labels = labels.astype(whole)
    for reduction in REDUCTIONS:
        out, own = np.full_like(x, 7), x.copy()
        options = {"return_grad": True, "reduction": reduction}
        assert shortcut(x, labels, grad_out=out, **options) is NotImplemented
        assert shortcut(own, labels, grad_out=own, **options) is NotImplemented
        assert (out == 7).all()
        assert own.tobytes() == x.tobytes()
    assert shortcut(x, labels, ignore_index=bad) is not NotImplemented


def test_other_gradients_are_declined(shortcut, call):
    x, labels = call
    fits = np.full_like(x, 7)
    frozen = fits.copy()
    frozen.flags.writeable = False
    others = [*other_kinds(fits), frozen, np.asfortranarray(fits), fits.astype("f8"), fits.T, 0]
    others += [fits.astype(np.float16), fits.view(np.int32), fits.ravel()]
    for other in others:
        assert shortcut(x, labels, return_grad=True, grad_out=other) is NotImplemented, type(other)
    both = np.zeros(50, np.float32)
    for start in (1, 2):
        own, out = both[:48].reshape(6, 8), both[start : start + 48].reshape(6, 8)
        for given in ((own, out), (out, own)):
            taken = shortcut(given[0], labels, return_grad=True, grad_out=given[1])
            assert taken is NotImplemented
    assert not both.any()
    assert (fits == 7).all()
    assert shortcut(x, labels, return_grad=True, grad_out=fits)[1] is fits


# Whatever is asked --------------------------------------------------------------------------------


def outcome(function, arguments, options, memory):
    """All that a caller can see of a call: result, memory afterwards, or the refusal."""
    try:
        got = function(*arguments, **options)
    except Exception as error:
        return type(error), str(error), memory.tobytes()
    results = got if isinstance(got, tuple) else (got,)
    seen = [(type(r), r.dtype, r.shape, r.tobytes()) for r in results]
    return seen, results[-1] is options.get("grad_out"), memory.tobytes()


def scene(rng):
    """A way to make arguments and options, the same each time it is asked."""
    classes, rows = int(rng.integers(1, 20)), int(rng.integers(0, 9))
    dtype = rng.choice([np.float32, np.float32, np.float64, np.float16])
    values = rng.normal(0, 9, (rows, classes)).astype(dtype)
    labels = rng.integers(classes, size=rows)
    labels[rng.random(rows) < 0.2] = -100
    if rows and rng.random() < 0.2:
        labels[rng.integers(rows)] = rng.choice([-1, classes, 100])
    code = rng.choice(["q", "i", "i", "B", "h", ">q", "?", "d"], p=[0.4, *[0.1] * 2, *[0.08] * 5])
    options = {"reduction": rng.choice([*REDUCTIONS, "avg"], p=[0.4, 0.3, 0.25, 0.05]).item()}
    extras = [{}, {}, {}, {"label_smoothing": 0.1}, {"ignore_index": None}, {"ignore_index": 2}]
    extras += [{"axis": 0}, {"axis": 1}, {"weight": np.ones(classes)}, {"check_labels": False}]
    extras += [{"on_empty": "zero"}, {"where": values > -9}, {"threads": 2}, {"threads": 0}]
    options |= extras[rng.integers(len(extras))]
    out = rng.choice(["none", "new", "fits", "x", "shifted", "frozen", "wide"])

    def make():
        memory = np.zeros(2 * values.nbytes + 64, np.uint8)
        whole = memory[: 2 * values.nbytes + 8].view(dtype)
        x = whole[: values.size].reshape(values.shape)
        x[...] = values
        given = dict(options)
        if out != "none":
            given["return_grad"] = True
        places = {"fits": values.size, "frozen": values.size, "shifted": 1}
        if out in places:
            grad = whole[places[out] :][: values.size].reshape(values.shape)
            grad.flags.writeable = out != "frozen"
            given["grad_out"] = grad
        elif out == "x":
            given["grad_out"] = x
        elif out == "wide":
            given["grad_out"] = np.zeros(values.shape, np.longdouble)
        return (x, labels.astype(code)), given, memory

    return make


def test_every_call_is_as_the_general_way_has_it(backend, rng):
    refused = 0
    for _ in range(1500):
        make = scene(rng)
        seen = []
        for function in (fs.cross_entropy, GENERALLY):
            arguments, options, memory = make()
            seen.append(outcome(function, arguments, {**options, "backend": backend}, memory))
        assert seen[0] == seen[1], (make(), seen)
        refused += isinstance(seen[0][0], type)
    assert 100 < refused < 1400
