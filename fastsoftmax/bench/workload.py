"""The arrays of a case, and what its results have to be. Nothing is called or timed here."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastsoftmax._truth import Bound, Deviation, Truth, as_dtype, deviation, truth
from fastsoftmax._typing import Array, Mask
from fastsoftmax.bench.cases import Case

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
    """What the contestants of a case share: `x`, `where`, room for the result in `out`."""

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
        self.expected = _truth(case, block, seen)

    def _repeated(self, block: Array) -> Array:
        """The whole batch in the case's layout, its rows those of the block again and again."""
        case = self.case
        whole = aligned(case.shape, block.dtype)
        last = np.moveaxis(whole, case.axis, -1)
        rows: Array = last.reshape(case.batch, case.classes)  # a view if the classes are last
        for start in range(0, case.batch, len(block)):
            rows[start : start + len(block)] = block[: case.batch - start]
        if not np.shares_memory(rows, whole):
            last[...] = rows.reshape(last.shape)
        return whole

    def judge(self, result: Array, bound: Bound) -> Deviation:
        """The worst number of a result of this case."""
        case = self.case
        if result.shape != case.result_shape or result.dtype != as_dtype(case.dtype):
            raise ValueError(
                f"{case}: the result is {result.dtype} of shape {result.shape}, "
                f"not {case.dtype} of {case.result_shape}"
            )
        if case.operation.per_class:
            result = np.moveaxis(result, case.axis, -1)
        rows = (case.batch, case.classes) if case.operation.per_class else (case.batch,)
        return check(result.reshape(rows), self.expected, bound)


def _truth(case: Case, block: Array, seen: Mask) -> Truth:
    dtype = as_dtype(case.dtype)
    scores = block.astype(dtype) / dtype.type(case.option.temperature)
    if case.option.masked:
        scores[~seen] = -np.inf
    return truth(case.operation.name, scores)


def check(out: Array, expected: Truth, bound: Bound) -> Deviation:
    """The worst result of a batch whose rows repeat those that `expected` belongs to."""
    rows = len(expected.values)
    worst = deviation(out[:rows], expected, bound)
    for start in range(rows, len(out), rows):
        block = out[start : start + rows]
        if np.array_equal(block, out[: len(block)]):  # judged already
            continue
        seen = deviation(block, expected.first(len(block)), bound)
        largest = max(worst.largest, seen.largest)
        if seen.share > worst.share:
            row, *rest = seen.place
            worst = seen._replace(place=(start + row, *rest))
        worst = worst._replace(largest=largest)
    return worst
