"""Which backends there are, which of them can run here, and which one a call gets.

Knows backends by name only; each is imported when it is first asked for. No algorithm lives here.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

# Imported before `backends` below is bound: a first import later would put the folder of that name
# in the function's place in the package.
import fastsoftmax.backends  # noqa: F401

if TYPE_CHECKING:
    from fastsoftmax._typing import Backend, Shortcut

BACKENDS = ("cpp", "numba", "numpy")
"""Every backend, best first: the one list that selection, tests and benchmarks go by."""


class BackendUnavailable(RuntimeError):
    """The backend asked for cannot run here; the message says why, for every candidate."""


class _Module(Protocol):
    """What a module in `fastsoftmax.backends` offers to this one."""

    def reason(self) -> str | None:
        """Why the backend cannot run here, or None if it can."""

    def variants(self) -> dict[str, str | None]:
        """The variants, best first, each with its reason against it or None."""

    def load(self, variant: str | None) -> Backend:
        """The backend itself; `variant` is one of `variants()` without a reason, or None.

        Raises ValueError if the environment forces a variant that cannot run.
        """


scoped: ContextVar[str | None] = ContextVar("fastsoftmax_backend", default=None)

# Where calls go, by the name that `backend=` or else `use_backend` gives, and by None where neither
# does: the environment is read once. `resolve` fills both, compiled code reads the shortcuts.
_resolved: dict[str | None, Backend] = {}
shortcuts: defaultdict[str, dict[str | None, Shortcut]] = defaultdict(dict)
"""By the public function's name, then the backend's."""


@cache
def _module(family: str) -> _Module:
    return cast(_Module, import_module(f"fastsoftmax.backends._{family}"))


@cache
def reasons() -> dict[str, str | None]:
    """Every backend and variant, best first, with why it cannot run here (None: it can)."""
    found: dict[str, str | None] = {}
    for family in BACKENDS:
        why = _module(family).reason()
        for variant, against in _module(family).variants().items():
            found[f"{family}:{variant}"] = why or against
        if family not in {name.partition(":")[0] for name in found}:
            found[family] = why
    return found


def backends() -> tuple[str, ...]:
    """Names of the backends that can run here, best first, variants included.

    Returns
    -------
    tuple of str
        Each is a valid `backend=` argument.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> "numpy" in fs.backends()
    True
    """
    return tuple(name for name, why in reasons().items() if why is None)


def _refusal(name: str, origin: str, why: str) -> BackendUnavailable:
    table = "\n".join(f"  {known}: {against or 'usable'}" for known, against in reasons().items())
    return BackendUnavailable(f"backend {name!r} ({origin}): {why}\n{table}")


def _load(family: str, variant: str | None, name: str, origin: str) -> Backend:
    try:
        return _module(family).load(variant)
    except ValueError as error:  # a variant forced by the environment
        raise _refusal(name, origin, str(error)) from None


@cache
def _named(name: str, origin: str) -> Backend:
    family, colon, variant = name.partition(":")
    if family not in BACKENDS:
        raise _refusal(name, origin, f"unknown; the backends are {', '.join(BACKENDS)} and auto")
    module = _module(family)
    if (why := module.reason()) is not None:
        raise _refusal(name, origin, why)
    if not colon:
        return _load(family, None, name, origin)
    variants = module.variants()
    if variant not in variants:
        known = ", ".join(f"{family}:{v}" for v in variants) or f"only {family!r} itself"
        raise _refusal(name, origin, f"unknown variant; there is {known}")
    if (why := variants[variant]) is not None:
        raise _refusal(name, origin, why)
    return _load(family, variant, name, origin)


@cache
def _automatic() -> Backend:
    for family in BACKENDS:
        if _module(family).reason() is None:
            return _load(family, None, "auto", "default")
    raise _refusal("auto", "default", "nothing can run here")


@cache
def _forced() -> str | None:
    # Read once: looking into os.environ costs as much as a softmax of ten numbers.
    return os.environ.get("FASTSOFTMAX_BACKEND") or None


def wanted(name: str | None = None) -> tuple[str, str]:
    """The backend's name that holds now, and where it comes from."""
    if name is not None:
        return name, "the argument backend="
    if (within := scoped.get()) is not None:
        return within, "use_backend"
    if (forced := _forced()) is not None:
        return forced, "FASTSOFTMAX_BACKEND"
    return "auto", "default"


def _found(chosen: str, origin: str) -> Backend:
    if not isinstance(chosen, str):
        raise TypeError(f"backend must be a str or None, not {type(chosen).__name__}: {chosen!r}")
    return _automatic() if chosen == "auto" else _named(chosen, origin)


def _offer(name: str | None, backend: Backend) -> None:
    for function, shortcut in backend.shortcuts.items():
        shortcuts[function][name] = shortcut


def resolve(name: str | None = None) -> Backend:
    """A call's backend: by `backend=`, `use_backend`, `FASTSOFTMAX_BACKEND`, else the best."""
    key = scoped.get() if name is None else name
    if key is not None and type(key) is not str:  # may be equal to another name
        return _found(*wanted(name))
    if (backend := _resolved.get(key)) is None:
        backend = _resolved[key] = _found(*wanted(name))
        _offer(key, backend)
    return backend


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run the calls inside the block on one backend.

    Holds for this thread or task only, and is weaker than an explicit `backend=`.

    Parameters
    ----------
    name : str
        "auto", or one of `backends()`.

    Raises
    ------
    BackendUnavailable
        If the name is unknown or cannot run here; the message gives every candidate's reason.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> with fs.use_backend("numpy"):
    ...     fs.softmax([0.0, 0.0])
    array([0.5, 0.5])
    """
    resolve(name)
    token = scoped.set(name)
    try:
        yield
    finally:
        scoped.reset(token)
