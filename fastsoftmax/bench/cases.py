"""What is measured: the operations with the bytes they must move, and the grid of cases.

An operation added to `OPERATIONS` is in every part of the benchmark. Nothing is timed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product, starmap
from typing import NamedTuple

import numpy as np

from fastsoftmax._truth import as_dtype
from fastsoftmax._typing import Array


class Operation(NamedTuple):
    """A public function along the last axis; whether it gives a number per class or per row."""

    name: str
    per_class: bool


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("softmax", per_class=True),
        Operation("log_softmax", per_class=True),
        Operation("logsumexp", per_class=False),
    )
}

BLOCK = 1 << 20
"""Logits that are drawn, and whose truth is computed; a larger case repeats their rows."""

SPREAD = 4.0
"""Standard deviation of the logits: about that of a trained classifier."""


class Case(NamedTuple):
    """One cell of the grid."""

    operation: Operation
    dtype: str
    batch: int
    classes: int
    threads: int

    @property
    def elements(self) -> int:
        """Logits that one call reads."""
        return self.batch * self.classes

    @property
    def bytes_moved(self) -> int:
        """The least traffic: every logit read once, every result written once."""
        written = self.elements if self.operation.per_class else self.batch
        return (self.elements + written) * as_dtype(self.dtype).itemsize

    def block(self) -> Array:
        """The rows that differ from each other, the same in every run."""
        rows = min(self.batch, max(1, BLOCK // self.classes))
        noise = np.random.default_rng(20).standard_normal((rows, self.classes), np.float32)
        return (SPREAD * noise).astype(as_dtype(self.dtype))

    def logits(self, block: Array) -> Array:
        """The whole batch, its rows those of the block again and again."""
        x = np.empty((self.batch, self.classes), block.dtype)
        for start in range(0, self.batch, len(block)):
            x[start : start + len(block)] = block[: self.batch - start]
        return x

    def room(self) -> Array:
        """An array for the result."""
        shape = (self.batch, self.classes) if self.operation.per_class else (self.batch,)
        return np.empty(shape, as_dtype(self.dtype))

    def __str__(self) -> str:
        """The case in a line."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.operation.name} {self.dtype} {self.batch} x {self.classes}, {threads}"


def grid(
    operations: Sequence[str],
    dtypes: Sequence[str],
    batches: Sequence[int],
    classes: Sequence[int],
    threads: Sequence[int],
) -> list[Case]:
    """Every combination, smallest first within an operation and dtype."""
    known = [OPERATIONS[name] for name in operations]
    return list(starmap(Case, product(known, dtypes, sorted(batches), sorted(classes), threads)))
