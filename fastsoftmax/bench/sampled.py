"""Cases of candidate sampling, their arrays, and what their results have to be.

What `cases` and `workload` are for rows of logits. Nothing is called or timed here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastsoftmax._truth import Bound, Deviation, Truth, deviation
from fastsoftmax._typing import Array
from fastsoftmax.bench.cases import PLAIN, Case, Option
from fastsoftmax.bench.runner import WrongResult
from fastsoftmax.bench.workload import aligned

MAPPED = Option("memory-mapped")
"""The weights are a file's, each page of which has been read before: else a step were a disk's."""

WRITTEN = 100_000
"""Rows of that file that hold numbers; the others are holes, which are read as zeros."""

BLOCK = 1 << 18
"""Weights that are drawn; a larger table repeats them."""

SPREAD = 0.1
"""Standard deviation of the weights."""

PAGE = 4096
"""Bytes of the smallest page."""

SHARE = 0.25
"""The most of the machine's memory that a table may take: a peer may need another one."""

BAND = 8.0
"""Standard deviations that a count of draws may be off: wrong once in 1e14 runs."""


def _log_uniform_law(classes: int) -> Array:
    law: Array = np.log1p(1 / np.arange(1.0, classes + 1)) / np.log1p(classes)
    return law


def _uniform_law(classes: int) -> Array:
    return np.full(classes, 1 / classes)


def zipf_counts(classes: int) -> Array:
    """Counts as those of words, which fall as 1 / rank."""
    return 1 / np.arange(1.0, classes + 1)


def _unigram_law(classes: int) -> Array:
    counts = zipf_counts(classes)
    law: Array = counts / counts.sum()
    return law


class Task(NamedTuple):
    """What is measured, by the name of the public function."""

    name: str
    sampler: str = "LogUniform"
    law: Callable[[int], Array] = _log_uniform_law  # from a number of classes to probabilities
    draws: bool = True  # and nothing more: there is no error to be had


STEP = Task("sampled_softmax_loss+grad", draws=False)
"""Draw candidates, give the mean loss over them and its gradient by inputs, rows and biases."""

DRAW = Task("LogUniform.sample")
"""Draw candidates by the law of the steps; other libraries are compared in this one alone."""

TASKS = {
    task.name: task
    for task in (
        STEP,
        DRAW,
        Task("Uniform.sample", "Uniform", _uniform_law),
        Task("Unigram.sample", "Unigram", _unigram_law),
    )
}


class SampledCase(NamedTuple):
    """A call to be measured; the candidates are unique, everything else is float32."""

    operation: Task
    classes: int
    sampled: int
    batch: int = 1
    columns: int = 1
    option: Option = PLAIN
    threads: int = 1
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the inputs, or of the draws."""
        return (self.sampled,) if self.operation.draws else (self.batch, self.columns)

    @property
    def axis(self) -> int:
        """Columns, or draws, are along the last axis."""
        return -1

    @property
    def rounds(self) -> bool:
        """Whether results are numbers that have an error."""
        return not self.operation.draws

    @property
    def elements(self) -> int:
        """Logits that a step is about, or draws."""
        return self.sampled if self.operation.draws else self.batch * (self.sampled + 1)

    @property
    def bytes_moved(self) -> int:
        """The least traffic: inputs and rows read, their gradients written; or the ids written."""
        if self.operation.draws:
            return 8 * self.sampled
        return 2 * 4 * self.columns * (2 * self.batch + self.sampled)

    @property
    def weight_bytes(self) -> int:
        """What the table takes."""
        return 0 if self.operation.draws else 4 * self.classes * self.columns

    @property
    def sizes(self) -> dict[str, Any]:
        """What makes it larger or smaller than another one."""
        found = {"classes": self.classes, "sampled": self.sampled}
        if not self.operation.draws:
            found |= {"batch": self.batch, "columns": self.columns}
        return found

    @property
    def layout(self) -> str:
        """The sizes in a few characters."""
        drawn = f"{self.sampled} of {self.classes}"
        return drawn if self.operation.draws else f"{self.batch} x {self.columns}, {drawn}"

    def with_option(self, option: Option) -> SampledCase:
        """The same call with another option."""
        return self._replace(option=option)

    def __str__(self) -> str:
        """The case in a line."""
        option = "" if self.option == PLAIN else f", {self.option.name}"
        return f"{self.operation.name} {self.layout}{option}"


AnyCase: TypeAlias = Case | SampledCase


class Step(NamedTuple):
    """What a step gives, in NumPy; `ids` of the gradient's rows may name a class several times."""

    candidates: Array
    of_true: Array  # expected counts
    of_candidates: Array
    loss: Array
    inputs: Array
    ids: Array
    weight_rows: Array
    bias_rows: Array


class SampledWorkload:
    """What the contestants of a case share."""

    out = np.empty(0)
    """Nobody is given room for a result."""

    def __init__(self, case: SampledCase) -> None:
        self.case = case
        rng = np.random.default_rng(20)
        self.labels: Array = _log_uniform(case.classes, rng.random(case.batch))
        if not case.operation.draws:
            self.weight: Array = _weight(case, rng)
            self.bias: Array = rng.standard_normal(case.classes, np.float32)
            self.x: Array = aligned((case.batch, case.columns), np.dtype(np.float32))
            self.x[...] = rng.standard_normal(self.x.shape, np.float32)

    def judge(self, results: Array | tuple[Array, ...], *bounds: Bound) -> Deviation:
        """The worst number of a step by the one bound there is.

        Raises
        ------
        WrongResult
            If the candidates, their expected counts or the gradient's classes cannot be right.
        """
        if isinstance(results, Step):
            self._check_candidates(results.candidates)
            self._check_counts(results)
            return self._judge_step(results, *bounds)
        assert not isinstance(results, tuple)
        self._check_candidates(results)
        return Deviation(0.0, 1.0, (), 0.0, 0.0, 0.0, 1.0)

    @cached_property
    def _log_others(self) -> Array:
        """ln(1 - P) of each class."""
        with np.errstate(divide="ignore"):  # a class that is the only one has P = 1
            others: Array = np.log1p(-self.case.operation.law(self.case.classes))
        return others

    def _expected(self, tries: float) -> Array:
        """How likely each class is among the candidates after so many tries."""
        expected: Array = -np.expm1(tries * self._log_others)
        return expected

    @cached_property
    def _expected_sum(self) -> Array:
        """Of the classes up to each, after as many tries as there usually are."""
        if self.case.sampled == self.case.classes:  # no number of tries is enough for certain
            return np.arange(1.0, self.case.classes + 1)
        tries = float(self.case.sampled)
        for _ in range(30):  # Newton from below: the sum is concave
            more = self.case.sampled - self._expected(tries).sum()
            slope = -(self._log_others * np.exp(tries * self._log_others)).sum()
            tries += more / slope
            if more < 1e-3:
                break
        return np.cumsum(self._expected(tries))

    def _check_candidates(self, ids: Array) -> None:
        """As many as asked for, each a class and there once, and by their middle of this law."""
        case = self.case
        if ids.shape != (case.sampled,) or not np.issubdtype(ids.dtype, np.integer):
            raise WrongResult(f"{case}: candidates are {ids.dtype} of shape {ids.shape}")
        if ids.min() < 0 or ids.max() >= case.classes or len(np.unique(ids)) < len(ids):
            raise WrongResult(f"{case}: candidates are no classes, or not unique")
        middle = np.searchsorted(self._expected_sum, case.sampled / 2)
        expected = self._expected_sum[middle]
        below = np.count_nonzero(ids <= middle)
        if abs(below - expected) > BAND * np.sqrt(expected):
            raise WrongResult(
                f"{case}: {below} candidates are below {middle + 1}, where {expected:.0f} should be"
            )

    def _check_counts(self, step: Step) -> None:
        """Expected counts are those of one number of tries, and add up to the number of draws."""
        case, n = self.case, self.case.sampled
        ids = np.concatenate([self.labels, step.candidates])
        counts = np.concatenate([step.of_true.ravel(), step.of_candidates]).astype(np.float64)
        with np.errstate(all="ignore"):
            tries = np.log1p(-counts) / self._log_others[ids]
        unsure = counts <= max(0.9, counts.min())  # near 1 the number of tries is lost
        by_tries = self._expected(float(np.median(tries[unsure])))
        if np.allclose(counts, by_tries[ids], rtol=1e-4):
            off = abs(by_tries.sum() - n)
        else:  # the rule where no try was in vain
            off = 0 if np.allclose(counts, -n * np.expm1(self._log_others[ids]), rtol=1e-4) else n
        if off > BAND * np.sqrt(n):
            raise WrongResult(f"{case}: expected counts are off by {off:.3g} of {n}")

    def _judge_step(self, step: Step, bound: Bound) -> Deviation:
        """By the formula in float64 for the candidates that were drawn."""
        n, labels, drawn = self.case.batch, self.labels, step.candidates
        x = self.x.astype(np.float64)
        of_true, of_drawn = (self.weight[ids].astype(np.float64) for ids in (labels, drawn))
        true = (x * of_true).sum(1) + self.bias[labels] - np.log(step.of_true.ravel())
        others = x @ of_drawn.T + self.bias[drawn] - np.log(step.of_candidates)
        others[labels[:, None] == drawn] = -np.inf
        top = np.maximum(true, others.max(1))
        terms = np.exp(others - top[:, None])
        total = terms.sum(1) + np.exp(true - top)
        loss = (np.log(total) + top - true).mean()
        by_others = terms / (n * total[:, None])
        by_true = -by_others.sum(1)
        ids, place = np.unique(np.concatenate([labels, drawn]), return_inverse=True)
        rows = np.concatenate([by_true[:, None] * x, by_others.T @ x])
        by_row = np.concatenate([by_true, by_others.sum(0)])
        if not np.array_equal(np.unique(step.ids), ids):
            raise WrongResult(f"{self.case}: the gradient has rows of other classes")
        at = np.searchsorted(ids, step.ids)
        pairs = (
            (step.loss.reshape(1), loss.reshape(1)),
            (step.inputs, by_true[:, None] * of_true + by_others @ of_drawn),
            (_added(step.weight_rows, at, len(ids)), _added(rows, place, len(ids))),
            (_added(step.bias_rows, at, len(ids)), _added(by_row, place, len(ids))),
        )
        worst = [deviation(got, _by_largest(values), bound) for got, values in pairs]
        return max(worst, key=lambda one: one.share)


def _log_uniform(classes: int, u: Array) -> Array:
    """From numbers of [0, 1) to classes."""
    k = np.exp(u * np.log1p(classes)).astype(np.int64) - 1
    clipped: Array = np.clip(k, 0, classes - 1)
    return clipped


def _weight(case: SampledCase, rng: np.random.Generator) -> Array:
    shape, block = (case.classes, case.columns), max(1, BLOCK // case.columns)
    values = SPREAD * rng.standard_normal((min(block, case.classes), case.columns), np.float32)
    if case.option == MAPPED:
        return _mapped(shape, values)
    weight = aligned(shape, values.dtype)
    for start in range(0, case.classes, block):
        weight[start : start + block] = values[: case.classes - start]
    return weight


def _mapped(shape: tuple[int, int], values: Array) -> Array:
    """A file that goes when the array goes: it has no name any more."""
    with tempfile.TemporaryFile() as file:
        for _ in range(min(WRITTEN, shape[0]) // len(values)):
            file.write(values.tobytes())
        file.truncate(4 * shape[0] * shape[1])
        weight: Array = np.memmap(file, np.float32, "r", shape=shape)
    weight.reshape(-1)[:: PAGE // 4].max()
    return weight


def _added(rows: Array, at: Array, count: int) -> Array:
    """The rows of each place, added up."""
    found = np.zeros((count, *rows.shape[1:]))
    np.add.at(found, at.reshape(-1), rows)
    return found


def _by_largest(values: Array) -> Truth:
    """Values whose errors are counted in float32 ULP of the largest: products round like it."""
    unit = np.spacing(np.abs(values).max().astype(np.float32)).astype(np.float64)
    none = np.zeros(values.shape)
    return Truth(values, np.full(values.shape, unit), none, 0.0, Bound(0))


def lack_of_memory(case: SampledCase) -> str | None:
    """Why the weights, or the pages of their file, do not fit, or None."""
    if not hasattr(os, "sysconf"):
        return None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if case.weight_bytes <= SHARE * memory:
        return None
    return f"has weights of {case.weight_bytes / 1e9:.3g} GB, too many for {memory / 1e9:.3g} GB"
