"""Steps of optimizers on rows of tables in NumPy: blocks taken out, changed, put back."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastsoftmax._typing import Array, UpdateCall
from fastsoftmax.backends._numpy_blocks import BLOCK


def update_rows(call: UpdateCall) -> None:
    """See `UpdateCall`, which has the order of the operations."""
    real = np.dtype(np.float64 if call.weight.dtype == np.float64 else np.float32)
    rate, decay = real.type(call.rate), real.type(call.decay)
    step = max(1, BLOCK // (real.itemsize * call.weight.shape[1]))
    for start in range(0, len(call.ids), step):
        ids = call.ids[start : start + step]
        w = call.weight[ids].astype(real, copy=False)
        g = call.rows[start : start + step].astype(real)
        if decay:
            g += decay * w
        states = [state[ids] for state in call.states]
        change = _direction(call, real, g, *states)
        change *= rate
        w -= change
        call.weight[ids] = w
        for state, own in zip(call.states, states, strict=True):
            state[ids] = own


def _direction(call: UpdateCall, real: np.dtype[Any], g: Array, *states: Array) -> Array:
    """Where w goes, `rate` of it; g and the states are changed."""
    if call.rule == "sgd":
        return g
    squares = states[-1]
    if call.rule == "adagrad":
        squares += g * g
        above = g
    else:
        share, share_of_square = map(real.type, call.shares)
        squares += (g * g - squares) * share_of_square
        mean = states[0]
        mean += (g - mean) * share
        above = mean
    below = np.sqrt(squares)
    below += real.type(call.eps)
    return np.divide(above, below, out=below)
