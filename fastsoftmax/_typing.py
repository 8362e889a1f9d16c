"""The types that modules share: what a backend must offer and how an array is handed to it.

Only types live here, and constants that they speak of. Nothing in this file runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.bool_]
AxisLike: TypeAlias = int | tuple[int, ...] | None


class Unset:
    """The type of `UNSET`, an argument that was not given."""

    def __repr__(self) -> str:
        return "<not given>"


UNSET: Final = Unset()


class Call(NamedTuple):
    """One call in the normal form that every backend takes.

    `x` is float16, bfloat16, float32 or float64 in native byte order, of one dimension or more and
    with at least one element; `axes` are sorted, unique and not negative; `where` has x's shape
    (often through zero strides). `out` has x's shape; for `logsumexp` its class axes have length 1.
    `temperature` is a positive finite float, or a float64 array in x's shape whose class axes have
    length 1. `x` and `out` are either the very same memory, element for element, or disjoint.
    """

    x: Array
    out: Array
    axes: tuple[int, ...]
    where: Mask | None
    temperature: float | Array
    threads: int

    @property
    def compute_dtype(self) -> np.dtype[Any]:
        """The type that arithmetic runs in: float64 for a float64 result, else float32."""
        return np.dtype(np.float64 if self.out.dtype.char == "d" else np.float32)


IGNORED: Final = -1
"""In place of a label in normal form: the row has loss 0 and gradient 0, whatever it holds."""

INVALID: Final = -2
"""In place of a label out of range, if that is no error: loss NaN and gradient 0."""


class LossCall(NamedTuple):
    """One call of a loss over exclusive classes, in the normal form that every backend takes.

    `logits` is as `Call.x`, and `axis`, which is not negative, its class axis; `where` is as there.
    Either `labels` or `probabilities` is None. `labels` are int64 in C order, in logits' shape with
    length 1 along `axis`: class indices, IGNORED or INVALID. They are this call's own memory, so
    that what was checked is what is used. `probabilities` have logits' shape and a dtype that `x`
    may have. `weight` has one number per class, finite and not negative, in C order and the compute
    type; `smoothing` lies in [0, 1].

    `losses` has the labels' shape, C order and the compute type: each row's own loss, weighted.
    `grad` has logits' shape and dtype and gets `scale` times the gradient of that; it is the
    logits' own memory, element for element, or disjoint from every input.
    """

    logits: Array
    axis: int
    where: Mask | None
    labels: Array | None
    probabilities: Array | None
    weight: Array | None
    smoothing: float
    losses: Array
    grad: Array | None
    scale: float
    threads: int


class BinaryCall(NamedTuple):
    """One call of a loss over classes that do not exclude each other, in normal form.

    `logits` and `targets` are as `Call.x`, of one shape; `weight` and `pos_weight` have that shape
    too (often through zero strides) and the compute type. `losses` (None: only their sum is wanted)
    and `grad` have logits' shape and dtype; `grad` gets `scale` times the gradient, and is logits'
    own memory or disjoint from every input.
    """

    logits: Array
    targets: Array
    weight: Array | None
    pos_weight: Array | None
    losses: Array | None
    grad: Array | None
    scale: float
    threads: int


class BackwardCall(NamedTuple):
    """One call of a gradient with respect to logits, in normal form.

    `grad_output` and `output` are as `Call.x`, of one shape; `axes` as there. `out` has their shape
    and is, towards each of the two, the very same memory or disjoint.
    """

    grad_output: Array
    output: Array
    out: Array
    axes: tuple[int, ...]
    threads: int


class Match(NamedTuple):
    """Which candidates and which labels are of one class.

    Numbered through, candidates first and then the labels row by row, they are sorted by class:
    `order` has their numbers, of one class in ascending order, and class u has those from
    `starts[u]` up to `starts[u + 1]`. Candidate `hit_columns[h]` is a true class of row
    `hit_rows[h]`: each such pair once, rows in ascending order. All are int64.
    """

    order: Array
    starts: Array
    hit_rows: Array
    hit_columns: Array


UNIFORM, LOG_UNIFORM, ALIAS, COUNTS = range(4)
"""How a number u in [0, 1) becomes a class, with x = u * scale, below `num_classes`:

floor(x); floor(exp(x)) - 1; the column floor(x), or its alias where the rest of x is not below the
column's threshold; the class into whose share of the counts' running sum floor(x) falls.
"""


class DrawCall(NamedTuple):
    """Draws of classes in normal form: one `next_double` of the generator each, and no more.

    `kind` is one of the four above; `thresholds` (float64) and `aliases` (int64) have an entry per
    class for ALIAS, `tree` is a Fenwick tree of int64 counts for COUNTS; else they are empty.
    `ids` (int64, C order) takes classes in the order in which they are drawn, each once if `unique`
    says so, until it is full or `most_draws` were made. A class among `excluded` (int64, sorted,
    not empty) is drawn again, and that was no try.
    """

    kind: int
    num_classes: int
    scale: float
    thresholds: Array
    aliases: Array
    tree: Array
    generator: np.random.Generator
    ids: Array
    unique: bool
    excluded: Array | None
    most_draws: int


class UpdateCall(NamedTuple):
    """A step of an optimizer on some rows of a table of weights, in normal form.

    `weight` has two dimensions, any float type and any strides; `states`, none, one or two by the
    `rule`, have its shape and the compute type. `ids` are int64 in C order, in range and ascending,
    each once, and this call's own memory; `rows` has a gradient for each, of any float type. Apart
    from `ids` nothing shares memory, and no array holds an element twice.

    With g = rows[i], to which decay w is added unless `decay` is 0, and (a, b) = shares, each
    operation rounded:

        "sgd"                                                   w -= rate g
        "adagrad"   s += g g                                    w -= rate (g / (sqrt(s) + eps))
        "adam"      m += (g - m) a;  v += (g g - v) b           w -= rate (m / (sqrt(v) + eps))

    All numbers are finite and numbers of the compute type. The new w is rounded to its type last.
    """

    rule: str
    weight: Array
    states: tuple[Array, ...]
    ids: Array
    rows: Array
    rate: float
    decay: float
    eps: float
    shares: tuple[float, float]
    threads: int


Shortcut: TypeAlias = "Callable[..., Any]"
"""A public function's own arguments in the ordinary case: its result, or NotImplemented.

It takes all parameters by position, in the order of the signature, but for `backend`; `threads` is
a number. What it does not take goes the general way, by `Call`. It refuses nothing.
"""


class Backend(Protocol):
    """A table of the operations, written by each backend for one variant of itself."""

    @property
    def name(self) -> str: ...

    @property
    def shortcuts(self) -> Mapping[str, Shortcut]:
        """By the public function's name; not every function needs one."""

    def softmax(self, call: Call) -> None: ...

    def log_softmax(self, call: Call) -> None: ...

    def logsumexp(self, call: Call, weights: Array | None, sign: Array | None) -> None:
        """log(sum(weights * exp(x))); with `sign`, log(abs(sum)) and the sum's sign.

        `weights` has x's shape and the compute type; `sign` has out's shape and dtype.
        """

    def sigmoid(self, call: Call) -> None:
        """1 / (1 + exp(-x)) of every element; `axes` is empty."""

    def log_sigmoid(self, call: Call) -> None:
        """Its logarithm; `axes` is empty."""

    def softmax_backward(self, call: BackwardCall) -> None:
        """y * (dy - sum(dy * y)) for dy = `grad_output` and y = `output`."""

    def log_softmax_backward(self, call: BackwardCall) -> None:
        """dy - exp(y) * sum(dy)."""

    def cross_entropy(self, call: LossCall) -> float:
        """Returns the sum of the losses, in float64 and an order that threads do not change."""

    def nll_loss(self, call: LossCall) -> float:
        """-weight * x at the label, of logits that are log-probabilities, without a gradient.

        `where` and `probabilities` are None and `smoothing` is 0.
        """

    def binary_cross_entropy(self, call: BinaryCall) -> float:
        """Returns the sum of the losses, as `cross_entropy`."""

    # Of sampled losses: arrays are in C order and of the compute type, float32 or float64, if
    # nothing else is said, and ids are int64 and in range. N examples have T true classes each.

    def gather_rows(self, table: Array, ids: Array, out: Array, threads: int) -> None:
        """out[i] = table[ids[i]], for a table of any float type and any strides."""

    def match(self, ids: Array, labels: Array, classes: int) -> Match:
        """Which candidates and which labels, [N, T], are of one class."""

    def row_dots(self, x: Array, rows: Array, out: Array, threads: int) -> None:
        """out[n, t] = sum(x[n] * rows[n, t])."""

    def shift_columns(
        self, logits: Array, offsets: Array, hit_rows: Array, hit_columns: Array, threads: int
    ) -> None:
        """Subtract offsets[s] from each logits[n, s], and set those of the hits to -inf.

        The rows of `logits` may lie apart; hits are as in `Match`.
        """

    def add_scaled_rows(self, factors: Array, rows: Array, out: Array, threads: int) -> None:
        """out[n] += sum over t of factors[n, t] * rows[n, t]."""

    def sum_rows(
        self,
        match: Match,
        of_candidates: Array,
        factors: Array,
        x: Array,
        out: Array,
        threads: int,
    ) -> None:
        """out[u] = the sum of what has class u, in its order, whatever the threads.

        That is of_candidates[s] for a candidate, and factors[n, t] * x[n] for a label.
        """

    # Of samplers.

    def draw(self, call: DrawCall) -> tuple[int, int]:
        """How many classes were found, and in how many tries; the same in every backend."""

    def update_rows(self, call: UpdateCall) -> None:
        """Operations of IEEE 754 in the order that `UpdateCall` gives, subnormals kept."""
