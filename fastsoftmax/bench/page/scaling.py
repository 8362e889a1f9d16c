"""Scaling curves: how many times as fast more threads are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastsoftmax.bench.page import axes
from fastsoftmax.bench.page.standing import Sizes, Standing, sizes_of
from fastsoftmax.bench.page.svg import Chart, tag
from fastsoftmax.bench.page.units import ratio
from fastsoftmax.bench.results import Result

MOST = 7
"""Lines in one chart: as many as there are colours. The other sizes follow in the next chart."""


def charts(found: Sequence[Standing], subject: str) -> list[Chart]:
    """For each operation, dtype and layout the subject's speed by threads; none for one count."""
    families: dict[str, dict[Sizes, list[Result]]] = {}
    for standing in found:
        if standing.subject is not None:
            name = str(standing.group._replace(threads=1)).replace(", 1 thread", "")
            by_sizes = families.setdefault(name, {})
            by_sizes.setdefault(standing.sizes, []).append(standing.subject)
    drawn = []
    for name, by_sizes in families.items():
        several = [
            sorted(results, key=lambda result: result.key.threads)
            for results in by_sizes.values()
            if len(results) > 1
        ]
        parts = [several[i : i + MOST] for i in range(0, len(several), MOST)]
        for i, part in enumerate(parts):
            title = f"{name}: scaling of {subject}" + (f", part {i + 1}" if len(parts) > 1 else "")
            drawn.append(_chart(title, part))
    return drawn


def _chart(title: str, curves: Sequence[Sequence[Result]]) -> Chart:
    speeds = [[_speed(result, curve[0]) for result in curve] for curve in curves]
    threads = sorted({result.key.threads for curve in curves for result in curve})
    x = axes.across(threads, 2)
    most = threads[-1] / threads[0]
    y = axes.upwards([1.0, most, *(v for line in speeds for v in line)], 2)
    plain = "{:g}".format
    body = axes.frame(
        x,
        y,
        ("threads", "times as fast"),
        (plain, plain),
    )
    ideal = f"M{x(threads[0]):.1f} {y(1):.1f}L{x(threads[-1]):.1f} {y(most):.1f}"
    body += tag("path", class_="limit", d=ideal, stroke_dasharray="4 3")
    looks = axes.looks([str(i) for i in range(len(curves))]).values()
    entries = []
    for look, curve, line in zip(looks, curves, speeds, strict=True):
        name = str(sizes_of(curve[0].key))
        places = [(x(r.key.threads), y(v)) for r, v in zip(curve, line, strict=True)]
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        body += tag("path", d=path, fill="none", stroke=look.colour, stroke_width=1.8)
        body += "".join(
            axes.marker(look, *place, f"{name}, {result.key.threads} threads: {ratio(value)}")
            for place, result, value in zip(places, curve, line, strict=True)
        )
        entries.append((name, partial(axes.marker, look, text=name)))
    last = [line[-1] for line in speeds]
    names = [name for name, _ in entries]
    return Chart(
        "scaling",
        title,
        f"Speed by threads, both logarithmic, of {len(curves)} sizes; dashed: as many times as "
        f"fast as threads. The most threads give {ratio(min(last))} to {ratio(max(last))}.",
        axes.PLOT_WIDTH,
        axes.PLOT_HEIGHT + axes.legend_height(names),
        body + axes.legend(entries, axes.PLOT_HEIGHT + 6),
    )


def _speed(result: Result, fewest: Result) -> float:
    return fewest.seconds.median / result.seconds.median
