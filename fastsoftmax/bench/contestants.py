"""Who takes part in a measurement, and the ways in which this package itself is called.

Other libraries are in `peers`. Nothing is timed or judged here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

import fastsoftmax as fs
from fastsoftmax import _registry
from fastsoftmax._arrays import kept_shape
from fastsoftmax._truth import Bound, as_dtype, promise
from fastsoftmax._typing import Array, Call
from fastsoftmax.backends import _cpp
from fastsoftmax.bench.cases import Case
from fastsoftmax.bench.workload import Workload


class Trial(NamedTuple):
    """What a contestant does in a case."""

    call: Callable[[], Any]
    """To be timed: everything that could be done beforehand has been."""
    result: Callable[[Any], Array] = np.asarray
    """From what the call returned to an array of the case's result: not timed."""


class Contestant(Protocol):
    """Who takes part."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def against(self, case: Case) -> str | None:
        """Why it cannot run the case here, or None."""

    def bind(self, work: Workload) -> Trial:
        """Get ready for the case on the arrays that its contestants share."""

    def bound(self, case: Case) -> Bound:
        """The error that its results may have."""


def _options(work: Workload) -> dict[str, Any]:
    """The keyword arguments that the case calls for, none of them at its default."""
    case = work.case
    found: dict[str, Any] = {}
    if not case.option.allocated:
        found["out"] = work.out
    if case.option.source is not None:
        found["dtype"] = as_dtype(case.dtype)
    if work.where is not None:
        found["where"] = work.where
    if case.option.temperature != 1:
        found["temperature"] = case.option.temperature
    if case.threads != fs.get_num_threads():
        found["threads"] = case.threads
    return found


def _call(work: Workload, backend: str | None) -> Callable[[], Any]:
    """The call as a user writes it, at least the plainest: `partial` would take 0.1 us more."""
    function, x, axis = getattr(fs, work.case.operation.name), work.x, work.case.axis
    options = _options(work)
    if options.keys() == {"out"}:
        out = work.out
        return lambda: function(x, axis, out=out, backend=backend)
    return partial(function, x, axis, backend=backend, **options)


class Backend(NamedTuple):
    """One backend or variant of this package, called as a user would."""

    name: str

    def against(self, case: Case) -> str | None:
        """See `Contestant`."""
        return _registry.reasons()[self.name]

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        return Trial(_call(work, self.name))

    def bound(self, case: Case) -> Bound:
        """See `Contestant`."""
        return promise(self.name, case.operation.name, case.dtype)


class Public(NamedTuple):
    """The public function and nothing said about how: what a user gets."""

    name: str = "fastsoftmax"

    def against(self, case: Case) -> str | None:
        """See `Contestant`."""
        return None

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        return Trial(_call(work, None))

    def bound(self, case: Case) -> Bound:
        """See `Contestant`."""
        return promise(_registry.resolve().name, case.operation.name, case.dtype)


class Core(NamedTuple):
    """The C++ core's own function, without the Python that looks after its arguments."""

    name: str = "core"

    def against(self, case: Case) -> str | None:
        """See `Contestant`."""
        return _cpp.reason()

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        case = work.case
        axes = (case.axis % len(case.shape),)
        out = work.out
        if not case.operation.per_class:
            out = out.reshape(kept_shape(case.shape, axes))
        call = Call(work.x, out, axes, work.where, case.option.temperature, case.threads)
        run = _cpp.load(None).bare(case.operation.name, call)
        return Trial(run, lambda _: work.out)

    def bound(self, case: Case) -> Bound:
        """See `Contestant`."""
        return promise("cpp", case.operation.name, case.dtype)
