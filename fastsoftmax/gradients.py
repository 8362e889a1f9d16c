"""The public gradients through the softmax family: resolve, normalise, call, return."""

from __future__ import annotations

from typing import Any

from fastsoftmax import _registry, _threads
from fastsoftmax._loss_arrays import backward_call
from fastsoftmax._typing import Array, AxisLike

__all__ = ["log_softmax_backward", "softmax_backward"]


def softmax_backward(
    grad_output: Any,
    output: Any,
    axis: AxisLike = -1,
    *,
    out: Array | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Gradient with respect to the scores that `softmax` was given, from that of its result.

    .. math:: dx_k = y_k \left( dy_k - \sum_j dy_j\, y_j \right)

    For a temperature T, divide it by T.

    Parameters
    ----------
    grad_output : array_like
        dy in the formula: the gradient with respect to the probabilities, in their shape.
    output : array_like
        y in the formula: what `softmax` gave. float16, bfloat16, float32 or float64; integers and
        bool are taken as float64.
    axis : int, tuple of int or None, default -1
        The class axis or axes that `softmax` was given; None means all of them.
    out : ndarray, optional
        Where to write the result, of output's shape and the result's dtype, with any strides. It
        may be `grad_output` or `output` itself, or overlap them.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.
    threads : int, optional
        The most threads to use, by default `get_num_threads()`.

    Returns
    -------
    ndarray or scalar
        In output's shape, of the smallest dtype that holds those of both arrays; `out` if it was
        given.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a shape, dtype or number of threads does not fit.
    numpy.exceptions.AxisError
        If an axis is out of range.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    softmax, log_softmax_backward, cross_entropy

    Notes
    -----
    The error is a few ULP of y (|dy| + sum(|dy| y)): where the difference is small its digits are
    those of `grad_output`.

    References
    ----------
    .. [1] J. S. Bridle, "Probabilistic interpretation of feedforward classification network
       outputs, with relationships to statistical pattern recognition", Neurocomputing, 1990.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> y = fs.softmax([1.2, 0.3])
    >>> fs.softmax_backward([1.0, 0.0], y).round(3)
    array([ 0.206, -0.206])
    """
    chosen = _registry.resolve(backend)
    call, result = backward_call(grad_output, output, axis, out, _threads.resolve(threads))
    if call.output.size:
        chosen.softmax_backward(call)
    return result if result.ndim or out is not None else result[()]


def log_softmax_backward(
    grad_output: Any,
    output: Any,
    axis: AxisLike = -1,
    *,
    out: Array | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Gradient with respect to the scores that `log_softmax` was given, from that of its result.

    .. math:: dx_k = dy_k - e^{y_k} \sum_j dy_j

    For a temperature T, divide it by T.

    Parameters
    ----------
    grad_output : array_like
        dy in the formula: the gradient with respect to the log-probabilities, in their shape.
    output : array_like
        y in the formula: what `log_softmax` gave.
    axis, out, backend, threads
        As for `softmax_backward`.

    Returns
    -------
    ndarray or scalar
        As of `softmax_backward`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError, BackendUnavailable
        As `softmax_backward`.

    See Also
    --------
    log_softmax, softmax_backward, cross_entropy

    Notes
    -----
    The error is a few ULP of |dy| + p sum(|dy|), and half of |y| ULP of p sum(dy) more, as y has
    been rounded to its type; p is exp(y).

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> y = fs.log_softmax([1.2, 0.3])
    >>> fs.log_softmax_backward([-1.0, 0.0], y).round(3)
    array([-0.289,  0.289])
    """
    chosen = _registry.resolve(backend)
    call, result = backward_call(grad_output, output, axis, out, _threads.resolve(threads))
    if call.output.size:
        chosen.log_softmax_backward(call)
    return result if result.ndim or out is not None else result[()]
