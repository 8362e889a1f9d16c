"""Scales, ticks, the frame of a plot, markers and the legend. Knows nothing of results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from math import ceil, floor, log
from typing import NamedTuple, TypeAlias

from fastsoftmax.bench.page.colours import CATEGORIES
from fastsoftmax.bench.page.svg import WIDTH, shortened, tag, tip, words

PLOT_WIDTH, PLOT_HEIGHT = 344.0, 220.0
"""As wide as a phone is without margins, so that 11 px stay 11 px there."""

LEFT, RIGHT, TOP, BOTTOM = 52.0, 24.0, 10.0, 40.0
"""Room for numbers and names of axes."""

LINE = 16.0
"""From a line of the legend to the next."""

Entry: TypeAlias = tuple[str, Callable[[float, float], str]]
"""Of the legend: a name, and what draws its mark at a place."""


class Scale(NamedTuple):
    """From values to pixels; logarithmic by `base`, or linear if that is 0."""

    low: float
    high: float
    start: float
    end: float
    base: int

    def __call__(self, value: float) -> float:
        """The pixel of a value; those outside are drawn on the edge."""
        low, high, at = (self._place(v) for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * min(max((at - low) / (high - low), 0), 1)

    def _place(self, value: float) -> float:
        return log(max(value, 1e-300), self.base) if self.base else value

    def ticks(self) -> list[float]:
        """Two to seven round values, powers of the base unless that leaves too few."""
        if not self.base:
            return _round(self.low, self.high)
        first, last = self._place(self.low), self._place(self.high)
        stride = max(1, ceil((last - first) / 6))
        exponents = range(ceil(first / stride - 1e-9) * stride, floor(last + 1e-9) + 1, stride)
        powers = [float(self.base) ** exponent for exponent in exponents]
        if len(powers) >= 3:
            return powers
        if self.base == 2:
            return powers or [self.low]
        parts = (m * 10.0**e for e in range(floor(first), ceil(last) + 1) for m in (1, 2, 5))
        finer = [value for value in parts if self.low <= value <= self.high]
        return finer if len(finer) > 1 else _round(self.low, self.high)


def _round(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    unit = 10.0 ** floor(log(rough, 10))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * 0.999)
    return [step * i for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def across(values: Iterable[float], base: int) -> Scale:
    """The horizontal scale that holds them all."""
    return _fitted(values, LEFT, PLOT_WIDTH - RIGHT, base)


def upwards(values: Iterable[float], base: int) -> Scale:
    """The vertical scale that holds them all."""
    return _fitted(values, PLOT_HEIGHT - BOTTOM, TOP, base)


def _fitted(values: Iterable[float], start: float, end: float, base: int) -> Scale:
    held = list(values)
    low, high = min(held), max(held)
    if base:
        margin = max((high / low) ** 0.06, 1.3)
        return Scale(low / margin, high * margin, start, end, base)
    margin = (high - low or abs(high) or 1.0) * 0.06
    return Scale(low - margin, high + margin, start, end, base)


def frame(
    x: Scale,
    y: Scale,
    names: tuple[str, str],
    shown: tuple[Callable[[float], str], Callable[[float], str]],
) -> str:
    """Rules, edges, the ticks' values and the axes' names."""
    parts = []
    for value in x.ticks():
        parts.append(tag("path", class_="rule", d=f"M{x(value):.1f} {y.start}V{y.end}"))
        parts.append(words(shown[0](value), x(value), y.start + 14, "middle", class_="quiet"))
    for value in y.ticks():
        parts.append(tag("path", class_="rule", d=f"M{x.start} {y(value):.1f}H{x.end}"))
        parts.append(words(shown[1](value), x.start - 5, y(value) + 4, "end", class_="quiet"))
    parts.append(tag("path", class_="edge", d=f"M{x.start} {y.end}V{y.start}H{x.end}"))
    parts.append(words(names[0], (x.start + x.end) / 2, y.start + 31, "middle"))
    middle = (y.start + y.end) / 2
    turned = f"rotate(-90 11 {middle:.1f})"
    parts.append(words(names[1], 11, middle, "middle", transform=turned))
    return "".join(parts)


class Look(NamedTuple):
    """How one contestant is drawn everywhere."""

    colour: str
    shape: str
    filled: bool


SHAPES = ("circle", "square", "triangle", "diamond", "tent")


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each; colours and shapes go round with 7 and 5, so 35 differ."""
    return {
        name: Look(CATEGORIES[i % len(CATEGORIES)], SHAPES[i % len(SHAPES)], filled=i == 0)
        for i, name in enumerate(names)
    }


_OUTLINES = {
    "square": "M{l} {t}H{r}V{b}H{l}Z",
    "triangle": "M{x} {t}L{r} {b}H{l}Z",
    "diamond": "M{x} {t}L{r} {y}L{x} {b}L{l} {y}Z",
    "tent": "M{l} {t}H{r}L{x} {b}Z",
}


def marker(look: Look, x: float, y: float, text: str) -> str:
    """A point with what it says under the pointer; the first contestant's alone are filled."""
    paint: dict[str, str | float] = {
        "fill": look.colour if look.filled else "none",
        "stroke": look.colour,
        "stroke_width": 1.8,
        "pointer_events": "all",
    }
    if look.shape == "circle":
        return tag("circle", tip(text), cx=x, cy=y, r=3.8, **paint)
    sides = {"x": x, "y": y, "l": x - 3.8, "r": x + 3.8, "t": y - 3.8, "b": y + 3.8}
    outline = _OUTLINES[look.shape].format(**{k: f"{v:.1f}" for k, v in sides.items()})
    return tag("path", tip(text), d=outline, **paint)


def stroke(dashes: str, x: float, y: float) -> str:
    """A piece of a line, for the legend."""
    return tag("path", class_="limit", d=f"M{x - 8:.1f} {y:.1f}h16", stroke_dasharray=dashes)


def contestants(looks: Mapping[str, Look], present: Collection[str]) -> list[Entry]:
    """Those of them that are in a plot, for its legend."""
    return [(n, partial(marker, look, text=n)) for n, look in looks.items() if n in present]


def legend(entries: Sequence[Entry], top: float) -> str:
    """Under the plot: each entry's mark, drawn at a place, and its name; see `legend_height`."""
    placed = zip(entries, _places([name for name, _ in entries]), strict=True)
    return "".join(
        mark(x, top + line * LINE) + words(shortened(name, 34), x + 12, top + line * LINE + 4)
        for (name, mark), (x, line) in placed
    )


def legend_height(names: Sequence[str]) -> float:
    """Pixels that the legend of these names takes."""
    return (max((line for _, line in _places(names)), default=-1) + 1) * LINE + 6


def _places(names: Sequence[str]) -> list[tuple[float, int]]:
    """For each name its x and its line; a line that is full is followed by the next."""
    places, x, line = [], LEFT, 0
    for name in names:
        width = 24 + WIDTH * len(shortened(name, 34))
        if x > LEFT and x + width > PLOT_WIDTH:
            x, line = LEFT, line + 1
        places.append((x, line))
        x += width
    return places
