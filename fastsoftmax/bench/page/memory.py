"""What calls take in memory: in words and multiples, and a bar for each way of the same call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from fastsoftmax._terminal import significant
from fastsoftmax.bench.memory import RESOLUTION
from fastsoftmax.bench.page import axes, units
from fastsoftmax.bench.page.axes import Scale
from fastsoftmax.bench.page.colours import CATEGORIES
from fastsoftmax.bench.page.standing import sizes_of
from fastsoftmax.bench.page.svg import Chart, shortened, tag, tip, words
from fastsoftmax.bench.results import PLAIN, Result

LEFT, RIGHT, TOP, BAR, GAP, BELOW = 96.0, 62.0, 8.0, 13.0, 6.0, 36.0
"""Room for names and for numbers, from bar to bar, between contestants, for the axis."""

_ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

_UNDER = f"under {RESOLUTION >> 20} MB"
"""What 0 stands for."""

EXPLAINED = (
    "Resident memory at the peak of a call beyond what was there before it, by the kernel's count, "
    "of calls large enough for that; and in multiples of what the logits take. With out= the "
    "result has its place already, without it the result counts."
)

_WAYS = {PLAIN: "with out=", "no out": "without out="}
"""What options mean for memory: whether the result's own counts."""


class Call(NamedTuple):
    """What was called, and in which way."""

    operation: str
    sizes: str
    way: str


def call_of(result: Result) -> Call:
    """The call in words; what is usual is not said."""
    key = result.key
    dtype = "" if key.dtype == "float32" else f", {key.dtype}"
    threads = "" if key.threads == 1 else f", {key.threads} threads"
    way = _WAYS.get(key.option, key.option)
    return Call(f"{key.operation}{dtype}{threads}", str(sizes_of(key)), way)


def megabytes(taken: int) -> str:
    """Decimal ones: 32.8 MB."""
    return f"{significant(taken / 1e6)} MB" if taken else _UNDER


def of_logits(result: Result) -> float | None:
    """What is taken in multiples of what the logits take; None if either is not known."""
    item = _ITEM_BYTES.get(result.key.dtype)
    if item is None or result.peak_bytes is None:
        return None
    return result.peak_bytes / (item * result.elements)


def shown(result: Result) -> str:
    """Both, for a single cell: 32.8 MB (1.00x)."""
    taken, share = megabytes(result.peak_bytes or 0), of_logits(result)
    return f"{taken} ({units.ratio(share)})" if share else taken


def in_several_ways(results: Iterable[Result]) -> list[Result]:
    """Those that are known for calls that were measured in more ways than one."""
    known = [result for result in results if result.peak_bytes is not None]
    ways: dict[tuple[str, str], set[str]] = {}
    for result in known:
        call = call_of(result)
        ways.setdefault(call[:2], set()).add(call.way)
    return [result for result in known if len(ways[call_of(result)[:2]]) > 1]


def charts(results: Iterable[Result], names: Sequence[str]) -> dict[str, list[Chart]]:
    """By operation a chart for each call that was measured in several ways."""
    calls: dict[tuple[str, tuple[str, str]], list[Result]] = {}
    for result in in_several_ways(results):
        key = result.key
        calls.setdefault((key.operation, call_of(result)[:2]), []).append(result)
    drawn: dict[str, list[Chart]] = {}
    for (operation, call), found in calls.items():
        drawn.setdefault(operation, []).append(_chart(", ".join(call), found, names))
    return drawn


def _chart(call: str, found: Sequence[Result], names: Sequence[str]) -> Chart:
    ways = list(dict.fromkeys(call_of(result).way for result in found))
    colours = {way: CATEGORIES[i % len(CATEGORIES)] for i, way in enumerate(ways)}
    most = max(result.peak_bytes or 0 for result in found) or 1
    x = Scale(0.0, float(most), LEFT, axes.PLOT_WIDTH - RIGHT, 0)
    present = [name for name in names if any(r.key.contestant == name for r in found)]
    body, y = "", TOP
    for name in present:
        bars = [result for result in found if result.key.contestant == name]
        middle = y + BAR * len(bars) / 2 + 4
        body += words(shortened(name, int((LEFT - 8) / 6.8)), LEFT - 6, middle, "end")
        for result in bars:
            body += _bar(result, x, y, colours[call_of(result).way])
            y += BAR
        y += GAP
    for value in x.ticks():
        rule = f"M{x(value):.1f} {TOP}V{y:.1f}"
        body = tag("path", class_="rule", d=rule) + body
        body += words(f"{value / 1e6:g}", x(value), y + 13, "middle", class_="quiet")
    body += words("MB", (x.start + x.end) / 2, y + 28, "middle")
    entries: list[axes.Entry] = [(way, partial(_sample, colours[way])) for way in ways]
    height = y + BELOW
    return Chart(
        "memory",
        f"{call}: memory of a call",
        f"Resident memory at the peak of a call beyond what was there before, of {len(present)} "
        f"contestants, {' and '.join(ways)}; less is better, {_UNDER} is not told apart from none.",
        axes.PLOT_WIDTH,
        height + axes.legend_height(ways),
        body + axes.legend(entries, height + 6),
    )


def _bar(result: Result, x: Scale, y: float, colour: str) -> str:
    taken = result.peak_bytes or 0
    said = f"{result.key.contestant}, {call_of(result).way}: {shown(result)}"
    box = {"x": x.start, "y": y + 1, "width": max(x(taken) - x.start, 1.0), "height": BAR - 2}
    number = words(megabytes(taken), x(taken) + 4, y + BAR / 2 + 4)
    return tag("g", tip(said) + tag("rect", fill=colour, **box) + number)


def _sample(colour: str, x: float, y: float) -> str:
    return tag("rect", fill=colour, x=x - 6, y=y - 5, width=12.0, height=10.0)
