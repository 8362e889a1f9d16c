"""The memory that a call needs, on calls whose need is known."""

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.bench import memory
from fastsoftmax.bench.memory import RESOLUTION, peak

SIZE = 32 << 20
SHAPE = (SIZE // 4000, 1000)

needs_peak = pytest.mark.skipif(
    peak(lambda: None) is None, reason="the kernel does not tell a process's peak"
)


def written(size=SIZE):
    """So many bytes, each page of which is resident."""
    return np.ones(size, np.uint8)


def near(found, wanted):
    return abs(found - wanted) <= RESOLUTION


def freed():
    written()


def one_after_another():
    for _ in range(3):
        written()


def two_at_once():
    return written() is written()


def one_kept_one_freed():
    kept = written()
    written()
    return kept


@needs_peak
@pytest.mark.parametrize(
    ("call", "arrays"),
    [(written, 1), (freed, 1), (one_after_another, 1), (two_at_once, 2), (one_kept_one_freed, 2)],
)
def test_arrays_count_as_many_as_there_are_at_once(call, arrays):
    for _ in range(3):
        assert near(peak(call), arrays * SIZE)


@needs_peak
@pytest.mark.parametrize("call", [lambda: None, lambda: written(RESOLUTION // 4)])
def test_less_than_the_resolution_is_nothing(call):
    assert peak(call) == 0


@needs_peak
def test_memory_that_nobody_writes_to_is_not_resident():
    assert peak(lambda: np.empty(SIZE, np.uint8)) == 0


@needs_peak
def test_what_was_resident_before_does_not_count():
    kept = written()
    assert peak(lambda: kept.sum()) == 0
    assert near(peak(written), SIZE)


@needs_peak
def test_freed_memory_is_given_back_before(run_python):
    # In a process of its own, for late in a long one glibc keeps what it gives back in a new one.
    # Arrays smaller than what it maps by themselves once larger ones were freed, and are in its
    # heap then; and than what NumPy asks for huge pages for.
    code = f"""
        import numpy as np
        from fastsoftmax.bench.memory import peak
        np.ones({SIZE}, np.uint8)
        print(*(peak(lambda: [np.ones({SIZE // 16}, np.uint8) for _ in range(16)]) for _ in "123"))
        """
    found = [int(text) for text in run_python(code).split()]
    assert len(found) == 3
    assert all(near(one, SIZE) for one in found)


@needs_peak
@pytest.mark.parametrize("threads", [1, 2])
def test_our_softmax_needs_its_result_and_no_more(rng, backend, threads):
    x = rng.normal(size=SHAPE).astype(np.float32)
    out = np.ones_like(x)

    def with_out():
        return fs.softmax(x, out=out, backend=backend, threads=threads)

    def without():
        return fs.softmax(x, backend=backend, threads=threads)

    assert with_out() is out  # and brings threads and code, which are none of the call's need
    assert peak(with_out) == 0
    for _ in range(2):  # though the core keeps the first result's memory for the second
        assert near(peak(without), x.nbytes)


def test_an_exception_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        peak(lambda: 1 // 0)


@pytest.mark.parametrize(
    "status", [None, "Name:\tpython\nVmRSS:\t    2068 kB\n", "VmHWM:\t\nVmRSS:\t\n", ""]
)
def test_a_kernel_that_does_not_tell_is_no_error(monkeypatch, tmp_path, status):
    monkeypatch.setattr(memory, "_CLEAR", str(tmp_path / "clear_refs"))
    monkeypatch.setattr(memory, "_STATUS", str(tmp_path / "status"))
    if status is not None:
        (tmp_path / "status").write_text(status)
    assert peak(lambda: None) is None


def test_a_peak_that_cannot_be_reset_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR", str(tmp_path / "no folder" / "clear_refs"))
    assert peak(lambda: None) is None
