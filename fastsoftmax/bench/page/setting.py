"""What was run where, and by which rules, in words: each a name and a value. Draws nothing."""

from __future__ import annotations

from datetime import datetime

from fastsoftmax._terminal import duration, significant
from fastsoftmax.bench.page.units import size
from fastsoftmax.bench.results import Results

_UNKNOWN = "unknown"

Facts = list[tuple[str, str]]


def title(document: Results, number: int) -> str:
    """What a document is called: its label, else the processor."""
    return document.label or f"Run {number}: {document.machine['cpu']}"


def machine(document: Results) -> Facts:
    """The machine, the build and the moment."""
    of = document.machine
    isa, threads, build, load = of["isa"], of["threads"], of["build"], document.load_average
    quota = "none" if of["quota"] is None else f"{of['quota']:g} processors' worth of time"
    return [
        ("Measured", datetime.fromisoformat(document.created).strftime("%Y-%m-%d %H:%M:%S %z")),
        ("Processor", of["cpu"]),
        ("Instruction sets", f"{', '.join(isa['found'])}; used: {isa['chosen'] or 'none'}"),
        ("Caches", ", ".join(f"{k} {size(v)}" for k, v in of["caches"].items()) or _UNKNOWN),
        ("Processors granted", str(of["cpus"])),
        ("Quota", quota),
        ("Threads of a call", f"{threads['count'] or _UNKNOWN} ({threads['origin']})"),
        ("Load average before", _UNKNOWN if load is None else f"{load:.2f}"),
        ("Platform", of["platform"]),
        ("Versions", f"fastsoftmax {of['version']}, Python {of['python']}, NumPy {of['numpy']}"),
        ("Commit", of["commit"] or _UNKNOWN),
        ("Compiler", build["compiler"] or _UNKNOWN),
        ("Compiler flags", build["flags"] or _UNKNOWN),
        ("BLAS", document.blas or _UNKNOWN),
    ]


def took_part(document: Results, kind: str) -> list[str]:
    """Names and versions of the contestants of a kind that have results."""
    measured = {result.key.contestant for result in document.results}
    found = [c for c in document.contestants if c.kind == kind and c.name in measured]
    return [f"{c.name} {c.version}" if c.version else c.name for c in found]


def limits(document: Results) -> Facts:
    """What the machine was measured to allow at most, on one thread."""
    of = document.limits
    facts = [
        (
            name,
            ", ".join(f"{size(r.bytes)}: {significant(r.bytes_per_second / 1e9)}" for r in rates),
        )
        for name, rates in (
            ("Copy, GB/s by working set", of.copy),
            ("Non-temporal copy", of.nt_copy),
            ("Read", of.read),
        )
        if rates
    ]
    facts += [
        (f"Exponentials, {dtype}", f"{significant(rate / 1e9)} billion per second")
        for dtype, rate in of.exp.items()
    ]
    times = (("Empty call", of.empty_call_seconds), ("Fork and join", of.fork_join_seconds))
    return facts + [(name, duration(seconds)) for name, seconds in times if seconds is not None]


def fairness(document: Results, subject: str | None) -> list[str]:
    """The rules of the comparison, with this run's own numbers."""
    method, results = document.method, document.results
    shaken = sum(result.disturbed for result in results)
    again = sum(result.repeats > 0 for result in results)
    return [
        "All contestants of a case run in one process, in turns, on the same inputs: what disturbs "
        "the machine weighs on all of them.",
        f"At least {method['samples_at_least']} samples each, a sample of at least "
        f"{duration(method['sample_seconds_at_least'])}; shown are medians and quartiles, never "
        "the best sample.",
        "Every result is compared with a wider reference before its call is timed; the largest "
        "error stands beside the speed.",
        f"Inputs are {method['inputs']}: normal scores of standard deviation "
        f"{method['logits_standard_deviation']:g}.",
        "On the same number of threads, into an array of ours where a library takes one. How each "
        "is called is in benchmarks/README.md.",
        f"{subject or 'None'} stands for this package in all comparisons: what a call gets that "
        "names no backend, if that was measured. The peer is the fastest one of each case, picked "
        "afterwards.",
        "Slower than a peer is counted and listed. A difference is called certain if the ranges "
        "from first to third quartile do not overlap and neither was disturbed.",
        f"{shaken} of {len(results)} results were disturbed (marked *), {again} were measured "
        "again; none was left out.",
    ]
