"""What the demonstration prints: predictions at places in the sources, then the backends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

import fastsoftmax as fs
from fastsoftmax._terminal import duration, significant, table
from fastsoftmax._truth import truth, ulps
from fastsoftmax._typing import Array
from fastsoftmax.bench.runner import take_turns
from fastsoftmax.demo.corpus import Corpus

CHOICES = 5
"""Tokens that are shown per place."""

PHRASE = 60
"""Characters of the source that lead up to a prediction."""

BAR = 40
"""Characters that a probability of 1 is wide."""

SECONDS = 1.0
"""Time for the samples of one number of threads, shared by the backends."""

_COLUMNS = {
    "backend": "l",
    "threads": "r",
    "median": "r",
    "Gelem/s": "r",
    "GB/s": "r",
    "off by at most": "r",
    "in ULP": "r",
}


def prediction(corpus: Corpus, root: Path, position: int, probabilities: Array) -> str:
    """A place in the sources, the likely next tokens, and what really comes next."""
    place = corpus.place(position)
    phrase = " ".join(place.before[-4 * PHRASE :].split())[-PHRASE:]
    order = np.argsort(-probabilities, kind="stable")
    lines = [
        f"{place.file.relative_to(root)}, line {place.line}",
        f"    ... {phrase} _",
    ]
    width = max(len(corpus.vocabulary[token]) for token in order[:CHOICES])
    for token in order[:CHOICES]:
        share = float(probabilities[token])
        bar = "#" * round(BAR * share)
        lines.append(f"    {corpus.vocabulary[token]:{width}}  {share:7.2%}  {bar}".rstrip())
    actual = corpus.ids[position]
    rank = int(np.flatnonzero(order == actual)[0]) + 1
    lines.append(f"    really: {corpus.vocabulary[actual]}  (choice {rank:,} of {len(order):,})")
    return "\n".join(lines)


def comparison(logits: Array, backends: Sequence[str], thread_counts: Sequence[int]) -> str:
    """Time and deviation of every backend on the whole batch."""
    expected = truth("softmax", logits)
    out = np.empty_like(logits)
    rows = []
    for threads in thread_counts:
        calls, deviations = [], []
        for name in backends:
            call = partial(fs.softmax, logits, out=out, backend=name, threads=threads)
            call()
            calls.append(call)
            deviations.append((np.abs(out - expected.values).max(), ulps(out, expected).max()))
        timed = take_turns(calls, threads, SECONDS)
        for name, (samples, _), (absolute, ulp) in zip(backends, timed, deviations, strict=True):
            median = float(np.median(samples))
            rows.append(
                (
                    name,
                    str(threads),
                    duration(median),
                    significant(logits.size / median / 1e9),
                    significant((logits.nbytes + out.nbytes) / median / 1e9),
                    f"{absolute:.1e}",
                    significant(float(ulp)),
                )
            )
    return table(_COLUMNS, rows)
