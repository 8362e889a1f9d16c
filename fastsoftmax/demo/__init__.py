"""`fastsoftmax demo`: predicts what comes next in Python source code, and times the backends.

`corpus` reads and counts, `model` makes scores of the counts, `report` prints.
"""

from __future__ import annotations

import platform
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fastsoftmax as fs
from fastsoftmax.demo import corpus, model, report

__all__ = ["run"]

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
    root = Path(sysconfig.get_path("stdlib"))
    files = corpus.sources(root)
    if not files:
        raise FileNotFoundError(f"no Python source files below {root}")
    text = corpus.load(files, vocabulary)
    pairs = model.count_pairs(text)
    inside = np.count_nonzero(text.ids != corpus.OUTSIDE)
    print("What comes next in Python source code?\n")
    print(
        f"text    the standard library of Python {platform.python_version()}: "
        f"{len(files):,} files, {text.size / 1e6:.1f} MB"
    )
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
