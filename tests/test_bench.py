"""The benchmark: nothing wrong is timed, everybody gets turns, the numbers add up."""

import json
import time

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import bench
from fastsoftmax._truth import Bound
from fastsoftmax.backends._numpy import NumpyBackend
from fastsoftmax.bench import cases, runner, workload
from fastsoftmax.bench.cases import KNOWN, OPERATIONS, Case
from fastsoftmax.bench.workload import Workload
from fastsoftmax.cli import main

SMALL = ("bench", "--seconds", "0", "--classes", "5,10", "--threads", "1", "--backend", "numpy")


def test_grid_is_every_combination_smallest_first():
    found = cases.grid(["softmax", "logsumexp"], ["float32"], [32, 1], [10], [1, 2])
    assert [str(case) for case in found[:3]] == [
        "softmax float32 1 x 10, 1 thread",
        "softmax float32 1 x 10, 2 threads",
        "softmax float32 32 x 10, 1 thread",
    ]
    assert len(found) == 8


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


def test_the_result_as_json(tmp_path, capsys):
    file = tmp_path / "result.json"
    arguments = ("--op", "all", "--batch", "1,3", "--dtype", "float32,float64", "--json", str(file))
    assert main([*SMALL, *arguments]) == 0
    found = json.loads(file.read_text())
    assert found["schema_version"] == 1
    assert found["complete"] is True
    assert found["machine"] == fs.info()
    cells = found["cells"]
    assert len(cells) == 3 * 2 * 2 * 2
    assert {
        (cell["operation"], cell["dtype"], cell["batch"], cell["classes"]) for cell in cells
    } == {
        (operation, dtype, batch, classes)
        for operation in OPERATIONS
        for dtype in ("float32", "float64")
        for batch in (1, 3)
        for classes in (5, 10)
    }
    for cell in cells:
        seconds = cell["seconds"]
        assert 0 < seconds["first_quartile"] <= seconds["median"] <= seconds["third_quartile"]
        assert cell["samples"] >= runner.ROUNDS
        assert cell["worst_ulp"] <= cell["allowed_ulp"]
        elements = cell["batch"] * cell["classes"]
        assert cell["elements_per_second"] == pytest.approx(elements / seconds["median"])
    softmax = cells[0]
    assert softmax["bytes_per_second"] == pytest.approx(8 * softmax["elements_per_second"])


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
    found = json.loads(file.read_text())
    assert found["complete"] is False
    assert [(cell["batch"], cell["classes"]) for cell in found["cells"]] == [
        (1, 5),
        (1, 10),
        (3, 5),
    ]


def test_a_result_that_is_not_written_is_wrong(no_shortcuts, monkeypatch, capsys):
    monkeypatch.setattr(NumpyBackend, "softmax", lambda self, call: None)
    assert main([*SMALL, "--batch", "1"]) == 1
    assert "wrong result" in capsys.readouterr().err


def test_ctrl_c_prints_what_is_done(monkeypatch, capsys):
    measure = bench.measure

    def interrupted(case, contestants, seconds):
        if case.classes == 10:
            raise KeyboardInterrupt
        return measure(case, contestants, seconds)

    monkeypatch.setattr(bench, "measure", interrupted)
    assert main([*SMALL, "--batch", "1"]) == 130
    captured = capsys.readouterr()
    assert "interrupted after 1 of 2 cases" in captured.err
    assert "numpy" in captured.out


def test_too_large_a_case_is_one_line(capsys):
    sizes = ("--batch", "100000000", "--classes", "100000000")
    assert main(["bench", "--backend", "numpy", "--threads", "1", *sizes]) == 1
    assert "Traceback" not in capsys.readouterr().err
