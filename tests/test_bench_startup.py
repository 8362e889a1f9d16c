"""What a program pays before its first result, in real children; no time is asserted."""

from itertools import pairwise
from pathlib import Path

import pytest

import fastsoftmax as fs
from fastsoftmax.bench import startup
from fastsoftmax.bench.startup import Startup, measure

needs_numba = pytest.mark.skipif("numba" not in fs.backends(), reason="Numba is not installed")


def test_others_than_numba_have_one_result_in_the_order_asked_for():
    names = ["numpy", *(name for name in fs.backends() if name.startswith("cpp")), "numpy"]
    found = measure(names, repeats=1)
    assert [(result.contestant, result.cached) for result in found] == [
        (name, False) for name in names
    ]
    assert all(result.import_seconds > 0 < result.first_call_seconds for result in found)


@needs_numba
def test_numba_compiles_in_an_empty_directory_and_finds_it_filled_the_next_time(monkeypatch):
    run, seen = startup._child, []

    def files(folder):
        return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*.nb?")}

    def watched(name, cache):
        before = files(cache)
        paid = run(name, cache)
        seen.append((cache, before, files(cache)))
        return paid

    monkeypatch.setattr(startup, "_child", watched)
    cold, cached = measure(["numba"], repeats=2)
    assert (cold.contestant, cold.cached) == ("numba", False)
    assert (cached.contestant, cached.cached) == ("numba", True)
    assert len(seen) == 4
    assert len({folder for folder, *_ in seen}) == 2
    for (folder, empty, filled), (again, found, left) in list(pairwise(seen))[::2]:
        assert folder == again
        assert not empty
        assert any(path.suffix == ".nbc" for path in filled)
        assert filled == found == left  # what is compiled again is written again
        assert not Path(folder).exists()


def test_results_are_medians(monkeypatch):
    paid = [startup._Paid(i, s) for i, s in ((1.0, 9.0), (5.0, 7.0), (2.0, 8.0))]
    monkeypatch.setattr(startup, "_child", lambda name: paid.pop())
    assert measure(["numpy"]) == [Startup("numpy", False, 2.0, 8.0)]
    assert not paid


def test_a_child_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"'nothing' failed: BackendUnavailable: .*unknown"):
        measure(["numpy", "nothing"], repeats=1)


def test_a_child_that_cannot_import_says_why(monkeypatch):
    monkeypatch.setattr("sys.path", ["no-such-folder"])
    with pytest.raises(RuntimeError, match="failed: ModuleNotFoundError: No module named"):
        measure(["numpy"], repeats=1)


def test_a_child_that_dies_silently_gives_its_exit_code(monkeypatch):
    monkeypatch.setattr(startup, "_PROGRAM", "import os; os._exit(7)")
    with pytest.raises(RuntimeError, match="'numpy' failed: exit code 7"):
        measure(["numpy"])


def test_the_child_measures_the_parents_package(monkeypatch, tmp_path):
    (tmp_path / "fastsoftmax.py").write_text("raise OSError('another package')")
    monkeypatch.chdir(tmp_path)
    measure(["numpy"], repeats=1)


@pytest.mark.parametrize("repeats", [0, -1])
def test_repeats_are_counted(repeats):
    with pytest.raises(ValueError, match=f"repeats must be at least 1, not {repeats}"):
        measure(["numpy"], repeats=repeats)
