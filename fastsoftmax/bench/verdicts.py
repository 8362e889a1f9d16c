"""What was reached of the regimes' targets: a table for people, a document for programs.

Measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastsoftmax._terminal import duration, table
from fastsoftmax.bench import blas
from fastsoftmax.bench.cases import PLAIN
from fastsoftmax.bench.peers import PEERS
from fastsoftmax.bench.regimes import FASTEST, LIMIT, Line, Regime, Target
from fastsoftmax.bench.sampled import AnyCase
from fastsoftmax.bench.targets import Entry, Group, Time

SCHEMA_VERSION = 1

_COLUMNS = {
    "case": "l",
    "run by": "l",
    "time": "r",
    "limit": "r",
    "binds": "l",
    "of it": "r",
    "fastest peer": "l",
    "its time": "r",
    "x": "r",
    "torch x": "r",
    "verdict": "l",
}


_LEGEND = """\
Medians; the rivals of a line take turns. limit: the longer of all bytes, read once and written
once, at the rate of a copy, and all exponentials at their rate in registers; with a sample of the
classes the three matrix products. x: that time over ours. ~: so slow that it got no turn after its
first."""


class Ruling(NamedTuple):
    """One target and what came of it; `value` is None where the rival could not be measured."""

    target: Target
    rival: str
    value: float | None
    best: float | None  # the value by our best sample instead of the median

    @property
    def reached(self) -> bool | None:
        """None: not to be told."""
        if self.value is None:
            return None
        if self.target.factor is not None:
            return self.value >= self.target.factor
        return self.target.within is None or self.value <= self.target.within

    def __str__(self) -> str:
        """In a few words: the rival, the value, and what was asked for."""
        if self.value is None:
            return f"{self.rival} not measured"
        best = "" if self.reached or self.best is None else f", best {self._shown(self.best)}"
        factor, most = self.target.factor, self.target.within or 0.0
        asked = f"<= {self._shown(most)}" if factor is None else f">= {self._shown(factor)}"
        return f"{self.rival} {self._shown(self.value)} ({asked}{best})".lstrip()

    def _shown(self, value: float) -> str:
        if self.target.rival is None:
            return duration(value)
        return f"{100 * value:.0f} %" if self.target.rival == LIMIT else f"{value:.2f}x"


class Verdict(NamedTuple):
    """One line of the table and what came of it; `time` is None if it could not run here."""

    line: Line
    time: Time | None
    seconds: float | None  # of `time`, what the targets are about
    rulings: list[Ruling]
    group: Group

    @property
    def status(self) -> str:
        """Reached, not reached, not judged (a rival or the line itself is missing), no target."""
        if not self.rulings:
            return "no target" if self.time is not None else "not judged"
        reached = [ruling.reached for ruling in self.rulings]
        if False in reached:
            return "not reached"
        return "not judged" if None in reached else "reached"


def judge(line: Line, group: Group) -> Verdict:
    """Compare a line with its targets."""
    time = group.times.get(Entry(line.contestant, line.case))
    crowded = line.case.option.crowded
    seconds = None if time is None else time.ninth_decile if crowded else time.median
    best = None if time is None or crowded else time.best
    rulings = [
        Ruling(target, name, _compared(target, their, seconds), _compared(target, their, best))
        for target in line.targets
        for name, their in [_rival(target, line, group)]
    ]
    return Verdict(line, time, seconds, rulings, group)


def _compared(target: Target, their: float | None, ours: float | None) -> float | None:
    if ours is None or their is None:
        return None
    return their / ours if target.factor is not None else ours / their


def _rival(target: Target, line: Line, group: Group) -> tuple[str, float | None]:
    """The rival's name and its seconds."""
    if target.rival is None:
        return "", 1.0
    if target.rival == LIMIT:
        return "limit", None if group.limit is None else group.limit.seconds
    if target.rival == FASTEST:
        entry = group.fastest_peer()
        name = "fastest peer"
    elif isinstance(target.rival, AnyCase):
        entry = Entry(line.contestant, target.rival)
        name = _own_name(target.rival, line.case)
    else:
        entry, name = Entry(target.rival, line.group), target.rival
    found = None if entry is None else group.times.get(entry)
    return name, None if found is None else found.median


def _own_name(rival: AnyCase, case: AnyCase) -> str:
    """What another case of the same contestant is to this one."""
    if rival.sizes != case.sizes:
        option = "" if rival.option == PLAIN else f", {rival.option.name}"
        return f"own {rival.layout}{option}"
    if case.option.crowded:
        return "quiet median"
    if rival.threads != case.threads:
        return "own single thread"
    return "plain call" if rival.option == PLAIN else rival.option.name


def text(regimes: Sequence[Regime], groups: Mapping[AnyCase, Group], found: dict[str, Any]) -> str:
    """The setting, the peers, a table for each regime, and the count."""
    machine = found["machine"]
    parts = [
        f"fastsoftmax {machine['version']}, {machine['cpu']}",
        *_peers(),
        f"BLAS: {blas.described()}",
        _LEGEND,
    ]
    counts: dict[str, int] = {}
    for regime in regimes:
        verdicts = [
            judge(line, groups[line.group]) for line in regime.lines if line.group in groups
        ]
        for verdict in verdicts:
            counts[verdict.status] = counts.get(verdict.status, 0) + 1
        if verdicts:
            rows = [_row(verdict) for verdict in verdicts]
            parts.append(f"{regime.name}: {regime.title}\n\n{table(_COLUMNS, rows)}")
    total = sum(counts.values())
    shown = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    parts.append(f"{counts.get('reached', 0)} of {total} lines reached ({shown})")
    return "\n\n".join(parts)


def _peers() -> list[str]:
    there = [f"{peer.name} {peer.version}" for peer in PEERS.values() if peer.missing() is None]
    lacking = [f"{peer.name} ({why})" for peer in PEERS.values() if (why := peer.missing())]
    return [f"peers: {', '.join(there)}", *([f"missing: {', '.join(lacking)}"] if lacking else [])]


def _row(verdict: Verdict) -> list[str]:
    line, group, ours = verdict.line, verdict.group, verdict.seconds
    limit, peer = group.limit, group.fastest_peer()
    torch = group.times.get(Entry("torch", group.case))
    their = None if peer is None else group.times[peer]
    status = verdict.status
    if ours is None:
        status = f"not judged: {group.absent.get(Entry(line.contestant, line.case), 'not run')}"
    elif verdict.rulings:
        status = f"{status}: {'; '.join(map(str, verdict.rulings))}"
    return [
        _label(line.case),
        line.contestant,
        "-" if ours is None else duration(ours),
        "-" if limit is None else duration(limit.seconds),
        "-" if limit is None else limit.binds,
        "-" if limit is None or ours is None else f"{100 * limit.seconds / ours:.0f} %",
        "-" if peer is None else peer.contestant,
        "-" if their is None else duration(their.median),
        _times(their, ours),
        _times(torch, ours),
        status,
    ]


def _times(their: Time | None, ours: float | None) -> str:
    if their is None or ours is None:
        return "-"
    return f"{'~' if their.samples == 1 else ''}{their.median / ours:.2f}"


def _label(case: AnyCase) -> str:
    parts = [case.layout]
    if case.operation.name != "softmax":
        parts.insert(0, case.operation.name)
    if case.dtype != "float32":
        parts.append(case.dtype)
    if case.threads > 1:
        parts.append(f"{case.threads} threads")
    return ", ".join([*parts, *([case.option.name] if case.option.name != "plain" else [])])


def document(
    regimes: Sequence[Regime],
    groups: Mapping[AnyCase, Group],
    found: dict[str, Any],
    complete: bool,
) -> dict[str, Any]:
    """Everything measured and judged, in plain types fit for JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "complete": complete,
        **found,
        "blas": blas.described(),
        "peers": {
            name: {"version": None if why else peer.version, "missing": why}
            for name, peer in PEERS.items()
            for why in (peer.missing(),)
        },
        "groups": [_group(group) for group in groups.values()],
        "lines": [
            {
                "regime": regime.name,
                **_case(line.case),
                "contestant": line.contestant,
                "status": verdict.status,
                "seconds": verdict.seconds,
                "targets": [
                    {
                        "rival": ruling.rival,
                        "at_least": ruling.target.factor,
                        "at_most": ruling.target.within,
                        "value": ruling.value,
                        "best": ruling.best,
                        "reached": ruling.reached,
                    }
                    for ruling in verdict.rulings
                ],
            }
            for regime in regimes
            for line in regime.lines
            if line.group in groups
            for verdict in (judge(line, groups[line.group]),)
        ],
    }


def _case(case: AnyCase) -> dict[str, Any]:
    return {
        "operation": case.operation.name,
        "dtype": case.dtype,
        **case.sizes,
        "threads": case.threads,
        "option": case.option.name,
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        **_case(group.case),
        "bytes_moved": group.case.bytes_moved,
        "limit": None if group.limit is None else group.limit._asdict(),
        "entries": [
            {"contestant": entry.contestant, **_case(entry.case), **time._asdict()}
            for entry, time in group.times.items()
        ],
        "absent": [
            {"contestant": entry.contestant, **_case(entry.case), "reason": why}
            for entry, why in group.absent.items()
        ],
    }
