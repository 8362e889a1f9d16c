"""Memory of results that the caller does not hand in: recycled, bounded, never shared, filled."""

import copy
import gc
import pickle
import sys
import threading

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _machine, _memory

MEGA = 1 << 20
FUNCTIONS = (fs.softmax, fs.log_softmax)

if not any(name.startswith("cpp") for name in fs.backends()):
    pytest.skip("only the core recycles", allow_module_level=True)


def core():
    return sys.modules["fastsoftmax._core"]


@pytest.fixture(autouse=True)
def _empty_pool():
    gc.collect()  # results in garbage, for one of Numba's compiler, must not come back half-way
    gc.disable()
    fs.clear_cache()
    limit = core().idle_limit()
    yield
    gc.enable()
    core().set_idle_limit(limit)
    fs.clear_cache()


def address(array):
    return array.__array_interface__["data"][0]


def scores(rng, shape, dtype=np.float32):
    return rng.normal(0, 3, shape).astype(dtype)


# Recycling ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_the_next_result_lies_where_the_last_one_was(operation, rng, dtype):
    shape = (50_000, 10) if operation.name == "logsumexp" else (500, 1000)
    x = scores(rng, shape, dtype)
    first = operation(x)
    here, held = address(first), first.copy()
    assert core().idle_bytes() == 0
    del first
    assert core().idle_bytes() >= held.nbytes
    second = operation(x)
    assert address(second) == here
    assert core().idle_bytes() == 0
    np.testing.assert_array_equal(second, held)


def test_results_of_about_the_same_size_share(rng):
    x = scores(rng, (300, 1000))
    here = address(fs.softmax(x))
    assert address(fs.softmax(x[:295])) == here
    del x
    assert core().idle_bytes() < 1.2 * 300 * 1000 * 4


def test_small_results_are_numpys_own(backend, rng):
    x = scores(rng, (16, 1000))
    for function in FUNCTIONS:
        assert function(x, backend=backend).flags.owndata
        assert function(x, dtype="float32", backend=backend).flags.owndata
    assert core().idle_bytes() == 0


@pytest.mark.parametrize("options", [{}, {"temperature": 2.0}], ids=["shortcut", "general"])
def test_large_results_are_as_good_as_numpys(backend, rng, options):
    x = scores(rng, (300, 1000))
    got = fs.softmax(x, backend=backend, **options)
    assert type(got) is np.ndarray
    assert got.flags.writeable
    assert got.flags.c_contiguous
    assert got.flags.aligned
    assert address(got) % 64 == 0
    assert abs((address(got) - address(x)) % 4096 - 2048) < 64
    kept = got.copy()
    for twin in (pickle.loads(pickle.dumps(got)), copy.copy(got), copy.deepcopy(got), got + 0):
        np.testing.assert_array_equal(twin, kept)
        assert not np.shares_memory(twin, got)
    got.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        got[0] = 1
    got.flags.writeable = True
    got *= 0
    assert not got.any()
    view = memoryview(got.base)
    assert view.nbytes >= got.nbytes
    del got
    view[:3] = b"mem"
    fs.softmax(x, backend=backend, **options)
    assert view[:3] == b"mem"


@pytest.mark.parametrize("dtype", [None, np.float64, np.float16])
def test_order_in_memory_is_that_of_x(backend, rng, dtype):
    whole = scores(rng, (40, 1, 60, 50))
    views = [
        whole,
        whole.T,
        whole.transpose(2, 0, 3, 1),
        whole[::-1, :, ::2],
        whole.transpose(3, 1, 0, 2)[:, :, ::-1],
        np.broadcast_to(whole[:, :, :, :1], whole.shape),
        np.asfortranarray(whole[:, 0]),
        whole.reshape(-1, 1),
        np.lib.stride_tricks.as_strided(whole, (40, 1, 3000), (12000, 7, 4)),
    ]
    for x in views:
        got = fs.softmax(x, dtype=dtype, backend=backend)
        assert got.base is not None
        wanted = np.empty_like(x, dtype=got.dtype)
        assert got.strides == wanted.strides, x.strides
        part = x[:2]
        small = _memory.empty(part.shape, got.dtype, part)
        assert small.strides == np.empty_like(part, dtype=got.dtype).strides, part.strides


# Bounds -------------------------------------------------------------------------------------------


def test_the_limit_holds(rng):
    assert 0 < core().idle_limit() <= 1 << 30
    core().set_idle_limit(8 * MEGA)
    x = scores(rng, (1024, 256))
    results = [fs.softmax(x) for _ in range(20)]
    assert core().idle_bytes() == 0
    del results
    assert 6 * MEGA < core().idle_bytes() <= 8 * MEGA


def test_what_was_idle_longest_goes_first(rng):
    old, middle, new = (scores(rng, (n * 1024, 256)) for n in (1, 2, 3))
    where = [address(fs.softmax(x)) for x in (old, middle, new)]
    assert core().idle_bytes() >= 6 * MEGA
    core().set_idle_limit(6 * MEGA)  # each is a page more than its megabytes
    assert 5 * MEGA <= core().idle_bytes() < 6 * MEGA
    assert [address(fs.softmax(x)) for x in (new, middle)] == [where[2], where[1]]
    again = fs.softmax(middle), fs.softmax(new)
    assert core().idle_bytes() == 0, "the oldest was kept"
    del again


def test_a_result_larger_than_the_limit_displaces_nothing(rng):
    core().set_idle_limit(4 * MEGA)
    small, large = scores(rng, (1024, 256)), scores(rng, (5 * 1024, 256))
    fs.softmax(small)
    before = core().idle_bytes()
    assert before >= MEGA
    fs.softmax(large)
    assert core().idle_bytes() == before


def test_clear_cache_gives_memory_back_and_leaves_results_alone(run_python):
    code = """
        import fastsoftmax as fs
        import numpy as np

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096

        x = np.random.default_rng(0).normal(size=(64, 512 * 1024)).astype(np.float32)
        fs.softmax(x[:1, :9])
        kept = fs.softmax(x[:1])
        copy = kept.copy()
        before = resident()
        fs.softmax(x)
        held = resident()
        assert held - before > x.nbytes / 2, "nothing was kept"
        fs.clear_cache()
        assert held - resident() > x.nbytes / 2, "nothing was given back"
        assert (kept == copy).all()
        fs.clear_cache()
        """
    run_python(code)


def test_memory_that_control_groups_grant(control_groups):
    def memory(me, files):
        return _machine.memory(*control_groups(me, files))

    whole = memory("", {})
    assert whole is None or whole > 1 << 28
    assert memory("0::/a\n", {"a/memory.max": "max\n"}) == whole
    assert memory("0::/a\n", {"a/memory.max": "1048576\n"}) == MEGA
    assert memory("0::/a/b\n", {"a/b/memory.max": "max\n"}) == MEGA
    assert memory("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "4096\n"}) == 4096
    assert memory("4:memory:/y\n", {"memory/y/memory.limit_in_bytes": f"{2**63 - 4096}"}) in (
        whole,
        2**63 - 4096,
    )
    assert memory("4:cpu:/x\n", {}) == whole


# Nobody sees what was there before ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("axis", [0, -1])
def test_every_element_is_written(backend, exact, rng, dtype, axis):
    x = scores(rng, (300, 500), dtype)
    mask = rng.random(x.shape) < 0.5
    mask[3], mask[:, 5] = False, False
    for options in ({"where": mask}, {}, {"where": np.False_}):
        for function, absent in ((fs.softmax, 0), (fs.log_softmax, -np.inf)):
            wanted = function(x, axis, backend=backend, out=np.zeros_like(x), **options)
            stale = function(x, axis, backend=backend, **options)
            stale[...] = np.nan
            here = address(stale)
            del stale
            got = function(x, axis, backend=backend, **options)
            assert address(got) == here
            # The bits of the NumPy backend depend on alignment.
            np.testing.assert_allclose(got, wanted, 0 if exact else 8 * np.finfo(dtype).eps)
            absentees = np.broadcast_to(~options.get("where", np.True_), x.shape)
            assert (got[absentees] == absent).all()
            del got


def test_views_keep_their_memory(backend, rng):
    x, y = scores(rng, (500, 1000)), scores(rng, (500, 1000))
    view = fs.softmax(x, backend=backend)[7:9, ::3]
    kept = view.copy()
    later = fs.softmax(y, backend=backend)
    assert not np.shares_memory(view, later)
    np.testing.assert_array_equal(view, kept)
    fs.clear_cache()
    np.testing.assert_array_equal(view, kept)
    del view
    assert core().idle_bytes() >= x.nbytes
    seen = memoryview(later)
    del later
    assert core().idle_bytes() < 2 * x.nbytes
    assert np.asarray(seen).sum(dtype=float) == pytest.approx(500)


def test_threads_do_not_share_memory(rng):
    inputs = [scores(rng, (rows, 1000)) for rows in (20, 60, 100, 300)]
    wanted = [fs.softmax(x) for x in inputs]
    gate, wrong = threading.Barrier(6), []

    def run(start):
        gate.wait()
        held = []
        for turn in range(80):
            place = (start + turn) % len(inputs)
            got = fs.softmax(inputs[place], threads=1)
            held.append((place, got))
            if turn % 3 == 2:
                wrong.extend(p for p, r in held if not np.array_equal(r, wanted[p]))
                held.clear()
            if turn % 20 == start:
                fs.clear_cache()

    workers = [threading.Thread(target=run, args=(start,)) for start in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
def test_forks_while_threads_take_memory(run_python):
    code = """
        import os, threading, time
        import numpy as np
        import fastsoftmax as fs

        x = np.random.default_rng(0).normal(size=(100, 1000)).astype(np.float32)
        wanted = fs.softmax(x, threads=1)
        done = threading.Event()

        def work():
            while not done.is_set():
                fs.softmax(x, threads=1)

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers: worker.start()
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                same = (fs.softmax(x, threads=1) == wanted).all()
                fs.clear_cache()
                same = same and (fs.softmax(x, threads=1) == wanted).all()
                os._exit(0 if same else 3)
            for _ in range(3000):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended: break
                time.sleep(0.01)
            else:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            assert ended and status == 0, "a child hung" if not ended else status
        done.set()
        for worker in workers: worker.join()
        assert (wanted == fs.softmax(x)).all()
        """
    run_python(code)


def test_results_may_outlive_the_interpreter(run_python):
    code = """
        import builtins
        import numpy as np
        import fastsoftmax as fs

        builtins.kept = fs.softmax(np.zeros((100, 1000), np.float32))
        builtins.view = builtins.kept[3:]
        print(kept.base)
        """
    assert "Buffer" in run_python(code)


def test_without_the_core_memory_is_numpys(run_python):
    code = """
        import sys
        sys.modules["fastsoftmax._core"] = None
        import numpy as np
        import fastsoftmax as fs

        assert fs.softmax(np.zeros((100, 1000), np.float32), backend="numpy").flags.owndata
        assert fs.logsumexp(np.zeros((100_000, 2)), axis=-1, backend="numpy").flags.owndata
        fs.clear_cache()
        print(fs.backends()[0].partition(":")[0])
        """
    assert run_python(code) != "cpp"
