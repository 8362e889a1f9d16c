"""The steps of sampled losses, each backend's own, against a few lines of Python."""

import ml_dtypes
import numpy as np
import pytest

from fastsoftmax import _registry

TYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
SIZES = [1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 130, 257, 600]
REAL = pytest.mark.parametrize("real", [np.float32, np.float64])
THREADS = pytest.mark.parametrize("threads", [1, 2])


@pytest.fixture
def steps(backend):
    return _registry.resolve(backend)


@REAL
@THREADS
@pytest.mark.parametrize("columns", SIZES)
def test_gathered_rows_are_the_rows(rng, steps, columns, real, threads):
    for dtype in TYPES:
        table = rng.standard_normal((50, columns)).astype(dtype)
        wide = np.zeros((100, 2 * columns), dtype)
        wide[::2, ::2] = table
        ids = rng.integers(0, 50, 301)
        for given in (table, np.asfortranarray(table), wide[::2, ::2], table[::-1].copy()[::-1]):
            out = np.full((301, columns), np.nan, real)
            steps.gather_rows(given, ids, out, threads)
            assert np.array_equal(out, table[ids].astype(real))


@pytest.mark.parametrize("classes", [1, 5, 300, 5000, 1 << 23, 1 << 40])
@pytest.mark.parametrize("true", [1, 3])
@pytest.mark.parametrize(
    ("candidates", "examples"), [(1, 1), (6, 9), (200, 70), (3, 0), (0, 0), (0, 4), (900, 400)]
)
def test_a_match_has_every_class_and_every_hit(rng, steps, classes, true, candidates, examples):
    ids = rng.integers(0, classes, candidates)
    labels = rng.integers(0, classes, (examples, true))
    if examples and candidates:
        labels[0] = ids[0]
    found = steps.match(ids, labels, classes)
    keys = np.concatenate((ids, labels.reshape(-1)))
    assert found.starts[0] == 0
    assert found.starts[-1] == len(keys)
    assert sorted(found.order) == list(range(len(keys)))
    groups = [found.order[a:b] for a, b in zip(found.starts, found.starts[1:], strict=False)]
    assert all((keys[g] == keys[g[0]]).all() and (np.diff(g) > 0).all() for g in groups)
    assert np.array_equal([keys[g[0]] for g in groups], np.unique(keys))
    hits = list(zip(found.hit_rows.tolist(), found.hit_columns.tolist(), strict=True))
    expected = {
        (i, j) for i, own in enumerate(labels.tolist()) for j, k in enumerate(ids) if k in own
    }
    assert len(hits) == len(expected)
    assert set(hits) == expected
    assert (np.diff(found.hit_rows) >= 0).all()


@REAL
@THREADS
@pytest.mark.parametrize("columns", SIZES)
def test_products_and_sums_of_rows(rng, steps, columns, real, threads):
    examples, true, candidates, classes = 83, 2, 19, 30
    x = rng.standard_normal((examples, columns)).astype(real)
    rows = rng.standard_normal((examples, true, columns)).astype(real)
    factors = rng.standard_normal((examples, true)).astype(real)
    of_candidates = rng.standard_normal((candidates, columns)).astype(real)
    ulp = np.finfo(real).eps

    wide = [a.astype(np.longdouble) for a in (x, rows, factors, of_candidates)]
    dots = np.empty((examples, true), real)
    steps.row_dots(x, rows, dots, threads)
    products = wide[0][:, None] * wide[1]
    bound = (columns + 2) * ulp * np.abs(products).sum(-1)
    assert (np.abs(dots - products.sum(-1)) <= bound).all()

    out = x.copy()
    steps.add_scaled_rows(factors, rows, out, threads)
    parts = wide[2][:, :, None] * wide[1]
    bound = 4 * ulp * (np.abs(wide[0]) + np.abs(parts).sum(1))
    assert (np.abs(out - (wide[0] + parts.sum(1))) <= bound).all()

    ids = rng.integers(0, classes, candidates)
    labels = rng.integers(0, classes, (examples, true))
    match = steps.match(ids, labels, classes)
    found = np.unique(np.concatenate((ids, labels.reshape(-1))))
    sums = np.full((len(found), columns), np.nan, real)
    steps.sum_rows(match, of_candidates, factors, x, sums, threads)
    truth, size = np.zeros((2, classes, columns), np.longdouble)
    for total, part in ((truth, lambda a: a), (size, np.abs)):
        np.add.at(total, ids, part(wide[3]))
        for t in range(true):
            np.add.at(total, labels[:, t], part(wide[2][:, t, None] * wide[0]))
    assert (np.abs(sums - truth[found]) <= 200 * ulp * size[found]).all()


@REAL
@THREADS
@pytest.mark.parametrize("columns", SIZES)
def test_shifted_columns_and_hits(rng, steps, columns, real, threads):
    rows = 150
    room = rng.standard_normal((rows, columns + 9)).astype(real)
    before, offsets = room.copy(), rng.standard_normal(columns).astype(real)
    hits = rng.integers(0, rows, 5), rng.integers(0, columns, 5)
    steps.shift_columns(room[:, :columns], offsets, *hits, threads)
    expected = before[:, :columns] - offsets
    expected[hits] = -np.inf
    assert np.array_equal(room[:, :columns], expected)
    assert np.array_equal(room[:, columns:], before[:, columns:])
