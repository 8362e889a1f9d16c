"""The loss over the keys of a batch: formula, gradients, ids, tiles, types, layouts, refusals."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax._sampling import in_batch

TYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)


def formula(q, k, ids=None, log_q=0.0, temperature=1.0):
    """Each query's loss, and the gradients of their sum, in long double."""
    q, k = np.asarray(q, np.longdouble), np.asarray(k, np.longdouble)
    heat = np.reshape(np.asarray(temperature, np.longdouble), (-1, 1))
    logits = (q[:, None, :] * k[None]).sum(2) / heat - np.asarray(log_q, np.longdouble)
    own = np.eye(*logits.shape, dtype=bool)
    ids = np.arange(len(k)) if ids is None else np.asarray(ids)
    logits[(ids[: len(q), None] == ids) & ~own] = -np.inf
    top = logits.max(1, keepdims=True)
    total = np.exp(logits - top).sum(1, keepdims=True)
    by_logits = (np.exp(logits - top) / total - own) / heat
    losses = (top + np.log(total))[:, 0] - logits[own]
    return losses, by_logits @ k, by_logits.T @ q


def batch(rng, n, m, d, dtype=np.float64, scale=0.5):
    return tuple((rng.standard_normal((rows, d)) * scale).astype(dtype) for rows in (n, m))


def close(got, wanted, dtype, scale=1.0, times=64):
    wanted = np.float64(wanted)
    eps = float(ml_dtypes.finfo(dtype).eps)
    size = np.abs(wanted).max(initial=0) * scale
    np.testing.assert_allclose(np.float64(got), wanted, rtol=times * eps, atol=times * eps * size)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (5, 5, 3), (33, 70, 16), (300, 2100, 8)])
def test_loss_and_gradients_are_the_formula(backend, rng, dtype, n, m, d):
    q, k = batch(rng, n, m, d, dtype)
    ids, log_q = rng.integers(m // 2 + 1, size=m), np.log(rng.random(m) + 1e-3)
    losses, by_q, by_k = formula(q, k, ids, log_q, 0.7)
    options = {"ids": ids, "log_q": log_q, "temperature": 0.7, "backend": backend}
    for reduction, factor in (("mean", 1 / n), ("sum", 1), ("none", 1)):
        loss, grads = fs.in_batch_softmax_loss(
            q, k, reduction=reduction, return_grad=True, **options
        )
        wanted = losses if reduction == "none" else losses.sum() * factor
        assert loss.dtype == grads.queries.dtype == grads.keys.dtype == dtype
        close(loss, wanted, dtype)
        close(grads.queries, by_q * factor, dtype)
        close(grads.keys, by_k * factor, dtype)
        alone = fs.in_batch_softmax_loss(q, k, reduction=reduction, **options)
        np.testing.assert_array_equal(alone, loss)


def test_gradients_are_differences_of_the_loss(backend, rng):
    q, k = batch(rng, 4, 6, 3)
    options = {"ids": [0, 1, 0, 2, 1, 3], "log_q": -rng.random(6), "temperature": 0.3}

    def loss(q, k):
        return fs.in_batch_softmax_loss(q, k, backend=backend, **options)

    _, grads = fs.in_batch_softmax_loss(q, k, return_grad=True, backend=backend, **options)
    for number, grad in enumerate(grads):
        for place in np.ndindex(grad.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [q.copy(), k.copy()]
                moved[number][place] += step
                ends.append(loss(*moved))
            assert grad[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


def test_without_options_it_is_cross_entropy_of_the_products(backend, rng):
    q, k = batch(rng, 20, 30, 7)
    wanted = fs.cross_entropy(q @ k.T, np.arange(20), backend=backend)
    assert fs.in_batch_softmax_loss(q, k, backend=backend) == pytest.approx(wanted, rel=1e-13)


def test_a_constant_in_log_q_does_not_matter_and_a_slope_does(backend, rng):
    q, k = batch(rng, 9, 9, 4)
    plain = fs.in_batch_softmax_loss(q, k, backend=backend)
    same = fs.in_batch_softmax_loss(q, k, log_q=np.full(9, -8.5), backend=backend)
    assert same == pytest.approx(plain, rel=1e-13)
    sloped = fs.in_batch_softmax_loss(q, k, log_q=-np.arange(9.0), backend=backend)
    assert abs(sloped - plain) > 1e-3


def test_temperatures_may_be_one_per_query(backend, rng):
    q, k = batch(rng, 8, 11, 4)
    heat = rng.uniform(0.1, 3, 8)
    losses, by_q, by_k = formula(q, k, temperature=heat)
    loss, grads = fs.in_batch_softmax_loss(
        q, k, temperature=heat, reduction="none", return_grad=True, backend=backend
    )
    close(loss, losses, np.float64)
    close(grads.queries, by_q, np.float64)
    close(grads.keys, by_k, np.float64)


# Accidental hits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
def test_hits_have_gradient_0_and_are_finite_in_every_type(backend, rng, dtype):
    q, k = batch(rng, 6, 6, 4, dtype)
    loss, grads = fs.in_batch_softmax_loss(
        q, k, ids=np.full(6, 3), reduction="none", return_grad=True, backend=backend
    )
    assert not loss.any()  # each query has no key but its own
    assert not grads.queries.any()
    assert not grads.keys.any()


def test_hits_count_where_that_is_wanted(backend, rng):
    q, k = batch(rng, 12, 12, 4)
    ids = rng.integers(3, size=12)
    kept = fs.in_batch_softmax_loss(q, k, ids=ids, remove_accidental_hits=False, backend=backend)
    assert kept == fs.in_batch_softmax_loss(q, k, backend=backend)
    assert kept > fs.in_batch_softmax_loss(q, k, ids=ids, backend=backend)


@pytest.mark.parametrize("kind", ["b", "H", "u8", ">i4", "i8"])
def test_ids_are_compared_as_they_are(backend, rng, kind):
    limits = np.iinfo(np.dtype(kind))
    ids = np.array([limits.max, limits.min, limits.max, limits.max - 1], kind)
    q, k = batch(rng, 4, 4, 3)
    losses, *_ = formula(q, k, [0, 1, 0, 2])
    got = fs.in_batch_softmax_loss(q, k, ids=ids, reduction="none", backend=backend)
    close(got, losses, np.float64)


# Tiles, layouts -----------------------------------------------------------------------------------


def test_tiles_change_nothing_but_rounding(backend, rng, monkeypatch):
    q, k = batch(rng, 37, 50, 5)
    options = {"ids": rng.integers(20, size=50), "return_grad": True, "backend": backend}
    loss, grads = fs.in_batch_softmax_loss(q, k, **options)
    monkeypatch.setattr(in_batch, "TILE_BYTES", 0)
    for rows in (1, 2, 10, 36, 37):
        monkeypatch.setattr(in_batch, "LEAST_ROWS", rows)
        again, others = fs.in_batch_softmax_loss(q, k, **options)
        assert again == pytest.approx(loss, rel=1e-13)
        for one, other in zip(grads, others, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-14)


def test_logits_never_exist_as_a_whole(rng):
    q, k = batch(rng, 4000, 4000, 4, np.float32)  # whose logits take 64 MB
    ids = rng.integers(1000, size=4000)
    fs.in_batch_softmax_loss(q[:9], k[:9], return_grad=True, backend="numpy")
    tracemalloc.start()
    fs.in_batch_softmax_loss(q, k, ids=ids, return_grad=True, backend="numpy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # the NumPy backend has temporaries of its own


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "every other": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "list": np.ndarray.tolist,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_do_not_matter(backend, rng, layout):
    q, k = batch(rng, 17, 23, 6)
    loss, grads = fs.in_batch_softmax_loss(q, k, return_grad=True, backend=backend)
    change = LAYOUTS[layout]
    again, others = fs.in_batch_softmax_loss(
        change(q), change(k), return_grad=True, backend=backend
    )
    assert again == pytest.approx(loss, rel=1e-13)
    for one, other in zip(grads, others, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-14)


def test_each_gradient_has_its_own_array_s_type(backend, rng):
    q, k = batch(rng, 5, 5, 3)
    loss, grads = fs.in_batch_softmax_loss(
        q.astype(np.float16), k.astype(np.float32), return_grad=True, backend=backend
    )
    assert (loss.dtype, grads.queries.dtype, grads.keys.dtype) == ("f4", "f2", "f4")
    losses, *_ = formula(q.astype(np.float16), k.astype(np.float32))
    close(loss, losses.mean(), np.float32)


def test_one_thread_or_two_give_the_same_bits(backend, rng):
    q, k = batch(rng, 200, 200, 8, np.float32)
    one, two = (
        fs.in_batch_softmax_loss(q, k, reduction="none", threads=n, backend=backend) for n in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


# Faults -------------------------------------------------------------------------------------------


def test_a_batch_of_nothing(backend):
    q, k = np.empty((0, 3), np.float32), np.ones((2, 3), np.float32)
    for keys in (k, k[:0]):
        loss, grads = fs.in_batch_softmax_loss(q, keys, return_grad=True, backend=backend)
        assert np.isnan(loss)
        assert grads.queries.shape == q.shape
        assert grads.keys.shape == keys.shape
        assert not grads.keys.any()
        assert fs.in_batch_softmax_loss(q, keys, reduction="sum", backend=backend) == 0
        alone = fs.in_batch_softmax_loss(q, keys, reduction="none", backend=backend)
        assert alone.shape == (0,)


def test_embeddings_of_no_columns_are_all_alike(backend):
    x = np.empty((4, 0))
    assert fs.in_batch_softmax_loss(x, x, backend=backend) == pytest.approx(np.log(4))


def test_nan_stays_in_its_query_s_loss(backend, rng):
    q, k = batch(rng, 6, 6, 3)
    q[2, 1] = np.nan
    losses = fs.in_batch_softmax_loss(q, k, reduction="none", backend=backend)
    np.testing.assert_array_equal(np.isnan(losses), np.arange(6) == 2)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"keys": np.ones((4, 2))}, ValueError, "the same number of columns"),
        ({"keys": np.ones((2, 3))}, ValueError, "keys has 2 rows, but queries has 3"),
        ({"queries": np.ones(3)}, ValueError, r"queries has shape \(3,\)"),
        ({"keys": np.ones((4, 3, 1))}, ValueError, r"keys has shape \(4, 3, 1\)"),
        ({"queries": np.ones((3, 3), complex)}, TypeError, "queries has dtype complex"),
        ({"ids": [1, 2, 3]}, ValueError, r"ids has shape \(3,\); it must be \(4,\)"),
        ({"ids": [1.0, 2, 3, 4]}, TypeError, "ids has dtype float64"),
        ({"ids": [True] * 4}, TypeError, "ids has dtype bool"),
        ({"log_q": np.zeros(3)}, ValueError, r"log_q has shape \(3,\)"),
        ({"log_q": [0, -np.inf, 0, 0]}, ValueError, r"log_q\[1\] is -inf"),
        ({"log_q": [0, 0, 0, np.nan]}, ValueError, r"log_q\[3\] is nan"),
        ({"temperature": 0}, ValueError, "temperature must be finite and positive.* not 0"),
        ({"temperature": np.nan}, ValueError, "temperature must be .* not nan"),
        ({"temperature": [1.0, 2.0]}, ValueError, r"temperature has shape \(2,\)"),
        ({"reduction": "max"}, ValueError, "reduction must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(backend, changed, error, said):
    given = {"queries": np.ones((3, 3)), "keys": np.ones((4, 3))} | changed
    with pytest.raises(error, match=said):
        fs.in_batch_softmax_loss(**given, backend=backend)
