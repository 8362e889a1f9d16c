"""The rows of the page's tables: cells with what is shown and what they are sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastsoftmax._terminal import duration, significant
from fastsoftmax.bench.page import memory
from fastsoftmax.bench.page.standing import Own, Sizes, Standing, Summary, behind, sizes_of
from fastsoftmax.bench.page.units import ratio, several
from fastsoftmax.bench.results import Result, Startup


class Cell(NamedTuple):
    """A value as shown; sorted by `key` if that is a number, else by what is shown."""

    shown: str
    key: float | None = None


class Table(NamedTuple):
    """A caption, names of columns, rows of as many cells, and what has to be said of them."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    said: str = ""


_NONE = Cell("-", -1.0)


def everything(found: Sequence[Standing]) -> Table:
    """Every result, nothing left out."""
    columns = ["operation", "dtype", "sizes", "axis", "option", "threads", "inputs", "contestant"]
    columns += ["median", "Q1", "Q3", "Gelem/s", "GB/s", "of the fastest", "ULP", "allowed"]
    columns += ["limit", "binds", "samples", "repeats", "disturbed"]
    rows = [
        _result(result, min(r.seconds.median for r in standing.results))
        for standing in found
        for result in standing.results
    ]
    return Table("All results", columns, rows)


def _result(result: Result, fastest: float) -> tuple[Cell, ...]:
    key, seconds, limit = result.key, result.seconds, result.limit
    return (
        Cell(key.operation),
        Cell(key.dtype),
        _sizes(sizes_of(key), result),
        _number(key.axis),
        Cell(key.option),
        _number(key.threads),
        Cell(key.inputs),
        Cell(key.contestant),
        *(Cell(duration(t), t) for t in (seconds.median, *seconds[::2])),
        _rate(result.elements / seconds.median),
        _rate(result.bytes / seconds.median),
        Cell(ratio(fastest / seconds.median), fastest / seconds.median),
        _ulp(result.worst_ulp),
        _ulp(result.allowed_ulp),
        _NONE if limit is None else _share(limit.seconds / seconds.median),
        Cell("-" if limit is None else limit.binds),
        _number(result.samples),
        _number(result.repeats),
        Cell("yes *" if result.disturbed else "no"),
    )


NO_PEERS = "no other library took part"


def lost(found: Sequence[Standing], subject: str | None) -> Table:
    """Cases as `standing.behind` has them, and what it means if there are none."""
    columns = ["ratio", "case", "sizes", "ours", "best peer", "its time", "our ULP", "its ULP"]
    columns += ["our share of the limit", "certain"]
    rows = []
    for standing in behind(found):
        own, peer, value = standing.subject, standing.best_peer, standing.ratio
        if own is None or peer is None or value is None:
            continue
        share = None if own.limit is None else own.limit.seconds / own.seconds.median
        rows.append(
            (
                Cell(ratio(value), value),
                Cell(str(standing.group)),
                _sizes(standing.sizes, own),
                Cell(duration(own.seconds.median), own.seconds.median),
                Cell(peer.key.contestant),
                Cell(duration(peer.seconds.median), peer.seconds.median),
                _ulp(own.worst_ulp),
                _ulp(peer.worst_ulp),
                _NONE if share is None else _share(share),
                Cell("yes" if standing.certain else "no"),
            )
        )
    compared = sum(standing.ratio is not None for standing in found)
    if rows:
        said = (
            f"Every case in which the best peer's median is below that of {subject}, worst first."
        )
    elif compared:
        said = f"In none of {several(compared, 'case')} with a peer, of {len(found)} in all."
    elif any(standing.best_peer is not None for standing in found):
        said = "Not known: no case has both a peer and what stands for this package."
    else:
        said = f"Not known: {NO_PEERS}."
    return Table("Where a peer is faster", columns, rows, said)


def summaries(found: Sequence[Summary]) -> Table:
    """A row for each of this package's contestants."""
    columns = ["contestant", "cases with a peer", "ahead", "behind", "not certain", "mean ratio"]
    rows = [
        (
            Cell(s.contestant),
            *(_number(n) for n in (s.cases, s.ahead, s.behind, s.uncertain)),
            _NONE if s.mean is None else Cell(ratio(s.mean), s.mean),
        )
        for s in found
    ]
    return Table("Beside the best peer of each case", columns, rows)


def taken(results: Sequence[Result]) -> Table:
    """Every call whose memory is known."""
    rows = []
    for result in results:
        if result.peak_bytes is not None:
            call, share = memory.call_of(result), memory.of_logits(result)
            rows.append(
                (
                    Cell(memory.megabytes(result.peak_bytes), float(result.peak_bytes)),
                    Cell(result.key.contestant),
                    Cell(call.way),
                    Cell(ratio(share), share) if share else _NONE,
                    Cell(call.operation),
                    Cell(call.sizes),
                )
            )
    columns = ["memory", "contestant", "call", "of the logits", "operation", "sizes"]
    return Table("Memory of a call", columns, rows, memory.EXPLAINED)


def startup(found: Sequence[Startup]) -> Table:
    """What a program pays before its first result; compilers have a row for each of both cases."""
    compilers = {entry.contestant for entry in found if entry.cached}
    rows = []
    for entry in found:
        cached = ("yes" if entry.cached else "no") if entry.contestant in compilers else "-"
        times = (entry.import_seconds, entry.first_call_seconds)
        rows.append((Cell(entry.contestant), Cell(cached), *(Cell(duration(t), t) for t in times)))
    columns = ["contestant", "cached", "import", "first call"]
    said = (
        "What a program pays before its first result, each in a process of its own: the import, "
        "where NumPy is there already, and a first call on ten numbers, which loads the backend. "
        "Cached: what has to be compiled had been, by a program before."
    )
    return Table("Start-up", columns, rows, said)


def _sizes(sizes: Sizes, result: Result) -> Cell:
    """Sorted by the logits that there are, or would be if every class took part."""
    return Cell(str(sizes), float(result.batch * result.classes))


def beside_subject(found: Sequence[Own], subject: str | None) -> Table:
    """The first table where there is no peer to compare with."""
    rows = [
        (Cell(own.contestant), _number(own.cases), Cell(ratio(own.mean), own.mean)) for own in found
    ]
    said = (
        f"How fast this is beside others is not known: {NO_PEERS}. To measure those that are "
        "installed too: fastsoftmax bench --peers all"
    )
    columns = ["contestant", "cases of both", f"mean time over that of {subject}"]
    return Table("This package's own contestants", columns, rows, said)


def _number(value: int) -> Cell:
    return Cell(str(value), float(value))


def _rate(per_second: float) -> Cell:
    return Cell(significant(per_second / 1e9), per_second)


def _share(value: float) -> Cell:
    return Cell(f"{100 * value:.0f} %", value)


def _ulp(value: float | None) -> Cell:
    return _NONE if value is None else Cell(significant(value), value)
