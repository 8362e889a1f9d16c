"""Checks every backend and variant against the truth: accuracy, special values, sums, threads.

Judges only what `_truth` and `_truth_losses` promise. Prints a table; timing belongs to `bench`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from math import inf
from typing import Any, NamedTuple

import numpy as np

import fastsoftmax as fs
from fastsoftmax import _truth_losses
from fastsoftmax._terminal import progress, significant, table
from fastsoftmax._truth import (
    FORMATS,
    OPERATIONS,
    SUM_TOLERANCE,
    Bound,
    Truth,
    as_dtype,
    available,
    deviation,
    narrowed,
    promise,
    truth,
)
from fastsoftmax._typing import Array

CLASSES = (1, 2, 10, 15, 16, 17, 31, 33, 64, 65, 1000, 4096, 100_000)
"""Vectors hold 4 to 64 numbers: below, at and above their edges, then one to many cache levels."""

SCALES = (1.0, 10.0, 100.0)
OFFSETS = (0.0, 1000.0)

ROWS_OF = 4096
"""Numbers in a case of few classes, so that a worst case has a chance to be met."""

ROWS = ("cross_entropy", "label_gradient")
ELEMENTS = ("sigmoid", "log_sigmoid", "binary_cross_entropy")
LOSSES = ROWS + ELEMENTS
"""What `_truth_losses` promises: of rows by a label, and of elements one by one."""

THREADED = ((3, 100_000), (5000, 17), (2, 3, 40_000))
"""Shapes large enough to be shared out: long rows, many rows, and more than one batch axis."""

_COLUMNS = {"backend": "l", "check": "l", "dtype": "l", "worst": "r", "bound": "r", "result": "l"}


class Case(NamedTuple):
    """Rows of logits with a name for messages, and what is computed of them."""

    x: Array
    name: str
    operations: tuple[str, ...]


class Seen(NamedTuple):
    """How a result did: the share of its bound that it used up, and the words for it."""

    share: float
    worst: str
    bound: str
    detail: str


class Finding(NamedTuple):
    """One line of the table: the worst that was seen of one backend, in one respect."""

    backend: str
    check: str
    dtype: str
    worst: str
    bound: str
    ok: bool
    detail: str


def cases(dtype: np.dtype[Any]) -> Iterator[Case]:
    """Random logits of every size, scale and offset, then rows that hold special values."""
    rng = np.random.default_rng(20)
    for classes in CLASSES:
        rows = min(64, max(1, ROWS_OF // classes))
        noise = rng.standard_normal((rows, classes))
        for scale in SCALES:
            for offset in OFFSETS:
                name = f"{classes} classes, scale {scale:g}, offset {offset:g}"
                # Far from 0 all that concerns single elements is 0, 1 or the element.
                operations = OPERATIONS + (ROWS if offset else LOSSES)
                yield Case((scale * noise + offset).astype(dtype), name, operations)
        yield Case(
            _special(noise[0], -FORMATS[dtype.name].largest).astype(dtype),
            f"{classes} classes with NaN and infinities",
            OPERATIONS,
        )


def _special(ordinary: Array, lowest: float) -> Array:
    """The ordinary row, then its copies with one special value first, in the middle or last."""
    classes = len(ordinary)
    rows = [ordinary]
    for value in (np.nan, np.inf, -np.inf, lowest):
        for place in sorted({0, classes // 2, classes - 1}):
            row = ordinary.copy()
            row[place] = value
            rows.append(row)
    odd = np.arange(classes) % 2 == 1
    rows.append(np.full(classes, -np.inf))
    rows.append(np.where(odd, np.inf, -np.inf))
    rows.append(np.where(odd, np.nan, np.inf))
    return np.array(rows)


def run(names: Sequence[str]) -> int:
    """Check the backends, print what was found; the exit code: 0 if every promise is kept."""
    begun = time.perf_counter()
    findings = [*_accuracy(names), *(_threads(name) for name in names)]
    findings.sort(key=lambda finding: names.index(finding.backend))
    rows = [(*finding[:5], "ok" if finding.ok else "FAILED") for finding in findings]
    print(table(_COLUMNS, rows))
    print(
        "\nworst and bound in ULP (gap: how far a score lies below its row's maximum)\n"
        f"{CLASSES[0]} to {CLASSES[-1]:,} classes, scales {_listed(SCALES)}, "
        f"offsets {_listed(OFFSETS)}, rows with NaN and infinities but for losses"
    )
    for name, why in fs.info()["backends"].items():
        if why is not None:
            print(f"not checked: {name}: {why}")
    failed = [finding for finding in findings if not finding.ok]
    for finding in failed:
        print(f"FAILED {finding.backend} {finding.check} {finding.dtype}: {finding.detail}")
    took = time.perf_counter() - begun
    print(f"{len(findings)} checks, {len(failed) or 'none'} failed, {took:.1f} s")
    return 1 if failed else 0


def _listed(numbers: Sequence[float]) -> str:
    return "/".join(f"{number:g}" for number in numbers)


def _labels(x: Array) -> Array:
    """A label per row: its largest score's class in every other row, any class in the rest."""
    labels: Array = x.argmax(-1)
    rows = labels.reshape(-1)
    rows[1::2] = 7 * np.arange(len(rows))[1::2] % x.shape[-1]
    return labels


def _targets(x: Array) -> Array:
    """0 or 1 per element: what its score says, but for every third."""
    third = np.arange(x.size).reshape(x.shape) % 3 == 0
    targets: Array = (x > 0) ^ third
    return targets


def _losses(operation: str, x: Array, **options: Any) -> Array:
    """One of LOSSES, or both losses' whole gradients ("gradients")."""
    if operation in ("sigmoid", "log_sigmoid"):
        return np.asarray(getattr(fs, operation)(x, **options))
    options["reduction"] = "none"
    if operation == "binary_cross_entropy":
        return np.asarray(fs.binary_cross_entropy(x, _targets(x), **options))
    labels = _labels(x)
    if operation == "cross_entropy":
        return np.asarray(fs.cross_entropy(x, labels, **options))
    _, grad = fs.cross_entropy(x, labels, return_grad=True, **options)
    if operation == "label_gradient":
        return np.asarray(np.take_along_axis(grad, labels[..., None], -1)[..., 0])
    _, beside = fs.binary_cross_entropy(x, _targets(x), return_grad=True, **options)
    return np.stack([grad, beside])


def _expected(operation: str, x: Array) -> Truth:
    if operation in OPERATIONS:
        return truth(operation, x)
    if operation in ELEMENTS:
        targets = _targets(x) if operation == "binary_cross_entropy" else None
        return _truth_losses.of_elements(operation, x, targets)
    return _truth_losses.by_label(operation, x, _labels(x))


def _bound(name: str, operation: str, dtype: str) -> Bound:
    if operation in OPERATIONS:
        return promise(name, operation, dtype)
    return narrowed(_truth_losses.promises(name)[operation], dtype)


def _result(operation: str, x: Array, backend: str, threads: int | None = None) -> Array:
    # A caller who has made floating-point warnings errors must not meet any.
    with np.errstate(all="raise"):
        if operation in OPERATIONS:
            result = getattr(fs, operation)(x, axis=-1, backend=backend, threads=threads)
        else:
            result = _losses(operation, x, backend=backend, threads=threads)
    return np.asarray(result)


def _accuracy(names: Sequence[str]) -> Iterator[Finding]:
    worst: dict[tuple[str, str, str], Seen] = {}
    kinds = [as_dtype(name) for name in available()]
    with progress(len(kinds) * len(CLASSES) * (len(SCALES) * len(OFFSETS) + 1), "selftest") as step:
        for x, case, operations in chain.from_iterable(map(cases, kinds)):
            step(f"{x.dtype}, {case}")
            for operation in operations:
                expected = _expected(operation, x)
                for name in names:
                    for check, seen in _judged(operation, x, name, expected):
                        key = name, check, x.dtype.name
                        if key not in worst or seen.share > worst[key].share:
                            worst[key] = seen._replace(detail=f"{case}: {seen.detail}")
    for (name, check, kind), seen in worst.items():
        yield Finding(name, check, kind, seen.worst, seen.bound, seen.share <= 1, seen.detail)


def _judged(operation: str, x: Array, name: str, expected: Truth) -> Iterator[tuple[str, Seen]]:
    bound = _bound(name, operation, x.dtype.name)
    try:
        got = _result(operation, x, name)
    except Exception as error:  # any: a broken backend is what is looked for
        yield operation, Seen(inf, "error", str(bound), f"{type(error).__name__}: {error}")
        return
    off = deviation(got, expected, bound)
    yield operation, Seen(off.share, significant(off.ulp), str(bound), str(off))
    if operation == "softmax" and x.dtype == np.float32:
        sums = got.sum(-1, dtype=np.float64)
        away = float(np.abs(sums[np.isfinite(sums)] - 1).max(initial=0.0))
        text = f"a row's probabilities sum to 1 only within {away:.3e}"
        yield "|sum - 1|", Seen(away / SUM_TOLERANCE, f"{away:.1e}", f"{SUM_TOLERANCE:.1e}", text)


def _threads(name: str) -> Finding:
    """Whether one and two threads give the same bits."""
    different = []
    for shape in THREADED:
        noise = 10 * np.random.default_rng(20).standard_normal(shape)
        for dtype in (np.float32, np.float64):
            x = noise.astype(dtype)
            for operation in (*OPERATIONS, *LOSSES, "gradients"):
                try:
                    alone, shared = (_result(operation, x, name, threads) for threads in (1, 2))
                    why = "" if alone.tobytes() == shared.tobytes() else "other bits"
                except Exception as error:  # any: a broken backend is what is looked for
                    why = f"{type(error).__name__}: {error}"
                if why:
                    different.append(f"{operation} of {shape} {x.dtype}: {why}")
    worst = f"{len(different)} differ" if different else "same bits"
    return Finding(
        name,
        "2 threads as 1",
        "float32/64",
        worst,
        "same bits",
        not different,
        "; ".join(different),
    )
