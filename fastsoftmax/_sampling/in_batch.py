"""The loss over the keys of a batch: its arguments checked, then tile by tile of logits.

Matrix products are NumPy's, losses and their gradients the backend's. The logits of all queries and
keys never exist at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._arrays import as_array, as_floats, as_temperature, compute_dtype, unmasked_floats
from fastsoftmax._loss_arrays import REDUCTIONS, Reduction, choice, promoted
from fastsoftmax._memory import empty
from fastsoftmax._typing import Array, Backend, LossCall

TILE_BYTES = 4 << 20
"""Of logits: the products are within 5 percent of their best rate, and what lies between them finds
the logits in a cache."""

LEAST_ROWS = 128
"""Of a tile, where a row is long: products read all keys anew for each tile, and are slower by a
half with 32 rows (32768 keys of 128 float32)."""


class _Hits(NamedTuple):
    """Keys of one id, side by side in `order`; query i's are those from starts[i] to ends[i]."""

    order: Array
    starts: Array
    ends: Array

    def of(self, rows: range) -> tuple[Array, Array]:
        """Places in a tile of logits where a key has the id of the query's own, which is not one.

        All of a query's keys may be: there are no more pairs than logits in the tile.
        """
        at = slice(rows.start, rows.stop)
        starts, sizes = self.starts[at], self.ends[at] - self.starts[at]
        query = np.repeat(np.arange(len(rows)), sizes)
        first = np.cumsum(sizes) - sizes
        key = self.order[np.arange(len(query)) + np.repeat(starts - first, sizes)]
        other = key != query + rows.start
        return query[other], key[other]


_NOWHERE: tuple[Array, Array] = np.empty(0, np.int64), np.empty(0, np.int64)


def _hits(ids: Array, queries: int) -> _Hits | None:
    order = np.argsort(ids, kind="stable")
    grouped = ids[order]
    if not (grouped[1:] == grouped[:-1]).any():
        return None
    own = ids[:queries]
    starts, ends = (np.searchsorted(grouped, own, side) for side in ("left", "right"))
    return _Hits(order, starts, ends)


class InBatchCall(NamedTuple):
    """Arguments that were checked; `keys` and what is not of `queries` are in the compute type."""

    queries: Array
    keys: Array
    hits: _Hits | None
    offsets: Array | None
    temperature: float | Array
    how: Reduction
    key_dtype: np.dtype[Any]
    threads: int

    def loss(self, backend: Backend) -> Any:
        """The reduced loss."""
        with np.errstate(all="ignore"):
            losses = np.empty((len(self.queries), 1), self.keys.dtype)
            for rows, _, logits in self._tiles(backend):
                self._cross_entropy(backend, rows, logits, losses, None)
            return self._reduced(losses)

    def loss_and_gradients(self, backend: Backend) -> tuple[Any, Array, Array]:
        """The same, and the gradients by queries and keys."""
        with np.errstate(all="ignore"):
            losses = np.empty((len(self.queries), 1), self.keys.dtype)
            by_queries = empty(self.queries.shape, self.queries.dtype)
            by_keys = empty(self.keys.shape, self.keys.dtype)
            more = np.empty_like(self.keys)
            by_keys.fill(0)
            for rows, x, logits in self._tiles(backend):
                self._cross_entropy(backend, rows, logits, losses, logits)
                np.matmul(logits.T, x, out=more)
                np.add(by_keys, more, out=by_keys)
                np.matmul(logits, self.keys, out=x)
                by_queries[rows.start : rows.stop] = x / self._temperature_of(rows)
            by_keys = by_keys.astype(self.key_dtype, copy=False)
            return self._reduced(losses), by_queries, by_keys

    def _tiles(self, backend: Backend) -> Iterator[tuple[range, Array, Array]]:
        """Rows, their queries over the temperature, and their logits, in memory that tiles share.

        Both may be overwritten.
        """
        queries, (keys, columns) = len(self.queries), self.keys.shape
        row_bytes = max(keys, 1) * self.keys.itemsize
        most = max(LEAST_ROWS, TILE_BYTES // row_bytes)
        step = -(-queries // max(1, -(-queries // most)))  # tiles of about the same size
        room = np.empty((step, keys), self.keys.dtype)
        scaled = np.empty((step, columns), self.keys.dtype)
        for start in range(0, queries, max(step, 1)):
            rows = range(start, min(start + step, queries))
            x, logits = scaled[: len(rows)], room[: len(rows)]
            x[...] = self.queries[rows.start : rows.stop]
            x /= self._temperature_of(rows)
            np.matmul(x, self.keys.T, out=logits)
            if self.offsets is not None:
                hits = _NOWHERE if self.hits is None else self.hits.of(rows)
                backend.shift_columns(logits, self.offsets, *hits, self.threads)
            yield rows, x, logits

    def _temperature_of(self, rows: range) -> Any:
        if isinstance(self.temperature, float):
            return self.keys.dtype.type(self.temperature)
        return self.temperature[rows.start : rows.stop]

    def _cross_entropy(
        self, backend: Backend, rows: range, logits: Array, losses: Array, grad: Array | None
    ) -> None:
        if not logits.size:
            return
        labels = np.arange(rows.start, rows.stop).reshape(-1, 1)
        backend.cross_entropy(
            LossCall(
                *(logits, 1, None, labels, None, None, 0.0),
                *(losses[rows.start : rows.stop], grad, self.how.scale, self.threads),
            )
        )

    def _reduced(self, losses: Array) -> Any:
        if self.how.kind == "none":
            return self.how.each(losses)
        return self.how.of_sum(float(losses.sum(dtype=np.float64)))


def in_batch_call(
    queries: Any,
    keys: Any,
    ids: Any,
    log_q: Any,
    temperature: Any,
    remove_accidental_hits: bool,
    reduction: Any,
    threads: int,
) -> InBatchCall:
    """Normal form of `in_batch_softmax_loss`."""
    kind = choice("reduction", reduction, REDUCTIONS)
    q, k = _matrix(queries, "queries"), _matrix(keys, "keys")
    if q.shape[1] != k.shape[1]:
        raise ValueError(
            f"queries has shape {q.shape}, but keys has shape {k.shape}; they must have the same "
            "number of columns"
        )
    if len(k) < len(q):
        raise ValueError(
            f"keys has {len(k)} rows, but queries has {len(q)}; each query needs a key of its own"
        )
    dtype = promoted(q.dtype, k.dtype)
    real = compute_dtype(dtype)
    heat = as_temperature(temperature, (len(q), len(k)), (1,), dtype)
    if not isinstance(heat, float):
        heat = heat.astype(real)
    given = None if ids is None else _ids(ids, len(k))
    hits = None if given is None or not remove_accidental_hits else _hits(given, len(q))
    offsets = None if log_q is None else _log_q(log_q, len(k), real)
    if offsets is None and hits is not None:
        offsets = np.zeros(len(k), real)
    how = Reduction(kind, float(len(q)), nan, (len(q),), dtype)
    in_order = np.ascontiguousarray(k, real)
    return InBatchCall(q, in_order, hits, offsets, heat, how, k.dtype, threads)


def _matrix(x: Any, name: str) -> Array:
    matrix = unmasked_floats(x, name)
    if matrix.ndim != 2:
        raise ValueError(f"{name} has shape {matrix.shape}; it must have a row for each example")
    return matrix


def _per_key(x: Array, name: str, keys: int) -> Array:
    if x.shape != (keys,):
        raise ValueError(f"{name} has shape {x.shape}; it must be ({keys},), a number per key")
    return x


def _ids(ids: Any, keys: int) -> Array:
    given = _per_key(as_array(ids, "ids"), "ids", keys)
    if given.dtype.kind not in "iu":
        raise TypeError(f"ids has dtype {given.dtype}; ids of keys are integers")
    return given.copy()  # what is sorted is what is looked up


def _log_q(log_q: Any, keys: int, dtype: np.dtype[Any]) -> Array:
    given = _per_key(as_floats(log_q, "log_q"), "log_q", keys)
    with np.errstate(all="ignore"):
        values = given.astype(dtype, "C")
    bad = ~np.isfinite(values)
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(f"log_q must be finite in {dtype}, but log_q[{place}] is {given[place]}")
    return values
