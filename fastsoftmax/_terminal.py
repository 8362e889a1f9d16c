"""How the commands write: aligned tables, units, progress. The only file that imports rich.

Knows nothing of softmax. Results go to stdout by the callers, progress goes to stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from math import floor, isfinite, log10

Step = Callable[[str], None]


def table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of aligned columns under their names; each name maps to "l" or "r", left or right."""
    lines = [tuple(columns), *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(line, widths, columns.values(), strict=True)
        ).rstrip()
        for line in lines
    )


def significant(value: float) -> str:
    """Three significant digits without an exponent: 0.00123, 12.3, 1230."""
    if value == 0 or not isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.2e}")
    return f"{rounded:.{max(0, 2 - floor(log10(abs(rounded))))}f}"


def duration(seconds: float) -> str:
    """A time with its unit: 0.412 us, 8.13 us, 41.2 ms, 3.10 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds / 1e-6)} us"


def progress(total: int, label: str) -> AbstractContextManager[Step]:
    """Show how far a job of `total` steps is; call the result with a text as each step begins.

    A bar on a terminal where rich is installed, else a line for every fifth of the way. Both say
    how long the rest takes if it goes on as so far.
    """
    shown = _bar if sys.stderr.isatty() and find_spec("rich") else _lines
    return shown(total, label)


@contextmanager
def _lines(total: int, label: str) -> Iterator[Step]:
    begun, start = 0, time.perf_counter()

    def step(text: str) -> None:
        nonlocal begun
        if begun == 0 or begun * 5 // total > (begun - 1) * 5 // total:
            left = ""
            if begun:
                each = (time.perf_counter() - start) / begun
                left = f"; {each * (total - begun):.0f} s left"
            sys.stderr.write(f"{label}: {100 * begun // total:3d} %  {text}{left}\n")
            sys.stderr.flush()
        begun += 1

    yield step


@contextmanager
def _bar(total: int, label: str) -> Iterator[Step]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        begun = 0

        def step(text: str) -> None:
            nonlocal begun
            bar.update(task, completed=begun, description=text)
            begun += 1

        yield step
