"""The full softmax over many classes, evaluated: tiles of rows by tiles of classes.

Matrix products are NumPy's, the sum of exponentials of a tile is the backend's, what becomes of
them is here. No gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import nan
from operator import index
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._arrays import as_array, compute_dtype, unmasked_floats
from fastsoftmax._labels import as_ignore_index, class_indices
from fastsoftmax._loss_arrays import promoted
from fastsoftmax._sampling.tables import Table, as_table
from fastsoftmax._typing import Array, Backend, Call, Mask

BLOCK_BYTES = 4 << 20
"""Of logits, of inputs and of weights at a time: products are near their best rate."""

MOST_TOP_K = 1000
"""With it 1024 rows of 100,000 classes take five times as long as with 5, and 50,000 minutes."""

MOST_ROWS = 1024
"""Of inputs at a time, each of which reads all weights once."""


class EvaluationCall(NamedTuple):
    """Arguments that were checked: `labels` are class indices or IGNORED."""

    inputs: Array
    weight: Table
    bias: Table | None
    labels: Array
    top_k: tuple[int, ...]
    dtype: np.dtype[Any]
    threads: int


class Totals(NamedTuple):
    """Sums over the examples that count."""

    loss: float
    correct: dict[int, int]
    examples: int

    @property
    def mean_loss(self) -> float:
        """NaN for no examples."""
        return self.loss / self.examples if self.examples else nan

    @property
    def accuracy(self) -> dict[int, float]:
        """By k, the share of examples with the label among the k largest logits."""
        return {k: n / self.examples if self.examples else nan for k, n in self.correct.items()}


def evaluate(
    backend: Backend, call: EvaluationCall, progress: Callable[[int, int], object] | None
) -> Totals:
    """Rows tile by tile; `progress` is told how many are done, and of how many."""
    sums, correct, examples = [], dict.fromkeys(call.top_k, 0), 0
    total = len(call.labels)
    room = _Room(call)
    for start in range(0, total, room.rows):
        at = slice(start, min(start + room.rows, total))
        counts = call.labels[at] >= 0
        with np.errstate(all="ignore"):
            rows = _Rows(backend, call, room, at, counts)
            sums.append(float(rows.losses().sum()))
            for k in correct:
                correct[k] += rows.correct(k)
        examples += int(counts.sum())
        if progress is not None:
            progress(at.stop, total)
    with np.errstate(all="ignore"):
        return Totals(float(np.sum(sums)), correct, examples)


class _Room:
    """How large tiles are, and memory that they share."""

    def __init__(self, call: EvaluationCall) -> None:
        itemsize, columns = call.dtype.itemsize, max(call.weight.columns, 1)
        fitting = max(1, BLOCK_BYTES // (columns * itemsize))
        self.rows = min(fitting, MOST_ROWS, max(len(call.labels), 1))
        self.classes = min(fitting, max(1, BLOCK_BYTES // (self.rows * itemsize)))
        self.classes = min(self.classes, max(call.weight.num_classes, 1))
        self._logits = np.empty(self.rows * self.classes, call.dtype)
        self._inputs = np.empty((self.rows, call.weight.columns), call.dtype)
        self._weight: Array | None = None
        self._bias = np.empty(self.classes, call.dtype)

    def logits(self, rows: int, classes: int) -> Array:
        """In C order, of unknown content."""
        return self._logits[: rows * classes].reshape(rows, classes)

    def inputs(self, inputs: Array) -> Array:
        """The inputs, in C order and the compute type."""
        into = self._inputs[: len(inputs)]
        np.copyto(into, inputs, casting="unsafe")
        return into

    def weight(self, weight: Array) -> Array:
        """The weights as a matrix product takes them without copying them again."""
        if weight.dtype == self._logits.dtype and _is_plain(weight):
            return weight
        if self._weight is None:
            self._weight = np.empty((self.classes, weight.shape[1]), self._logits.dtype)
        into = self._weight[: len(weight)]
        np.copyto(into, weight, casting="unsafe")
        return into

    def bias(self, bias: Table, classes: range) -> Array:
        """The biases of some classes, however they are sharded."""
        into = self._bias[: len(classes)]
        for block in bias.blocks(np.arange(classes.start, classes.stop, classes.step)):
            into[block.places] = block.array[block.rows, 0]
        return into


def _is_plain(matrix: Array) -> bool:
    """Whether one dimension is contiguous and the other a stride that BLAS knows."""
    size, (rows, columns), (down, along) = matrix.itemsize, matrix.shape, matrix.strides
    by_rows = along == size and down >= columns * size and down % size == 0
    by_columns = down == size and along >= rows * size and along % size == 0
    return matrix.flags.aligned and (by_rows or by_columns)


class _Rows:
    """What is known of some rows once all classes were seen."""

    def __init__(
        self, backend: Backend, call: EvaluationCall, room: _Room, at: slice, counts: Array
    ) -> None:
        self._backend, self._call = backend, call
        whole = bool(counts.all())
        self._labels = call.labels[at] if whole else call.labels[at][counts]
        n, classes = len(self._labels), call.weight.num_classes
        # One more than the largest k: the label itself may be among them.
        kept = min(max(call.top_k, default=0) + 1, classes) if call.top_k else 0
        self._log_sum = np.full(n, -np.inf)
        self._at_label = np.full(n, nan)
        self._largest = np.full((n, kept), -np.inf, call.dtype)
        if n:
            x = room.inputs(call.inputs[at] if whole else call.inputs[at][counts])
            for logits, of in self._logits(room, x):
                self._add(logits, of)

    def _logits(self, room: _Room, x: Array) -> Iterator[tuple[Array, range]]:
        """Tiles of logits and the classes they belong to; each overwrites the one before."""
        for tile in self._call.weight.tiles(room.classes):
            logits = room.logits(len(x), len(tile.classes))
            np.matmul(x, room.weight(tile.array).T, out=logits)
            if self._call.bias is not None:
                np.add(logits, room.bias(self._call.bias, tile.classes), out=logits)
            yield logits, tile.classes

    def _add(self, logits: Array, classes: range) -> None:
        # Not in float64, which takes eight times as long: logits are no more exact than this.
        log_sum = np.empty((len(logits), 1), logits.dtype)
        self._backend.logsumexp(
            Call(logits, log_sum, (1,), None, 1.0, self._call.threads), None, None
        )
        np.logaddexp(self._log_sum, log_sum[:, 0], out=self._log_sum)
        place, rest = np.divmod(self._labels - classes.start, classes.step)
        here = np.flatnonzero((rest == 0) & (place >= 0) & (place < len(classes)))
        self._at_label[here] = logits[here, place[here]]
        self._keep_largest(logits)

    def _keep_largest(self, logits: Array) -> None:
        """The largest logits of each row, the least of them first; few tiles change them."""
        if not (kept := self._largest.shape[1]):
            return
        changed = np.flatnonzero(logits.max(axis=1) > self._largest[:, 0])
        if not changed.size:
            return
        news, bar = logits[changed], self._largest[changed, :1]
        higher = news > bar
        if np.count_nonzero(higher) < news.size // 8:  # all but the first tiles
            news = _packed(news, higher)
        elif news.shape[1] > kept:
            news.partition(news.shape[1] - kept, axis=1)
            news = news[:, -kept:]
        both = np.concatenate((self._largest[changed], news), axis=1)
        both.partition(both.shape[1] - kept, axis=1)
        self._largest[changed] = both[:, -kept:]

    def losses(self) -> Array:
        """Each row's cross-entropy, NaN where `cross_entropy` has it."""
        return np.where(self._log_sum == np.inf, nan, self._log_sum - self._at_label)

    def correct(self, k: int) -> int:
        """In how many rows fewer than k other logits are as large as the label's."""
        as_large = (self._largest >= self._at_label[:, None]).sum(axis=1)
        return int(((as_large <= k) & ~np.isnan(self._log_sum)).sum())


def _packed(values: Array, chosen: Mask) -> Array:
    """The chosen values of each row side by side, and -inf after them."""
    places = np.flatnonzero(chosen)
    rows = places // values.shape[1]
    counts = np.bincount(rows, minlength=len(values))
    nth = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    packed = np.full((len(values), int(counts.max())), -np.inf, values.dtype)
    packed[rows, nth] = values.reshape(-1)[places]
    return packed


def evaluation_call(
    inputs: Any,
    weight: Any,
    labels: Any,
    bias: Any,
    top_k: Any,
    ignore_index: Any,
    partition_strategy: Any,
    threads: int,
) -> EvaluationCall:
    """Normal form of `evaluate_softmax`."""
    ignored, ks = as_ignore_index(ignore_index), _top_k(top_k)
    x, table = unmasked_floats(inputs, "inputs"), as_table(weight, "weight", partition_strategy)
    if x.ndim != 2 or x.shape[1] != table.columns:
        raise ValueError(
            f"inputs has shape {x.shape}; for weights of {table.columns} columns it must be "
            f"(N, {table.columns})"
        )
    given = as_array(labels, "labels")
    if given.shape != (len(x),):
        raise ValueError(f"labels has shape {given.shape}; it must be ({len(x)},), one per input")
    if given.dtype.kind not in "iu":
        raise TypeError(f"labels has dtype {given.dtype}; class indices are integers")
    own = class_indices(given, table.num_classes, ignored, check=True)
    biases = None
    if bias is not None:
        biases = as_table(bias, "bias", partition_strategy, one_column=True)
        if biases.num_classes != table.num_classes:
            raise ValueError(
                f"bias has {biases.num_classes} numbers, but there are {table.num_classes} classes"
            )
    dtype = compute_dtype(promoted(x.dtype, table.dtype))
    return EvaluationCall(x, table, biases, own, ks, dtype, threads)


def _top_k(top_k: Any) -> tuple[int, ...]:
    given = top_k if isinstance(top_k, tuple | list | set | frozenset | range) else (top_k,)
    ks = []
    for k in given:
        try:
            ks.append(index(k))
        except TypeError:
            raise TypeError(f"top_k must be an int or some of them, not {top_k!r}") from None
        if isinstance(k, bool) or not 1 <= ks[-1] <= MOST_TOP_K:
            raise ValueError(f"top_k must be from 1 to {MOST_TOP_K}, not {k!r}")
    return tuple(dict.fromkeys(ks))
