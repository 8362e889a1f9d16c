"""Checks of arguments that several of TensorFlow's functions take: true classes, seeds."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastsoftmax._arrays import as_array
from fastsoftmax._sampling.candidates import MOST_CLASSES, as_ids
from fastsoftmax._typing import Array


def as_true_classes(given: Any, num_true: int, name: str, range_max: int = MOST_CLASSES) -> Array:
    """Class ids [batch_size, num_true] below range_max, as int64."""
    found = as_array(given, name)
    if found.ndim != 2 or found.shape[1] != num_true:
        raise ValueError(
            f"{name} has shape {found.shape}; with num_true={num_true!r} it must be "
            f"(batch_size, {num_true!r})"
        )
    return as_ids(found, name, range_max)


def as_candidates(given: Any, name: str) -> Array:
    """Class ids in one dimension, as int64."""
    found = as_array(given, name)
    if found.ndim != 1:
        raise ValueError(f"{name} has shape {found.shape}; it must have one dimension")
    return as_ids(found, name, MOST_CLASSES)


def as_rng(seed: Any) -> Any:
    """A whole number as NumPy takes it, which knows none below 0; any other seed as it is."""
    is_whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    return int(seed) % (1 << 64) if is_whole else seed
