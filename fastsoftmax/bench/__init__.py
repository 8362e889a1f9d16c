"""`fastsoftmax bench`: runs the grid and prints what came of it, also when interrupted.

`cases` says what, `runner` measures, `report` shows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fastsoftmax._terminal import progress
from fastsoftmax.bench import report
from fastsoftmax.bench.cases import Case, grid
from fastsoftmax.bench.runner import Backend, Cell, Contestant, WrongResult, measure

__all__ = ["Backend", "grid", "run"]


def run(
    cases: Sequence[Case], contestants: Sequence[Contestant], seconds: float, file: Path | None
) -> int:
    """Measure the cases, print the table, write the JSON.

    Parameters
    ----------
    cases : sequence of Case
        In the order in which they are measured.
    contestants : sequence of Contestant
        In the order in which they are shown.
    seconds : float
        Time for the samples of one case, shared by the contestants.
    file : Path, optional
        Where the JSON goes.

    Returns
    -------
    int
        The exit code: 0, 1 after a wrong result, 130 after Ctrl-C.
    """
    found = report.setting()
    cells: list[Cell] = []
    trouble, code = "", 0
    try:
        with progress(len(cases), "bench") as step:
            for case in cases:
                step(str(case))
                cells.append(measure(case, contestants, seconds))
    except WrongResult as error:
        trouble, code = f"wrong result: {error}", 1
    except KeyboardInterrupt:
        trouble, code = f"interrupted after {len(cells)} of {len(cases)} cases", 130
    if cells:
        print(report.text(cells, found))
    if file is not None:
        text = json.dumps(report.document(cells, found, complete=not code), indent=2)
        file.write_text(text + "\n", encoding="utf-8")
    if trouble:
        sys.stdout.flush()
        print(f"fastsoftmax bench: {trouble}", file=sys.stderr)
    return code
