"""Steps of a sampled loss in NumPy, for the backends that have nothing better: see `Backend`.

Between the matrix products of such a loss lie steps that touch each number once; they are here.
"""

from __future__ import annotations

import numpy as np

from fastsoftmax._typing import Array, Match

BLOCK = 1 << 18
"""Numbers that a step has temporary copies of at a time."""


class NumpySteps:
    """Those of the operations of `Backend` that sampled losses are made of."""

    def gather_rows(self, table: Array, ids: Array, out: Array, threads: int) -> None:
        """The rows of some classes."""
        with np.errstate(all="ignore"):
            np.copyto(out, table[ids], casting="unsafe")

    def match(self, ids: Array, labels: Array, classes: int) -> Match:
        """Which candidates and which labels are of one class."""
        candidates, true = len(ids), labels.shape[1]
        keys = np.concatenate((ids, labels.reshape(-1)))
        order = np.argsort(keys, kind="stable")
        grouped = keys[order]
        is_first = np.ones(len(keys), np.bool_)
        is_first[1:] = grouped[1:] != grouped[:-1]
        starts = np.append(np.flatnonzero(is_first), len(keys))
        # Candidates come first in a group, as they do among the keys.
        found = np.add.reduceat(order < candidates, starts[:-1], dtype=np.int64)
        sizes = np.diff(starts)
        of_labels = np.flatnonzero(order >= candidates)
        group = np.repeat(np.arange(len(sizes)), sizes)[of_labels]
        times = found[group]
        place = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        columns = order[np.repeat(starts[group], times) + place]
        rows = np.repeat((order[of_labels] - candidates) // true, times)
        pairs = np.unique(rows * candidates + columns)  # a row may name a class twice
        hit_rows, hit_columns = np.divmod(pairs, max(candidates, 1))
        return Match(order, starts, hit_rows, hit_columns)

    def row_dots(self, x: Array, rows: Array, out: Array, threads: int) -> None:
        """Products of inputs and the weights of their own classes."""
        np.einsum("nd,ntd->nt", x, rows, out=out)

    def shift_columns(
        self, logits: Array, offsets: Array, hit_rows: Array, hit_columns: Array, threads: int
    ) -> None:
        """From products to corrected logits of the classes that count."""
        with np.errstate(all="ignore"):
            np.subtract(logits, offsets, out=logits)
        logits[hit_rows, hit_columns] = -np.inf

    def add_scaled_rows(self, factors: Array, rows: Array, out: Array, threads: int) -> None:
        """The share that the true classes have in the gradient of the inputs."""
        step = max(1, BLOCK // max(rows.shape[1] * rows.shape[2], 1))
        for i in range(0, len(out), step):
            at = slice(i, i + step)
            out[at] += np.einsum("nt,ntd->nd", factors[at], rows[at])

    def sum_rows(
        self, match: Match, of_candidates: Array, factors: Array, x: Array, out: Array, threads: int
    ) -> None:
        """The gradient of the weights: rows of one class added up."""
        candidates, true = len(of_candidates), factors.shape[1]
        scale = factors.reshape(-1)
        per_step = max(1, BLOCK // max(out.shape[1], 1))
        ends = match.starts[1:]
        group = 0
        while group < len(out):
            start = match.starts[group]
            last = max(group + 1, int(np.searchsorted(ends, start + per_step, "right")))
            places = match.order[start : match.starts[last]]
            parts = np.empty((len(places), out.shape[1]), out.dtype)
            is_label = places >= candidates
            pairs = places[is_label] - candidates
            parts[~is_label] = of_candidates[places[~is_label]]
            parts[is_label] = scale[pairs, None] * x[pairs // true]
            np.add.reduceat(parts, match.starts[group:last] - start, axis=0, out=out[group:last])
            group = last
