"""The decorator by which a public function asks a backend's shortcut first.

Knows nothing of arrays: which calls a shortcut takes is the backend's to say.
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
    """The function as a compiled object: what no shortcut takes comes to `function` as it was made.

    This is why the core is loaded when the package is imported, in 1.2 ms: asking from Python takes
    longer than a softmax of ten numbers. Without the core nothing is asked.
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
    update_wrapper(compiled, function)
    return compiled
