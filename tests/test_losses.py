"""Losses and gradients: accuracy, formulas, gradients by differences, options, labels, refusals."""

import tracemalloc

import ml_dtypes
import mpmath
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _truth, _truth_losses
from fastsoftmax._truth import Bound
from fastsoftmax._truth_losses import promises

FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])
HALVES = pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
INTEGERS = ("b", "B", "h", "H", "i", "I", "q", "Q", ">i4", ">u8")
SCALES = (1, 10, 100)


def judge(got, expected, bound):
    worst = _truth.deviation(got, expected, bound)
    assert worst.ok, worst
    return worst.largest


def formula(x, t, w=1.0, axis=-1):
    """Each row's cross-entropy and its gradient in long double, of finite logits."""
    x, a = x.astype(np.longdouble), np.asarray(w, np.longdouble) * t
    top = x.max(axis, keepdims=True)
    log_p = x - top - np.log(np.exp(x - top).sum(axis, keepdims=True))
    return -(a * log_p).sum(axis), a.sum(axis, keepdims=True) * np.exp(log_p) - a


def onehot(labels, classes):
    return np.eye(classes)[labels]


def close(got, wanted, dtype=np.float64, times=32):
    rtol = times * float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(np.float64(got), np.float64(wanted), rtol=rtol, atol=rtol / 4)


def by_differences(function, x, step=1e-6):
    """The derivatives of a number by every element of x."""
    grad = np.empty_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        grad[place] = (function(up) - function(down)) / (2 * step)
    return grad


# Accuracy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["cross_entropy", "label_gradient"])
@pytest.mark.parametrize("scale", SCALES)
@FLOATS
def test_the_truth_agrees_with_mpmath(rng, operation, scale, dtype):
    x = (rng.standard_normal((6, 9)) * scale).astype(dtype)
    labels = np.append(x[:3].argmax(1), rng.integers(9, size=3))
    expected = _truth_losses.by_label(operation, x, labels)
    with mpmath.workdps(80):
        for row, label, value in zip(x, labels, expected.values, strict=True):
            terms = [mpmath.exp(mpmath.mpf(float(score))) for score in row]
            others = mpmath.fsum(terms[:label] + terms[label + 1 :])
            total = others + terms[label]
            odds = others / terms[label]
            exact = mpmath.log1p(odds) if operation == "cross_entropy" else -others / total
            high = float(value)
            got = mpmath.mpf(high) + float(value - np.longdouble(high))
            assert abs(got - exact) <= abs(exact) * (1 + 400 * scale) * mpmath.mpf(2) ** -62


@FLOATS
def test_the_truth_of_a_mean_and_its_gradient_is_the_formula(rng, dtype):
    x = (rng.standard_normal((7, 9)) * 4).astype(dtype)
    labels, copies = rng.integers(9, size=7), np.array([3, 3, 2, 2, 2, 2, 2])
    losses, grad = formula(x, onehot(labels, 9))
    mean, per_row = (
        _truth_losses.of_mean(quantity, x, labels, copies)
        for quantity in ("cross_entropy", "gradient")
    )
    np.testing.assert_allclose(mean.values, [np.average(losses, weights=copies)], rtol=1e-15)
    np.testing.assert_allclose(per_row.values, grad / 16, rtol=1e-11)
    exponents = np.frexp(per_row.values)[1]
    spacing = np.ldexp(1.0, exponents - np.finfo(dtype).nmant - 1)
    np.testing.assert_array_equal(per_row.unit, spacing)
    targets = (rng.random(x.shape) < 0.5).astype(dtype)
    wide = x.astype(np.longdouble)
    losses = np.logaddexp(0, wide) - targets * wide
    mean, per_row = (
        _truth_losses.of_mean(quantity, x, targets, copies)
        for quantity in ("binary_cross_entropy", "binary_gradient")
    )
    wanted = np.average(losses.mean(1), weights=copies)
    np.testing.assert_allclose(mean.values, [wanted], rtol=1e-15)
    wanted = (1 / (1 + np.exp(-wide)) - targets) / (16 * 9)
    np.testing.assert_allclose(per_row.values, wanted, rtol=1e-11)


@pytest.mark.parametrize("classes", [1, 2, 10, 17, 1000, 30_000])
@pytest.mark.parametrize("scale", SCALES)
@FLOATS
def test_losses_of_rows_and_gradients_of_labels(backend, rng, classes, scale, dtype):
    x = (rng.standard_normal((max(4, 8192 // classes), classes)) * scale).astype(dtype)
    labels = rng.integers(classes, size=len(x))
    labels[::2] = x[::2].argmax(1)  # confident ones
    losses, grad = fs.cross_entropy(x, labels, reduction="none", return_grad=True, backend=backend)
    bounds = promises(backend)
    expected = _truth_losses.by_label("cross_entropy", x, labels)
    # Random rows stay within 4 without any gap.
    assert judge(losses, expected, bounds["cross_entropy"]) <= 4
    np.testing.assert_array_equal(
        fs.cross_entropy(x, labels, reduction="none", backend=backend), losses
    )
    got = np.take_along_axis(grad, labels[:, None], 1)[:, 0]
    judge(got, _truth_losses.by_label("label_gradient", x, labels), bounds["label_gradient"])


@pytest.mark.parametrize("classes", [2, 3, 10, 1000, 50_000])
@FLOATS
def test_rows_whose_gaps_are_all_rounded_alike(backend, rng, classes, dtype):
    top, gap = rng.uniform(-50, 50, (300, 1)), rng.uniform(0, 16, (300, 1))
    rows = slice(300 if classes < 10_000 else 4)
    x = np.repeat((top - gap)[rows], classes, 1).astype(dtype)
    x[:, 0] = top[rows, 0]
    labels = np.zeros(len(x), int)
    losses, grad = fs.cross_entropy(x, labels, reduction="none", return_grad=True, backend=backend)
    for operation, got in (("cross_entropy", losses), ("label_gradient", grad[:, 0])):
        expected = _truth_losses.by_label(operation, x, labels)
        judge(got, expected, promises(backend)[operation])


@pytest.mark.parametrize(("dtype", "gap"), [(np.float32, 85), (np.float64, 700)])
def test_very_many_absent_classes_do_not_show_in_a_sure_row(backend, dtype, gap):
    x = np.full((2, 500_000), -np.inf, dtype)
    x[:, 3] = gap
    x[0, 5], x[1, 70_000] = 0, 1
    losses, grad = fs.cross_entropy(x, [3, 3], reduction="none", return_grad=True, backend=backend)
    for operation, got in (("cross_entropy", losses), ("label_gradient", grad[:, 3])):
        judge(got, _truth_losses.by_label(operation, x, np.array([3, 3])), Bound(4))
    np.testing.assert_array_equal((grad != 0).sum(1), 2)
    losses, grad = fs.cross_entropy(x, [3, 8], reduction="none", return_grad=True, backend=backend)
    assert losses[1] == np.inf
    np.testing.assert_array_equal(grad[1, [3, 8]], [1, -1])


@pytest.mark.parametrize("weight", [1e-30, 1e-10, 1e10, 1e30])
@pytest.mark.parametrize("classes", [7, 5000])
@FLOATS
def test_gradients_of_very_small_and_large_weights(backend, rng, weight, classes, dtype):
    x, labels = rng.normal(0, 3, (16, classes)).astype(dtype), rng.integers(classes, size=16)
    weight = dtype(weight)
    options = {"reduction": "none", "return_grad": True, "backend": backend}
    _, grad = fs.cross_entropy(x, labels, weight=np.full(classes, weight), **options)
    _, plain = fs.cross_entropy(x, labels, **options)
    tiny = 2 * np.finfo(dtype).smallest_normal
    np.testing.assert_allclose(grad, plain * weight, rtol=8 * np.finfo(dtype).eps, atol=tiny)


@pytest.mark.parametrize("operation", ["sigmoid", "log_sigmoid", "binary_cross_entropy"])
@pytest.mark.parametrize("scale", SCALES)
@FLOATS
def test_elements(backend, rng, operation, scale, dtype):
    x = (rng.standard_normal((300, 700)) * scale).astype(dtype)
    x[0, :2] = np.inf, -np.inf
    if operation == "binary_cross_entropy":
        targets = (rng.random(x.shape) < 0.5).astype(dtype)
        got = fs.binary_cross_entropy(x, targets, reduction="none", backend=backend)
        expected = _truth_losses.of_elements(operation, x, targets)
    else:
        got = getattr(fs, operation)(x, backend=backend)
        expected = _truth_losses.of_elements(operation, x)
    judge(got, expected, promises(backend)[operation])


@pytest.mark.parametrize("quantity", ["cross_entropy", "label_gradient"])
@pytest.mark.parametrize("classes", [2, 16, 21, 64, 200])
@pytest.mark.parametrize("axis", [0, 1])
@FLOATS
def test_a_search_for_bad_rows(backend, exact, rng, quantity, classes, axis, dtype):
    """Two scores and the label's are changed where that makes a row worse, in lanes that add up."""
    if not exact:
        pytest.skip("the NumPy backend's bound grows with the gap")
    rows = np.arange(300)
    x, labels = (
        rng.normal(-4, 4, (len(rows), classes)).astype(dtype),
        rng.integers(classes, size=300),
    )

    def errors(x):
        given = x if axis else np.ascontiguousarray(x.T)
        options = {"axis": axis, "reduction": "none", "return_grad": True, "backend": backend}
        losses, grad = fs.cross_entropy(given, labels, **options)
        got = losses if quantity == "cross_entropy" else (grad if axis else grad.T)[rows, labels]
        return _truth.ulps(got, _truth_losses.by_label(quantity, x, labels))

    worst = errors(x)
    for _ in range(100):
        first, step = rng.integers(0, classes, len(rows)), rng.choice([1, 4, 8, 16], len(rows))
        changed = x.copy()
        for place in (labels, first, (first + step) % classes):
            changed[rows, place] += rng.normal(0, rng.choice([0.01, 0.3, 3]), len(rows))
        found = errors(changed)
        better = found > worst
        x[better], worst[better] = changed[better], found[better]
    assert worst.max() > 0.5  # it did search
    assert worst.max() <= promises(backend)[quantity].fixed, (x[worst.argmax()], worst.max())


BAD_ROWS = (
    (
        8,
        """
        -0x1.6e7743a7193eap+1 -0x1.6af817bac9cb3p+3 -0x1.3e766892edd9fp+2 -0x1.ad27636eb42d2p+1
        -0x1.cc26d087e2f15p+2 -0x1.73cdde1cd534fp+1 0x1.b6ad59d35dbacp+0 -0x1.5e7bea7ce34a0p+2
        0x1.eda20e1afe609p+2 0x1.5b15722147908p-1 -0x1.0cd514b09614cp+2 -0x1.8d7e5c5b7a604p+2
        0x1.6ce38d8689d70p+2 -0x1.52459619d3bd4p+1 -0x1.40821415145f9p+3 -0x1.7fcec31e4de27p+1
    """,
    ),
    (
        9,
        """
        -0x1.2c93764f91c13p+2 -0x1.d121ebcbda832p+2 -0x1.1101c7afb7b5cp+0 -0x1.222a6cc44cff0p+3
        -0x1.150958278d837p+2 -0x1.31e86c584804bp+1 -0x1.ba7b97d46b2b1p+2 -0x1.661e2c1ef159dp+2
        -0x1.c88627eee20abp+3 0x1.09e6f388635f0p+4 0x1.078c72d213936p+2 -0x1.9dad467056ae7p+2
        -0x1.724da2c0a565cp-1 -0x1.837b9db9b2cc7p+2 -0x1.267cee81dd117p+2 -0x1.63019acc87660p+2
    """,
    ),
    (
        0,
        """
        0x1.796f773395e1ap+3 -0x1.b57f93778382dp+2 -0x1.0e23a23688189p+3 -0x1.d02d88da7cc10p+1
        -0x1.4ae309cd0b02cp+2 -0x1.b96e8fd2bae0dp+2 -0x1.561d396ac3ccfp+1 -0x1.5d3ed9e83a6f4p+3
        -0x1.70bc0ccef43cdp+2 -0x1.06d0c20c76a13p+4 0x1.e84ed4983e1cdp+2 -0x1.17232748f2f67p+3
        -0x1.46addb1dbefbfp+2 0x1.fd988b5ab68f0p-1 -0x1.4872c26da463cp-1 -0x1.47cf1c366191ap+3
    """,
    ),
)
"""Labels, and scores in float64, that such a search has found along the first axis."""


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("quantity", ["cross_entropy", "label_gradient"])
def test_rows_that_were_found(backend, quantity, axis):
    labels = np.array([label for label, _ in BAD_ROWS])
    x = np.array([[float.fromhex(score) for score in row.split()] for _, row in BAD_ROWS])
    given = x if axis else np.ascontiguousarray(x.T)
    options = {"axis": axis, "reduction": "none", "return_grad": True, "backend": backend}
    losses, grad = fs.cross_entropy(given, labels, **options)
    grad = grad if axis else grad.T
    got = losses if quantity == "cross_entropy" else grad[np.arange(len(x)), labels]
    judge(got, _truth_losses.by_label(quantity, x, labels), promises(backend)[quantity])


def test_a_confident_row_keeps_its_digits(backend):
    x = np.float32([[25, 0]])
    loss, grad = fs.cross_entropy(x, [0], return_grad=True, backend=backend)
    assert loss == pytest.approx(np.exp(-25.0), rel=1e-6)
    np.testing.assert_allclose(grad, np.exp(-25.0) * np.array([[-1, 1]]), rtol=1e-6)
    _, soft = fs.cross_entropy(x, [[1.0, 0.0]], return_grad=True, backend=backend)
    np.testing.assert_allclose(soft, grad, rtol=1e-6)
    loss, grad = fs.binary_cross_entropy(x, [[1, 0]], return_grad=True, backend=backend)
    np.testing.assert_allclose(grad, np.array([[-np.exp(-25.0) / 2, 0.25]]), rtol=1e-6)


# Formulas -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@FLOATS
def test_the_formula(backend, rng, axis, soft, smoothing, weighted, dtype):
    x = rng.normal(0, 2, (7, 5, 6)).astype(dtype)
    classes = x.shape[axis]
    weight = rng.uniform(0, 2, classes).astype(dtype) if weighted else None
    rows = np.moveaxis(x, axis, -1)
    indices = rng.integers(classes, size=rows.shape[:-1])
    t = rng.dirichlet(np.ones(classes), rows.shape[:-1]) if soft else onehot(indices, classes)
    labels = np.moveaxis(t, -1, axis).astype(dtype) if soft else indices
    t = t.astype(dtype) * (1 - smoothing) + smoothing / classes
    wanted, slope = formula(rows, t, 1 if weight is None else weight)
    counts = np.ones(len(wanted.ravel())) if soft or weight is None else weight[indices]
    for reduction in ("none", "sum", "mean"):
        divisor = counts.sum(dtype=float) if reduction == "mean" else 1
        loss, grad = fs.cross_entropy(
            *(x, labels),
            **{"axis": axis, "weight": weight, "label_smoothing": smoothing},
            **{"reduction": reduction, "return_grad": True, "backend": backend},
        )
        close(loss, wanted if reduction == "none" else wanted.sum() / divisor, dtype)
        close(grad, np.moveaxis(slope, -1, axis) / divisor, dtype)
        assert grad.dtype == loss.dtype == dtype


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"weight": [1, 2, 0.5, 3]}])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("soft", [False, True])
def test_gradients_are_those_of_differences(backend, rng, options, reduction, soft):
    x = rng.normal(size=(5, 4))
    labels = rng.dirichlet(np.ones(4), 5) if soft else np.array([0, 3, -100, 1, 1])
    options = {**options, "reduction": reduction, "backend": backend}
    _, grad = fs.cross_entropy(x, labels, return_grad=True, **options)
    slope = by_differences(lambda x: fs.cross_entropy(x, labels, **options), x)
    np.testing.assert_allclose(grad, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_binary_gradients_are_those_of_differences(backend, rng, reduction):
    x, targets = rng.normal(size=(5, 4)), rng.random((5, 4))
    options = {"weight": rng.random((5, 1)), "pos_weight": rng.random(4), "reduction": reduction}
    _, grad = fs.binary_cross_entropy(x, targets, return_grad=True, backend=backend, **options)
    slope = by_differences(
        lambda x: fs.binary_cross_entropy(x, targets, backend=backend, **options), x
    )
    np.testing.assert_allclose(grad, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, -1, (0, 1), None])
def test_backward_is_that_of_differences(backend, rng, name, axis):
    x, dy = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    forward = getattr(fs, name)
    got = getattr(fs, f"{name}_backward")(dy, forward(x, axis), axis, backend=backend)
    slope = by_differences(lambda x: float((dy * forward(x, axis)).sum()), x)
    np.testing.assert_allclose(got, slope, rtol=1e-6, atol=1e-8)


def test_backward_of_many_rows_in_either_order(backend, rng):
    y = fs.softmax(rng.normal(size=(700, 900)))
    dy = rng.normal(size=y.shape)
    for axis in (0, 1):
        wanted = y * (dy - (dy * y).sum(axis, keepdims=True))
        for out in (None, dy.copy(), y.copy()):
            a, b = (out if out is not None and (out == z).all() else z for z in (dy, y))
            got = fs.softmax_backward(a, b, axis, out=out, backend=backend)
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-14)


def test_nll_loss_is_the_rest_of_cross_entropy(backend, rng):
    x, weight = rng.normal(0, 3, (40, 6)), rng.random(6)
    labels = rng.integers(-1, 6, 40)
    for reduction in ("none", "sum", "mean"):
        options = {"weight": weight, "ignore_index": -1, "reduction": reduction, "backend": backend}
        got = fs.nll_loss(fs.log_softmax(x), labels, **options)
        close(got, fs.cross_entropy(x, labels, **options))
    assert not np.signbit(fs.nll_loss([[0.0, -np.inf]], [0], backend=backend))
    assert fs.nll_loss([[0.0, -np.inf]], [1], backend=backend) == np.inf


def test_many_blocks_give_what_single_rows_give(backend, rng):
    x = rng.normal(0, 5, (3000, 100)).astype(np.float32)
    labels = rng.integers(100, size=3000)
    together = fs.cross_entropy(x, labels, reduction="none", return_grad=True, backend=backend)
    for i in rng.integers(3000, size=20):
        alone = fs.cross_entropy(x[i], labels[i], return_grad=True, backend=backend)
        close(together[0][i], alone[0], np.float32)
        close(together[1][i], alone[1], np.float32)


# Options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}])
@pytest.mark.parametrize("ignored", [-100, 2, 1000])
def test_ignored_rows_do_not_count(backend, rng, options, ignored):
    x = rng.normal(size=(6, 4))
    x[1], x[4, 2] = np.nan, np.inf
    labels = np.array([0, ignored, 3, 1, ignored, 0])
    kept = labels != ignored
    options = {**options, "return_grad": True, "backend": backend}
    loss, grad = fs.cross_entropy(x, labels, ignore_index=ignored, **options)
    wanted, slope = fs.cross_entropy(x[kept], labels[kept], **options)
    assert loss == wanted
    np.testing.assert_array_equal(grad[kept], slope)
    np.testing.assert_array_equal(grad[~kept], 0)
    losses, _ = fs.cross_entropy(x, labels, ignore_index=ignored, reduction="none", **options)
    np.testing.assert_array_equal(losses[~kept], 0)


def test_no_row_that_counts(backend):
    x, labels = np.ones((2, 3)), [-100, -100]
    loss, grad = fs.cross_entropy(x, labels, return_grad=True, backend=backend)
    assert np.isnan(loss)
    np.testing.assert_array_equal(grad, 0)
    assert fs.cross_entropy(x, labels, on_empty="zero", backend=backend) == 0
    assert fs.cross_entropy(x, labels, reduction="sum", backend=backend) == 0
    assert np.isnan(fs.cross_entropy(np.ones((0, 3)), np.ones(0, int), backend=backend))
    assert fs.cross_entropy(np.ones((0, 3)), np.ones(0, int), reduction="sum", backend=backend) == 0
    assert np.isnan(fs.binary_cross_entropy([], [], backend=backend))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"weight": np.arange(1.0, 7)}])
@pytest.mark.parametrize("soft", [False, True])
def test_classes_left_out_take_no_part(backend, rng, options, soft):
    x = rng.normal(size=(5, 6))
    where = np.array([1, 1, 0, 1, 0, 1], bool)
    hidden = np.where(where, x, [np.nan, 0, np.inf, 0, np.nan, 0])
    labels = np.array([0, 1, 3, 5, 5])
    fewer = np.array([0, 1, 2, 3, 3])
    given, wanted_labels = (onehot(labels, 6), onehot(fewer, 4)) if soft else (labels, fewer)
    inner = {k: v[where] if k == "weight" else v for k, v in options.items()}
    loss, grad = fs.cross_entropy(
        hidden, given, where=where, return_grad=True, backend=backend, **options
    )
    wanted, slope = fs.cross_entropy(
        x[:, where], wanted_labels, return_grad=True, backend=backend, **inner
    )
    close(loss, wanted)
    close(grad[:, where], slope)
    np.testing.assert_array_equal(grad[:, ~where], 0)


def test_labels_left_out(backend):
    losses, grad = fs.cross_entropy(
        np.zeros((3, 2)),
        [0, 1, 1],
        where=[[True, True], [True, False], [False, False]],
        reduction="none",
        return_grad=True,
        backend=backend,
    )
    close(losses, [np.log(2), np.inf, np.inf])
    np.testing.assert_array_equal(grad, [[-0.5, 0.5], [1, 0], [0, 0]])


def test_probabilities_of_0_on_infinite_logits(backend):
    x = [[0.0, -np.inf, 0.0]]
    for labels in ([[0.5, 0.0, 0.5]], [0]):
        loss, grad = fs.cross_entropy(x, labels, return_grad=True, backend=backend)
        close(loss, np.log(2))
        assert np.isfinite(grad).all()
    for labels in ([[0.5, 0.5, 0.0]], [1]):
        assert fs.cross_entropy(x, labels, backend=backend) == np.inf
    weight = [1.0, 0.0, 1.0]
    assert fs.cross_entropy(x, [1], weight=weight, reduction="sum", backend=backend) == 0
    smooth = fs.cross_entropy(x, [0], weight=weight, label_smoothing=0.3, backend=backend)
    close(smooth, np.log(2) * (0.7 + 0.2))


@pytest.mark.parametrize("row", [[np.nan, 0], [np.inf, 0], [-np.inf, -np.inf]])
def test_rows_without_a_result_are_nan_and_alone(backend, row):
    x = np.array([[1.0, 2.0], row, [3.0, 4.0]])
    losses, grad = fs.cross_entropy(
        x, [0, 1, 1], reduction="none", return_grad=True, backend=backend
    )
    np.testing.assert_array_equal(np.isnan(losses), [False, True, False])
    np.testing.assert_array_equal(np.isnan(grad).any(1), [False, True, False])


def test_infinite_logits_of_binary_losses(backend):
    x, targets = [np.inf, -np.inf, np.inf, -np.inf], [True, False, False, True]
    losses, grad = fs.binary_cross_entropy(
        x, targets, reduction="none", return_grad=True, backend=backend
    )
    np.testing.assert_array_equal(losses, [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(grad, [0, 0, 1, -1])


def test_a_sum_beyond_all_numbers_is_infinite(backend):
    x = np.zeros(400_000)
    x[::70_000] = 1e308
    assert fs.binary_cross_entropy(x, np.zeros(x.size), reduction="sum", backend=backend) == np.inf


# Types, memory ------------------------------------------------------------------------------------


@HALVES
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
def test_halves_are_computed_in_float32(backend, rng, dtype, options):
    x, labels = rng.normal(0, 3, (30, 20)).astype(dtype), rng.integers(20, size=30)
    options = {**options, "reduction": "none", "return_grad": True, "backend": backend}
    got = fs.cross_entropy(x, labels, **options)
    wide = fs.cross_entropy(x.astype(np.float32), labels, **options)
    for half, single in zip(got, wide, strict=True):
        assert half.dtype == dtype
        np.testing.assert_array_equal(half, single.astype(dtype))


@pytest.mark.parametrize("shape", [(3000, 33), (300, 1000), (3, 70_001)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_any_number_of_threads_gives_the_same_bits(backend, rng, shape, dtype):
    x, dy = rng.normal(0, 5, shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    labels, targets = rng.integers(shape[1], size=shape[0]), rng.random(shape) < 0.9
    full = {"return_grad": True, "backend": backend}
    calls = (
        lambda n: (fs.nll_loss(x, labels, backend=backend, threads=n),),
        lambda n: (fs.nll_loss(x.T, labels, axis=0, backend=backend, threads=n),),
        lambda n: fs.binary_cross_entropy(x, targets, threads=n, **full),
        lambda n: (fs.sigmoid(x, backend=backend, threads=n),),
        lambda n: (fs.log_sigmoid(x, backend=backend, threads=n),),
        lambda n: (fs.softmax_backward(dy, x, backend=backend, threads=n),),
        lambda n: (fs.log_softmax_backward(dy, x, backend=backend, threads=n),),
    )
    for call in calls:
        wanted = [result.tobytes() for result in call(1)]
        for threads in (2, 5):
            assert [result.tobytes() for result in call(threads)] == wanted


def test_integers_are_float64(backend):
    loss, grad = fs.cross_entropy([[2, 1], [0, 3]], [0, 1], return_grad=True, backend=backend)
    assert loss.dtype == grad.dtype == np.float64
    assert fs.sigmoid([0, 1], backend=backend).dtype == np.float64


def test_backward_promotes(backend):
    y = fs.softmax(np.zeros((2, 3), np.float16))
    assert fs.softmax_backward(y, y, backend=backend).dtype == np.float16
    assert fs.softmax_backward(y.astype(np.float32), y, backend=backend).dtype == np.float32
    assert fs.softmax_backward(np.zeros((2, 3)), y, backend=backend).dtype == np.float64
    brain = y.astype(ml_dtypes.bfloat16)
    assert fs.log_softmax_backward(brain, y, backend=backend).dtype == np.float32


@pytest.mark.parametrize("code", INTEGERS)
def test_labels_of_every_integer_type(backend, rng, code):
    x, labels = rng.normal(size=(50, 120)), rng.integers(120, size=50)
    got = fs.cross_entropy(x, labels.astype(code), backend=backend)
    assert got == fs.cross_entropy(x, labels, backend=backend)
    strided = np.repeat(labels.astype(code), 3)[::3]
    assert got == fs.cross_entropy(x, strided, backend=backend)


@pytest.mark.parametrize("soft", [False, True])
def test_the_gradient_may_replace_the_logits_or_overlap_anything(backend, rng, soft):
    x = rng.normal(size=(40, 10))
    labels = rng.dirichlet(np.ones(10), 40) if soft else rng.integers(10, size=40)
    loss, grad = fs.cross_entropy(x, labels, return_grad=True, backend=backend)

    def again(logits, labels, out):
        got = fs.cross_entropy(logits, labels, return_grad=True, grad_out=out, backend=backend)
        assert got[1] is out
        assert got[0] == loss
        np.testing.assert_array_equal(out, grad)

    again(own := x.copy(), labels, own)
    again(x, labels, np.empty((10, 40)).T)
    buffer = np.empty(401)
    shifted = buffer[:400].reshape(40, 10)
    shifted[...] = x
    again(shifted, labels, buffer[1:].reshape(40, 10))
    if soft:
        again(x, own := labels.copy(), own)


@FLOATS
def test_no_result_takes_memory_of_the_logits_size(backend, rng, dtype):
    x = rng.normal(size=(20_000, 100)).astype(dtype)
    labels = rng.integers(100, size=len(x))
    tracemalloc.start()
    try:
        fs.cross_entropy(x, labels, backend=backend)
        fs.cross_entropy(x.T, labels, axis=0, backend=backend)
        fs.binary_cross_entropy(x, x, backend=backend)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes
    finally:
        tracemalloc.stop()


def test_no_warnings_and_scalars(backend):
    for got in (
        fs.sigmoid(np.float32(0), backend=backend),
        fs.cross_entropy([1.0, 2.0], 1, backend=backend),
        fs.cross_entropy([1.0, 2.0], 1, reduction="none", backend=backend),
        fs.binary_cross_entropy(0.0, 1, reduction="none", backend=backend),
        fs.softmax_backward(1.0, 1.0, backend=backend),
        fs.cross_entropy(np.full((9, 2), 6e4, np.float16) * [1, -1], [1] * 9, reduction="sum"),
    ):
        assert isinstance(got, np.generic)


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        *(("b", -1), ("b", 100), ("B", 255), ("h", 300), ("i", -99), ("I", 2**32 - 100)),
        *(("q", -(2**63)), ("q", 2**40), ("Q", 2**64 - 100), ("Q", 2**63), ("Q", 2**64 - 1)),
    ],
)
def test_labels_out_of_range(backend, code, bad):
    x, labels = np.ones((2, 4, 100)), np.zeros((2, 4), code)
    labels[1, 2] = bad
    before = x.copy()
    for call in (
        lambda: fs.cross_entropy(x, labels, return_grad=True, grad_out=x, backend=backend),
        lambda: fs.nll_loss(x, labels, backend=backend),
    ):
        with pytest.raises(IndexError, match=rf"row \(1, 2\) has label {bad}, .*\(100 of them\)"):
            call()
    np.testing.assert_array_equal(x, before)
    options = {"check_labels": False, "return_grad": True, "backend": backend}
    losses, grad = fs.cross_entropy(x, labels, reduction="none", **options)
    np.testing.assert_array_equal(np.isnan(losses), labels != 0)
    np.testing.assert_array_equal(grad[1, 2], 0)
    assert np.isfinite(grad).all()


def test_every_number_of_a_small_type_may_be_a_class(backend):
    x = np.eye(300) * 50
    labels = np.arange(256, dtype=np.uint8)
    assert fs.cross_entropy(x[:256], labels, backend=backend) < 1e-15
    assert fs.cross_entropy(x[:128], np.arange(128, dtype=np.int8), backend=backend) < 1e-15
    with pytest.raises(IndexError, match="row 0 has label -1"):
        fs.cross_entropy(x[:1], np.int8([-1]), ignore_index=None, backend=backend)
    with pytest.raises(IndexError, match="there are no classes"):
        fs.cross_entropy(np.ones((1, 0)), [0], backend=backend)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"labels": [0.0, 1.0]}, TypeError, "labels has dtype float64; class indices"),
        ({"labels": [True, False]}, TypeError, "labels has dtype bool"),
        ({"labels": [0]}, ValueError, r"labels has shape \(1,\)"),
        ({"labels": [[0], [1]]}, ValueError, r"labels has shape \(2, 1\)"),
        ({"labels": [[1j, 0, 0]] * 2}, TypeError, "labels has dtype complex"),
        ({"logits": np.ones(())}, np.exceptions.AxisError, "dimension 0"),
        ({"logits": [["a"] * 3] * 2}, TypeError, "logits has dtype"),
        ({"axis": (0, 1)}, TypeError, "axis must be an int"),
        ({"axis": None}, TypeError, "axis must be an int"),
        ({"axis": 2}, np.exceptions.AxisError, "axis 2"),
        ({"weight": [1.0, 1.0]}, ValueError, r"weight has shape \(2,\)"),
        ({"weight": [1.0, -2.0, 1.0]}, ValueError, r"weight\[1\] is -2"),
        ({"weight": [1.0, 1.0, np.nan]}, ValueError, r"weight\[2\] is nan"),
        ({"label_smoothing": -0.1}, ValueError, "label_smoothing must be from 0 to 1, not -0.1"),
        ({"label_smoothing": 1.5}, ValueError, "not 1.5"),
        ({"label_smoothing": np.nan}, ValueError, "not nan"),
        ({"label_smoothing": "0.1"}, ValueError, "not '0.1'"),
        ({"label_smoothing": [0.1, 0.2]}, ValueError, "label_smoothing must be"),
        ({"reduction": "avg"}, ValueError, "reduction must be one of .*'avg'"),
        ({"on_empty": 0}, ValueError, "on_empty must be one of"),
        ({"ignore_index": 1.5}, TypeError, "ignore_index must be an int or None, not 1.5"),
        ({"where": [1, 0, 1]}, TypeError, "where must be of bool"),
        ({"where": [True] * 4}, ValueError, "does not broadcast to logits's shape"),
        ({"grad_out": np.ones((2, 3))}, ValueError, "grad_out is given"),
        ({"grad_out": np.ones(3), "return_grad": True}, ValueError, "grad_out has shape"),
        ({"grad_out": [1], "return_grad": True}, TypeError, "grad_out must be a NumPy array"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(backend, options, error, text):
    given = {"logits": np.ones((2, 3)), "labels": [0, 1], "backend": backend, **options}
    with pytest.raises(error, match=text):
        fs.cross_entropy(given.pop("logits"), given.pop("labels"), **given)


def test_other_refusals(backend):
    with pytest.raises(ValueError, match="nothing is broadcast"):
        fs.binary_cross_entropy(np.ones((2, 3)), np.ones(3), backend=backend)
    with pytest.raises(ValueError, match="pos_weight has shape"):
        fs.binary_cross_entropy(
            np.ones((2, 3)), np.ones((2, 3)), pos_weight=[1, 2], backend=backend
        )
    with pytest.raises(ValueError, match="grad_output has shape"):
        fs.softmax_backward(np.ones(3), np.ones((2, 3)), backend=backend)
    with pytest.raises(ValueError, match="out has dtype"):
        fs.softmax_backward(np.ones(3), np.ones(3), out=np.ones(3, np.float32), backend=backend)
    with pytest.raises(ValueError, match="labels has shape"):
        fs.nll_loss(np.ones((2, 3)), np.ones((2, 3)), backend=backend)
