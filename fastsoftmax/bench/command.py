"""`fastsoftmax bench` and `targets`: run their cases and print what came of it, Ctrl-C or not.

How a case is measured, shown and written is done elsewhere.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from fastsoftmax._terminal import progress
from fastsoftmax.bench import (
    blas,
    document,
    page,
    rates,
    report,
    results,
    startup,
    targets,
    verdicts,
)
from fastsoftmax.bench.cells import Cell, measure
from fastsoftmax.bench.inputs import COLD, HOT, Cold
from fastsoftmax.bench.regimes import REGIMES
from fastsoftmax.bench.runner import WrongResult
from fastsoftmax.bench.sampled import AnyCase

HEADROOM = 1.5
"""Times as long as the slowest case of its operation so far that the next one may take: they grow
along the way. Where there was none, the slowest of all counts."""

J = TypeVar("J")


class Start(NamedTuple):
    """A backend whose start is measured."""

    backend: str

    def __str__(self) -> str:
        """As progress says it."""
        return f"start of {self.backend}"


def run(
    cases: Sequence[AnyCase],
    contestants: Sequence[str],
    seconds: float,
    file: Path | None,
    html: Path | None = None,
    inputs: str = HOT,
    label: str | None = None,
    started: Sequence[str] = (),
    within: float | None = None,
) -> int:
    """Measure the cases, print the tables, write the files.

    Parameters
    ----------
    cases : sequence of Case or SampledCase
        In the order in which they are measured.
    contestants : sequence of str
        Names of backends and peers, in the order in which they are shown. A peer that is not
        installed is listed as missing.
    seconds : float
        Time for the samples of one case, shared by the contestants.
    file : Path, optional
        Where the JSON goes.
    html : Path, optional
        Where the page goes.
    inputs : str
        `HOT` or `COLD`: whether a call's arrays are in the caches when it begins.
    label : str, optional
        What the JSON calls this run.
    started : sequence of str
        Backends whose start is measured, in processes of their own.
    within : float, optional
        Seconds after which no case begins that could take longer than is left, as far as those
        before tell: it is left out, and said to be. A backend is started once, not several times.

    Returns
    -------
    int
        The exit code: 0, 1 after a wrong result or for lack of memory, 130 after Ctrl-C.
    """
    begin = time.monotonic()
    there = [name for name in contestants if document.contestant(name)["missing"] is None]
    cold = Cold() if inputs == COLD else None
    found, known = report.setting(), rates.NONE
    cells: list[Cell] = []
    starts: list[startup.Startup] = []
    left_out = 0
    slowest: dict[str, float] = {}

    def each(job: AnyCase | Start) -> None:
        nonlocal known, left_out
        if known is rates.NONE and not isinstance(job, Start):
            # With the first case, so that Ctrl-C is heeded and progress is seen from the start; but
            # not in its time, or --quick would take every case for one of seconds.
            known = rates.measure(max(case.threads for case in cases))
        now = time.monotonic()
        name = "start" if isinstance(job, Start) else job.operation.name
        expected = HEADROOM * slowest.get(name, max(slowest.values(), default=0.0))
        if within is not None and now - begin + expected > within:
            left_out += 1
            return
        if isinstance(job, Start):
            starts.extend(startup.measure([job.backend], startup.REPEATS if within is None else 1))
        else:
            cells.append(measure(job, there, seconds, cold))
        slowest[name] = max(slowest.get(name, 0.0), time.monotonic() - now)

    with blas.one_thread():
        code, trouble = _through([*map(Start, started), *cases], each, "bench")
        done = document.Run(contestants, inputs, label, found, known, cells, starts, left_out)
        try:
            if cells or starts:
                print(report.text(done))
        finally:  # whoever read the tables may have left: that must not cost the files
            written = document.document(done, complete=not code and not left_out)
            if file is not None:
                _write(file, written)
            if html is not None:
                page.write(html, [results.parse(written)])
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


def _through(jobs: Sequence[J], each: Callable[[J], None], label: str) -> tuple[int, str]:
    """Do all jobs; the exit code, and what kept it from finishing."""
    done = 0
    try:
        with progress(len(jobs), label) as step, _ctrl_c() as heed_it:
            for job in jobs:
                step(str(job))
                each(job)
                done += 1
                heed_it()
    except WrongResult as error:
        return 1, f"wrong result: {error}"
    except (MemoryError, OSError, RuntimeError) as error:  # what is done is kept
        return 1, f"{job}: {error or type(error).__name__}"
    except KeyboardInterrupt:
        return 130, f"interrupted after {done} of {len(jobs)} cases"
    return 0, ""


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], None]]:
    """What to call between two jobs, so that no Ctrl-C is lost.

    JAX runs a callback at each garbage collection, and what is raised in one Python ignores: of ten
    Ctrl-C two came to nothing.
    """
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.default_int_handler(number, frame)

    def heed_it() -> None:
        if pressed:
            raise KeyboardInterrupt

    own = threading.current_thread() is threading.main_thread()
    if not own or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield heed_it  # whoever has another handler, or ignores it, is to keep that
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield heed_it
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _ended(command: str, code: int, trouble: str) -> int:
    if trouble:
        sys.stdout.flush()
        print(f"fastsoftmax {command}: {trouble}", file=sys.stderr)
    return code
