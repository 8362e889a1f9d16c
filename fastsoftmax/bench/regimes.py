"""The regimes that softmax is used in, as data: shapes, and what is to be reached in each.

A line is one case of one contestant with its targets. The command `fastsoftmax targets` and
the files in `benchmarks/` go by this list. Nothing is measured or printed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fastsoftmax.bench.cases import (
    ALLOCATED,
    IN_PLACE,
    KNOWN,
    OPERATIONS,
    PLAIN,
    Case,
    Option,
)
from fastsoftmax.bench.sampled import DRAW, MAPPED, STEP, AnyCase, SampledCase

PUBLIC, CORE = "fastsoftmax", "core"
"""The contestants of this package, beside its backends by their own names."""

FASTEST = "fastest peer"
LIMIT = "limit"
"""Rivals that are found in the run: the best of the peers that took part, and the hardware."""

IN_L2 = 2 << 20
"""Bytes moved up to which a case counts as in L2."""

IN_CACHES = 16 << 20
"""Bytes moved up to which a case fits into the last-level cache."""


class Target(NamedTuple):
    """What a line is to reach against a rival, which may be another case of the same contestant.

    With `factor`: the rival's time is at least that many times ours. With `within`: our time is at
    most that many times the rival's or, without a rival, that many seconds.
    """

    rival: str | AnyCase | None
    factor: float | None = None
    within: float | None = None


class Line(NamedTuple):
    """One line of the table."""

    case: AnyCase
    contestant: str = PUBLIC
    targets: tuple[Target, ...] = ()

    @property
    def group(self) -> AnyCase:
        """The case that is plain but the same: whatever shares it is measured in turns."""
        return self.case.with_option(PLAIN)


class Regime(NamedTuple):
    """Lines that belong together."""

    name: str
    title: str
    lines: tuple[Line, ...]
    compared: bool = True
    """Whether all peers take part, for comparison, where no target asks for them."""


def faster(rival: str | AnyCase, factor: float) -> Target:
    """At least `factor` times as fast as the rival."""
    return Target(rival, factor=factor)


def within(rival: str | AnyCase | None, most: float) -> Target:
    """At most `most` times as long as the rival."""
    return Target(rival, within=most)


def _cases(
    shapes: Iterable[tuple[int, ...]],
    operation: str = "softmax",
    dtype: str = "float32",
    threads: int = 1,
    axis: int = -1,
) -> list[Case]:
    return [Case(KNOWN[operation], dtype, shape, threads, axis) for shape in shapes]


CACHED = ((1, 1000), (32, 1000), (128, 1000), (1, 32000), (1, 128256))
BEYOND = ((1024, 1000), (64, 32000), (4096, 1000), (32, 128256), (128, 128256))
LONG = ((1, 1_000_000), (8, 1_000_000), (64, 1_000_000))
FEW = ((1024, 10), (100_000, 10), (100_000, 5), (1_000_000, 2), (50_000, 27), (65_536, 64))
MIXED = ((1, 128256), (1024, 1000), (64, 32000), (100_000, 10))
AXES = (
    *_cases(((1000, 1024), (32000, 64), (64, 3136)), axis=0),
    *_cases(((2, 64, 56, 56), (32, 81, 8732)), axis=1),
)
TRAINED = ((128, 1000), (64, 32000), (32, 128256), (4096, 1000))
SOFTMAX = (*_cases((*CACHED, *BEYOND, *LONG, *FEW)), *AXES)

SMALL_TEMPERATURE = Option("temperature", temperature=0.5)
MASK = Option("where", masked=True)
CONVERTED = Option("from bfloat16", source="bfloat16")
WIDE = Option("scale 100", spread=100.0)
HIDDEN = Option("finfo.min", hidden=True)
CROWDED = Option("busy neighbour", crowded=True)
FLAT = Option("flat rows", spread=1e-6)


def _in_l2(case: Case) -> bool:
    return case.bytes_moved <= IN_L2


def _lines(cases: Iterable[AnyCase], *targets: Target, contestant: str = PUBLIC) -> list[Line]:
    return [Line(case, contestant, targets) for case in cases]


def _beyond_l2(share: float, case: Case) -> tuple[Target, ...]:
    return () if _in_l2(case) else (faster(LIMIT, share),)


def _optioned(
    shapes: Iterable[tuple[int, ...]], options: Iterable[Option], most: float
) -> list[Line]:
    return [
        Line(case.with_option(option), PUBLIC, (within(case, most),))
        for option in options
        for case in _cases(shapes)
    ]


def _row_in_cache() -> list[Line]:
    first, *others = _cases(CACHED)
    both = (faster(FASTEST, 1.2), faster("torch", 2.2))
    return [
        Line(first, CORE, both),
        Line(first, PUBLIC, (faster(FASTEST, 1.0), faster("torch", 2.2))),
        *_lines(others, *both),
    ]


def _few_classes() -> list[Line]:
    return [
        Line(case, PUBLIC, (faster(FASTEST, 3.5), *_beyond_l2(0.7, case))) for case in _cases(FEW)
    ]


def _two_threads() -> list[Line]:
    cases = _cases(((1, 128256), (1, 1_000_000), (1, 10_000_000)), threads=2)
    return [
        Line(
            case,
            PUBLIC,
            (faster(case._replace(threads=1), 1.7),) if case.bytes_moved <= IN_CACHES else (),
        )
        for case in cases
    ]


def _log_softmax() -> list[Line]:
    found = []
    for case in _cases(MIXED, "log_softmax"):
        few = case.classes == 10
        peer = 3.5 if few else 1.6
        asked = (faster(FASTEST, peer),) if few or _in_l2(case) else ()
        found.append(Line(case, PUBLIC, (*asked, *_beyond_l2(0.7 if few else 0.85, case))))
    return found


def _logsumexp() -> list[Line]:
    return [
        Line(case, PUBLIC, (faster(FASTEST, 3.0), *_beyond_l2(0.8, case)))
        for case in _cases(MIXED, "logsumexp")
    ]


def _cross_entropy() -> list[Line]:
    found = []
    for case in _cases(TRAINED, "cross_entropy+grad"):
        peer = 2.5 if _in_l2(case) else 3.0
        found.append(Line(case, PUBLIC, (faster(FASTEST, peer), *_beyond_l2(0.75, case))))
        # In place means to go on from gradient to gradient, whose rows are nearly flat.
        separate = case.with_option(FLAT)
        found.append(Line(case.with_option(IN_PLACE), PUBLIC, (within(separate, 1.0),)))
    read = _cases(((1024, 1000), *TRAINED[1:]), "cross_entropy")
    return [*found, *_lines(read, faster(LIMIT, 0.8))]


def _sigmoids() -> list[Line]:
    shapes = ((4096, 1000),)
    return [
        *_lines(_cases(shapes, "binary_cross_entropy+grad"), faster("torch", 2.0)),
        *_lines(_cases(shapes, "sigmoid")),
    ]


def _one_call() -> list[Line]:
    found = []
    for operation in OPERATIONS:
        (case,) = _cases(((10,),), operation)
        level = (within("XNNPACK", 1.1),) if operation == "softmax" else ()
        found.append(Line(case, PUBLIC, (within(None, 0.5e-6), faster("torch", 1.0), *level)))
        found.append(Line(case.with_option(ALLOCATED), PUBLIC, (within(None, 0.7e-6),)))
    return found


def _numba() -> list[Line]:
    plain = faster("plain Numba", 3.0)
    return [
        Line(case, "numba", (plain, within("cpp:avx2", 2.0)) if _in_l2(case) else (plain,))
        for case in _cases((*CACHED, (1024, 1000)))
    ]


def _numpy() -> list[Line]:
    small = faster("SciPy", 2.0)
    return [
        Line(case, "numpy", (small if case.elements <= 1000 else within("SciPy", 1.05),))
        for case in _cases(((1, 10), (1, 1000), (1024, 1000), (100_000, 10)))
    ]


def _avx2() -> list[Line]:
    return [
        Line(case, "cpp:avx2", (faster("torch", 1.5 if _in_l2(case) else 1.0),)) for case in SOFTMAX
    ]


def _sampled_softmax() -> list[Line]:
    return [
        Line(
            SampledCase(STEP, classes, sampled, batch, columns),
            PUBLIC,
            (faster(FASTEST, 2.0 if sampled == 8192 else 3.0),),
        )
        for classes in (100_000, 1_000_000)
        for columns in (64, 256)
        for batch in (128, 1024)
        for sampled in (64, 1024, 8192)
    ]


def _samplers() -> list[Line]:
    classes = 1_000_000
    return [
        *_lines(
            [SampledCase(DRAW, classes, sampled) for sampled in (64, 1024, 8192)],
            faster("TensorFlow", 4.0),
        ),
        Line(SampledCase(DRAW, classes, 100_000), PUBLIC, (within(None, 5e-3),)),
    ]


def _sampled_classes() -> list[Line]:
    few, *more = [
        SampledCase(STEP, classes, 1024, 128, 64)
        for classes in (10_000, 100_000, 1_000_000, 10_000_000)
    ]
    return [
        Line(few),
        *_lines((*more, *(case.with_option(MAPPED) for case in (few, *more))), within(few, 1.5)),
    ]


def _busy_neighbour() -> list[Line]:
    return [
        Line(case.with_option(CROWDED), PUBLIC, (within(case, 3.0),))
        for case in _cases(((1024, 1000), (1, 128256)), threads=2)
    ]


REGIMES = {
    regime.name: regime
    for regime in (
        Regime("row-in-cache", "rows in L1 or L2", tuple(_row_in_cache())),
        Regime(
            "beyond-l2",
            "beyond L2",
            tuple(_lines(_cases(BEYOND), faster(LIMIT, 0.85))),
        ),
        Regime(
            "rows-beyond-l2",
            "rows beyond L2: x is read twice, the limit counts it once",
            tuple(_lines(_cases(LONG), faster(LIMIT, 0.65), faster(FASTEST, 1.5))),
        ),
        Regime("few-classes", "few classes, many rows", tuple(_few_classes())),
        Regime("two-threads", "one row on two threads, against one", tuple(_two_threads())),
        Regime(
            "axis",
            "axis 0 and middle axes",
            tuple(_lines(AXES, faster(FASTEST, 2.5), faster(LIMIT, 0.7))),
        ),
        Regime(
            "float64",
            "float64",
            tuple(_lines(_cases(MIXED, dtype="float64"), faster(FASTEST, 2.0))),
        ),
        Regime(
            "half",
            "bfloat16 and float16",
            tuple(
                line
                for dtype in ("bfloat16", "float16")
                for line in _lines(
                    _cases(((64, 32000), (1, 128256), (1024, 1000)), dtype=dtype),
                    faster(FASTEST, 2.2),
                )
            ),
        ),
        Regime("log-softmax", "log_softmax", tuple(_log_softmax())),
        Regime("logsumexp", "logsumexp", tuple(_logsumexp())),
        Regime(
            "cross-entropy",
            "mean cross-entropy of labels, with its gradient and alone",
            tuple(_cross_entropy()),
        ),
        Regime(
            "sigmoid-bce",
            "mean binary cross-entropy with its gradient, and the sigmoid",
            tuple(_sigmoids()),
        ),
        Regime(
            "sampled-softmax",
            "a step of training with a sample of the classes: draw, mean loss and gradient",
            tuple(_sampled_softmax()),
        ),
        Regime("samplers", "unique log-uniform candidates", tuple(_samplers())),
        Regime(
            "sampled-classes",
            "such a step by the number of classes, in memory and in a file",
            tuple(_sampled_classes()),
            compared=False,
        ),
        Regime("one-call", "one call on 10 floats", tuple(_one_call())),
        Regime(
            "no-out",
            "no out=, in a loop, against out=",
            tuple(_optioned(((1024, 1000), (64, 32000), (32, 128256)), (ALLOCATED,), 1.1)),
            compared=False,
        ),
        Regime(
            "options",
            "masks, temperature, another dtype, against the plain call",
            tuple(_optioned(CACHED, (MASK, SMALL_TEMPERATURE, CONVERTED), 1.25)),
            compared=False,
        ),
        Regime(
            "tiny-results",
            "very negative scores and subnormal results, against ordinary rows",
            tuple(_optioned(((32, 1000), (1, 128256), (1024, 1000)), (WIDE, HIDDEN), 1.1)),
            compared=False,
        ),
        Regime("numba", "the Numba backend", tuple(_numba()), compared=False),
        Regime("numpy", "the NumPy backend", tuple(_numpy()), compared=False),
        Regime("avx2", "the AVX2 variant", tuple(_avx2()), compared=False),
        Regime(
            "portable",
            "the portable variant",
            tuple(_lines(SOFTMAX, faster("SciPy", 1.0), contestant="cpp:portable")),
            compared=False,
        ),
        Regime(
            "busy-neighbour",
            "two threads beside a busy process: nine calls of ten, against the quiet median",
            tuple(_busy_neighbour()),
            compared=False,
        ),
    )
}
"""By the names that the command takes."""


def lines(names: Iterable[str] = REGIMES) -> list[Line]:
    """All lines of the regimes."""
    return [line for name in names for line in REGIMES[name].lines]
