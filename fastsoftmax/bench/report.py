"""How measurements are shown: a table for people, a document for programs. Measures nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import fastsoftmax as fs
from fastsoftmax._terminal import duration, significant, table
from fastsoftmax.bench.cases import SPREAD
from fastsoftmax.bench.runner import ROUNDS, SAMPLE, Cell
from fastsoftmax.bench.workload import BLOCK

SCHEMA_VERSION = 1

_COLUMNS = {
    "batch": "r",
    "classes": "r",
    "threads": "r",
    "backend": "l",
    "Q1": "r",
    "median": "r",
    "Q3": "r",
    "Gelem/s": "r",
    "GB/s": "r",
    "vs best": "r",
}


def setting() -> dict[str, Any]:
    """The machine, and how busy others keep it: read this before the first case."""
    return {
        "machine": fs.info(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def text(cells: Sequence[Cell], found: dict[str, Any]) -> str:
    """The setting in a line, then one table for each operation and dtype."""
    machine, load = found["machine"], found["load_average"]
    busy = "" if load is None else f", load average {load:.2f} before the first case"
    kinds = dict.fromkeys((cell.case.operation.name, cell.case.dtype) for cell in cells)
    tables = [f"fastsoftmax {machine['version']}, {machine['cpu']}{busy}"]
    for name, dtype in kinds:
        rows = [
            row
            for cell in cells
            if (cell.case.operation.name, cell.case.dtype) == (name, dtype)
            for row in _rows(cell)
        ]
        tables.append(f"{name}, {dtype}\n\n{table(_COLUMNS, rows)}")
    return "\n\n".join(tables)


def _rows(cell: Cell) -> list[list[str]]:
    case = cell.case
    label = [f"{case.batch:,}", f"{case.classes:,}", str(case.threads)]
    fastest = min(measurement.quartiles()[1] for measurement in cell.measurements)
    rows = []
    for measurement in cell.measurements:
        first, median, third = measurement.quartiles()
        rows.append(
            [
                *label,
                measurement.contestant,
                duration(first),
                duration(median),
                duration(third),
                significant(case.elements / median / 1e9),
                significant(case.bytes_moved / median / 1e9),
                f"{median / fastest:.2f}x",
            ]
        )
        label = [""] * len(label)
    return rows


def document(cells: Sequence[Cell], found: dict[str, Any], complete: bool) -> dict[str, Any]:
    """Everything measured, with its setting, in plain types fit for JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "complete": complete,
        **found,
        "method": {
            "samples_at_least": ROUNDS,
            "sample_seconds_at_least": SAMPLE,
            "logits_standard_deviation": SPREAD,
            "logits_distinct_at_most": BLOCK,
        },
        "cells": [
            {
                "operation": case.operation.name,
                "dtype": case.dtype,
                "batch": case.batch,
                "classes": case.classes,
                "threads": case.threads,
                "backend": measurement.contestant,
                "seconds": dict(
                    zip(("first_quartile", "median", "third_quartile"), times, strict=True)
                ),
                "samples": len(measurement.samples),
                "calls_per_sample": measurement.calls,
                "elements_per_second": case.elements / times[1],
                "bytes_per_second": case.bytes_moved / times[1],
                "worst_ulp": measurement.worst.ulp,
                "allowed_ulp": measurement.worst.allowed,
            }
            for case, measurements in cells
            for measurement in measurements
            for times in (measurement.quartiles(),)
        ],
    }
