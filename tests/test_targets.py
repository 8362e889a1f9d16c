"""The regimes, the peers and limits beside them, and what counts as reached. No time is judged."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax._registry import reasons
from fastsoftmax._truth import available
from fastsoftmax.backends import _cpp
from fastsoftmax.backends._numpy import NumpyBackend
from fastsoftmax.bench import command, limits, regimes, runner, targets, verdicts
from fastsoftmax.bench.cases import KNOWN, LOSSES, OPERATIONS, Case
from fastsoftmax.bench.contestants import Backend, Core, Public, Trial
from fastsoftmax.bench.limits import Limit
from fastsoftmax.bench.peers import PEERS, Peer
from fastsoftmax.bench.regimes import FASTEST, LIMIT, PUBLIC, REGIMES, Line, Regime, faster, within
from fastsoftmax.bench.targets import Entry, Group, Time
from fastsoftmax.bench.workload import ALIGNMENT, Workload
from fastsoftmax.cli import main

ROOT = Path(__file__).parents[1]
SMALL = Case(OPERATIONS["softmax"], "float32", (6, 10))
LABELLED = SMALL._replace(operation=LOSSES["cross_entropy"])
OPTIONS = [
    regimes.MASK,
    regimes.SMALL_TEMPERATURE,
    regimes.CONVERTED,
    regimes.ALLOCATED,
    regimes.WIDE,
    regimes.HIDDEN,
]


@pytest.fixture
def core():
    if (why := limits.missing()) is not None:
        pytest.skip(why)


# The table ----------------------------------------------------------------------------------------

LINES = regimes.lines()


def test_the_table_asks_for_something_in_every_regime():
    for regime in REGIMES.values():
        assert any(line.targets for line in regime.lines), regime.name
        assert len({(line.contestant, line.case) for line in regime.lines}) == len(regime.lines)


def test_rivals_are_known():
    own = {PUBLIC, regimes.CORE, *reasons()}
    for line in LINES:
        assert line.contestant in own
        for target in line.targets:
            assert (target.factor is None) != (target.within is None)
            if isinstance(target.rival, str):
                assert target.rival in {FASTEST, LIMIT, *PEERS, *own}


def test_every_line_is_measured_with_its_rivals():
    plan = targets.plan(list(REGIMES.values()))
    for line in LINES:
        entries = plan[line.group]
        assert entries[Entry(line.contestant, line.case)]
        for target in line.targets:
            if target.rival == FASTEST:
                assert {Entry(name, line.group) for name in PEERS} <= set(entries)
            elif target.rival in PEERS:
                assert entries[Entry(target.rival, line.group)]
            elif target.rival is not None and not isinstance(target.rival, str):
                assert entries[Entry(line.contestant, target.rival)]


@pytest.mark.parametrize(
    ("regime", "shape", "targets"),
    [
        ("row-in-cache", (128, 1000), {(FASTEST, 1.2), ("torch", 2.2)}),
        ("beyond-l2", (1024, 1000), {(LIMIT, 0.85)}),
        ("few-classes", (1024, 10), {(FASTEST, 3.5)}),
        ("few-classes", (100_000, 10), {(FASTEST, 3.5), (LIMIT, 0.7)}),
        ("logsumexp", (1, 128256), {(FASTEST, 3.0)}),
        ("logsumexp", (64, 32000), {(FASTEST, 3.0), (LIMIT, 0.8)}),
    ],
)
def test_targets_depend_on_the_size(regime, shape, targets):
    found = [line for line in REGIMES[regime].lines if line.case.shape == shape]
    assert {(t.rival, t.factor) for line in found for t in line.targets} == targets


def test_what_is_asked_of_a_cross_entropy():
    asked = {}
    for line in REGIMES["cross-entropy"].lines:
        assert line.contestant == PUBLIC
        kind = line.case.operation.name, line.case.option.name
        found = {(target.rival, target.factor, target.within) for target in line.targets}
        asked.setdefault(kind, {})[line.case.shape] = found
    beyond = {(FASTEST, 3.0, None), (LIMIT, 0.75, None)}
    shapes = ((64, 32000), (32, 128256), (4096, 1000))
    assert asked.pop(("cross_entropy+grad", "plain")) == {
        (128, 1000): {(FASTEST, 2.5, None)},
        **dict.fromkeys(shapes, beyond),
    }
    for shape, ((rival, _, most),) in asked.pop(("cross_entropy+grad", "in place")).items():
        assert rival == Case(LOSSES["cross_entropy+grad"], "float32", shape, option=regimes.FLAT)
        assert most == 1.0
    read = frozenset({(LIMIT, 0.8, None)})
    assert asked == {("cross_entropy", "plain"): dict.fromkeys(((1024, 1000), *shapes), read)}


# Workloads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_any_axis_is_judged_by_its_rows(name, axis, core):
    case = Case(OPERATIONS[name], "float32", (3, 4, 5), axis=axis)
    work = Workload(case)
    for contestant in (Public(), Core(), Backend("numpy")):
        trial, worst = runner.admit(contestant, work)
        assert worst.ok
        result = trial.result(trial.call())
        assert result.shape == case.result_shape
        np.testing.assert_allclose(result, getattr(fs, name)(work.x, axis), rtol=1e-5)


def offered():
    """Every loss with every backend that has it."""
    for operation in LOSSES.values():
        for backend in fs.backends():
            yield pytest.param(operation, backend, id=f"{operation.name}-{backend}")


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("operation", "backend"), list(offered()))
def test_losses_are_judged_by_what_their_backend_promises(operation, backend, dtype, axis):
    case = Case(operation, dtype, (70, 50), axis=axis)
    work = Workload(case)
    for contestant in (Public(), Backend(backend)):
        assert contestant.against(case) is None
        trial, worst = runner.admit(contestant, work)
        assert worst.ok
        results = _as_tuple(trial.result(trial.call()))
        assert tuple(result.shape for result in results) == case.result_shapes
        if case.result_shape:
            assert np.shares_memory(results[-1], work.out)
        for result, bound in zip(results, contestant.bounds(case), strict=True):
            assert 1 < bound.fixed < 10, result
        # The mean's digits count, the gradient's, and at which class 1 is taken off.
        for place, wrong in enumerate(results):
            others = list(results)
            others[place] = wrong * wrong.dtype.type(1 + 1e-4)
            assert not work.judge(tuple(others), *contestant.bounds(case)).ok


def test_a_gradient_for_other_labels_is_wrong():
    work = Workload(Case(LOSSES["cross_entropy+grad"], "float32", (70, 50)))
    labels = work.given.copy()
    labels[40] += 1 if labels[40] < 49 else -1
    loss, _ = fs.cross_entropy(work.x, work.given, return_grad=True)
    _, grad = fs.cross_entropy(work.x, labels, return_grad=True)
    worst = work.judge((np.asarray(loss), grad), *Public().bounds(work.case))
    assert not worst.ok
    assert worst.place[0] == 40


@pytest.mark.parametrize("name", ["cross_entropy+grad", "binary_cross_entropy+grad"])
def test_in_place_goes_on_from_gradient_to_gradient(name):
    case = Case(LOSSES[name], "float32", (30, 100), option=regimes.IN_PLACE)
    work = Workload(case)
    kept = work.x.copy()
    trial, worst = runner.admit(Public(), work)
    assert worst.ok
    for _ in range(20):
        _, grad = trial.call()
    assert grad is trial.call.args[0] is trial.call.keywords["grad_out"]
    assert grad.ctypes.data % ALIGNMENT == 0
    assert (np.isfinite(grad) & (np.abs(grad) <= 1 / case.averaged) & (grad != 0)).all()
    np.testing.assert_array_equal(work.x, kept)
    assert np.isnan(work.out).all()  # not touched


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_options_are_asked_for_and_judged(name, option):
    work = Workload(Case(OPERATIONS[name], "float32", (5, 300), option=option))
    trial, worst = runner.admit(Public(), work)
    assert worst.ok
    asked = trial.call.keywords
    assert ("out" in asked) != option.allocated
    assert ("where" in asked) == option.masked
    assert asked.get("temperature", 1.0) == option.temperature
    assert ("dtype" in asked) == (option.source is not None)


def test_hidden_classes_are_at_the_lowest_number_and_wide_rows_underflow():
    hidden = Workload(SMALL._replace(shape=(5, 300), option=regimes.HIDDEN))
    assert 0.3 < np.mean(hidden.x == np.finfo(np.float32).min) < 0.7
    wide = Workload(SMALL._replace(shape=(5, 300), option=regimes.WIDE))
    assert (fs.softmax(wide.x) == 0).any()


def test_threads_are_named_only_where_they_differ(monkeypatch):
    given = []
    monkeypatch.setattr(fs, "softmax", lambda *_, **options: given.append(options))
    with fs.threads(1):
        for case in (SMALL, SMALL._replace(threads=2)):
            Public().bind(Workload(case)).call()
    assert [options.get("threads") for options in given] == [None, 2]


@pytest.mark.parametrize("dtype", available())
def test_arrays_begin_on_a_cache_line(dtype):
    work = Workload(Case(OPERATIONS["logsumexp"], dtype, (3, 7)))
    assert work.x.ctypes.data % ALIGNMENT == work.out.ctypes.data % ALIGNMENT == 0
    assert work.x.dtype.name == work.out.dtype.name == dtype


def test_a_result_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"the result is float32 of shape \(10, 6\)"):
        Workload(SMALL).judge(np.zeros((10, 6), np.float32), *Public().bounds(SMALL))


# Limits -------------------------------------------------------------------------------------------


def cores():
    return [name for name, why in _cpp.variants().items() if why is None]


@pytest.mark.parametrize("variant", cores())
@pytest.mark.parametrize("non_temporal", [False, True])
@pytest.mark.parametrize("start", [0, 1, 5])
@pytest.mark.parametrize("n", [0, 1, 63, 64, 1000])
def test_the_copying_probe_copies_that_much_and_no_more(variant, non_temporal, start, n, rng):
    x = rng.normal(size=n + 8).astype(np.float32)
    y = np.zeros(n + 24, np.float32)
    to = y[start : start + n]
    _cpp.load(variant).copy(x[:n], to, non_temporal, 2)
    np.testing.assert_array_equal(to, x[:n])
    assert not y[:start].any()
    assert not y[start + n :].any()


@pytest.mark.parametrize("variant", cores())
@pytest.mark.parametrize("n", [0, 1, 255, 1000])
def test_the_reading_probe_reads_all(variant, n, rng):
    x = rng.integers(-99, 99, n).astype(np.float32)  # whose sums are exact in any order
    assert _cpp.load(variant).read(x, 3) == 3 * x.sum(dtype=np.float64)


@pytest.mark.parametrize("variant", cores())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_exponential_probe_takes_them(variant, dtype):
    # Two vectors in turn hold -1 and -2; the common factor is a matter of the kernels.
    few, many = (_cpp.load(variant).exponentials(dtype, n) for n in (64, 640))
    assert 0 < few < math.inf
    assert many == pytest.approx(10 * few, rel=1e-5)


def test_probes_refuse_arrays_that_do_not_fit(core):
    x = np.zeros((4, 6), np.float32)
    backend = _cpp.load(None)
    with pytest.raises(ValueError, match="y: another size"):
        backend.copy(x, x[:3].copy(), False, 1)
    with pytest.raises(ValueError, match="x: not contiguous"):
        backend.read(x[:, ::2], 1)
    x.flags.writeable = False
    with pytest.raises(ValueError, match="y: read-only"):
        backend.copy(x.copy(), x, True, 1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("softmax", (30, 1000), {"copy", "NT copy", "exp"}),
        ("log_softmax", (10,), {"copy", "NT copy", "exp", "call"}),
        ("logsumexp", (30, 1000), {"read", "exp"}),
        ("cross_entropy", (30, 1000), {"read", "exp"}),
        ("cross_entropy+grad", (30, 1000), {"copy", "NT copy", "exp"}),
        ("binary_cross_entropy+grad", (30, 1000), {"copy", "NT copy", "exp"}),
    ],
)
def test_probes_of_a_case(name, shape, expected, threads, core, monkeypatch):
    monkeypatch.setattr(limits, "LONGER", 2)
    work = Workload(Case(KNOWN[name], "float32", shape, threads))
    taken = {}
    for probe in limits.probes(work):
        begin = time.perf_counter()
        probe.call()
        taken[probe.name] = (time.perf_counter() - begin) / probe.share
    assert set(taken) == expected
    assert all(seconds > 0 for seconds in taken.values())
    if work.out.shape == work.x.shape:
        np.testing.assert_array_equal(work.out, work.x)
    assert limits.limit(taken).seconds <= max(taken.values())


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ({"copy": 3.0, "NT copy": 2.0, "exp": 1.0}, Limit(2.0, "NT copy")),
        ({"copy": 3.0, "NT copy": 9.0, "exp": 1.0}, Limit(3.0, "copy")),
        ({"copy": 3.0, "NT copy": 9.0, "exp": 4.0}, Limit(4.0, "exp")),
        ({"read": 2.0, "exp": 1.0, "call": 5.0}, Limit(5.0, "call")),
    ],
)
def test_a_limit_is_the_longest_of_what_must_be_done(taken, expected):
    assert limits.limit(taken) == expected


# Peers --------------------------------------------------------------------------------------------


def _as_tuple(results, copied=False):
    found = results if isinstance(results, tuple) else (results,)
    return tuple(result.copy() if copied else result for result in found)


def offers():
    """Every peer in everything that it says it has."""
    for peer in PEERS.values():
        for name in peer.operations:
            for dtype in set(available()) & set(peer.dtypes):
                plain = Case(KNOWN[name], dtype, (9, 4, 40) if name in OPERATIONS else (36, 40))
                for axis in (0, 1, -1) if peer.any_axis and name in OPERATIONS else (-1,):
                    case = plain._replace(axis=axis)
                    yield pytest.param(peer, case, id=f"{peer.name}: {case}")


@pytest.mark.parametrize(("peer", "case"), list(offers()))
@pytest.mark.filterwarnings("default")  # theirs
def test_peers_compute_what_they_are_compared_in(peer, case):
    if (why := peer.against(case)) is not None:
        pytest.skip(f"{peer.name}: {why}")
    work = Workload(case)
    trial, worst = runner.admit(peer, work)
    assert worst.ok
    first = _as_tuple(trial.result(trial.call()), copied=True)
    for again, before in zip(_as_tuple(trial.result(trial.call())), first, strict=True):
        np.testing.assert_array_equal(again, before)


@pytest.mark.parametrize("threads", [1, 2])
def test_numexpr_has_the_threads_of_the_case(threads):
    numexpr = pytest.importorskip("numexpr", reason="numexpr is not installed")
    case = Case(OPERATIONS["softmax"], "float32", (6, 10), threads)
    assert PEERS["numexpr"].against(case) is None
    PEERS["numexpr"].bind(Workload(case))
    assert numexpr.get_num_threads() == threads


class Fake(Peer):
    """A peer that is right, slow or wrong as told."""

    distribution = "numpy"
    modules = ("numpy",)

    def __init__(self, name, *, seconds=0.0, factor=1.0, **table):
        self.name, self.seconds, self.factor = name, seconds, factor
        self.__dict__ |= table

    def library(self):
        return np

    def bind(self, work):
        def call():
            if self.seconds:  # a sleep of 0 can take longer than five of these calls
                time.sleep(self.seconds)
            fs.softmax(work.x, out=work.out, backend="numpy")
            np.multiply(work.out, self.factor, out=work.out)
            return work.out

        return Trial(call)


@pytest.mark.parametrize(
    ("table", "case", "said"),
    [
        ({}, SMALL, None),
        ({"operations": ("softmax",)}, SMALL._replace(operation=OPERATIONS["logsumexp"]), "has no"),
        ({}, SMALL._replace(dtype="float16"), "does not take float16"),
        ({}, SMALL.with_option(regimes.MASK), "is not compared in: where"),
        ({"any_axis": False}, SMALL._replace(axis=0), "takes the last axis only"),
        ({"any_axis": False}, SMALL._replace(axis=1), None),
        ({}, LABELLED, "has no cross_entropy"),
        ({"operations": KNOWN}, LABELLED, None),
        (
            {"operations": KNOWN},
            Case(LOSSES["cross_entropy"], "float32", (6, 10), axis=0),
            "labels",
        ),
        ({"operations": KNOWN}, Case(LOSSES["cross_entropy"], "float32", (2, 3, 10)), "labels"),
        ({"max_threads": 1}, SMALL._replace(threads=2), "fixed at 1"),
        ({"modules": ("no_such_library",)}, SMALL, "not installed"),
        ({"modules": ("numpy", "no_such_library")}, SMALL, "needs no_such_library"),
    ],
)
def test_a_peer_says_why_it_cannot_take_part(table, case, said):
    why = Fake("fake", **table).against(case)
    assert why == said if said is None else said in why


def test_a_library_that_does_not_load_is_missing():
    class Broken(Fake):
        def library(self):
            raise ImportError("libgomp is not there")

    assert Broken("broken").missing() == "does not import (libgomp is not there)"


def test_the_bound_of_peers_catches_a_wrong_axis_but_not_poor_rounding():
    case = Case(OPERATIONS["softmax"], "float32", (40, 40))
    work, (bound,) = Workload(case), Fake("fake").bounds(case)
    right = fs.softmax(work.x)
    assert work.judge(right * np.float32(1 + 1e-4), bound).ok
    assert not work.judge(fs.softmax(work.x, 0), bound).ok
    assert not work.judge(np.log(right), bound).ok


def test_the_bound_of_peers_catches_wrong_gradients():
    work = Workload(Case(LOSSES["cross_entropy+grad"], "float32", (40, 40)))
    bounds = Fake("fake").bounds(work.case)
    loss, grad = fs.cross_entropy(work.x, work.given, return_grad=True)
    loss = np.asarray(loss)
    p = fs.softmax(work.x)
    p[np.arange(40), work.given] -= 1  # what digits there are left
    assert work.judge((loss * np.float32(1 + 1e-4), p / 40), *bounds).ok
    assert not work.judge((loss, p), *bounds).ok
    assert not work.judge((loss * 40, grad), *bounds).ok
    assert not work.judge((loss, fs.softmax(work.x) / 40), *bounds).ok
    assert not work.judge((loss, grad * np.float32(1.01)), *bounds).ok


# Measuring and judging ----------------------------------------------------------------------------


@pytest.fixture
def fakes(monkeypatch):
    """In place of the libraries; nobody takes longer than necessary."""
    monkeypatch.setattr(runner, "WARM_UP", 0.0)
    monkeypatch.setattr(runner, "warm_up", lambda call: (1, runner._sample(call, 1)))
    for name in list(PEERS):
        monkeypatch.delitem(PEERS, name)

    def add(*found):
        for peer in found:
            monkeypatch.setitem(PEERS, peer.name, peer)

    return add


def test_peers_that_are_wrong_missing_or_slow(fakes):
    fakes(
        Fake("good"),
        Fake("wrong", factor=np.float32(1.01)),
        Fake("absent", modules=("no_such_library",)),
        Fake("slow", seconds=0.05),
        Fake("named", seconds=0.05),
    )
    line = Line(SMALL, "numpy", (faster(FASTEST, 1.0), faster("named", 1.0)))
    regime = Regime("one", "one", (line,))
    group = targets.measure(SMALL, targets.plan([regime])[SMALL], 0.0)
    assert {entry.contestant: why for entry, why in group.absent.items()} == {
        "wrong": group.absent[Entry("wrong", SMALL)],
        "absent": "not installed",
    }
    assert "ULP" in group.absent[Entry("wrong", SMALL)]
    samples = {entry.contestant: time.samples for entry, time in group.times.items()}
    assert samples == {
        "numpy": runner.ROUNDS,
        "good": runner.ROUNDS,
        "named": runner.ROUNDS,
        "slow": 1,
    }
    assert group.fastest_peer() == Entry("good", SMALL)
    assert all(0 < t.best <= t.median <= t.ninth_decile for t in group.times.values())


def test_a_wrong_result_of_ours_ends_it(no_shortcuts, fakes, monkeypatch):
    monkeypatch.setattr(NumpyBackend, "softmax", lambda self, call: call.out.fill(0.5))
    with pytest.raises(runner.WrongResult, match="numpy, softmax float32 6 x 10"):
        targets.measure(SMALL, {Entry("numpy", SMALL): True}, 0.0)


def test_a_busy_process_is_there_for_those_beside_it_only(fakes, monkeypatch):
    seen = []

    class Child:
        def __init__(self, command):
            assert "while True" in command[-1]
            seen.append("begins")

        def kill(self):
            seen.append("ends")

        def wait(self):
            pass

    rounds, one_by_one = runner.rounds, runner.one_by_one
    monkeypatch.setattr(targets.subprocess, "Popen", Child)
    monkeypatch.setattr(runner, "rounds", lambda *a: seen.append("rounds") or rounds(*a))
    monkeypatch.setattr(runner, "one_by_one", lambda *a: seen.append("calls") or one_by_one(*a))
    crowded = SMALL.with_option(regimes.CROWDED)
    entries = {Entry("numpy", crowded): True, Entry("numpy", SMALL): True}
    group = targets.measure(SMALL, entries, 0.0)
    assert seen == ["rounds", "begins", "calls", "ends"]
    assert {time.samples for time in group.times.values()} == {runner.ROUNDS}
    assert set(group.times) == set(entries)


def group_of(times, limit=None):
    """A group in which every contestant's calls took so many seconds."""
    entries = {
        entry if isinstance(entry, Entry) else Entry(entry, SMALL): Time(t, t / 2, 4 * t, 1.0, 9)
        for entry, t in times.items()
    }
    absent = {Entry(name, SMALL): "not installed" for name in PEERS if name not in times}
    return Group(SMALL, entries, absent, limit)


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        (faster(FASTEST, 2.0), "reached", "fastest peer 2.00x (>= 2.00x)"),
        (faster(FASTEST, 3.0), "not reached", "fastest peer 2.00x (>= 3.00x, best 4.00x)"),
        (faster("torch", 3.0), "reached", "torch 3.00x (>= 3.00x)"),
        (faster("JAX", 3.0), "not judged", "JAX not measured"),
        (faster(LIMIT, 0.7), "reached", "limit 75 % (>= 70 %)"),
        (faster(LIMIT, 0.8), "not reached", "limit 75 % (>= 80 %, best 150 %)"),
        (within("torch", 0.3), "not reached", "torch 0.33x (<= 0.30x, best 0.17x)"),
        (within(None, 1.5), "reached", "1.00 s (<= 1.50 s)"),
        (within(None, 0.9), "not reached", "1.00 s (<= 900 ms, best 500 ms)"),
        (
            within(SMALL.with_option(regimes.MASK), 1.5),
            "reached",
            "where 1.25x (<= 1.50x)",
        ),
    ],
)
def test_judging(target, status, said):
    masked = Entry(PUBLIC, SMALL.with_option(regimes.MASK))
    times = {PUBLIC: 1.0, "torch": 3.0, "oneDNN": 2.0, masked: 0.8}
    verdict = verdicts.judge(Line(SMALL, PUBLIC, (target,)), group_of(times, Limit(0.75, "copy")))
    assert verdict.status == status
    assert [str(ruling) for ruling in verdict.rulings] == [said]


def test_a_rival_with_an_option_goes_by_its_name():
    flat, in_place = SMALL.with_option(regimes.FLAT), SMALL.with_option(regimes.IN_PLACE)
    times = {PUBLIC: 1.0, Entry(PUBLIC, flat): 1.0, Entry(PUBLIC, in_place): 1.25}
    line = Line(in_place, PUBLIC, (within(flat, 1.0), within(SMALL, 1.3)))
    verdict = verdicts.judge(line, group_of(times))
    assert [str(one) for one in verdict.rulings] == [
        "flat rows 1.25x (<= 1.00x, best 0.62x)",
        "plain call 1.25x (<= 1.30x)",
    ]


def test_one_miss_decides_a_line_and_none_asks_nothing():
    group = group_of({PUBLIC: 1.0, "torch": 3.0})
    both = (faster("torch", 2.0), faster(FASTEST, 4.0))
    assert verdicts.judge(Line(SMALL, PUBLIC, both), group).status == "not reached"
    assert verdicts.judge(Line(SMALL, PUBLIC), group).status == "no target"
    assert verdicts.judge(Line(SMALL, "numba", both), group).status == "not judged"


def test_beside_a_busy_process_the_slow_calls_count():
    crowded = SMALL.with_option(regimes.CROWDED)
    group = group_of({PUBLIC: 1.0, Entry(PUBLIC, crowded): 0.5})
    verdict = verdicts.judge(Line(crowded, PUBLIC, (within(SMALL, 3.0),)), group)
    assert [str(ruling) for ruling in verdict.rulings] == ["quiet median 2.00x (<= 3.00x)"]


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def tiny(fakes, monkeypatch):
    """Two regimes of small cases with fakes as rivals."""
    fakes(Fake("torch"), Fake("absent", modules=("no_such_library",)))
    wide = SMALL._replace(shape=(3, 20))
    found = {
        "one": Regime("one", "some rows", (Line(SMALL, "numpy", (faster(FASTEST, 1e-9),)),)),
        "two": Regime("two", "other rows", (Line(wide, "numpy", (faster(FASTEST, 1e9),)),)),
    }
    monkeypatch.setattr(regimes, "REGIMES", found)
    monkeypatch.setattr(command, "REGIMES", found)


def test_the_table_and_the_document(tiny, tmp_path, capsys):
    file = tmp_path / "result.json"
    assert main(["targets", "--seconds", "0", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "missing: absent (not installed)" in shown
    assert "one: some rows" in shown
    assert shown.rstrip().endswith("1 of 2 lines reached (1 not reached, 1 reached)")
    found = json.loads(file.read_text())
    assert found["complete"] is True
    assert found["peers"]["absent"]["missing"] == "not installed"
    assert [(line["regime"], line["status"]) for line in found["lines"]] == [
        ("one", "reached"),
        ("two", "not reached"),
    ]
    (target,) = found["lines"][0]["targets"]
    assert target["value"] > 0
    assert {entry["contestant"] for entry in found["groups"][0]["entries"]} == {"numpy", "torch"}
    assert found["groups"][0]["bytes_moved"] == 8 * 60


def test_a_part_of_the_table(tiny, capsys):
    assert main(["targets", "--seconds", "0", "--regime", "two"]) == 0
    shown = capsys.readouterr().out
    assert "two: other rows" in shown
    assert "one: some rows" not in shown


def test_ctrl_c_prints_the_lines_that_are_done(tiny, monkeypatch, tmp_path, capsys):
    measure = targets.measure

    def interrupted(case, entries, seconds):
        if case.classes == 20:
            raise KeyboardInterrupt
        return measure(case, entries, seconds)

    monkeypatch.setattr(targets, "measure", interrupted)
    file = tmp_path / "result.json"
    assert main(["targets", "--seconds", "0", "--json", str(file)]) == 130
    captured = capsys.readouterr()
    assert "fastsoftmax targets: interrupted after 1 of 2 cases" in captured.err
    assert "one: some rows" in captured.out
    assert "two: other rows" not in captured.out
    assert json.loads(file.read_text())["complete"] is False
