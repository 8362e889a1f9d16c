"""The families of cases: what is in them, that every backend is right in it, what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.bench import (
    cells,
    command,
    families,
    limits,
    memory,
    rates,
    results,
    runner,
    startup,
)
from fastsoftmax.bench.cases import ALLOCATED, KNOWN, PLAIN
from fastsoftmax.bench.families import FAMILIES, MEASURABLE, Part
from fastsoftmax.bench.kinds import kind
from fastsoftmax.bench.peers import PEERS
from fastsoftmax.bench.sampled import DRAW, STEP, TASKS
from fastsoftmax.bench.startup import Startup
from fastsoftmax.cli import main

LEAST = ("bench", "--seconds", "0", "--backend", "numpy", "--threads", "1")


@pytest.fixture
def hasty(monkeypatch):
    """Nobody takes longer than necessary."""
    monkeypatch.setattr(runner, "WARM_UP", 0.0)
    monkeypatch.setattr(rates, "measure", lambda threads: rates.NONE)


def measured(file):
    found = json.loads(file.read_text())
    results.check(found)
    return found


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["bench", *arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


# The list -----------------------------------------------------------------------------------------


def test_a_part_is_every_combination_smallest_first():
    part = Part(["softmax", "logsumexp"], [(32, 10), (1, 10)])
    found = part.cases(["float32"], [1, 2])
    assert [str(case) for case in found[:3]] == [
        "softmax float32 1 x 10, 1 thread",
        "softmax float32 1 x 10, 2 threads",
        "softmax float32 32 x 10, 1 thread",
    ]
    assert len(found) == 8


def test_a_sample_of_the_classes_is_taken_of_each_shape():
    part = Part([STEP.name, DRAW.name], [(8, 50), (2, 70), (4, 70)], sampled=(3, 5), columns=6)
    found = part.cases(["float64"], [1, 2])
    steps = [case for case in found if case.operation == STEP]
    assert {(case.batch, case.classes, case.sampled, case.columns) for case in steps} == {
        (batch, classes, sampled, 6)
        for batch, classes in ((8, 50), (2, 70), (4, 70))
        for sampled in (3, 5)
    }
    assert {(case.threads, case.dtype) for case in found} == {(1, "float32")}
    # Rows play no part in a draw: those of 2 and of 4 are the same.
    draws = [(case.classes, case.sampled) for case in found if case.operation == DRAW]
    assert sorted(draws) == [(50, 3), (50, 5), (70, 3), (70, 5)]


def test_every_operation_that_can_be_measured_is_in_a_family():
    found = families.cases(list(FAMILIES), ["float32"], [1, 2], 2)
    assert {case.operation.name for case in found} == set(MEASURABLE)
    assert len(set(found)) == len(found)
    for case in found:
        assert -len(case.shape) <= case.axis < len(case.shape)
        assert case.sampled is None or case.sampled <= case.classes


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_threads_go_up_by_powers_of_two_to_the_most(most, expected):
    assert families.scale(most) == expected
    found = families.cases(["threads"], ["float32"], [1], most)
    assert sorted({case.threads for case in found}) == expected


def test_dealt_cases_are_the_same_and_begin_with_one_of_each_family():
    names = list(FAMILIES)
    found = families.cases(names, ["float32"], [1, 2], 2, dealt=True)
    assert sorted(map(str, found)) == sorted(
        map(str, families.cases(names, ["float32"], [1, 2], 2))
    )
    assert {FAMILIES[name].parts[0].operations[0] for name in names if FAMILIES[name].parts} == {
        case.operation.name for case in found[: len(names)]
    }


SMALL = [
    case._replace(threads=1)
    for case in families.cases(list(FAMILIES), ["float32"], [1], 1)
    if case.bytes_moved < 1 << 20 and case.classes <= 100_000
]


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_every_backend_is_right_in_every_small_case(backend, case):
    own = kind(case).contestant(backend)
    assert own.against(case) is None
    with fs.threads(1):
        _, worst = runner.admit(own, kind(case).workload(case))
    assert worst.ok


# Measured -----------------------------------------------------------------------------------------


def test_steps_and_draws_are_measured_like_rows(hasty, tmp_path, capsys):
    file = tmp_path / "result.json"
    sizes = ("--op", ",".join(TASKS), "--shape", "4x300", "--sampled", "10", "--columns", "8")
    assert main([*LEAST, *sizes, "--json", str(file)]) == 0
    step, *draws = measured(file)["results"]
    assert (step["operation"], *(draw["operation"] for draw in draws)) == tuple(TASKS)
    expected = [(step, [4, 8], 4, 4 * 11), *((draw, [10], 1, 10) for draw in draws)]
    for one, shape, batch, elements in expected:
        assert one["shape"] == shape
        assert (one["batch"], one["classes"], one["sampled"]) == (batch, 300, 10)
        assert one["elements"] == elements
    assert step["ulp"]["worst"] <= step["ulp"]["allowed"]
    assert step["limit"]["binds"] == "products"
    assert all(draw["ulp"] == {"worst": None, "allowed": None} for draw in draws)
    assert all(draw["limit"] is None for draw in draws)
    shown = capsys.readouterr().out
    assert "4 x 8, 10 of 300" in shown
    assert "products" in shown


def test_another_axis_and_results_that_calls_allocate(hasty, tmp_path, capsys):
    file = tmp_path / "result.json"
    how = ("--shape", "2x3x5", "--axis", "1", "--no-out")
    assert main([*LEAST, *how, "--json", str(file)]) == 0
    (one,) = measured(file)["results"]
    assert (one["shape"], one["axis"], one["batch"], one["classes"]) == ([2, 3, 5], 1, 10, 3)
    assert one["option"] == ALLOCATED.name
    assert "2 x 3 x 5 over axis 1, no out" in capsys.readouterr().out


def test_the_first_axis_is_asked_for_by_0(hasty, tmp_path):
    file = tmp_path / "result.json"
    sizes = ("--batch", "3", "--classes", "5")
    assert main([*LEAST, *sizes, "--axis", "0", "--json", str(file)]) == 0
    (one,) = measured(file)["results"]
    assert (one["axis"], one["classes"]) == (0, 3)


def test_a_call_that_allocates_gets_no_array():
    own = kind(SMALL[0]).contestant("numpy")
    for name in ("softmax", "cross_entropy+grad"):
        (case,) = Part([name], [(6, 10)], options=[ALLOCATED]).cases(["float32"], [1])
        work = kind(case).workload(case)
        work.out.fill(7)
        result = own.bind(work).call()
        array = result[1] if isinstance(result, tuple) else result
        assert not np.shares_memory(array, work.out)
        assert (work.out == 7).all()


@pytest.mark.parametrize("option", [PLAIN, ALLOCATED])
def test_memory_is_that_of_the_result_unless_it_is_given(option, hasty, monkeypatch):
    if not any(name.startswith("cpp") for name in fs.backends()):
        pytest.skip("NumPy's own formula takes more")
    monkeypatch.setattr(limits, "missing", lambda: "not asked")
    (case,) = Part(["softmax"], [(64, 128256)], options=[option]).cases(["float32"], [1])
    (found,) = cells.measure(case, [fs.backends()[0]], 0.0).measurements
    if found.peak is None:
        pytest.skip("this kernel does not count")
    result = 0 if option == PLAIN else 4 * case.elements
    assert abs(found.peak - result) <= memory.RESOLUTION


def test_small_cases_have_no_memory(hasty):
    (case,) = Part(["softmax"], [(6, 10)]).cases(["float32"], [1])
    (found,) = cells.measure(case, ["numpy"], 0.0).measurements
    assert found.peak is None


def test_what_comes_before_the_first_result_is_told(hasty, monkeypatch, tmp_path, capsys):
    asked = []

    def measure(names, repeats):
        asked.extend(names)
        assert repeats == startup.REPEATS
        return [Startup(name, False, 0.125, 0.25) for name in names]

    monkeypatch.setattr(startup, "measure", measure)
    file = tmp_path / "result.json"
    assert main([*LEAST, "--family", "startup", "--json", str(file)]) == 0
    found = measured(file)
    assert asked == ["numpy"]
    assert found["results"] == []
    assert found["startup"] == [
        {
            "contestant": "numpy",
            "cached": False,
            "import_seconds": 0.125,
            "first_call_seconds": 0.25,
        }
    ]
    assert "125 ms" in capsys.readouterr().out


def test_a_table_that_does_not_fit_is_no_case(hasty, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("fastsoftmax.bench.sampled.SHARE", 0.0)
    sizes = ("--op", STEP.name, "--shape", "4x300", "--sampled", "10")
    file = tmp_path / "result.json"
    assert main([*LEAST, *sizes, "--json", str(file)]) == 0
    found = measured(file)
    assert found["results"] == []
    assert "too many for" in found["notes"][0]


def test_quick_ends_in_time_and_says_what_it_left_out(hasty, monkeypatch, tmp_path, capsys):
    clock = iter(range(0, 10_000, 20))  # each look at it is 20 seconds after the one before
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    file = tmp_path / "result.json"
    sizes = ("--quick", "--backend", "numpy", "--threads", "1", "--batch", "1,2,3,4")
    assert main(["bench", *sizes, "--classes", "10", "--json", str(file)]) == 0
    found = measured(file)
    # Begun at 20 of 52 seconds and done at 40; at 60 it is too late.
    assert [one["batch"] for one in found["results"]] == [1]
    assert found["complete"] is False
    said = "3 cases were left out: there was no time for more"
    assert said in found["notes"]
    assert said in capsys.readouterr().out


def test_quick_starts_programs_once_and_not_when_it_is_late(hasty, monkeypatch, tmp_path):
    clock = iter(range(0, 10_000, 30))  # the second backend's turn comes after 60 seconds
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    asked = []
    monkeypatch.setattr(
        startup, "measure", lambda names, repeats: asked.append((names, repeats)) or []
    )
    file = tmp_path / "result.json"
    backends = ("--quick", "--family", "startup", "--backend", "numpy,numba")
    if "numba" not in fs.backends():
        pytest.skip("one backend is not enough")
    assert main(["bench", *backends, "--threads", "1", "--json", str(file)]) == 0
    assert asked == [(["numpy"], 1)]
    assert "1 case was left out: there was no time for more" in measured(file)["notes"]


def test_the_rates_of_the_machine_do_not_count_as_a_case(hasty, monkeypatch, tmp_path):
    # Else --quick would expect every case to take as long.
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def slow(threads):
        now[0] += 40.0
        return rates.NONE._replace(empty_call=1e-6)

    monkeypatch.setattr(rates, "measure", slow)
    file = tmp_path / "result.json"
    sizes = ("--backend", "numpy", "--threads", "1", "--batch", "1,2", "--classes", "10")
    assert main(["bench", "--quick", *sizes, "--json", str(file)]) == 0
    assert [one["batch"] for one in measured(file)["results"]] == [1, 2]


@pytest.mark.parametrize("error", [MemoryError("too large"), RuntimeError("too large")])
def test_an_error_costs_no_case_before_it(error, hasty, monkeypatch, tmp_path, capsys):
    whole = command.measure

    def fails(case, *how):
        if case.batch == 2:
            raise error
        return whole(case, *how)

    monkeypatch.setattr(command, "measure", fails)
    file = tmp_path / "result.json"
    assert main([*LEAST, "--shape", "1x10,2x10,3x10", "--json", str(file)]) == 1
    found = measured(file)
    assert [one["batch"] for one in found["results"]] == [1]
    assert found["complete"] is False
    captured = capsys.readouterr()
    assert "softmax float32 2 x 10, 1 thread: too large" in captured.err
    assert "Gelem/s" in captured.out


def test_a_reader_that_has_left_does_not_cost_the_files(hasty, monkeypatch, tmp_path):
    def left(*_):
        raise BrokenPipeError

    file = tmp_path / "result.json"
    monkeypatch.setattr("builtins.print", left)
    with pytest.raises(BrokenPipeError):
        command.run(SMALL[:1], ["numpy"], 0.0, file)
    assert measured(file)["complete"] is True


def test_a_page_comes_with_it(hasty, tmp_path, capsys):
    pytest.importorskip("jinja2")
    file = tmp_path / "page.html"
    assert main([*LEAST, "--shape", "2x10", "--html", str(file), "--label", "a try"]) == 0
    assert "a try" in file.read_text()


# Refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--family", "axis"), "'axis' is not one of softmax, log_softmax, "),
        (("--family", "axes", "--op", "softmax"), "--op is not allowed with --family"),
        (("--family", "axes", "--no-out"), "--no-out is not allowed with --family"),
        (("--family", "axes", "--axis", "0"), "--axis is not allowed with --family"),
        (("--sampled", "10"), "--sampled is for --op sampled_softmax_loss+grad or "),
        (("--op", "all", "--shape", "5"), "--shape 5 is not rows x classes"),
        (("--op", "softmax", "--columns", "8"), "--columns is for --op sampled_softmax_loss+grad"),
        (("--json", "one.file", "--html", "./one.file"), "--json and --html are the same one.file"),
        (("--shape", "2x10", "--classes", "10"), "--shape is not allowed with --batch or"),
        (("--shape", "2xx10"), "'2xx10' is not a shape such as 32x1000"),
        (("--shape", "2x0"), "'2x0' is not a shape"),
        (("--shape", "2x10", "--axis", "2"), "--axis 2 is outside of --shape 2x10"),
        (("--shape", "2x10", "--axis", "-3"), "--axis -3 is outside of --shape 2x10"),
        (("--axis", "last"), "'last' is not the number of an axis"),
        (("--op", DRAW.name, "--shape", "1x50", "--sampled", "51"), "--sampled 51 is more than"),
        (("--op", STEP.name, "--shape", "50"), "--shape 50 is not rows x classes"),
        (("--op", STEP.name, "--shape", "4x3000", "--inputs", "cold"), "--inputs cold is not for"),
        (("--family", "all", "--inputs", "cold"), "--inputs cold is not for"),
    ],
)
def test_what_makes_no_sense_together_is_refused(arguments, said, capsys):
    assert said in refused(capsys, *arguments)


def test_without_jinja_it_is_said_before_anything_is_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("fastsoftmax.bench.page.html.find_spec", lambda name: None)
    monkeypatch.setattr(command, "measure", None)
    said = refused(capsys, "--html", str(tmp_path / "page.html"))
    assert "pip install 'fastsoftmax[bench]'" in said


def test_without_jsonschema_it_is_said_before_anything_is_measured(monkeypatch, tmp_path, capsys):
    pytest.importorskip("jinja2")
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    monkeypatch.setattr(command, "measure", None)
    said = refused(capsys, "--html", str(tmp_path / "page.html"))
    assert "pip install 'fastsoftmax[bench]'" in said


def test_every_name_of_a_family_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ", ".join(FAMILIES) in shown
    assert set(KNOWN) | set(TASKS) == set(MEASURABLE)


# benchmarks/ --------------------------------------------------------------------------------------

PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
FOLDER = str(Path(__file__).parents[1] / "benchmarks")
QUIETLY = ("-q", "-p", "no:cacheprovider")


def test_the_folder_of_benchmarks_collects_every_case(run_python):
    shown = run_python(PYTEST, FOLDER, *QUIETLY, "--benchmark-disable", "--collect-only")
    cases = families.cases(list(FAMILIES), ["float32"], [1], 1)
    assert shown.count("test_families.py::") == len(cases) * (len(fs.backends()) + len(PEERS))
    assert "test_train.py::" in shown


def test_a_benchmark_leaves_bytes_rate_and_error(run_python, tmp_path):
    file = tmp_path / "saved.json"
    wanted = ("--family", "overhead", "-k", "softmax and numpy and not (out or log or Plain)")
    hurry = ("--benchmark-max-time=0.01", f"--benchmark-json={file}")
    assert "1 passed" in run_python(PYTEST, FOLDER, *QUIETLY, *wanted, *hurry)
    (one,) = json.loads(file.read_text())["benchmarks"]
    assert one["name"] == "numpy"
    assert one["group"] == "softmax float32 10, 1 thread"
    found = one["extra_info"]
    assert found["bytes_moved"] == 80
    assert 0 <= found["worst_ulp"] < 10
    assert found["gigabytes_per_second"] == pytest.approx(80e-9 / one["stats"]["median"])


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--family", "none", "'none' is not one of softmax, log_softmax, "),
        ("--dtype", "float8", "'float8' is not one of float32, "),
        ("--threads", "0", "'0' is not a whole number above 0"),
    ],
)
def test_benchmarks_of_what_is_unknown_are_refused(option, value, said, run_python):
    child = run_python(PYTEST, FOLDER, *QUIETLY, option, value, check=False)
    assert child.returncode != 0
    assert f"{option}: {said}" in child.stdout + child.stderr
