"""What every peer has in common: why it cannot run a case, and how wrong its results may be."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, ClassVar

from fastsoftmax._truth import FORMATS, OPERATIONS, Bound
from fastsoftmax.bench.cases import LABELS, PLAIN, Case, Result
from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.sampled import SampledWorkload
from fastsoftmax.bench.workload import Workload

TOLERANCE = {"float64": 1e-6, "float32": 1e-3, "float16": 0.1, "bfloat16": 0.1}
"""Relative errors that are let pass, beside those of rounding x - max in x's own type.

A wrong axis is caught; poor rounding is only shown, as its ULP. In rows of more than `LONG` classes
it grows with them: float32 sums that take one term after another lose that much (0.15 % at 1e7).
"""

LONG = 1_000_000

ROUNDING = 64
"""Units of the last place of 1 that a peer's probability near 1 may be wrong by."""


class Peer:
    """A library's way to compute the operations, in the fastest form that gives its own result.

    A subclass has one method that imports the library, `library`, and is otherwise a table of what
    the library offers. Conversions and, where the library allows it, the allocation of the result
    are done while binding.
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    """The package that is installed; its modules are `modules`."""
    modules: ClassVar[tuple[str, ...]]
    operations: ClassVar[Collection[str]] = OPERATIONS
    dtypes: ClassVar[Collection[str]] = ("float32", "float64")
    sampled: ClassVar[Collection[str]] = ()
    """Of candidate sampling, the names of `sampled.TASKS`."""
    any_axis: ClassVar[bool] = True
    max_threads: ClassVar[int | None] = None
    """Where a process can choose the number only once, it is 1."""

    def library(self) -> Any:
        """Import the library and set it up for the process; called before anything else."""
        raise NotImplementedError

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        raise NotImplementedError

    def bind_sampled(self, work: SampledWorkload) -> Trial:
        """Get ready for a case of candidate sampling, whose results are ids or a `Step`."""
        raise NotImplementedError

    def missing(self) -> str | None:
        """Why the library cannot be used here at all, or None."""
        return _missing(self)

    @property
    def version(self) -> str:
        """Of the library."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return "of unknown version"

    def against(self, case: Case) -> str | None:
        """See `Contestant`."""
        if case.operation.name not in self.operations:
            return f"has no {case.operation.name}"
        if case.dtype not in self.dtypes:
            return f"does not take {case.dtype}"
        if case.option != PLAIN:
            return f"is not compared in: {case.option.name}"
        is_last = case.axis % len(case.shape) == len(case.shape) - 1
        if not self.any_axis and not is_last:
            return "takes the last axis only"
        if case.operation.given == LABELS and not (is_last and len(case.shape) == 2):
            return "is compared on a batch of rows with labels only"
        if self.max_threads is not None and case.threads > self.max_threads:
            return f"has its threads fixed at {self.max_threads} here"
        return self.missing()

    def bounds(self, case: Case) -> tuple[Bound, ...]:
        """See `Contestant`."""
        relative = TOLERANCE[case.dtype] * max(1.0, case.classes / LONG)
        digits = 2.0 ** FORMATS[case.dtype].fraction
        return tuple(
            Bound(relative * digits, 1.0, _absolute(case, result, relative, digits))
            for result in case.operation.results
        )


def _absolute(case: Case, result: Result, relative: float, digits: float) -> float:
    """What comes on top for differences of larger numbers, all of whose digits may be lost."""
    if result.quantity == "softmax":
        return 0.0
    # Probabilities less their targets, before the mean divides them, and 1 less a probability. No
    # more than the rounding of 1: else the many small ones beside them were not checked at all.
    rounding = min(relative, ROUNDING / digits)
    if result.quantity == "sigmoid":
        return rounding
    if result.quantity in ("gradient", "binary_gradient"):
        return rounding / case.averaged
    return relative  # logarithms near 0


@cache
def _missing(peer: Peer) -> str | None:
    for module in peer.modules:
        if find_spec(module) is None:
            return "not installed" if module == peer.modules[0] else f"needs {module}"
    try:
        with warnings.catch_warnings(action="ignore"), _silence():
            peer.library()
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        return f"does not import ({error})"
    return None


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what libraries written in C++ say on stderr while they are loaded."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
