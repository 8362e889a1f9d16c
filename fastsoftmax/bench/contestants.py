"""Who takes part in a measurement, and the ways in which this package itself is called.

Other libraries are in `peers`. Nothing is timed or judged here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

import fastsoftmax as fs
from fastsoftmax import _registry, _truth_losses
from fastsoftmax._arrays import kept_shape
from fastsoftmax._truth import Bound, as_dtype, promise
from fastsoftmax._typing import Array, Call
from fastsoftmax.backends import _cpp
from fastsoftmax.bench.cases import CALL, OPERATIONS, Case
from fastsoftmax.bench.workload import Workload, aligned

Results: TypeAlias = Array | tuple[Array, ...]


def arrays(returned: Any) -> Results:
    """Arrays of one result, or of a tuple of them."""
    if isinstance(returned, tuple):
        return tuple(np.asarray(result) for result in returned)
    return np.asarray(returned)


class Trial(NamedTuple):
    """What a contestant does in a case."""

    call: Callable[[], Any]
    """To be timed: everything that could be done beforehand has been."""
    result: Callable[[Any], Results] = arrays
    """From what the call returned to arrays of the case's results: not timed."""


class Contestant(Protocol):
    """Who takes part."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def against(self, case: Case) -> str | None:
        """Why it cannot run the case here, or None."""

    def bind(self, work: Workload) -> Trial:
        """Get ready for the case on the arrays that its contestants share."""

    def bounds(self, case: Case) -> tuple[Bound, ...]:
        """The errors that its results may have, one for each."""


def _promises(backend: str, case: Case) -> tuple[Bound, ...]:
    of = promise if case.operation.name in OPERATIONS else _truth_losses.promise_of
    return tuple(of(backend, result.quantity, case.dtype) for result in case.operation.results)


def _options(work: Workload) -> dict[str, Any]:
    """The keyword arguments that the case calls for, none of them at its default."""
    case = work.case
    found: dict[str, Any] = {}
    if case.operation.with_gradient:
        found["return_grad"] = True
        if not case.option.allocated:
            found["grad_out"] = work.out
    elif case.operation.results[-1].per != CALL and not case.option.allocated:
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
    case, x = work.case, work.x
    function, axis = getattr(fs, case.operation.function), case.axis
    options = _options(work)
    if case.operation.name in OPERATIONS:
        if options.keys() == {"out"}:
            out = work.out
            return lambda: function(x, axis, out=out, backend=backend)
        return partial(function, x, axis, backend=backend, **options)
    if case.operation.along_axis and axis != -1:
        options["axis"] = axis
    if case.option.in_place:
        x = options["grad_out"] = _copied(x)
    given = () if work.given is None else (work.given,)
    return partial(function, x, *given, backend=backend, **options)


def _copied(x: Array) -> Array:
    """Logits of the call's own, to be replaced by its gradient.

    Only the first call, whose result is checked, has the case's logits. The timed ones go on from
    gradient to gradient: finite numbers around 1 / (rows x classes), in rows that are nearly flat,
    as those of the rival are for that reason. To bring the logits back before each call, outside of
    its time, would bring them into the caches.
    """
    copy = aligned(x.shape, x.dtype)
    copy[...] = x
    return copy


def refusal() -> str | None:
    """Why a call that names no backend finds none."""
    try:
        _registry.resolve()
    except _registry.BackendUnavailable as error:
        return str(error).partition("\n")[0]
    return None


class Backend(NamedTuple):
    """One backend or variant of this package, called as a user would."""

    name: str

    def against(self, case: Case) -> str | None:
        """See `Contestant`."""
        return _registry.reasons()[self.name]

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        return Trial(_call(work, self.name))

    def bounds(self, case: Case) -> tuple[Bound, ...]:
        """See `Contestant`."""
        return _promises(self.name, case)


class Public(NamedTuple):
    """The public function and nothing said about how: what a user gets."""

    name: str = "fastsoftmax"

    def against(self, case: Case) -> str | None:
        """See `Contestant`."""
        return refusal()

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        return Trial(_call(work, None))

    def bounds(self, case: Case) -> tuple[Bound, ...]:
        """See `Contestant`."""
        return _promises(_registry.resolve().name, case)


class Core(NamedTuple):
    """The C++ core's own function, without the Python that looks after its arguments."""

    name: str = "core"

    def against(self, case: Case) -> str | None:
        """See `Contestant`."""
        if case.operation.name not in OPERATIONS:
            return f"is not called for {case.operation.name}"
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

    def bounds(self, case: Case) -> tuple[Bound, ...]:
        """See `Contestant`."""
        return _promises("cpp", case)
