"""Error against speed: every result of a group, so that speed bought with accuracy is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastsoftmax._terminal import significant
from fastsoftmax.bench.page import axes
from fastsoftmax.bench.page.axes import Look
from fastsoftmax.bench.page.standing import Group, Standing, sizes_of
from fastsoftmax.bench.page.svg import Chart, tag
from fastsoftmax.bench.page.units import count, ratio
from fastsoftmax.bench.results import Result

LEAST, MOST = 0.1, 1e9
"""ULP between which the scale keeps; exact results stand at its left edge."""


def chart(group: Group, found: Sequence[Standing], looks: Mapping[str, Look]) -> Chart | None:
    """Worst ULP and speed beside the fastest of the case; None if no error is known."""
    points: list[tuple[Result, float, float]] = []
    for standing in found:
        fastest = min(result.seconds.median for result in standing.results)
        points += [
            (result, min(max(result.worst_ulp, LEAST), MOST), fastest / result.seconds.median)
            for result in standing.results
            if result.worst_ulp is not None
        ]
    if not points:
        return None
    x = axes.across((error for _, error, _ in points), 10)
    y = axes.upwards([1.0, *(speed for _, _, speed in points)], 10)
    # Products round like the largest of their sums: single numbers would be judged by them.
    of = " of the largest number" if group.sampled else ""
    body = axes.frame(
        x,
        y,
        (f"largest error in ULP{of}", "speed beside the fastest"),
        (count, lambda v: f"{v:g}"),
    )
    body += tag("path", class_="limit", d=f"M{x.start} {y(1):.1f}H{x.end}", stroke_dasharray="4 3")
    order = list(looks)
    for result, error, speed in sorted(points, key=lambda p: -order.index(p[0].key.contestant)):
        name = result.key.contestant
        said = (
            f"{name}, {sizes_of(result.key)}: "
            f"{significant(result.worst_ulp or 0.0)} ULP, {ratio(speed)} of the fastest"
        )
        body += axes.marker(looks[name], x(error), y(speed), said)
    entries = axes.contestants(looks, {result.key.contestant for result, _, _ in points})
    names = [name for name, _ in entries]
    return Chart(
        "accuracy",
        f"{group.title}: error against speed",
        f"{len(points)} results, both axes logarithmic: left is more accurate, up is faster; 1 is "
        "the fastest contestant of each size.",
        axes.PLOT_WIDTH,
        axes.PLOT_HEIGHT + axes.legend_height(names),
        body + axes.legend(entries, axes.PLOT_HEIGHT + 6),
    )
