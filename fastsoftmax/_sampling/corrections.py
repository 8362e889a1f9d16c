"""What is subtracted from logits for how likely each class was to be drawn: the sampling formulas.

Numbers per candidate and per true class, from a sampler's expected counts. No logits here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._typing import Array, Match

ESTIMATORS = ("candidate", "importance")


class Offsets(NamedTuple):
    """To be subtracted, in float64; None is 0."""

    of_true: Array | None
    of_candidates: Array | None


def none() -> Offsets:
    """No correction: negative sampling."""
    return Offsets(None, None)


def by_candidate(sampler: Any, labels: Array, candidates: Any) -> Offsets:
    """ln E of every class (Jean et al.; TensorFlow)."""
    if candidates.expected_true is None and candidates.expected_sampled is None:
        # In one question: asking takes as long as a thousand answers.
        classes = np.concatenate((candidates.ids, labels.reshape(-1)))
        counts = _counts(sampler, classes, None, candidates, "candidates and labels")
        drawn = len(candidates.ids)
        of_candidates, of_true = counts[:drawn], counts[drawn:].reshape(labels.shape)
    else:
        of_true = _counts(sampler, labels, candidates.expected_true, candidates, "labels")
        of_candidates = _of_candidates(sampler, candidates)
    _refuse_zero(
        *("labels", labels, of_true),
        "the sampler does not draw it, so that it cannot be corrected for; use another sampler, or "
        "estimator='importance', which corrects candidates only",
    )
    return Offsets(np.log(of_true), _logs(candidates.ids, of_candidates))


def by_importance(sampler: Any, labels: Array, candidates: Any, match: Match | None) -> Offsets:
    """ln(n q) of every candidate, q over the classes that are not true (Bengio and Senecal).

    Draws with replacement of which a row's true classes are left out are n' draws from
    q / (1 - Q), where Q is the true classes' share: ln(n' q / (1 - Q)) = ln(n q) + c of that row.
    To subtract c from the row's candidates is to add it to its true classes. Of draws without
    replacement the inclusion probabilities are taken as they are.
    """
    of_candidates = _logs(candidates.ids, _of_candidates(sampler, candidates))
    if match is None or candidates.unique:
        return Offsets(None, of_candidates)
    drawn = len(candidates.ids)
    hits = np.bincount(match.hit_rows, minlength=len(labels))
    counts = _counts(sampler, labels, candidates.expected_true, candidates, "labels")
    order = np.argsort(labels, axis=1)
    grouped = np.take_along_axis(labels, order, axis=1)
    share = np.take_along_axis(counts, order, axis=1) / max(drawn, 1)
    share[:, 1:][grouped[:, 1:] == grouped[:, :-1]] = 0.0  # a class that is named twice
    with np.errstate(all="ignore"):
        rest = np.log((drawn - hits) / drawn) - np.log1p(-share.sum(axis=1))
    rest[~np.isfinite(rest)] = 0.0  # no negative is left, and nothing to correct
    return Offsets(np.broadcast_to(-rest[:, None], labels.shape), of_candidates)


def _of_candidates(sampler: Any, candidates: Any) -> Array:
    return _counts(sampler, candidates.ids, candidates.expected_sampled, candidates, "candidates")


def _logs(ids: Array, counts: Array) -> Array:
    _refuse_zero("candidates.ids", ids, counts, "of what was drawn it must be positive")
    return np.log(counts)


def _refuse_zero(name: str, classes: Array, counts: Array, why: str) -> None:
    if counts.size and not counts.min() > 0:
        place = np.argwhere(~(counts > 0))[0].tolist()
        raise ValueError(
            f"{name}[{', '.join(map(str, place))}] is {classes[tuple(place)]}, whose expected "
            f"count is {counts[tuple(place)]}: {why}"
        )


def _counts(sampler: Any, ids: Array, given: Any, candidates: Any, what: str) -> Array:
    """Expected counts of the shape of `ids`: those that came with the candidates, or asked for."""
    if given is None:
        if sampler is None:
            raise TypeError(
                f"candidates without expected counts of the {what} need sampler=, which knows them"
            )
        given = sampler.expected_count(ids.reshape(-1), candidates)
    counts = np.asarray(given, np.float64)
    if counts.size != ids.size:
        raise ValueError(
            f"expected counts of the {what} have shape {counts.shape}; it must be {ids.shape}"
        )
    counts = counts.reshape(ids.shape)
    if counts.size and not counts.max() < np.inf:
        place = int(np.argmax(~(counts < np.inf)))
        raise ValueError(
            f"the expected count of class {ids.flat[place]} among the {what} is "
            f"{counts.flat[place]}; it must be finite"
        )
    return counts
