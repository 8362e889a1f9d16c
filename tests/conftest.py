"""What every test shares: the backends to run on, fresh random numbers, child processes.

FASTSOFTMAX_REQUIRE=cpp,numba makes a backend that cannot run here a failure instead of a skip;
FASTSOFTMAX_SEED repeats the random numbers of an earlier run, whose seed its report header gives.
"""

import os
import secrets
import subprocess
import sys
import textwrap
import zlib

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _registry, _truth
from fastsoftmax._registry import reasons

SEED = int(os.environ.get("FASTSOFTMAX_SEED") or secrets.randbits(32))
OPERATIONS = {"softmax": fs.softmax, "log_softmax": fs.log_softmax, "logsumexp": fs.logsumexp}


def pytest_configure(config):
    required = [name for name in os.environ.get("FASTSOFTMAX_REQUIRE", "").split(",") if name]
    missing = {name: reasons().get(name, "unknown") for name in required}
    usable = {name.partition(":")[0] for name in fs.backends()}
    lacking = [f"{name}: {why}" for name, why in missing.items() if name not in usable]
    if lacking:
        raise pytest.UsageError(f"FASTSOFTMAX_REQUIRE is not met: {'; '.join(lacking)}")


def pytest_report_header(config):
    return [f"FASTSOFTMAX_SEED={SEED}", f"backends: {', '.join(fs.backends())}"]


def _backends():
    for name, why in reasons().items():
        marks = pytest.mark.skip(reason=f"{name}: {why}") if why else ()
        yield pytest.param(name, marks=marks, id=name)


# Session scope lets Hypothesis tests use it; they refuse fixtures that change between examples.
@pytest.fixture(scope="session", params=_backends())
def backend(request):
    """The name of a backend, every variant that there is in turn."""
    return request.param


@pytest.fixture(scope="session")
def exact(backend):
    """Whether the backend promises fixed ULP bounds and fixed bits: all but the NumPy one."""
    return backend != "numpy"


@pytest.fixture(params=OPERATIONS)
def operation(request, backend):
    """Each public function along the last axis, on the backend, with its name as `.name`."""
    function = OPERATIONS[request.param]

    def run(x, axis=-1, **options):
        return function(x, axis, **{"backend": backend, **options})

    run.name = request.param
    return run


@pytest.fixture
def no_shortcuts(monkeypatch):
    """Every call takes the general way, for tests that put something else at its end."""
    monkeypatch.setattr(_registry, "_offer", lambda name, backend: None)
    for offered in _registry.shortcuts.values():
        for name in tuple(offered):
            monkeypatch.delitem(offered, name)


@pytest.fixture(scope="session")
def seed():
    """The run's seed, for what several tests share; a test of its own takes `rng`."""
    return SEED


@pytest.fixture
def rng(request):
    """Fresh random numbers, the same for a test and a seed whatever other tests run."""
    return np.random.default_rng([SEED, zlib.crc32(request.node.nodeid.encode())])


@pytest.fixture
def run_python(tmp_path):
    """Run code in a fresh interpreter away from the source tree; its stdout, or a failure."""

    def run(code, *arguments, check=True, timeout=120, **environment):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FASTSOFTMAX_")}
        inherited.pop("OMP_NUM_THREADS", None)
        child = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), *arguments],
            env={**inherited, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert child.returncode == 0, f"exit code {child.returncode}\n{child.stderr}"
            return child.stdout.strip()
        return child

    return run


def _reference(name, x, axis, where, temperature, dtype):
    """The operation by its formula in long double, along any axes; what errors are measured by."""
    computed = "float64" if dtype == "float64" else "float32"
    with np.errstate(all="ignore"):
        scores = np.asarray(x).astype(computed).astype(np.longdouble)
        scores = np.where(where, scores / np.asarray(temperature, np.longdouble), -np.inf)
        top = scores.max(axis, keepdims=True)
        shifted = scores - np.where(np.isfinite(top), top, 0)
        terms = np.exp(shifted)
        # log1p of the sum without one of the largest: digits of a small result stay.
        ties = np.count_nonzero(shifted == 0, axis=axis, keepdims=True)
        rest = np.where(shifted == 0, 0, terms).sum(axis, keepdims=True) + (ties - 1)
        log_total = np.where(np.isfinite(top), np.log1p(rest), 0)
        gap = -shifted
        # What remains of a winner's result is made of the scores behind it.
        behind = np.where(gap > 0, gap, np.inf).min(axis, keepdims=True)
        behind = np.where(ties == 1, behind, 0)
        if name == "softmax":
            values = size = np.where(np.isfinite(top), terms / (1 + rest), np.nan)
        elif name == "log_softmax":
            values = np.where(np.isfinite(top), shifted - log_total, np.nan)
            size = np.abs(values)
            gap = np.where(gap > 0, gap, behind)
        else:
            values = (top + log_total).squeeze(axis)
            size = np.maximum(np.abs(values), np.maximum(np.abs(top), log_total).squeeze(axis))
            gap = behind.squeeze(axis)
        if name != "logsumexp":
            empty = ~np.any(np.broadcast_to(where, scores.shape), axis=axis, keepdims=True)
            absent = 0 if name == "softmax" else -np.inf
            values = np.where(empty | ~np.asarray(where), absent, values)
        limit = ml_dtypes.finfo(dtype)
        beyond = np.abs(values) > float(limit.max) * (1 + np.longdouble(limit.eps) / 4)
        values = np.where(beyond, np.copysign(np.inf, values), values)
        limits = _truth.FORMATS[computed]
        flushed = 2.0**limits.lowest * (1 + 8 * 2.0**-limits.fraction)
        unit = _truth._unit(np.nan_to_num(size, posinf=0), _truth.FORMATS[dtype])
        return _truth.Truth(values, unit, gap, flushed, _truth.Bound(0))


@pytest.fixture
def control_groups(tmp_path):
    """Lay out files as the kernel does; the root of the groups and the process's own entry."""

    def lay_out(me, files):
        for place, text in files.items():
            path = tmp_path / "sys" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "me").write_text(me)
        return str(tmp_path / "sys"), str(tmp_path / "me")

    return lay_out


@pytest.fixture(scope="session")
def reference():
    """The tests' own truth, for any axes, masks and temperatures; see `test_accuracy`."""
    return _reference


@pytest.fixture(scope="session")
def judge(backend):
    """Assert that a result keeps the backend's promise of accuracy, element by element."""

    def judge(name, got, x, axis=-1, *, where=True, temperature=1.0):
        dtype = got.dtype.name
        expected = _reference(name, x, axis, where, temperature, dtype)
        assert got.shape == expected.values.shape
        expected = expected._replace(
            values=np.atleast_1d(expected.values), gap=np.atleast_1d(expected.gap)
        )
        promise = _truth.promise(backend, name, dtype)
        worst = _truth.deviation(np.atleast_1d(got), expected, promise)
        assert worst.ok, f"{backend} {name} {dtype}: {worst}"

    return judge
