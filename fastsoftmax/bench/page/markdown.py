"""The same in Markdown: for a README, a review, a terminal. Tables, no charts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fastsoftmax._terminal import duration, significant
from fastsoftmax.bench.page.printable import printable
from fastsoftmax.bench.page.section import Section
from fastsoftmax.bench.page.standing import Standing
from fastsoftmax.bench.page.tables import Table
from fastsoftmax.bench.page.units import ratio

_COLUMNS = ("case", "sizes", "median", "GB/s", "ULP", "of the limit", "best peer", "ratio")


def text(sections: Sequence[Section]) -> str:
    """The whole file."""
    return "\n\n".join(["# fastsoftmax: results", *map(_section, sections)]) + "\n"


def _section(section: Section) -> str:
    parts = [f"## {plain(section.title)}"]
    if not section.document.complete:
        parts.append("**Incomplete: this run was interrupted, or ended by a wrong result.**")
    parts.append(_bullets(f"{name}: {value}" for name, value in section.machine))
    parts += ["### Summary", *_said(section.summary)]
    parts += [f"### Results of {plain(section.subject or 'none')}", _results(section)]
    parts += [f"### {section.lost.caption}", *_said(section.lost)]
    for found in (section.taken, section.startup):
        if found.rows:
            parts += [f"### {found.caption}", *_said(found)]
    parts += ["### How it was compared", _bullets(section.fairness)]
    if section.missing:
        absent = (f"{name}: {why}" for name, why in section.missing)
        parts += ["### Who took no part", _bullets(absent)]
    if section.document.notes:
        parts += ["### Notes", _bullets(section.document.notes)]
    return "\n\n".join(parts)


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {plain(text)}" for text in texts)


def _results(section: Section) -> str:
    rows = [row for standing in section.standings if (row := _row(standing)) is not None]
    return lines(_COLUMNS, [[plain(cell) for cell in row] for row in rows])


def _row(standing: Standing) -> list[str] | None:
    own, peer, value = standing.subject, standing.best_peer, standing.ratio
    if own is None:
        return None
    seconds = own.seconds.median
    return [
        str(standing.group),
        str(standing.sizes),
        duration(seconds) + " *" * own.disturbed,
        significant(own.bytes / seconds / 1e9),
        "-" if own.worst_ulp is None else significant(own.worst_ulp),
        "-" if own.limit is None else f"{100 * own.limit.seconds / seconds:.0f} %",
        "-" if peer is None else peer.key.contestant,
        "-" if value is None else ratio(value),
    ]


def _said(of: Table) -> list[str]:
    """What is said of a table, and the table if it has rows."""
    return [part for part in (plain(of.said), table(of) if of.rows else "") if part]


def table(of: Table) -> str:
    """A table's lines, without its caption."""
    return lines(of.columns, [[plain(cell.shown) for cell in row] for row in of.rows])


def lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    ruled = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ruled)


def plain(text: str) -> str:
    """Text that stays text: no markup, no HTML, no new cell, no new line."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(printable(text).split()))
