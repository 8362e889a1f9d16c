"""Class indices: from any array of integers to a checked copy that kernels may trust.

The only file that knows what a label in range is. What a loss does with it is not said here.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from fastsoftmax._typing import IGNORED, INVALID, Array, Mask


def as_ignore_index(ignore_index: Any) -> int | None:
    """The label of rows that do not count, as a plain number; None if there is none."""
    if ignore_index is None:
        return None
    try:
        return index(ignore_index)
    except TypeError:
        raise TypeError(f"ignore_index must be an int or None, not {ignore_index!r}") from None


def class_indices(labels: Array, classes: int, ignore_index: int | None, check: bool) -> Array:
    """The labels as int64 in C order, with IGNORED and INVALID where they are that.

    Copied before they are looked at: nobody can change them between the check and their use. With
    `check` the first label out of range is an IndexError.
    """
    own = labels.astype(labels.dtype.newbyteorder("="), "C", copy=True)
    outside = _outside(own, classes)
    has_outside = bool(outside.any())
    if not has_outside and (ignore_index is None or not 0 <= ignore_index < classes):
        return own.astype(np.int64, copy=False)
    ignored = _equal(own, ignore_index)
    outside &= ~ignored
    if check and has_outside and outside.any():
        raise IndexError(_complaint(own, outside, classes))
    indices = own.astype(np.int64, copy=False)
    np.copyto(indices, IGNORED, where=ignored)
    np.copyto(indices, INVALID, where=outside)
    return indices


def _outside(labels: Array, classes: int) -> Mask:
    """Where a label is negative or too large, in one comparison of the unsigned type's width.

    No detour by int64: 2**64 - 1 would come out of it as -1, and int8 holds no 200 to compare with.
    """
    limits = np.iinfo(labels.dtype)
    unsigned = labels.view(np.dtype(f"u{labels.dtype.itemsize}"))
    bound = min(classes, int(limits.max) + 1)
    if bound > np.iinfo(unsigned.dtype).max:  # an unsigned type whose every number is a class
        return np.zeros(labels.shape, np.bool_)
    return np.asarray(unsigned >= unsigned.dtype.type(bound))


def _equal(labels: Array, number: int | None) -> Mask:
    limits = np.iinfo(labels.dtype)
    if number is None or not limits.min <= number <= limits.max:
        return np.zeros(labels.shape, np.bool_)
    return np.asarray(labels == labels.dtype.type(number))


def _complaint(labels: Array, outside: Mask, classes: int) -> str:
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(outside)), outside.shape))
    row = "the row" if not place else f"row {place[0] if len(place) == 1 else place}"
    known = "there are no classes" if not classes else f"the classes are 0 to {classes - 1}"
    return f"labels: {row} has label {labels[place]}, but {known} ({classes} of them)"


def total_weight(indices: Array, weight: Array | None) -> float:
    """The sum of the class weights over the rows that count."""
    valid = indices >= 0
    if weight is None:
        return float(np.count_nonzero(valid))
    return float(weight[indices[valid]].sum(dtype=np.float64))
