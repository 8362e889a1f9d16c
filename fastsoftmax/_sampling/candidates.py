"""What samplers take and give: `Candidates`, the protocol `Sampler`, and the checks of arguments.

No probability and no draw lives here.
"""

from __future__ import annotations

from numbers import Integral
from operator import index
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from fastsoftmax._typing import Array, Mask

MOST_CLASSES = 1 << 53
"""A draw takes one number of 53 bits."""


class Candidates(NamedTuple):
    """The classes that `Sampler.sample` has drawn, and what their expected counts depend on.

    Attributes
    ----------
    ids : ndarray of int64
        The classes, in the order in which they came.
    num_tries : int
        How many draws it took, those of classes that were there already among them.
    unique : bool
        Whether each class was taken once.
    excluded : ndarray of int64 or None
        The classes that could not be drawn, sorted, each once.
    excluded_mass : float
        Their probability together.
    expected_true, expected_sampled : ndarray or None
        Expected counts of the true classes and of `ids`, which then count in place of what
        `Sampler.expected_count` says: of a sampler that has changed since, or of the caller's own.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> import numpy as np
    >>> fs.samplers.Candidates(np.array([3, 0]), num_tries=2, unique=False).excluded is None
    True
    """

    ids: Array
    num_tries: int
    unique: bool = True
    excluded: Array | None = None
    excluded_mass: float = 0.0
    expected_true: Array | None = None
    expected_sampled: Array | None = None


@runtime_checkable
class Sampler(Protocol):
    """What a loss needs of a sampler; any object that has it may take the place of those here."""

    @property
    def num_classes(self) -> int:
        """R: the classes are 0 to R - 1."""

    def sample(
        self,
        num_sampled: int,
        *,
        unique: bool = True,
        labels: Any = None,
        exclude: Any = None,
        rng: Any = None,
        backend: str | None = None,
    ) -> Candidates:
        """Classes drawn at random; `labels` are the true ones, of which a sampler may learn."""

    def probability(self, ids: Any) -> Array:
        """The probability of each class in one draw, float64."""

    def expected_count(self, ids: Any, candidates: Candidates, *, rule: str | None = None) -> Array:
        """How often each class is expected among such candidates, float64."""


def as_count(number: Any, name: str, least: int = 1, most: int = MOST_CLASSES) -> int:
    """A whole number in a range; no bool."""
    try:
        count = index(number)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {number!r}") from None
    if isinstance(number, bool | np.bool_):
        raise TypeError(f"{name} must be an int, not {number!r}")
    if not least <= count <= most:
        limit = f"{least} to 2**53" if most == MOST_CLASSES else f"{least} to {most}"
        raise ValueError(f"{name} is {count}; it must be {limit}")
    return count


def as_ids(ids: Any, name: str, num_classes: int) -> Array:
    """Classes in range as int64, of any shape; the IndexError names the first that is not."""
    given = np.asarray(ids)
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"{name} has dtype {given.dtype}; classes are integers")
    found = given.astype(np.int64, copy=False)
    # As unsigned numbers, negative ones are too large as well.
    if given.size and (
        int(np.maximum.reduce(found.view(np.uint64), None)) >= num_classes
        or (given.dtype.kind == "u" and int(given.max()) >= num_classes)
    ):
        outside = (given < 0) | (given >= num_classes)
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        at = "" if not place else f"[{', '.join(map(str, place))}]"
        raise IndexError(
            f"{name}{at} is {given[place]}, but the classes are 0 to {num_classes - 1}"
        )
    return found


def as_generator(rng: Any) -> np.random.Generator:
    """A generator from None, a seed, a SeedSequence or a generator (SPEC 7)."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None or isinstance(rng, np.random.SeedSequence):
        return np.random.default_rng(rng)
    if not isinstance(rng, Integral) or isinstance(rng, bool | np.bool_):
        raise TypeError(
            "rng must be None, an int, a numpy.random.Generator or a SeedSequence, "
            f"not {type(rng).__name__}: {rng!r}"
        )
    if int(rng) < 0:
        raise ValueError(f"rng is {rng}; a seed must not be negative")
    return np.random.default_rng(int(rng))


def contains(ordered: Array, ids: Array) -> Mask:
    """Whether each of the ids is in a sorted array that is not empty."""
    place = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    return np.asarray(ordered[place] == ids)
