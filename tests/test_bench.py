"""The benchmark: nothing wrong is timed, everybody gets turns, the numbers add up."""

import json
import signal
import time
from contextlib import suppress

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _machine
from fastsoftmax._truth import Bound
from fastsoftmax.backends._numpy import NumpyBackend
from fastsoftmax.bench import (
    cells,
    command,
    inputs,
    kinds,
    limits,
    rates,
    results,
    runner,
    workload,
)
from fastsoftmax.bench import document as documents
from fastsoftmax.bench.cases import KNOWN, OPERATIONS, Case
from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.inputs import Cold
from fastsoftmax.bench.kinds import Kind
from fastsoftmax.bench.limits import Limit, Probe
from fastsoftmax.bench.peers import PEERS, Peer
from fastsoftmax.bench.sampled import TASKS
from fastsoftmax.bench.workload import Workload
from fastsoftmax.cli import main

QUICK = ("bench", "--seconds", "0", "--threads", "1")
SMALL = (*QUICK, "--classes", "5,10", "--backend", "numpy")
TINY = Case(OPERATIONS["softmax"], "float32", (6, 10))


@pytest.fixture
def fakes(monkeypatch):
    """In place of the other libraries; nobody takes longer than necessary."""
    monkeypatch.setattr(runner, "WARM_UP", 0.0)
    monkeypatch.setattr(rates, "measure", lambda threads: rates.NONE)
    for name in list(PEERS):
        monkeypatch.delitem(PEERS, name)

    def add(*found):
        for peer in found:
            monkeypatch.setitem(PEERS, peer.name, peer)

    return add


class Fake(Peer):
    """Right by default, which is what one of these is not."""

    operations = ("softmax",)
    dtypes = ("float32",)

    def __init__(self, name, factor=1.0, modules=()):
        self.name, self.factor, self.modules = name, np.float32(factor), modules
        self.distribution = "numpy"
        self.bound = []

    def library(self):
        return None

    def bind(self, work):
        self.bound.append(work)
        return Trial(lambda: fs.softmax(work.x) * self.factor)


def document(file):
    """What is in the file, after a look whether it fits the schema."""
    found = json.loads(file.read_text())
    results.check(found)
    return found


@pytest.mark.parametrize(
    ("operation", "dtype", "expected"),
    [
        ("softmax", "float32", 8 * 60),
        ("log_softmax", "float64", 16 * 60),
        ("logsumexp", "float32", 4 * 60 + 4 * 6),
        ("softmax", "bfloat16", 4 * 60),
        ("cross_entropy", "float32", 4 * 60 + 8 * 6 + 4),
        ("cross_entropy+grad", "float32", 8 * 60 + 8 * 6 + 4),
        ("cross_entropy+grad", "float64", 16 * 60 + 8 * 6 + 8),
        ("binary_cross_entropy+grad", "float32", 12 * 60 + 4),
        ("sigmoid", "float32", 8 * 60),
    ],
)
def test_bytes_are_one_read_and_one_write(operation, dtype, expected):
    assert Case(KNOWN[operation], dtype, (6, 10)).bytes_moved == expected


def test_logits_repeat_the_rows_of_a_block(monkeypatch):
    monkeypatch.setattr(workload, "BLOCK", 40)
    x = Workload(Case(OPERATIONS["softmax"], "float32", (10, 10))).x
    np.testing.assert_array_equal(x[4:], np.concatenate([x[:4], x[:2]]))
    assert len(np.unique(x)) == 40


def test_a_wrong_row_beyond_the_first_block_is_found(monkeypatch):
    monkeypatch.setattr(workload, "BLOCK", 40)
    work = Workload(Case(OPERATIONS["softmax"], "float64", (10, 10)))
    out = fs.softmax(work.x)
    assert work.judge(out, Bound(20, 1)).ok
    out[9, 3] *= 1 + 1e-13
    worst = work.judge(out, Bound(20, 1))
    assert not worst.ok
    assert worst.place == (9, 3)
    assert worst.largest == worst.ulp


def test_a_mean_over_repeated_rows_counts_each_as_often_as_it_is_there(monkeypatch):
    monkeypatch.setattr(workload, "BLOCK", 40)
    work = Workload(Case(KNOWN["cross_entropy+grad"], "float64", (10, 10)))
    np.testing.assert_array_equal(work.given[4:], np.concatenate([work.given[:4], work.given[:2]]))
    loss, grad = fs.cross_entropy(work.x, work.given, return_grad=True)
    bounds = Bound(5, 1), Bound(5, 1)
    assert work.judge((np.asarray(loss), grad), *bounds).ok
    first = fs.cross_entropy(work.x[:4], work.given[:4])  # of the block alone
    assert not work.judge((np.asarray(first), grad), *bounds).ok
    grad[9, work.given[9]] *= 1 + 1e-13
    worst = work.judge((np.asarray(loss), grad), *bounds)
    assert not worst.ok
    assert worst.place == (9, work.given[9])


def test_everybody_gets_a_turn_in_every_round(monkeypatch):
    monkeypatch.setattr(runner, "WARM_UP", 0.0)
    order = []

    def contestant(name):
        def call():
            order.append(name)
            time.sleep(2 * runner.SAMPLE)

        return call

    timed = runner.take_turns([contestant(name) for name in "abc"], 1, 0.0)
    assert [len(samples) for samples, _ in timed] == [runner.ROUNDS] * 3
    assert all(count == 1 for _, count in timed)
    measured = order[-6 * runner.ROUNDS :]
    rounds = ["".join(measured[i : i + 6]) for i in range(0, len(measured), 6)]
    # Each turn is an untimed call and a sample of one.
    assert rounds == ["aabbcc", "bbccaa", "ccaabb", "aabbcc", "bbccaa"]


def test_short_calls_are_repeated_until_a_sample_is_long_enough():
    ((samples, count),) = runner.take_turns([lambda: None], 1, 0.01)
    assert count > 100
    assert max(samples) * count >= runner.SAMPLE / 2


def test_the_largest_error_is_that_of_all_results():
    work = Workload(Case(KNOWN["cross_entropy+grad"], "float64", (6, 10)))
    loss, grad = fs.cross_entropy(work.x, work.given, return_grad=True)
    grad[3, 2] *= 1 + 1e-13  # some hundred ULP, of many more that are allowed
    worst = work.judge((np.asarray(loss), grad), Bound(1e-2, 0), Bound(1e9, 0))
    assert worst.largest > 100
    assert worst.allowed_there == pytest.approx(1e9, rel=1e-6)


def test_a_copy_is_on_other_memory():
    work = Workload(Case(KNOWN["cross_entropy+grad"], "float32", (6, 10)))
    other = work.copy()
    for name in ("x", "out", "given"):
        assert not np.shares_memory(getattr(work, name), getattr(other, name))
    np.testing.assert_array_equal(work.x, other.x)
    np.testing.assert_array_equal(work.given, other.given)
    assert other.expected is work.expected


# Disturbances -------------------------------------------------------------------------------------

CALM, NOISY = [1.0, 1.0, 1.1, 1.1, 1.1], [1.0, 1.0, 1.2, 1.2, 1.2]
NOISIER = [1.0, 1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("series", "kept", "repeats", "disturbed"),
    [
        ([CALM], CALM, 0, False),
        ([NOISY, CALM], CALM, 1, False),
        ([NOISIER, NOISY, CALM], CALM, 2, False),
        ([NOISIER, NOISY, NOISIER], NOISY, 2, True),
    ],
)
def test_the_disturbed_are_measured_again_at_most_twice(
    series, kept, repeats, disturbed, monkeypatch
):
    asked = []

    def in_turns(turns, seconds):
        asked.append((len(turns), seconds))
        return [*([CALM] * (len(turns) - 1)), series[len(asked) - 1]]

    monkeypatch.setattr(runner, "in_turns", in_turns)
    monkeypatch.setattr(limits, "missing", lambda: "not asked")
    calm, found = cells.measure(TINY, ["numpy", "numpy"], 3.0).measurements
    assert (calm.samples, calm.repeats, calm.disturbed) == (CALM, 0, False)
    assert (found.samples, found.repeats, found.disturbed) == (kept, repeats, disturbed)
    # Only who was disturbed, in that one's share of the time.
    assert asked == [(2, 3.0), *([(1, 1.5)] * repeats)]


def test_a_disturbed_limit_is_measured_again_like_the_others(monkeypatch):
    taken = [[CALM, NOISY], [CALM]]
    monkeypatch.setattr(runner, "in_turns", lambda turns, seconds: taken.pop(0))
    monkeypatch.setattr(limits, "probes", lambda work: [Probe("read", lambda: None, 1.0)])
    monkeypatch.setattr(kinds, "_KINDS", {Case: Kind(kinds.contestant, Workload, limits.probes)})
    found = cells.measure(TINY, ["numpy"], 1.0)
    assert not taken
    assert found.limit == Limit(float(np.median(CALM)), "read")


def test_the_disturbed_are_shown_with_a_mark(fakes, monkeypatch, tmp_path, capsys):
    def in_turns(turns, seconds):
        return [NOISY for _ in turns]

    monkeypatch.setattr(runner, "in_turns", in_turns)
    file = tmp_path / "result.json"
    assert main([*QUICK, "--shape", "2x10", "--backend", "numpy", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "1.20 s  *" in shown
    assert "* disturbed: the third quartile is above 1.15 of the first" in shown
    (found,) = document(file)["results"]
    assert found["disturbed"] is True
    assert found["repeats"] == cells.REPEATS


# Hot and cold -------------------------------------------------------------------------------------


def test_a_cold_lap_begins_with_the_filler_and_takes_each_copy_once(monkeypatch):
    monkeypatch.setattr(inputs, "last_level", lambda: 1 << 10)
    monkeypatch.setattr(runner, "WARM_UP", 0.0)
    order = []

    class Filler:
        def sum(self):
            order.append("filler")

    cold = Cold()
    cold.filler = Filler()
    calls = [lambda name=name: order.append(name) for name in "abcd"]
    turn = cold.turn(calls, 2, 1)
    turn.begin()
    assert 0 <= turn.sample() < 1
    assert order == ["filler", *"abcd"] * 2  # of which b, c and d are timed


def test_copies_and_filler_exceed_the_last_level_cache():
    cold = Cold()
    assert cold.filler.nbytes >= 2 * inputs.last_level()
    assert cold.filler[:: 1 << 12].all()  # memory of its own, not a page of zeros
    sizes = [(1, 10), (1024, 1000), (64, 1_000_000)]
    found = [cold.copies(TINY._replace(shape=shape)) for shape in sizes]
    assert found[0] == inputs.COPIES
    assert found == sorted(found, reverse=True)
    assert found[-1] >= 1


def test_every_copy_is_called_in_a_cold_case(fakes, monkeypatch, tmp_path):
    monkeypatch.setattr(inputs, "last_level", lambda: 1 << 10)
    peer = Fake("other")
    fakes(peer)
    file = tmp_path / "result.json"
    wanted = ("--shape", "2x10", "--backend", "numpy", "--peers", "other", "--inputs", "cold")
    assert main([*QUICK, *wanted, "--json", str(file)]) == 0
    assert len({id(work.x) for work in peer.bound}) == len(peer.bound) == 1 + 2048 // 160 + 1
    found = document(file)
    assert found["method"]["inputs"] == "cold"
    for result in found["results"]:
        assert result["inputs"] == "cold"
        assert result["calls_per_sample"] % (2048 // 160 + 1) == 0


# Limits -------------------------------------------------------------------------------------------


def test_a_limit_is_that_of_its_probes():
    beside = [Probe("copy", int, 2.0), Probe("NT copy", int, 1.0), Probe("exp", int, 4.0)]
    samples = [[6.0, 2.0, 4.0], [9.0, 9.0, 9.0], [4.0, 4.0, 4.0]]
    assert limits.limit_of(beside, samples) == Limit(2.0, "copy")
    assert limits.limit_of([], []) is None


@pytest.mark.parametrize("name", ["softmax", "logsumexp"])
def test_the_limit_of_a_cold_case_is_on_other_memory(name, monkeypatch):
    if (why := limits.missing()) is not None:
        pytest.skip(why)
    case = Case(OPERATIONS[name], "float32", (100, 10))
    elsewhere = np.ones(1 << 18)
    moving, *_ = limits.probes(Workload(case), elsewhere)
    assert moving.share == pytest.approx(elsewhere.nbytes / case.bytes_moved)
    arrays = [a for a in moving.call.args if isinstance(a, np.ndarray)]
    assert sum(array.nbytes for array in arrays) == elsewhere.nbytes
    assert all(np.shares_memory(array, elsewhere) for array in arrays)


@pytest.mark.parametrize("threads", [1, 2])
def test_rates_of_this_machine(threads, monkeypatch):
    if (why := limits.missing()) is not None:
        pytest.skip(why)
    monkeypatch.setattr(rates, "last_level", lambda: 1 << 17)
    monkeypatch.setattr(runner, "WARM_UP", 0.0)
    found = rates.measure(threads)
    sizes = [1 << 14, 1 << 16, 1 << 18]
    for moved in (found.copy, found.nt_copy, found.read):
        assert list(moved) == sizes
        assert all(rate > 0 for rate in moved.values())
    assert set(found.exp) == {"float32", "float64"}
    assert found.empty_call > 0
    assert threads > 1 or found.fork_join is None


def test_without_the_core_there_are_no_limits(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(limits, "missing", lambda: "not built")
    file = tmp_path / "result.json"
    assert main([*SMALL, "--batch", "1", "--json", str(file)]) == 0
    assert "no limits: not built" in capsys.readouterr().out
    found = document(file)
    assert found["limits"]["read"] == []
    assert [result["limit"] for result in found["results"]] == [None, None]


# The machine --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            ["1 Data 48K", "1 Instruction 32K", "2 Unified 2048K", "3 Unified 36M"],
            [48, 2048, 36864],
        ),
        (["1 Data 32K", "2 Unified many"], [32]),
        (["1 Data", "2 Unified 512K"], []),
        ([], []),
    ],
)
def test_caches_are_read_as_far_as_they_make_sense(found, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(_machine.os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    for i, words in enumerate(found):
        folder = tmp_path / "cpu3" / "cache" / f"index{i}"
        folder.mkdir(parents=True)
        for name, word in zip(("level", "type", "size"), words.split(), strict=False):
            (folder / name).write_text(f"{word}\n")
    sizes = dict(zip(("L1d", "L2", "L3"), (1024 * size for size in expected), strict=False))
    assert _machine.caches(str(tmp_path)) == sizes


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        (None, None),
        ("no JSON", None),
        ('{"url": "https://x.org/f.whl", "archive_info": {}}', None),
        ('{"url": "https://x.org/f.git", "vcs_info": {"commit_id": "abc"}}', "abc"),
        ('{"url": "file:///no/such/folder", "dir_info": {}}', None),
    ],
)
def test_the_commit_is_what_pip_has_noted(noted, expected, monkeypatch):
    class Installed:
        def read_text(self, name):
            assert name == "direct_url.json"
            return noted

    monkeypatch.setattr(documents, "distribution", lambda name: Installed())
    assert documents._commit() == expected


# The command --------------------------------------------------------------------------------------


def test_the_result_as_json(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(runner, "WARM_UP", 1e-3)
    file = tmp_path / "result.json"
    sizes = ("--op", "all", "--batch", "1,3", "--dtype", "float32,float64")
    assert main([*SMALL, *sizes, "--json", str(file), "--label", "a try"]) == 0
    found = document(file)
    assert found["complete"] is True
    assert found["label"] == "a try"
    assert {name: found["machine"][name] for name in fs.info()} == fs.info()
    assert found["contestants"] == [
        {"name": "numpy", "kind": "own", "version": fs.__version__, "missing": None}
    ]
    sampled = [one for one in found["results"] if one["sampled"] is not None]
    assert {one["operation"] for one in sampled} == set(TASKS)
    found["results"] = [one for one in found["results"] if one["sampled"] is None]
    assert len(found["results"]) == len(KNOWN) * 2 * 2 * 2
    assert {
        (one["operation"], one["dtype"], one["batch"], one["classes"]) for one in found["results"]
    } == {
        (operation, dtype, batch, classes)
        for operation in KNOWN
        for dtype in ("float32", "float64")
        for batch in (1, 3)
        for classes in (5, 10)
    }
    for one in found["results"]:
        case = Case(KNOWN[one["operation"]], one["dtype"], tuple(one["shape"]))
        assert one["bytes"] == case.bytes_moved
        assert one["elements"] == one["batch"] * one["classes"]
        assert one["samples"] >= runner.ROUNDS
        assert one["ulp"]["worst"] <= one["ulp"]["allowed"]
        if limits.missing() is None:
            assert one["limit"]["binds"] in ("memory", "exp", "call")


def test_peers_take_turns_with_us_and_what_keeps_them_away_is_said(fakes, tmp_path, capsys):
    fakes(
        Fake("Good one"),
        Fake("wrong", factor=1.01),
        Fake("absent", modules=("no_such_library",)),
        Fake("unasked"),
    )
    file = tmp_path / "result.json"
    wanted = ("--peers", "goodone,wrong,absent", "--op", "softmax,logsumexp")
    sizes = ("--shape", "2x10,2x10", "--backend", "numpy")
    assert main([*QUICK, *wanted, *sizes, "--json", str(file)]) == 0
    found = document(file)
    assert [(one["operation"], one["contestant"], one["kind"]) for one in found["results"]] == [
        ("softmax", "numpy", "own"),
        ("softmax", "Good one", "peer"),
        ("logsumexp", "numpy", "own"),
    ]
    who = {one["name"]: one["missing"] for one in found["contestants"]}
    assert who == {"numpy": None, "Good one": None, "wrong": None, "absent": "not installed"}
    said = "\n".join(found["notes"])
    assert "Good one is absent from 1 of 2 cases: has no logsumexp (1)" in said
    assert "ULP where" in said
    shown = capsys.readouterr().out
    assert "missing: absent (not installed)" in shown
    assert "ULP where" in shown


class Odd(Exception):
    """None of Python's own, as TensorFlow's are."""


@pytest.mark.parametrize(
    ("error", "said"), [(Odd("too odd\nby far"), "too odd"), (MemoryError(), "MemoryError")]
)
def test_whatever_a_peer_raises_it_is_absent(error, said, fakes, tmp_path, capsys):
    class Raising(Fake):
        def bind(self, work):
            raise error

    fakes(Raising("raising"))
    file = tmp_path / "result.json"
    sizes = ("--shape", "2x10", "--backend", "numpy", "--peers", "raising")
    assert main([*QUICK, *sizes, "--json", str(file)]) == 0
    found = document(file)
    assert [one["contestant"] for one in found["results"]] == ["numpy"]
    assert f"raising is absent from 1 of 1 cases: {said} (1)" in found["notes"]


def test_instruction_sets_and_backends_add_up(tmp_path, capsys):
    isas = fs.info()["isa"]["found"]
    if not isas:
        pytest.skip("no C++ core")
    file = tmp_path / "result.json"
    for chosen, expected in (
        (("--isa", isas[-1]), [f"cpp:{isas[-1]}"]),
        (("--isa", isas[-1], "--backend", "numpy"), ["numpy", f"cpp:{isas[-1]}"]),
        (("--isa", isas[0], "--backend", "cpp"), [f"cpp:{isas[0]}"]),
    ):
        assert main([*QUICK, "--shape", "1x2", *chosen, "--json", str(file)]) == 0
        assert [one["contestant"] for one in document(file)["results"]] == expected


def test_the_table_has_a_line_for_every_backend(capsys):
    arguments = ("--seconds", "0", "--batch", "2", "--classes", "10", "--threads", "1")
    assert main(["bench", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "Gelem/s" in shown
    assert "GB/s" in shown
    for name in fs.backends():
        assert sum(name in line.split() for line in shown.splitlines()) == 1


def test_a_backend_named_by_its_family_is_shown_by_its_variant(capsys):
    arguments = ("--seconds", "0", "--batch", "2", "--classes", "10", "--threads", "1")
    assert main(["bench", "--backend", "auto", *arguments]) == 0
    assert fs.backends()[0] in capsys.readouterr().out.split()


def test_a_wrong_result_is_not_timed(no_shortcuts, monkeypatch, tmp_path, capsys):
    whole = NumpyBackend.softmax

    def wrong(self, call):
        whole(self, call)
        if call.x.shape == (3, 10):
            call.out[2, 7] *= np.float32(1 + 1e-4)

    monkeypatch.setattr(NumpyBackend, "softmax", wrong)
    file = tmp_path / "result.json"
    assert main([*SMALL, "--batch", "1,3", "--json", str(file)]) == 1
    captured = capsys.readouterr()
    assert "wrong result: numpy, softmax float32 3 x 10, 1 thread" in captured.err
    assert "row 2, class 7" in captured.err
    assert "Gelem/s" in captured.out  # of the cases before
    found = document(file)
    assert found["complete"] is False
    assert [tuple(result["shape"]) for result in found["results"]] == [
        (1, 5),
        (1, 10),
        (3, 5),
    ]


def test_a_result_that_is_not_written_is_wrong(no_shortcuts, monkeypatch, capsys):
    monkeypatch.setattr(NumpyBackend, "softmax", lambda self, call: None)
    assert main([*SMALL, "--batch", "1"]) == 1
    assert "wrong result" in capsys.readouterr().err


def test_ctrl_c_prints_what_is_done(monkeypatch, capsys):
    measure = command.measure

    def interrupted(case, *how):
        if case.classes == 10:
            raise KeyboardInterrupt
        return measure(case, *how)

    monkeypatch.setattr(command, "measure", interrupted)
    assert main([*SMALL, "--batch", "1"]) == 130
    captured = capsys.readouterr()
    assert "interrupted after 1 of 2 cases" in captured.err
    assert "numpy" in captured.out


@pytest.fixture
def ctrl_c():
    """Python's own handler: a process that was started in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_a_swallowed_ctrl_c_is_heeded_after_the_case(ctrl_c, monkeypatch, tmp_path, capsys):
    measure = command.measure

    def swallowing(case, *how):
        if case.classes == 10:
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        return measure(case, *how)

    monkeypatch.setattr(command, "measure", swallowing)
    file = tmp_path / "result.json"
    assert main([*SMALL, "--batch", "1,2", "--json", str(file)]) == 130
    assert "interrupted after 2 of 4 cases" in capsys.readouterr().err
    assert [one["classes"] for one in document(file)["results"]] == [5, 10]
    assert signal.getsignal(signal.SIGINT) is ctrl_c


def test_an_ignored_ctrl_c_stays_ignored(monkeypatch, capsys):
    measure = command.measure

    def interrupted(*how):
        signal.raise_signal(signal.SIGINT)
        return measure(*how)

    monkeypatch.setattr(command, "measure", interrupted)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main([*SMALL, "--batch", "1"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_too_large_a_case_is_one_line(capsys):
    sizes = ("--batch", "100000000", "--classes", "100000000")
    assert main(["bench", "--backend", "numpy", "--threads", "1", *sizes]) == 1
    assert "Traceback" not in capsys.readouterr().err
