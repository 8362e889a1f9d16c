"""Parts of the results by name, in Markdown, short enough for a README. `into` puts them there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fastsoftmax._terminal import duration, significant
from fastsoftmax.bench.cases import LOSSES
from fastsoftmax.bench.page import memory, tables
from fastsoftmax.bench.page.markdown import lines, plain, table
from fastsoftmax.bench.page.setting import took_part
from fastsoftmax.bench.page.standing import Standing, standings, subject_name
from fastsoftmax.bench.page.units import ratio
from fastsoftmax.bench.results import PLAIN, Result, Results

_US = "fastsoftmax"
"""What the subject is called there: a reader of a README has not heard of backends yet."""

_OF_LARGEST = "With a sample of the classes: in ULP of the largest number of a result."

_STARRED = "\\*: disturbed by other work on the machine."


def _machine(document: Results) -> str | None:
    of, threads = document.machine, document.machine["threads"]["count"]
    isa = of["isa"]["chosen"] or "no instruction set of the core"
    facts = [
        of["cpu"],
        f"{isa}, {threads or 'unknown'} {'thread' if threads == 1 else 'threads'}",
        f"fastsoftmax {of['version']}, Python {of['python']}, NumPy {of['numpy']}",
        *([", ".join(peers)] if (peers := took_part(document, "peer")) else []),
        document.created[:10],
    ]
    return plain("; ".join(facts))


def _softmax(document: Results) -> str | None:
    found = [s for s in _ordinary(document) if s.group.operation == "softmax"]
    return _compared(document, found, ("sizes",), lambda s: (str(s.sizes),))


def _losses(document: Results) -> str | None:
    found = [s for s in _ordinary(document) if s.group.operation in LOSSES]
    found.sort(key=lambda s: list(LOSSES).index(s.group.operation))
    return _compared(
        document, found, ("operation", "sizes"), lambda s: (s.group.operation, str(s.sizes))
    )


def _sampled(document: Results) -> str | None:
    found = [s for s in _plain_cases(document) if s.group.inputs_shape]
    return _compared(document, found, ("sizes",), lambda s: (str(s.sizes),))


def _memory(document: Results) -> str | None:
    """Of calls that were measured in several ways, such as with and without out=; else of all."""
    known = [r for r in document.results if r.peak_bytes is not None]
    measured = memory.in_several_ways(known) or known
    if not measured:
        return None
    names = _in_order(document, measured)
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for result in measured:
        row = rows.setdefault(memory.call_of(result), {})
        row[result.key.contestant] = memory.shown(result)
    return lines(
        ["operation", "sizes", "call", *map(plain, names)],
        [
            [*map(plain, case), *(plain(row.get(name, "-")) for name in names)]
            for case, row in rows.items()
        ],
    )


def _accuracy(document: Results) -> str | None:
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for result in document.results:
        if result.worst_ulp is not None:
            key = result.key
            row = rows.setdefault((key.operation, key.dtype), {})
            row[key.contestant] = max(result.worst_ulp, row.get(key.contestant, 0.0))
    names = _in_order(document, (r for r in document.results if r.worst_ulp is not None))
    shown = [
        [*map(plain, case), *(significant(row[n]) if n in row else "-" for n in names)]
        for case, row in rows.items()
    ]
    if not rows:
        return None
    made = lines(["operation", "dtype", *map(plain, names)], shown)
    sampled = {r.key.operation for r in document.results if r.key.sampled is not None}
    noted = any(operation in sampled for operation, _ in rows)
    return f"{made}\n\n{_OF_LARGEST}" if noted else made


def _startup(document: Results) -> str | None:
    return table(tables.startup(document.startup)) if document.startup else None


EXCERPTS: dict[str, Callable[[Results], str | None]] = {
    "machine": _machine,
    "softmax": _softmax,
    "losses": _losses,
    "sampled": _sampled,
    "memory": _memory,
    "accuracy": _accuracy,
    "startup": _startup,
}
"""By the names in a file's markers; each gives None if the document has nothing of it."""


def _plain_cases(document: Results) -> list[Standing]:
    """In float32 on one thread, without options; the smallest first."""
    found = standings(document, subject_name(document))
    kept = [
        s
        for s in found
        if (s.group.dtype, s.group.threads, s.group.option) == ("float32", 1, PLAIN)
    ]
    return sorted(kept, key=lambda s: (s.results[0].batch, s.sizes.classes, s.sizes.sampled or 0))


def _ordinary(document: Results) -> list[Standing]:
    """Those by all classes, along the last axis."""
    found = _plain_cases(document)
    return [s for s in found if not s.group.sampled and s.group.axis == s.group.rank - 1]


def _in_order(document: Results, results: Iterable[Result]) -> list[str]:
    """Contestants with results, as the document lists them."""
    measured = {result.key.contestant for result in results}
    return [c.name for c in document.contestants if c.name in measured]


def _compared(
    document: Results,
    found: Sequence[Standing],
    columns: Sequence[str],
    case: Callable[[Standing], Sequence[str]],
) -> str | None:
    """Medians of the subject and of each peer, the lowest in bold, and how far it is ahead."""
    shown = [s for s in found if s.subject is not None]
    if not shown:
        return None
    peers = _in_order(document, (r for s in shown for r in s.results if r.kind == "peer"))
    rows = []
    for standing in shown:
        compared = [r for r in standing.results if r is standing.subject or r.kind == "peer"]
        best = min(compared, key=lambda r: r.seconds.median)
        times = {
            r.key.contestant if r.kind == "peer" else _US: _time(r, bold=r is best and bool(peers))
            for r in compared
        }
        row = [*map(plain, case(standing)), *(times.get(name, "-") for name in (_US, *peers))]
        value = standing.ratio
        rows.append([*row, "-" if value is None else ratio(value)] if peers else row)
    head = [*columns, _US, *map(plain, peers), *(["best peer / ours"] if peers else [])]
    made = lines(head, rows)
    starred = any("\\*" in cell for row in rows for cell in row[len(columns) :])
    return f"{made}\n\n{_STARRED}" if starred else made


def _time(result: Result, *, bold: bool) -> str:
    shown = duration(result.seconds.median)
    return (f"**{shown}**" if bold else shown) + " \\*" * result.disturbed
