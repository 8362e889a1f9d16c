"""What was measured as a document for programs, by `results.schema.json`. Measures nothing."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import fastsoftmax as fs
from fastsoftmax import _machine
from fastsoftmax.bench import blas, limits
from fastsoftmax.bench.cases import SPREAD
from fastsoftmax.bench.cells import Cell, Measurement
from fastsoftmax.bench.peers import PEERS
from fastsoftmax.bench.rates import Rates
from fastsoftmax.bench.results import SCHEMA, SCHEMA_VERSION
from fastsoftmax.bench.runner import ROUNDS, SAMPLE
from fastsoftmax.bench.startup import Startup

_BINDS = {"copy": "memory", "NT copy": "memory", "read": "memory"}
"""The others are called by their own names."""


class Run(NamedTuple):
    """Everything that one `fastsoftmax bench` has measured, and how it was asked to."""

    contestants: Sequence[str]
    inputs: str
    label: str | None
    found: Mapping[str, Any]  # what `report.setting` has found before the first case
    rates: Rates
    cells: Sequence[Cell]
    startup: Sequence[Startup]
    left_out: int  # cases for which there was no time


def document(run: Run, complete: bool) -> dict[str, Any]:
    """The document, in plain types fit for JSON."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "complete": complete,
        "label": run.label,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {**run.found["machine"], **_machine_further()},
        "load_average": run.found["load_average"],
        "blas": blas.described(),
        "method": {
            "samples_at_least": ROUNDS,
            "sample_seconds_at_least": SAMPLE,
            "inputs": run.inputs,
            "logits_standard_deviation": SPREAD,
        },
        "limits": _limits(run.rates),
        "contestants": [contestant(name) for name in run.contestants],
        "results": [
            _result(cell, measurement, run)
            for cell in run.cells
            for measurement in cell.measurements
        ],
        "startup": [found._asdict() for found in run.startup],
        "notes": notes(run),
    }


def contestant(name: str) -> dict[str, Any]:
    """Who it is, and why a peer takes no part."""
    if name not in PEERS:
        return {"name": name, "kind": "own", "version": fs.__version__, "missing": None}
    peer = PEERS[name]
    why = peer.missing()
    return {
        "name": name,
        "kind": "peer",
        "version": None if why else peer.version,
        "missing": why,
    }


def binds(limit: limits.Limit) -> str:
    """What decides it: memory, exp, call or products."""
    return _BINDS.get(limit.binds, limit.binds)


def notes(run: Run) -> list[str]:
    """What the results do not say by themselves: who was absent from which cases, and why."""
    why_not: dict[str, Counter[str]] = {}
    for cell in run.cells:
        for name, why in cell.absent.items():
            why_not.setdefault(name, Counter())[why] += 1
    said = [
        f"{name} is absent from {reasons.total()} of {len(run.cells)} cases: "
        + "; ".join(f"{why} ({count})" for why, count in reasons.items())
        for name, reasons in why_not.items()
    ]
    if (no_core := limits.missing()) is not None:
        said.append(f"no limits: {no_core}")
    if run.left_out:
        cases = "case was" if run.left_out == 1 else "cases were"
        said.append(f"{run.left_out} {cases} left out: there was no time for more")
    return said


def _machine_further() -> dict[str, Any]:
    return {
        "caches": _machine.caches(),
        "cpus": _machine.affinity(),
        "quota": _machine.cpu_quota(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Of the sources that were installed, as pip has noted where they were.

    A folder may have moved on since; whoever compares commits installs what is committed.
    """
    try:
        noted = json.loads(distribution("fastsoftmax").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    if "vcs_info" in noted:
        found: str | None = noted["vcs_info"].get("commit_id")
        return found
    parts = urlsplit(noted.get("url", ""))
    if parts.scheme != "file" or "dir_info" not in noted:
        return None
    folder = unquote(parts.path)
    try:
        done = subprocess.run(
            ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _limits(rates: Rates) -> dict[str, Any]:
    moved = {
        name: [{"bytes": size, "bytes_per_second": rate} for size, rate in by_size.items()]
        for name, by_size in (
            ("copy", rates.copy),
            ("nt_copy", rates.nt_copy),
            ("read", rates.read),
        )
    }
    return {
        **moved,
        "exp": rates.exp,
        "empty_call_seconds": rates.empty_call,
        "fork_join_seconds": rates.fork_join,
    }


def _result(cell: Cell, measurement: Measurement, run: Run) -> dict[str, Any]:
    case, limit, worst = cell.case, cell.limit, measurement.worst
    quartiles = ("first_quartile", "median", "third_quartile")
    return {
        "operation": case.operation.name,
        "dtype": case.dtype,
        "shape": list(case.shape),
        "axis": case.axis,
        "batch": case.batch,
        "classes": case.classes,
        "sampled": case.sampled,
        "option": case.option.name,
        "threads": case.threads,
        "inputs": run.inputs,
        "contestant": measurement.contestant,
        "kind": "peer" if measurement.contestant in PEERS else "own",
        "seconds": dict(zip(quartiles, measurement.quartiles(), strict=True)),
        "samples": len(measurement.samples),
        "calls_per_sample": measurement.calls,
        "disturbed": measurement.disturbed,
        "repeats": measurement.repeats,
        "elements": case.elements,
        "bytes": case.bytes_moved,
        "peak_bytes": measurement.peak,
        "ulp": {
            "worst": worst.largest if case.rounds else None,
            "allowed": worst.allowed_there if case.rounds else None,
        },
        "limit": None if limit is None else {"seconds": limit.seconds, "binds": binds(limit)},
    }
