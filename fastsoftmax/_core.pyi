# The extension module built from cpp/bindings/; only fastsoftmax.backends._cpp uses it.
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from fastsoftmax._typing import Array, Mask, Unset

class Target:
    @property
    def name(self) -> str: ...
    def softmax(
        self,
        x: Array,
        out: Array,
        axes: tuple[int, ...],
        where: Mask | None,
        temperature: float | Array,
        threads: int,
        /,
    ) -> None: ...
    def log_softmax(
        self,
        x: Array,
        out: Array,
        axes: tuple[int, ...],
        where: Mask | None,
        temperature: float | Array,
        threads: int,
        /,
    ) -> None: ...
    def logsumexp(
        self,
        x: Array,
        out: Array,
        axes: tuple[int, ...],
        where: Mask | None,
        temperature: float | Array,
        threads: int,
        weights: Array | None,
        sign: Array | None,
        /,
    ) -> None: ...
    def sigmoid(
        self,
        x: Array,
        out: Array,
        axes: tuple[int, ...],
        where: Mask | None,
        temperature: float | Array,
        threads: int,
        /,
    ) -> None: ...
    def log_sigmoid(
        self,
        x: Array,
        out: Array,
        axes: tuple[int, ...],
        where: Mask | None,
        temperature: float | Array,
        threads: int,
        /,
    ) -> None: ...
    def softmax_backward(
        self, grad_output: Array, output: Array, out: Array, axes: tuple[int, ...], threads: int, /
    ) -> None: ...
    def log_softmax_backward(
        self, grad_output: Array, output: Array, out: Array, axes: tuple[int, ...], threads: int, /
    ) -> None: ...
    def gather_rows(self, table: Array, ids: Array, out: Array, threads: int, /) -> None: ...
    def match(
        self, ids: Array, labels: Array, classes: int, /
    ) -> tuple[Array, Array, Array, Array]: ...
    def row_dots(self, x: Array, rows: Array, out: Array, threads: int, /) -> None: ...
    def shift_columns(
        self,
        logits: Array,
        offsets: Array,
        hit_rows: Array,
        hit_columns: Array,
        threads: int,
        /,
    ) -> None: ...
    def add_scaled_rows(self, factors: Array, rows: Array, out: Array, threads: int, /) -> None: ...
    def sum_rows(
        self,
        order: Array,
        starts: Array,
        of_candidates: Array,
        factors: Array,
        x: Array,
        out: Array,
        threads: int,
        /,
    ) -> None: ...
    def update_rows(
        self,
        rule: str,
        weight: Array,
        states: tuple[Array, ...],
        ids: Array,
        rows: Array,
        rate: float,
        decay: float,
        eps: float,
        shares: tuple[float, float],
        threads: int,
        /,
    ) -> None: ...
    def binary_cross_entropy(
        self,
        logits: Array,
        targets: Array,
        weight: Array | None,
        pos_weight: Array | None,
        losses: Array | None,
        grad: Array | None,
        scale: float,
        threads: int,
        /,
    ) -> float: ...
    def nll_loss(
        self,
        logits: Array,
        axis: int,
        where: Mask | None,
        labels: Array | None,
        probabilities: Array | None,
        weight: Array | None,
        smoothing: float,
        losses: Array,
        grad: Array | None,
        scale: float,
        threads: int,
        /,
    ) -> float: ...
    def cross_entropy(
        self,
        logits: Array,
        axis: int,
        where: Mask | None,
        labels: Array | None,
        probabilities: Array | None,
        weight: Array | None,
        smoothing: float,
        losses: Array,
        grad: Array | None,
        scale: float,
        threads: int,
        /,
    ) -> float: ...
    def draw(
        self,
        kind: int,
        num_classes: int,
        scale: float,
        thresholds: Array,
        aliases: Array,
        tree: Array,
        capsule: object,
        ids: Array,
        unique: bool,
        excluded: Array | None,
        most_draws: int,
        /,
    ) -> tuple[int, int]: ...

def build() -> dict[str, str]: ...
def targets() -> dict[str, str | None]: ...
def target(name: str) -> Target: ...
def empty(shape: tuple[int, ...], dtype: np.dtype[Any], like: Array | None, /) -> Array: ...
def clear_cache() -> None: ...
def idle_bytes() -> int: ...
def idle_limit() -> int: ...
def set_idle_limit(limit: int) -> None: ...
def exp(target: Target, x: Array) -> tuple[Array, float]: ...
def probe_copy(
    target: Target, x: Array, y: Array, non_temporal: bool, repetitions: int
) -> None: ...
def probe_read(target: Target, x: Array, repetitions: int) -> float: ...
def probe_exp(target: Target, wide: bool, n: int) -> float: ...
def shortcuts(target: Target, unset: Unset) -> dict[str, Callable[..., Any]]: ...
def function(
    python: Callable[..., Any],
    shortcuts: dict[str | None, Callable[..., Any]],
    backend: ContextVar[str | None],
    threads: ContextVar[int | None],
    process: list[int],
    found: list[int],
    most_threads: int,
) -> Callable[..., Any]: ...
