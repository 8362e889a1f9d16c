"""Walker's alias table: any distribution over R classes, drawn from with one number in O(1)."""

from __future__ import annotations

import numpy as np

from fastsoftmax._typing import Array


def alias_table(probabilities: Array) -> tuple[Array, Array]:
    """Thresholds and aliases of R columns of equal weight.

    A column belongs to its class up to the threshold, and from there to its alias. Classes below
    the average are filled up by those above, both in order of id: the one whose running sum of
    surplus is the first to exceed the running sum of what lacks. A class above the average is in
    its turn filled up by the next one. So the table comes out of running sums, without a loop over
    classes; they are in long double, as they hold up to R terms.
    """
    count = len(probabilities)
    weights = probabilities * count
    above = weights >= 1.0
    if not above.any():  # all are 1 but for rounding
        above[np.argmax(weights)] = True
    light, heavy = np.flatnonzero(~above), np.flatnonzero(above)
    lacks = np.cumsum(1.0 - weights[light].astype(np.longdouble))
    surplus = np.cumsum(weights[heavy].astype(np.longdouble) - 1.0)

    thresholds, aliases = np.ones(count), np.arange(count)
    before = np.concatenate([np.zeros(1, np.longdouble), lacks])
    helper = np.searchsorted(surplus, before[:-1], side="right")
    thresholds[light] = weights[light]
    aliases[light] = heavy[np.minimum(helper, len(heavy) - 1)]
    # What lacks when a heavy class has given all its surplus: the last one keeps its column.
    spent = np.minimum(np.searchsorted(before, surplus), len(before) - 1)
    kept = (1.0 + surplus - before[spent]).astype(np.float64)
    thresholds[heavy[:-1]] = np.clip(kept[:-1], 0.0, 1.0)
    aliases[heavy[:-1]] = heavy[1:]
    return thresholds, aliases
