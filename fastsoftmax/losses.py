"""The public losses: resolve a backend, normalise, call, return. Nothing else."""

from __future__ import annotations

from typing import Any

from fastsoftmax import _registry, _threads
from fastsoftmax._loss_arrays import (
    binary_cross_entropy_call,
    cross_entropy_call,
    nll_loss_call,
)
from fastsoftmax._shortcut import shortcut_first
from fastsoftmax._typing import Array

__all__ = ["binary_cross_entropy", "cross_entropy", "nll_loss"]


@shortcut_first
def cross_entropy(
    logits: Any,
    labels: Any,
    *,
    axis: int = -1,
    weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    where: Any = None,
    return_grad: bool = False,
    grad_out: Array | None = None,
    check_labels: bool = True,
    on_empty: str = "nan",
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Negative log-likelihood of the classes that are true, from their scores.

    .. math:: l = -\sum_k w_k t_k \log p_k, \quad p = \mathrm{softmax}(x)

    A label y is the distribution t that has 1 at y. Smoothing by :math:`\epsilon` over K classes
    makes it :math:`(1 - \epsilon)\, t + \epsilon / K`.

    Parameters
    ----------
    logits : array_like
        Scores, any shape of one dimension or more, any strides: float16, bfloat16, float32 or
        float64; integers and bool are taken as float64.
    labels : array_like
        Class indices, of any integer type, in logits' shape without the class axis; or class
        probabilities in logits' shape, which are taken as they are, whatever they sum to.
    axis : int, default -1
        The class axis.
    weight : array_like, optional
        w in the formula: a finite number per class, not negative.
    ignore_index : int or None, default -100
        Rows with this label have loss 0 and gradient 0, even where their logits are NaN. None:
        there is no such label. Of no meaning for probabilities.
    label_smoothing : float, default 0.0
        Share of the distribution that is spread over all classes, from 0 to 1.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides the sum of the rows' losses by the sum of w over the labels that count; for
        probabilities by the number of rows. "none" gives each row's loss.
    where : array_like of bool, optional
        The classes that take part, broadcastable to logits' shape. The others have probability 0
        and gradient 0, whatever logits hold there, and no share in smoothing.
    return_grad : bool, default False
        Whether to return the gradient of the result with respect to logits as well; with
        reduction "none", that of each row's own loss.
    grad_out : ndarray, optional
        Where to write the gradient, of logits' shape and dtype, with any strides. It may be
        `logits` itself.
    check_labels : bool, default True
        Whether a label out of range is an error. If not, its row has loss NaN, gradient 0 and no
        part in what "mean" divides by.
    on_empty : {"nan", "zero"}, default "nan"
        The mean where there is nothing to divide by: no row that counts.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.
    threads : int, optional
        The most threads to use, by default `get_num_threads()`.

    Returns
    -------
    loss : scalar or ndarray
        Of logits' dtype; with reduction "none" in logits' shape without the class axis.
    grad : ndarray
        Only with `return_grad`: in logits' shape; `grad_out` if it was given.

    Raises
    ------
    IndexError
        If a label is out of range; the message has row, label and number of classes. Nothing has
        been written then.
    TypeError
        If an argument is of the wrong kind (class indices that are floats or bool).
    ValueError
        If a shape, a weight or an option does not fit.
    numpy.exceptions.AxisError
        If the axis is out of range.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    nll_loss, binary_cross_entropy, log_softmax

    Notes
    -----
    The loss of a confident row keeps its digits, and so does the label's gradient, p - 1, which is
    what the other classes' probabilities sum to. A probability t of 0 counts 0 on a logit of -inf;
    a label there has loss +inf. A row that holds NaN or +inf, or nothing but -inf, has loss NaN.

    In the C++ and Numba backends a row's loss by a label and the gradient there are within 4 ULP,
    and bit-identical for any number of threads, for a row alone or in a batch, and for any
    alignment. In the NumPy backend the loss is within 4, and one more for every unit of the gap by
    which the classes that decide it lie below the largest, if together they have more than half of
    its weight.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.
    .. [2] C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016
       (label smoothing).

    Examples
    --------
    A surer score for the true class has the smaller loss:

    >>> import fastsoftmax as fs
    >>> fs.cross_entropy([[1.9, 0.1], [1.2, 0.3]], [0, 0], reduction="none").round(3)
    array([0.153, 0.341])

    The gradient of the mean, in the same pass:

    >>> loss, grad = fs.cross_entropy([[1.9, 0.1], [1.2, 0.3]], [0, 0], return_grad=True)
    >>> print(loss.round(3))
    0.247
    >>> grad.round(3)
    array([[-0.071,  0.071],
           [-0.145,  0.145]])
    """
    chosen = _registry.resolve(backend)
    loss = cross_entropy_call(
        *(logits, labels, axis, weight, ignore_index, label_smoothing, reduction, where),
        *(return_grad, grad_out, check_labels, on_empty, _threads.resolve(threads)),
    )
    return loss.by(chosen.cross_entropy)


def nll_loss(
    log_probs: Any,
    labels: Any,
    *,
    axis: int = -1,
    weight: Any = None,
    ignore_index: int | None = -100,
    reduction: str = "mean",
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Negative log-likelihood of labels, from log-probabilities as `log_softmax` gives them.

    .. math:: l = -w_y x_y

    Parameters
    ----------
    log_probs : array_like
        Logarithms of the classes' probabilities; shapes and types as `logits` of `cross_entropy`.
    labels : array_like
        Class indices, of any integer type, in log_probs' shape without the class axis.
    axis, weight, ignore_index, reduction, backend, threads
        As for `cross_entropy`.

    Returns
    -------
    scalar or ndarray
        Of log_probs' dtype; with reduction "none" in log_probs' shape without the class axis.

    Raises
    ------
    IndexError, TypeError, ValueError, numpy.exceptions.AxisError, BackendUnavailable
        As `cross_entropy`.

    See Also
    --------
    cross_entropy : From logits, which is faster and reads them once.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> y = fs.log_softmax([[1.9, 0.1], [1.2, 0.3]])
    >>> fs.nll_loss(y, [0, 0], reduction="none").round(3)
    array([0.153, 0.341])
    """
    chosen = _registry.resolve(backend)
    count = _threads.resolve(threads)
    loss = nll_loss_call(log_probs, labels, axis, weight, ignore_index, reduction, count)
    return loss.by(chosen.nll_loss)


def binary_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    weight: Any = None,
    pos_weight: Any = None,
    reduction: str = "mean",
    return_grad: bool = False,
    grad_out: Array | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Cross-entropy of classes that do not exclude each other, each by its own `sigmoid`.

    .. math:: l = -w \left( c\, t \log \sigma(x) + (1 - t) \log (1 - \sigma(x)) \right)

    Parameters
    ----------
    logits : array_like
        Scores x, any shape and any strides: float16, bfloat16, float32 or float64; integers and
        bool are taken as float64.
    targets : array_like
        t in the formula: 0 to 1, or bool, in logits' very shape; taken as they are.
    weight : array_like of real numbers, optional
        w in the formula, broadcastable to logits' shape.
    pos_weight : array_like of real numbers, optional
        c in the formula, broadcastable to logits' shape: one per class, for instance.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides the sum by the number of elements, whatever the weights.
    return_grad, grad_out, threads
        As for `cross_entropy`.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.

    Returns
    -------
    loss : scalar or ndarray
        Of logits' dtype; with reduction "none" in logits' shape.
    grad : ndarray
        Only with `return_grad`: in logits' shape; `grad_out` if it was given.

    Raises
    ------
    TypeError, ValueError, BackendUnavailable
        As `cross_entropy`.

    See Also
    --------
    sigmoid, log_sigmoid, cross_entropy

    Notes
    -----
    Nothing cancels: the loss is a sum of terms of one sign, and an infinite logit on the right side
    has loss 0 (on the wrong side +inf). Without weights it is within 4 ULP where t is 0 or 1.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.2.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> fs.binary_cross_entropy([2.0, 2.0, -np.inf], [1, 0, 0], reduction="none").round(3)
    array([0.127, 2.127, 0.   ])
    """
    chosen = _registry.resolve(backend)
    count = _threads.resolve(threads)
    loss = binary_cross_entropy_call(
        logits, targets, weight, pos_weight, reduction, return_grad, grad_out, count
    )
    return loss.by(chosen.binary_cross_entropy)
