"""No kernel touches memory beyond its arrays: rows that begin and end at pages that fault.

A fault kills the process, so each backend sweeps in a child: this file run as a program.
AddressSanitizer would not do, for it does not see masked loads.
"""

import ctypes
import mmap
import subprocess
import sys
import threading
from itertools import product

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs

PAGE = mmap.PAGESIZE
PROT_NONE = 0
ROWS = 3
MANY_ROWS = 19  # as many as a vector of AVX-512 has lanes, and a few more


class Fenced:
    """Memory between two pages that must not be touched."""

    def __init__(self, pages):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self.memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.bytes = pages * PAGE
        for fence in (0, pages + 1):
            if libc.mprotect(self.base + fence * PAGE, PAGE, PROT_NONE) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

    def array(self, shape, dtype, *, at_end):
        """An array whose last byte, or first, is next to a fence."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        start = self.base + PAGE + (self.bytes - size if at_end else 0)
        return np.frombuffer((ctypes.c_char * size).from_address(start), dtype).reshape(shape)


def survives(backend, program):
    child = subprocess.run(
        [sys.executable, __file__, backend, program], capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, f"exit code {child.returncode}\n{child.stderr}"


def shapes():
    """Every K up to 130, on both axes, alone and in a batch; enough rows for each row kernel."""
    for classes, rows in product(range(1, 131), (1, ROWS)):
        yield (rows, classes), 1
        yield (classes, rows), 0
    yield from (((MANY_ROWS, classes), 1) for classes in range(2, 71))
    yield from (((ROWS, classes), 1) for classes in (640, 1003))


def sweep(backend):
    """Every such shape, plain and masked, in and out."""
    fences = [Fenced(6) for _ in range(4)]
    rng = np.random.default_rng()
    functions = (fs.softmax, fs.log_softmax, fs.logsumexp)
    kinds = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
    for dtype, (shape, axis), at_end in product(kinds, shapes(), (False, True)):
        x, out, mask, few = (
            fence.array(size, kind, at_end=at_end)
            for fence, size, kind in zip(
                fences,
                (shape, shape, shape, (shape[1 - axis],)),
                (dtype, dtype, np.bool_, dtype),
                strict=True,
            )
        )
        x[...] = rng.normal(0, 3, shape)
        mask[...] = rng.random(shape) < 0.7
        plain, shown = x.copy(), mask.copy()
        for function in functions:
            into = few if function is fs.logsumexp else out
            for given in ({}, {"where": mask}):
                function(x, axis, out=into, backend=backend, **given)
                masked = {"where": shown} if given else {}
                wanted = function(plain, axis, backend=backend, **masked)
                if backend != "numpy":  # whose bits depend on alignment
                    assert into.tobytes() == wanted.tobytes(), (function, dtype, shape, axis)
        fs.softmax(x, axis, out=x, backend=backend)


def test_nothing_beyond_the_arrays_is_touched(backend):
    survives(backend, "sweep")


def disturbed(backend):
    """Inputs that another thread keeps changing, all of them between fences."""
    fences = [Fenced(64) for _ in range(3)]
    shape = (200, 257)
    kinds = (np.float32, np.float32, np.bool_)
    x, out, mask = (
        fence.array(shape, kind, at_end=True) for fence, kind in zip(fences, kinds, strict=True)
    )
    x[...], mask[...] = 0, True
    specials = np.float32([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, 0, 100])
    done = threading.Event()
    changes = 0

    def disturb():
        nonlocal changes
        rng = np.random.default_rng()
        while not done.is_set():
            x[:, rng.integers(0, 257, 64)] = rng.choice(specials, 64)
            mask[rng.integers(0, 200, 64)] = rng.random(257) < 0.5
            changes += 1

    other = threading.Thread(target=disturb)
    other.start()
    calls = 0
    while calls < 100 or changes < 100:
        fs.softmax(x, out=out, backend=backend, threads=2)
        fs.log_softmax(x, out=out, where=mask, backend=backend, threads=2)
        fs.logsumexp(x, -1, out=out[0, :200], where=mask, backend=backend, threads=2)
        calls += 1
    done.set()
    other.join()
    x[...] = np.random.default_rng().normal(size=shape)
    fs.softmax(x, out=out, backend=backend)
    np.testing.assert_allclose(out.sum(-1, dtype=np.float64), 1, atol=1e-6)


def test_changes_from_another_thread_do_no_harm(backend):
    survives(backend, "disturbed")


def past_the_caches(backend):
    """Results larger than any cache that begin at odd addresses: aligned stores fault there."""
    rng = np.random.default_rng()
    kinds = (np.float32, np.float16, ml_dtypes.bfloat16)
    shapes = (((7, 1_000_003), 1), ((1_000_003, 7), 1), ((70, 100_003), 0))
    for kind, ((first, last), axis) in product(kinds, shapes):
        shape = (first * 4 // np.dtype(kind).itemsize, last)
        x = rng.normal(0, 3, shape).astype(kind)
        memory = np.empty(x.nbytes + 64, np.uint8)
        for function in (fs.softmax, fs.log_softmax):
            wanted = function(x, axis, backend=backend)
            for offset in (1, 4, 6, 63):
                out = memory[offset : offset + x.nbytes].view(kind).reshape(shape)
                out[...] = np.nan
                function(x, axis, out=out, backend=backend)
                assert out.tobytes() == wanted.tobytes(), (function, shape, axis, offset)


def test_results_past_the_caches_may_lie_anywhere(backend):
    if not backend.startswith("cpp"):
        pytest.skip("only the C++ core has stores that go past the caches")
    survives(backend, "past_the_caches")


def test_the_fence_kills():
    child = subprocess.run(
        [sys.executable, __file__, "trespass"], capture_output=True, text=True, timeout=60
    )
    assert child.returncode < 0


def trespass():
    """Read one element too far: proof that the sweep can fail."""
    x = Fenced(1).array((8,), np.float32, at_end=True)
    np.lib.stride_tricks.as_strided(x, (9,), (4,)).sum()


if __name__ == "__main__":
    if sys.argv[1] == "trespass":
        trespass()
    else:
        programs = {"sweep": sweep, "disturbed": disturbed, "past_the_caches": past_the_caches}
        programs[sys.argv[2]](sys.argv[1])
