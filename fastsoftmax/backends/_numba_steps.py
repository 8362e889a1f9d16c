"""Steps of sampled losses in Numba: see `Backend`. C-contiguous arrays of one compute type.

The other steps are those of `_sampling.numpy_steps`.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastsoftmax._typing import Array, Match
from fastsoftmax.backends._numba_kernels import _jit
from fastsoftmax.backends._numba_pieces import cuts, deal, threads_worth


@_jit
def _add_scaled(factors: Array, rows: Array, out: Array) -> None:
    for i in range(len(out)):
        to = out[i]
        for t in range(rows.shape[1]):
            factor, row = factors[i, t], rows[i, t]
            for j in range(len(to)):
                to[j] += factor * row[j]


@_jit
def _sum(
    order: Array,
    starts: Array,
    of_candidates: Array,
    factors: Array,
    x: Array,
    out: Array,
    first: int,
    last: int,
) -> None:
    candidates, true = len(of_candidates), factors.shape[1]
    for u in range(first, last):
        to = out[u]
        to[:] = 0
        for place in range(starts[u], starts[u + 1]):
            number = order[place]
            if number < candidates:
                row = of_candidates[number]
                for j in range(len(to)):
                    to[j] += row[j]
            else:
                example, t = divmod(number - candidates, true)
                factor, row = factors[example, t], x[example]
                for j in range(len(to)):
                    to[j] += factor * row[j]


def add_scaled_rows(factors: Array, rows: Array, out: Array, threads: int) -> None:
    """The share that the true classes have in the gradient of the inputs."""

    def work(pieces: Iterator[slice]) -> None:
        for at in pieces:
            _add_scaled(factors[at], rows[at], out[at])

    size = rows.shape[1] * rows.shape[2]
    deal(work, cuts(len(out), max(size, 1)), threads_worth(threads, rows.size))


def sum_rows(
    match: Match, of_candidates: Array, factors: Array, x: Array, out: Array, threads: int
) -> None:
    """The gradient of the weights: rows of one class added up."""
    given = match.order, match.starts, of_candidates, factors, x, out

    def work(pieces: Iterator[slice]) -> None:
        for at in pieces:
            _sum(*given, at.start, at.stop)

    deal(work, cuts(len(out), max(out.shape[1], 1)), threads_worth(threads, out.size))
