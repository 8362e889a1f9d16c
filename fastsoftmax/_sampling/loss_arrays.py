"""From what a caller hands to a sampled loss to its normal form `SampledCall`.

Beside `_loss_arrays` and `tables`, whose rules hold here too. No arithmetic on logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._arrays import as_array, compute_dtype, refuse_mask, unmasked_floats
from fastsoftmax._labels import class_indices
from fastsoftmax._loss_arrays import REDUCTIONS, choice, promoted
from fastsoftmax._sampling.base_sampler import BaseSampler
from fastsoftmax._sampling.candidates import Candidates
from fastsoftmax._sampling.tables import Table, as_table
from fastsoftmax._typing import Array, Match


class SampledCall(NamedTuple):
    """A loss over true classes and candidates, in normal form.

    `inputs` are [N, D] and `offset`s subtracted from logits, in C order and the compute type;
    `labels` [N, T] and `ids` [S] are int64 and rows of `weight`; `target` is the probability of
    each true class. `match` is there where hits are to be removed or a gradient is wanted.
    """

    inputs: Array
    weight: Table
    bias: Table | None
    labels: Array
    ids: Array
    of_true: Array | None
    of_candidates: Array | None
    target: float
    match: Match | None
    removes_hits: bool
    threads: int


class Arrays(NamedTuple):
    """The arguments that are arrays, checked."""

    inputs: Array
    weight: Table
    bias: Table | None
    labels: Array
    dtype: np.dtype[Any]
    """Of the result."""


def arrays(inputs: Any, weight: Any, labels: Any, bias: Any, strategy: Any) -> Arrays:
    """Inputs and table of one width, labels that are rows of it."""
    x = unmasked_floats(inputs, "inputs")
    if x.ndim != 2:
        raise ValueError(f"inputs has shape {x.shape}; it must be (N, D), a row for each example")
    table = as_table(weight, "weight", strategy)
    if table.columns != x.shape[1]:
        raise ValueError(
            f"inputs has {x.shape[1]} columns, but weight has {table.columns}; they must agree"
        )
    numbers = None if bias is None else as_table(bias, "bias", strategy, one_column=True)
    if numbers is not None and numbers.num_classes != table.num_classes:
        raise ValueError(
            f"bias is of {numbers.num_classes} classes, but weight is of {table.num_classes}"
        )
    result = promoted(x.dtype, table.dtype)
    return Arrays(x, table, numbers, _true_classes(labels, len(x), table.num_classes), result)


def _true_classes(labels: Any, examples: int, classes: int) -> Array:
    """Labels as [N, T], a copy of this call's own."""
    refuse_mask(labels, "labels")
    given = as_array(labels, "labels")
    true = given.shape[1] if given.ndim == 2 else 1
    if given.ndim not in (1, 2) or len(given) != examples or true == 0:
        raise ValueError(
            f"labels has shape {given.shape}; for {examples} examples it must be ({examples},), or "
            f"({examples}, T) for T >= 1 true classes each"
        )
    if given.dtype.kind not in "iu":
        raise TypeError(f"labels has dtype {given.dtype}; class indices are integers")
    return class_indices(given, classes, None, True).reshape(examples, true)


def draw(
    sampler: Any,
    num_sampled: Any,
    candidates: Any,
    labels: Array,
    classes: int,
    rng: Any,
    backend: str,
    default: Callable[[int], Any],
) -> tuple[Any, Candidates]:
    """Sampler and candidates, drawn now unless they are given; their ids in range."""
    if candidates is None:
        if num_sampled is None:
            raise TypeError("num_sampled is needed: how many candidates to draw; or candidates=")
        sampler = default(classes) if sampler is None else sampler
    if sampler is not None:
        _check_sampler(sampler, classes)
    drawn = candidates
    if drawn is None:
        # A sampler of the caller's own knows of no backends.
        where = {"backend": backend} if isinstance(sampler, BaseSampler) else {}
        drawn = sampler.sample(num_sampled, labels=labels.reshape(-1), rng=rng, **where)
    if not isinstance(drawn, Candidates):
        raise TypeError(f"candidates must be what sampler.sample returns, not {drawn!r}")
    ids = _checked_ids(drawn.ids, classes)
    if num_sampled is not None and num_sampled != len(ids):
        raise ValueError(f"num_sampled is {num_sampled}, but candidates holds {len(ids)} ids")
    return sampler, drawn._replace(ids=ids)


def _check_sampler(sampler: Any, classes: int) -> None:
    lacking = [n for n in ("num_classes", "sample", "expected_count") if not hasattr(sampler, n)]
    if lacking:
        raise TypeError(
            f"sampler must have num_classes, sample and expected_count; {sampler!r} lacks "
            f"{', '.join(lacking)}"
        )
    if sampler.num_classes > classes:
        raise ValueError(
            f"sampler is of {sampler.num_classes} classes, but weight has {classes} rows"
        )


def _checked_ids(given: Any, classes: int) -> Array:
    """The ids as int64, a copy of this call's own."""
    ids = as_array(given, "candidates.ids")
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(
            f"candidates.ids has dtype {ids.dtype} and shape {ids.shape}; it must be integers in "
            "one dimension"
        )
    own = ids.astype(np.int64, order="C", copy=True)
    outside = (own < 0) | (own >= classes)  # what int64 does not hold has become negative
    if outside.any():
        place = int(outside.argmax())
        raise IndexError(
            f"candidates.ids[{place}] is {ids[place]}, but the classes are 0 to {classes - 1}"
        )
    return own


def call_of(
    given: Arrays,
    ids: Array,
    of_true: Array | None,
    of_candidates: Array | None,
    target: float,
    match: Match | None,
    removes_hits: bool,
    threads: int,
) -> SampledCall:
    """The normal form, offsets converted to the compute type."""
    real = compute_dtype(given.dtype)
    x = np.ascontiguousarray(given.inputs, real)

    def as_real(offsets: Array | None) -> Array | None:
        return None if offsets is None else np.ascontiguousarray(offsets, real)

    return SampledCall(
        *(x, given.weight, given.bias, given.labels, ids, as_real(of_true)),
        *(as_real(of_candidates), target, match, removes_hits, threads),
    )


def reduction_of(reduction: Any) -> str:
    """The reduction, checked."""
    return choice("reduction", reduction, REDUCTIONS)
