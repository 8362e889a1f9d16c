"""The decorator by which a public function asks a backend's shortcut first.

Which calls a shortcut takes is the backend's to say; which backend and how many threads hold, that
of `_registry` and `_threads`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

from fastsoftmax import _registry, _threads

F = TypeVar("F", bound=Callable[..., Any])


class _Compiler(Protocol):
    def reason(self) -> str | None: ...
    def function(self, python: F, *state: Any) -> F: ...


def shortcut_first(function: F) -> F:
    """The function, compiled where the core is there; all that it means stands in Python.

    A call that a shortcut takes never comes to `function`, any other does as it was made. Asking
    from Python would take longer than a softmax of ten numbers: without the core there is no
    asking.
    """
    core = cast(_Compiler, import_module("fastsoftmax.backends._cpp"))
    if core.reason() is not None:
        return function
    compiled = core.function(
        function,
        _registry.shortcuts[function.__name__],
        _registry.scoped,
        _threads.scoped,
        _threads.process,
        _threads.found,
        _threads.MAX_THREADS,
    )
    return update_wrapper(compiled, function)
