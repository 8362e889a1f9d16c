"""`fastsoftmax bench` and `targets`: run their cases and print what came of it, Ctrl-C or not.

`cases` says what, `workload` makes its arrays, `inputs` whether they are in the caches,
`contestants` and `peers` are who is measured on them. `cells` measures a case in turns that
`runner` times, beside the hardware's `limits`, and `rates` what the machine can do whatever the
case; `report` shows it, `document` writes it, `results` reads that again, `compare` judges two of
them and `page` makes a page of any number. `targets` does the same for the table in `regimes`, and
`verdicts` shows what was reached. For a sample of the classes `sampled` has the cases and arrays,
`sampled_contestants` the rest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fastsoftmax._terminal import progress
from fastsoftmax.bench import blas, document, rates, report, targets, verdicts
from fastsoftmax.bench.cases import Case, grid
from fastsoftmax.bench.cells import Cell, measure
from fastsoftmax.bench.contestants import Backend, Contestant
from fastsoftmax.bench.inputs import COLD, HOT, Cold
from fastsoftmax.bench.regimes import REGIMES
from fastsoftmax.bench.runner import WrongResult
from fastsoftmax.bench.sampled import AnyCase

__all__ = ["COLD", "HOT", "REGIMES", "Backend", "grid", "run", "run_targets"]

C = TypeVar("C", bound=AnyCase)


def run(
    cases: Sequence[Case],
    contestants: Sequence[Contestant],
    seconds: float,
    file: Path | None,
    inputs: str = HOT,
    label: str | None = None,
) -> int:
    """Measure the cases, print the tables, write the JSON.

    Parameters
    ----------
    cases : sequence of Case
        In the order in which they are measured.
    contestants : sequence of Contestant
        In the order in which they are shown. A peer that is not installed is listed as missing.
    seconds : float
        Time for the samples of one case, shared by the contestants.
    file : Path, optional
        Where the JSON goes.
    inputs : str
        `HOT` or `COLD`: whether a call's arrays are in the caches when it begins.
    label : str, optional
        What the JSON calls this run.

    Returns
    -------
    int
        The exit code: 0, 1 after a wrong result, 130 after Ctrl-C.
    """
    there = [who for who in contestants if document.contestant(who)["missing"] is None]
    cold = Cold() if inputs == COLD else None
    found, known = report.setting(), rates.NONE
    cells: list[Cell] = []

    def each(case: Case) -> None:
        nonlocal known
        # With the first case, so that Ctrl-C is heeded and progress is seen from the start.
        known = known if cells else rates.measure(max(case.threads for case in cases))
        cells.append(measure(case, there, seconds, cold))

    with blas.one_thread():
        code, trouble = _through(cases, each, "bench")
        done = document.Run(contestants, inputs, label, found, known, cells)
        if cells:
            print(report.text(done))
        if file is not None:
            _write(file, document.document(done, complete=not code))
    return _ended("bench", code, trouble)


def run_targets(names: Sequence[str], seconds: float, file: Path | None) -> int:
    """Measure the regimes of these names, print what was reached, write the JSON.

    Parameters
    ----------
    names : sequence of str
        Keys of `REGIMES`.
    seconds : float
        Time for the samples of one group of rivals.
    file : Path, optional
        Where the JSON goes.

    Returns
    -------
    int
        The exit code: 0 whatever was reached, 1 after a wrong result, 130 after Ctrl-C.
    """
    regimes = [REGIMES[name] for name in names]
    plan = targets.plan(regimes)
    groups: dict[AnyCase, targets.Group] = {}

    def each(case: AnyCase) -> None:
        groups[case] = targets.measure(case, plan[case], seconds)

    found = report.setting()
    code, trouble = _through(list(plan), each, "targets")
    if groups:
        print(verdicts.text(regimes, groups, found))
    if file is not None:
        _write(file, verdicts.document(regimes, groups, found, complete=not code))
    return _ended("targets", code, trouble)


def _through(cases: Sequence[C], each: Callable[[C], None], label: str) -> tuple[int, str]:
    """Do all cases; the exit code, and what kept it from finishing."""
    done = 0
    try:
        with progress(len(cases), label) as step:
            for case in cases:
                step(str(case))
                each(case)
                done += 1
    except WrongResult as error:
        return 1, f"wrong result: {error}"
    except KeyboardInterrupt:
        return 130, f"interrupted after {done} of {len(cases)} cases"
    return 0, ""


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _ended(command: str, code: int, trouble: str) -> int:
    if trouble:
        sys.stdout.flush()
        print(f"fastsoftmax {command}: {trouble}", file=sys.stderr)
    return code
