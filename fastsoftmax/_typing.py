"""The types that modules share: what a backend must offer and how an array is handed to it.

Only types live here, and `UNSET`. Nothing in this file runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.bool_]
AxisLike: TypeAlias = int | tuple[int, ...] | None


class Unset:
    """The type of `UNSET`, an argument that was not given."""

    def __repr__(self) -> str:
        return "<not given>"


UNSET: Final = Unset()


class Call(NamedTuple):
    """One call in the normal form that every backend takes.

    `x` is float16, bfloat16, float32 or float64 in native byte order, of one dimension or more and
    with at least one element; `axes` are sorted, unique and not negative; `where` has x's shape
    (often through zero strides). `out` has x's shape; for `logsumexp` its class axes have length 1.
    `temperature` is a positive finite float, or a float64 array in x's shape whose class axes have
    length 1. `x` and `out` are either the very same memory, element for element, or disjoint.
    """

    x: Array
    out: Array
    axes: tuple[int, ...]
    where: Mask | None
    temperature: float | Array
    threads: int

    @property
    def compute_dtype(self) -> np.dtype[Any]:
        """The type that arithmetic runs in: float64 for a float64 result, else float32."""
        return np.dtype(np.float64 if self.out.dtype.char == "d" else np.float32)


Shortcut: TypeAlias = "Callable[..., Any]"
"""A public function's own arguments in the ordinary case: its result, or NotImplemented.

It takes all parameters by position, in the order of the signature, but for `backend`; `threads` is
a number. What it does not take goes the general way, by `Call`. It refuses nothing.
"""


class Backend(Protocol):
    """A table of the operations, written by each backend for one variant of itself."""

    @property
    def name(self) -> str: ...

    @property
    def shortcuts(self) -> Mapping[str, Shortcut]:
        """By the public function's name; not every function needs one."""

    def softmax(self, call: Call) -> None: ...

    def log_softmax(self, call: Call) -> None: ...

    def logsumexp(self, call: Call, weights: Array | None, sign: Array | None) -> None:
        """log(sum(weights * exp(x))); with `sign`, log(abs(sum)) and the sum's sign.

        `weights` has x's shape and the compute type; `sign` has out's shape and dtype.
        """
