"""Draws of classes in Numba: maps from uniform numbers, and a hash table of what was found.

The arithmetic is that of `_sampling.float_math` and of the core, to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastsoftmax._sampling.float_math import EXP_SERIES, LN2_HIGH, LN2_LOW, LOG2_E, TO_INTEGER
from fastsoftmax._typing import ALIAS, LOG_UNIFORM, UNIFORM, Array, DrawCall
from fastsoftmax.backends._numba_kernels import _inlined, _jit

_NONE = np.empty(0, np.int64)
_HASH = np.uint64(0x9E3779B97F4A7C15)  # by the golden ratio
_SERIES = np.array(EXP_SERIES)


def draw(call: DrawCall) -> tuple[int, int]:
    """See `Backend`."""
    wanted, left, found, tries = len(call.ids), call.most_draws, 0, 0
    # Two to four places for each id that is wanted; 0 is an empty one.
    bits = max(2, (2 * wanted - 1).bit_length()) if call.unique else 0
    table = np.zeros(1 << bits, np.int64)
    excluded = _NONE if call.excluded is None else call.excluded
    while found < wanted and left > 0:
        size = min(wanted - found, left)
        left -= size
        drawn = np.empty(size, np.int64)
        _map(
            *(call.kind, call.generator.random(size), call.scale, call.num_classes),
            *(call.thresholds, call.aliases, call.tree, drawn),
        )
        found, tries = _accept(drawn, excluded, table, bits, call.ids, found, tries)
    return int(found), int(tries)


@_inlined
def _exp(x: float, bits: Any) -> float:
    shifted = x * LOG2_E + TO_INTEGER
    k = shifted - TO_INTEGER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = _SERIES[0]
    for j in range(1, len(_SERIES)):
        p = p * r + _SERIES[j]
    bits[0] = (int(k) + 1023) << 52
    return float(p * bits.view(np.float64)[0])


@_jit
def _map(
    kind: int,
    u: Array,
    scale: float,
    classes: int,
    thresholds: Array,
    aliases: Array,
    tree: Array,
    ids: Array,
) -> None:
    last = classes - 1
    bits = np.empty(1, np.int64)
    step = 1
    while step <= len(tree) // 2:
        step *= 2
    for i in range(len(u)):
        x = u[i] * scale
        if kind == UNIFORM:
            ids[i] = min(int(x), last)
        elif kind == LOG_UNIFORM:
            ids[i] = min(max(int(_exp(x, bits)) - 1, 0), last)
        elif kind == ALIAS:
            column = min(int(x), last)
            ids[i] = column if x - column < thresholds[column] else aliases[column]
        else:
            at, place, stride = int(x), 0, step
            while stride:
                if place + stride <= len(tree) and tree[place + stride - 1] <= at:
                    place += stride
                    at -= tree[place - 1]
                stride //= 2
            ids[i] = min(place, last)


@_jit
def _accept(
    drawn: Array, excluded: Array, table: Array, bits: int, ids: Array, found: int, tries: int
) -> tuple[int, int]:
    last = len(table) - 1
    shift = np.uint64(64 - bits)
    for i in range(len(drawn)):
        key = drawn[i]
        if len(excluded):
            place = np.searchsorted(excluded, key)
            if place < len(excluded) and excluded[place] == key:
                continue
        tries += 1
        if bits:
            at = np.int64((np.uint64(key) * _HASH) >> shift)
            while table[at] != 0 and table[at] != key + 1:
                at = (at + 1) & last
            if table[at] != 0:
                continue
            table[at] = key + 1
        ids[found] = key
        found += 1
    return found, tries
