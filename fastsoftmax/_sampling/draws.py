"""How a sample is drawn: by a backend's draws first, and what remains by a race of all classes.

Sizes and order of everything here depend on the arguments only, never on the backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastsoftmax._sampling import float_math
from fastsoftmax._typing import Array, DrawCall


class Law(NamedTuple):
    """A distribution over classes as draws need it; the first six are those of a `DrawCall`."""

    kind: int
    num_classes: int
    scale: float
    thresholds: Array
    aliases: Array
    tree: Array
    support: int
    """Classes of positive probability."""


class Without(NamedTuple):
    """Classes that are not to be drawn: sorted, how many of positive probability, and that."""

    ids: Array | None = None
    support: int = 0
    mass: float = 0.0


def draw_ids(
    draw: Callable[[DrawCall], tuple[int, int]],
    law: Law,
    probabilities: Callable[[], Array],
    count: int,
    unique: bool,
    without: Without,
    generator: np.random.Generator,
) -> tuple[Array, int]:
    """`count` classes and the tries that they took, each class once if `unique` says so.

    `probabilities` gives those of all classes, in an array of this call's own; rarely asked for.

    Rejection is given up where it would take long, or does: with half of the classes found, every
    other draw is in vain at best.
    """
    support = law.support - without.support
    _check_enough(count, support, unique)
    ids = np.empty(count, np.int64)
    found = tries = 0
    if not (unique and 2 * count > support):
        most = count if without.ids is None and not unique else _patience(count, law, without)
        call = DrawCall(*law[:6], generator, ids, unique, without.ids, most)
        found, tries = draw(call)
        if found == count:
            return ids, tries
    left = probabilities()
    if without.ids is not None:
        left[without.ids] = 0.0
    if unique:
        left /= left.sum()
        left[ids[:found]] = 0.0
        ids[found:], time = _race(left, count - found, generator)
        return ids, tries + max(round(time), count - found)
    total = np.cumsum(left)
    at = generator.random(count - found) * total[-1]
    # Rounded up to the total, it is the last class that has a share.
    last = np.searchsorted(total, total[-1])
    ids[found:] = np.minimum(np.searchsorted(total, at, side="right"), last)
    return ids, count


def _check_enough(count: int, support: int, unique: bool) -> None:
    if (count > support) if unique else support == 0:
        raise ValueError(
            f"num_sampled is {count}, but {support} classes have a positive probability and are "
            "not excluded" + (", and unique=True takes each once" if unique else "")
        )


def _patience(count: int, law: Law, without: Without) -> int:
    """Draws after which rejection is given up.

    A race takes 50 to 140 ns for each class that there is, more than two draws of the core: so much
    may be in vain. The other bound is for distributions where a few classes have nearly all: with
    it no backend makes rounds of one draw without end.
    """
    kept = max(1.0 - without.mass, 2.0**-53)
    return min(max(2 * law.num_classes + 64, 4 * count), int((32 * count + 64) / kept))


def _race(probabilities: Array, count: int, generator: np.random.Generator) -> tuple[Array, float]:
    """The first `count` classes to arrive, and when the last of them did, in tries.

    Draws at the times of a Poisson process bring each class after an exponential time of its own;
    what went before does not matter to it. So whoever gives up rejecting may go on like this: the
    order of arrival has the same distribution, and the number of tries is one draw a unit of time,
    to the nearest: always up would be half a try too many.
    """
    runners = np.flatnonzero(probabilities)
    times = -float_math.log(1.0 - generator.random(len(runners)))
    times /= probabilities[runners]
    if count < len(runners):
        among = np.flatnonzero(times <= np.partition(times, count - 1)[count - 1])
        runners, times = runners[among], times[among]
    order = np.argsort(times, kind="stable")[:count]  # those at the same time by id
    return runners[order], float(times[order[-1]])
