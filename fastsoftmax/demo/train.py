"""A bigram model of source code, trained by the full softmax and by samples of the classes.

The model, its losses and the loop, to be copied from. Neither reading nor printing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np

import fastsoftmax as fs
from fastsoftmax._typing import Array
from fastsoftmax.demo.corpus import OUTSIDE, Corpus

COLUMNS = 32
"""Numbers that stand for a token."""

RATE = 0.15
"""AdaGrad's learning rate."""

HELD_OUT = 20_000
"""Pairs of tokens that are kept for the test."""

TURN = 20
"""Steps that a learner takes in a row: enough to have its own arrays in the caches again, few
enough that a busy machine weighs on all of them."""


class Pairs(NamedTuple):
    """Tokens, and the one that comes after each."""

    before: Array
    after: Array

    def at(self, places: Array) -> Pairs:
        """Those at some places."""
        return Pairs(self.before[places], self.after[places])


class Gradient(NamedTuple):
    """Of a batch's mean loss: by the inputs, and by those rows of weights that it depends on."""

    inputs: Array
    ids: Array
    weight_rows: Array


Loss = Callable[[Array, Array, Array], Gradient]
"""From inputs, weights and labels."""


def full_softmax(x: Array, weight: Array, labels: Array) -> Gradient:
    """Cross-entropy over all classes: three products with all of the weights."""
    logits = x @ weight.T
    _, slope = fs.cross_entropy(logits, labels, return_grad=True, grad_out=logits)
    return Gradient(slope @ weight, np.arange(len(weight)), slope.T @ x)


def sampled_softmax(
    x: Array,
    weight: Array,
    labels: Array,
    *,
    num_sampled: int,
    rng: np.random.Generator,
    subtract_log_q: bool = True,
) -> Gradient:
    """The same over the labels and some classes drawn for the batch, frequent ones more often."""
    _, grads = fs.sampled_softmax_loss(
        *(x, weight, labels),
        num_sampled=num_sampled,
        subtract_log_q=subtract_log_q,
        return_grad=True,
        rng=rng,
    )
    return Gradient(grads.inputs, grads.ids, grads.weight_rows)


def summed_by_row(ids: Array, rows: Array) -> tuple[Array, Array]:
    """Each id once, in ascending order, with the sum of its rows: what optimizers take."""
    order = np.argsort(ids, kind="stable")
    unique, starts = np.unique(ids[order], return_index=True)
    return unique, np.add.reduceat(rows[order], starts)


class Bigram:
    """x = embedding of a token; a score of what comes next for each row of weights, x . w."""

    def __init__(self, vocabulary: int, rng: np.random.Generator) -> None:
        shape = (vocabulary, COLUMNS)
        self.embedding = rng.normal(0, COLUMNS**-0.5, shape).astype(np.float32)
        self.weight = np.zeros(shape, np.float32)
        self.squares = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def step(self, batch: Pairs, loss: Loss) -> None:
        """Move the rows that a batch depends on against the gradient of its loss."""
        x = self.embedding[batch.before]
        slope = loss(x, self.weight, batch.after)
        of_embedding, of_weight = self.squares
        fs.adagrad_rows_(self.weight, of_weight, slope.ids, slope.weight_rows, RATE)
        used = summed_by_row(batch.before, slope.inputs)
        fs.adagrad_rows_(self.embedding, of_embedding, *used, RATE)

    def evaluate(self, pairs: Pairs) -> fs.Evaluation:
        """Judge by the full softmax, whatever it was trained by."""
        return fs.evaluate_softmax(self.embedding[pairs.before], self.weight, pairs.after)


class Learner:
    """A model, what it is trained by, and how long each of its steps took."""

    def __init__(self, name: str, model: Bigram, loss: Loss) -> None:
        self.name, self.model, self.loss = name, model, loss
        self.seconds: list[float] = []

    def learn(self, batch: Pairs) -> None:
        """Take a step and time it."""
        begin = perf_counter()
        self.model.step(batch, self.loss)
        self.seconds.append(perf_counter() - begin)


def neighbours(corpus: Corpus) -> Pairs:
    """All two neighbouring tokens that the vocabulary knows."""
    before, after = corpus.ids[:-1], corpus.ids[1:]
    return Pairs(before, after).at((before != OUTSIDE) & (after != OUTSIDE))


def split(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Those to learn from, shuffled, and those for the test: `HELD_OUT`, at most a fifth."""
    order = np.random.default_rng(seed).permutation(len(pairs.before))
    kept = min(HELD_OUT, len(order) // 5)
    return pairs.at(order[kept:]), pairs.at(order[:kept])


def learners(vocabulary: int, num_sampled: int, seed: int) -> list[Learner]:
    """Three that start from the same numbers; the two that draw draw the same classes."""

    def sampled(subtract_log_q: bool) -> Loss:
        return partial(
            sampled_softmax,
            num_sampled=num_sampled,
            rng=np.random.default_rng([seed, 1]),
            subtract_log_q=subtract_log_q,
        )

    losses = {
        "full": full_softmax,
        "sampled": sampled(True),
        "uncorrected": sampled(False),
    }
    return [
        Learner(name, Bigram(vocabulary, np.random.default_rng([seed, 0])), loss)
        for name, loss in losses.items()
    ]


def turns(steps: int) -> list[range]:
    """All steps, those of a turn together."""
    return [range(first, min(first + TURN, steps)) for first in range(0, steps, TURN)]


def take_turns(group: Sequence[Learner], pairs: Pairs, steps: range, batch: int) -> None:
    """Let one after the other learn from the batches of these steps."""
    for learner in group:
        for step in steps:
            places = np.arange(step * batch, (step + 1) * batch) % len(pairs.before)
            learner.learn(pairs.at(places))
