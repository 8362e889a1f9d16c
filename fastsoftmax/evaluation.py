"""The public evaluation by the full softmax: normalise, resolve a backend, call, return."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax import _registry, _threads
from fastsoftmax._sampling.evaluation import evaluate, evaluation_call

__all__ = ["Evaluation", "evaluate_softmax"]


class Evaluation(NamedTuple):
    """What `evaluate_softmax` found.

    Attributes
    ----------
    loss : float
        The mean cross-entropy, in nats.
    perplexity : float
        exp(loss): of a uniform guess among that many classes, the loss were the same.
    accuracy : dict of int to float
        By k, the share of examples with the label among the k largest logits.
    num_examples : int
        How many counted.
    """

    loss: float
    perplexity: float
    accuracy: dict[int, float]
    num_examples: int


def evaluate_softmax(
    inputs: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    top_k: int | Iterable[int] = (1, 5),
    ignore_index: int | None = -100,
    partition_strategy: str = "div",
    progress: Callable[[int, int], object] | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Evaluation:
    r"""Mean loss and accuracy of a linear layer under the full softmax, in bounded memory.

    .. math:: \frac{1}{N} \sum_i \left( \log \sum_k e^{o_{ik}} - o_{i y_i} \right), \quad
              o_{ik} = x_i \cdot w_k + b_k

    What was trained with a sample of the classes is to be judged by all of them.

    Parameters
    ----------
    inputs : array_like
        x in the formula, shape (N, D): float16, bfloat16, float32 or float64, any strides; integers
        and bool are taken as float64.
    weight : array_like, or list or tuple of array_like
        w in the formula, shape (V, D), as inputs; or shards of it by rows. It may be memory-mapped.
    labels : array_like of int
        y in the formula: class indices of any integer type, shape (N,).
    bias : array_like, or list or tuple of array_like, optional
        b in the formula, shape (V,), or shards of it.
    top_k : int or iterable of int, default (1, 5)
        The k of each accuracy, from 1 to 1000: so many logits of a row are kept.
    ignore_index : int or None, default -100
        Examples with this label do not count. None: there is no such label.
    partition_strategy : {"div", "mod"}, default "div"
        How shards divide the classes: shard i of n has adjacent ones, or those that are i modulo n.
    progress : callable, optional
        Called now and then with the number of examples that are done and of all.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.
    threads : int, optional
        The most threads to use between matrix products, by default `get_num_threads()`. The
        products are NumPy's, which has threads of its own.

    Returns
    -------
    Evaluation
        loss, perplexity, accuracy, num_examples; all but the last NaN if no example counts.

    Raises
    ------
    IndexError
        If a label is out of range; the message has row, label and number of classes.
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a shape, a k or the partition strategy does not fit.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    cross_entropy : From logits, with a gradient.

    Notes
    -----
    A class as likely as the label counts as more likely: the label is among the k largest if fewer
    than k other logits are as large or larger. So a layer that cannot tell classes apart is right
    about none, in whatever order they stand.

    Logits, and the sum of exponentials of each tile of them, are computed in float32, or float64 if
    inputs or weight are; sums over all classes, and losses, in float64. A row's logits are
    compared, and exponentiated, as one and the same product gave them. A row that holds NaN or
    +inf, or nothing but -inf, has loss NaN; with NaN it is not right for any k.

    Beside a copy of labels as int64 it takes at most 32 MB, whatever the number of examples and
    classes: logits exist for up to 1024 examples and some classes at a time. (Not so for a row of
    more than 4 MB, or weights that are integers or of foreign byte order, which are converted as a
    whole.) All weights are read once for every 1024 examples.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> weight = [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]
    >>> found = fs.evaluate_softmax([[2.0, 0.0], [0.0, 3.0], [1.0, 2.0]], weight, [0, 1, 0])
    >>> print(round(found.loss, 3), round(found.perplexity, 3), found.num_examples)
    0.504 1.655 3
    >>> {k: round(share, 3) for k, share in found.accuracy.items()}
    {1: 0.667, 5: 1.0}
    """
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable, not {progress!r}")
    chosen = _registry.resolve(backend)
    call = evaluation_call(
        *(inputs, weight, labels, bias, top_k, ignore_index, partition_strategy),
        _threads.resolve(threads),
    )
    totals = evaluate(chosen, call, progress)
    loss = totals.mean_loss
    with np.errstate(all="ignore"):
        perplexity = float(np.exp(loss))
    return Evaluation(loss, perplexity, totals.accuracy, totals.examples)
