"""The page from its template: the only file that imports Jinja."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from itertools import count

from fastsoftmax.bench.page.section import Section
from fastsoftmax.bench.page.style import sheet
from fastsoftmax.bench.page.svg import Chart


class Unavailable(RuntimeError):
    """What the page or its pictures are made with is not installed."""


def require() -> None:
    """Refuse to go on where the page could not be made in the end."""
    if find_spec("jinja2") is None:
        raise Unavailable("the page is made with Jinja: pip install 'fastsoftmax[bench]'")


def text(sections: Sequence[Section]) -> str:
    """One file that loads nothing: style, script and charts are in it.

    Its policy lets the browser run that script alone, by its hash, whatever a label holds.
    """
    require()
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    numbers = count(1)

    def drawn(chart: Chart) -> Markup:
        return Markup(chart.inline(f"chart-{next(numbers)}"))

    environment = Environment(
        loader=PackageLoader("fastsoftmax.bench.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = drawn
    script = _part("page.js")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        sections=sections,
        style=Markup(_part("page.css") + sheet()),
        script=Markup(script),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
    )


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
