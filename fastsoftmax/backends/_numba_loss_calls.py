"""How the Numba backend runs losses and gradients: strides, masks, half types, weights, threads.

The arithmetic on logits is in `_numba_losses`, `_numba_elements` and `_numba_gradients`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from fastsoftmax._at_labels import rounded_sum, settle_others, total_of
from fastsoftmax._typing import Array, BackwardCall, BinaryCall, Call, LossCall, Mask
from fastsoftmax.backends import _numba_elements as elements
from fastsoftmax.backends import _numba_gradients as gradients
from fastsoftmax.backends import _numba_losses as kernels
from fastsoftmax.backends._numba_pieces import CallRows, Index, cuts, deal, gather, threads_worth

Kernel: TypeAlias = Callable[..., None]


def _own(array: Array, real: np.dtype[Any]) -> bool:
    """Whether a kernel may write to the array itself."""
    return array.dtype == real and array.flags.carray


class _Room:
    """Memory for any piece of a call, allocated when it is first needed."""

    def __init__(self, rows: CallRows) -> None:
        self._rows = rows
        self._scratch: Array | None = None

    def like(self, piece: Array) -> Array:
        """So much of it."""
        if self._scratch is None:
            self._scratch = self._rows.scratch(self._rows.classes)
        return self._scratch[: piece.size].reshape(piece.shape)

    def given(self, piece: Array | None) -> Array:
        """A piece as kernels read it: itself or a copy; empty if there is none."""
        if piece is None:
            return np.empty(0, self._rows.real)
        if _own(piece, self._rows.real):
            return piece
        return gather(piece, None, self.like(piece))

    def wanted(self, piece: Array | None) -> Array:
        """Where kernels write a piece: there, or in this room; empty if there is none."""
        if piece is None:
            return np.empty(0, self._rows.real)
        return piece if _own(piece, self._rows.real) else self.like(piece)


def _hand_over(result: Array, piece: Array | None) -> None:
    """Copy a result to where it belongs, unless it has been written there."""
    if piece is not None and result is not piece:
        np.copyto(piece, result, casting="unsafe")


def _piece(array: Array | None, at: Index) -> Array | None:
    return None if array is None else array[at]


# Exclusive classes --------------------------------------------------------------------------------


def cross_entropy(call: LossCall) -> float:
    """The losses, and the gradient where it is wanted."""
    if call.labels is None or call.smoothing != 0:
        _by_rows(call, _over_all_classes)
    elif not _directly(call, call.labels):
        _by_rows(call, _at_labels)
    return total_of(call)


def _directly(call: LossCall, labels: Array) -> bool:
    """Run the kernel on the arrays themselves, if they are as it wants them."""
    x, losses, grad = call.logits, call.losses, call.grad
    if (
        call.where is not None
        or call.axis != x.ndim - 1
        or not _own(x, losses.dtype)
        or not (grad is None or grad.flags.carray)
    ):
        return False
    rows, classes = losses.size, x.shape[-1]
    x, labels, losses = x.reshape(rows, classes), labels.reshape(rows), losses.reshape(rows)
    grad = np.empty((0, classes), x.dtype) if grad is None else grad.reshape(rows, classes)
    weight, scale = _weight(call), call.scale
    threads = threads_worth(call.threads, x.size)
    if threads == 1:
        kernels.cross_entropy_rows(x, labels, weight, losses, grad, scale)
        return True

    def work(pieces: Iterator[slice]) -> None:
        for at in pieces:
            kernels.cross_entropy_rows(x[at], labels[at], weight, losses[at], grad[at], scale)

    deal(work, cuts(rows, classes), threads)
    return True


def _weight(call: LossCall) -> Array:
    """The class weights, or an empty array."""
    return np.empty(0, call.losses.dtype) if call.weight is None else call.weight


class _Rows:
    """Rows of a call, as the kernels want them; `labels` or `probabilities` is None."""

    def __init__(
        self,
        x: Array,
        mask: Mask | None,
        labels: Array | None,
        probabilities: Array | None,
        grad: Array,
    ) -> None:
        self.x, self.mask, self.labels, self.grad = x, mask, labels, grad
        self.probabilities = probabilities
        self.losses = np.empty(len(x), x.dtype)


def _by_rows(call: LossCall, compute: Callable[[LossCall, _Rows], None]) -> None:
    out = call.logits if call.grad is None else call.grad
    rows = CallRows(Call(call.logits, out, (call.axis,), call.where, 1.0, call.threads))
    turned = rows.turned_or_none
    all_labels, all_probabilities = turned(call.labels), turned(call.probabilities)
    all_losses, grads, classes = rows.turned(call.losses), turned(call.grad), rows.classes

    def work(pieces: Iterator[Index]) -> None:
        room = _Room(rows)
        for at in pieces:
            x, out = rows.x[at], _piece(grads, at)
            into = room.like(x) if out is None else room.wanted(out)
            flat = (-1, classes)
            labels, mask = _piece(all_labels, at), _piece(rows.where, at)
            probabilities = _piece(all_probabilities, at)
            part = _Rows(
                gather(x, mask, into).reshape(flat),
                None if mask is None else mask.reshape(flat),
                None if labels is None else np.ascontiguousarray(labels).reshape(-1),
                None if probabilities is None else probabilities.reshape(flat),
                into.reshape(flat) if out is not None else np.empty((0, classes), rows.real),
            )
            compute(call, part)
            losses = all_losses[at]
            np.copyto(losses, part.losses.reshape(losses.shape))
            if out is not None:
                if part.mask is not None:
                    np.copyto(part.grad, 0.0, where=~part.mask)
                _hand_over(into, out)

    rows.deal(work)


def _at_labels(call: LossCall, rows: _Rows) -> None:
    """Of one class in each row: the gradient is p, less 1 there."""
    labels, weight = rows.labels, _weight(call)
    assert labels is not None
    kernels.cross_entropy_rows(rows.x, labels, weight, rows.losses, rows.grad, call.scale)
    if rows.mask is not None:
        is_weightless = call.weight is not None and weight[np.maximum(labels, 0)] == 0
        _settle_absent(rows, is_weightless, labels >= 0)


def _over_all_classes(call: LossCall, rows: _Rows) -> None:
    """Of a distribution over classes, t: the gradient is sum(w t) p - w t."""
    labels, weights = rows.labels, _weights(call, rows)
    is_weightless = rows.mask is not None and (weights == 0).all(1)
    kernels.cross_entropy_of_distributions(rows.x, weights, rows.losses, rows.grad, call.scale)
    if rows.mask is not None:
        _settle_absent(rows, is_weightless, True)
    if labels is not None:
        settle_others(rows.losses, labels)
        if rows.grad.size:
            rows.grad[labels < 0] = 0.0


def _settle_absent(rows: _Rows, is_weightless: Mask | bool, among: Mask | bool) -> None:
    """The losses of rows without any class: +inf, or 0 where nothing counts."""
    assert rows.mask is not None
    absent = among & ~rows.mask.any(1)
    np.copyto(rows.losses, np.where(is_weightless, 0.0, np.inf), where=absent, casting="unsafe")


def _weights(call: LossCall, rows: _Rows) -> Array:
    """w t for every class: what the loss counts its log-probability by; memory of its own."""
    smoothing, real = call.smoothing, rows.x.dtype.type
    if rows.probabilities is not None:
        weights = rows.probabilities.astype(real, order="C")
        if smoothing:
            weights *= real(1 - smoothing)
    else:
        assert rows.labels is not None
        weights = np.zeros_like(rows.x)
        np.put_along_axis(weights, np.maximum(rows.labels, 0)[:, None], real(1 - smoothing), 1)
    if smoothing:
        if rows.mask is None:
            weights += real(smoothing / weights.shape[1])
        else:
            share = smoothing / np.maximum(rows.mask.sum(1, keepdims=True), 1)
            np.add(weights, share.astype(real), out=weights, where=rows.mask)
    if call.weight is not None:
        weights *= call.weight
    return weights


# Elements -----------------------------------------------------------------------------------------


def sigmoid(call: Call) -> None:
    """See `fastsoftmax.sigmoid`."""
    _by_elements(elements.sigmoid, call)


def log_sigmoid(call: Call) -> None:
    """See `fastsoftmax.log_sigmoid`."""
    _by_elements(elements.log_sigmoid, call)


def _by_elements(kernel: Kernel, call: Call) -> None:
    rows = CallRows(call)

    def work(pieces: Iterator[Index]) -> None:
        room = _Room(rows)
        for at in pieces:
            out = rows.out[at]
            y = room.wanted(out)
            kernel(gather(rows.x[at], None, y).reshape(-1), y.reshape(-1))
            _hand_over(y, out)

    rows.deal(work)


def binary_cross_entropy(call: BinaryCall) -> float:
    """The losses and the gradient where they are wanted; returns the losses' sum."""
    like = next((a for a in (call.grad, call.losses) if a is not None), call.logits)
    rows = CallRows(Call(call.logits, like, (), None, 1.0, call.threads))
    inputs = [
        rows.turned_or_none(a) for a in (call.logits, call.targets, call.weight, call.pos_weight)
    ]
    outputs = [rows.turned_or_none(a) for a in (call.losses, call.grad)]
    totals: list[float] = []

    def work(pieces: Iterator[Index]) -> None:
        rooms, more = [_Room(rows) for _ in inputs], [_Room(rows) for _ in outputs]
        for at in pieces:
            given = [room.given(_piece(a, at)) for room, a in zip(rooms, inputs, strict=True)]
            parts = [_piece(a, at) for a in outputs]
            wanted = [room.wanted(part) for room, part in zip(more, parts, strict=True)]
            x, targets, weight, pos_weight, losses, grad = (
                a.reshape(-1) for a in (*given, *wanted)
            )
            total = elements.binary_cross_entropy(
                x, targets, weight, pos_weight, losses, grad, call.scale
            )
            totals.append(total)
            for result, part in zip(wanted, parts, strict=True):
                _hand_over(result, part)

    rows.deal(work)
    return rounded_sum(totals)


# Gradients ----------------------------------------------------------------------------------------


def softmax_backward(call: BackwardCall) -> None:
    """y * (dy - sum(dy * y))."""
    _backward(gradients.softmax_backward, call)


def log_softmax_backward(call: BackwardCall) -> None:
    """dy - exp(y) * sum(dy)."""
    _backward(gradients.log_softmax_backward, call)


def _backward(kernel: Kernel, call: BackwardCall) -> None:
    rows = CallRows(Call(call.output, call.out, call.axes, None, 1.0, call.threads))
    all_dy = rows.turned(call.grad_output)

    def work(pieces: Iterator[Index]) -> None:
        rooms, flat = [_Room(rows) for _ in range(3)], (-1, rows.classes)
        for at in pieces:
            out = rows.out[at]
            dy, y = rooms[0].given(all_dy[at]), rooms[1].given(rows.x[at])
            dx = rooms[2].wanted(out)
            kernel(dy.reshape(flat), y.reshape(flat), dx.reshape(flat))
            _hand_over(dx, out)

    rows.deal(work)
