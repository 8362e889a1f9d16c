"""Draws of classes in NumPy, in rounds of as many as are still missing: the readable reference."""

from __future__ import annotations

import numpy as np

from fastsoftmax._sampling import float_math
from fastsoftmax._sampling.candidates import contains
from fastsoftmax._typing import ALIAS, LOG_UNIFORM, UNIFORM, Array, DrawCall


def draw(call: DrawCall) -> tuple[int, int]:
    """See `Backend`."""
    wanted, left, tries = len(call.ids), call.most_draws, 0
    found: dict[int, None] = {}  # keeps the order in which ids came, and each once
    count = 0
    while count < wanted and left > 0:
        size = min(wanted - count, left)
        left -= size
        fresh = ids_of(call, call.generator.random(size))
        if call.excluded is not None:
            fresh = fresh[~contains(call.excluded, fresh)]
        tries += len(fresh)
        if call.unique:
            found.update(dict.fromkeys(fresh.tolist()))
            count = len(found)
        else:
            call.ids[count : count + len(fresh)] = fresh
            count += len(fresh)
    if call.unique:
        call.ids[:count] = np.fromiter(found, np.int64, count)
    return count, tries


def ids_of(call: DrawCall, u: Array) -> Array:
    """The classes that numbers in [0, 1) stand for."""
    last = call.num_classes - 1
    x = u * call.scale
    if call.kind == LOG_UNIFORM:
        return np.clip(float_math.exp(x).astype(np.int64) - 1, 0, last)
    whole = x.astype(np.int64)
    if call.kind == UNIFORM:
        return np.minimum(whole, last)
    if call.kind == ALIAS:
        column = np.minimum(whole, last)
        return np.where(x - column < call.thresholds[column], column, call.aliases[column])
    return np.minimum(_descend(call.tree, whole), last)


def _descend(tree: Array, at: Array) -> Array:
    """The classes into whose shares of the total numbers fall; `tree` is a Fenwick tree."""
    place = np.zeros_like(at)
    step = 1 << (len(tree).bit_length() - 1)
    while step:
        reached = place + step
        inside = reached <= len(tree)
        share = tree[np.where(inside, reached, 1) - 1]
        goes = inside & (share <= at)
        place = np.where(goes, reached, place)
        at = np.where(goes, at - share, at)
        step >>= 1
    return place
