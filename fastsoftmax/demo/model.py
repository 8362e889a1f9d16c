"""Counts into scores: which token comes next, judged by the two before it.

The scores are logarithms of smoothed counts, so their softmax is a known distribution.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastsoftmax._typing import Array
from fastsoftmax.demo.corpus import OUTSIDE, Corpus

PRIOR = 4.0
"""Sightings that the shorter context's prediction is worth (a Dirichlet prior)."""

FAMILIAR = 8
"""Times that a pair of tokens must occur to be a context."""


class Pairs(NamedTuple):
    """How often one token follows another, as a sparse matrix: `keys` are row * words + column."""

    words: int
    keys: Array
    times: Array

    def row(self, token: int) -> Array:
        """How often each token of the vocabulary follows this one."""
        first, last = np.searchsorted(self.keys, (token * self.words, (token + 1) * self.words))
        dense = np.zeros(self.words)
        dense[self.keys[first:last] % self.words] = self.times[first:last]
        return dense

    def seen(self, keys: Array) -> Array:
        """How often each of these pairs, all of which occur, is there."""
        times: Array = self.times[np.searchsorted(self.keys, keys)]
        return times


def count_pairs(corpus: Corpus) -> Pairs:
    """Count every two neighbouring tokens of the vocabulary."""
    words = len(corpus.vocabulary)
    first, second = corpus.ids[:-1].astype(np.int64), corpus.ids[1:]
    both = (first != OUTSIDE) & (second != OUTSIDE)
    keys, times = np.unique(first[both] * words + second[both], return_counts=True)
    return Pairs(words, keys, times)


def choose(corpus: Corpus, pairs: Pairs, contexts: int, seed: int) -> Array:
    """Random positions in the corpus, each after another familiar pair that ends with a word."""
    ids = corpus.ids.astype(np.int64)
    first, second, third = ids[:-2], ids[1:-1], ids[2:]
    word = np.array([token.isidentifier() for token in corpus.vocabulary])
    inside = np.flatnonzero(
        (first != OUTSIDE) & (second != OUTSIDE) & (third != OUTSIDE) & word[second]
    )
    inside = np.random.default_rng(seed).permutation(inside)
    keys = first[inside] * pairs.words + second[inside]
    familiar = pairs.seen(keys) >= FAMILIAR
    _, chosen = np.unique(keys[familiar], return_index=True)
    positions: Array = inside[familiar][np.sort(chosen)[:contexts]] + 2
    return positions


def scores(corpus: Corpus, pairs: Pairs, positions: Array) -> Array:
    """A row of float32 logits for each position: log(smoothed count) of every possible token.

    Sightings after the two tokens before, plus `PRIOR` sightings shared out as the token before
    alone suggests, which in turn leans on how frequent each token is.
    """
    frequency = np.bincount(corpus.ids[corpus.ids != OUTSIDE], minlength=pairs.words)
    anywhere = frequency / frequency.sum()
    logits = np.empty((len(positions), pairs.words), np.float32)
    for row, position in zip(logits, positions, strict=True):
        before, last = (int(token) for token in corpus.ids[position - 2 : position])
        after_last = pairs.row(last) + PRIOR * anywhere
        expected = after_last / after_last.sum()
        row[:] = np.log(corpus.following(before, last) + PRIOR * expected)
    return logits
