"""What `fastsoftmax bench` and `pytest benchmarks` measure: families of cases, as data.

Nothing is measured here. An operation is in all of that by its row in `cases` or `sampled`, and by
its name in a family here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, product, zip_longest
from typing import NamedTuple

from fastsoftmax.bench.cases import (
    ALLOCATED,
    IN_PLACE,
    KNOWN,
    LOSSES,
    OPERATIONS,
    PLAIN,
    Case,
    Option,
)
from fastsoftmax.bench.sampled import DRAW, STEP, TASKS, AnyCase, SampledCase

Shape = tuple[int, ...]

MEASURABLE = (*KNOWN, *TASKS)
"""Names of all operations."""

BATCHES, CLASSES = (1, 32, 1024), (10, 1000, 32000)
"""Numbers of rows and of classes that are combined unless something else is asked for."""

GRID: tuple[Shape, ...] = tuple(product(BATCHES, CLASSES))

CANDIDATES, COLUMNS = 1024, 64
"""How many classes are drawn, and how long inputs and rows of weights are, likewise."""


class Part(NamedTuple):
    """Every combination of operations, shapes and options, on each number of threads.

    With a sample of the classes a shape is rows x classes as well, and on one thread in float32.
    """

    operations: Sequence[str]
    shapes: Sequence[Shape]
    axis: int = -1
    options: Sequence[Option] = (PLAIN,)
    sampled: Sequence[int] | None = None  # `CANDIDATES`, or all classes where there are fewer
    columns: int = COLUMNS
    several_threads: bool = True

    def cases(self, dtypes: Sequence[str], threads: Sequence[int]) -> list[AnyCase]:
        """Its cases, of fewest rows first within an operation and dtype."""
        counts = threads if self.several_threads else (1,)
        shapes = sorted(self.shapes)
        found: list[AnyCase] = []
        for name in self.operations:
            if name in KNOWN:
                each = product((KNOWN[name],), dtypes, shapes, counts, (self.axis,), self.options)
                found += [Case(*one) for one in each]
            else:
                found += [
                    self._sampled(name, shape, count)
                    for shape in shapes
                    for count in self.sampled or (min(CANDIDATES, shape[1]),)
                ]
        return list(dict.fromkeys(found))

    def _sampled(self, name: str, shape: Shape, sampled: int) -> SampledCase:
        rows, classes = shape
        task = TASKS[name]
        if task.draws:
            return SampledCase(task, classes, sampled)
        return SampledCase(task, classes, sampled, rows, self.columns)


class Family(NamedTuple):
    """Cases that answer a question."""

    question: str
    parts: tuple[Part, ...] = ()


_MANY = tuple((128, classes) for classes in (10_000, 100_000, 1_000_000, 10_000_000))
_BOTH = (PLAIN, ALLOCATED)
_OTHER_DRAWS = tuple(name for name, task in TASKS.items() if task.draws and task != DRAW)

FAMILIES = {
    "softmax": Family("what does it cost, by batch and classes?", (Part(("softmax",), GRID),)),
    "log_softmax": Family("and its logarithm?", (Part(("log_softmax",), GRID),)),
    "logsumexp": Family("and their normalizer alone?", (Part(("logsumexp",), GRID),)),
    "losses": Family(
        "what does a loss cost, with its gradient?",
        (Part(tuple(LOSSES), ((32, 1000), (1024, 1000), (64, 32000))),),
    ),
    "sampled": Family(
        "what does a step on a sample of the classes cost, by classes and by candidates?",
        (
            Part((STEP.name,), _MANY),
            Part((STEP.name,), _MANY[2:3], sampled=(64, 256, 4096)),
        ),
    ),
    "samplers": Family(
        "what does it cost to draw them?",
        (
            Part((DRAW.name,), (_MANY[0], *_MANY[2:]), sampled=(64, 1024, 8192)),
            Part(_OTHER_DRAWS, _MANY[2:3], sampled=(64, 1024, 8192)),
        ),
    ),
    "axes": Family(
        "what does another axis than the last one cost?",
        (
            Part(("softmax",), ((1000, 1024), (32000, 64)), axis=0),
            Part(("softmax",), ((2, 64, 56, 56),), axis=1),
            Part(("softmax",), ((1024, 1000), (64, 32000), (6272, 64))),
        ),
    ),
    "threads": Family(
        "what do more threads give?",
        (
            Part(
                ("softmax", "cross_entropy+grad"),
                ((1, 128256), (1, 1_000_000), (1024, 1000), (64, 32000)),
            ),
        ),
    ),
    "overhead": Family(
        "what does a call cost by itself?",
        (Part(tuple(OPERATIONS), ((10,),), options=_BOTH, several_threads=False),),
    ),
    "memory": Family(
        "how much memory does a call take, with and without out=?",
        (
            Part(tuple(OPERATIONS), ((64, 128256),), options=_BOTH, several_threads=False),
            Part(
                ("cross_entropy+grad",),
                ((64, 128256),),
                options=(*_BOTH, IN_PLACE),
                several_threads=False,
            ),
        ),
    ),
    "startup": Family("what does a program pay before its first result, compiled or not?"),
}
"""By the names that the command knows; `startup` has no cases, but processes of its own."""


def cases(
    names: Sequence[str],
    dtypes: Sequence[str],
    threads: Sequence[int],
    most_threads: int,
    dealt: bool = False,
) -> list[AnyCase]:
    """The cases of these families, each once, however many of them it is in.

    The family `threads` takes each power of two up to `most_threads`, and that. Dealt, each family
    has one after another, so that whoever ends early has seen something of all.
    """
    found: list[list[AnyCase]] = []
    for name in names:
        counts = scale(most_threads) if name == "threads" else threads
        parts = (part.cases(dtypes, counts) for part in FAMILIES[name].parts)
        found.append(list(chain.from_iterable(parts)))
    order = chain.from_iterable(zip_longest(*found) if dealt else found)
    return list(dict.fromkeys(case for case in order if case is not None))


def scale(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    powers = [1 << i for i in range(most.bit_length())]
    return [*(count for count in powers if count < most), most]
