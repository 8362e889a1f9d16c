"""Losses and gradients: the same bits however their arrays lie and the work is dealt out.

As `test_determinism` has it for softmax: the NumPy backend promises this for threads only. What
losses are by their formulas is `test_losses`.
"""

from itertools import pairwise
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs

TYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
FLOATS = pytest.mark.parametrize("dtype", TYPES)
AXES = pytest.mark.parametrize("axis", [0, 1])
KINDS = ("labels", "weight", "smoothing", "probabilities", "where")
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
OFFSETS = (0, 1, 4, 36, 56)
"""Bytes from the start of a line of the caches."""


class Rows(NamedTuple):
    """Rows of logits, each with its label or probabilities and its mask, and a weight per class."""

    x: np.ndarray
    labels: np.ndarray
    where: np.ndarray | None = None
    weight: np.ndarray | None = None
    label_smoothing: float = 0.0

    def at(self, rows):
        """Some of the rows, as views."""
        where = None if self.where is None else self.where[rows]
        return self._replace(x=self.x[rows], labels=self.labels[rows], where=where)

    def side_by_side(self):
        """The same numbers with rows that lie side by side in memory."""
        columns = [None if a is None else np.asfortranarray(a) for a in self[:3]]
        return Rows(*columns, *self[3:])

    def along(self, axis, **options):
        """Each row's loss, and the gradient row by row, of calls with the classes on that axis."""
        turned = [a if a is None or axis else a.T for a in self[:3]]
        x, labels, where = turned
        given = {"reduction": "none", "return_grad": True, **options}
        given |= {"weight": self.weight, "label_smoothing": self.label_smoothing}
        losses, grad = fs.cross_entropy(x, labels, axis=axis, where=where, **given)
        return losses, grad if axis else grad.T


def rows_of(rng, kind, rows, classes, dtype, scale=5):
    """Random rows for the cross-entropy in one of its kinds."""
    x = rng.normal(0, scale, (rows, classes)).astype(dtype)
    labels = rng.integers(classes, size=rows)
    labels[rng.random(rows) < 0.1] = -100
    made = Rows(x, labels)
    if kind == "probabilities":
        return made._replace(labels=rng.dirichlet(np.ones(classes), rows).astype(dtype))
    if kind == "where":
        return made._replace(where=rng.random(x.shape) < 0.8)
    if kind == "weight":
        return made._replace(weight=rng.uniform(0, 2, classes))
    return made._replace(label_smoothing=0.1 if kind == "smoothing" else 0.0)


def placed(rows, axis):
    return rows if axis else rows.side_by_side()


def same(got, wanted):
    """The same bits, but for a NaN's sign."""
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        one, other = np.atleast_1d(one), np.atleast_1d(other)
        bits = np.dtype(f"u{one.dtype.itemsize}")
        different = np.ascontiguousarray(one).view(bits) != np.ascontiguousarray(other).view(bits)
        different &= ~(np.isnan(one) & np.isnan(other))
        assert not different.any(), (one[different][:4], other[different][:4])


def moved(x, offset, order="C"):
    """The array so many bytes from the start of a line of the caches."""
    memory = np.zeros(x.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    there = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape, order=order)
    there[...] = x
    return there


def backwards(x):
    """The array with its rows in memory from the last to the first."""
    return x[::-1].copy()[::-1]


@pytest.fixture
def fixed(backend, exact):
    """A backend whose bits are promised."""
    if not exact:
        pytest.skip("the NumPy backend does not promise these bits")
    return backend


# Cross-entropy: batches, threads ------------------------------------------------------------------


@EACH_KIND
@AXES
@pytest.mark.parametrize("shape", [(3, 70_001), (100, 1000), (3000, 33)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_any_number_of_threads(backend, rng, kind, axis, shape, dtype):
    given = placed(rows_of(rng, kind, *shape, dtype), axis)
    for reduction in ("none", "mean"):
        options = {"reduction": reduction, "backend": backend}
        wanted = given.along(axis, threads=1, **options)
        for threads in (2, 5):
            same(given.along(axis, threads=threads, **options), wanted)


@EACH_KIND
@AXES
@pytest.mark.parametrize("classes", [1, 2, 16, 33, 100, 1000, 4097, 40_000])
@FLOATS
def test_a_row_alone_or_in_a_batch(fixed, rng, kind, axis, classes, dtype):
    rows = max(3, min(69, 200_000 // classes))
    given = placed(rows_of(rng, kind, rows, classes, dtype), axis)
    together = given.along(axis, backend=fixed)
    for first in {0, 1, rows // 2, rows - 2}:
        for count in (1, 2):
            some = slice(first, first + count)
            got = given.at(some).along(axis, backend=fixed)
            same(got, [result[some] for result in together])


@pytest.mark.parametrize("kind", ["labels", "smoothing", "where"])
@AXES
@FLOATS
def test_rows_at_the_edges_of_vectors(fixed, rng, kind, axis, dtype):
    """Few rows of few classes, as single rows give them, some without a result."""
    for classes in rng.choice(np.arange(1, 71), 12, replace=False):
        rows, scale = int(rng.integers(1, 71)), rng.choice([1, 10, 100])
        given = rows_of(rng, kind, rows, classes, dtype, scale)
        place = rng.integers(rows), rng.integers(classes)
        given.x[place] = rng.choice([-np.inf, np.inf, np.nan, 6e4])
        given = placed(given, axis)
        together = given.along(axis, backend=fixed)
        for row in range(rows):
            some = slice(row, row + 1)
            same(given.at(some).along(axis, backend=fixed), [r[some] for r in together])


@EACH_KIND
@FLOATS
def test_a_class_axis_in_the_middle(fixed, rng, kind, dtype):
    """Scores of an image's places, as a network for segmentation has them."""
    shape, axis = (2, 21, 16, 17), 1
    flat = rows_of(rng, kind, 2 * 16 * 17, 21, dtype)
    soft = kind == "probabilities"

    def image(a):
        return np.moveaxis(a.reshape(2, 16, 17, -1), -1, 1).copy()

    losses, grad = fs.cross_entropy(
        image(flat.x),
        image(flat.labels) if soft else flat.labels.reshape(2, 16, 17),
        axis=axis,
        where=None if flat.where is None else image(flat.where),
        weight=flat.weight,
        label_smoothing=flat.label_smoothing,
        reduction="none",
        return_grad=True,
        backend=fixed,
    )
    assert grad.shape == shape
    got = losses.ravel(), np.moveaxis(grad, 1, -1).reshape(-1, 21)
    same(got, flat.side_by_side().along(0, backend=fixed))


@pytest.mark.parametrize("kind", ["labels", "smoothing", "probabilities"])
@AXES
@pytest.mark.parametrize("shape", [(69, 9), (33, 100), (40, 1000), (5, 30_000)])
@FLOATS
def test_rows_without_a_result_leave_others_alone(fixed, rng, kind, axis, shape, dtype):
    sound = rows_of(rng, kind, *shape, dtype)
    spoilt = sound._replace(x=sound.x.copy(), labels=sound.labels.copy())
    bad = np.unique(rng.choice(shape[0], shape[0] // 4, replace=False))
    if sound.labels.ndim == 1:
        spoilt.labels[bad] = rng.integers(shape[1], size=len(bad))
    for row in bad:
        place = int(rng.integers(shape[1]))
        how = rng.integers(3)
        spoilt.x[row, place if how < 2 else slice(None)] = (np.nan, np.inf, -np.inf)[how]
    wanted = placed(sound, axis).along(axis, backend=fixed)
    got = placed(spoilt, axis).along(axis, backend=fixed)
    others = np.delete(np.arange(shape[0]), bad)
    same([r[others] for r in got], [r[others] for r in wanted])
    assert np.isnan(got[0][bad]).all()
    assert np.isnan(got[1][bad]).all()


@pytest.mark.parametrize("kind", ["labels", "weight", "smoothing", "where"])
@AXES
@pytest.mark.parametrize("shape", [(69, 9), (33, 100), (40, 1000), (5, 30_000)])
@FLOATS
def test_ignored_rows_may_hold_anything(backend, rng, kind, axis, shape, dtype):
    given = rows_of(rng, kind, *shape, dtype)
    given.labels[::3] = -100
    given.labels[1:3] = 0, 7  # a row alone would be contiguous in any layout: another order of sums
    ignored = given.labels == -100
    given.x[ignored] = rng.choice([np.nan, np.inf, -np.inf, 3.0], (ignored.sum(), shape[1]))
    given.x[0] = np.nan
    given = placed(given, axis)
    losses, grad = given.along(axis, backend=backend)
    assert (losses[ignored] == 0).all()
    assert (grad[ignored] == 0).all()
    kept = given.at(~ignored)
    mean, slope = given.along(axis, reduction="mean", backend=backend)
    wanted, of_kept = placed(kept, axis).along(axis, reduction="mean", backend=backend)
    if backend != "numpy":
        same((losses[~ignored], grad[~ignored]), placed(kept, axis).along(axis, backend=backend))
        same([slope[~ignored]], [of_kept])
    if backend.startswith("cpp"):  # which rounds a sum once, whatever the order of its terms
        same([mean], [wanted])
    eps = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(np.float64(mean), np.float64(wanted), rtol=4 * eps)
    assert (slope[ignored] == 0).all()


# Cross-entropy: memory ----------------------------------------------------------------------------


@EACH_KIND
@AXES
@pytest.mark.parametrize("classes", [1, 16, 33, 1000, 20_001])
@FLOATS
def test_any_alignment(fixed, rng, kind, axis, classes, dtype):
    given = placed(rows_of(rng, kind, 3, classes, dtype), axis)
    wanted = given.along(axis, backend=fixed)
    order = "C" if axis else "F"
    for offset in OFFSETS:
        there = given._replace(
            x=moved(given.x, offset, order),
            labels=moved(given.labels, offset, order),
            where=None if given.where is None else moved(given.where, offset, order),
        )
        same(there.along(axis, backend=fixed), wanted)
        own = np.zeros_like(there.x)
        out = moved(own, offset, order)
        turned = out if axis else out.T
        got = given.along(axis, grad_out=turned, backend=fixed)
        assert np.shares_memory(got[1], out)
        same(got, wanted)
        into = there.x if axis else there.x.T
        same(there.along(axis, grad_out=into, backend=fixed), wanted)


@EACH_KIND
@AXES
@pytest.mark.parametrize("shape", [(500, 10), (40, 1000), (1, 200_000), (3, 140_000)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_any_place_for_the_gradient(fixed, rng, kind, axis, shape, dtype):
    """Rows longer than what is kept of them between two readings, too."""
    given = placed(rows_of(rng, kind, *shape, dtype), axis)
    wanted = given.along(axis, backend=fixed)
    x = given.x if axis else given.x.T
    for step in (3, -1):
        out = np.zeros((*x.shape[:-1], abs(step) * x.shape[-1]), dtype)[..., ::step]
        same(given.along(axis, grad_out=out, backend=fixed), wanted)
    same(given.along(axis, grad_out=np.zeros_like(x, order="F"), backend=fixed), wanted)
    same(given.along(axis, grad_out=x, backend=fixed), wanted)


@EACH_KIND
@AXES
@pytest.mark.parametrize("shape", [(69, 3), (40, 1000), (3, 140_000)])
@FLOATS
def test_losses_do_not_depend_on_the_gradient(fixed, rng, kind, axis, shape, dtype):
    given = placed(rows_of(rng, kind, *shape, dtype), axis)
    x, labels, where = (a if a is None or axis else a.T for a in given[:3])
    options = {"axis": axis, "where": where, "weight": given.weight, "backend": fixed}
    options["label_smoothing"] = given.label_smoothing
    for reduction in ("none", "mean", "sum"):
        losses = fs.cross_entropy(x, labels, reduction=reduction, **options)
        same([losses], given.along(axis, reduction=reduction, backend=fixed)[:1])


@EACH_KIND
@AXES
@pytest.mark.parametrize("shape", [(69, 3), (500, 10), (40, 1000), (77, 65), (3, 70_000)])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_types_are_the_rounding_of_float32(fixed, rng, kind, axis, shape, dtype):
    given = placed(rows_of(rng, kind, *shape, dtype), axis)
    wide = given._replace(x=given.x.astype(np.float32))
    got = given.along(axis, backend=fixed)
    same(got, [result.astype(dtype) for result in wide.along(axis, backend=fixed)])


@EACH_KIND
@pytest.mark.parametrize("step", [2, -1])
@FLOATS
def test_classes_with_steps_between_them(fixed, rng, kind, step, dtype):
    """A class axis that is not contiguous gives the same bits wherever it lies."""
    given = rows_of(rng, kind, 37, 130, dtype)
    wanted = given.side_by_side().along(0, backend=fixed)
    spread = np.zeros((37, 130 * abs(step)), dtype)[:, ::step]
    spread[...] = given.x
    same(given._replace(x=spread).along(1, backend=fixed), wanted)


@pytest.mark.parametrize(
    ("kind", "shape", "axis"),
    [
        *(
            ("labels", (9000, 1000), 1),
            ("labels", (140_000, 64), 1),
            ("smoothing", (9000, 1000), 1),
        ),
        *(("labels", (9000, 1000), 0), ("labels", (900_000, 10), 0)),
    ],
)
def test_gradients_past_the_caches(fixed, rng, kind, shape, axis):
    """Of 36 MB, at the start of a line of the caches and elsewhere; those of its parts are not."""
    given = placed(rows_of(rng, kind, *shape, np.float32), axis)
    ends = np.linspace(0, shape[0], 19, dtype=int)
    parts = [given.at(slice(*pair)).along(axis, backend=fixed) for pair in pairwise(ends)]
    wanted = [np.concatenate(results) for results in zip(*parts, strict=True)]
    for offset in (0, 36):
        memory = np.zeros(given.x.nbytes + 128, np.uint8)
        start = -memory.ctypes.data % 64 + offset
        out = memory[start : start + given.x.nbytes].view(np.float32)
        out = out.reshape(shape if axis else shape[::-1])
        same(given.along(axis, grad_out=out, backend=fixed), wanted)
        assert not memory[:start].any()
        assert not memory[start + out.nbytes :].any()
    into = given.x if axis else given.x.T
    same(given.along(axis, grad_out=into, backend=fixed), wanted)


# The other operations -----------------------------------------------------------------------------


def element_calls(rng, shape, dtype, backend):
    """Operations of independent elements: from parts of their arrays and a place to results."""
    x, t = rng.normal(0, 8, shape).astype(dtype), rng.random(shape).astype(dtype)
    weight, factor = rng.random(shape), rng.random(shape) * 3

    def binary(**weights):
        def run(place, move, threads=1):
            a, b = move(x[place]), move(t[place])
            given = {name: w[place] for name, w in weights.items()}
            given |= {"backend": backend, "threads": threads}
            both = fs.binary_cross_entropy(a, b, reduction="none", return_grad=True, **given)
            alone = fs.binary_cross_entropy(a, b, reduction="none", **given)
            same([alone], both[:1])
            into = move(x[place])
            again = fs.binary_cross_entropy(
                into, b, reduction="none", return_grad=True, grad_out=into, **given
            )
            same(again, both)
            return both

        return run

    def plain(function):
        def run(place, move, threads=1):
            a = move(x[place])
            got = function(a, backend=backend, threads=threads)
            into = function(a, out=a, backend=backend, threads=threads)
            assert into is a
            same([into], [got])
            return [got]

        return run

    return {
        "binary": binary(),
        "weighted": binary(weight=weight, pos_weight=factor),
        "sigmoid": plain(fs.sigmoid),
        "log_sigmoid": plain(fs.log_sigmoid),
    }


@pytest.mark.parametrize("name", ["binary", "weighted", "sigmoid", "log_sigmoid"])
@pytest.mark.parametrize("shape", [(1, 7), (3, 1000), (37, 129), (5, 70_001)])
@FLOATS
def test_elements_wherever_they_lie(fixed, rng, name, shape, dtype):
    run = element_calls(rng, shape, dtype, fixed)[name]
    wanted = run(..., np.array)
    for threads in (2, 5):
        same(run(..., np.array, threads), wanted)
    for offset in OFFSETS:
        same(run(..., lambda a, by=offset: moved(a, by)), wanted)
    layouts = (lambda a: np.array(a, order="F"), lambda a: np.repeat(a, 3, -1)[..., ::3], backwards)
    for layout in layouts:
        same(run(..., layout), wanted)
    for place in (np.s_[:1, :1], np.s_[-1:, 1:], np.s_[:, ::2], np.s_[:, -3:]):
        same(run(place, np.array), [r[place] for r in wanted])


@pytest.mark.parametrize("function", [fs.softmax_backward, fs.log_softmax_backward])
@AXES
@pytest.mark.parametrize("shape", [(69, 3), (500, 10), (40, 1000), (77, 65), (3, 140_000)])
@FLOATS
def test_backward_wherever_it_lies(fixed, rng, function, axis, shape, dtype):
    forward = fs.softmax if function is fs.softmax_backward else fs.log_softmax
    y = forward(rng.normal(0, 3, shape).astype(dtype))
    dy = rng.normal(size=shape).astype(dtype)
    order = "C" if axis else "F"
    dy, y = np.asarray(dy, order=order), np.asarray(y, order=order)

    def run(dy, y, out=None, threads=1):
        turned = [a if a is None or axis else a.T for a in (dy, y, out)]
        got = function(*turned[:2], axis, out=turned[2], backend=fixed, threads=threads)
        return [got if axis else got.T]

    wanted = run(dy, y)
    for threads in (2, 5):
        same(run(dy, y, threads=threads), wanted)
    for row in (0, 1, shape[0] - 1):
        some = slice(row, row + 1)
        same(run(dy[some], y[some]), [r[some] for r in wanted])
    for offset in OFFSETS:
        a, b = moved(dy, offset, order), moved(y, offset, order)
        same(run(a, b), wanted)
        same(run(dy, y, moved(np.zeros_like(y), offset, order)), wanted)
        same(run(a.copy(order), b, b), wanted)
        same(run(a, y, a), wanted)
    if dtype not in (np.float32, np.float64):
        wide = run(dy.astype(np.float32), y.astype(np.float32))
        same(wanted, [r.astype(dtype) for r in wide])


@AXES
@pytest.mark.parametrize("shape", [(69, 3), (500, 10), (40, 1000), (3, 140_000)])
@FLOATS
def test_labels_pick_the_same_log_probability_anywhere(fixed, rng, axis, shape, dtype):
    given = placed(rows_of(rng, "labels", *shape, dtype), axis)
    weight = rng.uniform(0, 2, shape[1])

    def run(x, labels, threads=1):
        given = {"axis": axis, "weight": weight, "reduction": "none", "backend": fixed}
        return fs.nll_loss(x if axis else x.T, labels, threads=threads, **given)

    wanted = run(given.x, given.labels)
    kept = given.labels != -100
    own = given.x[np.arange(shape[0]), np.where(kept, given.labels, 0)]
    wide = np.float64 if dtype == np.float64 else np.float32
    factors = weight.astype(wide)[np.where(kept, given.labels, 0)]
    same([wanted], [np.where(kept, -factors * own.astype(wide), 0).astype(dtype)])
    for threads in (2, 5):
        same([run(given.x, given.labels, threads)], [wanted])
    for offset in OFFSETS:
        there = moved(given.x, offset, "C" if axis else "F")
        same([run(there, moved(given.labels, offset))], [wanted])


@pytest.mark.parametrize("shape", [(9000, 1000), (1, 9_000_000)])
def test_elements_and_backward_past_the_caches(fixed, rng, shape):
    x = rng.normal(0, 4, shape).astype(np.float32)
    t = rng.random(shape, np.float32)
    options = {"reduction": "none", "return_grad": True, "backend": fixed}
    ends = np.linspace(0, x.size, 38, dtype=int)
    parts = [slice(*pair) for pair in pairwise(ends)]
    flat = [fs.binary_cross_entropy(x.ravel()[part], t.ravel()[part], **options) for part in parts]
    wanted = [np.concatenate(r).reshape(shape) for r in zip(*flat, strict=True)]
    for offset in (0, 4, 36):
        out = moved(np.zeros_like(x), offset)
        same(fs.binary_cross_entropy(x, t, grad_out=out, **options), wanted)
    for function in (fs.sigmoid, fs.log_sigmoid):
        alone = np.concatenate([function(x.ravel()[part], backend=fixed) for part in parts])
        same([function(x, backend=fixed)], [alone.reshape(shape)])
    if shape[0] > 1:
        for function in (fs.softmax_backward, fs.log_softmax_backward):
            rows = [
                function(x[i : i + 500], t[i : i + 500], backend=fixed) for i in range(0, 9000, 500)
            ]
            same([function(x, t, backend=fixed)], [np.concatenate(rows)])
