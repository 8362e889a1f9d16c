"""The C++ core as a backend: the only Python file that imports `_core`. No arithmetic here."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from fastsoftmax import _machine
from fastsoftmax._typing import (
    UNSET,
    Array,
    BackwardCall,
    BinaryCall,
    Call,
    DrawCall,
    LossCall,
    Match,
    UpdateCall,
)

if TYPE_CHECKING:
    from fastsoftmax import _core

F = TypeVar("F", bound=Callable[..., Any])

MOST_IDLE = 1 << 30
"""Bytes of memory that are kept for results to come; less where memory is scarce."""


def _load() -> tuple[ModuleType | None, str | None]:
    try:
        module = import_module("fastsoftmax._core")
    except ImportError as error:  # for one, a source tree that was never built
        return None, f"the extension module does not load ({error}); pip install ."
    module.set_idle_limit(min(MOST_IDLE, (_machine.memory() or MOST_IDLE) // 8))
    return module, None


_module, _missing = _load()
if _module is not None:
    _core = _module


def reason() -> str | None:
    """Why the core cannot run here, or None."""
    return _missing


def variants() -> dict[str, str | None]:
    """The core's instruction sets, best first, each with the reason against it or None."""
    return _core.targets() if _missing is None else {}


def build() -> dict[str, str]:
    """The compiler and the flags that change code; a core that loads has both."""
    return _core.build()


def load(variant: str | None) -> CppBackend:
    """The core on one instruction set: `variant`, else `FASTSOFTMAX_ISA`, else the best."""
    if variant is not None:
        return CppBackend(variant)
    forced = os.environ.get("FASTSOFTMAX_ISA")
    if not forced:
        return CppBackend(next(name for name, why in variants().items() if why is None))
    if forced not in variants():
        known = ", ".join(variants())
        raise ValueError(f"FASTSOFTMAX_ISA={forced!r} is unknown; there is {known}")
    if (why := variants()[forced]) is not None:
        raise ValueError(f"FASTSOFTMAX_ISA={forced!r} cannot run here: {why}")
    return CppBackend(forced)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any], like: Array | None) -> Array:
    """An array of unknown content, in recycled memory if it is large."""
    return _core.empty(shape, dtype, like)


def function(
    python: F,
    shortcuts: dict[str | None, Callable[..., Any]],
    backend: ContextVar[str | None],
    threads: ContextVar[int | None],
    process: list[int],
    found: list[int],
    most_threads: int,
) -> F:
    """A public function as compiled code; see `fastsoftmax._shortcut`."""
    compiled = _core.function(python, shortcuts, backend, threads, process, found, most_threads)
    return cast(F, compiled)


def clear_cache() -> None:
    """See `fastsoftmax.clear_cache`."""
    _core.clear_cache()


class CppBackend:
    """The operations of the C++ core on one instruction set."""

    def __init__(self, variant: str) -> None:
        self.name = f"cpp:{variant}"
        self._target = _core.target(variant)
        self.shortcuts = _core.shortcuts(self._target, UNSET)

    def softmax(self, call: Call) -> None:
        """See `fastsoftmax.softmax`."""
        self._target.softmax(*call)

    def log_softmax(self, call: Call) -> None:
        """See `fastsoftmax.log_softmax`."""
        self._target.log_softmax(*call)

    def logsumexp(self, call: Call, weights: Array | None, sign: Array | None) -> None:
        """See `fastsoftmax.logsumexp`."""
        self._target.logsumexp(*call, weights, sign)

    def sigmoid(self, call: Call) -> None:
        """See `fastsoftmax.sigmoid`."""
        self._target.sigmoid(*call)

    def log_sigmoid(self, call: Call) -> None:
        """See `fastsoftmax.log_sigmoid`."""
        self._target.log_sigmoid(*call)

    def softmax_backward(self, call: BackwardCall) -> None:
        """See `fastsoftmax.softmax_backward`."""
        self._target.softmax_backward(*call)

    def log_softmax_backward(self, call: BackwardCall) -> None:
        """See `fastsoftmax.log_softmax_backward`."""
        self._target.log_softmax_backward(*call)

    def cross_entropy(self, call: LossCall) -> float:
        """See `fastsoftmax.cross_entropy`."""
        return self._target.cross_entropy(*call)

    def nll_loss(self, call: LossCall) -> float:
        """See `fastsoftmax.nll_loss`."""
        return self._target.nll_loss(*call)

    def binary_cross_entropy(self, call: BinaryCall) -> float:
        """See `fastsoftmax.binary_cross_entropy`."""
        return self._target.binary_cross_entropy(*call)

    def gather_rows(self, table: Array, ids: Array, out: Array, threads: int) -> None:
        """See `Backend`."""
        self._target.gather_rows(table, ids, out, threads)

    def match(self, ids: Array, labels: Array, classes: int) -> Match:
        """See `Backend`."""
        return Match(*self._target.match(ids, labels, classes))

    def row_dots(self, x: Array, rows: Array, out: Array, threads: int) -> None:
        """See `Backend`."""
        self._target.row_dots(x, rows, out, threads)

    def shift_columns(
        self, logits: Array, offsets: Array, hit_rows: Array, hit_columns: Array, threads: int
    ) -> None:
        """See `Backend`."""
        self._target.shift_columns(logits, offsets, hit_rows, hit_columns, threads)

    def add_scaled_rows(self, factors: Array, rows: Array, out: Array, threads: int) -> None:
        """See `Backend`."""
        self._target.add_scaled_rows(factors, rows, out, threads)

    def sum_rows(
        self,
        match: Match,
        of_candidates: Array,
        factors: Array,
        x: Array,
        out: Array,
        threads: int,
    ) -> None:
        """See `Backend`."""
        self._target.sum_rows(match.order, match.starts, of_candidates, factors, x, out, threads)

    def draw(self, call: DrawCall) -> tuple[int, int]:
        """See `Backend`."""
        bits = call.generator.bit_generator
        with bits.lock:
            return self._target.draw(*call[:6], bits.capsule, *call[7:])

    def update_rows(self, call: UpdateCall) -> None:
        """See `Backend`."""
        self._target.update_rows(*call)

    def bare(self, operation: str, call: Call) -> Callable[[], object]:
        """The core's own function with its arguments, and no Python around it: to be timed."""
        extra = (None, None) if operation == "logsumexp" else ()
        return partial(getattr(self._target, operation), *call, *extra)

    def copy(self, x: Array, y: Array, non_temporal: bool, repetitions: int) -> None:
        """Copy contiguous x to y of the same size, again and again: a rate, not a use."""
        _core.probe_copy(self._target, x, y, non_temporal, repetitions)

    def read(self, x: Array, repetitions: int) -> float:
        """Read contiguous x again and again."""
        return _core.probe_read(self._target, x, repetitions)

    def exponentials(self, dtype: str, n: int) -> float:
        """Take n exponentials of numbers in registers, in float32 or float64."""
        return _core.probe_exp(self._target, dtype == "float64", n)

    def nothing(self) -> Callable[[], object]:
        """A call into the core that does no work."""
        return partial(_core.probe_exp, self._target, False, 0)
