"""The yardstick: the operations in a wider type, errors in ULP, and the bounds that are promised.

Used by `selftest`, `bench`, `demo` and the tests; `import fastsoftmax` does not need it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._typing import Array

OPERATIONS = ("softmax", "log_softmax", "logsumexp")

SUM_TOLERANCE = 2.5e-7
"""How far the probabilities of a float32 row may be from a sum of 1."""


class Format(NamedTuple):
    """A binary format: bits of its fraction, exponent of its smallest normal number."""

    fraction: int
    lowest: int

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2 - 2.0**-self.fraction) * 2.0 ** (1 - self.lowest)


FORMATS = {
    "float32": Format(23, -126),
    "float64": Format(52, -1022),
    "float16": Format(10, -14),
    "bfloat16": Format(7, -126),
}


def available() -> tuple[str, ...]:
    """Names of the formats that arrays can have here; bfloat16 where ml_dtypes is installed."""
    return tuple(name for name in FORMATS if name != "bfloat16" or find_spec("ml_dtypes"))


def as_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of one of `available()`."""
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    return np.dtype(name)


class Bound(NamedTuple):
    """An error in ULP: `fixed`, and `per_gap` for every unit of a score's gap to the maximum.

    `absolute` comes on top and is no number of ULP: 0 in every promise of this package.
    """

    fixed: float
    per_gap: float = 0.0
    absolute: float = 0.0

    def at(self, gap: Array) -> Array:
        """The bound for scores that are `gap` below the maximum (not finite: nothing to round)."""
        allowed: Array = self.fixed + self.per_gap * np.where(np.isfinite(gap), gap, 0.0)
        return allowed

    def __str__(self) -> str:
        share = {0.0: "", 1.0: " + gap"}.get(self.per_gap, f" + {self.per_gap:.2g} gap")
        return f"{self.fixed:.4g}{share}"


# Rounds x - max: an error for every unit of the gap.
_SUBTRACTING = {operation: Bound(4, 1) for operation in OPERATIONS}
_KERNELS = {
    "float32": {"softmax": Bound(4), "log_softmax": Bound(3), "logsumexp": Bound(1.5)},
    "float64": {"softmax": Bound(4), "log_softmax": Bound(3), "logsumexp": Bound(2)},
}
PROMISES = {
    "cpp": _KERNELS,
    "numba": _KERNELS,
    "numpy": {"float32": _SUBTRACTING, "float64": _SUBTRACTING},
}
"""Per backend, type computed in, and operation: the one place where the promises are kept."""


def promise(backend: str, operation: str, dtype: str) -> Bound:
    """The bound for a backend or variant."""
    family = PROMISES[backend.partition(":")[0]]
    return narrowed(family["float64" if dtype == "float64" else "float32"][operation], dtype)


def narrowed(bound: Bound, dtype: str) -> Bound:
    """The bound of the type computed in as one of this type: half types are rounded once more."""
    if dtype in ("float32", "float64"):
        return bound
    fixed, per_gap, _ = bound
    share = 2.0 ** (FORMATS[dtype].fraction - FORMATS["float32"].fraction)
    return Bound(0.5 + fixed * share, per_gap * share)


class Truth(NamedTuple):
    """Results in the wider type, and what their errors are measured by (all broadcastable)."""

    values: Array
    unit: Array  # one ULP of the type under test
    gap: Array  # from the row's maximum to the score whose exponential decides the result's digits
    flushed: float  # magnitudes below this may as well be 0
    own_error: Bound  # of `values` themselves

    def first(self, rows: int) -> Truth:
        """The same of the first rows only."""
        return self._replace(values=self.values[:rows], unit=self.unit[:rows], gap=self.gap[:rows])


def _wider(operation: str, dtype: str) -> tuple[np.dtype[Any], Bound]:
    if dtype != "float64":
        return np.dtype(np.float64), Bound(0)
    wide = np.dtype(np.longdouble)
    is_wider = np.finfo(wide).nmant > np.finfo(np.float64).nmant
    # Where long double is float64, the reference errs like any softmax that subtracts the maximum.
    return wide, Bound(0) if is_wider else _SUBTRACTING[operation]


def _unit(size: Array, kind: Format) -> Array:
    """One ULP of a number of this size; below the normal numbers the spacing stays the same."""
    _, exponent = np.frexp(size)
    exponent = np.where((size == 0) | (exponent - 1 < kind.lowest), kind.lowest, exponent - 1)
    spacing: Array = np.ldexp(np.ones((), size.dtype), exponent - kind.fraction)
    return spacing


def truth(operation: str, x: Array) -> Truth:
    """The operation along the last axis of x, in a type wide enough to judge x's own type by.

    The largest term is left out of the sum and brought back by log1p: log-probabilities near 0 keep
    their digits. Rows with NaN or infinities get what the API promises for them.
    """
    dtype = x.dtype.name
    wide, own_error = _wider(operation, dtype)
    with np.errstate(all="ignore"):
        scores = x.astype(wide)
        top = scores.max(-1, keepdims=True)
        winner = scores.argmax(-1, keepdims=True)
        shifted = scores - top
        terms = np.exp(shifted)
        np.put_along_axis(terms, winner, 0.0, -1)
        rest = terms.sum(-1, keepdims=True)
        rest[~np.isfinite(top)] = np.nan
        log_total = np.log1p(rest)
        gap = -shifted
        if operation != "softmax":  # what the winner adds to is decided by the runner-up
            np.put_along_axis(gap, winner, np.inf, -1)
            runner_up = gap.min(-1, keepdims=True)
            np.put_along_axis(gap, winner, runner_up, -1)
        if operation == "softmax":
            np.put_along_axis(terms, winner, 1.0, -1)
            values = size = terms / (1 + rest)
        elif operation == "log_softmax":
            values = shifted - log_total
            size = np.abs(values)
        else:
            top, log_total = top[..., 0], log_total[..., 0]
            values = np.where(np.isfinite(top), top + log_total, top)
            size = np.maximum(np.maximum(np.abs(values), np.abs(top)), log_total)
            gap = runner_up[..., 0]
        computed = FORMATS["float64" if dtype == "float64" else "float32"]
        # A result 8 ULP above the smallest normal number may have been computed below it.
        flushed = 2.0**computed.lowest * (1 + 8 * 2.0**-computed.fraction)
        return Truth(values, _unit(size, FORMATS[dtype]), gap, flushed, own_error)


def ulps(got: Array, expected: Truth) -> Array:
    """Error of every result in ULP; inf where NaN or an infinity is in one of the two only."""
    values = expected.values
    with np.errstate(all="ignore"):
        result = got.astype(values.dtype)
        error: Array = np.abs(result - values)
        small = np.abs(values) < expected.flushed
        error[small] = np.minimum(error, np.abs(result))[small]
        error /= expected.unit
        error[(result == values) | (np.isnan(result) & np.isnan(values))] = 0.0
        error[np.isnan(error)] = np.inf
    return error


class Deviation(NamedTuple):
    """The result that uses up most of its bound: its error and the bound there, and its place."""

    ulp: float
    allowed: float
    place: tuple[int, ...]
    got: float
    expected: float
    largest: float  # error of any result in ULP, which need not be the one above
    allowed_there: float  # the bound of that one

    @property
    def share(self) -> float:
        """Error over bound; above 1 the promise is broken."""
        return self.ulp / self.allowed

    @property
    def ok(self) -> bool:
        """Whether the promise is kept."""
        return self.share <= 1

    def __str__(self) -> str:
        place = ", ".join(
            f"{axis} {i}" for axis, i in zip(("row", "class"), self.place, strict=False)
        )
        return (
            f"{self.ulp:.4g} ULP where {self.allowed:.4g} are allowed ({place}: "
            f"{self.got!r} instead of {self.expected!r})"
        )


def deviation(got: Array, expected: Truth, bound: Bound) -> Deviation:
    """The worst of the results, measured by the bound that holds for each."""
    error = ulps(got, expected)
    allowed = bound.at(expected.gap) + expected.own_error.at(expected.gap)
    if bound.absolute:
        allowed = allowed + bound.absolute / expected.unit
    place = np.unravel_index(int(np.argmax(error / allowed)), error.shape)
    farthest = np.unravel_index(int(np.argmax(error)), error.shape)
    return Deviation(
        float(error[place]),
        float(allowed[place]),
        tuple(int(i) for i in place),
        float(got[place]),
        float(expected.values[place]),
        float(error[farthest]),
        float(allowed[farthest]),
    )
