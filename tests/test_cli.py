"""The command: what it accepts and refuses, what `info` and `selftest` say, how it writes."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _arguments, _terminal, selftest
from fastsoftmax._truth import OPERATIONS
from fastsoftmax.backends._numpy import NumpyBackend
from fastsoftmax.bench.peers import PEERS
from fastsoftmax.cli import main

COMMANDS = ("info", "selftest", "demo", "bench", "compare", "targets", "report")

AS_MODULE = """
import runpy, sys
sys.argv[0] = "fastsoftmax"
runpy.run_module("fastsoftmax", run_name="__main__")
"""


def refusal(capsys, *arguments):
    """What is said on stderr when the arguments are refused: exit code 2, one line."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


# Arguments ----------------------------------------------------------------------------------------


def test_version(run_python):
    assert run_python(AS_MODULE, "--version") == f"fastsoftmax {fs.__version__}"


def test_main_help_names_every_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"fastsoftmax {command}" in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"fastsoftmax {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "command"),
        (["fly"], "'fly'"),
        (["selftest", "--backend", "cuda"], "'cuda'"),
        (["selftest", "--backend", "numpy:avx9"], "'numpy:avx9'"),
        (["selftest", "--backend", ""], "''"),
        (["bench", "--op", "softmin"], "'softmin'"),
        (["bench", "--dtype", "float8"], "'float8'"),
        (["bench", "--batch", "8,-1"], "'-1'"),
        (["bench", "--classes", "1e3"], "'1e3'"),
        (["bench", "--shape", "32x"], "'32x' is not a shape"),
        (["bench", "--shape", "1x10", "--batch", "1"], "--shape is not allowed with --batch"),
        (["bench", "--isa", "avx9"], "'cpp:avx9'"),
        (["bench", "--peers", "torch,torchvision"], "'torchvision' is not one of "),
        (["bench", "--inputs", "warm"], "'warm'"),
        (["bench", "--threads", "0"], "'0'"),
        (["bench", "--threads", "5000"], "5000"),
        (["bench", "--seconds", "nan"], "'nan'"),
        (["bench", "--seconds", "1", "--quick"], "not allowed"),
        (["bench", "--json", "no/such/folder/x.json"], "no/such/folder"),
        (["targets", "--regime", "axis,middle"], "'middle' is not one of row-in-cache, "),
        (["targets", "--seconds", "-1"], "'-1'"),
        (["targets", "--op", "softmax"], "--op"),
        (["demo", "--vocabulary", "0"], "'0'"),
        (["demo", "--seed", "x"], "'x'"),
    ],
)
def test_wrong_arguments_get_one_line_that_names_them(arguments, said, capsys):
    line = refusal(capsys, *arguments)
    assert said in line
    assert "--help" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "--shape", "1x10", "--batch", "1"),
        ("report", "a.json"),
        ("compare", "no.json", "no.json"),
        ("demo", "train", "--sampled", "9", "--vocabulary", "8"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_only_two_arguments_show_is_answered_with_the_command_s_help(arguments, capsys):
    command = "demo train" if arguments[:2] == ("demo", "train") else arguments[0]
    assert f"(see fastsoftmax {command} --help)" in refusal(capsys, *arguments)


def test_peers_go_by_small_letters_without_spaces():
    wanted = "scipy,torch,jax,onnxruntime,tensorflow,xnnpack,onednn,plainnumpy,plainnumba,numexpr"
    found = _arguments.peers(wanted)
    assert found[:4] == ["SciPy", "torch", "JAX", "ONNX Runtime"]
    assert set(found) == set(PEERS)


def test_refusing_a_backend_lists_those_that_can_run(capsys):
    assert "numpy" in refusal(capsys, "bench", "--backend", "cuda").partition("usable here")[2]


@pytest.mark.parametrize("command", ["selftest", "demo", "bench"])
def test_nonsense_in_the_environment_gets_one_line(command, run_python):
    child = run_python(AS_MODULE, command, check=False, FASTSOFTMAX_NUM_THREADS="many")
    assert child.returncode == 2
    assert "FASTSOFTMAX_NUM_THREADS='many'" in child.stderr
    assert "Traceback" not in child.stderr


def test_ctrl_c_ends_without_a_traceback(monkeypatch, capsys):
    def interrupted(names):
        raise KeyboardInterrupt

    monkeypatch.setattr(selftest, "run", interrupted)
    assert main(["selftest"]) == 130
    assert capsys.readouterr().err == "fastsoftmax: interrupted\n"


def test_a_reader_that_leaves_early_is_no_error_message():
    with subprocess.Popen(
        [sys.executable, "-c", AS_MODULE, "info"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        child.stdout.close()
        said = child.stderr.read()
    assert child.returncode == 1
    assert said == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["info"],
        ["bench", "--batch", "1", "--classes", "2", "--backend", "numpy", "--seconds", "0"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_closed_streams_are_no_error(arguments):
    command = [sys.executable, "-c", AS_MODULE, *arguments]
    child = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], check=False)
    assert child.returncode == 0


def test_the_command_line_imports_no_optional_library(run_python):
    found = run_python(
        """
        import sys
        import fastsoftmax.cli, fastsoftmax.bench, fastsoftmax.demo, fastsoftmax.selftest
        print([name for name in ("rich", "numba", "ml_dtypes", "scipy") if name in sys.modules])
        """
    )
    assert found == "[]"


# info ---------------------------------------------------------------------------------------------


def test_info_is_the_same_for_people_and_programs(capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == fs.info()
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    for word in (found["version"], found["cpu"], found["backend"]["chosen"], *found["backends"]):
        assert word in shown
    for word in found["build"].values():
        assert (word or "there is no core") in shown


@pytest.mark.skipif(not fs.info()["isa"]["found"], reason="there is no core")
def test_info_knows_how_the_core_was_built():
    build = fs.info()["build"]
    assert re.fullmatch(r"\w+ \d+(\.\d+)*", build["compiler"])
    common, *of_isas = build["flags"].split(", ")
    assert {"-O3", "-fno-math-errno", "-ffp-contract=off"} <= set(common.split())
    told = dict(line.split(": ") for line in of_isas)
    built = [name.partition(":")[2] for name in fs.info()["backends"] if name.startswith("cpp:")]
    assert list(told) == [isa for isa in reversed(built) if isa != "portable"]
    assert all(re.fullmatch(r"-march=\S+", flags) for flags in told.values())
    assert len(set(told.values())) == len(told)


def test_info_knows_nothing_of_a_build_without_the_core(run_python):
    code = """
        import sys
        sys.modules["fastsoftmax._core"] = None
        import fastsoftmax as fs
        assert fs.info()["build"] == {"compiler": None, "flags": None}
        fs.show_config()
        """
    assert "there is no core" in run_python(code)


def test_info_knows_the_instruction_sets(capsys):
    found = fs.info()
    assert found["isa"]["found"] == [
        name.removeprefix("cpp:") for name in fs.backends() if name.startswith("cpp:")
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FASTSOFTMAX_BACKEND", "cuda"),
        ("FASTSOFTMAX_NUM_THREADS", "many"),
        ("OMP_NUM_THREADS", "0"),
        pytest.param(
            "FASTSOFTMAX_ISA",
            "mmx",
            marks=pytest.mark.skipif(
                not any(name.startswith("cpp") for name in fs.backends()), reason="no C++ core"
            ),
        ),
    ],
)
def test_info_runs_and_tells_what_is_wrong_with_the_environment(variable, value, run_python):
    shown = run_python(AS_MODULE, "info", **{variable: value})
    assert "error: " in shown
    assert variable in shown
    assert repr(value) in shown
    assert "numpy" in shown
    found = json.loads(run_python(AS_MODULE, "info", "--json", **{variable: value}))
    assert found["version"] == fs.__version__


# selftest -----------------------------------------------------------------------------------------


def test_selftest_passes(backend, capsys):
    code = main(["selftest", "--backend", backend])
    shown = capsys.readouterr().out
    assert code == 0, shown
    rows = [line.split() for line in shown.splitlines()]
    for operation in (*OPERATIONS, *selftest.LOSSES):
        for dtype in ("float32", "float64", "float16", "bfloat16"):
            assert any(row[:3] == [backend, operation, dtype] for row in rows)
    assert "none failed" in shown


@pytest.fixture
def small(no_shortcuts, monkeypatch):
    """A selftest of a few small cases."""
    monkeypatch.setattr(selftest, "CLASSES", (1, 2, 17))
    monkeypatch.setattr(selftest, "THREADED", ((3, 17),))


def broken(monkeypatch, operation, damage):
    """Let the NumPy backend's operation do its work, and then the damage."""
    whole = getattr(NumpyBackend, operation)

    def partly(self, call, *more):
        result = whole(self, call, *more)
        damage(call)
        return result

    monkeypatch.setattr(NumpyBackend, operation, partly)


def failures(capsys):
    code = main(["selftest", "--backend", "numpy"])
    lines = capsys.readouterr().out.splitlines()
    failed = {tuple(line.split()[1:3]) for line in lines if line.endswith("FAILED")}
    assert code == (1 if failed else 0)
    return failed, [line for line in lines if line.startswith("FAILED")]


def test_selftest_of_a_sound_backend_in_small(small, capsys):
    assert failures(capsys) == (set(), [])


def test_selftest_sees_a_small_error_and_says_where(small, monkeypatch, capsys):
    def damage(call):
        if call.x.dtype == np.float32 and call.x.shape[1] == 17:
            call.out[0, 16] *= np.float32(1 + 1e-4)

    broken(monkeypatch, "log_softmax", damage)
    failed, details = failures(capsys)
    assert failed == {("log_softmax", "float32")}
    assert "17 classes" in details[0]
    assert "row 0, class 16" in details[0]


def test_selftest_sees_a_nan_in_the_wrong_row(small, monkeypatch, capsys):
    def damage(call):
        if np.isnan(call.x).any():
            call.out[0] = np.nan

    broken(monkeypatch, "softmax", damage)
    assert ("softmax", "float64") in failures(capsys)[0]


def test_selftest_sees_a_sum_that_is_not_1(small, monkeypatch, capsys):
    def damage(call):
        if call.x.dtype == np.float32:
            with np.errstate(all="ignore"):
                np.multiply(call.out, np.float32(1 + 3e-6), out=call.out)

    broken(monkeypatch, "softmax", damage)
    assert ("|sum", "-") in failures(capsys)[0]


def test_selftest_sees_bits_that_depend_on_the_threads(small, monkeypatch, capsys):
    def damage(call):
        if call.threads == 2:
            np.nextafter(call.out, 2, out=call.out)

    broken(monkeypatch, "logsumexp", damage)
    with fs.threads(1):
        failed, details = failures(capsys)
    assert failed == {("2", "threads")}
    assert "logsumexp" in details[0]


@pytest.mark.parametrize("operation", ["cross_entropy", "label_gradient"])
def test_selftest_sees_a_small_error_of_a_loss(small, monkeypatch, capsys, operation):
    def damage(call):
        if call.logits.dtype != np.float64 or call.logits.shape[1] != 17:
            return
        if operation == "cross_entropy":
            call.losses[2] *= 1 + 1e-9
        elif call.grad is not None:
            call.grad[2] *= 1 + 1e-9

    broken(monkeypatch, "cross_entropy", damage)
    failed, details = failures(capsys)
    assert failed == {(operation, "float64")}
    assert "17 classes" in details[0]


def test_selftest_sees_gradients_that_depend_on_the_threads(small, monkeypatch, capsys):
    def damage(call):
        if call.threads == 2 and call.grad is not None:
            call.grad[0, 0] += 1

    broken(monkeypatch, "binary_cross_entropy", damage)
    with fs.threads(1):
        failed, details = failures(capsys)
    assert failed == {("2", "threads")}
    assert "gradients" in details[0]


def test_selftest_survives_a_backend_that_raises(small, monkeypatch, capsys):
    def damage(call):
        raise RuntimeError("out of order")

    broken(monkeypatch, "softmax", damage)
    failed, details = failures(capsys)
    assert ("softmax", "float32") in failed
    assert "RuntimeError: out of order" in details[0]


def test_selftest_sees_floating_point_warnings(small, monkeypatch, capsys):
    broken(monkeypatch, "softmax", lambda call: np.log(np.zeros(1)))
    assert ("softmax", "float32") in failures(capsys)[0]


# Writing ------------------------------------------------------------------------------------------


def test_tables_are_aligned():
    shown = _terminal.table({"name": "l", "n": "r"}, [("a", "1"), ("long", "1000")])
    assert shown.splitlines() == ["name     n", "a        1", "long  1000"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (4.12e-7, "0.412 us"),
        (8.134e-6, "8.13 us"),
        (9.999e-6, "10.0 us"),
        (0.0412, "41.2 ms"),
        (75.4, "75.4 s"),
    ],
)
def test_durations_have_three_digits_and_a_unit(seconds, shown):
    assert _terminal.duration(seconds) == shown


def test_progress_without_a_terminal_is_a_few_lines(capsys):
    with _terminal.progress(50, "job") as step:
        for i in range(50):
            step(f"part {i}")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split() == ["job:", "0", "%", "part", "0"]
    assert len(lines) == 5


def test_progress_says_what_the_rest_takes_if_it_goes_on_like_that(monkeypatch, capsys):
    clock = iter([100.0, 103.0, 120.0])
    monkeypatch.setattr(_terminal.time, "perf_counter", lambda: next(clock))
    with _terminal.progress(5, "job") as step:
        for i in range(3):
            step(f"part {i}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "job:   0 %  part 0",
        "job:  20 %  part 1; 12 s left",
        "job:  40 %  part 2; 30 s left",
    ]


def test_progress_on_a_terminal_is_a_bar(monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with _terminal.progress(2, "job") as step:
        step("[one]")
        step("two")
    assert "job" in capsys.readouterr().err


def test_progress_on_a_terminal_without_rich_is_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with _terminal.progress(1, "job") as step:
        step("one")
    assert capsys.readouterr().err == f"job:   0 %  one{os.linesep}".replace("\r", "")
