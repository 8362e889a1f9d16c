"""The public losses over a sample of the classes: normalise, resolve a backend, call, return."""

from __future__ import annotations

from math import nan
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax import _registry, _threads
from fastsoftmax._loss_arrays import Reduction, choice
from fastsoftmax._sampling import corrections
from fastsoftmax._sampling.loss_arrays import SampledCall, arrays, call_of, draw, reduction_of
from fastsoftmax._sampling.steps import RowLoss, compute, sigmoid_loss, softmax_loss
from fastsoftmax._typing import Array, Backend
from fastsoftmax.samplers import LogUniform

__all__ = ["SampledGrads", "nce_loss", "negative_sampling_loss", "sampled_softmax_loss"]


class SampledGrads(NamedTuple):
    """Gradient of a sampled loss; weight and bias by row, as `sgd_rows_` and its like take them.

    Attributes
    ----------
    inputs : ndarray
        Of inputs' shape and dtype.
    ids : ndarray of int64
        The classes that took part, true or drawn, each once, in ascending order.
    weight_rows : ndarray
        A row for each of `ids`: what all examples add to its gradient. float64 for float64,
        else float32.
    bias_rows : ndarray or None
        A number for each of `ids`, if there is a bias.
    """

    inputs: Array
    ids: Array
    weight_rows: Array
    bias_rows: Array | None


class _Options(NamedTuple):
    """What the losses differ in."""

    loss: RowLoss
    estimator: str | None
    removes_hits: bool
    share: bool  # whether the true classes of an example share a target of 1


def _run(
    backend: Backend,
    given: tuple[Any, Any, Any, Any, Any],
    drawing: tuple[Any, Any, Any, Any],
    options: _Options,
    reduction: Any,
    return_grad: bool,
    threads: int,
) -> Any:
    kind = reduction_of(reduction)
    checked = arrays(*given)
    sampler, num_sampled, candidates, rng = drawing
    labels, classes = checked.labels, checked.weight.num_classes
    sampler, candidates = draw(
        sampler, num_sampled, candidates, labels, classes, rng, backend.name, LogUniform
    )
    ids = candidates.ids
    match = backend.match(ids, labels, classes) if options.removes_hits or return_grad else None
    if options.estimator is None:
        offsets = corrections.none()
    elif options.estimator == "candidate":
        offsets = corrections.by_candidate(sampler, labels, candidates)
    else:
        hits = match if options.removes_hits else None
        offsets = corrections.by_importance(sampler, labels, candidates, hits)
    target = 1.0 / labels.shape[1] if options.share else 1.0
    call = call_of(checked, ids, *offsets, target, match, options.removes_hits, threads)
    return _result(backend, call, checked.inputs, options.loss, kind, return_grad, checked.dtype)


def _result(
    backend: Backend,
    call: SampledCall,
    inputs: Array,
    loss: RowLoss,
    kind: str,
    return_grad: bool,
    dtype: np.dtype[Any],
) -> Any:
    examples = len(inputs)
    how = Reduction(kind, float(examples), nan, (examples,), dtype)
    scale = how.scale if examples else 0.0
    losses, gradient = compute(backend, call, loss, scale, return_grad)
    value = how.each(losses) if kind == "none" else how.of_sum(float(losses.sum(dtype=np.float64)))
    if gradient is None:
        return value
    with np.errstate(all="ignore"):  # a half type has less room
        by_inputs = gradient.inputs.astype(inputs.dtype, copy=False)
    return value, SampledGrads(by_inputs, *gradient[1:])


def sampled_softmax_loss(
    inputs: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    sampler: Any = None,
    num_sampled: int | None = None,
    candidates: Any = None,
    remove_accidental_hits: bool = True,
    subtract_log_q: bool = True,
    estimator: str = "candidate",
    reduction: str = "mean",
    partition_strategy: str = "div",
    return_grad: bool = False,
    rng: Any = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Cross-entropy over the true classes and a random sample of the others.

    .. math::
        l = -\frac{1}{T} \sum_{t} \log \frac{\exp o'_t}
        {\sum_{t} \exp o'_t + \sum_{s} \exp o'_s}, \quad
        o_k = w_k \cdot x + b_k, \quad o'_k = o_k - \log E_k

    over the T true classes t of an example x and the candidates s, which all examples share;
    :math:`E_k` is how often class k is expected among the candidates. So trained weights are those
    of the full softmax over V classes, at the cost of a few.

    Parameters
    ----------
    inputs : array_like, shape (N, D)
        x in the formula, a row for each example: float16, bfloat16, float32 or float64.
    weight : array_like, shape (V, D), or list of array_like
        A row for each class, with any strides, memory-mapped too: only rows that take part are
        read. A list is of shards, which `partition_strategy` explains.
    labels : array_like of int, shape (N,) or (N, T)
        The true classes of each example.
    bias : array_like, shape (V,), or list of array_like, optional
        b in the formula; shards as those of `weight`.
    sampler : Sampler, optional
        What draws candidates and knows how likely they were: one of `fastsoftmax.samplers`, or any
        object with `num_classes`, `sample` and `expected_count`. By default
        ``samplers.LogUniform(V)``, for ids in the order of falling frequency.
    num_sampled : int, optional
        Number of candidates to draw, each class at most once. Needed unless `candidates` is given.
    candidates : Candidates, optional
        What ``sampler.sample`` returned. Given with expected counts of its own it needs no sampler.
    remove_accidental_hits : bool, default True
        Whether a candidate that is a true class of an example is left out of that example's sum.
    subtract_log_q : bool, default True
        Whether logits are corrected at all. Without, frequent classes, which are drawn more often,
        are learned to be too rare.
    estimator : {"candidate", "importance"}, default "candidate"
        What is corrected: "candidate", the formula above, all classes [1]_; "importance" the
        candidates only, for what they stand for, :math:`o'_s = o_s - \log(n q_s)` with q among the
        classes that are not true [2]_. The latter's gradient has no bias if q is proportional to
        the exponentials of the logits [3]_, candidates are drawn with replacement and one at least
        is not true; else it has one, as the former's.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives each example's loss.
    partition_strategy : {"div", "mod"}, default "div"
        How shards hold classes: consecutive ones ("div", the first shards may have one more), or
        class k in shard k modulo their number ("mod").
    return_grad : bool, default False
        Whether to return the gradient of the result as well; with reduction "none" that of the sum.
    rng : None, int, numpy.random.Generator or SeedSequence
        Where the draw's random numbers come from. The same state draws the same candidates on
        every backend and for any number of threads.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.
    threads : int, optional
        The most threads to use, by default `get_num_threads()`. The matrix products are NumPy's:
        how many threads its BLAS takes is set there (threadpoolctl, OPENBLAS_NUM_THREADS).

    Returns
    -------
    loss : scalar or ndarray
        Of the wider dtype of inputs and weight; with reduction "none" of shape (N,).
    grads : SampledGrads
        Only with `return_grad`: `inputs`, (N, D), of inputs' dtype; `ids`, (U,), the classes that
        took part, ascending; `weight_rows`, (U, D), and `bias_rows`, (U,), in float64 for float64,
        else in float32.

    Raises
    ------
    IndexError
        If a label or a candidate is no row of weight; the message has place and value.
    TypeError
        If an argument is of the wrong kind, or `num_sampled` is missing.
    ValueError
        If a shape or an option does not fit, more candidates are asked for than there are classes,
        or the sampler never draws one of the labels, which could then not be corrected for.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    nce_loss, negative_sampling_loss, in_batch_softmax_loss
    evaluate_softmax : The exact loss, which a sampled one is no substitute for.
    cross_entropy : Of all classes: the better choice wherever its time can be spared.
    sgd_rows_, adagrad_rows_, adam_rows_ : What takes the gradient.

    Notes
    -----
    Logits are computed in float32, or float64 where inputs or weight are that, by NumPy's matrix
    product. An accidental hit takes no part, and is not marked by a large number: half types and
    candidates drawn several times are no exception. With every class a candidate once,
    ``samplers.AllClasses``, the loss is the full cross-entropy. Memory beyond the gradient's is
    that of the gathered rows and of at most 32 MiB of logits.

    References
    ----------
    .. [1] S. Jean et al., "On Using Very Large Target Vocabulary for Neural Machine Translation",
       ACL 2015; TensorFlow, "Candidate Sampling Algorithms Reference".
    .. [2] Y. Bengio and J.-S. Senecal, "Adaptive Importance Sampling to Accelerate Training of a
       Neural Probabilistic Language Model", IEEE Trans. Neural Networks 19(4), 2008.
    .. [3] G. Blanc and S. Rendle, "Adaptive Sampled Softmax with Kernel Based Sampling", ICML 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.standard_normal((3, 4)), rng.standard_normal((1000, 4))
    >>> loss, grads = fs.sampled_softmax_loss(
    ...     x, w, [0, 2, 7], num_sampled=20, return_grad=True, rng=rng
    ... )
    >>> grads.weight_rows.shape == (len(grads.ids), 4)
    True
    >>> fs.sgd_rows_(w, grads.ids, grads.weight_rows, lr=0.1)

    All classes as candidates make it the full softmax's loss:

    >>> every = fs.samplers.AllClasses(1000)
    >>> loss = fs.sampled_softmax_loss(x, w, [0, 2, 7], sampler=every, num_sampled=1000)
    >>> print(np.isclose(loss, fs.cross_entropy(x @ w.T, [0, 2, 7])))
    True
    """
    chosen = choice("estimator", estimator, corrections.ESTIMATORS)
    options = _Options(
        softmax_loss, chosen if subtract_log_q else None, remove_accidental_hits, share=True
    )
    return _run(
        _registry.resolve(backend),
        (inputs, weight, labels, bias, partition_strategy),
        (sampler, num_sampled, candidates, rng),
        options,
        reduction,
        return_grad,
        _threads.resolve(threads),
    )


def nce_loss(
    inputs: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    sampler: Any = None,
    num_sampled: int | None = None,
    candidates: Any = None,
    remove_accidental_hits: bool = False,
    subtract_log_q: bool = True,
    reduction: str = "mean",
    partition_strategy: str = "div",
    return_grad: bool = False,
    rng: Any = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Noise-contrastive estimation: each class by its own sigmoid, true ones against a sample.

    .. math::
        l = \sum_{k} -t_k \log \sigma(o'_k) - (1 - t_k) \log (1 - \sigma(o'_k)), \quad
        o'_k = w_k \cdot x + b_k - \log E_k

    over an example's T true classes, for which t is 1/T, and the candidates, for which it is 0.

    Parameters
    ----------
    inputs, weight, labels, bias, sampler, num_sampled, candidates
        As for `sampled_softmax_loss`.
    remove_accidental_hits : bool, default False
        Whether a candidate that is a true class of an example is left out of that example's sum:
        then this is sampled logistic regression.
    subtract_log_q : bool, default True
        Whether logits are corrected by :math:`\log E`.
    reduction, partition_strategy, return_grad, rng, backend, threads
        As for `sampled_softmax_loss`.

    Returns
    -------
    loss : scalar or ndarray
        As of `sampled_softmax_loss`.
    grads : SampledGrads
        Only with `return_grad`.

    Raises
    ------
    IndexError, TypeError, ValueError, BackendUnavailable
        As `sampled_softmax_loss`.

    See Also
    --------
    sampled_softmax_loss, negative_sampling_loss

    References
    ----------
    .. [1] M. Gutmann and A. Hyvarinen, "Noise-contrastive estimation: A new estimation principle
       for unnormalized statistical models", AISTATS 2010.
    .. [2] A. Mnih and Y. W. Teh, "A fast and simple algorithm for training neural probabilistic
       language models", ICML 2012.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> x, w = np.zeros((2, 4)), np.zeros((100, 4))
    >>> loss = fs.nce_loss(x, w, [3, 5], sampler=fs.samplers.AllClasses(100), num_sampled=100)
    >>> print(np.isclose(loss, 101 * np.log(2)))
    True
    """
    estimator = "candidate" if subtract_log_q else None
    return _run(
        _registry.resolve(backend),
        (inputs, weight, labels, bias, partition_strategy),
        (sampler, num_sampled, candidates, rng),
        _Options(sigmoid_loss, estimator, remove_accidental_hits, share=True),
        reduction,
        return_grad,
        _threads.resolve(threads),
    )


def negative_sampling_loss(
    inputs: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    sampler: Any = None,
    num_sampled: int | None = None,
    candidates: Any = None,
    remove_accidental_hits: bool = True,
    reduction: str = "mean",
    partition_strategy: str = "div",
    return_grad: bool = False,
    rng: Any = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    r"""Negative sampling, as of word2vec: true classes against a sample, without correction.

    .. math::
        l = -\sum_{t} \log \sigma(o_t) - \sum_{s} \log \sigma(-o_s), \quad
        o_k = w_k \cdot x + b_k

    over an example's true classes t and the candidates s. It learns representations, not
    probabilities: those of frequent classes come out too small.

    Parameters
    ----------
    inputs, weight, labels, bias, sampler, num_sampled, candidates
        As for `sampled_softmax_loss`. word2vec draws from ``samplers.Unigram(counts, 0.75)``.
    remove_accidental_hits : bool, default True
        Whether a candidate that is a true class of an example is left out of that example's sum.
    reduction, partition_strategy, return_grad, rng, backend, threads
        As for `sampled_softmax_loss`.

    Returns
    -------
    loss : scalar or ndarray
        As of `sampled_softmax_loss`.
    grads : SampledGrads
        Only with `return_grad`.

    Raises
    ------
    IndexError, TypeError, ValueError, BackendUnavailable
        As `sampled_softmax_loss`.

    See Also
    --------
    sampled_softmax_loss, nce_loss

    References
    ----------
    .. [1] T. Mikolov et al., "Distributed Representations of Words and Phrases and their
       Compositionality", NIPS 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> x, w = np.zeros((2, 4)), np.zeros((100, 4))
    >>> loss = fs.negative_sampling_loss(x, w, [3, 5], num_sampled=10, remove_accidental_hits=False)
    >>> print(np.isclose(loss, 11 * np.log(2)))
    True
    """
    return _run(
        _registry.resolve(backend),
        (inputs, weight, labels, bias, partition_strategy),
        (sampler, num_sampled, candidates, rng),
        _Options(sigmoid_loss, None, remove_accidental_hits, share=False),
        reduction,
        return_grad,
        _threads.resolve(threads),
    )
