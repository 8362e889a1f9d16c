"""The roofline: what is moved in a second against how much there is to move, under the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from fastsoftmax._terminal import duration, significant
from fastsoftmax.bench.page import axes
from fastsoftmax.bench.page.axes import Look, Scale
from fastsoftmax.bench.page.standing import Group, Standing, sizes_of
from fastsoftmax.bench.page.svg import Chart, tag
from fastsoftmax.bench.page.units import several, size
from fastsoftmax.bench.results import Limits, Result

_DASHES = {"copy": "6 3", "NT copy": "2 3", "read": "10 3 2 3", "exp": "none"}


def chart(
    group: Group,
    found: Sequence[Standing],
    subject: str,
    looks: Mapping[str, Look],
    limits: Limits,
) -> Chart | None:
    """The subject and the best peer of each case.

    None without the subject, and where classes are sampled: what those take is gathering rows and
    matrix products, which no rate of memory bounds.
    """
    measured = [s for s in found if s.subject is not None]
    if not measured or group.sampled:
        return None
    points = [result for s in measured for result in (s.subject, s.best_peer) if result is not None]
    curves = _curves(group, points, limits)
    own = [(r.bytes, r.bytes / r.limit.seconds) for r in points if r.limit is not None]
    x = axes.across((result.bytes for result in points), 2)
    inside = [value for curve in curves.values() for at, value in curve if x.low <= at <= x.high]
    y = axes.upwards([*map(_rate, points), *(rate for _, rate in own), *inside], 10)
    body = axes.frame(
        x, y, ("bytes to be moved by a call", "GB/s"), (size, lambda v: significant(v / 1e9))
    )
    for name, curve in curves.items():
        body += _line(x, y, curve, _DASHES[name])
    body += "".join(_cap(x(at), y(rate)) for at, rate in dict.fromkeys(own))
    # The subject last, so that it lies on top.
    for result in sorted(points, key=lambda r: r.key.contestant == subject):
        look = looks[result.key.contestant]
        body += axes.marker(look, x(result.bytes), y(_rate(result)), _tip(result))
    present = {result.key.contestant for result in points}
    entries = axes.contestants(looks, present)
    entries += [(f"{name} limit", partial(axes.stroke, _DASHES[name])) for name in curves]
    entries += [("limit of the case", _cap)] if own else []
    names = [name for name, _ in entries]
    reached = [
        result.limit.seconds / result.seconds.median
        for result in points
        if result.limit is not None and result.key.contestant == subject
    ]
    share = f" Of its cases' limits {subject} reaches {_span(reached)}." if reached else ""
    return Chart(
        "roofline",
        f"{group}: roofline",
        f"Rate against bytes, both logarithmic, of {subject} and of the best peer in "
        f"{several(len(measured), 'case')}. Grey lines: what memory and exponentials allow.{share}",
        axes.PLOT_WIDTH,
        axes.PLOT_HEIGHT + axes.legend_height(names),
        body + axes.legend(entries, axes.PLOT_HEIGHT + 6),
    )


def _curves(
    group: Group, points: Sequence[Result], limits: Limits
) -> dict[str, list[tuple[float, float]]]:
    """The machine's limits. Those of memory are of one thread: with more, only the case's own."""
    ends = [float(end(result.bytes for result in points)) for end in (min, max)]
    curves: dict[str, list[tuple[float, float]]] = {}
    if group.threads == 1:
        kinds = (("copy", limits.copy), ("NT copy", limits.nt_copy), ("read", limits.read))
        for name, rates in kinds:
            if rates:
                pairs = ((float(rate.bytes), rate.bytes_per_second) for rate in rates)
                curves[name] = sorted(pairs)
        exponentials = limits.exp.get("float64" if group.dtype == "float64" else "float32")
        if exponentials is not None:
            each = points[0].bytes / points[0].elements
            curves["exp"] = [(at, exponentials * each) for at in (ends[0] / 4, ends[1] * 4)]
    return curves


def _line(x: Scale, y: Scale, curve: Sequence[tuple[float, float]], dashes: str) -> str:
    """The part of a curve that is within the plot's width."""
    held = [(at, rate) for at, rate in curve if x.low <= at <= x.high]
    before = [pair for pair in curve if pair[0] < x.low][-1:]
    after = [pair for pair in curve if pair[0] > x.high][:1]
    path = "L".join(f"{x(at):.1f} {y(rate):.1f}" for at, rate in (*before, *held, *after))
    return tag("path", class_="limit", d=f"M{path}", stroke_dasharray=dashes)


def _cap(x: float, y: float) -> str:
    return tag("path", class_="cap", d=f"M{x - 8:.1f} {y:.1f}h16")


def _rate(result: Result) -> float:
    return result.bytes / result.seconds.median


def _span(shares: Sequence[float]) -> str:
    low, high = (f"{100 * end(shares):.0f} %" for end in (min, max))
    return low if low == high else f"{low} to {high}"


def _tip(result: Result) -> str:
    said = (
        f"{result.key.contestant}, {sizes_of(result.key)}: "
        f"{duration(result.seconds.median)}, {significant(_rate(result) / 1e9)} GB/s"
    )
    if result.limit is None:
        return said
    share = 100 * result.limit.seconds / result.seconds.median
    return f"{said}, {share:.0f} % of the limit by {result.limit.binds}"
