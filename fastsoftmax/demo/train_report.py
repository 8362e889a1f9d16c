"""What `fastsoftmax demo train` prints: the table of learners, and whether sampling kept up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import fastsoftmax as fs
from fastsoftmax._terminal import duration, table
from fastsoftmax.demo.train import Learner, Pairs

CLOSE = 0.03
"""Nats of held-out loss that a corrected sample may cost."""

WORSE = 0.8
"""Nats that leaving out the correction costs at least."""

GLANCE = 512
"""Held-out pairs that the progress is judged by."""

_COLUMNS = {
    "softmax": "l",
    "steps": "r",
    "held-out loss": "r",
    "perplexity": "r",
    "top-1": "r",
    "top-5": "r",
    "a step": "r",
    "all steps": "r",
}


def so_far(learners: Sequence[Learner], test: Pairs) -> str:
    """The losses on the first of the held-out pairs, in a line for the progress."""
    few = test.at(np.arange(min(GLANCE, len(test.before))))
    losses = ", ".join(
        f"{learner.name} {learner.model.evaluate(few).loss:.2f}" for learner in learners
    )
    return f"loss: {losses}"


def comparison(learners: Sequence[Learner], evaluations: Sequence[fs.Evaluation]) -> str:
    """What each has learnt, and what it took."""
    rows = []
    for learner, found in zip(learners, evaluations, strict=True):
        seconds = learner.seconds
        rows.append(
            (
                learner.name,
                f"{len(seconds):,}",
                f"{found.loss:.3f}",
                f"{found.perplexity:.1f}",
                *(f"{share:.1%}" for share in found.accuracy.values()),
                duration(float(np.median(seconds))),
                duration(sum(seconds)),
            )
        )
    return table(_COLUMNS, rows)


def verdict(learners: Sequence[Learner], evaluations: Sequence[fs.Evaluation]) -> str:
    """Whether the corrected sample is as good as all classes, and what the correction is worth."""
    full, sampled, uncorrected = (found.loss for found in evaluations)
    faster = np.median(learners[0].seconds) / np.median(learners[1].seconds)
    kept_up = "within" if sampled - full <= CLOSE else "NOT within"
    worse = "more than" if uncorrected - full > WORSE else "NOT more than"
    return (
        f"sampled: {sampled - full:+.3f} nats, {kept_up} {CLOSE} of the full softmax, "
        f"{faster:.1f} times as fast a step\n"
        f"without the correction: {uncorrected - full:+.3f} nats, {worse} {WORSE} worse"
    )
