"""What logsumexp has beyond softmax: weights, signs; compared with SciPy and mpmath."""

import mpmath
import numpy as np
import pytest
import scipy.special

import fastsoftmax as fs


@pytest.fixture
def logsumexp(backend):
    def run(x, axis=None, **options):
        return fs.logsumexp(x, axis, backend=backend, **options)

    return run


def close(got, wanted, ulps=8):
    np.testing.assert_allclose(got, wanted, rtol=ulps * np.finfo(float).eps, atol=1e-14)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_agrees_with_scipy(logsumexp, rng, axis, keepdims):
    x = rng.normal(0, 20, (4, 5, 6))
    b = rng.normal(size=(5, 1))
    options = {"axis": axis, "keepdims": keepdims}
    close(logsumexp(x, **options), scipy.special.logsumexp(x, **options))
    weighted = {**options, "b": np.abs(b)}
    close(logsumexp(x, **weighted), scipy.special.logsumexp(x, **weighted))
    signed = {**options, "b": b, "return_sign": True}
    for got, wanted in zip(
        logsumexp(x, **signed), scipy.special.logsumexp(x, **signed), strict=True
    ):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_signed_sums_agree_with_mpmath(logsumexp, rng, classes):
    x = rng.normal(0, 5, classes)
    b = rng.normal(size=classes)
    got, sign = logsumexp(x, b=b, return_sign=True)
    with mpmath.workdps(50):
        terms = [mpmath.mpf(w) * mpmath.exp(mpmath.mpf(v)) for w, v in zip(b, x, strict=True)]
        total = mpmath.fsum(terms)
        # The condition of the sum: how much of it cancels.
        lost = float(mpmath.fsum(map(abs, terms)) / abs(total))
        wanted = float(mpmath.log(abs(total)))
    assert sign == mpmath.sign(total)
    assert abs(got - wanted) <= 8 * np.finfo(float).eps * (lost + abs(wanted) + np.abs(x).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_of_the_largest_addend(backend, exact, rng, dtype):
    """x + log(b) decides what is large, not x: far apart weights must not lose the sum."""
    eps = float(np.finfo(dtype).eps)
    b = (10.0 ** rng.uniform(-30, 30, (50, 20))).astype(dtype)
    x = (rng.normal(0, 5, b.shape) - np.log(b) * rng.uniform(0, 2, (50, 1))).astype(dtype)
    got = fs.logsumexp(x, -1, b=b, backend=backend)
    addends = x.astype(np.longdouble) + np.log(b.astype(np.longdouble))
    largest = addends.max(-1)
    wanted = largest + np.log(np.exp(addends - largest[:, None]).sum(-1))
    scale = np.maximum(np.abs(wanted), np.abs(x).max(-1))
    assert (np.abs(got - wanted) <= (4 if exact else 16) * eps * scale).all()


def test_a_weight_of_zero_takes_its_class_out(logsumexp):
    x = np.array([[1.0, np.nan, 2.0], [1.0, np.inf, 2.0], [1.0, 900.0, 2.0]])
    b = np.array([1.0, 0.0, 1.0])
    close(logsumexp(x, -1, b=b), np.full(3, np.log(np.exp(1) + np.exp(2))))
    assert logsumexp([1.0, 2.0], b=[0.0, 0.0]) == -np.inf
    assert logsumexp([1.0, 2.0], b=0.0, return_sign=True) == (-np.inf, 0)


def test_signs(logsumexp):
    assert logsumexp([1.0, 1.0], b=[1.0, -1.0], return_sign=True) == (-np.inf, 0)
    lse, sign = logsumexp([0.0, 1.0], b=[1.0, -1.0], return_sign=True)
    close(lse, np.log(np.expm1(1)))
    assert sign == -1
    assert np.isnan(logsumexp([0.0, 1.0], b=[1.0, -1.0]))
    assert logsumexp([0.0, 1.0], return_sign=True)[1] == 1
    assert logsumexp([-np.inf, -np.inf], return_sign=True) == (-np.inf, 0)
    lse, sign = logsumexp([np.inf, 1.0], return_sign=True)
    assert (lse, sign) == (np.inf, 1)
    lse, sign = logsumexp([np.nan, 1.0], return_sign=True)
    assert np.isnan(lse)
    assert np.isnan(sign)
    lse, sign = logsumexp([np.inf, 1.0], b=[-1.0, 1.0], return_sign=True)
    assert (lse, sign) == (np.inf, -1)
    assert np.isnan(logsumexp([np.inf, np.inf], b=[-1.0, 1.0], return_sign=True)[0])


def test_the_sign_has_the_results_shape_and_type(logsumexp, rng):
    x = rng.normal(size=(3, 4)).astype(np.float32)
    for options in ({}, {"keepdims": True}, {"dtype": np.float64}, {"dtype": np.float16}):
        lse, sign = logsumexp(x, 0, return_sign=True, **options)
        assert sign.shape == lse.shape
        assert sign.dtype == lse.dtype
        np.testing.assert_array_equal(sign, 1)


@pytest.mark.parametrize("kind", [int, np.int8, bool, np.float16])
def test_weights_of_other_types(logsumexp, rng, kind):
    x = rng.normal(size=(3, 4))
    b = rng.integers(0, 2, 4).astype(kind)
    b[0] = 1
    np.testing.assert_array_equal(logsumexp(x, -1, b=b), logsumexp(x, -1, b=b.astype(np.float64)))


def test_weights_with_a_mask(logsumexp, rng):
    x, b = rng.normal(size=(2, 5, 30))
    where = rng.random((5, 30)) < 0.5
    where[:, 0] = True
    got = logsumexp(x, -1, b=np.abs(b), where=where)
    close(got, np.log((np.abs(b) * np.exp(x)).sum(-1, where=where)))
    hidden = np.where(where, np.abs(b), np.nan)
    close(logsumexp(x, -1, b=hidden, where=where), got)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 4), (0,), (5, 4)])
def test_weights_that_do_not_broadcast_are_refused(logsumexp, shape):
    with pytest.raises(ValueError, match="b has shape"):
        logsumexp(np.zeros((2, 4)), b=np.ones(shape))


@pytest.mark.parametrize("b", [["a", "b"], [1j, 1], [None, 1]])
def test_weights_that_are_not_real_are_refused(logsumexp, b):
    with pytest.raises(TypeError, match="b has dtype"):
        logsumexp([1.0, 2.0], b=b)


def test_small_sums_keep_their_digits(logsumexp):
    # log(1 + e^-40) is e^-40, which a sum that starts with 1 would lose.
    close(logsumexp([0.0, -40.0]) / np.exp(-40.0), 1.0)
    np.testing.assert_allclose(logsumexp(np.float32([0, -20])), np.exp(-20.0), rtol=1e-6)


def test_large_logits_do_not_overflow(logsumexp):
    close(logsumexp([1000.0, 1000.0]), 1000 + np.log(2))
    close(logsumexp([-1000.0, -1000.0]), -1000 + np.log(2))
    close(logsumexp([1e300, 1e300]), 1e300)
