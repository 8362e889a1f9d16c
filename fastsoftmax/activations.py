"""The public softmax family and the sigmoid: resolve a backend, normalise, call, return."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastsoftmax import _registry, _threads
from fastsoftmax._arrays import elementwise, reduction
from fastsoftmax._shortcut import shortcut_first
from fastsoftmax._typing import UNSET, Array, AxisLike, Unset

__all__ = ["log_sigmoid", "log_softmax", "logsumexp", "sigmoid", "softmax"]


@shortcut_first
def softmax(
    x: Any,
    axis: AxisLike | Unset = UNSET,
    *,
    out: Array | None = None,
    dtype: Any = None,
    where: Any = None,
    temperature: Any = 1.0,
    dim: AxisLike | Unset = UNSET,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Probabilities of classes from their scores.

    .. math:: y_k = \frac{e^{x_k / T}}{\sum_j e^{x_j / T}}

    Parameters
    ----------
    x : array_like
        Scores (logits), any shape and any strides: float16, bfloat16, float32 or float64; integers
        and bool are taken as float64. CPU tensors of torch and JAX are accepted.
    axis : int, tuple of int or None, default -1
        The class axis or axes; None means all of them. `dim` is an alias.
    out : ndarray, optional
        Where to write the result, of x's shape and the result's dtype, with any strides. It may be
        `x` itself or overlap it.
    dtype : dtype, optional
        Type of the result, by default x's (float64 for integers). float64 computes in float64,
        all others in float32.
    where : array_like of bool, optional
        The classes that take part, broadcastable to x's shape. The others get probability 0,
        whatever x holds there. A row without any class gets 0 everywhere.
    temperature : float or array_like, default 1.0
        T in the formula: a scalar, or one per row (x's shape without the class axes, or with them
        at length 1). From 1e-24 to 1e24, in float64 from 1e-270 to 1e270.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.
    threads : int, optional
        The most threads to use, by default `get_num_threads()`.

    Returns
    -------
    ndarray or scalar
        Probabilities in x's shape; `out` if it was given; a NumPy scalar for a 0-d x.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind (complex or text in `x`, a `where` that is not bool).
    ValueError
        If a shape, dtype, temperature or number of threads does not fit.
    numpy.exceptions.AxisError
        If an axis is out of range.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    log_softmax, logsumexp

    Notes
    -----
    The C++ and Numba backends stay within 4 ULP of the exact result at any scale of the logits and
    any number of classes; they give 0 where the exact result is below the smallest normal number
    of the type computed in. Their results are bit-identical for any number of threads, for a row
    alone or in a batch, and for any alignment. The NumPy backend stays within 4 + (max - x) ULP.

    A row that holds NaN or +inf, or nothing but -inf, is NaN throughout; a single -inf has
    probability 0.

    References
    ----------
    .. [1] J. S. Bridle, "Probabilistic interpretation of feedforward classification network
       outputs, with relationships to statistical pattern recognition", Neurocomputing, 1990.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.softmax([1.2, 0.3]).round(2)
    array([0.71, 0.29])

    A lower temperature sharpens, a mask leaves classes out:

    >>> fs.softmax([1.2, 0.3], temperature=0.5).round(2)
    array([0.86, 0.14])
    >>> fs.softmax([1.2, 0.3, 9.9], where=[True, True, False]).round(2)
    array([0.71, 0.29, 0.  ])
    """
    chosen = _registry.resolve(backend)
    count = _threads.resolve(threads)
    call, result = elementwise(x, axis, dim, out, dtype, where, temperature, count)
    if call.x.size:
        chosen.softmax(call)
    return result if result.ndim or out is not None else result[()]


@shortcut_first
def log_softmax(
    x: Any,
    axis: AxisLike | Unset = UNSET,
    *,
    out: Array | None = None,
    dtype: Any = None,
    where: Any = None,
    temperature: Any = 1.0,
    dim: AxisLike | Unset = UNSET,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Logarithms of the classes' probabilities, exact even where the probability is close to 1.

    .. math:: y_k = x_k / T - \log \sum_j e^{x_j / T}

    Parameters
    ----------
    x, axis, out, dtype, where, temperature, dim, backend, threads
        As for `softmax`. Classes left out by `where` get -inf, in a row without any class too.

    Returns
    -------
    ndarray or scalar
        Log-probabilities in x's shape; `out` if it was given; a NumPy scalar for a 0-d x.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError, BackendUnavailable
        As `softmax`.

    See Also
    --------
    softmax, logsumexp

    Notes
    -----
    The largest term is left out of the sum and brought back by ``log1p``, so that the
    log-probability of a confident winner keeps its digits: -1.389e-11 below, where
    ``log(softmax(x))`` is 0 in float32. The C++ and Numba backends stay within 3 ULP. NaN and
    infinities as in `softmax`.

    Examples
    --------
    The cross-entropy of class 0, from surer scores a smaller one:

    >>> import fastsoftmax as fs
    >>> print(-fs.log_softmax([1.2, 0.3])[0].round(3))
    0.341
    >>> print(-fs.log_softmax([1.9, 0.1])[0].round(3))
    0.153

    >>> import numpy as np
    >>> print(f"{fs.log_softmax(np.float32([25.0, 0.0]))[0]:.4g}")
    -1.389e-11
    """
    chosen = _registry.resolve(backend)
    count = _threads.resolve(threads)
    call, result = elementwise(x, axis, dim, out, dtype, where, temperature, count)
    if call.x.size:
        chosen.log_softmax(call)
    return result if result.ndim or out is not None else result[()]


@shortcut_first
def logsumexp(
    x: Any,
    axis: AxisLike | Unset = UNSET,
    *,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: Any = None,
    dtype: Any = None,
    out: Array | None = None,
    dim: AxisLike | Unset = UNSET,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Logarithm of the sum of exponentials, the normaliser of `softmax`.

    .. math:: \log \sum_j b_j e^{x_j}

    Parameters
    ----------
    x : array_like
        As for `softmax`.
    axis : int, tuple of int or None, default None
        Axes to sum over; None means all of them. `dim` is an alias.
    b : array_like of real numbers, optional
        Weights, broadcastable to x's shape, of any sign. A weight of 0 takes its class out, even
        where x is infinite or NaN.
    keepdims : bool, default False
        Whether the class axes stay, at length 1.
    return_sign : bool, default False
        Whether to return the sign of the sum as well; without it a negative sum gives NaN.
    where, dtype, dim, backend, threads
        As for `softmax`. A row without any class gives -inf.
    out : ndarray, optional
        Where to write the result, of the result's shape and dtype.

    Returns
    -------
    lse : ndarray or scalar
        In x's shape without the class axes; `out` if it was given.
    sign : ndarray or scalar
        Only with `return_sign`: 1, 0, -1, or NaN where the sum is NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError, BackendUnavailable
        As `softmax`.

    See Also
    --------
    softmax, log_softmax

    Notes
    -----
    Accuracy in the C++ and Numba backends: 1.5 ULP (float32) and 2 ULP (float64) of the largest of
    \|lse\|, \|max\| and lse - max; no float32 algorithm can promise digits of a result near 0 that
    comes out of larger numbers. With `b`, of the largest addend. One class without `b` gives x, bit
    for bit. A row that holds NaN gives NaN, else +inf gives +inf.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> print(fs.logsumexp([1000.0, 1000.0]).round(4))
    1000.6931

    A difference of exponentials, and its sign:

    >>> lse, sign = fs.logsumexp([1.0, 2.0], b=[1.0, -1.0], return_sign=True)
    >>> print(lse.round(4), sign)
    1.5413 -1.0
    """
    chosen = _registry.resolve(backend)
    count = _threads.resolve(threads)
    call, weights, sign_kept, result, sign = reduction(
        x, axis, dim, keepdims, b, return_sign, where, dtype, out, count
    )
    if call.x.size:
        chosen.logsumexp(call, weights, sign_kept)
    else:  # a sum over no classes is 0
        result.fill(-np.inf)
        if sign is not None:
            sign.fill(0.0)
    lse = result if result.ndim or out is not None else result[()]
    return lse if sign is None else (lse, sign if sign.ndim else sign[()])


def sigmoid(
    x: Any,
    *,
    out: Array | None = None,
    dtype: Any = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Probability of a class from its score, beside others that may hold as well.

    .. math:: \sigma(x) = \frac{1}{1 + e^{-x}}

    Parameters
    ----------
    x, out, dtype, threads
        As for `softmax`; every element stands for itself.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.

    Returns
    -------
    ndarray or scalar
        In x's shape; `out` if it was given; a NumPy scalar for a 0-d x.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    log_sigmoid, binary_cross_entropy, softmax

    Notes
    -----
    Within 4 ULP. -inf gives 0, +inf gives 1, NaN gives NaN.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.2.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.sigmoid([0.0, 0.9, -1000.0]).round(2)
    array([0.5 , 0.71, 0.  ])
    """
    chosen = _registry.resolve(backend)
    count = _threads.resolve(threads)
    call, result = elementwise(x, (), UNSET, out, dtype, None, 1.0, count)
    if call.x.size:
        chosen.sigmoid(call)
    return result if result.ndim or out is not None else result[()]


def log_sigmoid(
    x: Any,
    *,
    out: Array | None = None,
    dtype: Any = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Logarithm of `sigmoid`, exact even where the probability is close to 1.

    .. math:: \log \sigma(x) = \min(x, 0) - \log(1 + e^{-|x|})

    Parameters
    ----------
    x, out, dtype, threads
        As for `softmax`; every element stands for itself.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.

    Returns
    -------
    ndarray or scalar
        In x's shape; `out` if it was given; a NumPy scalar for a 0-d x.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    sigmoid, binary_cross_entropy

    Notes
    -----
    Within 4 ULP. -inf gives -inf, +inf gives 0, NaN gives NaN.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.2.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.log_sigmoid([0.0, 0.9, -100.0]).round(3)
    array([  -0.693,   -0.341, -100.   ])
    """
    chosen = _registry.resolve(backend)
    count = _threads.resolve(threads)
    call, result = elementwise(x, (), UNSET, out, dtype, None, 1.0, count)
    if call.x.size:
        chosen.log_sigmoid(call)
    return result if result.ndim or out is not None else result[()]
