"""TensorFlow's `compute_accidental_hits`: which candidates are true classes of which example."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._typing import Array
from fastsoftmax.compat._tf_arguments import as_candidates, as_true_classes


class AccidentalHits(NamedTuple):
    """Where candidates are true classes.

    Attributes
    ----------
    indices : ndarray of int32
        Rows of true_classes, ascending.
    ids : ndarray of int64
        Positions in sampled_candidates, ascending within a row.
    weights : ndarray of float32
        -FLT_MAX for each.
    """

    indices: Array
    ids: Array
    weights: Array


def compute_accidental_hits(
    true_classes: Any,
    sampled_candidates: Any,
    num_true: int,
    seed: Any = None,
    name: str | None = None,
) -> AccidentalHits:
    """`tf.nn.compute_accidental_hits`: which candidates are true classes of which example.

    Parameters
    ----------
    true_classes : array_like of int, shape (batch_size, num_true)
        The true classes of each example.
    sampled_candidates : array_like of int, shape (num_sampled,)
        The candidates.
    num_true : int
        Columns of true_classes.
    seed, name
        Of no meaning.

    Returns
    -------
    AccidentalHits
        Rows (int32), positions among the candidates (int64), and -FLT_MAX for each (float32).

    Raises
    ------
    IndexError
        If there is a number below 0, which is no class.
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a shape does not fit.

    Notes
    -----
    Each pair of row and position is there once, in ascending order. TensorFlow, in no promised
    order, has it as often as a row names the class, and of a candidate drawn several times has the
    last position only.

    Examples
    --------
    >>> import fastsoftmax.compat.tf as tf_nn
    >>> rows, positions, _ = tf_nn.compute_accidental_hits([[0, 1], [5, 3]], [3, 2, 0], 2)
    >>> rows, positions
    (array([0, 1], dtype=int32), array([2, 0]))
    """
    true = np.sort(as_true_classes(true_classes, num_true, "true_classes"), axis=1)
    candidates = as_candidates(sampled_candidates, "sampled_candidates")
    order = np.argsort(candidates, kind="stable")
    begin = np.searchsorted(candidates, true, "left", order)
    count = np.searchsorted(candidates, true, "right", order) - begin
    count[:, 1:][true[:, 1:] == true[:, :-1]] = 0  # a class that a row names twice
    rows, begin, count = np.repeat(np.arange(len(true)), num_true), begin.ravel(), count.ravel()
    # The copies of a candidate lie one after another in `order`.
    copies = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    positions = order[np.repeat(begin, count) + copies]
    rows = np.repeat(rows, count)
    ascending = np.lexsort((positions, rows))
    return AccidentalHits(
        rows[ascending].astype(np.int32),
        positions[ascending].astype(np.int64),
        np.full(len(rows), -np.finfo(np.float32).max, np.float32),
    )
