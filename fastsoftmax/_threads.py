"""How many threads a call may use, and why: arguments, environment, what the machine grants.

Decides a number only. The threads themselves belong to the backends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from operator import index

from fastsoftmax import _machine

MAX_THREADS = 1024
"""More than any machine's cores that we know of; a larger number is a mistake."""

scoped: ContextVar[int | None] = ContextVar("fastsoftmax_threads", default=None)
# What set_num_threads said, and what was found where nobody says anything: lists of that number or
# of nothing, which compiled code reads as well.
process: list[int] = []
found: list[int] = []


def _checked(n: object, name: str) -> int:
    try:
        count = index(n)  # type: ignore[arg-type]  # the TypeError is what we are after
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(n).__name__}: {n!r}") from None
    if isinstance(n, bool) or not 1 <= count <= MAX_THREADS:
        raise ValueError(f"{name} must be between 1 and {MAX_THREADS}, not {n!r}")
    return count


def _from_environment(name: str) -> int | None:
    text = os.environ.get(name, "").split(",")[0].strip()
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MAX_THREADS:
        raise ValueError(f"{name}={text!r}: expected a whole number from 1 to {MAX_THREADS}")
    return int(text)


@cache
def _default() -> tuple[int, str]:
    # Found once: looking into os.environ costs as much as a softmax of ten numbers.
    for name in ("FASTSOFTMAX_NUM_THREADS", "OMP_NUM_THREADS"):
        if (count := _from_environment(name)) is not None:
            return count, name
    affinity, quota = _machine.affinity(), _machine.cpu_quota()
    if quota is not None and quota < affinity:
        # A quota of 1.5 processors is used best by two threads: the kernel shares the rest out.
        return max(1, -int(-quota // 1)), f"cgroup CPU quota of {quota:g}"
    return affinity, "CPU affinity"


def choice() -> tuple[int, str]:
    """The number of threads that holds now, and where it comes from."""
    if (limit := scoped.get()) is not None:
        return limit, "threads()"
    for count in process:
        return count, "set_num_threads"
    return _default()


def resolve(n: int | None = None) -> int:
    """The number of threads for one call."""
    if n is not None:
        return _checked(n, "threads")
    # As choice()[0], without the calls that a softmax of a hundred numbers would feel.
    if (limit := scoped.get()) is not None:
        return limit
    for count in process or found:
        return count
    found[:] = [_default()[0]]
    return found[0]


def get_num_threads() -> int:
    """Number of threads that a call without `threads=` may use.

    From `threads()`, else `set_num_threads`, else `FASTSOFTMAX_NUM_THREADS`, else the first value
    of `OMP_NUM_THREADS`, else the smaller of the CPU affinity and the cgroup CPU quota.

    Raises
    ------
    ValueError
        If one of the two environment variables holds nonsense.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.get_num_threads() >= 1
    True
    """
    return choice()[0]


def set_num_threads(n: int | None) -> None:
    """Set the number of threads for every later call in this process.

    Parameters
    ----------
    n : int or None
        From 1 to 1024; None goes back to the environment and the machine.

    Raises
    ------
    TypeError, ValueError
        If `n` is not such a number.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.set_num_threads(2)
    >>> fs.get_num_threads()
    2
    >>> fs.set_num_threads(None)
    """
    process[:] = [] if n is None else [_checked(n, "n")]


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Limit the calls inside the block to `n` threads, in this Python thread or task only.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        If `n` is not such a number.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> with fs.threads(1):
    ...     fs.get_num_threads()
    1
    """
    token = scoped.set(_checked(n, "n"))
    try:
        yield
    finally:
        scoped.reset(token)
