"""Heat maps over batch, or candidates, and classes: a value in each cell, and its colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import NamedTuple

from fastsoftmax._terminal import duration, significant
from fastsoftmax.bench.page.colours import BALANCE, SEQUENCE, between, ink
from fastsoftmax.bench.page.standing import Group, Standing
from fastsoftmax.bench.page.svg import Chart, tag, tip, words
from fastsoftmax.bench.page.units import brief, count, ratio
from fastsoftmax.bench.results import Result

CELL_WIDTH, CELL_HEIGHT, LEFT, TOP = 62.0, 30.0, 64.0, 34.0

EXTREME = 4.0
"""Times as fast, or as slow, as the best peer where the colours end."""


class Cell(NamedTuple):
    """A value, what is written of it, and what more is said under the pointer."""

    value: float
    shown: str
    said: str


Place = tuple[int, int]


def throughput(group: Group, found: Sequence[Standing], subject: str) -> Chart | None:
    """Elements per second of the subject, calls where classes are sampled; None if not measured."""
    cells: dict[Place, Cell] = {}
    unit = 1e3 if group.sampled else 1e9
    for standing in found:
        if (result := standing.subject) is not None:
            rate = (1 if group.sampled else result.elements) / result.seconds.median
            cell = Cell(
                rate,
                brief(rate / unit) + "*" * result.disturbed,
                f"{standing.sizes}: {duration(result.seconds.median)}, "
                f"{significant(result.bytes / result.seconds.median / 1e9)} GB/s",
            )
            _keep_lowest(cells, _place(result), cell)
    if not _worth_drawing(cells, group):
        return None
    what = "Thousands of calls" if group.sampled else "Billions of elements"
    low, high = (end(log(cell.value) for cell in cells.values()) for end in (min, max))
    return _chart(
        "throughput",
        f"{group.title}: throughput of {subject}",
        f"{what} per second, by the median; lighter is faster.",
        cells,
        _down(group),
        lambda value: between(SEQUENCE, (log(value) - low) / (high - low) if high > low else 0.5),
    )


def against_peers(group: Group, found: Sequence[Standing], subject: str) -> Chart | None:
    """The best peer's time over the subject's, None if no case has both."""
    cells: dict[Place, Cell] = {}
    for standing in found:
        result, peer, value = standing.subject, standing.best_peer, standing.ratio
        if result is not None and peer is not None and value is not None:
            mark = "*" if result.disturbed or peer.disturbed else ""
            cell = Cell(
                value,
                ratio(value) + mark,
                f"{standing.sizes}: {duration(result.seconds.median)}, best peer "
                f"{peer.key.contestant} {duration(peer.seconds.median)}",
            )
            _keep_lowest(cells, _place(result), cell)
    if not _worth_drawing(cells, group):
        return None
    return _chart(
        "ratio",
        f"{group.title}: {subject} beside the best peer",
        "The best peer's time over ours, by medians. Above 1 and blue: ours is faster; "
        "below 1 and orange: a peer is.",
        cells,
        _down(group),
        lambda value: between(BALANCE, 0.5 + log(value) / log(EXTREME) / 2),
    )


def _place(result: Result) -> Place:
    """Its row and its column."""
    sampled = result.key.sampled
    return result.batch if sampled is None else sampled, result.classes


def _worth_drawing(cells: Mapping[Place, Cell], group: Group) -> bool:
    # One call on a sample of the classes says no more as a map than in the table.
    return len(cells) > 1 if group.sampled else len(cells) > 0


def _down(group: Group) -> str:
    return "drawn" if group.sampled else "batch"


def _keep_lowest(cells: dict[Place, Cell], place: Place, cell: Cell) -> None:
    # Shapes of more axes can have the same batch and classes: shown is the one that looks worse.
    if place not in cells or cell.value < cells[place].value:
        cells[place] = cell


def _chart(
    kind: str,
    title: str,
    what: str,
    cells: Mapping[Place, Cell],
    down: str,
    colour: Callable[[float], str],
) -> Chart:
    down_sizes = sorted({size for size, _ in cells})
    classes = sorted({size for _, size in cells})
    width, height = LEFT + CELL_WIDTH * len(classes), TOP + CELL_HEIGHT * len(down_sizes)
    parts = [
        words("classes →", LEFT, 12, class_="quiet"),
        words(f"{down} ↓", LEFT - 8, TOP - 8, "end", class_="quiet"),
    ]
    for j, size in enumerate(classes):
        parts.append(words(count(size), LEFT + (j + 0.5) * CELL_WIDTH, TOP - 8, "middle"))
    for i, down_size in enumerate(down_sizes):
        top = TOP + i * CELL_HEIGHT
        parts.append(words(count(down_size), LEFT - 8, top + CELL_HEIGHT / 2 + 4, "end"))
        parts += [
            _cell(cells.get((down_size, size)), LEFT + j * CELL_WIDTH, top, colour)
            for j, size in enumerate(classes)
        ]
    starred = any("*" in cell.shown for cell in cells.values())
    lowest, highest = (end(cells.values(), key=lambda c: c.value) for end in (min, max))
    span = f" From {lowest.shown} to {highest.shown} in {len(cells)} cells."
    said = (
        what
        + span * (len(cells) > 1)
        + (" *: disturbed by other work on the machine." if starred else "")
    )
    return Chart(kind, title, said, width + 2, height + 2, "".join(parts))


def _cell(cell: Cell | None, left: float, top: float, colour: Callable[[float], str]) -> str:
    box = {"x": left + 1, "y": top + 1, "width": CELL_WIDTH - 2, "height": CELL_HEIGHT - 2}
    if cell is None:
        return tag("rect", class_="empty", **box)
    ground = colour(cell.value)
    text = words(
        cell.shown,
        left + CELL_WIDTH / 2,
        top + CELL_HEIGHT / 2 + 4,
        "middle",
        style=f"fill:{ink(ground)}",
    )
    return tag("g", tip(cell.said) + tag("rect", fill=ground, rx=3.0, **box) + text)
