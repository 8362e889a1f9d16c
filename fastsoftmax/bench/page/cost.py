"""Cost by number of classes: a curve for each contestant, with its quartiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from fastsoftmax._terminal import duration
from fastsoftmax.bench.page import axes
from fastsoftmax.bench.page.axes import Look, Scale
from fastsoftmax.bench.page.standing import Group, Standing, sizes_of
from fastsoftmax.bench.page.svg import Chart, tag
from fastsoftmax.bench.page.units import count
from fastsoftmax.bench.results import Result

DASHES = ("none", "7 3", "2 3")
"""One for each number of candidates in a chart: more lines are told apart by nobody."""

_UNITS = (1e-6, "us"), (1e-3, "ms"), (1.0, "s")
"""Of an axis: the first with which numbers stay shorter than 10,000, for which there is room."""


class Curve(NamedTuple):
    """One contestant, one number of candidates or rows, more and more classes."""

    contestant: str
    number: int
    results: Sequence[Result]


def charts(
    group: Group, found: Sequence[Standing], subject: str, looks: Mapping[str, Look]
) -> list[Chart]:
    """The time of all contestants by classes; none where there is one number of classes.

    A sample of the classes has a line style for each number of candidates. Where all classes take
    part there are more contestants, and each number of rows has a chart of its own.
    """
    if not group.sampled and (group.rank, group.axis) != (2, 1):
        return []
    curves = _curves(found, group.sampled)
    numbers = sorted({c.number for c in curves if c.contestant == subject})
    each = len(DASHES) if group.sampled else 1
    parts = [numbers[i : i + each] for i in range(0, len(numbers), each)]
    return [_chart(group, [c for c in curves if c.number in part], part, looks) for part in parts]


def _curves(found: Sequence[Standing], sampled: bool) -> list[Curve]:
    by_line: dict[tuple[str, int], list[Result]] = {}
    for standing in found:
        number = standing.sizes.sampled if sampled else standing.sizes.shape[0]
        for result in standing.results:
            by_line.setdefault((result.key.contestant, number or 0), []).append(result)
    return [
        Curve(*line, sorted(results, key=lambda result: result.classes))
        for line, results in by_line.items()
        if len(results) > 1
    ]


def _chart(
    group: Group, curves: Sequence[Curve], numbers: Sequence[int], looks: Mapping[str, Look]
) -> Chart:
    results = [result for curve in curves for result in curve.results]
    x = axes.across((result.classes for result in results), 10)
    y = axes.upwards((seconds for result in results for seconds in result.seconds), 10)
    unit, name = next(((u, n) for u, n in _UNITS if y.high < 1e4 * u), _UNITS[-1])
    body = axes.frame(
        x,
        y,
        ("classes", f"time of a call in {name}"),
        (count, lambda seconds: count(seconds / unit)),
    )
    dashes = dict(zip(numbers, DASHES, strict=False))
    order = list(looks)  # the first one last, so that it lies on top
    for curve in sorted(curves, key=lambda c: -order.index(c.contestant)):
        body += _drawn(curve, x, y, looks[curve.contestant], dashes[curve.number])
    present = {curve.contestant for curve in curves}
    entries = axes.contestants(looks, present)
    what = "sampled" if group.sampled else "row" if numbers == [1] else "rows"
    if len(numbers) > 1:
        entries += [(f"{n:,} {what}", partial(axes.stroke, dashes[n])) for n in numbers]
    names = [name for name, _ in entries]
    said = " and ".join(f"{n:,}" for n in numbers)
    low, high = (duration(end(r.seconds.median for r in results)) for end in (min, max))
    return Chart(
        "cost",
        f"{group.title}, {said} {what}: cost by number of classes",
        f"Medians and quartiles of {len(present)} contestants, both axes logarithmic; lower is "
        f"faster. From {low} to {high}.",
        axes.PLOT_WIDTH,
        axes.PLOT_HEIGHT + axes.legend_height(names),
        body + axes.legend(entries, axes.PLOT_HEIGHT + 6),
    )


def _drawn(curve: Curve, x: Scale, y: Scale, look: Look, dashes: str) -> str:
    places = [(x(result.classes), y(result.seconds.median)) for result in curve.results]
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
    paint: dict[str, str | float] = {"fill": "none", "stroke": look.colour}
    body = tag("path", d=path, stroke_width=1.8, stroke_dasharray=dashes, **paint)
    for result, (a, b) in zip(curve.results, places, strict=True):
        first, median, third = result.seconds
        body += tag("path", d=f"M{a:.1f} {y(first):.1f}V{y(third):.1f}", stroke_width=4.0, **paint)
        said = f"{curve.contestant}, {sizes_of(result.key)}: {duration(median)}"
        body += axes.marker(look, a, b, f"{said} ({duration(first)} to {duration(third)})")
    return body
