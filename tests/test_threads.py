"""How many threads a call may use and who says so; forks and concurrent calls."""

import threading
import weakref

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax._machine import cpu_quota

NONSENSE = ["0", "-1", "two", "1.5", "1e3", "99999999999", "0x2", "2 3", "²"]
COUNT = "import fastsoftmax as fs; print(fs.get_num_threads())"


@pytest.fixture(autouse=True)
def _restored():
    yield
    fs.set_num_threads(None)


# Choosing a number --------------------------------------------------------------------------------


def test_set_num_threads_and_threads():
    fs.set_num_threads(3)
    assert fs.get_num_threads() == 3
    with fs.threads(5):
        assert fs.get_num_threads() == 5
        with fs.threads(2):
            assert fs.get_num_threads() == 2
        fs.set_num_threads(4)
        assert fs.get_num_threads() == 5
    assert fs.get_num_threads() == 4
    fs.set_num_threads(None)
    assert fs.get_num_threads() >= 1


def test_threads_ends_with_an_exception_too():
    fs.set_num_threads(3)
    with pytest.raises(KeyError), fs.threads(7):
        raise KeyError
    assert fs.get_num_threads() == 3


def test_threads_holds_for_its_own_python_thread():
    fs.set_num_threads(3)
    seen = []
    with fs.threads(7):
        other = threading.Thread(target=lambda: seen.append(fs.get_num_threads()))
        other.start()
        other.join()
    assert seen == [3]


@pytest.mark.parametrize("n", [0, -1, 1025, 2**63, True, False])
def test_numbers_out_of_range(operation, n):
    for call in (fs.set_num_threads, lambda n: operation([1.0], threads=n)):
        with pytest.raises(ValueError, match=r"must be between 1 and 1024, not"):
            call(n)
    with pytest.raises(ValueError, match="n must be"), fs.threads(n):
        pass


@pytest.mark.parametrize("n", [1.0, "2", [1], np.float64(2), 1j])
def test_numbers_that_are_not_integers(operation, n):
    for call in (fs.set_num_threads, lambda n: operation([1.0], threads=n)):
        with pytest.raises(TypeError, match="must be an int"):
            call(n)


def test_integers_of_numpy(operation):
    assert operation([1.0, 2.0], threads=np.int8(2)) is not None
    fs.set_num_threads(np.uint8(2))
    assert fs.get_num_threads() == 2


# The environment ----------------------------------------------------------------------------------


def test_environment_variables_by_rank(run_python):
    assert run_python(COUNT, FASTSOFTMAX_NUM_THREADS="3", OMP_NUM_THREADS="5") == "3"
    assert run_python(COUNT, OMP_NUM_THREADS="5") == "5"
    assert run_python(COUNT, OMP_NUM_THREADS="6,2,1") == "6"
    assert run_python(COUNT, FASTSOFTMAX_NUM_THREADS="", OMP_NUM_THREADS="4") == "4"
    assert int(run_python(COUNT)) >= 1
    stronger = "import fastsoftmax as fs; fs.set_num_threads(2); print(fs.get_num_threads())"
    assert run_python(stronger, FASTSOFTMAX_NUM_THREADS="7") == "2"


@pytest.mark.parametrize("text", NONSENSE)
@pytest.mark.parametrize("name", ["FASTSOFTMAX_NUM_THREADS", "OMP_NUM_THREADS"])
def test_nonsense_in_the_environment(run_python, name, text):
    code = """
        import fastsoftmax as fs
        fs.info()
        for question in (fs.get_num_threads, lambda: fs.softmax([1.0, 2.0], backend="numpy")):
            try:
                question()
            except ValueError as error:
                print(error)
        fs.softmax([1.0, 2.0], backend="numpy", threads=1)
        """
    lines = run_python(code, **{name: text}).splitlines()
    assert len(lines) == 2
    assert all(name in line and repr(text) in line for line in lines)


def test_affinity_is_the_default(run_python):
    code = """
        import os
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        """
    assert run_python(code + "\n        " + COUNT.replace("; ", "\n        ")) == "1"


# cgroup quotas ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("me", "files", "wanted"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "gibberish\n"}, None),
        ("0::/\n", {"cpu.max": "100 0\n"}, None),
        ("0::/\n", {}, None),
        ("", {"cpu.max": "150000 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n", "cpu.max": "max 100000"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000"}, 3.0),
        ("4:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n"}, None),
        (
            "9:memory:/x\n4:cpu,cpuacct:/x\n",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
    ],
)
def test_cpu_quota(control_groups, me, files, wanted):
    assert cpu_quota(*control_groups(me, files)) == wanted


def test_without_cgroups(tmp_path):
    assert cpu_quota(str(tmp_path), str(tmp_path / "absent")) is None


def test_threadpoolctl_limits_are_respected(backend, run_python):
    if not backend.startswith("cpp"):
        pytest.skip("threadpoolctl knows OpenMP and BLAS, and this backend uses neither")
    code = """
        import os, sys, time
        import numpy as np, threadpoolctl
        import fastsoftmax as fs

        def threads():
            return len(os.listdir("/proc/self/task"))

        x = np.zeros((400, 10_000), np.float32)
        fs.softmax(x[:1, :3], backend=sys.argv[1])
        before = threads()
        with threadpoolctl.threadpool_limits(1):
            fs.softmax(x, backend=sys.argv[1])
            assert threads() == before, "more threads than the limit"
        fs.softmax(x, backend=sys.argv[1])
        assert threads() > before, "no threads without the limit either"
        """
    run_python(code, backend, FASTSOFTMAX_NUM_THREADS="4")


# Forks --------------------------------------------------------------------------------------------

FORK = """
    import os, sys, time
    import numpy as np
    import fastsoftmax as fs

    x = np.random.default_rng(0).normal(size=(400, 10_000)).astype(np.float32)
    wanted = fs.softmax(x, backend=sys.argv[1], threads=4)

    def child(generations):
        pid = os.fork()
        if pid == 0:
            got = fs.softmax(x, backend=sys.argv[1], threads=4)
            code = 0 if (got == wanted).all() else 3
            if generations > 1 and code == 0:
                code = child(generations - 1)
            os._exit(code)
        for _ in range(3000):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return 9

    assert child(2) == 0
    assert (fs.softmax(x, backend=sys.argv[1], threads=4) == wanted).all()
    assert child(1) == 0
    """


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
def test_a_forked_child_computes(backend, run_python):
    run_python(FORK, backend)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
def test_a_forked_pool_computes(backend, run_python):
    code = """
        import multiprocessing, sys
        import numpy as np
        import fastsoftmax as fs

        def work(seed):
            x = np.random.default_rng(seed).normal(size=(400, 10_000)).astype(np.float32)
            return fs.logsumexp(x, -1, backend=sys.argv[1], threads=4)

        wanted = [work(seed) for seed in range(4)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            got = pool.map_async(work, range(4)).get(60)
        assert all((one == other).all() for one, other in zip(got, wanted))
        """
    run_python(code, backend)


# Concurrent calls ---------------------------------------------------------------------------------


def test_concurrent_calls(backend, rng):
    shapes = [(300, 1000), (1, 200_000), (5000, 10), (7, 33)]
    inputs = [rng.normal(0, 5, shape).astype(np.float32) for shape in shapes]

    def cross_entropy(x, **options):
        labels = np.arange(len(x)) % x.shape[-1]
        loss, grad = fs.cross_entropy(x, labels, return_grad=True, **options)
        return np.append(grad, loss)

    def binary_cross_entropy(x, axis, **options):
        loss, grad = fs.binary_cross_entropy(x, x > 0, return_grad=True, **options)
        return np.append(grad, loss)

    losses = (cross_entropy, binary_cross_entropy)
    functions = (fs.softmax, fs.log_softmax, fs.logsumexp, *losses)
    work = [(function, x) for function in functions for x in inputs]
    wanted = [function(x, axis=-1, backend=backend, threads=1).tobytes() for function, x in work]
    gate = threading.Barrier(8)
    wrong, done = [], []

    def run(start):
        gate.wait()
        for step in range(3 * len(work)):
            place = (start + step) % len(work)
            function, x = work[place]
            got = function(x, axis=-1, backend=backend, threads=1 + step % 3)
            if got.tobytes() != wanted[place]:
                wrong.append((function.__name__, x.shape))
        done.append(start)

    workers = [threading.Thread(target=run, args=(start,)) for start in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert sorted(done) == list(range(8))


def test_concurrent_first_calls(backend, run_python):
    code = """
        import sys, threading
        import numpy as np
        import fastsoftmax as fs

        x = np.random.default_rng(0).normal(size=(100, 1000)).astype(np.float32)
        gate, results = threading.Barrier(8), []

        def run():
            gate.wait()
            results.append(fs.softmax(x, backend=sys.argv[1], threads=2).tobytes())

        workers = [threading.Thread(target=run) for _ in range(8)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
        assert len(results) == 8
        assert len(set(results)) == 1
        """
    run_python(code, backend)


# The GIL, the budget, memory that runs out --------------------------------------------------------

GIL = """
    import sys, threading, time
    import numpy as np
    import fastsoftmax as fs

    ticks, done = 0, False

    def tick():
        global ticks
        while not done:
            time.sleep(1e-4)
            ticks += 1

    def ticks_during(x, calls):
        # Until a call lets the other thread in, which nothing else does.
        before = ticks
        for _ in range(calls):
            fs.softmax(x, backend=sys.argv[1], threads=1)
            if ticks > before:
                break
        return ticks - before

    large, small = np.zeros((500, 1000), np.float32), np.zeros((1, 10), np.float32)
    for x in (large, small):
        fs.softmax(x, backend=sys.argv[1], threads=1)
    other = threading.Thread(target=tick)
    other.start()
    sys.setswitchinterval(1000)
    time.sleep(0.05)  # from here on the other thread waits by that interval
    print(ticks_during(small, 20_000), ticks_during(large, 2000))
    sys.setswitchinterval(0.005)
    done = True
    other.join()
    """


def test_long_calls_let_other_python_threads_run(backend, run_python):
    small, large = map(int, run_python(GIL, backend).split())
    assert large > 0
    if backend.startswith("cpp"):  # the others let go whenever NumPy or Numba do
        assert small == 0


def test_concurrent_calls_share_one_budget_of_threads(backend, run_python):
    if not backend.startswith("cpp"):
        pytest.skip("the Numba backend has one pool for all calls, NumPy's has no threads")
    code = """
        import os, sys, threading, time
        import numpy as np
        import fastsoftmax as fs

        def count():
            return len(os.listdir("/proc/self/task"))

        def run(x):
            fs.logsumexp(x, -1, backend=sys.argv[1], threads=4)

        row = np.linspace(-1, 1, 100_000, dtype=np.float32)
        long, short = (np.broadcast_to(row, (rows, len(row))) for rows in (4000, 40))
        run(short[:1, :10])
        alone = count()
        first = threading.Thread(target=run, args=(long,))
        first.start()
        while count() < alone + 4:  # itself and three helpers
            assert first.is_alive(), "no helpers were started"
            time.sleep(1e-4)
        run(short)
        assert first.is_alive(), "it ended too soon for this to be a test"
        assert count() == alone + 4, "the second call started helpers of its own"
        first.join()
        end = time.monotonic() + 10  # a late helper is left alone for a while
        while count() < alone + 3:
            assert time.monotonic() < end, "the budget is still taken"
            run(short)
        """
    run_python(code, backend)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_interpreter_may_end_during_a_call(backend, run_python, threads):
    """Daemon threads that ask for the GIL when there is none any more."""
    code = """
        import sys, threading, time
        import numpy as np
        import fastsoftmax as fs

        x = np.zeros((300, 1000), np.float32)
        fs.softmax(x, backend=sys.argv[1])
        begun = threading.Barrier(4)

        def work():
            begun.wait()
            while True:
                for function in (fs.softmax, fs.log_softmax, fs.logsumexp):
                    function(x, -1, backend=sys.argv[1], threads=int(sys.argv[2]))

        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        begun.wait()
        time.sleep(0.05)
        """
    for _ in range(3):
        run_python(code, backend, threads)


def test_a_call_that_is_over_holds_nothing(rng):
    """Helpers that were busy until its end find out later that they are not wanted."""
    from fastsoftmax.backends import _numba, _numba_pieces

    if _numba.reason() is not None:
        pytest.skip(_numba.reason())
    pool, free = _numba_pieces.pool(), threading.Event()
    for _ in range(pool._max_workers):
        pool.submit(free.wait, 60)
    try:
        x = rng.normal(size=(300, 1000))
        gone = weakref.ref(x)
        fs.softmax(x, backend="numba", threads=2)
        del x
        assert gone() is None
    finally:
        free.set()


def test_memory_that_runs_out_is_a_memory_error(backend, run_python):
    if not backend.startswith("cpp"):
        pytest.skip("Python's own allocations raise MemoryError by themselves")
    code = """
        import resource, sys
        import numpy as np
        import fastsoftmax as fs

        # A result that is not in the compute type takes 512 KiB of scratch for every thread.
        x = np.zeros((200, 128 * 1024), np.float16)
        out = np.full_like(x, 7)
        fs.softmax(x[:1, :10], backend=sys.argv[1])
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**24, limit[1]))
        try:
            fs.softmax(x, out=out, backend=sys.argv[1], threads=100)
        except MemoryError:
            print("MemoryError")
        resource.setrlimit(resource.RLIMIT_AS, limit)
        assert (out == 7).all()
        fs.softmax(x, out=out, backend=sys.argv[1], threads=2)
        assert (out == np.float16(1 / 131072)).all()
        """
    assert run_python(code, backend) == "MemoryError"
