"""Candidate sampling in the benchmark: what is right is let through, what is wrong is not timed."""

import json

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.bench import blas, command, regimes, runner, sampled, targets, verdicts
from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.limits import Limit
from fastsoftmax.bench.peers import PEERS, Peer
from fastsoftmax.bench.regimes import FASTEST, LIMIT, PUBLIC, REGIMES, Line, Regime, faster, within
from fastsoftmax.bench.runner import WrongResult
from fastsoftmax.bench.sampled import DRAW, MAPPED, STEP, TASKS, SampledCase, SampledWorkload, Step
from fastsoftmax.bench.sampled_contestants import BOUNDS, SampledOwn, contestant, probes
from fastsoftmax.bench.targets import Entry, Group, Time
from fastsoftmax.bench.workload import ALIGNMENT
from fastsoftmax.cli import main

SMALL = SampledCase(STEP, 5000, 200, 32, 16)
FEW = SMALL._replace(classes=300)
DRAWN = SampledCase(DRAW, 10_000, 1000)
DRAWS = [DRAWN._replace(operation=task) for task in TASKS.values() if task.draws]


@pytest.fixture(scope="module")
def work():
    return SampledWorkload(SMALL)


@pytest.fixture
def step(work):
    """What a right contestant gives, in arrays that a test may spoil."""
    trial = SampledOwn("numpy", "numpy").bind(work)
    return Step(*(np.array(part) for part in trial.result(trial.call())))


# Results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [SMALL, FEW, SMALL.with_option(MAPPED), *DRAWS], ids=str)
def test_every_backend_is_right(backend, case):
    for who in (contestant(backend), contestant(PUBLIC)):
        assert who.against(case) is None
        trial, worst = runner.admit(who, SampledWorkload(case))
        assert worst.ok
        assert worst.largest < BOUNDS[0].fixed / 4
    trial.call()


@pytest.mark.parametrize("part", ["loss", "inputs", "weight_rows", "bias_rows"])
def test_a_wrong_number_is_found(work, step, part):
    assert work.judge(step, *BOUNDS).ok
    wrong = getattr(step, part).copy()
    place = np.unravel_index(np.argmax(np.abs(wrong)), wrong.shape)
    wrong[place] *= 1 + 1e-4
    assert not work.judge(step._replace(**{part: wrong}), *BOUNDS).ok


def test_a_nan_is_found(work, step):
    step.inputs[3, 2] = np.nan
    assert not work.judge(step, *BOUNDS).ok


def test_rows_of_a_class_that_is_named_again_are_added(work, step):
    half, again = step.weight_rows / 2, step.bias_rows / 2
    twice = step._replace(
        ids=np.concatenate([step.ids, step.ids[::-1]]),
        weight_rows=np.concatenate([half, half[::-1]]),
        bias_rows=np.concatenate([again, again[::-1]]),
    )
    assert work.judge(twice, *BOUNDS).ok
    with pytest.raises(WrongResult, match="rows of other classes"):
        work.judge(
            step._replace(
                ids=step.ids[1:], weight_rows=step.weight_rows[1:], bias_rows=step.bias_rows[1:]
            ),
            *BOUNDS,
        )


def test_accidental_hits_are_left_out():
    # All classes are candidates: the loss is the full cross-entropy.
    case = SampledCase(STEP, 50, 50, 20, 8)
    work = SampledWorkload(case)
    ids = np.arange(50)
    logits = work.x.astype(np.float64) @ work.weight.T + work.bias
    loss, by_logits = fs.cross_entropy(logits, work.labels, return_grad=True)
    step = Step(
        *(ids, np.ones(20), np.ones(50), np.asarray(loss)),
        *(by_logits @ work.weight, ids, by_logits.T @ work.x, by_logits.sum(0)),
    )
    assert work._judge_step(step, *BOUNDS).ok


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda ids: ids[:-1], r"candidates are int64 of shape \(999,\)"),
        (lambda ids: ids.astype(np.float64), "candidates are float64"),
        (lambda ids: np.where(ids == ids[5], ids[6], ids), "not unique"),
        (lambda ids: np.where(ids == ids[5], 10_000, ids), "no classes"),
        (lambda ids: np.where(ids == ids[5], -1, ids), "no classes"),
        (lambda ids: np.random.default_rng().permutation(10_000)[:1000], "should be"),
    ],
)
def test_wrong_draws_are_found(spoil, said):
    work = SampledWorkload(DRAWN)
    ids = fs.samplers.LogUniform(10_000).sample(1000).ids
    assert work.judge(ids).ok
    with pytest.raises(WrongResult, match=said):
        work.judge(spoil(ids))


def test_draws_by_another_law_are_found():
    # Log-uniform and by counts that fall as 1 / rank are nearly the same law: each beside uniform.
    laws = {case.operation.sampler: case for case in DRAWS}
    uniform = laws.pop("Uniform")
    for skewed in laws.values():
        for drawn, judged in ((uniform, skewed), (skewed, uniform)):
            trial = contestant("numpy").bind(SampledWorkload(drawn))
            with pytest.raises(WrongResult, match="should be"):
                SampledWorkload(judged).judge(trial.result(trial.call()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda counts: counts * 1.01,
        lambda counts: np.minimum(counts * 2, 1),
        lambda counts: counts[::-1],
        lambda counts: np.full(counts.shape, 0.5),
    ],
)
def test_wrong_expected_counts_are_found(work, step, spoil):
    with pytest.raises(WrongResult, match="expected counts are off"):
        work.judge(step._replace(of_candidates=spoil(step.of_candidates)), *BOUNDS)


def test_expected_counts_of_another_number_of_tries_are_found(work, step):
    sampler, far = fs.samplers.LogUniform(SMALL.classes), 3 * SMALL.sampled
    drawn = fs.samplers.Candidates(step.candidates, far)
    counts = (sampler.expected_count(ids, drawn) for ids in (work.labels, step.candidates))
    of_true, of_candidates = counts
    with pytest.raises(WrongResult, match="expected counts are off"):
        work.judge(step._replace(of_true=of_true, of_candidates=of_candidates), *BOUNDS)


# Arrays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 2, 300])
def test_where_all_classes_are_drawn_each_is_expected(classes):
    for case in (SampledCase(DRAW, classes, classes), SampledCase(STEP, classes, classes, 3, 4)):
        _, worst = runner.admit(contestant("numpy"), SampledWorkload(case))
        assert worst.ok
    assert SampledWorkload(case)._expected_sum.tolist() == list(range(1, classes + 1))


def test_all_classes_may_be_drawn(backend):
    work = SampledWorkload(SampledCase(STEP, 5, 5, 2, 3))
    _, worst = runner.admit(contestant(backend), work)
    assert worst.ok


def test_arrays_begin_on_a_cache_line(work):
    assert work.x.ctypes.data % ALIGNMENT == work.weight.ctypes.data % ALIGNMENT == 0
    assert work.weight.shape == (5000, 16)
    assert work.labels.shape == (32,)


def test_a_large_table_repeats_its_rows(monkeypatch):
    monkeypatch.setattr(sampled, "BLOCK", 640)
    weight = SampledWorkload(SMALL._replace(classes=107)).weight
    np.testing.assert_array_equal(weight[40:80], weight[:40])
    np.testing.assert_array_equal(weight[80:], weight[:27])


def test_a_mapped_table_is_a_file_with_holes(monkeypatch):
    monkeypatch.setattr(sampled, "BLOCK", 640)
    monkeypatch.setattr(sampled, "WRITTEN", 100)
    work = SampledWorkload(SMALL._replace(classes=500).with_option(MAPPED))
    assert isinstance(work.weight, np.memmap)
    in_memory = SampledWorkload(SMALL._replace(classes=500)).weight
    np.testing.assert_array_equal(work.weight[:80], in_memory[:80])
    assert not work.weight[80:].any()


def test_what_does_not_fit_is_not_tried():
    huge = SMALL._replace(classes=1 << 40)
    assert "GB" in contestant(PUBLIC).against(huge)
    assert "GB" in contestant(PUBLIC).against(huge.with_option(MAPPED))
    assert contestant(PUBLIC).against(SampledCase(DRAW, 1 << 40, 10)) is None


# Contestants --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [SMALL, FEW, DRAWN, DRAWN._replace(sampled=5000)], ids=str)
@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.sampled])
@pytest.mark.filterwarnings("default")  # theirs
def test_peers_compute_what_they_are_compared_in(name, case):
    who = contestant(name)
    if (why := who.against(case)) is not None:
        pytest.skip(f"{name}: {why}")
    work = SampledWorkload(case)
    trial, worst = runner.admit(who, work)
    assert worst.ok
    for _ in range(3):  # other candidates each time
        assert work.judge(trial.result(trial.call()), *who.bounds(case)).ok


@pytest.mark.parametrize("name", PEERS)
def test_peers_that_take_no_part_say_why(name):
    why = contestant(name).against(SMALL)
    if name not in ("TensorFlow", "torch"):
        assert why == "has no sampled_softmax_loss+grad"
    if why is None:
        mapped = SMALL.with_option(MAPPED)
        assert contestant(name).against(mapped) == "is not compared in: memory-mapped"


def test_the_limit_is_the_three_products_of_a_step(work):
    (probe,) = probes(work)
    assert (probe.name, probe.share) == ("products", 1.0)
    assert probe.call().shape == (SMALL.sampled, SMALL.columns)
    assert probes(SampledWorkload(DRAWN)) == []


def test_blas_has_one_thread():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    np.ones((2, 2)) @ np.ones((2, 2))

    def counts():
        found = threadpoolctl.threadpool_info()
        return {one["num_threads"] for one in found if one["user_api"] == "blas"}

    before = counts()
    with blas.one_thread():
        assert counts() <= {1}
    assert counts() == before
    assert blas.described().startswith("1 thread (")


# The table ----------------------------------------------------------------------------------------


def test_what_is_asked_of_steps():
    lines = REGIMES["sampled-softmax"].lines
    assert len({line.case for line in lines}) == 24
    for line in lines:
        assert [t.rival for t in line.targets] == [FASTEST]
        assert line.targets[0].factor == (2.0 if line.case.sampled == 8192 else 3.0)


def test_what_is_asked_of_draws():
    asked = {line.case.sampled: line.targets for line in REGIMES["samplers"].lines}
    assert asked == {
        **dict.fromkeys((64, 1024, 8192), (faster("TensorFlow", 4.0),)),
        100_000: (within(None, 5e-3),),
    }


def test_what_is_asked_of_many_classes():
    first, *lines = REGIMES["sampled-classes"].lines
    assert first.case == SampledCase(STEP, 10_000, 1024, 128, 64)
    assert {(line.case.classes, line.case.option) for line in lines} == {
        *((10**k, option) for k in (5, 6, 7) for option in (regimes.PLAIN, MAPPED)),
        (10_000, MAPPED),
    }
    assert {line.targets for line in lines} == {(within(first.case, 1.5),)}


def test_sizes_tell_rivals_apart():
    mapped = FEW.with_option(MAPPED)
    times = {PUBLIC: 1.0, Entry(PUBLIC, FEW): 0.8, Entry(PUBLIC, mapped): 0.5}
    entries = {
        entry if isinstance(entry, Entry) else Entry(entry, SMALL): Time(t, t, t, 1.0, 9)
        for entry, t in times.items()
    }
    group = Group(SMALL, entries, {}, Limit(0.75, "products"))
    line = Line(SMALL, PUBLIC, (within(FEW, 1.5), within(mapped, 1.5), faster(LIMIT, 0.5)))
    assert [str(one) for one in verdicts.judge(line, group).rulings] == [
        "own 32 x 16, 200 of 300 1.25x (<= 1.50x)",
        "own 32 x 16, 200 of 300, memory-mapped 2.00x (<= 1.50x, best 2.00x)",
        "limit 75 % (>= 50 %)",
    ]
    assert Entry(PUBLIC, mapped).label(SMALL) == ("fastsoftmax, 32 x 16, 200 of 300, memory-mapped")


class Fake(Peer):
    """This package's own step, right or wrong as told."""

    name = "fake"
    distribution = "numpy"
    modules = ("numpy",)
    sampled = (STEP.name,)

    def __init__(self, name, factor=1.0):
        self.name, self.factor = name, factor

    def library(self):
        return np

    def bind_sampled(self, work):
        own = SampledOwn("numpy", "numpy").bind(work)

        def result(returned):
            step = own.result(returned)
            return step._replace(inputs=step.inputs * np.float32(self.factor))

        return Trial(own.call, result)


@pytest.fixture
def small(monkeypatch):
    """A regime of two small steps beside fakes; nobody takes longer than necessary."""
    monkeypatch.setattr(runner, "WARM_UP", 0.0)
    for name in list(PEERS):
        monkeypatch.delitem(PEERS, name)
    for peer in (Fake("right"), Fake("wrong", 1.01)):
        monkeypatch.setitem(PEERS, peer.name, peer)
    lines = (
        Line(SMALL, "numpy", (faster(FASTEST, 1e-9),)),
        Line(SMALL.with_option(MAPPED), "numpy", (within(FEW, 1e9),)),
    )
    found = {"steps": Regime("steps", "steps of training", lines)}
    monkeypatch.setattr(regimes, "REGIMES", found)
    monkeypatch.setattr(command, "REGIMES", found)


def test_steps_are_measured_in_turns_and_judged(small, tmp_path, capsys):
    file = tmp_path / "result.json"
    assert main(["targets", "--seconds", "0", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "sampled_softmax_loss+grad, 32 x 16, 200 of 5000, memory-mapped" in shown
    assert "BLAS: " in shown
    found = json.loads(file.read_text())
    assert [line["status"] for line in found["lines"]] == ["reached", "reached"]
    (group,) = found["groups"]
    assert group["classes"] == 5000
    assert group["limit"]["binds"] == "products"
    assert {(e["contestant"], e["classes"], e["option"]) for e in group["entries"]} == {
        ("numpy", 5000, "plain"),
        ("numpy", 5000, "memory-mapped"),
        ("numpy", 300, "plain"),
        ("right", 5000, "plain"),
    }
    (absent,) = group["absent"]
    assert absent["contestant"] == "wrong"
    assert "ULP" in absent["reason"]


def test_a_wrong_step_of_ours_ends_it(small, monkeypatch):
    monkeypatch.setattr(sampled, "BAND", 0.0)
    with pytest.raises(WrongResult, match="32 x 16, 200 of 5000: "):
        targets.measure(SMALL, {Entry("numpy", SMALL): True}, 0.0)
