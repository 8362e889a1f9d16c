"""`fastsoftmax demo`: what comes next in Python source code? By counts, or by training.

`corpus` reads and counts. `model` makes scores of the counts, `report` prints what softmax and the
backends make of them. `train` learns, by all classes and by samples; `train_report` prints that.
"""

from __future__ import annotations

import platform
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fastsoftmax as fs
from fastsoftmax._terminal import progress
from fastsoftmax.demo import corpus, model, report, train, train_report

__all__ = ["run", "run_training"]

SHOWN = 5
"""Places that are printed."""


def run(
    vocabulary: int, contexts: int, seed: int, backends: Sequence[str], threads: Sequence[int]
) -> int:
    """Read the standard library, predict, print, compare the backends.

    Parameters
    ----------
    vocabulary : int
        Number of classes: the most frequent tokens.
    contexts : int
        Number of rows: places in the sources.
    seed : int
        Decides which places.
    backends : sequence of str
        Those that are timed; the predictions come from the first.
    threads : sequence of int
        Numbers of threads to time.

    Returns
    -------
    int
        The exit code.
    """
    root, text = _standard_library(vocabulary)
    pairs = model.count_pairs(text)
    inside = np.count_nonzero(text.ids != corpus.OUTSIDE)
    print("What comes next in Python source code?\n")
    print(_description(text))
    print(
        f"counts  {inside:,} tokens of the {len(text.vocabulary):,} most frequent kinds, "
        f"in {len(pairs.keys):,} different pairs"
    )
    positions = model.choose(text, pairs, contexts, seed)
    logits = model.scores(text, pairs, positions)
    rows, classes = logits.shape
    print(
        f"scores  {rows:,} places x {classes:,} next tokens, {logits.dtype}: log(smoothed count), "
        f"{logits.min():.1f} to {logits.max():.1f}\n"
    )
    probabilities = fs.softmax(logits, backend=backends[0])
    for position, row in zip(positions[:SHOWN], probabilities, strict=False):
        print(report.prediction(text, root, position, row) + "\n")
    print(
        f"softmax of all {rows:,} x {classes:,} scores ({logits.nbytes / 1e6:.1f} MB in, as much "
        "out), against float64\n"
    )
    print(report.comparison(logits, backends, threads))
    return 0


def run_training(
    vocabulary: int,
    steps: int,
    batch: int,
    num_sampled: int,
    seed: int,
    backend: str,
    threads: int,
) -> int:
    """Train by the full softmax, by a sample and by one without correction; compare them.

    Parameters
    ----------
    vocabulary : int
        Number of classes: the most frequent tokens.
    steps, batch : int
        How many batches of how many pairs of tokens each of them learns from.
    num_sampled : int
        Number of classes that are drawn for a batch.
    seed : int
        Decides batches, held-out pairs, first embeddings and draws.
    backend : str
        What runs all of it.
    threads : int
        The most threads to use, beside those of NumPy's matrix products.

    Returns
    -------
    int
        The exit code: 0 whatever the verdict, 130 after Ctrl-C.
    """
    _, text = _standard_library(vocabulary)
    classes = len(text.vocabulary)
    pairs, test = train.split(train.neighbours(text), seed)
    print("Does a sample of the classes teach what all of them do?\n")
    print(_description(text))
    known, asked = len(pairs.before), len(test.before)
    print(f"pairs   {known:,} neighbours to learn from, {asked:,} held out")
    print(f"model   the next of {classes:,} tokens from the one before, {train.COLUMNS} columns")
    print(f"steps   {steps:,} of {batch:,} pairs, {num_sampled:,} classes drawn, row AdaGrad")
    print(f"on      {backend}, threads: {threads}\n", flush=True)
    group = train.learners(classes, min(num_sampled, classes), seed)
    with fs.use_backend(backend), fs.threads(threads):
        finished = _teach(group, pairs, test, steps, batch)
        if not all(learner.seconds for learner in group):
            raise KeyboardInterrupt
        evaluations = [learner.model.evaluate(test) for learner in group]
    print(train_report.comparison(group, evaluations) + "\n")
    print(train_report.verdict(group, evaluations))
    if finished:
        return 0
    sys.stdout.flush()
    done = len(group[0].seconds)
    print(f"fastsoftmax demo train: interrupted after {done} of {steps} steps", file=sys.stderr)
    return 130


def _teach(
    group: Sequence[train.Learner], pairs: train.Pairs, test: train.Pairs, steps: int, batch: int
) -> bool:
    """All steps, with their progress; False after Ctrl-C."""
    try:
        turns = train.turns(steps)
        with progress(len(turns), "training") as begin:
            for turn in turns:
                begin(train_report.so_far(group, test))
                train.take_turns(group, pairs, turn, batch)
    except KeyboardInterrupt:
        return False
    return True


def _standard_library(vocabulary: int) -> tuple[Path, corpus.Corpus]:
    root = Path(sysconfig.get_path("stdlib"))
    files = corpus.sources(root)
    if not files:
        raise FileNotFoundError(f"no Python source files below {root}")
    return root, corpus.load(files, vocabulary)


def _description(text: corpus.Corpus) -> str:
    return (
        f"text    the standard library of Python {platform.python_version()}: "
        f"{len(text.files):,} files, {text.size / 1e6:.1f} MB"
    )
