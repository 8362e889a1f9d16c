"""The public loss over the keys of a batch: normalise, resolve a backend, call, return."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastsoftmax import _registry, _threads
from fastsoftmax._sampling.in_batch import in_batch_call
from fastsoftmax._typing import Array

__all__ = ["InBatchGrads", "in_batch_softmax_loss"]


class InBatchGrads(NamedTuple):
    """Gradient of `in_batch_softmax_loss`.

    Attributes
    ----------
    queries, keys : ndarray
        By each of the two, in its shape and dtype.
    """

    queries: Array
    keys: Array


def in_batch_softmax_loss(
    queries: Any,
    keys: Any,
    *,
    ids: Any = None,
    log_q: Any = None,
    temperature: float | Array = 1.0,
    remove_accidental_hits: bool = True,
    reduction: str = "mean",
    return_grad: bool = False,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Cross-entropy of each query's own key among the keys of all, as two towers are trained by.

    .. math:: l_i = -\log \frac{e^{s_{ii}}}{\sum_{j \in J_i} e^{s_{ij}}}, \quad
              s_{ij} = \frac{q_i \cdot k_j}{T} - \log Q_j

    The other rows' keys serve as a sample of the classes. They were drawn as often as they occur in
    the data: subtracting their log-probability :math:`\log Q_j` corrects for that.

    Parameters
    ----------
    queries : array_like
        q in the formula, shape (N, D): float16, bfloat16, float32 or float64; integers and bool are
        taken as float64.
    keys : array_like
        k in the formula, shape (M, D), M not less than N. Key i is the true class of query i; those
        from N on are no query's own: more negatives.
    ids : array_like of int, optional
        What each key stands for, shape (M,), of any integer type. Without it all keys differ.
    log_q : array_like, optional
        How likely it is that a key is drawn, as a finite logarithm, shape (M,): for instance
        `StreamingFrequency.log_probability` of `ids`. A constant that all have in common is
        of no effect. By default 0.
    temperature : float or array_like, default 1.0
        T in the formula, finite and positive; a scalar or one number per query, shape (N,).
    remove_accidental_hits : bool, default True
        Whether keys with the id of a query's own key, which are no negatives for it, are left out
        of its sum. J_i in the formula is all keys but these; it holds i.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives each query's loss.
    return_grad : bool, default False
        Whether to return the gradients of the result as well; with reduction "none", those of the
        losses' sum, as a key takes part in all of them.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.
    threads : int, optional
        The most threads to use between matrix products, by default `get_num_threads()`. The
        products are NumPy's, which has threads of its own.

    Returns
    -------
    loss : scalar or ndarray
        Of the smallest dtype that holds those of queries and keys; with reduction "none" of shape
        (N,).
    grads : InBatchGrads
        Only with `return_grad`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind (ids that are floats or bool).
    ValueError
        If a shape, `log_q`, `temperature` or an option does not fit.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    StreamingFrequency : Estimates `log_q` while training.
    cross_entropy : Over all classes.

    Notes
    -----
    An accidental hit is left out, not given a large negative score: it has probability 0 and
    gradient 0 exactly, in half types too.

    Half types are computed in float32. Logits exist for a tile of queries at a time, so that the
    memory needed beside arguments and results is about 8 MB, or 128 rows of M logits where that is
    more, and, with gradients, one array like keys; another for keys that are not float32 or
    float64 in C order.

    A batch without queries has the mean NaN.

    References
    ----------
    .. [1] X. Yi et al., "Sampling-bias-corrected neural modeling for large corpus item
       recommendations", RecSys 2019.
    .. [2] Y. Bengio and J.-S. Senecal, "Adaptive importance sampling to accelerate training of a
       neural probabilistic language model", IEEE Transactions on Neural Networks, 2008.

    Examples
    --------
    Three queries, the last two of which have the same item as their key:

    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> queries = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    >>> keys = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    >>> fs.in_batch_softmax_loss(queries, keys, ids=[4, 7, 7], reduction="none").round(3)
    array([0.24 , 0.127, 0.693])

    Item 7 is drawn twice as often as item 4, which says nothing about how well it fits:

    >>> log_q = np.log([1 / 3, 2 / 3, 2 / 3])
    >>> loss, grads = fs.in_batch_softmax_loss(
    ...     queries, keys, ids=[4, 7, 7], log_q=log_q, return_grad=True
    ... )
    >>> print(loss.round(3))
    0.488
    >>> grads.queries.round(3)
    array([[-0.079,  0.079],
           [ 0.142, -0.142],
           [ 0.444, -0.444]])
    """
    chosen = _registry.resolve(backend)
    call = in_batch_call(
        *(queries, keys, ids, log_q, temperature, remove_accidental_hits, reduction),
        _threads.resolve(threads),
    )
    if not return_grad:
        return call.loss(chosen)
    loss, *grads = call.loss_and_gradients(chosen)
    return loss, InBatchGrads(*grads)
