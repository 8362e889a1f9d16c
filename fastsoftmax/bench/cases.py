"""What is measured: the operations with the bytes they must move, cases, and a grid of them.

An operation added to `OPERATIONS` is in every part of the benchmark. Nothing is timed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import NamedTuple

from fastsoftmax._truth import as_dtype


class Operation(NamedTuple):
    """A public function along one axis; whether it gives a number per class or per row."""

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

SPREAD = 4.0
"""Standard deviation of the logits: about that of a trained classifier."""


class Option(NamedTuple):
    """What sets a case apart from the plain one: an argument, or what the rows hold."""

    name: str
    source: str | None = None  # dtype of x, where `dtype=` asks for another one
    masked: bool = False  # `where=` leaves every other class out, at random
    temperature: float = 1.0  # a power of two: the truth divides by it without rounding
    allocated: bool = False  # no `out=`: the call makes the array of the result
    spread: float = SPREAD
    hidden: bool = False  # every other class, at random, holds the lowest finite number
    crowded: bool = False  # another process keeps a processor busy


PLAIN = Option("plain")


class Case(NamedTuple):
    """A call to be measured: x of `shape`, classes along `axis`, `dtype` that of the result."""

    operation: Operation
    dtype: str
    shape: tuple[int, ...]
    threads: int = 1
    axis: int = -1
    option: Option = PLAIN

    @property
    def classes(self) -> int:
        """Length of a row."""
        return self.shape[self.axis]

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.elements // self.classes

    @property
    def elements(self) -> int:
        """Logits that one call reads."""
        return prod(self.shape)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape without the class axis."""
        place = self.axis % len(self.shape)
        return self.shape[:place] + self.shape[place + 1 :]

    @property
    def result_shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return self.shape if self.operation.per_class else self.batch_shape

    @property
    def bytes_moved(self) -> int:
        """The least traffic: every logit read once, every result written once."""
        read = self.elements * as_dtype(self.option.source or self.dtype).itemsize
        return read + prod(self.result_shape) * as_dtype(self.dtype).itemsize

    def with_option(self, option: Option) -> Case:
        """The same call with another option."""
        return self._replace(option=option)

    @property
    def layout(self) -> str:
        """Shape and axis in a few characters: 32 x 1000, or 2 x 64 x 56 x 56 over axis 1."""
        last = self.axis in (-1, len(self.shape) - 1)
        shape = " x ".join(map(str, self.shape))
        return shape if last else f"{shape} over axis {self.axis}"

    def __str__(self) -> str:
        """The case in a line."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        option = "" if self.option == PLAIN else f", {self.option.name}"
        return f"{self.operation.name} {self.dtype} {self.layout}, {threads}{option}"


def grid(
    operations: Sequence[str],
    dtypes: Sequence[str],
    batches: Sequence[int],
    classes: Sequence[int],
    threads: Sequence[int],
) -> list[Case]:
    """Every combination, smallest first within an operation and dtype."""
    known = [OPERATIONS[name] for name in operations]
    shapes = list(product(sorted(batches), sorted(classes)))
    return [Case(*found) for found in product(known, dtypes, shapes, threads)]
