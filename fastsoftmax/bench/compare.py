"""`fastsoftmax compare`: two files of results, what became faster or slower, what may be noise.

Reads what was measured; measures nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from math import exp, fsum, log
from pathlib import Path
from typing import Any, NamedTuple

from fastsoftmax._terminal import duration, table
from fastsoftmax.bench.results import Key, Result, Results

FASTER, SLOWER, SAME, UNCERTAIN = "faster", "slower", "same", "uncertain"
VERDICTS = (FASTER, SLOWER, SAME, UNCERTAIN)

SCHEMA = "fastsoftmax-comparison"
SCHEMA_VERSION = 1

_COLUMNS = {"case": "l", "run by": "l", "A": "r", "B": "r", "B/A": "r", "verdict": "l"}


class NothingToCompare(ValueError):
    """No result is in both files: to pass would be to have looked at nothing."""


class Named(NamedTuple):
    """A file's name and what it holds."""

    name: str
    results: Results


class Pair(NamedTuple):
    """The same measurement in both files."""

    a: Result
    b: Result
    threshold: float
    drift: float | None  # what became of others' ratios in this case; None without any

    @property
    def ratio(self) -> float:
        """B's median over A's: above 1 B is slower."""
        return self.b.seconds.median / self.a.seconds.median

    def judge(self) -> tuple[str, str]:
        """The verdict, and what keeps it from being another one.

        1. A disturbed measurement decides nothing.
        2. Medians apart by no more than the threshold are the same.
        3. If the ranges between quartiles overlap, a quarter of the slower one's samples took no
           longer than a quarter of the other's did: not enough to tell.
        4. If other libraries, of the same version in both files, moved by as much within the
           threshold, it was the machine: they took turns with this one on the same arrays.
        5. Else the medians decide.

        Quartiles instead of a test of significance: samples of one run share its state of the
        machine, and hundreds of them would make every difference significant. For the same reason
        quartiles alone do not do: of two runs of one version on a busy machine 4 in 54 were apart.
        """
        disturbed = [name for name, r in (("A", self.a), ("B", self.b)) if r.disturbed]
        if disturbed:
            return UNCERTAIN, f"{' and '.join(disturbed)} disturbed"
        if self._within(self.ratio):
            return SAME, ""
        a, b = self.a.seconds, self.b.seconds
        if b.first_quartile <= a.third_quartile and a.first_quartile <= b.third_quartile:
            return UNCERTAIN, "quartiles overlap"
        if self.drift is not None and self._within(self.ratio / self.drift):
            return UNCERTAIN, "other libraries moved too"
        return (SLOWER if self.ratio > 1 else FASTER), ""

    def _within(self, ratio: float) -> bool:
        return 1 / (1 + self.threshold) <= ratio <= 1 + self.threshold


class Difference(NamedTuple):
    """Something about the runs that is not the same."""

    name: str
    a: Any
    b: Any


class Comparison(NamedTuple):
    """Two files, side by side; pairs by their ratio, the slowest first."""

    a: Named
    b: Named
    threshold: float
    only: str | None
    machines: list[Difference]
    surroundings: list[Difference]  # what else differs: versions, compiler, method
    pairs: list[Pair]
    only_in_a: list[Key]
    only_in_b: list[Key]

    @property
    def regressions(self) -> list[Pair]:
        """What this package itself takes longer for; other libraries are not its fault."""
        return [pair for pair in self.pairs if pair.a.kind == "own" and pair.judge()[0] == SLOWER]


def compare(a: Named, b: Named, threshold: float, only: str | None = None) -> Comparison:
    """Match the results of two files.

    Parameters
    ----------
    a, b : Named
        Before and after.
    threshold : float
        How much longer or shorter is still the same; 0.05 is 5 %.
    only : str, optional
        A shell pattern that must be found somewhere in a result's name, `str` of its key.

    Returns
    -------
    Comparison
    """

    def wanted(results: Results) -> dict[Key, Result]:
        return {
            result.key: result
            for result in results.results
            if only is None or fnmatchcase(str(result.key), f"*{only}*")
        }

    before, after = wanted(a.results), wanted(b.results)
    drifts = _drifts(a.results, b.results)
    pairs = [
        Pair(before[key], after[key], threshold, drifts.get(key.case))
        if before[key].kind == "own"
        else Pair(before[key], after[key], threshold, None)
        for key in before
        if key in after
    ]
    return Comparison(
        a,
        b,
        threshold,
        only,
        _differences(_machine(a.results), _machine(b.results)),
        _differences(_surroundings(a.results), _surroundings(b.results)),
        sorted(pairs, key=lambda pair: -pair.ratio),
        [key for key in before if key not in after],
        [key for key in after if key not in before],
    )


def _drifts(a: Results, b: Results) -> dict[str, float]:
    """By case: the geometric mean of B/A of those other libraries that are the same in both."""
    same = {entry for entry in a.contestants if entry.kind == "peer"} & {*b.contestants}
    names = {entry.name for entry in same}
    after = {result.key: result.seconds.median for result in b.results}
    ratios: dict[str, list[float]] = {}
    for result in a.results:
        if result.key.contestant in names and result.key in after:
            ratio = after[result.key] / result.seconds.median
            ratios.setdefault(result.key.case, []).append(ratio)
    return {case: _mean(found) for case, found in ratios.items()}


def _machine(results: Results) -> dict[str, Any]:
    found = results.machine
    return {
        "cpu": found["cpu"],
        "platform": found["platform"],
        "instruction sets": found["isa"]["found"],
        "caches": found["caches"],
        "processors": found["cpus"],
        "quota": found["quota"],
    }


def _surroundings(results: Results) -> dict[str, Any]:
    found = results.machine
    return {
        "fastsoftmax": found["version"],
        "commit": found["commit"],
        "compiler": found["build"]["compiler"],
        "flags": found["build"]["flags"],
        "python": found["python"],
        "numpy": found["numpy"],
        "blas": results.blas,
        **{
            entry.name: entry.version if entry.missing is None else f"missing: {entry.missing}"
            for entry in results.contestants
            if entry.kind == "peer"
        },
        **{name.replace("_", " "): value for name, value in results.method.items()},
    }


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[Difference]:
    return [
        Difference(name, a.get(name), b.get(name))
        for name in dict.fromkeys([*a, *b])
        if a.get(name) != b.get(name)
    ]


def _mean(ratios: Sequence[float]) -> float:
    return exp(fsum(map(log, ratios)) / len(ratios))


class Summary(NamedTuple):
    """What came of the results of one kind; the geometric mean leaves out the disturbed ones."""

    kind: str
    counts: dict[str, int]
    mean: float | None
    mean_of: int


def summaries(comparison: Comparison) -> list[Summary]:
    """Own results, then those of other libraries, which show what the machine did meanwhile."""
    found = []
    for kind in ("own", "peer"):
        pairs = [pair for pair in comparison.pairs if pair.a.kind == kind]
        counted = Counter(pair.judge()[0] for pair in pairs)
        calm = [pair.ratio for pair in pairs if not (pair.a.disturbed or pair.b.disturbed)]
        if pairs:
            counts = {verdict: counted[verdict] for verdict in VERDICTS}
            found.append(Summary(kind, counts, _mean(calm) if calm else None, len(calm)))
    return found


def text(comparison: Comparison) -> str:
    """For people: what differs about the runs, the table, who is in one file only, the count."""
    return "\n".join(_lines(comparison))


def _lines(comparison: Comparison) -> Iterator[str]:
    if comparison.machines:
        yield "Not the same machine: ratios tell of the machines too."
        yield from _listed(comparison.machines)
        yield ""
    for letter, named in (("A", comparison.a), ("B", comparison.b)):
        yield f"{letter}  {_described(named)}"
    if comparison.surroundings:
        yield "Not the same either:"
        yield from _listed(comparison.surroundings)
    if comparison.pairs:
        yield ""
        yield table(_COLUMNS, [_row(pair) for pair in comparison.pairs])
    for letter, keys in (("A", comparison.only_in_a), ("B", comparison.only_in_b)):
        if keys:
            yield f"\nOnly in {letter}:"
            yield from (f"  {key}" for key in keys)
    yield ""
    yield from (_counted(summary) for summary in summaries(comparison))
    yield (
        f"Medians. same: within {100 * comparison.threshold:g} %; uncertain: disturbed, or the "
        "quartiles overlap, or other libraries in the same case moved too."
    )


def _described(named: Named) -> str:
    results = named.results
    label = "" if results.label is None else f", {results.label}"
    load = results.load_average
    busy = "" if load is None else f", load average {load:.2f}"
    partial = "" if results.complete else ", incomplete"
    return f"{named.name}{label}, {results.created}{busy}{partial}"


def _listed(differences: Sequence[Difference]) -> list[str]:
    return [f"  {name}: {_shown(a)} -> {_shown(b)}" for name, a, b in differences]


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {size}" for name, size in value.items()) or "unknown"
    return str(value)


def _row(pair: Pair) -> list[str]:
    verdict, why = pair.judge()
    return [
        pair.a.key.case,
        pair.a.key.contestant,
        duration(pair.a.seconds.median),
        duration(pair.b.seconds.median),
        f"{pair.ratio:.3f}",
        f"{verdict}: {why}" if why else verdict,
    ]


def _counted(summary: Summary) -> str:
    name = {"own": "fastsoftmax", "peer": "other libraries"}[summary.kind]
    mean = "" if summary.mean is None else f"; geometric mean of B/A {summary.mean:.3f}"
    disturbed = summary.mean_of < sum(summary.counts.values())
    some = f" of the {summary.mean_of} that nothing disturbed" if mean and disturbed else ""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in summary.counts.items())
    return f"{name}: {counts}{mean}{some}"


def document(comparison: Comparison) -> dict[str, Any]:
    """The same for programs, in plain types fit for JSON."""
    a, b = comparison.a, comparison.b
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **{
            letter: {
                "file": named.name,
                "label": named.results.label,
                "created": named.results.created,
                "complete": named.results.complete,
            }
            for letter, named in (("a", a), ("b", b))
        },
        "threshold": comparison.threshold,
        "only": comparison.only,
        "machines_differ": [entry._asdict() for entry in comparison.machines],
        "surroundings_differ": [entry._asdict() for entry in comparison.surroundings],
        "results": [
            {
                **pair.a.key._asdict(),
                "kind": pair.a.kind,
                "a": pair.a.seconds._asdict(),
                "b": pair.b.seconds._asdict(),
                "ratio": pair.ratio,
                "drift": pair.drift,
                "verdict": verdict,
                "why": why or None,
            }
            for pair in comparison.pairs
            for verdict, why in (pair.judge(),)
        ],
        "only_in_a": [key._asdict() for key in comparison.only_in_a],
        "only_in_b": [key._asdict() for key in comparison.only_in_b],
        "summary": [
            {"kind": kind, **counts, "geometric_mean": mean, "geometric_mean_of": mean_of}
            for kind, counts, mean, mean_of in summaries(comparison)
        ],
        "regression": bool(comparison.regressions),
    }


def run(a: Named, b: Named, threshold: float, only: str | None, file: Path | None) -> int:
    """Compare, print, write the JSON.

    Parameters
    ----------
    a, b, threshold, only
        As of `compare`.
    file : Path, optional
        Where the JSON goes.

    Returns
    -------
    int
        The exit code: 1 if something of this package is slower, else 0.

    Raises
    ------
    NothingToCompare
        If no result is in both files, after all has been printed and written.
    """
    comparison = compare(a, b, threshold, only)
    print(text(comparison))
    if file is not None:
        file.write_text(json.dumps(document(comparison), indent=2) + "\n", encoding="utf-8")
    if not comparison.pairs:
        matching = "" if only is None else f" and matches {only!r}"
        raise NothingToCompare(f"no result is in both {a.name} and {b.name}{matching}")
    return 1 if comparison.regressions else 0
