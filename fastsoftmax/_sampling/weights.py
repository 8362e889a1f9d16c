"""Counts of classes as a caller gives them, checked, and the distribution that they make."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from fastsoftmax._typing import Array

SMALLEST = 1e-280
"""Probabilities below this count as 0: tries are counted in float64, up to 1e283."""


def as_counts(counts: Any) -> Array:
    """Finite numbers that are not negative and not all 0, in one dimension, as float64."""
    given = np.asarray(counts)
    if given.ndim != 1 or not given.size:
        raise ValueError(f"counts has shape {given.shape}; it must have a number for each class")
    if given.dtype.kind not in "iuf":
        raise TypeError(f"counts has dtype {given.dtype}; it must hold real numbers")
    with np.errstate(over="ignore"):  # of long double: infinite, and refused
        numbers = given.astype(np.float64)
    bad = ~((numbers >= 0) & (numbers < np.inf))
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(f"counts[{place}] is {given[place]}; it must be finite and not negative")
    if not numbers.any():
        raise ValueError(f"counts: all {len(numbers)} of them are 0")
    return numbers


def as_distortion(distortion: Any) -> float:
    """A finite exponent that is not negative."""
    try:
        exponent = float(distortion)
    except (TypeError, ValueError):
        raise TypeError(f"distortion must be a number, not {distortion!r}") from None
    if not (isfinite(exponent) and exponent >= 0):
        raise ValueError(f"distortion is {exponent}; it must be finite and not negative")
    return exponent


def distorted(
    counts: Array, distortion: float, num_reserved: int, num_shards: int, shard: int
) -> Array:
    """The distribution over reserved classes and those of counts, of one shard of the ids."""
    p = np.zeros(num_reserved + len(counts))
    # Of the largest, so that no power overflows; what underflows is as good as 0.
    with np.errstate(under="ignore"):
        p[num_reserved:] = (counts / counts.max()) ** distortion
    kept = p[shard::num_shards].copy()
    p[:] = 0.0
    total = kept.sum()
    if total == 0:
        raise ValueError(
            f"counts: no class with id % {num_shards} == {shard} has a positive weight "
            f"(num_reserved is {num_reserved}, distortion {distortion})"
        )
    kept /= total
    kept[kept < SMALLEST] = 0.0
    p[shard::num_shards] = kept
    return p
