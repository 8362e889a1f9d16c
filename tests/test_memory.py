"""No kernel touches memory beyond its arrays: rows that begin and end at pages that fault.

A fault kills the process, so each backend sweeps in a child: this file run as a program.
AddressSanitizer would not do, for it does not see masked loads.
"""

import ctypes
import mmap
import subprocess
import sys
import threading
import time
from itertools import product

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _registry
from fastsoftmax._arrays import compute_dtype
from fastsoftmax._typing import IGNORED, BackwardCall, BinaryCall, LossCall

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


def loss_calls(x, axis, grad, each, labels, weights):
    """Calls of losses and gradients in normal form, by the operation's name.

    `each` is a mask, targets and a result, as large as x; `labels` come with room for losses.
    """
    mask, targets, elements = each
    labels, losses = labels
    of_class, of_element = weights
    every = x, axis, mask, labels, None, of_class, 0.1, losses, grad, 0.5, 1
    by_label = LossCall(*every)._replace(where=None, weight=None, smoothing=0.0)
    yield "cross_entropy", by_label
    yield "cross_entropy", by_label._replace(grad=None)
    yield "cross_entropy", by_label._replace(where=mask, weight=of_class)
    yield "cross_entropy", LossCall(*every)
    yield "cross_entropy", LossCall(*every)._replace(labels=None, probabilities=targets)
    yield "nll_loss", by_label._replace(weight=of_class, grad=None)
    binary = BinaryCall(x, targets, of_element, of_element, elements, grad, 0.5, 1)
    yield "binary_cross_entropy", binary
    yield "binary_cross_entropy", binary._replace(weight=None, pos_weight=None, losses=None)
    for name in ("softmax_backward", "log_softmax_backward"):
        yield name, BackwardCall(x, targets, grad, (axis,), 1)


def losses(backend):
    """Losses and gradients of such shapes, and of rows too long to be kept between readings."""
    table, rng = _registry.resolve(backend), np.random.default_rng()
    kinds = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
    long = [((3, 140_000), 1), ((140_000, 3), 0)]
    for fences, sizes in (([Fenced(6) for _ in range(9)], shapes()), (None, long)):
        fences = fences or [Fenced(850) for _ in range(9)]
        for (shape, axis), dtype, at_end in product(sizes, kinds, (False, True)):
            computed, classes = compute_dtype(np.dtype(dtype)), shape[axis]
            rows = tuple(1 if i == axis else n for i, n in enumerate(shape))
            arrays = [
                fence.array(size, kind, at_end=at_end)
                for fence, (size, kind) in zip(
                    fences,
                    [
                        *((shape, dtype), (shape, dtype)),
                        *((shape, np.bool_), (shape, dtype), (shape, dtype)),
                        *((rows, np.int64), (rows, computed)),
                        *(((classes,), computed), (shape, computed)),
                    ],
                    strict=True,
                )
            ]
            x, grad, mask, targets, _, labels, _, of_class, of_element = arrays
            x[...], targets[...] = rng.normal(0, 3, shape), rng.random(shape)
            mask[...], of_element[...] = rng.random(shape) < 0.7, rng.random(shape)
            labels[...], of_class[...] = rng.integers(IGNORED, classes, rows), rng.random(classes)
            plain = [a.copy() for a in arrays]
            calls = (
                loss_calls(x, axis, grad, a, b, c)
                for x, grad, *rest in (arrays, plain)
                for a, b, c in [(rest[:3], rest[3:5], rest[5:])]
            )
            for (name, fenced), (_, wanted) in zip(*calls, strict=True):
                given = [a for a in fenced if isinstance(a, np.ndarray)]
                ours = getattr(table, name)(fenced), *map(np.ndarray.tobytes, given)
                given = [a for a in wanted if isinstance(a, np.ndarray)]
                theirs = getattr(table, name)(wanted), *map(np.ndarray.tobytes, given)
                if backend != "numpy":
                    assert ours == theirs, (name, dtype, shape, axis)
            if axis == 1:  # a shortcut reads a caller's own labels
                given = labels[:, 0] if shape[0] > 1 else labels.ravel()
                options = {"ignore_index": IGNORED, "return_grad": True, "backend": backend}
                fs.cross_entropy(x, given, grad_out=grad, **options)
                fs.cross_entropy(x, given, grad_out=x, **options)


def test_losses_touch_nothing_beyond_the_arrays(backend):
    survives(backend, "losses")


def disturbed_labels(backend):
    """Labels that another thread keeps changing, to some that lie far beyond all memory."""
    rng, done, changes = np.random.default_rng(), threading.Event(), 0
    fences = Fenced(64), Fenced(64)
    x, grad = (fence.array((200, 257), np.float32, at_end=True) for fence in fences)
    x[...] = rng.normal(size=x.shape)
    labels, weight = np.zeros(200, np.int64), np.ones(257)

    def disturb():
        nonlocal changes
        while not done.is_set():
            place = rng.integers(200)
            for label in (rng.choice([257, -1, 10**12, -(10**12), 2**62]), 5):
                labels[place] = label
                done.wait(1e-5)
            changes += 1

    other = threading.Thread(target=disturb)
    other.start()
    calls = refused = 0
    # Until both kinds were met, however the threads are scheduled; a minute is a fault.
    last = time.monotonic() + 60
    while calls < 300 or (min(refused, calls - refused, changes) < 50 and time.monotonic() < last):
        done.wait(1e-5)  # the other thread's turn: calls that are refused at once would never end
        for options in ({}, {"weight": weight}, {"label_smoothing": 0.1}):
            calls += 1
            options |= {"return_grad": True, "grad_out": grad, "backend": backend}
            try:
                fs.cross_entropy(x, labels, **options)
            except IndexError:
                refused += 1
            else:
                assert np.isfinite(grad).all()
    done.set()
    other.join()
    assert changes
    assert 0 < refused < calls


def test_labels_changed_by_another_thread_do_no_harm(backend):
    survives(backend, "disturbed_labels")


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

    def gradient(x, axis, *, out=None, backend):
        labels = np.zeros(x.shape[1 - axis], int)
        options = {"return_grad": True, "grad_out": out, "backend": backend}
        return fs.cross_entropy(x, labels, axis=axis, **options)[1]

    def binary_gradient(x, axis, *, out=None, backend):
        options = {"return_grad": True, "grad_out": out, "backend": backend}
        return fs.binary_cross_entropy(x, x > 0, **options)[1]

    def backward(x, axis, *, out=None, backend):
        return fs.log_softmax_backward(x, x, axis, out=out, backend=backend)

    for kind, ((first, last), axis) in product(kinds, shapes):
        shape = (first * 4 // np.dtype(kind).itemsize, last)
        x = rng.normal(0, 3, shape).astype(kind)
        memory = np.empty(x.nbytes + 64, np.uint8)
        for function in (fs.softmax, fs.log_softmax, gradient, binary_gradient, backward):
            wanted = function(x, axis, backend=backend)
            for offset in (1, 4, 6, 63) if function in (fs.softmax, fs.log_softmax) else (1,):
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
        programs = (sweep, losses, disturbed, disturbed_labels, past_the_caches)
        {program.__name__: program for program in programs}[sys.argv[2]](sys.argv[1])
