"""The arrays of a case, and what its results have to be. Nothing is called or timed here."""

from __future__ import annotations

from copy import copy as shallow_copy
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from fastsoftmax import _truth_losses
from fastsoftmax._truth import Bound, Deviation, Truth, as_dtype, deviation, truth
from fastsoftmax._typing import Array, Mask
from fastsoftmax.bench.cases import LABELS, OPERATIONS, Case

BLOCK = 1 << 18
"""Logits that are drawn, and whose truth is computed; a larger case repeats their rows."""

ALIGNMENT = 64
"""Of every array: what malloc happens to give makes as much as a tenth of a copy's speed."""


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A C-contiguous array that begins on a cache line."""
    size = prod(shape) * dtype.itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    array: Array = room[start : start + size].view(dtype).reshape(shape)
    return array


class Workload:
    """What the contestants of a case share: `x`, what is `given` beside it, `where`, and `out`.

    `out` is room for the result or, where there are two, for the gradient.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        # First: what does not fit into memory fails before any work.
        self.out = aligned(case.result_shape, as_dtype(case.dtype))
        rng = np.random.default_rng(20)
        rows = min(case.batch, max(1, BLOCK // case.classes))
        noise = rng.standard_normal((rows, case.classes), np.float32)
        block = (case.option.spread * noise).astype(as_dtype(case.option.source or case.dtype))
        seen = rng.random(block.shape) < 0.5
        seen[:, 0] = True
        if case.option.hidden:
            block[~seen] = np.finfo(block.dtype).min
        self.x: Array = self._repeated(block)
        self.where: Mask | None = self._repeated(seen) if case.option.masked else None
        given = _given(case, rng, block)
        self.given: Array | None = None if given is None else self._repeated(given)
        self.expected = _truths(case, block, seen, given)

    def _repeated(self, block: Array) -> Array:
        """The whole batch in the case's layout, its rows those of the block again and again."""
        case = self.case
        if block.ndim == 1:
            return np.resize(block, case.batch_shape)
        whole = aligned(case.shape, block.dtype)
        last = np.moveaxis(whole, case.axis, -1)
        rows: Array = last.reshape(case.batch, case.classes)  # a view if the classes are last
        for start in range(0, case.batch, len(block)):
            rows[start : start + len(block)] = block[: case.batch - start]
        if not np.shares_memory(rows, whole):
            last[...] = rows.reshape(last.shape)
        return whole

    def copy(self) -> Workload:
        """The same on other memory; what the results have to be is shared."""
        other = shallow_copy(self)
        for name in ("x", "out", "given", "where"):
            array: Array | None = getattr(self, name)
            if array is not None:
                own = aligned(array.shape, array.dtype)
                own[...] = array
                setattr(other, name, own)
        return other

    def judge(self, results: Array | tuple[Array, ...], *bounds: Bound) -> Deviation:
        """The worst number of the results of this case, by a bound for each of them."""
        case = self.case
        found = results if isinstance(results, tuple) else (results,)
        worst = []
        for got, shape, expected, bound in zip(
            found, case.result_shapes, self.expected, bounds, strict=True
        ):
            if got.shape != shape or got.dtype != as_dtype(case.dtype):
                raise ValueError(
                    f"{case}: the result is {got.dtype} of shape {got.shape}, "
                    f"not {case.dtype} of {shape}"
                )
            by_rows = np.moveaxis(got, case.axis, -1) if shape == case.shape else got
            worst.append(check(by_rows.reshape(-1, *expected.values.shape[1:]), expected, bound))
        return reduce(_worse, worst)


def _given(case: Case, rng: np.random.Generator, block: Array) -> Array | None:
    """What the operation takes beside these rows."""
    if case.operation.given is None:
        return None
    if case.operation.given == LABELS:
        return rng.integers(case.classes, size=len(block))
    return (rng.random(block.shape) < 0.5).astype(as_dtype(case.dtype))


def _truths(case: Case, block: Array, seen: Mask, given: Array | None) -> list[Truth]:
    """Of each result; what is no mean is that of the block's rows."""
    dtype = as_dtype(case.dtype)
    scores = block.astype(dtype) / dtype.type(case.option.temperature)
    if case.option.masked:
        scores[~seen] = -np.inf
    if case.operation.name in OPERATIONS:
        return [truth(case.operation.name, scores)]
    if given is None:
        return [_truth_losses.of_elements(case.operation.name, scores)]
    copies = np.bincount(np.arange(case.batch) % len(block))
    return [
        _truth_losses.of_mean(quantity, scores, given, copies)
        for quantity, _ in case.operation.results
    ]


def _worse(one: Deviation, other: Deviation) -> Deviation:
    """The one that uses up more of its bound, with the largest error of both."""
    farthest = max(one, other, key=lambda found: found.largest)
    return max(one, other, key=lambda found: found.share)._replace(
        largest=farthest.largest, allowed_there=farthest.allowed_there
    )


def check(out: Array, expected: Truth, bound: Bound) -> Deviation:
    """The worst result of a batch whose rows repeat those that `expected` belongs to."""
    rows = len(expected.values)
    worst = deviation(out[:rows], expected, bound)
    for start in range(rows, len(out), rows):
        block = out[start : start + rows]
        if np.array_equal(block, out[: len(block)]):  # judged already
            continue
        seen = deviation(block, expected.first(len(block)), bound)
        row, *rest = seen.place
        worst = _worse(worst, seen._replace(place=(start + row, *rest)))
    return worst
