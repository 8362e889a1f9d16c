"""Charts as pictures for those who cannot show SVG: the only file that imports resvg."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastsoftmax.bench.page.html import Unavailable
from fastsoftmax.bench.page.printable import printable
from fastsoftmax.bench.page.svg import Chart

SCALE = 2
"""Pixels for each of the chart's: what is read on a dense screen, or enlarged, stays sharp."""

_LETTER = Chart("probe", "", "", 20.0, 20.0, '<text x="4" y="14">0</text>')
_NONE = _LETTER._replace(body="")


def images(charts: Iterable[Chart]) -> Iterator[bytes]:
    """A PNG of each, light as on paper.

    Raises
    ------
    Unavailable
        If resvg is missing, or a font: it would leave out every text without a word.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise Unavailable("PNGs are made with resvg: pip install 'fastsoftmax[bench]'") from None

    def drawn(chart: Chart) -> bytes:
        return bytes(svg_to_bytes(svg_string=printable(chart.standalone(light=True)), zoom=SCALE))

    if drawn(_LETTER) == drawn(_NONE):
        raise Unavailable(
            "PNGs need a font for their text, such as DejaVu Sans: apt-get install "
            "fonts-dejavu-core (Debian, Ubuntu), dnf install dejavu-sans-fonts (Fedora)"
        )
    yield from map(drawn, charts)
