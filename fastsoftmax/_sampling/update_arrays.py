"""From an optimizer's arguments to `UpdateCall`s, one a shard, with every refusal on the way.

What is written is checked here to be safe to write: nothing overlaps, no row is met twice. The
formulas are the backends'.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite, nan
from operator import index
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._arrays import as_array, compute_dtype, unmasked_floats
from fastsoftmax._sampling.tables import Table, as_table
from fastsoftmax._typing import Array, UpdateCall

MOST_STEPS = 2**63 - 1
MOST_WORK = 100_000
"""What may be spent on the question whether two arrays whose bounds overlap share an element."""


class Numbers(NamedTuple):
    """What an optimizer is told beside arrays, checked but not yet of the compute type."""

    lr: float
    weight_decay: float
    eps: float = 0.0
    shares: tuple[float, float] = (0.0, 0.0)
    lr_factor: float = 1.0  # by what bias correction changes lr


def _real(name: str, value: Any) -> float:
    try:
        return nan if isinstance(value, str | bytes) else float(value)
    except OverflowError:
        return nan
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a real number, not {value!r}") from None


def as_numbers(lr: Any, weight_decay: Any, eps: Any = 0.0) -> Numbers:
    """Finite numbers that are not negative."""
    given = {"lr": lr, "weight_decay": weight_decay, "eps": eps}
    found = {name: _real(name, value) for name, value in given.items()}
    for name, number in found.items():
        if not (isfinite(number) and number >= 0):
            raise ValueError(f"{name} must be finite and not negative, not {given[name]!r}")
    return Numbers(found["lr"], found["weight_decay"], found["eps"])


def as_adam_numbers(lr: Any, weight_decay: Any, eps: Any, step: Any, betas: Any) -> Numbers:
    """The same with Adam's two means, whose start at 0 is made up for in lr."""
    plain = as_numbers(lr, weight_decay, eps)
    try:
        first, second = (_real("betas", beta) for beta in betas)
    except (TypeError, ValueError):
        raise TypeError(f"betas must be two real numbers, not {betas!r}") from None
    if not (0 <= first < 1 and 0 <= second < 1):
        raise ValueError(f"betas must be two numbers from 0 up to, but not, 1, not {betas!r}")
    try:
        count = index(step)
    except TypeError:
        raise TypeError(f"step must be an int, not {step!r}") from None
    if isinstance(step, bool) or not 1 <= count <= MOST_STEPS:
        raise ValueError(f"step must be between 1 and 2**63 - 1, not {step!r}")
    factor = (1 - second**count) ** 0.5 / (1 - first**count)
    return plain._replace(shares=(1 - first, 1 - second), lr_factor=factor)


def update_calls(
    rule: str,
    weight: Any,
    states: dict[str, Any],
    ids: Any,
    rows: Any,
    numbers: Numbers,
    strategy: str,
    threads: int,
) -> list[UpdateCall]:
    """The calls that together are the step; none where there is nothing to do."""
    gradient = unmasked_floats(rows, "rows")
    if gradient.ndim not in (1, 2):
        raise ValueError(
            f"rows has shape {gradient.shape}; it must have a row for each id, or a number where "
            "weight has one for each class"
        )
    bias = gradient.ndim == 1
    table = as_table(weight, "weight", strategy, one_column=bias, in_place=True)
    real = compute_dtype(table.dtype)
    beside = [_as_state(name, given, strategy, table, real, bias) for name, given in states.items()]
    chosen = _as_ids(ids, table.num_classes)
    gradient = gradient[:, None] if bias else gradient
    if gradient.shape != (len(chosen), table.columns):
        raise ValueError(
            f"rows has shape {np.shape(rows)}; for {len(chosen)} ids and weight's {table.columns} "
            f"columns it must have shape {(len(chosen), *([] if bias else [table.columns]))}"
        )
    written = [("weight", a) for a in table.shards]
    for name, state in zip(states, beside, strict=True):
        written += [(name, a) for a in state.shards]
    _check_apart(written, gradient)
    rate, decay, eps, *shares = _rounded(numbers, real)
    if gradient.size == 0:
        return []
    blocks = zip(table.blocks(chosen), *(state.blocks(chosen) for state in beside), strict=True)
    return [
        UpdateCall(
            rule,
            own.array,
            tuple(block.array for block in others),
            own.rows,
            gradient[own.places],
            rate,
            decay,
            eps,
            (shares[0], shares[1]),
            threads,
        )
        for own, *others in blocks
    ]


def _rounded(numbers: Numbers, real: np.dtype[Any]) -> list[float]:
    """The numbers of a call, of the compute type: lr with its factor, decay, eps, the shares."""
    given = (numbers.lr * numbers.lr_factor, numbers.weight_decay, numbers.eps, *numbers.shares)
    with np.errstate(all="ignore"):
        rounded: list[float] = np.array(given).astype(real).tolist()
    for name, number, own in zip(("lr", "weight_decay", "eps"), given, rounded, strict=False):
        if not isfinite(own):
            raise ValueError(f"{name} is too large for {real}: {number!r}")
    return rounded


def _as_state(
    name: str, given: Any, strategy: str, table: Table, real: np.dtype[Any], bias: bool
) -> Table:
    state = as_table(given, name, strategy, one_column=bias, in_place=True)
    if len(state.shards) != len(table.shards):
        raise ValueError(
            f"{name} has {len(state.shards)} shards, but weight has {len(table.shards)}"
        )
    if (state.num_classes, state.columns) != (table.num_classes, table.columns):
        raise ValueError(
            f"{name} has {state.num_classes} rows of {state.columns} numbers, but weight has "
            f"{table.num_classes} of {table.columns}"
        )
    if state.dtype != real:
        raise TypeError(
            f"{name} has dtype {state.dtype}; beside a weight of {table.dtype} it must be {real}, "
            "the type that is computed in"
        )
    return state


def _as_ids(ids: Any, num_classes: int) -> Array:
    """The ids as int64 in a copy of their own, in range and ascending."""
    array = as_array(ids, "ids")
    if array.ndim != 1:
        raise ValueError(f"ids has shape {array.shape}; it must have one dimension")
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, not {array.dtype}")
    own = array.astype(np.int64, "C", copy=True)
    ascending = own[1:] > own[:-1]
    # What int64 does not hold has become negative, so that it cannot stand behind own[0].
    if own[0] >= 0 and own[-1] < num_classes and ascending.all():
        return own
    raise _complaint(array, ascending, num_classes)


def _complaint(ids: Array, ascending: Array, num_classes: int) -> Exception:
    outside = (ids < 0) | (ids >= num_classes)
    if outside.any():
        place = int(outside.argmax())
        return IndexError(
            f"ids[{place}] is {ids[place]}, but weight has {num_classes} rows, from 0 on"
        )
    place = int(ascending.argmin()) + 1
    before, after = int(ids[place - 1]), int(ids[place])
    if before == after:
        return ValueError(
            f"ids[{place - 1}] and ids[{place}] are both {after}; the gradients of a row must be "
            "added up and its id given once"
        )
    return ValueError(
        f"ids[{place}] is {after} and comes after {before}; ids must be in ascending order"
    )


# Memory -------------------------------------------------------------------------------------------


class _Extent(NamedTuple):
    """An array and the addresses between which its elements lie."""

    begin: int
    end: int
    name: str
    array: Array
    written: bool


def _extent(name: str, array: Array, written: bool) -> _Extent:
    begin = end = array.__array_interface__["data"][0]
    for length, step in zip(array.shape, array.strides, strict=True):
        reach = (length - 1) * step
        begin, end = begin + min(reach, 0), end + max(reach, 0)
    return _Extent(begin, end + array.itemsize, name, array, written)


def _check_apart(written: Iterable[tuple[str, Array]], rows: Array) -> None:
    """Refuse to write where an element is in two places: results would depend on the order."""
    extents = [_extent(name, array, True) for name, array in written if array.size]
    for extent in extents:
        if _holds_twice(extent.array):
            raise ValueError(
                f"{extent.name} has strides {extent.array.strides}, by which an element is in two "
                "places"
            )
    if rows.size:
        extents.append(_extent("rows", rows, False))
    extents.sort(key=lambda extent: extent.begin)
    open_ones: list[_Extent] = []
    for extent in extents:
        open_ones = [other for other in open_ones if other.end > extent.begin]
        for other in open_ones:
            if _overlap(other.array, extent.array):
                first, second = sorted((other, extent), key=lambda e: e.name, reverse=True)
                same = first.name == second.name
                names = f"two shards of {first.name}" if same else f"{first.name} and {second.name}"
                raise ValueError(f"{names} share memory")
        open_ones.append(extent)


def _overlap(a: Array, b: Array) -> bool:
    try:
        return np.shares_memory(a, b, max_work=MOST_WORK)  # type: ignore[arg-type]  # or any number
    except np.exceptions.TooHardError:
        return True


def _holds_twice(array: Array) -> bool:
    """Whether elements overlap, or strides are such that it would be hard to say."""
    if array.flags.c_contiguous:
        return False
    covered = array.itemsize
    steps = sorted(
        (abs(step), length)
        for length, step in zip(array.shape, array.strides, strict=True)
        if length > 1
    )
    for step, length in steps:
        if step < covered:
            return True
        covered += (length - 1) * step
    return False
