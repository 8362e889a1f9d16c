"""What the page and its Markdown say of one document, gathered once for both."""

from __future__ import annotations

from typing import NamedTuple

from fastsoftmax.bench.page import figures, setting, tables
from fastsoftmax.bench.page.standing import (
    Standing,
    Summary,
    beside_subject,
    standings,
    subject_name,
    summary,
)
from fastsoftmax.bench.page.svg import Chart
from fastsoftmax.bench.page.tables import Table
from fastsoftmax.bench.results import Results


class Section(NamedTuple):
    """A document, ready to be shown."""

    title: str
    document: Results
    subject: str | None
    standings: list[Standing]
    machine: setting.Facts
    limits: setting.Facts
    fairness: list[str]
    missing: list[tuple[str, str]]
    summaries: list[Summary]
    summary: Table
    lost: Table
    taken: Table
    startup: Table
    everything: Table
    charts: dict[str, list[Chart]]


def section(document: Results, number: int) -> Section:
    """Work out all that is shown of a document, the `number`th of its page."""
    subject = subject_name(document)
    found = standings(document, subject)
    measured = {result.key.contestant for result in document.results if result.kind == "own"}
    own = [c.name for c in document.contestants if c.name in measured]
    first = sorted(own, key=lambda name: name != subject)
    summaries = [summary(name, found) for name in first]
    compared = any(standing.best_peer is not None for standing in found) or not own
    return Section(
        title=setting.title(document, number),
        document=document,
        subject=subject,
        standings=found,
        machine=setting.machine(document),
        limits=setting.limits(document),
        fairness=setting.fairness(document, subject),
        missing=[(c.name, c.missing) for c in document.contestants if c.missing is not None],
        summaries=summaries,
        summary=tables.summaries(summaries)
        if compared
        else tables.beside_subject(beside_subject(found), subject),
        lost=tables.lost(found, subject),
        taken=tables.taken(document.results),
        startup=tables.startup(document.startup),
        everything=tables.everything(found),
        charts=figures.charts(document, found, subject),
    )
