"""Who stands where: cases, the contestant that stands for this package, the best peer beside it.

Draws and prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import geometric_mean
from typing import NamedTuple

from fastsoftmax.bench.page import units
from fastsoftmax.bench.results import PLAIN, Key, Result, Results


class Sizes(NamedTuple):
    """How large a case is: in nothing else do the cases of a group differ."""

    shape: tuple[int, ...]
    classes: int
    sampled: int | None

    def __str__(self) -> str:
        """In words: "32 x 1000"; with a sample of the classes "128 x 64, 1,024 of 1,000,000"."""
        if self.sampled is None:
            return units.shape(self.shape)
        drawn = f"{self.sampled:,} of {self.classes:,}"
        # Draws alone have no inputs: their shape is the number of candidates over again.
        return drawn if self.shape == (self.sampled,) else f"{units.shape(self.shape)}, {drawn}"


class Group(NamedTuple):
    """Cases that differ in their sizes alone: what one heat map shows."""

    operation: str
    dtype: str
    rank: int
    axis: int
    threads: int
    inputs: str
    option: str
    inputs_shape: tuple[int, ...] | None
    """Of a sample of the classes, () for draws: cases differ by classes and candidates then."""

    def __str__(self) -> str:
        """In words: "softmax, float32, 2 threads"."""
        plain = self.sampled or (self.rank, self.axis) == (2, 1)
        layout = f", axis {self.axis} of {self.rank}" if self.rank > 1 else ", 1-d"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        inputs = "" if self.inputs == "hot" else f", {self.inputs} inputs"
        option = "" if self.option == PLAIN else f", {self.option}"
        what = f"{self.operation}, {self.dtype}{'' if plain else layout}"
        return f"{what}, {threads}{inputs}{option}"

    @property
    def sampled(self) -> bool:
        """Whether a sample of the classes takes part, not all of them."""
        return self.inputs_shape is not None

    @property
    def title(self) -> str:
        """With the inputs' shape too, which the words for sizes have elsewhere."""
        return f"{self}, {units.shape(self.inputs_shape)}" if self.inputs_shape else str(self)


class Standing(NamedTuple):
    """All results of one case, as measured in turns, and the two that are compared."""

    group: Group
    sizes: Sizes
    results: tuple[Result, ...]
    subject: Result | None
    best_peer: Result | None

    @property
    def ratio(self) -> float | None:
        """The best peer's time over the subject's: above 1 if this package is faster."""
        if self.subject is None or self.best_peer is None:
            return None
        return self.best_peer.seconds.median / self.subject.seconds.median

    @property
    def certain(self) -> bool:
        """Whether neither was disturbed and their quartile ranges do not overlap."""
        if self.subject is None or self.best_peer is None:
            return False
        a, b = self.subject.seconds, self.best_peer.seconds
        apart = a.third_quartile < b.first_quartile or b.third_quartile < a.first_quartile
        return apart and not (self.subject.disturbed or self.best_peer.disturbed)


def subject_name(document: Results) -> str | None:
    """The contestant that stands for this package: what a call that names no backend gets.

    Not the fastest of its own in each case, which would be to pick winners afterwards. If that one
    was not measured, the first of its own that was.
    """
    own = [result.key.contestant for result in document.results if result.kind == "own"]
    for name in (document.machine["backend"].get("chosen"), "fastsoftmax"):
        if name in own:
            return str(name)
    listed = [contestant.name for contestant in document.contestants]
    return next((name for name in listed if name in own), None)


def standings(document: Results, subject: str | None) -> list[Standing]:
    """Every case of a document, in its order."""
    cases: dict[tuple[Group, Sizes], list[Result]] = {}
    for result in document.results:
        cases.setdefault((group_of(result.key), sizes_of(result.key)), []).append(result)
    return [_standing(group, sizes, found, subject) for (group, sizes), found in cases.items()]


def sizes_of(key: Key) -> Sizes:
    """The sizes of a result's case."""
    return Sizes(key.shape, key.classes, key.sampled)


def group_of(key: Key) -> Group:
    """The group of a result's case."""
    rank = len(key.shape)
    inputs_shape = None
    if key.sampled is not None:
        inputs_shape = () if key.shape == (key.sampled,) else key.shape
    return Group(
        operation=key.operation,
        dtype=key.dtype,
        rank=rank,
        axis=key.axis % rank,
        threads=key.threads,
        inputs=key.inputs,
        option=key.option,
        inputs_shape=inputs_shape,
    )


def _standing(group: Group, sizes: Sizes, found: Sequence[Result], subject: str | None) -> Standing:
    own = next((result for result in found if result.key.contestant == subject), None)
    peers = [result for result in found if result.kind == "peer"]
    best = min(peers, key=lambda result: result.seconds.median, default=None)
    return Standing(group, sizes, tuple(found), own, best)


class Summary(NamedTuple):
    """One contestant beside the best peer of each case."""

    contestant: str
    cases: int
    ahead: int
    behind: int
    uncertain: int
    mean: float | None
    """Geometric, of the ratios of all cases with a peer, the uncertain ones too."""


def summary(of: str, found: Iterable[Standing]) -> Summary:
    """Count in how many cases the contestant is ahead, behind, or not to be told apart."""
    own = [_standing(s.group, s.sizes, s.results, of) for s in found]
    ratios = [(standing.ratio, standing.certain) for standing in own]
    compared = [(ratio, certain) for ratio, certain in ratios if ratio is not None]
    return Summary(
        contestant=of,
        cases=len(compared),
        ahead=sum(ratio > 1 and certain for ratio, certain in compared),
        behind=sum(ratio < 1 and certain for ratio, certain in compared),
        uncertain=sum(not certain for _, certain in compared),
        mean=geometric_mean([ratio for ratio, _ in compared]) if compared else None,
    )


class Own(NamedTuple):
    """One of this package's contestants beside the one that stands for it."""

    contestant: str
    cases: int
    mean: float
    """Geometric, of its time over the subject's, of the cases that both were measured in."""


def beside_subject(found: Iterable[Standing]) -> list[Own]:
    """All others of this package, in the order of results."""
    ratios: dict[str, list[float]] = {}
    for standing in found:
        for result in standing.results:
            if standing.subject is None or result is standing.subject or result.kind != "own":
                continue
            value = result.seconds.median / standing.subject.seconds.median
            ratios.setdefault(result.key.contestant, []).append(value)
    return [Own(name, len(values), geometric_mean(values)) for name, values in ratios.items()]


def behind(found: Iterable[Standing]) -> list[Standing]:
    """The cases in which a peer's median is lower, the worst first, within the noise or not."""
    slower = [(ratio, s) for s in found if (ratio := s.ratio) is not None and ratio < 1]
    return [standing for _, standing in sorted(slower, key=lambda pair: pair[0])]
