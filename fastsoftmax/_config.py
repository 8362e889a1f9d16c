"""What this installation is and what it would choose, for people and for bug reports.

Reports only; the decisions are made in `_registry` and `_threads`.
"""

from __future__ import annotations

import platform
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np

from fastsoftmax import _registry, _threads

# Not importlib.metadata.version: importing that takes longer than everything else here together.
__version__ = "0.1.0"


class _Core(Protocol):
    def reason(self) -> str | None: ...
    def build(self) -> dict[str, str]: ...


def _attempt(question: Any) -> Any:
    """The answer, or the error's text: a report must not fail on what it reports."""
    try:
        return question()
    except (RuntimeError, ValueError) as error:
        return f"error: {error}"


def _cpu() -> str:
    """The processor's own name where Linux tells it, else what Python knows."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as opened:
            lines = opened.read().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _build() -> dict[str, str | None]:
    """How the core was compiled, as it tells itself; nothing is known without it."""
    core = cast(_Core, import_module("fastsoftmax.backends._cpp"))
    if core.reason() is not None:
        return {"compiler": None, "flags": None}
    return {**core.build()}


def info() -> dict[str, Any]:
    """What was found on this machine and what a call without arguments would use.

    Returns
    -------
    dict
        Plain strings, numbers, lists and dicts, fit for JSON: version, python, numpy, platform,
        cpu, isa (the C++ core's instruction sets that can run here, best first, and the one that
        is chosen, if any), build (the core's compiler and the flags that change its code, None
        where there is no core), backends (each with the reason against it, or None), the chosen one
        and why, threads and why. What the environment makes impossible is reported as "error: ...".

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.info()["backends"]["numpy"] is None
    True
    """
    wanted, origin = _registry.wanted()
    chosen = _attempt(lambda: _registry.resolve().name)
    threads = _attempt(_threads.choice)
    reasons = _registry.reasons()
    return {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "isa": {
            "found": [
                name.removeprefix("cpp:")
                for name, why in reasons.items()
                if why is None and name.startswith("cpp:")
            ],
            "chosen": chosen.removeprefix("cpp:") if chosen.startswith("cpp:") else None,
        },
        "build": _build(),
        "backend": {"wanted": wanted, "origin": origin, "chosen": chosen},
        "backends": dict(reasons),  # a copy: the registry keeps its own for all calls
        "threads": {"count": threads[0], "origin": threads[1]}
        if isinstance(threads, tuple)
        else {"count": None, "origin": threads},
    }


def show_config() -> None:
    """Print `info()` for people.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.show_config()  # doctest: +ELLIPSIS
    fastsoftmax ...
    """
    found = info()
    isa, backend, threads = found["isa"], found["backend"], found["threads"]
    build = found["build"]
    lines = [
        f"fastsoftmax {found['version']}, Python {found['python']}, NumPy {found['numpy']}, "
        f"{found['platform']}, {found['cpu']}",
        # An error's further lines are the table below.
        f"backend   {backend['chosen'].partition(chr(10))[0]} "
        f"({backend['wanted']} from {backend['origin']})",
        f"isa       {isa['chosen'] or 'none'} (found: {', '.join(isa['found']) or 'none'})",
        f"build     {build['compiler'] or 'none'} ({build['flags'] or 'there is no core'})",
        f"threads   {threads['count'] or 'none'} ({threads['origin']})",
        "backends",
        *(f"  {name:14}{why or 'usable'}" for name, why in found["backends"].items()),
    ]
    print("\n".join(lines))
