"""TensorFlow's signatures: its tests' own values, formulas, and TensorFlow where it is there."""

import inspect

import numpy as np
import pytest

import fastsoftmax as fs
import fastsoftmax.compat.tf as tf_nn

SAMPLERS = ("uniform", "log_uniform", "learned_unigram")


@pytest.fixture(scope="module")
def tensorflow():
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


@pytest.fixture(autouse=True)
def nothing_learned():
    """No counts of an earlier test, and none for the next."""
    yield
    from fastsoftmax.compat import _tf_samplers

    _tf_samplers._learned_unigram.cache_clear()


# Losses -------------------------------------------------------------------------------------------


def example():
    """The arrays of TensorFlow's own tests of its sampled losses."""
    state = np.random.RandomState(0)
    weights, biases, inputs = (state.randn(*shape) for shape in ((5, 10), (5,), (3, 10)))
    drawn = [1, 0, 2, 3], np.full((3, 1), 0.5, np.float32), np.full(4, 0.5, np.float32)
    return [a.astype(np.float32) for a in (weights, biases, inputs)], [[0], [1], [2]], drawn


@pytest.mark.parametrize(
    ("name", "removed", "expected"),
    [
        ("sampled_softmax_loss", False, [1.6488788394, 3.8896723601, 0.9087770603]),
        ("sampled_softmax_loss", True, [1.4353571639, 3.8690082751, 0.3929107737]),
        ("nce_loss", False, [2.8258057425, 4.5663726122, 5.5665183539]),
    ],
)
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_losses_of_tensorflows_own_tests(backend, name, removed, expected, shards):
    (weights, biases, inputs), labels, drawn = example()
    if shards > 1:
        weights, biases = np.array_split(weights, shards), np.array_split(biases, shards)
    with fs.use_backend(backend):
        losses = getattr(tf_nn, name)(
            *(weights, biases, labels, inputs, 4, 5),
            sampled_values=drawn,
            remove_accidental_hits=removed,
        )
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def by_formula(name, weights, biases, labels, inputs, drawn, removed):
    """In long double, one example after another."""
    ids, of_true, of_drawn = (np.asarray(a) for a in drawn)
    w, b, x = (np.asarray(a, np.longdouble) for a in (weights, biases, inputs))
    found = []
    for row, labels_of_row in enumerate(labels):
        true = w[labels_of_row] @ x[row] + b[labels_of_row] - np.log(np.longdouble(of_true[row]))
        kept = ~np.isin(ids, labels_of_row) if removed else np.ones(len(ids), bool)
        others = w[ids[kept]] @ x[row] + b[ids[kept]] - np.log(np.longdouble(of_drawn[kept]))
        share = np.longdouble(1) / len(true)
        if name == "nce_loss":
            loss = share * np.log1p(np.exp(-true)) + (1 - share) * np.log1p(np.exp(true))
            found.append(loss.sum() + np.log1p(np.exp(others)).sum())
        else:
            total = np.exp(true).sum() + np.exp(others).sum()
            found.append((np.log(total) - true).sum() * share)
    return np.array(found)


def anything(rng, num_true, dtype=np.float64, unique=True):
    """Random arguments with many accidental hits."""
    classes, examples, columns, sampled = 40, 30, 7, 25
    weights, biases = rng.normal(size=(classes, columns)), rng.normal(size=classes)
    inputs, labels = (
        rng.normal(size=(examples, columns)),
        rng.integers(classes, size=(30, num_true)),
    )
    ids = rng.choice(classes, sampled, replace=not unique)
    drawn = ids, rng.uniform(0.1, 2, (examples, num_true)), rng.uniform(0.1, 2, sampled)
    arrays = [a.astype(dtype) for a in (weights, biases, inputs)]
    return arrays, labels, drawn, (sampled, classes, num_true)


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("name", ["sampled_softmax_loss", "nce_loss"])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 1e-5)])
def test_losses_are_those_of_the_formula(
    backend, rng, name, num_true, removed, unique, dtype, rtol
):
    (w, b, x), labels, drawn, sizes = anything(rng, num_true, dtype, unique)
    with fs.use_backend(backend):
        got = getattr(tf_nn, name)(w, b, labels, x, *sizes, drawn, removed)
    assert got.dtype == dtype
    wanted = by_formula(name, w, b, labels, x, drawn, removed)
    np.testing.assert_allclose(got, np.float64(wanted), rtol=rtol)


@pytest.mark.parametrize("name", ["sampled_softmax_loss", "nce_loss"])
def test_losses_have_the_dtype_of_inputs(rng, name):
    (w, b, x), labels, drawn, sizes = anything(rng, 1)
    for dtype in (np.float16, np.float32, np.float64):
        got = getattr(tf_nn, name)(w, b, labels, x.astype(dtype), *sizes, drawn)
        assert got.dtype == dtype


def test_a_loss_that_half_types_do_not_hold_is_infinite(rng):
    (w, b, x), labels, drawn, sizes = anything(rng, 1)
    x = np.ones_like(x).astype(np.float16)
    got = tf_nn.nce_loss(w + 1e6, b, labels, x, *sizes, drawn)
    assert np.isposinf(got).all()


def test_shards_hold_consecutive_classes(rng):
    (w, b, x), labels, drawn, sizes = anything(rng, 2)
    whole = tf_nn.sampled_softmax_loss(w, b, labels, x, *sizes, drawn)
    parts = [[w[:14], w[14:27], w[27:]], b]
    np.testing.assert_array_equal(
        tf_nn.sampled_softmax_loss(*parts, labels, x, *sizes, drawn), whole
    )
    with pytest.raises(ValueError, match="shards"):
        tf_nn.sampled_softmax_loss([w[:13], w[13:27], w[27:]], b, labels, x, *sizes, drawn)


def test_losses_draw_log_uniform_candidates(rng):
    (w, b, x), labels, _, (_, classes, _) = anything(rng, 1)
    for seed in (0, 5, -3, np.int64(7)):
        drawn = tf_nn.log_uniform_candidate_sampler(labels, 1, 20, True, classes, seed=seed)
        np.testing.assert_allclose(
            tf_nn.sampled_softmax_loss(w, b, labels, x, 20, classes, seed=seed),
            tf_nn.sampled_softmax_loss(w, b, labels, x, 20, classes, sampled_values=drawn),
            rtol=1e-5,  # whose expected counts are float32
        )
    losses = [tf_nn.nce_loss(w, b, labels, x, 20, classes) for _ in range(2)]
    assert np.isfinite(losses).all()
    assert (losses[0] != losses[1]).any()


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"labels": [0, 1, 2]}, ValueError, r"labels has shape \(3,\); with num_true=1"),
        ({"labels": [[0, 1]] * 3}, ValueError, r"labels has shape \(3, 2\)"),
        ({"labels": [[0.0], [1.0], [2.0]]}, TypeError, "labels has dtype float64"),
        ({"labels": [[0], [5], [2]]}, IndexError, r"labels.* 5, but the classes are 0 to 4"),
        ({"labels": [[0], [-1], [2]]}, IndexError, "labels.*-1"),
        ({"num_sampled": 3}, ValueError, r"shape \(4,\); with num_sampled=3"),
        ({"sampled_values": ([0, 9], [[1.0]] * 3, [1.0] * 2)}, IndexError, "9"),
        ({"sampled_values": ([0, 1], [[1.0]] * 2, [1.0] * 2)}, ValueError, "expected counts"),
        ({"sampled_values": ([0, 1], [[0.0]] * 3, [1.0] * 2)}, ValueError, "expected count"),
        ({"weights": np.zeros((5, 4))}, ValueError, "10"),
        ({"biases": np.zeros(4)}, ValueError, "bias"),
    ],
)
@pytest.mark.parametrize("name", ["sampled_softmax_loss", "nce_loss"])
def test_wrong_arguments_of_losses_are_named(name, changes, error, said):
    (weights, biases, inputs), labels, drawn = example()
    arguments = {
        "weights": weights,
        "biases": biases,
        "labels": labels,
        "inputs": inputs,
        "sampled_values": drawn,
        "num_classes": 5,
        **changes,
    }
    arguments.setdefault("num_sampled", len(arguments["sampled_values"][0]))
    with pytest.raises(error, match=said):
        getattr(tf_nn, name)(**arguments)


def test_labels_beyond_num_classes_are_refused_where_candidates_are_drawn():
    (weights, biases, inputs), labels, _ = example()
    with pytest.raises(IndexError, match=r"labels\[2, 0\] is 2, but the classes are 0 to 1"):
        tf_nn.sampled_softmax_loss(weights, biases, labels, inputs, 2, 2)


# Samplers -----------------------------------------------------------------------------------------

TRUE = [[1, 2], [0, 4], [3, 3]]


def sampler(name):
    return getattr(tf_nn, f"{name}_candidate_sampler")


def probabilities(name, classes):
    k = np.arange(classes)
    if name == "log_uniform":
        return np.log((k + 2) / (k + 1)) / np.log(classes + 1)
    return np.full(classes, 1 / classes)


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_and_their_expected_counts(name, unique):
    values = sampler(name)(TRUE, 2, 4, unique, 5)
    ids, of_true, of_sampled = values
    assert (ids.dtype, of_true.dtype, of_sampled.dtype) == (np.int64, np.float32, np.float32)
    assert (ids.shape, of_true.shape, of_sampled.shape) == ((4,), (3, 2), (4,))
    assert ((ids >= 0) & (ids < 5)).all()
    p = probabilities(name, 5)
    if unique:
        assert len(set(ids.tolist())) == 4
        # One number of tries explains every count; where none was in vain they are n P.
        tries = np.log1p(-np.minimum(of_true[0, 0], 1 - 1e-7)) / np.log1p(-p[1])
        by_tries, in_vain = -np.expm1(round(float(tries)) * np.log1p(-p)), of_true[0, 0] != 4 * p[1]
        expected = by_tries if in_vain else 4 * p
        if not np.allclose(of_true, expected[TRUE], rtol=1e-4):
            expected = 4 * p
    else:
        expected = 4 * p
    np.testing.assert_allclose(of_true, expected[TRUE], rtol=1e-4)
    np.testing.assert_allclose(of_sampled, expected[ids], rtol=1e-4)


def test_log_uniform_probabilities():
    golden = [
        *(0.2890648263, 0.1690920837, 0.1199727426, 0.0930580888, 0.0760339948),
        *(0.0642858266, 0.055686916, 0.049119341, 0.0439387478, 0.0397474322),
    ]
    every = np.arange(10)[:, None]
    values = tf_nn.log_uniform_candidate_sampler(every, 1, 1, False, 10)
    np.testing.assert_allclose(values.true_expected_count[:, 0], golden, rtol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_repeats_a_draw_and_a_generator_goes_on(name):
    draw = sampler(name)
    for seed in (0, 12, -5, 1 << 70, np.int32(3)):
        first, again = (draw(TRUE, 2, 50, True, 1000, seed=seed)[0] for _ in range(2))
        if name != "learned_unigram":  # its counts have changed
            np.testing.assert_array_equal(first, again)
    generator = np.random.default_rng(1)
    first, again = (draw(TRUE, 2, 50, True, 1000, seed=generator)[0] for _ in range(2))
    assert (first != again).any()
    before = np.random.get_state()[1].copy()
    first, again = (draw(TRUE, 2, 50, True, 1000)[0] for _ in range(2))
    assert (first != again).any()
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_learned_counts_are_of_the_calls_before():
    counts = np.ones(5)
    for labels in (TRUE, [[4, 4]], [[0, 4]]):
        values = tf_nn.learned_unigram_candidate_sampler(labels, 2, 3, False, 5)
        expected = (3 * counts / counts.sum()).astype(np.float32)
        np.testing.assert_allclose(values.true_expected_count, expected[labels], rtol=1e-6)
        np.testing.assert_allclose(
            values.sampled_expected_count, expected[values.sampled_candidates], rtol=1e-6
        )
        np.add.at(counts, labels, 1)
    other = tf_nn.learned_unigram_candidate_sampler(TRUE, 2, 4, False, 5)
    np.testing.assert_allclose(other.true_expected_count, 4 / 5)


def test_refused_labels_are_not_learned():
    with pytest.raises(IndexError, match=r"true_classes\[1, 1\] is 5"):
        tf_nn.learned_unigram_candidate_sampler([[1, 2], [0, 5]], 2, 3, False, 5)
    values = tf_nn.learned_unigram_candidate_sampler(TRUE, 2, 3, False, 5)
    np.testing.assert_allclose(values.true_expected_count, 3 / 5)


def of_shard(counts, reserved, num_shards, shard, distortion):
    """Weights of the classes of a shard, one after another, as TensorFlow loads them."""
    weights = [0.0 for k in range(reserved) if k % num_shards == shard]
    first = len(weights)  # and not `reserved`
    for k, count in enumerate(counts, first):
        if k % num_shards == shard:
            weights.append(float(count) ** distortion)
    return np.array(weights)


UNIGRAMS = [
    (0, 1, 0, 1.0),
    (2, 1, 0, 0.75),
    (0, 3, 2, 1.0),
    (4, 3, 0, 0.5),
    (4, 3, 1, 2.0),
    (5, 2, 1, 0.0),
]


@pytest.mark.parametrize("from_file", [True, False])
@pytest.mark.parametrize(("reserved", "num_shards", "shard", "distortion"), UNIGRAMS)
def test_fixed_unigrams(rng, tmp_path, from_file, reserved, num_shards, shard, distortion):
    counts = rng.integers(1, 100, 17)
    weights = of_shard(counts, reserved, num_shards, shard, distortion)
    given = {"unigrams": counts.tolist()}
    if from_file:
        path = tmp_path / "vocabulary.csv"
        path.write_text("".join(f"word,{i},{count}\n" for i, count in enumerate(counts)))
        given = {"vocab_file": path}
    every = np.arange(len(weights))[:, None]
    values = tf_nn.fixed_unigram_candidate_sampler(
        *(every, 1, 300, False, len(weights)),
        distortion=distortion,
        num_reserved_ids=reserved,
        num_shards=num_shards,
        shard=shard,
        **given,
    )
    expected = 300 * weights / weights.sum()
    np.testing.assert_allclose(values.true_expected_count[:, 0], expected, rtol=1e-6)
    assert (weights[values.sampled_candidates] > 0).all()


def test_a_vocabulary_that_changes_is_read_again(tmp_path):
    path = tmp_path / "vocabulary"
    for text, expected in (("1\n3\n", [0.25, 0.75]), ("10\n10\n", [0.5, 0.5])):
        path.write_text(text)
        values = tf_nn.fixed_unigram_candidate_sampler([[0], [1]], 1, 1, True, 2, str(path))
        np.testing.assert_allclose(values.true_expected_count[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "exactly one of vocab_file and unigrams is needed; neither was"),
        ({"unigrams": [1, 2], "vocab_file": "counts"}, "both were given"),
        ({"unigrams": [1, 2, 3]}, "range_max is 5, but the counts.* are of 3 classes"),
        ({"unigrams": [1] * 5, "shard": 1}, "shard is 1; with num_shards=1"),
        ({"unigrams": [1] * 5, "num_shards": 0}, "shard is 0; with num_shards=0"),
        ({"unigrams": [0] * 5}, "0"),
    ],
)
def test_wrong_counts_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        tf_nn.fixed_unigram_candidate_sampler(TRUE, 2, 3, False, 5, **options)


def test_a_vocabulary_that_is_not_there():
    with pytest.raises(FileNotFoundError, match="no such counts"):
        tf_nn.fixed_unigram_candidate_sampler(TRUE, 2, 3, False, 5, "no such counts")


def test_all_candidates():
    values = tf_nn.all_candidate_sampler(TRUE, 2, 5, True)
    np.testing.assert_array_equal(values.sampled_candidates, np.arange(5))
    np.testing.assert_array_equal(values.true_expected_count, np.ones((3, 2), np.float32))
    np.testing.assert_array_equal(values.sampled_expected_count, np.ones(5, np.float32))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (([[0, 7]], 2, 3, True, 5), IndexError, r"true_classes\[0, 1\] is 7"),
        (([[-1, 1]], 2, 3, True, 5), IndexError, r"true_classes\[0, 0\] is -1"),
        (([[0, 1]], 3, 3, True, 5), ValueError, r"true_classes has shape \(1, 2\).*num_true=3"),
        (([0, 1], 1, 3, True, 5), ValueError, r"true_classes has shape \(2,\)"),
        (([[0.0, 1.0]], 2, 3, True, 5), TypeError, "true_classes has dtype float64"),
        (([[0, 1]], 2, 6, True, 5), ValueError, "6"),
        (([[0, 1]], 2, 0, True, 5), ValueError, "num_sampled"),
        (([[0, 1]], 2, 3, True, 0), ValueError, "num_classes"),
    ],
)
@pytest.mark.parametrize("name", SAMPLERS)
def test_wrong_arguments_of_samplers_are_named(name, arguments, error, said):
    with pytest.raises(error, match=said):
        sampler(name)(*arguments)


# Accidental hits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_true", [1, 2, 5])
@pytest.mark.parametrize("classes", [3, 30, 3000])
def test_hits_are_found(rng, num_true, classes):
    true = rng.integers(classes, size=(20, num_true)).astype(np.int32)
    candidates = rng.integers(classes, size=50)
    rows, positions, weights = tf_nn.compute_accidental_hits(true, candidates, num_true)
    assert (rows.dtype, positions.dtype, weights.dtype) == (np.int32, np.int64, np.float32)
    expected = [
        (row, place) for row in range(20) for place in range(50) if candidates[place] in true[row]
    ]
    assert list(zip(rows.tolist(), positions.tolist(), strict=True)) == expected
    assert (weights == -np.finfo(np.float32).max).all()


def test_no_hits_and_no_rows():
    for true, candidates in (
        ([[1]], [2, 3]),
        ([[1]], np.empty(0, int)),
        (np.empty((0, 2), int), [1]),
    ):
        found = tf_nn.compute_accidental_hits(true, candidates, np.shape(true)[1])
        assert [len(part) for part in found] == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (([[1]], [2.0], 1), TypeError, "sampled_candidates has dtype float64"),
        (([[1]], [[2]], 1), ValueError, r"sampled_candidates has shape \(1, 1\)"),
        (([[1]], [-2], 1), IndexError, r"sampled_candidates\[0\] is -2"),
        (([[1]], np.array([2**64 - 1], np.uint64), 1), IndexError, "18446744073709551615"),
        (([[1, 2]], [2], 1), ValueError, "num_true=1"),
    ],
)
def test_wrong_arguments_of_hits_are_named(arguments, error, said):
    with pytest.raises(error, match=said):
        tf_nn.compute_accidental_hits(*arguments)


# Beside TensorFlow --------------------------------------------------------------------------------


def test_tensorflow_is_not_imported(run_python):
    code = """
        import sys
        sys.modules["tensorflow"] = None  # an import of it fails
        import fastsoftmax.compat.tf as tf_nn
        print(tf_nn.all_candidate_sampler([[1]], 1, 2, True).sampled_candidates.sum())
    """
    assert run_python(code) == "1"


def test_signatures_are_those_of_tensorflow(tensorflow):
    functions = [name for name in tf_nn.__all__ if name[0].islower()]
    assert len(functions) == 8
    for name in functions:
        their = getattr(tensorflow.nn, name, None) or getattr(tensorflow.random, name)
        expected, own = inspect.signature(their), inspect.signature(getattr(tf_nn, name))
        assert {k: p.default for k, p in own.parameters.items()} == {
            k: p.default for k, p in expected.parameters.items()
        }
        assert list(own.parameters) == list(expected.parameters)


@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("name", ["sampled_softmax_loss", "nce_loss"])
@pytest.mark.parametrize("shards", [1, 3])
def test_losses_agree_with_tensorflow(tensorflow, rng, name, num_true, removed, shards):
    (w, b, x), labels, (ids, *counts), sizes = anything(rng, num_true, np.float32)
    drawn = ids, *(count.astype(np.float32) for count in counts)
    if shards > 1:
        w, b = np.array_split(w, shards), np.array_split(b, shards)
    convert = tensorflow.nest.map_structure
    arguments = convert(tensorflow.constant, [w, b, labels, x])
    theirs = getattr(tensorflow.nn, name)(
        *arguments, *sizes, sampled_values=drawn, remove_accidental_hits=removed
    )
    got = getattr(tf_nn, name)(w, b, labels, x, *sizes, drawn, removed)
    np.testing.assert_allclose(got, theirs.numpy(), rtol=2e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_expected_counts_agree_with_tensorflow(tensorflow, rng, name):
    true = rng.integers(9, size=(4, 2))
    their = getattr(tensorflow.random, f"{name}_candidate_sampler")
    for _ in range(3):  # what is learned counts from the second call on
        expected = their(true, 2, 7, False, 9).true_expected_count.numpy()
        got = sampler(name)(true, 2, 7, False, 9)
        np.testing.assert_allclose(got.true_expected_count, expected, rtol=1e-5)


@pytest.mark.parametrize("from_file", [True, False])
@pytest.mark.parametrize(("reserved", "num_shards", "shard", "distortion"), UNIGRAMS)
def test_fixed_unigrams_agree_with_tensorflow(
    tensorflow, rng, tmp_path, from_file, reserved, num_shards, shard, distortion
):
    counts = rng.integers(1, 100, 17)
    path = tmp_path / "vocabulary.csv"
    path.write_text("".join(f"word,{count}\n" for count in counts))
    given = {"vocab_file": str(path)} if from_file else {"unigrams": counts.tolist()}
    given |= {"num_reserved_ids": reserved, "distortion": distortion}
    given |= {"num_shards": num_shards, "shard": shard}
    classes = len(of_shard(counts, reserved, num_shards, shard, distortion))
    every = np.arange(classes)[:, None]
    theirs, got = (
        library.fixed_unigram_candidate_sampler(every, 1, 300, False, classes, **given)
        for library in (tensorflow.random, tf_nn)
    )
    expected = theirs.true_expected_count.numpy()
    np.testing.assert_allclose(got.true_expected_count, expected, rtol=1e-5)


def test_hits_agree_with_tensorflow(tensorflow, rng):
    candidates = rng.permutation(60)[:40]  # of duplicates TensorFlow has the last only
    true = np.stack([rng.permutation(60)[:3] for _ in range(20)])
    theirs = tensorflow.nn.compute_accidental_hits(true, candidates, 3)
    got = tf_nn.compute_accidental_hits(true, candidates, 3)
    pairs = [
        sorted(zip(*(np.asarray(a).tolist() for a in f[:2]), strict=True)) for f in (got, theirs)
    ]
    assert pairs[0] == pairs[1]
    assert set(got.weights) == set(theirs.weights.numpy())
