"""How measurements are shown to people: the setting, tables, what they leave open.

Measures nothing. `document` is the same for programs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import compress
from typing import Any

import fastsoftmax as fs
from fastsoftmax._terminal import duration, significant, table
from fastsoftmax.bench.cases import PLAIN
from fastsoftmax.bench.cells import CALM, REPEATS, Cell, Measurement
from fastsoftmax.bench.document import Run, binds, contestant, notes
from fastsoftmax.bench.inputs import COLD
from fastsoftmax.bench.rates import Rates
from fastsoftmax.bench.sampled import AnyCase
from fastsoftmax.bench.startup import Startup

_BY_ROWS = {"batch": "r", "classes": "r", "threads": "r"}
_BY_LAYOUT = {"case": "l", "threads": "r"}
"""What says which case it is: rows by classes where all of a table are that, or in words."""

_COLUMNS = {
    "run by": "l",
    "Q1": "r",
    "median": "r",
    "Q3": "r",
    "": "l",
    "Gelem/s": "r",
    "GB/s": "r",
    "of limit": "r",
    "binds": "l",
    "ULP": "r",
    "peak": "r",
    "vs best": "r",
}

_STARTUP = {"run by": "l", "compiled before": "l", "import": "r", "first call": "r"}

_MARK = "*"

_LEGEND = """\
of limit: the least time that the hardware allows, over the median; what binds: all bytes, read and
written once, at the rate of a copy (memory), all exponentials at their rate in registers (exp), or
an empty call; with a sample of the classes the three matrix products of a step. ULP: the largest
error of any result; each was checked before it was timed. peak: memory that a call takes beyond
what was there, measured where a case has 32 MiB."""

_DISTURBED = f"""\
{_MARK} disturbed: the third quartile is above {CALM} of the first, after {REPEATS} repetitions, the
calmest of which is shown. Something else ran on this machine."""


def setting() -> dict[str, Any]:
    """The machine, and how busy others keep it: read this before the first case."""
    return {
        "machine": fs.info(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def text(run: Run) -> str:
    """The setting, the machine's rates, one table for each operation and dtype, then notes."""
    machine, load = run.found["machine"], run.found["load_average"]
    busy = "" if load is None else f", load average {load:.2f} before the first case"
    inputs = "driven out of the caches" if run.inputs == COLD else "as the call before left them"
    parts = [
        f"fastsoftmax {machine['version']}, {machine['cpu']}{busy}; arrays {run.inputs}: {inputs}",
        *_who(run),
        *_rates(run.rates),
        _LEGEND,
    ]
    for name, dtype in dict.fromkeys(map(_kind, run.cells)):
        cells = [cell for cell in run.cells if _kind(cell) == (name, dtype)]
        parts.append(f"{name}, {dtype}\n\n{_table(cells)}")
    if run.startup:
        parts.append(f"before the first result, in a new process\n\n{_starts(run.startup)}")
    if any(measurement.disturbed for cell in run.cells for measurement in cell.measurements):
        parts.append(_DISTURBED)
    parts += ["\n".join(said)] if (said := notes(run)) else []
    return "\n\n".join(parts)


def _kind(cell: Cell) -> tuple[str, str]:
    return cell.case.operation.name, cell.case.dtype


def _who(run: Run) -> list[str]:
    """The peers that were asked for."""
    peers = [who for who in map(contestant, run.contestants) if who["kind"] == "peer"]
    there = ", ".join(f"{who['name']} {who['version']}" for who in peers if not who["missing"])
    lacking = ", ".join(f"{who['name']} ({who['missing']})" for who in peers if who["missing"])
    lines = [f"peers: {there}"] if there else []
    return lines + ([f"missing: {lacking}"] if lacking else [])


def _rates(rates: Rates) -> list[str]:
    """The rates of memory by working set, then those of calls and exponentials."""
    if rates.empty_call is None:
        return []
    columns = {"one thread, GB/s": "l", **{_size(size): "r" for size in rates.read}}
    moved = {"read": rates.read, "copy": rates.copy, "NT copy": rates.nt_copy}
    rows = [
        [name, *(significant(rate / 1e9) for rate in by_size.values())]
        for name, by_size in moved.items()
    ]
    exp = ", ".join(
        f"{significant(rate / 1e9)} G/s in {dtype}" for dtype, rate in rates.exp.items()
    )
    start = "" if rates.fork_join is None else f"; all threads start in {duration(rates.fork_join)}"
    calls = f"exponentials {exp}; an empty call takes {duration(rates.empty_call)}{start}"
    return [f"{table(columns, rows)}\n{calls}"]


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def _table(cells: Sequence[Cell]) -> str:
    """A line for each measurement; a column of which nothing is known is left out."""
    by_rows = all(map(_is_plain_batch, (cell.case for cell in cells)))
    columns = (_BY_ROWS if by_rows else _BY_LAYOUT) | _COLUMNS
    rows = [row for cell in cells for row in _rows(cell, by_rows)]
    known = [any(cell not in ("-", "") for cell in column) for column in zip(*rows, strict=True)]
    return table(
        dict(compress(columns.items(), known)), [list(compress(row, known)) for row in rows]
    )


def _is_plain_batch(case: AnyCase) -> bool:
    last = case.sampled is None and case.axis % len(case.shape) == len(case.shape) - 1
    return last and len(case.shape) == 2 and case.option == PLAIN


def _label(case: AnyCase, by_rows: bool) -> list[str]:
    if by_rows:
        return [f"{case.batch:,}", f"{case.classes:,}", str(case.threads)]
    option = "" if case.option == PLAIN else f", {case.option.name}"
    return [case.layout + option, str(case.threads)]


def _rows(cell: Cell, by_rows: bool) -> list[list[str]]:
    label = _label(cell.case, by_rows)
    medians = [measurement.quartiles()[1] for measurement in cell.measurements]
    rows = []
    for measurement in cell.measurements:
        rows.append([*label, *_row(measurement, cell, min(medians))])
        label = [""] * len(label)
    return rows


def _row(measurement: Measurement, cell: Cell, fastest: float) -> Sequence[str]:
    first, median, third = measurement.quartiles()
    case, limit, peak = cell.case, cell.limit, measurement.peak
    return [
        measurement.contestant,
        duration(first),
        duration(median),
        duration(third),
        _MARK if measurement.disturbed else "",
        significant(case.elements / median / 1e9),
        significant(case.bytes_moved / median / 1e9),
        "-" if limit is None else f"{100 * limit.seconds / median:.0f} %",
        "-" if limit is None else binds(limit),
        significant(measurement.worst.largest) if case.rounds else "-",
        "-" if peak is None else f"{significant(peak / 1e6)} MB",
        f"{median / fastest:.2f}x",
    ]


def _starts(found: Sequence[Startup]) -> str:
    rows = [
        [
            one.contestant,
            "yes" if one.cached else "no",
            duration(one.import_seconds),
            duration(one.first_call_seconds),
        ]
        for one in found
    ]
    return table(_STARTUP, rows)
