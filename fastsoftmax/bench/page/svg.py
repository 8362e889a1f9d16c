"""Elements of SVG and the chart that they make up. The only place where markup is put together.

Knows nothing of results, scales or colours.
"""

from __future__ import annotations

import re
from html import escape
from textwrap import wrap
from typing import NamedTuple

from fastsoftmax.bench.page.style import light_sheet, sheet

WIDTH = 6.8
"""Pixels that a character of the charts' 11 px takes at most, on average: text is not measured."""

LINE, FILE_WIDTH = 16.0, 344.0
"""From a line of a file's heading to the next; what a file takes at least, for that."""


def tag(name: str, content: str = "", /, **attributes: str | float) -> str:
    """An element around markup; `stroke_width` becomes stroke-width, `class_` class."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{given}>{content}</{name}>"


def _value(value: str | float) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else escape(str(value))


def words(
    text: str, x: float, y: float, anchor: str = "start", /, **attributes: str | float
) -> str:
    """Text from x on, around it ("middle") or up to it ("end")."""
    return tag("text", escape(text), x=float(x), y=float(y), text_anchor=anchor, **attributes)


def tip(text: str) -> str:
    """What is shown of an element under the pointer."""
    return tag("title", escape(text))


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


class Chart(NamedTuple):
    """A drawing with the words that stand for it where it is not seen."""

    kind: str
    title: str
    description: str
    width: float
    height: float
    body: str

    def inline(self, identity: str) -> str:
        """For a page, whose style sheet has `chart.css`; `identity` is its own there."""
        box = f"0 0 {_value(self.width)} {_value(self.height)}"
        return self._drawn(identity, box, self.body)

    def standalone(self, *, light: bool = False) -> str:
        """A file: with its title drawn, its style and the namespace; `light` in plain colours."""
        style = light_sheet() if light else sheet()
        width = max(self.width, FILE_WIDTH)
        lines = wrap(self.title, int(width / 7.4)) or [""]
        top = -LINE * len(lines) - 12
        heading = "".join(
            words(line, 4, top + LINE * i, class_="heading") for i, line in enumerate(lines, 1)
        )
        box = f"0 {_value(top)} {_value(width)} {_value(self.height - top)}"
        ground = tag("rect", class_="ground", y=top, width="100%", height="100%")
        drawn = self._drawn("chart", box, tag("style", style) + ground + heading + self.body)
        return drawn.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1) + "\n"

    def file_name(self, number: int, ending: str) -> str:
        """A name for its file, whatever is in the title."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:80]
        return f"{number:03d}-{self.kind}-{plain}.{ending}"

    def _drawn(self, identity: str, box: str, body: str) -> str:
        named = tag("title", escape(self.title), id=f"{identity}-title") + tag(
            "desc", escape(self.description), id=f"{identity}-desc"
        )
        return tag(
            "svg",
            named + body,
            class_=f"chart {self.kind}",
            role="img",
            aria_labelledby=f"{identity}-title {identity}-desc",
            viewBox=box,
            width=float(box.split()[2]),
            height=float(box.split()[3]),
        )
