"""What `_numba.py` and `_numpy.py` have in common for losses: sums of them, and `nll_loss`.

In NumPy, as nothing here is worth compiling; no arithmetic on logits but at one class of each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, nan

import numpy as np

from fastsoftmax._typing import IGNORED, INVALID, Array, LossCall


def total_of(call: LossCall) -> float:
    """The sum of the losses."""
    return float(call.losses.sum(dtype=np.float64))


def rounded_sum(totals: Sequence[float]) -> float:
    """The sum of some totals, rounded once in whatever order they were found."""
    try:
        return fsum(totals)
    except (OverflowError, ValueError):  # too large, or of both infinities
        with np.errstate(all="ignore"):
            return float(np.sum(np.sort(totals)))


def settle_others(losses: Array, labels: Array) -> None:
    """The losses of rows that no label names."""
    np.copyto(losses, 0.0, where=labels == IGNORED)
    np.copyto(losses, nan, where=labels == INVALID)


def nll_loss(call: LossCall) -> float:
    """The log-probabilities at the labels, negated and weighted."""
    assert call.labels is not None
    at = np.maximum(call.labels, 0)
    with np.errstate(all="ignore"):
        # From 0, not negated: the loss of a certain class is 0, not -0.
        losses = 0.0 - np.take_along_axis(call.logits, at, call.axis).astype(call.losses.dtype)
        if call.weight is not None:  # a weight of 0 takes an infinity out, but not a NaN
            weight = call.weight[at]
            losses[(weight == 0) & np.isinf(losses)] = 0.0
            losses *= weight
    np.copyto(call.losses, losses)
    settle_others(call.losses, call.labels)
    return total_of(call)
