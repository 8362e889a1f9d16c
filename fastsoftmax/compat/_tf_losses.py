"""TensorFlow's sampled losses, over this package's own. Nothing is computed here."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastsoftmax import sampled
from fastsoftmax._arrays import as_floats
from fastsoftmax._typing import Array
from fastsoftmax.compat._tf_arguments import as_candidates, as_true_classes
from fastsoftmax.compat._tf_samplers import draw
from fastsoftmax.samplers import Candidates, LogUniform


def sampled_softmax_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: Any = None,
    name: str | None = "sampled_softmax_loss",
) -> Array:
    r"""`tf.nn.sampled_softmax_loss`: each example's cross-entropy over a sample of the classes.

    .. math:: l = -\frac{1}{T} \sum_{t} \log p_t, \quad p = \mathrm{softmax}(o - \ln E)

    over an example's T true classes and the candidates that are not one of them, where
    :math:`o_k = x \cdot w_k + b_k` and E is the expected count of a class in the sample.

    Parameters
    ----------
    weights : array_like, shape (num_classes, dim), or list of array_like
        A row for each class; of a list the first `num_classes % len(weights)` arrays hold one row
        more than the others (TensorFlow's partition strategy "div").
    biases : array_like, shape (num_classes,), or list of array_like
        A number for each class.
    labels : array_like of int, shape (batch_size, num_true)
        The true classes of each example.
    inputs : array_like, shape (batch_size, dim)
        What the classes' rows are multiplied with.
    num_sampled : int
        How many candidates to draw, for the whole batch.
    num_classes : int
        Candidates are below this number.
    num_true : int, default 1
        True classes of an example.
    sampled_values : tuple, optional
        (sampled_candidates, true_expected_count, sampled_expected_count), as the samplers here give
        them; by default what `log_uniform_candidate_sampler` draws, without replacement.
    remove_accidental_hits : bool, default True
        Whether candidates that are true classes of an example are left out for that example.
    seed : int, numpy.random.Generator, numpy.random.SeedSequence, optional
        Where the candidates come from. By default they are others in each call.
    name : str, optional
        Of no meaning here.

    Returns
    -------
    ndarray, shape (batch_size,)
        Each example's loss, of inputs' dtype.

    Raises
    ------
    IndexError
        If a label or a candidate is out of range.
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If shapes do not fit, or a class that takes part has an expected count of 0.

    See Also
    --------
    fastsoftmax.sampled_softmax_loss : the same with gradients and a choice of sampler.

    Notes
    -----
    The generator is NumPy's: a seed gives the same candidates in every call and on every backend,
    but not those of TensorFlow, where calls with the same seed go on in one stream. To go on, pass
    a `numpy.random.Generator`.

    A hit is left out of the sum, every one of several duplicates, where TensorFlow adds -FLT_MAX to
    the last one's logit. A weight table of another dtype than inputs is not converted as a whole.

    References
    ----------
    .. [1] S. Jean et al., "On Using Very Large Target Vocabulary for Neural Machine Translation",
       ACL 2015, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.compat.tf as tf_nn
    >>> w, b, x, drawn = np.eye(4), np.zeros(4), [[2.0, 0, 0, 0]], ([1, 0, 3], [[0.5]], [0.5] * 3)
    >>> tf_nn.sampled_softmax_loss(w, b, [[0]], x, 3, 4, sampled_values=drawn).round(4)
    array([0.2395])
    """
    candidates, labels = _given_or_drawn(
        labels, num_sampled, num_classes, num_true, sampled_values, seed
    )
    losses = sampled.sampled_softmax_loss(
        inputs,
        weights,
        labels,
        bias=biases,
        candidates=candidates,
        remove_accidental_hits=remove_accidental_hits,
        reduction="none",
    )
    return _as_inputs(losses, inputs)


def nce_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    name: str | None = "nce_loss",
) -> Array:
    r"""`tf.nn.nce_loss`: each example's noise-contrastive estimation loss.

    .. math:: l = -\frac{1}{T} \sum_t \log \sigma(z_t) - \frac{T - 1}{T} \sum_t \log \sigma(-z_t)
              - \sum_s \log \sigma(-z_s), \quad z = o - \ln E

    over an example's T true classes t, whose target is 1 / T as in TensorFlow, and the candidates
    s, where :math:`o_k = x \cdot w_k + b_k` and E is the expected count of a class in the sample.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        As in `sampled_softmax_loss`. There is no seed; to choose one, pass what
        `log_uniform_candidate_sampler` drew as `sampled_values`.
    remove_accidental_hits : bool, default False
        Whether candidates that are true classes of an example are left out for that example, which
        makes it the sampled logistic loss.
    name : str, optional
        Of no meaning here.

    Returns
    -------
    ndarray, shape (batch_size,)
        Each example's loss, of inputs' dtype.

    Raises
    ------
    IndexError, TypeError, ValueError
        As in `sampled_softmax_loss`.

    See Also
    --------
    fastsoftmax.nce_loss : the same with gradients and a choice of sampler.

    References
    ----------
    .. [1] M. Gutmann and A. Hyvarinen, "Noise-contrastive estimation", AISTATS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.compat.tf as tf_nn
    >>> w, b, x, drawn = np.eye(4), np.zeros(4), [[2.0, 0, 0, 0]], ([1, 0, 3], [[0.5]], [0.5] * 3)
    >>> tf_nn.nce_loss(w, b, [[0]], x, 3, 4, sampled_values=drawn).round(4)
    array([5.0213])
    """
    candidates, labels = _given_or_drawn(
        labels, num_sampled, num_classes, num_true, sampled_values, None
    )
    losses = sampled.nce_loss(
        inputs,
        weights,
        labels,
        bias=biases,
        candidates=candidates,
        remove_accidental_hits=remove_accidental_hits,
        reduction="none",
    )
    return _as_inputs(losses, inputs)


def _as_inputs(losses: Array, inputs: Any) -> Array:
    """TensorFlow's result has inputs' dtype, whatever that of the weights."""
    with np.errstate(over="ignore"):  # a half type has less room
        return losses.astype(as_floats(inputs, "inputs").dtype, copy=False)


def _given_or_drawn(
    labels: Any, num_sampled: int, num_classes: int, num_true: int, sampled_values: Any, seed: Any
) -> tuple[Candidates, Array]:
    """Candidates that carry their expected counts, and the labels, checked against each other."""
    if sampled_values is None:
        sampler = LogUniform(num_classes)
        true = as_true_classes(labels, num_true, "labels", num_classes)
        return draw(sampler, true, num_sampled, True, seed), true
    true = as_true_classes(labels, num_true, "labels")
    ids, of_true, of_sampled = sampled_values
    ids = as_candidates(ids, "sampled_values[0]")
    if ids.shape != (num_sampled,):
        raise ValueError(
            f"sampled_values[0] has shape {ids.shape}; with num_sampled={num_sampled} it must be "
            f"({num_sampled},)"
        )
    # How they were drawn does not matter to expected counts that are there.
    return Candidates(ids, num_sampled, False, None, 0.0, of_true, of_sampled), true
