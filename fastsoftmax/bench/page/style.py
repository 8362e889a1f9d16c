"""The charts' style sheet, as it is and with its light colours written out."""

from __future__ import annotations

import re
from importlib.resources import files


def sheet() -> str:
    """`chart.css`, which a browser makes light or dark."""
    return files(__package__).joinpath("chart.css").read_text(encoding="utf-8")


def light_sheet() -> str:
    """The same for what knows no variables and no conditions: the colours before any condition."""
    plain = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", sheet())
    values = dict(re.findall(r"(--\w+):\s*([^;]+);", plain))
    without = re.sub(r"--\w+:[^;]+;\s*", "", plain)
    return re.sub(r"var\((--\w+)\)", lambda found: values[found[1]], without)
