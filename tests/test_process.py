"""What a process notices of the package: modules, floating-point state, environment, output."""

import json
import platform
import sys

import pytest

MODULES = 55
"""That an import may bring in beyond NumPy's own. Each takes 0.3 to 0.4 ms: 46 take 16 ms, by
`fastsoftmax bench --family startup`, and 20 ms are the most that is wanted."""

X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="reads and sets MXCSR")

# MXCSR lies behind the 28 bytes of x87 state in glibc's fenv_t.
FLOATING_POINT = """
    import ctypes, sys
    import numpy as np
    import fastsoftmax as fs

    libm = ctypes.CDLL("libm.so.6")

    def mxcsr(value=None):
        state = (ctypes.c_uint32 * 8)()
        libm.fegetenv(state)
        if value is not None:
            state[7] = value
            libm.fesetenv(state)
        return state[7] & ~0x3F  # without the sticky flags

    def cross_entropy(x, axis, backend, smoothing=0.0):
        options = {"label_smoothing": smoothing, "return_grad": True, "backend": backend}
        labels = 7 * np.arange(len(x)) % x.shape[-1]
        losses, grad = fs.cross_entropy(x, labels, axis=axis, reduction="none", **options)
        return np.append(losses, grad)

    def smoothed(x, axis, backend):
        return cross_entropy(x, axis, backend, 0.1)

    def columns(x, axis, backend):
        labels = 7 * np.arange(x.shape[1]) % len(x)
        return fs.cross_entropy(x, labels, axis=0, reduction="none", backend=backend)

    def binary(x, axis, backend):
        options = {"reduction": "none", "return_grad": True, "backend": backend}
        return np.append(*fs.binary_cross_entropy(x, x > 3, **options))

    FTZ_DAZ = 0x8040
    LOSSES = cross_entropy, smoothed, columns, binary
    backend = sys.argv[1]
    rng = np.random.default_rng()
    calls = [
        (function, rng.normal(0, 20, shape).astype(dtype))
        for function in (fs.softmax, fs.log_softmax, fs.logsumexp, *LOSSES)
        for shape in ((1, 10), (3, 1000), (2000, 10), (5, 100_000))
        for dtype in (np.float32, np.float64, np.float16)
    ]

    def results():
        return [function(x, axis=-1, backend=backend) for function, x in calls]

    def compare(got, wanted, tolerance):
        for one, other, (function, x) in zip(got, wanted, calls):
            what = function.__name__, x.shape, x.dtype
            if backend.startswith("cpp"):  # which computes in a state of its own
                assert one.tobytes() == other.tobytes(), what
            else:
                limits = np.finfo(x.dtype)
                spacing = limits.smallest_subnormal if x.dtype == np.float16 else limits.tiny
                one, other = np.float64(one), np.float64(other)
                rtol, atol = tolerance[x.dtype.name], 2 * float(spacing)
                if function is fs.logsumexp:  # near 0 the maximum's digits have cancelled
                    atol = atol + rtol * np.abs(np.float64(x)).max(-1)
                if function is smoothed:  # a gradient is the difference of numbers up to 1
                    atol = atol + rtol
                assert np.allclose(one, other, rtol=rtol, atol=atol), what
    """


def test_import_brings_in_few_modules(run_python):
    code = """
        import numpy, sys
        before = set(sys.modules)
        import fastsoftmax
        print(len(set(sys.modules) - before))
        """
    assert int(run_python(code)) <= MODULES


def test_import_brings_in_nothing_optional(run_python):
    code = """
        import numpy, sys
        before = set(sys.modules)
        import fastsoftmax
        print(*{name.partition(".")[0] for name in set(sys.modules) - before})
        """
    brought = set(run_python(code).split())
    assert "fastsoftmax" in brought
    assert brought <= {"fastsoftmax", "numpy"} | set(sys.stdlib_module_names)
    assert not brought & {"ctypes", "multiprocessing", "asyncio", "email", "concurrent"}
    assert not brought & {"pathlib", "dataclasses"}  # slow to import


def test_a_call_brings_in_nothing_optional(run_python):
    code = """
        import numpy, sys
        import fastsoftmax as fs
        fs.softmax([1.0, 2.0], backend="numpy")
        optional = ("numba", "llvmlite", "scipy", "torch", "jax", "rich", "ml_dtypes", "mpmath")
        print([name for name in optional if name in sys.modules])
        """
    assert run_python(code) == "[]"


def test_import_is_silent_and_sets_no_environment(run_python):
    code = """
        import json, os, numpy, ctypes
        environment = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")

        def variables():  # os.environ is a copy that C code does not write to
            found, place = [], 0
            while environment[place] is not None:
                found.append(environment[place].decode(errors="replace"))
                place += 1
            return sorted(found)

        before = variables(), dict(os.environ)
        import fastsoftmax
        assert (variables(), dict(os.environ)) == before
        fastsoftmax.backends()
        assert (variables(), dict(os.environ)) == before
        """
    child = run_python(code, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stdout == ""
    assert child.stderr == ""


@pytest.mark.parametrize("used", ["import fastsoftmax", "import fastsoftmax as f; f.backends()"])
def test_import_leaves_subnormals_alone(run_python, used):
    code = f"""
        {used}
        tiny = 2.0**-1030
        assert tiny * 0.5 == 2.0**-1031 != 0
        assert tiny + tiny == 2.0**-1029
        """
    run_python(code)


@X86
def test_a_call_leaves_the_floating_point_state_alone(run_python, backend):
    code = """
    for state in (0x1F80, 0x1F80 | FTZ_DAZ, 0x3F80, 0x5F80, 0x7F80):
        mxcsr(state)
        results()
        found = mxcsr()
        mxcsr(0x1F80)
        assert found == state, (hex(found), hex(state))
    assert np.float32(2.0**-130) * np.float32(0.5) == np.float32(2.0**-131)
    """
    run_python(FLOATING_POINT + code, backend)


@X86
@pytest.mark.parametrize("threads", ["1", "4"])
def test_results_are_right_in_flush_to_zero(run_python, backend, threads):
    code = """
    wanted = results()
    mxcsr(0x1F80 | FTZ_DAZ)
    got = results()
    mxcsr(0x1F80)
    compare(got, wanted, {"float16": 1e-3, "float32": 5e-7, "float64": 1e-15})
    """
    run_python(FLOATING_POINT + code, backend, FASTSOFTMAX_NUM_THREADS=threads)


@X86
@pytest.mark.parametrize("rounding", ["0x3F80", "0x5F80", "0x7F80"])
def test_results_are_right_in_another_rounding_mode(run_python, backend, rounding):
    # Python cannot set the mode. Where arguments are then reduced to [0, 1] instead of
    # [-1/2, 1/2], a polynomial made for the latter keeps fewer digits.
    code = """
    wanted = results()
    mxcsr(int(sys.argv[2], 16))
    got = results()
    mxcsr(0x1F80)
    compare(got, wanted, {"float16": 2e-3, "float32": 2e-5, "float64": 1e-10})
    """
    run_python(FLOATING_POINT + code, backend, rounding)


@X86
def test_traps_are_not_sprung(run_python, backend):
    if not backend.startswith("cpp"):
        pytest.skip("only the C++ core sets the floating-point state")
    code = """
    specials = np.float32([np.inf, -np.inf, 3e38, -3e38, 1e-40, 0, 1, 100])
    x = rng.choice(specials, (500, 40))
    x[0] = np.nan
    results()
    mxcsr(0x1F80 & ~0x0E80)  # invalid, division by zero, overflow, underflow
    for function in (fs.softmax, fs.log_softmax, fs.logsumexp, cross_entropy, smoothed, columns):
        function(x, axis=-1, backend=backend)
    fs.binary_cross_entropy(x, x, return_grad=True, backend=backend)
    for function in (fs.softmax_backward, fs.log_softmax_backward):
        function(x, x, backend=backend)
    mxcsr(0x1F80)
    """
    run_python(FLOATING_POINT + code, backend)


@X86
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_a_row_of_several_threads_has_a_state_of_its_own(run_python, backend, kind):
    if not backend.startswith("cpp"):
        pytest.skip("only the C++ core sets the floating-point state")
    code = """
    def run(x, threads):
        y = x.copy()
        return (
            fs.softmax(x, backend=backend, threads=threads).tobytes(),
            fs.softmax(y, out=y, backend=backend, threads=threads).tobytes(),
        )

    rows = [(rng.standard_normal((1, 300_000)) * 10).astype(sys.argv[2]) for _ in range(20)]
    for x in rows:
        wanted = run(x, 1)
        for state in (0x3F80, 0x5F80, 0x7F80):  # other rounding modes
            mxcsr(state)
            got = run(x, 2), run(x, 1)
            mxcsr(0x1F80)
            assert got == (wanted, wanted), hex(state)
    for special in (np.nan, np.inf, -np.inf, np.finfo(x.dtype).tiny / 4):
        for part in (slice(None), [5, 100_000]):
            x = rows[0].copy()
            x[0, part] = special
            mxcsr(0x1000)  # all traps, of subnormal operands too
            with np.errstate(all="ignore"):
                run(x, 2)
            mxcsr(0x1F80)
    """
    run_python(FLOATING_POINT + code, backend, kind)


# A forced choice ----------------------------------------------------------------------------------

FIRST_CALL = """
    import json
    import fastsoftmax as fs

    report = fs.info()
    json.dumps(report)
    for _ in range(2):
        try:
            fs.softmax([1.0, 2.0])
        except fs.BackendUnavailable as error:
            print(error)
        else:
            print("computed")
    print(report["backend"]["chosen"].splitlines()[0])
    print(fs.softmax([0.0, 0.0], backend="numpy"))
    """


@pytest.mark.parametrize(
    "name", ["nonsense", "numpy:avx2", "cpp:nonsense", "cpp:", "CPP", " numpy"]
)
def test_a_forced_backend_that_cannot_run_is_an_error(run_python, name):
    output = run_python(FIRST_CALL, FASTSOFTMAX_BACKEND=name)
    assert "computed" not in output
    assert output.count("FASTSOFTMAX_BACKEND") == 3
    assert repr(name) in output
    assert output.endswith("[0.5 0.5]")


@pytest.mark.parametrize("name", ["nonsense", "avx", "AVX2", "sse9"])
def test_a_forced_instruction_set_that_cannot_run_is_an_error(run_python, core, name):
    output = run_python(FIRST_CALL, FASTSOFTMAX_ISA=name)
    assert "computed" not in output
    assert f"FASTSOFTMAX_ISA={name!r}" in output
    assert output.endswith("[0.5 0.5]")


@pytest.fixture
def core():
    """Skip where there is no C++ core to choose an instruction set of."""
    import fastsoftmax as fs

    if not any(name.startswith("cpp") for name in fs.backends()):
        pytest.skip("the C++ core is not there")


def test_a_forced_choice_that_can_run_is_taken(run_python, backend):
    code = """
        import fastsoftmax as fs
        print(fs.info()["backend"]["chosen"])
        """
    assert run_python(code, FASTSOFTMAX_BACKEND=backend) == backend
    family, _, variant = backend.partition(":")
    if variant:
        assert run_python(code, FASTSOFTMAX_ISA=variant) == backend
        assert run_python(code, FASTSOFTMAX_ISA=variant, FASTSOFTMAX_BACKEND=family) == backend


def test_a_change_of_what_info_gave_changes_nothing_else(run_python):
    code = """
        import fastsoftmax as fs
        before = fs.backends()
        fs.info()["backends"].clear()
        print(fs.backends() == before and len(fs.info()["backends"]) > 0)
        """
    assert run_python(code) == "True"


def test_info_is_fit_for_json(run_python):
    code = "import fastsoftmax as fs, json; print(json.dumps(fs.info()))"
    report = json.loads(run_python(code))
    assert {"version", "backend", "backends", "threads"} <= set(report)
    assert report["threads"]["count"] >= 1
