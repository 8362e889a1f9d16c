"""Which charts a document gets, in which order. How each is drawn is in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence

from fastsoftmax.bench.page import accuracy, cost, heat, memory, roofline, scaling
from fastsoftmax.bench.page.axes import looks
from fastsoftmax.bench.page.standing import Group, Standing
from fastsoftmax.bench.page.svg import Chart
from fastsoftmax.bench.results import PLAIN, Results


def charts(
    document: Results, found: Sequence[Standing], subject: str | None
) -> dict[str, list[Chart]]:
    """The charts by operation: what is to be seen of one operation stands together."""
    if subject is None:
        return {}
    others = [c.name for c in document.contestants if c.name != subject]
    look = looks([subject, *others])
    groups: dict[Group, list[Standing]] = {}
    for standing in found:
        groups.setdefault(standing.group, []).append(standing)
    drawn: dict[str, list[Chart]] = {}
    for group, members in groups.items():
        if len(members) == 1 and _aside(group):
            continue  # charts of one point say no more than the table
        candidates = (
            heat.throughput(group, members, subject),
            heat.against_peers(group, members, subject),
            roofline.chart(group, members, subject, look, document.limits),
            accuracy.chart(group, members, look),
        )
        kept = drawn.setdefault(group.operation, [])
        kept += [chart for chart in candidates if chart is not None]
        kept += cost.charts(group, members, subject, look)
    for operation, bars in memory.charts(document.results, list(look)).items():
        drawn.setdefault(operation, []).extend(bars)
    for operation in dict.fromkeys(standing.group.operation for standing in found):
        of_it = [standing for standing in found if standing.group.operation == operation]
        drawn.setdefault(operation, []).extend(scaling.charts(of_it, subject))
    return {operation: kept for operation, kept in drawn.items() if kept}


def _aside(group: Group) -> bool:
    """Whether it is measured for its own sake: a call's overhead, what another option costs."""
    return group.rank == 1 or group.option != PLAIN
