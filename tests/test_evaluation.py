"""Evaluation by the full softmax: the formula, ties, tiles, shards, types, memory, refusals."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax._sampling import evaluation
from fastsoftmax._sampling.tables import as_table

TYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)


def formula(x, weight, labels, bias=0.0, top_k=(1, 5)):
    """Mean loss and accuracies in long double, of all logits at once."""
    x, weight = np.asarray(x, np.longdouble), np.asarray(weight, np.longdouble)
    logits = x @ weight.T + np.asarray(bias, np.longdouble)
    at_label = logits[np.arange(len(x)), labels]
    top = logits.max(1)
    losses = top + np.log(np.exp(logits - top[:, None]).sum(1)) - at_label
    as_large = (logits >= at_label[:, None]).sum(1)
    return float(losses.mean()), {k: float((as_large <= k).mean()) for k in top_k}


def layer(rng, n, classes, d, dtype=np.float64):
    """Inputs that favour their labels, weights, labels."""
    weight = rng.standard_normal((classes, d))
    labels = rng.integers(classes, size=n)
    x = weight[labels] / 2 + rng.standard_normal((n, d))
    return x.astype(dtype), weight.astype(dtype), labels


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "classes", "d"), [(1, 1, 1), (7, 3, 2), (50, 400, 9), (1100, 77, 4)])
def test_it_is_the_formula(backend, rng, dtype, n, classes, d):
    x, weight, labels = layer(rng, n, classes, d, dtype)
    bias = rng.standard_normal(classes).astype(dtype)
    found = fs.evaluate_softmax(x, weight, labels, bias=bias, top_k=(1, 3, 500), backend=backend)
    loss, accuracy = formula(x, weight, labels, bias, (1, 3, 500))
    double = dtype == np.float64
    assert found.loss == pytest.approx(
        loss, rel=1e-12 if double else 1e-5, abs=1e-14 if double else 1e-6
    )
    assert found.perplexity == pytest.approx(np.exp(found.loss), rel=1e-14)
    assert found.num_examples == n
    assert found.accuracy[500] == 1
    # Products in float32 may decide nearly equal logits otherwise.
    assert found.accuracy == pytest.approx(accuracy, abs=0 if double else 0.011)


def test_it_agrees_with_cross_entropy(backend, rng):
    x, weight, labels = layer(rng, 40, 90, 8, np.float32)
    found = fs.evaluate_softmax(x, weight, labels, backend=backend)
    wanted = fs.cross_entropy(x @ weight.T, labels, backend=backend)
    assert found.loss == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("block_bytes", [0, 700, 1 << 14])
@pytest.mark.parametrize("most_rows", [1, 7, 1024])
def test_tiles_change_nothing_but_rounding(backend, rng, monkeypatch, block_bytes, most_rows):
    x, weight, labels = layer(rng, 23, 61, 5)
    options = {"bias": rng.standard_normal(61), "top_k": range(1, 62), "backend": backend}
    whole = fs.evaluate_softmax(x, weight, labels, **options)
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(evaluation, "MOST_ROWS", most_rows)
    tiled = fs.evaluate_softmax(x, weight, labels, **options)
    assert tiled.loss == pytest.approx(whole.loss, rel=1e-13)
    assert tiled.accuracy == whole.accuracy
    shares = list(whole.accuracy.values())
    assert shares == sorted(shares)
    assert shares[-1] == 1


# Ties, ignored labels, no numbers -----------------------------------------------------------------


@pytest.mark.parametrize("block_bytes", [0, 4 << 20])
def test_a_tie_counts_against_the_label(backend, monkeypatch, block_bytes):
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", block_bytes)
    weight = np.array([[2.0], [1], [2], [0], [1], [2]])  # places 3, 5, 3, 6, 5, 3
    places = [3, 5, 3, 6, 5, 3]
    found = fs.evaluate_softmax(
        np.ones((6, 1)), weight, np.arange(6), top_k=range(1, 7), backend=backend
    )
    wanted = {k: np.mean([place <= k for place in places]) for k in range(1, 7)}
    assert found.accuracy == pytest.approx(wanted)


def test_a_layer_that_tells_nothing_apart_is_right_about_nothing(backend, rng):
    found = fs.evaluate_softmax(
        np.zeros((8, 2), np.float32), rng.standard_normal((20, 2)), np.arange(8), backend=backend
    )
    assert found.accuracy == {1: 0, 5: 0}
    assert found.loss == pytest.approx(np.log(20), rel=1e-13)
    assert found.perplexity == pytest.approx(20, rel=1e-13)


def test_ignored_examples_do_not_count(backend, rng):
    x, weight, labels = layer(rng, 1500, 30, 4)
    out = rng.random(1500) < 0.5
    out[:1024] |= rng.random() < 0.5  # perhaps a tile without any
    x[out] = np.nan
    wanted = fs.evaluate_softmax(x[~out], weight, labels[~out], backend=backend)
    for ignored in (-100, 10**6):
        given = np.where(out, ignored, labels)
        found = fs.evaluate_softmax(x, weight, given, ignore_index=ignored, backend=backend)
        assert found.num_examples == np.count_nonzero(~out)
        assert found.loss == pytest.approx(wanted.loss, rel=1e-13)
        assert found.accuracy == wanted.accuracy


def test_no_examples_have_no_mean(backend):
    weight = np.ones((3, 2), np.float32)
    for x, labels in ((np.empty((0, 2)), np.empty(0, int)), (np.ones((2, 2)), [-100, -100])):
        found = fs.evaluate_softmax(x, weight, labels, backend=backend)
        assert found.num_examples == 0
        assert np.isnan([found.loss, found.perplexity, *found.accuracy.values()]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_no_success(backend, value):
    x = np.array([[1.0, 0], [value, 0], [1, 0]])
    weight = np.array([[1.0, 0], [2, 0], [3, 0]])
    found = fs.evaluate_softmax(x, weight, [2, 2, 2], top_k=1, backend=backend)
    assert np.isnan(found.loss)
    assert np.isnan(found.perplexity)
    assert found.accuracy[1] == pytest.approx(2 / 3)


def test_a_class_that_is_ruled_out_has_an_infinite_loss(backend):
    found = fs.evaluate_softmax(
        np.ones((2, 1)), np.ones((3, 1)), [0, 1], bias=[0, -np.inf, 0], top_k=3, backend=backend
    )
    assert found.loss == found.perplexity == np.inf
    assert found.accuracy == {3: 1}


def test_large_logits_do_not_overflow(backend, rng):
    x, weight, labels = layer(rng, 20, 30, 4)
    found = fs.evaluate_softmax(x * 1e4, weight, labels, backend=backend)
    assert found.loss == pytest.approx(formula(x * 1e4, weight, labels)[0], rel=1e-12)


# Weights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["div", "mod"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_shards_divide_the_classes(backend, rng, monkeypatch, strategy, count):
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", 2000)
    x, weight, labels = layer(rng, 30, 40, 5)
    bias = rng.standard_normal(40)
    wanted = fs.evaluate_softmax(x, weight, labels, bias=bias, backend=backend)

    def shards(rows, number):
        if strategy == "mod":
            return [rows[i::number] for i in range(number)]
        return np.array_split(rows, number)

    for biases in (bias, shards(bias, count), shards(bias, 4)):
        found = fs.evaluate_softmax(
            *(x, shards(weight, count), labels),
            bias=biases,
            partition_strategy=strategy,
            backend=backend,
        )
        assert found.loss == pytest.approx(wanted.loss, rel=1e-13)
        assert found.accuracy == wanted.accuracy


@pytest.mark.parametrize("strategy", ["div", "mod"])
@pytest.mark.parametrize("most_rows", [1, 3, 100])
def test_tiles_of_a_table_have_every_class_once(rng, strategy, most_rows):
    weight = rng.standard_normal((23, 2))
    parts = [weight[i::5] for i in range(5)] if strategy == "mod" else np.array_split(weight, 5)
    seen = []
    for array, classes in as_table(list(parts), "weight", strategy).tiles(most_rows):
        assert 1 <= len(array) == len(classes) <= most_rows
        np.testing.assert_array_equal(array, weight[list(classes)])
        seen += classes
    assert sorted(seen) == list(range(23))


def memory_mapped(x, folder):
    file = folder / f"{len(x)} rows"
    mapped = np.memmap(file, x.dtype, "w+", offset=3, shape=x.shape)  # unaligned
    mapped[:] = x
    return mapped


LAYOUTS = {
    "Fortran order": lambda x, _: np.asfortranarray(x),
    "columns of more": lambda x, _: np.concatenate((x, x), 1)[:, : x.shape[1]],
    "backwards": lambda x, _: x[::-1, ::-1].copy()[::-1, ::-1],
    "every other": lambda x, _: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    "big-endian": lambda x, _: x.astype(x.dtype.newbyteorder(">")),
    "read-only": lambda x, _: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "list": lambda x, _: x.tolist(),
    "memory-mapped": memory_mapped,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_do_not_matter(backend, rng, tmp_path, monkeypatch, layout):
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", 2000)
    x, weight, labels = layer(rng, 30, 41, 6)
    wanted = fs.evaluate_softmax(x, weight, labels, backend=backend)
    change = LAYOUTS[layout]
    found = fs.evaluate_softmax(
        change(x, tmp_path), change(weight, tmp_path), labels.tolist(), backend=backend
    )
    assert found.loss == pytest.approx(wanted.loss, rel=1e-13)
    assert found.accuracy == wanted.accuracy


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_of_one_number_repeated(backend, axis):
    weight = np.broadcast_to(np.arange(5.0).reshape((-1, 1) if axis else (1, -1)), (5, 5))
    x = np.eye(5)
    found = fs.evaluate_softmax(x, weight, [4] * 5, backend=backend)
    loss, accuracy = formula(x, weight, [4] * 5)
    assert found.loss == pytest.approx(loss, rel=1e-13)
    assert found.accuracy == accuracy


@pytest.mark.parametrize(
    ("n", "classes", "d", "dtype"),
    [
        (750, 30_000, 16, np.float16),
        (3000, 120_000, 16, np.float16),
        (1500, 60_000, 16, np.float32),
        (1100, 5000, 1024, np.float16),
    ],
)
def test_memory_does_not_grow_with_examples_or_classes(rng, n, classes, d, dtype):
    weight = rng.standard_normal((classes, d), np.float32).astype(dtype)
    x = rng.standard_normal((n, d), np.float32)  # logits: up to 1.4 GB
    labels = rng.integers(classes, size=len(x))
    fs.evaluate_softmax(x[:9], weight[:99], labels[:9] % 99)
    tracemalloc.start()
    fs.evaluate_softmax(x, weight, labels, bias=np.zeros(classes, dtype), top_k=(1, 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32e6


def test_logits_that_rise_with_every_tile_are_all_compared(backend, monkeypatch):
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", 400)
    weight = np.arange(300.0)[:, None]
    labels = np.array([299, 297, 290, 0])
    for sign in (1, -1):
        found = fs.evaluate_softmax(
            np.full((4, 1), sign), weight, labels, top_k=(1, 3, 10, 300), backend=backend
        )
        wanted = [0.25, 0.5, 0.75, 1] if sign > 0 else [0.25, 0.25, 0.25, 1]
        assert list(found.accuracy.values()) == wanted


# Progress, arguments ------------------------------------------------------------------------------


def test_progress_is_told(rng):
    x, weight, labels = layer(rng, 2500, 4, 2)
    told = []
    fs.evaluate_softmax(x, weight, labels, progress=lambda *args: told.append(args))
    assert told == [(1024, 2500), (2048, 2500), (2500, 2500)]


def test_one_k_or_several_or_none(backend, rng):
    x, weight, labels = layer(rng, 9, 8, 3)
    several = fs.evaluate_softmax(x, weight, labels, top_k=[2, 1, np.int8(2)], backend=backend)
    assert list(several.accuracy) == [2, 1]
    one = fs.evaluate_softmax(x, weight, labels, top_k=2, backend=backend)
    assert one.accuracy == {2: several.accuracy[2]}
    assert fs.evaluate_softmax(x, weight, labels, top_k=(), backend=backend).accuracy == {}


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"labels": [0, 3]}, IndexError, "row 1 has label 3, but the classes are 0 to 2"),
        ({"labels": [-1, 0]}, IndexError, "row 0 has label -1"),
        ({"labels": np.array([0, 2**64 - 100], np.uint64)}, IndexError, "18446744073709551516"),
        ({"labels": [-100, 0], "ignore_index": None}, IndexError, "row 0 has label -100"),
        ({"labels": [0]}, ValueError, r"labels has shape \(1,\); it must be \(2,\)"),
        ({"labels": [[0, 1]]}, ValueError, r"labels has shape \(1, 2\)"),
        ({"labels": [0.0, 1.0]}, TypeError, "labels has dtype float64"),
        ({"labels": [True, False]}, TypeError, "labels has dtype bool"),
        ({"inputs": np.ones((2, 5))}, ValueError, r"inputs has shape \(2, 5\).*\(N, 4\)"),
        ({"inputs": np.ones(4)}, ValueError, r"inputs has shape \(4,\)"),
        ({"inputs": np.ones((2, 4), complex)}, TypeError, "inputs has dtype complex"),
        ({"weight": np.ones(4)}, ValueError, r"weight has shape \(4,\)"),
        ({"weight": np.ones((0, 4))}, IndexError, "there are no classes"),
        ({"weight": [np.ones((3, 4)), np.ones((1, 4))]}, ValueError, r"weight\[0\] has 3 rows"),
        ({"bias": np.ones(2)}, ValueError, "bias has 2 numbers, but there are 3 classes"),
        ({"bias": np.ones((3, 1))}, ValueError, r"bias has shape \(3, 1\)"),
        ({"top_k": 0}, ValueError, "top_k must be from 1 to 1000, not 0"),
        ({"top_k": 1001}, ValueError, "top_k must be from 1 to 1000, not 1001"),
        ({"top_k": (1, -5)}, ValueError, "top_k must be from 1 to 1000, not -5"),
        ({"top_k": 1.0}, TypeError, "top_k must be an int or some of them, not 1.0"),
        ({"top_k": True}, ValueError, "top_k must be from 1 to 1000, not True"),
        ({"partition_strategy": "hash"}, ValueError, "partition_strategy must be .* not 'hash'"),
        ({"progress": 5}, TypeError, "progress must be callable, not 5"),
    ],
)
def test_what_does_not_fit_is_refused(backend, changed, error, said):
    given = {"inputs": np.ones((2, 4)), "weight": np.ones((3, 4)), "labels": [0, 1]} | changed
    with pytest.raises(error, match=said):
        fs.evaluate_softmax(**given, backend=backend)
