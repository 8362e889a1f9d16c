"""The threads of the BLAS that NumPy multiplies matrices with: one where that can be told."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """One thread within; without threadpoolctl as many as the environment has asked for."""
    if find_spec("threadpoolctl") is None:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits


def described() -> str:
    """How many threads that makes, and of which library."""
    if find_spec("threadpoolctl") is None:
        return "threads as its environment says (threadpoolctl is not installed)"
    import numpy  # noqa: F401  so that its library is there to be found
    from threadpoolctl import threadpool_info

    libraries = {
        f"{found['internal_api']} {found['version']}"
        for found in threadpool_info()
        if found["user_api"] == "blas"
    }
    return f"1 thread ({', '.join(sorted(libraries)) or 'of no known library'})"
