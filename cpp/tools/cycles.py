"""Measure what each kernel takes for an element, for each ISA, in the caches near by.

Every call takes turns with all others; medians. Prints a Markdown table of cycles, at the clock
rate given, for no processor says reliably how fast it runs:

    taskset -c 1 python cpp/tools/cycles.py --ghz 3.6
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import ml_dtypes
import numpy as np

from fastsoftmax import _core

ROUNDS, SECONDS = 60, 2e-4
SOFTMAX = "softmax"
Row = tuple[str, str, tuple[int, ...], int, Any, dict[str, Any]]
ROWS: list[Row] = [
    ("rows of 1000", SOFTMAX, (32, 1000), 1, "f", {}),
    ("rows of 1000, in place", SOFTMAX, (32, 1000), 1, "f", {"in_place": True}),
    ("rows of 1000, masked", SOFTMAX, (32, 1000), 1, "f", {"masked": True}),
    ("rows of 1000, scores of scale 100", SOFTMAX, (32, 1000), 1, "f", {"scale": 100}),
    ("rows of 1024", SOFTMAX, (32, 1024), 1, "f", {}),
    ("one row of 32000", SOFTMAX, (1, 32000), 1, "f", {}),
    ("rows of 64", SOFTMAX, (480, 64), 1, "f", {}),
    ("rows of 27", SOFTMAX, (1120, 27), 1, "f", {}),
    ("rows of 10", SOFTMAX, (3200, 10), 1, "f", {}),
    ("rows of 2", SOFTMAX, (16000, 2), 1, "f", {}),
    ("columns of 64", SOFTMAX, (64, 512), 0, "f", {}),
    ("float64, rows of 1000", SOFTMAX, (32, 1000), 1, "d", {}),
    ("float64, rows of 10", SOFTMAX, (3200, 10), 1, "d", {}),
    ("float16, rows of 1000", SOFTMAX, (32, 1000), 1, np.float16, {}),
    ("bfloat16, rows of 1000", SOFTMAX, (32, 1000), 1, ml_dtypes.bfloat16, {}),
    ("log_softmax, rows of 1000", "log_softmax", (32, 1000), 1, "f", {}),
    ("log_softmax, rows of 10", "log_softmax", (3200, 10), 1, "f", {}),
    ("log_softmax, columns of 64", "log_softmax", (64, 512), 0, "f", {}),
    ("logsumexp, rows of 1000", "logsumexp", (32, 1000), 1, "f", {}),
    ("logsumexp, rows of 10", "logsumexp", (3200, 10), 1, "f", {}),
]


def call_of(row: Row, target: _core.Target, rng: np.random.Generator) -> Callable[[], Any]:
    """The core's function on arrays of its own."""
    _, operation, shape, axis, dtype, options = row
    x = (options.get("scale", 4) * rng.standard_normal(shape)).astype(dtype)
    mask = rng.random(shape) < 0.9 if options.get("masked") else None
    if operation == "logsumexp":
        out = np.empty(tuple(1 if a == axis else n for a, n in enumerate(shape)), dtype)
        return lambda: target.logsumexp(x, out, (axis,), mask, 1.0, 1, None, None)
    out = x if options.get("in_place") else np.empty_like(x)
    function = getattr(target, operation)
    return lambda: function(x, out, (axis,), mask, 1.0, 1)


def medians(calls: list[Callable[[], Any]]) -> Iterator[float]:
    """Seconds of each, taken in turns."""
    counts, times = [], np.empty((ROUNDS, len(calls)))
    for call in calls:
        call()
        started = perf_counter()
        call()
        counts.append(max(1, round(SECONDS / (perf_counter() - started))))
    for turn in range(ROUNDS):
        for place, (call, count) in enumerate(zip(calls, counts, strict=True)):
            call()
            started = perf_counter()
            for _ in range(count):
                call()
            times[turn, place] = (perf_counter() - started) / count
    yield from np.median(times, axis=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--ghz", type=float, required=True, help="the clock rate under this load")
    ghz = parser.parse_args().ghz
    usable = [name for name, why in _core.targets().items() if why is None]
    generator = np.random.default_rng(0)
    found = [
        list(medians([call_of(row, _core.target(isa), generator) for row in ROWS]))
        for isa in usable
    ]
    print(f"| kernel | {' | '.join(usable)} |\n|---|{'---|' * len(usable)}")
    for row, *times in zip(ROWS, *found, strict=True):
        cycles = (f"{t * ghz * 1e9 / np.prod(row[2]):.2f}" for t in times)
        print(f"| {row[0]} | {' | '.join(cycles)} |")
