"""Text with markers: what lies between them is replaced by an excerpt of results."""

from __future__ import annotations

import re

from fastsoftmax.bench.page.excerpts import EXCERPTS
from fastsoftmax.bench.results import Results

BEGIN, END = "<!-- results: NAME -->", "<!-- end of results -->"
"""Each a line of its own, so that a text can speak of them."""

_BEGIN = re.compile(r"\s*<!--\s*results:\s*(.*?)\s*-->\s*")
_END = re.compile(r"\s*<!--\s*end of results\s*-->\s*")


class WrongMarkers(ValueError):
    """A name that is not known or has no results, no marker, one without its other half."""


def replaced(text: str, document: Results, name: str) -> str:
    """The text with excerpts of the document between its markers.

    Parameters
    ----------
    text : str
        Of a file in Markdown.
    document : Results
        What the excerpts are taken from.
    name : str
        What errors call the text.

    Returns
    -------
    str
        The same, if the excerpts were in it already.

    Raises
    ------
    WrongMarkers
        With the name and the number of the line.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    kept: list[str] = []
    begun: tuple[int, str] | None = None  # the line and the name of the marker before
    found = False
    for number, line in enumerate(text.split(newline), 1):
        if begin := _BEGIN.fullmatch(line):
            if begun is not None:
                raise _unclosed(name, *begun)
            begun, found = (number, begin[1]), True
            kept += [line, "", *_excerpt(f"{name}:{number}", begin[1], document).split("\n"), ""]
        elif _END.fullmatch(line):
            if begun is None:
                raise WrongMarkers(f"{name}:{number}: {END} without {BEGIN} before it")
            begun = None
        if begun is None:
            kept.append(line)
    if begun is not None:
        raise _unclosed(name, *begun)
    if not found:
        raise WrongMarkers(f"{name} has no line {BEGIN}, with one of {', '.join(EXCERPTS)}")
    return newline.join(kept)


def _unclosed(name: str, number: int, excerpt: str) -> WrongMarkers:
    return WrongMarkers(f"{name}:{number}: no {END} after results: {excerpt}")


def _excerpt(place: str, name: str, document: Results) -> str:
    if name not in EXCERPTS:
        raise WrongMarkers(f"{place}: no results: {name}, there are {', '.join(EXCERPTS)}")
    made = EXCERPTS[name](document)
    if made is None:
        raise WrongMarkers(f"{place}: the file of results has none for {name}")
    return made
