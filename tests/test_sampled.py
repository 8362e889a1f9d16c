"""Sampled losses against formulas in float64, exact enumeration and the full softmax."""

import itertools

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax._sampling import steps
from fastsoftmax.samplers import AllClasses, Candidates, LogUniform, Uniform

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
LOSSES = {
    "sampled_softmax": fs.sampled_softmax_loss,
    "nce": fs.nce_loss,
    "negative_sampling": fs.negative_sampling_loss,
}


def drawn(ids, expected_true=None, expected_sampled=None, unique=True):
    """Candidates as if a sampler had drawn them."""
    return Candidates(
        ids=np.asarray(ids),
        num_tries=len(ids),
        unique=unique,
        excluded=None,
        excluded_mass=0.0,
        expected_true=expected_true,
        expected_sampled=expected_sampled,
    )


def problem(rng, classes=40, columns=7, examples=9, true=1, dtype=np.float64):
    x = rng.standard_normal((examples, columns)).astype(dtype)
    w = rng.standard_normal((classes, columns)).astype(dtype)
    b = rng.standard_normal(classes).astype(dtype)
    return x, w, b, rng.integers(0, classes, (examples, true))


def reference(loss, x, w, b, labels, ids, of_true, of_sampled, *, remove, share=True):
    """Losses and the gradient of their sum in float64, example by example, by the formulas."""
    x, w, b = (np.asarray(a, np.float64) for a in (x, w, b))
    losses, dx, dw, db = [], np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    for i, own in enumerate(labels):
        kept = [j for j, k in enumerate(ids) if not (remove and k in own)]
        classes = np.array([*own, *(ids[j] for j in kept)])
        offsets = np.array([*of_true[i], *(of_sampled[j] for j in kept)])
        logits = w[classes] @ x[i] + b[classes] - offsets
        target = np.zeros(len(classes))
        target[: len(own)] = 1 / len(own) if share else 1
        if loss == "sampled_softmax":
            lse = np.logaddexp.reduce(logits)
            losses.append(np.sum(target * (lse - logits)))
            slope = np.exp(logits - lse) - target
        else:
            losses.append(np.sum(np.logaddexp(0, logits) - target * logits))
            slope = 1 / (1 + np.exp(-logits)) - target
        dx[i] = slope @ w[classes]
        np.add.at(dw, classes, slope[:, None] * x[i])
        np.add.at(db, classes, slope)
    return np.array(losses), dx, dw, db


def dense(grads, classes):
    """The gradients by weight and bias as arrays of every class."""
    w = np.zeros((classes, grads.weight_rows.shape[1]))
    b = np.zeros(classes)
    w[grads.ids], b[grads.ids] = grads.weight_rows, grads.bias_rows
    return w, b


# Known values -------------------------------------------------------------------------------------

GOLDEN = {
    ("sampled_softmax", False): (1.6488788394, 3.8896723601, 0.9087770603),
    ("sampled_softmax", True): (1.4353571639, 3.8690082751, 0.3929107737),
    ("nce", False): (2.8258057251, 4.5663726122, 5.5665183539),
}


@pytest.mark.parametrize("loss", ["sampled_softmax", "nce"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_values_that_tensorflow_gives(backend, loss, dtype):
    state = np.random.RandomState(0)
    w, b, x = (state.randn(*shape).astype(np.float32) for shape in ((5, 10), (5,), (3, 10)))
    w, b, x = (a.astype(dtype) for a in (w, b, x))
    half = drawn([1, 0, 2, 3], np.full(3, 0.5), np.full(4, 0.5))
    options = {"bias": b, "reduction": "none", "backend": backend}
    for (name, remove), expected in GOLDEN.items():
        if name == loss:
            got = LOSSES[loss](
                x, w, [0, 1, 2], candidates=half, remove_accidental_hits=remove, **options
            )
            np.testing.assert_allclose(got, expected, atol=1e-6 if dtype == np.float32 else 1e-9)
    full = fs.sampled_softmax_loss(x, w, [0, 1, 2], sampler=AllClasses(5), num_sampled=5, **options)
    expected = 2.4167705870, 5.0889298164, 2.3322707556
    np.testing.assert_allclose(full, expected, atol=1e-6 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("true", [1, 3])
@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradients_are_those_of_the_formulas(rng, backend, loss, remove, true):
    x, w, b, labels = problem(rng, true=true)
    ids = rng.integers(0, len(w), 12)
    ids[:2] = labels[0, 0]  # a hit, twice
    given = np.exp(rng.standard_normal(labels.shape)), np.exp(rng.standard_normal(12))
    corrected = loss != "negative_sampling"
    of_true, of_sampled = (np.log(e) if corrected else 0 * e for e in given)
    truth = reference(
        *(loss, x, w, b, labels, ids, of_true, of_sampled),
        remove=remove,
        share=corrected,
    )
    got, grads = LOSSES[loss](
        *(x, w, labels),
        bias=b,
        candidates=drawn(ids, *given, unique=False),
        remove_accidental_hits=remove,
        reduction="none",
        return_grad=True,
        backend=backend,
    )
    by_weight, by_bias = dense(grads, len(w))
    for own, true_value in zip((got, grads.inputs, by_weight, by_bias), truth, strict=True):
        np.testing.assert_allclose(own, true_value, rtol=1e-12, atol=1e-12)
    assert np.array_equal(grads.ids, np.unique(np.concatenate((ids, labels.reshape(-1)))))
    alone = LOSSES[loss](
        *(x, w, labels),
        bias=b,
        candidates=drawn(ids, *given, unique=False),
        remove_accidental_hits=remove,
        backend=backend,
    )
    assert alone == pytest.approx(truth[0].mean(), rel=1e-12)


@pytest.mark.parametrize("estimator", ["candidate", "importance"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_the_slope_of_the_loss(rng, backend, loss, reduction, estimator):
    x, w, b, labels = problem(rng, true=2)
    sampler = LogUniform(len(w))
    options = {
        "sampler": sampler,
        "candidates": sampler.sample(8, unique=False, rng=rng),
        "reduction": reduction,
        "backend": backend,
    }
    if loss == "sampled_softmax":
        options["estimator"] = estimator

    def at(step):
        return LOSSES[loss](x + step * dx, w + step * dw, labels, bias=b + step * db, **options)

    _, grads = LOSSES[loss](x, w, labels, bias=b, return_grad=True, **options)
    dx, dw, db = (rng.standard_normal(a.shape) for a in (x, w, b))
    by_weight, by_bias = dense(grads, len(w))
    slope = np.sum(grads.inputs * dx) + np.sum(by_weight * dw) + np.sum(by_bias * db)
    assert (at(1e-5) - at(-1e-5)) / 2e-5 == pytest.approx(slope, rel=1e-7, abs=1e-7)


# What the estimators promise ----------------------------------------------------------------------


class Fixed:
    """A sampler with given probabilities: any object of this kind will do."""

    def __init__(self, p):
        self.p, self.num_classes = np.asarray(p), len(p)

    def sample(self, num_sampled, *, unique=True, labels=None, exclude=None, rng=None):
        ids = np.random.default_rng(rng).choice(len(self.p), num_sampled, p=self.p)
        return drawn(ids, unique=False)

    def probability(self, ids):
        return self.p[ids]

    def expected_count(self, ids, candidates):
        return len(candidates.ids) * self.p[ids]


def expected_slope(loss, x, w, label, q, n, **options):
    """The expectation of the gradient by logits, over every draw of n with replacement."""
    sampler, mean = Fixed(q), np.zeros(len(w))
    for ids in itertools.product(np.flatnonzero(q), repeat=n):
        _, grads = LOSSES[loss](
            *(x, w, [label]),
            bias=np.zeros(len(w)),
            sampler=sampler,
            candidates=drawn(ids, unique=False),
            return_grad=True,
            **options,
        )
        mean += np.prod(q[list(ids)]) * dense(grads, len(w))[1]
    return mean


def small_layer(rng, classes=6):
    """One example, weights, a label, and what is exactly right of them."""
    x, w = rng.standard_normal((1, 4)), rng.standard_normal((classes, 4))
    label = int(rng.integers(classes))
    return x, w, label, np.arange(classes) == label, (x @ w.T)[0]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_importance_has_no_bias_under_the_softmax_of_the_negatives(rng, backend, n):
    x, w, label, own, logits = small_layer(rng)
    p = fs.softmax(logits)
    q = np.where(own, 0, p) / p[~own].sum()
    given = ("sampled_softmax", x, w, label)
    slope = expected_slope(*given, q, n, estimator="importance", backend=backend)
    assert np.abs(slope - (p - own)).max() < 1e-12
    off = expected_slope(*given, p, n, estimator="candidate", backend=backend)
    assert np.abs(off - (p - own)).max() > 1e-4  # as every estimator under another distribution


@pytest.mark.parametrize("n", [1, 2, 3])
def test_noise_contrast_and_negative_sampling_expect_every_class(rng, backend, n):
    """Their gradients add up over draws, so that expectations are sums over classes."""
    x, w, label, own, logits = small_layer(rng)
    q = rng.dirichlet(np.ones(6))
    corrected = 1 / (1 + np.exp(np.log(n * q) - logits))
    slope = expected_slope("nce", x, w, label, q, n, backend=backend)
    np.testing.assert_allclose(slope, corrected * (own + n * q) - own, atol=1e-12)
    plain = 1 / (1 + np.exp(-logits))
    slope = expected_slope("negative_sampling", x, w, label, q, n, backend=backend)
    np.testing.assert_allclose(slope, plain * (own + n * q * ~own) - own, atol=1e-12)


def test_importance_sums_the_negatives_without_bias_whatever_the_sampler(rng, backend):
    x, w = rng.standard_normal((1, 4)), rng.standard_normal((5, 4))
    label, n = int(rng.integers(5)), 3
    q = rng.dirichlet(np.ones(5))
    logits = (x @ w.T)[0]
    total = reached = 0.0
    for ids in itertools.product(range(5), repeat=n):
        if set(ids) == {label}:
            continue
        loss = fs.sampled_softmax_loss(
            *(x, w, [label]),
            sampler=Fixed(q),
            candidates=drawn(ids, unique=False),
            estimator="importance",
            backend=backend,
        )
        chance = np.prod(q[list(ids)])
        reached += chance
        total += chance * np.expm1(loss) * np.exp(logits[label])
    negatives = np.exp(np.delete(logits, label)).sum()
    assert total == pytest.approx(reached * negatives, rel=1e-11)


@pytest.mark.parametrize("estimator", ["candidate", "importance"])
@pytest.mark.parametrize("sampler", [LogUniform, Uniform, AllClasses])
def test_every_class_drawn_once_gives_the_full_softmax(rng, backend, sampler, estimator):
    x, w, b, labels = problem(rng)
    loss, grads = fs.sampled_softmax_loss(
        *(x, w, labels[:, 0]),
        bias=b,
        sampler=sampler(len(w), rule="solved") if sampler is not AllClasses else AllClasses(len(w)),
        num_sampled=len(w),
        estimator=estimator,
        return_grad=True,
        rng=rng,
        backend=backend,
    )
    truth, slope = fs.cross_entropy(x @ w.T + b, labels[:, 0], return_grad=True)
    by_weight, by_bias = dense(grads, len(w))
    assert loss == pytest.approx(truth, rel=1e-9)
    np.testing.assert_allclose(grads.inputs, slope @ w, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(by_weight, slope.T @ x, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(by_bias, slope.sum(0), rtol=1e-7, atol=1e-9)


# Arrays of every kind -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32, np.float64], ids=str)
def test_every_float_type(rng, backend, loss, dtype):
    x, w, b, labels = problem(rng, dtype=dtype)
    sampler = LogUniform(len(w))
    candidates = sampler.sample(9, rng=rng)
    of_true, of_sampled = (
        np.log(sampler.expected_count(ids, candidates)).reshape(ids.shape)
        for ids in (labels, candidates.ids)
    )
    if loss == "negative_sampling":
        of_true, of_sampled = 0 * of_true, 0 * of_sampled
    got, grads = LOSSES[loss](
        *(x, w, labels),
        bias=b,
        sampler=sampler,
        candidates=candidates,
        remove_accidental_hits=True,
        reduction="none",
        return_grad=True,
        backend=backend,
    )
    truth = reference(loss, x, w, b, labels, candidates.ids, of_true, of_sampled, remove=True)
    computed = np.float64 if dtype == np.float64 else np.float32
    assert got.dtype == dtype
    assert grads.inputs.dtype == dtype
    assert grads.weight_rows.dtype == grads.bias_rows.dtype == computed
    last = {2: 2**-8 if dtype == BFLOAT16 else 2**-11, 4: 1e-5, 8: 1e-12}[np.dtype(dtype).itemsize]
    by_weight, by_bias = dense(grads, len(w))
    scale = max(1.0, np.abs(truth[0]).max())
    np.testing.assert_allclose(got.astype(float), truth[0], rtol=last, atol=last * scale)
    np.testing.assert_allclose(grads.inputs.astype(float), truth[1], rtol=last, atol=5 * last)
    rough = max(1e-5 if computed == np.float32 else 1e-12, 0)
    np.testing.assert_allclose(by_weight, truth[2], rtol=rough, atol=5 * rough)
    np.testing.assert_allclose(by_bias, truth[3], rtol=rough, atol=5 * rough)


def layouts(w, tmp_path):
    """The same weights in other ways: (name, weight, partition strategy)."""
    wide = np.zeros((2 * len(w), 3 * w.shape[1]), w.dtype)
    wide[::2, ::3] = w
    np.save(tmp_path / "w.npy", w)
    yield "fortran", np.asfortranarray(w), "div"
    yield "strided", wide[::2, ::3], "div"
    yield "reversed", w[::-1].copy()[::-1], "div"
    yield "memory-mapped", np.load(tmp_path / "w.npy", mmap_mode="r"), "div"
    yield "big-endian", w.astype(w.dtype.newbyteorder(">")), "div"
    yield "a list of rows", w.tolist(), "div"
    yield "shards, div", np.array_split(w, 3), "div"
    yield "shards, mod", [w[i::3] for i in range(3)], "mod"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_layout_of_the_weights_gives_the_same_bits(rng, backend, dtype, tmp_path):
    x, w, b, labels = problem(rng, classes=41, dtype=dtype)
    options = {"num_sampled": 10, "return_grad": True, "backend": backend}
    seed = int(rng.integers(1 << 30))
    loss, grads = fs.sampled_softmax_loss(x, w, labels, bias=b, rng=seed, **options)
    for name, weight, strategy in layouts(w, tmp_path):
        if name == "a list of rows" and dtype == np.float32:
            continue  # numbers of Python are float64
        parts = [b] if not isinstance(weight, list) or name == "a list of rows" else None
        if parts is None:
            parts = np.array_split(b, 3) if strategy == "div" else [b[i::3] for i in range(3)]
        bias = parts if len(parts) > 1 else b
        again, others = fs.sampled_softmax_loss(
            x, weight, labels, bias=bias, partition_strategy=strategy, rng=seed, **options
        )
        assert again == loss, name
        for one, other in zip(grads, others, strict=True):
            assert np.array_equal(one, other), name


@pytest.mark.parametrize("loss", LOSSES)
def test_blocks_of_examples_and_threads_change_nothing(rng, backend, loss, monkeypatch):
    x, w, b, labels = problem(rng, classes=300, examples=130, columns=33, dtype=np.float32)
    seed = int(rng.integers(1 << 30))

    def run(threads=1):
        return LOSSES[loss](
            *(x, w, labels),
            bias=b,
            num_sampled=100,
            rng=seed,
            reduction="none",
            return_grad=True,
            backend=backend,
            threads=threads,
        )

    losses, grads = run()
    again, others = run(threads=2)
    assert np.array_equal(losses, again)
    for one, other in zip(grads, others, strict=True):
        assert np.array_equal(one, other)
    monkeypatch.setattr(steps, "BLOCK_BYTES", 10_000)
    again, others = run()
    np.testing.assert_allclose(losses, again, rtol=1e-5, atol=1e-5)
    for one, other in zip(grads, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_row_of_hits_only_is_certain(backend):
    """TensorFlow adds the lowest number to such logits: NaN in half types."""
    for dtype in (np.float16, BFLOAT16, np.float32):
        x, w = np.full((1, 2), 200, dtype), np.full((4, 2), 1, dtype)
        loss, grads = fs.sampled_softmax_loss(
            *(x, w, [2]),
            candidates=drawn([2, 2, 2], np.ones(1), np.full(3, 3.0), unique=False),
            return_grad=True,
            backend=backend,
        )
        assert loss == 0
        assert not grads.weight_rows.any()
        assert np.array_equal(grads.ids, [2])


def test_the_same_generator_draws_the_same_for_every_backend(rng):
    x, w, b, labels = problem(rng, classes=5000)
    seed = int(rng.integers(1 << 30))
    found = {
        name: fs.sampled_softmax_loss(
            x, w, labels, bias=b, num_sampled=64, rng=seed, return_grad=True, backend=name
        )[1].ids
        for name in fs.backends()
    }
    for name, ids in found.items():
        assert np.array_equal(ids, found["numpy"]), name


def test_no_examples(backend):
    x, w, labels = np.zeros((0, 3)), np.zeros((9, 3)), np.zeros(0, int)
    loss, grads = fs.sampled_softmax_loss(
        x, w, labels, num_sampled=4, return_grad=True, rng=0, backend=backend
    )
    assert np.isnan(loss)
    assert grads.inputs.shape == (0, 3)
    assert len(grads.ids) == 4
    assert not grads.weight_rows.any()
    total = fs.sampled_softmax_loss(x, w, labels, num_sampled=4, reduction="sum", backend=backend)
    assert total == 0


def test_a_nan_stays_in_its_row(rng, backend):
    x, w, b, labels = problem(rng)
    x[3] = np.nan
    losses = fs.sampled_softmax_loss(
        x, w, labels, bias=b, num_sampled=9, reduction="none", backend=backend
    )
    assert np.isnan(losses[3])
    assert np.isfinite(np.delete(losses, 3)).all()


def test_a_bias_of_a_wider_type_is_rounded(rng, backend):
    x, w, b, labels = problem(rng, dtype=np.float32)
    wide = b + rng.uniform(-1e-9, 1e-9, len(b))
    found, expected = (
        fs.sampled_softmax_loss(
            *(x, w, labels), bias=bias, num_sampled=5, rng=1, return_grad=True, backend=backend
        )
        for bias in (wide.tolist(), wide.astype(np.float32))
    )
    assert found[0] == expected[0]
    assert found[0].dtype == np.float32
    assert np.array_equal(found[1].bias_rows, expected[1].bias_rows)


def test_candidates_may_be_a_list(rng, backend):
    x, w, _, labels = problem(rng)
    options = {"sampler": Uniform(len(w)), "estimator": "importance", "backend": backend}
    found, expected = (
        fs.sampled_softmax_loss(*(x, w, labels), candidates=Candidates(ids, num_tries=3), **options)
        for ids in ([4, 0, 17], np.array([4, 0, 17]))
    )
    assert found == expected


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"labels": [0, 1, 40]}, IndexError, "row 2 has label 40"),
        ({"labels": [0, -1, 3]}, IndexError, "row 1 has label -1"),
        ({"labels": np.array([0, 2**64 - 100, 1], np.uint64)}, IndexError, "18446744073709551516"),
        ({"labels": [0, 1]}, ValueError, r"labels has shape \(2,\)"),
        ({"labels": [0.0, 1.0, 2.0]}, TypeError, "labels has dtype float64"),
        ({"labels": np.zeros((3, 0), int)}, ValueError, r"labels has shape \(3, 0\)"),
        ({"inputs": np.zeros(4)}, ValueError, r"inputs has shape \(4,\)"),
        ({"inputs": np.zeros((3, 5))}, ValueError, "inputs has 5 columns, but weight has 4"),
        ({"inputs": np.ma.masked_equal(np.zeros((3, 4)), 0)}, TypeError, "inputs has masked"),
        ({"weight": np.ma.masked_equal(np.zeros((40, 4)), 0)}, TypeError, "weight has masked"),
        ({"labels": np.ma.masked_equal([0, 1, 2], 1)}, TypeError, "labels has masked"),
        ({"inputs": np.zeros((3, 4), object)}, TypeError, "inputs has dtype object"),
        ({"weight": np.zeros(40)}, ValueError, r"weight has shape \(40,\)"),
        ({"bias": np.zeros(39)}, ValueError, "bias is of 39 classes, but weight is of 40"),
        ({"bias": np.zeros((40, 1))}, ValueError, r"bias has shape \(40, 1\)"),
        ({"num_sampled": None}, TypeError, "num_sampled is needed"),
        ({"num_sampled": 0}, ValueError, "0"),
        ({"num_sampled": 41}, ValueError, "41"),
        ({"sampler": LogUniform(41)}, ValueError, "sampler is of 41 classes"),
        ({"sampler": 3}, TypeError, "sampler must have"),
        ({"candidates": [1, 2]}, TypeError, "candidates must be"),
        ({"candidates": drawn([1, 40])}, IndexError, r"candidates.ids\[1\] is 40"),
        ({"candidates": drawn([1, -1])}, IndexError, r"candidates.ids\[1\] is -1"),
        ({"candidates": drawn([1, 2])}, TypeError, "need sampler="),
        ({"candidates": drawn([1]), "num_sampled": 2}, ValueError, "num_sampled is 2"),
        (
            {"candidates": drawn([1], np.array([1, 0, 1.0]), np.ones(1))},
            ValueError,
            r"labels\[1, 0\] is 1, whose expected count is 0",
        ),
        (
            {"candidates": drawn([1], np.ones(3), np.array([np.nan]))},
            ValueError,
            "expected count of class 1 among the candidates is nan",
        ),
        ({"candidates": drawn([1], np.ones(2), np.ones(1))}, ValueError, r"have shape \(2,\)"),
        ({"estimator": "exact"}, ValueError, "estimator must be one of"),
        (
            {"estimator": "exact", "subtract_log_q": False},
            ValueError,
            "estimator must be one of",
        ),
        ({"reduction": "max"}, ValueError, "reduction must be one of"),
        ({"partition_strategy": "row"}, ValueError, "partition_strategy must be"),
        ({"rng": "seed"}, TypeError, "rng"),
    ],
)
def test_what_does_not_fit_is_refused(backend, change, error, said):
    given = {"inputs": np.zeros((3, 4)), "weight": np.ones((40, 4)), "labels": [0, 1, 2]}
    if "candidates" not in change:
        given["num_sampled"] = 5
    given |= change
    with pytest.raises(error, match=said):
        fs.sampled_softmax_loss(**given, backend=backend)
