"""A loss over true classes and candidates, and its gradient: the order of its steps.

Matrix products are NumPy's, by the BLAS it carries; everything between them is the backend's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from fastsoftmax._memory import empty
from fastsoftmax._sampling.loss_arrays import SampledCall
from fastsoftmax._sampling.tables import Table
from fastsoftmax._typing import Array, Backend, BinaryCall, LossCall

BLOCK_BYTES = 32 << 20
"""Of logits that are there at a time. Products want many rows, so that a table's rows, which are
packed anew for each block, are used often; what lies between them wants logits in a cache. Of 1024
examples, 8192 candidates and 256 columns, ms: 1 MiB 263, 4 172, 16 150, 32 145, 64 144."""

LINE = 64
"""Bytes that rows of logits begin at multiples of."""


class Rows(NamedTuple):
    """Some rows of corrected logits, candidates first, to become losses and their gradient."""

    logits: Array
    losses: Array
    candidates: int
    target: float
    scale: float
    with_gradient: bool
    threads: int

    @property
    def gradient(self) -> Array | None:
        """Where the gradient goes: in place of the logits."""
        return self.logits if self.with_gradient else None


RowLoss: TypeAlias = Callable[[Backend, Rows], None]


class Gradient(NamedTuple):
    """By inputs, and by those rows of the table, sorted by class, that took part."""

    inputs: Array
    ids: Array
    weight_rows: Array
    bias_rows: Array | None


def softmax_loss(backend: Backend, rows: Rows) -> None:
    """Cross-entropy of the softmax over a row, with the target on each of its true classes.

    The first true class serves as the label: so the row's loss and gradient keep their digits.
    """
    logits, losses = rows.logits, rows.losses
    true = logits[:, rows.candidates :].copy()
    labels = np.full((len(logits), 1), rows.candidates)
    backend.cross_entropy(
        LossCall(
            *(logits, 1, None, labels, None, None, 0.0),
            *(losses, rows.gradient, rows.scale, rows.threads),
        )
    )
    if true.shape[1] == 1:
        return
    losses += true[:, :1] - true.mean(axis=1, keepdims=True)
    if rows.with_gradient:
        logits[:, rows.candidates] += rows.scale
        logits[:, rows.candidates :] -= rows.scale * rows.target


def sigmoid_loss(backend: Backend, rows: Rows) -> None:
    """The sum of each class's own binary cross-entropy."""
    target = np.zeros(rows.logits.shape[1], rows.logits.dtype)
    target[rows.candidates :] = rows.target
    targets = np.broadcast_to(target, rows.logits.shape)
    losses = empty(rows.logits.shape, rows.logits.dtype)
    backend.binary_cross_entropy(
        BinaryCall(
            *(rows.logits, targets, None, None, losses),
            *(rows.gradient, rows.scale, rows.threads),
        )
    )
    np.sum(losses, axis=1, keepdims=True, out=rows.losses)


def compute(
    backend: Backend, call: SampledCall, loss: RowLoss, scale: float, with_gradient: bool
) -> tuple[Array, Gradient | None]:
    """Each example's loss and, of `scale` times their sum, the gradient."""
    with np.errstate(all="ignore"):
        return _Step(backend, call, loss, scale, with_gradient).run()


class _Step:
    def __init__(
        self,
        backend: Backend,
        call: SampledCall,
        loss: RowLoss,
        scale: float,
        with_gradient: bool,
    ) -> None:
        self.backend, self.call, self.loss = backend, call, loss
        self.scale, self.with_gradient = scale, with_gradient
        self.real = call.inputs.dtype
        self.classes = np.concatenate((call.ids, call.labels.reshape(-1)))
        rows = self._gathered(call.weight)
        self.rows, own = rows[: len(call.ids)], rows[len(call.ids) :]
        self.own = own.reshape(*call.labels.shape, call.weight.columns)
        self.bias = None if call.bias is None else self._gathered(call.bias)[:, 0]

    def run(self) -> tuple[Array, Gradient | None]:
        """Blocks of rows, one after another."""
        call, backend = self.call, self.backend
        examples, true = call.labels.shape
        candidates, columns = self.rows.shape
        true_logits, offsets = self._true_logits(), self._offsets()
        losses = np.empty((examples, 1), self.real)
        if self.with_gradient:
            by_inputs = empty((examples, columns), self.real)
            by_rows = (empty if examples else np.zeros)((candidates, columns), self.real)
            by_bias = np.zeros(candidates, self.real)
            factors = np.empty((examples, true), self.real)
        for at, logits in self._blocks(candidates + true):
            x, products = call.inputs[at], logits[:, :candidates]
            np.matmul(x, self.rows.T, out=products)
            backend.shift_columns(products, offsets, *self._hits(at), call.threads)
            logits[:, candidates:] = true_logits[at]
            self.loss(
                backend,
                Rows(
                    *(logits, losses[at], candidates, call.target),
                    *(self.scale, self.with_gradient, call.threads),
                ),
            )
            if not self.with_gradient:
                continue
            factors[at] = logits[:, candidates:]
            np.matmul(products, self.rows, out=by_inputs[at])
            if at.start:
                by_rows += products.T @ x
            else:
                np.matmul(products.T, x, out=by_rows)
            if call.bias is not None:
                by_bias += np.ones(len(x), self.real) @ products
        if not self.with_gradient:
            return losses, None
        backend.add_scaled_rows(factors, self.own, by_inputs, call.threads)
        return losses, self._by_class(by_inputs, by_rows, by_bias, factors)

    def _gathered(self, table: Table) -> Array:
        """The table's rows of candidates and labels, in C order and the compute type."""
        out = empty((len(self.classes), table.columns), self.real)
        for block in table.blocks(self.classes):
            direct = isinstance(block.places, slice)  # else they lie apart
            part = (
                out[block.places]
                if direct
                else np.empty((len(block.rows), table.columns), self.real)
            )
            self.backend.gather_rows(block.array, block.rows, part, self.call.threads)
            if not direct:
                out[block.places] = part
        return out

    def _true_logits(self) -> Array:
        call = self.call
        logits = np.empty(call.labels.shape, self.real)
        self.backend.row_dots(call.inputs, self.own, logits, call.threads)
        if self.bias is not None:
            logits += self.bias[len(call.ids) :].reshape(logits.shape)
        if call.of_true is not None:
            logits -= call.of_true
        return logits

    def _offsets(self) -> Array:
        """What is to be subtracted from the candidates' products."""
        call = self.call
        offsets = call.of_candidates
        if offsets is None:
            offsets = np.zeros(len(call.ids), self.real)
        return offsets if self.bias is None else offsets - self.bias[: len(call.ids)]

    def _blocks(self, width: int) -> list[tuple[slice, Array]]:
        """Blocks of examples, and room for their logits, which they share."""
        examples = len(self.call.inputs)
        per_line = LINE // self.real.itemsize
        padded = -(-width // per_line) * per_line
        count = max(1, -(-examples * padded * self.real.itemsize // BLOCK_BYTES))
        step = max(1, -(-examples // count))
        room = empty((step, padded), self.real)
        return [
            (slice(i, min(i + step, examples)), room[: min(step, examples - i), :width])
            for i in range(0, examples, step)
        ]

    def _hits(self, at: slice) -> tuple[Array, Array]:
        """Rows of a block, and candidates, whose class is true there."""
        match = self.call.match
        if match is None or not self.call.removes_hits:
            return _NOWHERE, _NOWHERE
        if at == slice(0, len(self.call.inputs)):
            return match.hit_rows, match.hit_columns
        first, last = np.searchsorted(match.hit_rows, (at.start, at.stop))
        return match.hit_rows[first:last] - at.start, match.hit_columns[first:last]

    def _by_class(
        self, by_inputs: Array, by_rows: Array, by_bias: Array, factors: Array
    ) -> Gradient:
        call, match = self.call, self.call.match
        assert match is not None
        ids = self.classes[match.order[match.starts[:-1]]]
        rows = empty((len(ids), by_rows.shape[1]), self.real)
        self.backend.sum_rows(match, by_rows, factors, call.inputs, rows, call.threads)
        bias = None
        if call.bias is not None:
            sums, ones = np.empty((len(ids), 1), self.real), np.ones((len(factors), 1), self.real)
            self.backend.sum_rows(match, by_bias[:, None], factors, ones, sums, call.threads)
            bias = sums[:, 0]
        return Gradient(by_inputs, ids, rows, bias)


_NOWHERE = np.empty(0, np.int64)
