"""What is measured: the operations with the bytes they must move, and cases.

An operation added to `OPERATIONS` or `LOSSES` can be asked for everywhere. Which cases are measured
stands in `families` and `regimes`. Nothing is timed here.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from fastsoftmax._truth import as_dtype

CLASS, ROW, CALL = "class", "row", "call"
"""What there is a number for in a result."""

LABELS, TARGETS = "labels", "targets"
"""What some operations take beside the logits: a class per row, 0 or 1 per class."""


class Result(NamedTuple):
    """Something that a call gives: of which truth, and a number for each of what."""

    quantity: str
    per: str


class Operation(NamedTuple):
    """A public function, what it takes beside the logits, and what it gives."""

    name: str
    function: str
    results: tuple[Result, ...]  # the array that a caller can provide is the last one's
    given: str | None = None
    along_axis: bool = True  # else every element stands for itself

    @property
    def per_class(self) -> bool:
        """Whether the array that a caller can provide is as large as the logits."""
        return self.results[-1].per == CLASS

    @property
    def with_gradient(self) -> bool:
        """Whether it gives a loss and the gradient of that."""
        return len(self.results) > 1


def _simple(name: str, per: str) -> Operation:
    return Operation(name, name, (Result(name, per),))


OPERATIONS = {
    operation.name: operation
    for operation in (
        _simple("softmax", CLASS),
        _simple("log_softmax", CLASS),
        _simple("logsumexp", ROW),
    )
}
"""Softmax and its logarithms."""

_CROSS_ENTROPY = Result("cross_entropy", CALL)
_GRADIENT = Result("gradient", CLASS)
_BINARY = Result("binary_cross_entropy", CALL)
_BINARY_GRADIENT = Result("binary_gradient", CLASS)

LOSSES = {
    operation.name: operation
    for operation in (
        Operation("cross_entropy", "cross_entropy", (_CROSS_ENTROPY,), LABELS),
        Operation("cross_entropy+grad", "cross_entropy", (_CROSS_ENTROPY, _GRADIENT), LABELS),
        Operation(
            "binary_cross_entropy+grad",
            "binary_cross_entropy",
            (_BINARY, _BINARY_GRADIENT),
            TARGETS,
            along_axis=False,
        ),
        _simple("sigmoid", CLASS)._replace(along_axis=False),
    )
}
"""Mean losses, and the sigmoid of one."""

KNOWN = OPERATIONS | LOSSES
"""All that can be asked for."""

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
    in_place: bool = False  # the gradient goes where the logits are


PLAIN = Option("plain")
ALLOCATED = Option("no out", allocated=True)
IN_PLACE = Option("in place", in_place=True)


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
    def result_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the results."""
        shapes: dict[str, tuple[int, ...]] = {CLASS: self.shape, ROW: self.batch_shape, CALL: ()}
        return tuple(shapes[result.per] for result in self.operation.results)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """The shape of the array that a caller can provide."""
        return self.result_shapes[-1]

    @property
    def given_shape(self) -> tuple[int, ...]:
        """The shape of what is given beside the logits."""
        return self.batch_shape if self.operation.given == LABELS else self.shape

    @property
    def averaged(self) -> int:
        """Losses that a mean is taken of."""
        return self.batch if self.operation.along_axis else self.elements

    @property
    def bytes_moved(self) -> int:
        """The least traffic: everything that is given read once, every result written once."""
        size = as_dtype(self.dtype).itemsize
        read = self.elements * as_dtype(self.option.source or self.dtype).itemsize
        if self.operation.given is not None:
            read += prod(self.given_shape) * (8 if self.operation.given == LABELS else size)
        return read + sum(map(prod, self.result_shapes)) * size

    @property
    def rounds(self) -> bool:
        """Whether results are numbers that have an error."""
        return True

    @property
    def sampled(self) -> None:
        """Every class takes part."""
        return None

    @property
    def sizes(self) -> dict[str, Any]:
        """What makes it larger or smaller than another one."""
        return {"shape": list(self.shape), "axis": self.axis}

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
