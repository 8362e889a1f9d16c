"""Weights as tables with a row for each class: one array, or shards of it, never copied as a whole.

The only file that knows how shards divide the classes. What is done with rows is not said here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._arrays import is_float, refuse_mask, unmasked_floats
from fastsoftmax._typing import Array

STRATEGIES = ("div", "mod")


class Block(NamedTuple):
    """Rows that lie in one shard: which of its rows, and which places they have among all."""

    array: Array
    rows: Array
    places: Array | slice


class Tile(NamedTuple):
    """Adjacent rows of one shard, and whose they are."""

    array: Array
    classes: range


class Table(NamedTuple):
    """Two-dimensional arrays that together have a row for each class."""

    shards: tuple[Array, ...]
    num_classes: int
    strategy: str

    @property
    def columns(self) -> int:
        """Numbers in a row."""
        return int(self.shards[0].shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the numbers are."""
        return self.shards[0].dtype

    def blocks(self, ids: Array) -> Iterator[Block]:
        """The rows of classes `ids`, which are in range, shard by shard."""
        if len(self.shards) == 1:
            yield Block(self.shards[0], ids, slice(None))
            return
        shard, rows = self._places(ids)
        for number, array in enumerate(self.shards):
            places = np.flatnonzero(shard == number)
            if places.size:
                yield Block(array, rows[places], _as_slice(places))

    def tiles(self, most_rows: int) -> Iterator[Tile]:
        """All rows, as views of no more than `most_rows` at a time, in the order of the shards."""
        count, first = len(self.shards), 0
        for number, array in enumerate(self.shards):
            if self.strategy == "mod":
                classes = range(number, self.num_classes, count)
            else:
                classes = range(first, first + len(array))
            first += len(array)
            for start in range(0, len(array), most_rows):
                stop = start + most_rows
                yield Tile(array[start:stop], classes[start:stop])

    def _places(self, ids: Array) -> tuple[Array, Array]:
        """Each class's shard and its row there."""
        count = len(self.shards)
        if self.strategy == "mod":
            return ids % count, ids // count
        size, larger = divmod(self.num_classes, count)
        first = (size + 1) * larger  # of the classes in shards of the smaller size
        shard = np.where(ids < first, ids // (size + 1), larger + (ids - first) // max(size, 1))
        return shard, ids - (shard * size + np.minimum(shard, larger))


def _as_slice(places: Array) -> Array | slice:
    """Ascending places, as a slice where none is left out: what it takes need not be copied."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first == len(places) - 1 else places


def as_table(
    weight: Any, name: str, strategy: str, *, one_column: bool = False, in_place: bool = False
) -> Table:
    """From an array, or a list or tuple of shards, to a table.

    With `one_column` every array has one dimension: a number for each class, as a bias. With
    `in_place` the arrays are to be changed, so they must be what was handed in, and writable.
    """
    if strategy not in STRATEGIES:
        known = " or ".join(map(repr, STRATEGIES))
        raise ValueError(f"partition_strategy must be {known}, not {strategy!r}")
    if type(weight) is np.ndarray and not in_place:  # as below, without what shards need
        alone = _matrix(weight, name, one_column)
        return Table((alone,), len(alone), strategy)
    sharded = (
        isinstance(weight, list | tuple) and bool(weight) and _is_matrix(weight[0], one_column)
    )
    given = weight if sharded else [weight]
    names = [f"{name}[{i}]" for i in range(len(given))] if sharded else [name]
    if in_place:
        given = [_changeable(a, n) for a, n in zip(given, names, strict=True)]
    shards = tuple(_matrix(a, n, one_column) for a, n in zip(given, names, strict=True))
    for array, own in zip(shards, names, strict=True):
        if array.shape[1] != shards[0].shape[1] or array.dtype != shards[0].dtype:
            raise ValueError(
                f"{own} has {array.shape[1]} columns of {array.dtype}, but {names[0]} has "
                f"{shards[0].shape[1]} of {shards[0].dtype}"
            )
    num_classes = sum(len(array) for array in shards)
    size, larger = divmod(num_classes, len(shards))
    for i, array in enumerate(shards):
        if len(array) != size + (i < larger):
            raise ValueError(
                f"{names[i]} has {len(array)} rows; of {num_classes} classes in {len(shards)} "
                f"shards, partition_strategy {strategy!r} puts {size + (i < larger)} there"
            )
    return Table(shards, num_classes, strategy)


def _is_matrix(array: Any, one_column: bool) -> bool:
    return np.ndim(array) == (1 if one_column else 2)


def _changeable(array: Any, name: str) -> Array:
    """The array itself; an error where a copy would be changed in its place."""
    refuse_mask(array, name)
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{name} is changed in place and must be a NumPy array, not {type(array).__name__}"
        )
    if not is_float(array.dtype) or not array.dtype.isnative:
        raise TypeError(
            f"{name} has dtype {array.dtype!r}; to be changed in place it must be of float16, "
            "bfloat16, float32 or float64 in native byte order"
        )
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only")
    return array.view(np.ndarray)


def _matrix(array: Any, name: str, one_column: bool) -> Array:
    matrix = unmasked_floats(array, name)
    if matrix.ndim != (1 if one_column else 2):
        meaning = "a number for each class" if one_column else "a row for each class"
        raise ValueError(f"{name} has shape {matrix.shape}; it must have {meaning}")
    return matrix[:, None] if one_column else matrix
