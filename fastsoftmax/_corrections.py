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
    counts = _counts(sampler, labels, candidates.expected_true, candidates, "labels")
    zero = counts <= 0
    if zero.any():
        place = tuple(int(i) for i in np.argwhere(zero)[0])
        raise ValueError(
            f"labels[{', '.join(map(str, place))}] is {labels[place]}, whose expected count is "
            f"{counts[place]}: the sampler does not draw it, so that it cannot be corrected for; "
            "use another sampler, or estimator='importance', which corrects candidates only"
        )
    return Offsets(np.log(counts), _of_candidates(sampler, candidates))


def by_importance(sampler: Any, labels: Array, candidates: Any, match: Match | None) -> Offsets:
    """ln(n q) of every candidate, q over the classes that are not true (Bengio and Senecal).

    Draws with replacement of which a row's true classes are left out are n' draws from
    q / (1 - Q), where Q is the true classes' share: ln(n' q / (1 - Q)) = ln(n q) + c of that row.
    To subtract c from the row's candidates is to add it to its true classes. Of draws without
    replacement the inclusion probabilities are taken as they are.
    """
    of_candidates = _of_candidates(sampler, candidates)
    if match is None or candidates.unique:
        return Offsets(None, of_candidates)
    drawn = len(candidates.ids)
    hits = np.bincount(match.hit_rows, minlength=len(labels))
    counted = np.sort(labels, axis=1)
    share = _counts(sampler, counted, None, candidates, "labels") / max(drawn, 1)
    share[:, 1:][counted[:, 1:] == counted[:, :-1]] = 0.0  # a class that is named twice
    with np.errstate(all="ignore"):
        rest = np.log((drawn - hits) / drawn) - np.log1p(-share.sum(axis=1))
    rest[~np.isfinite(rest)] = 0.0  # no negative is left, and nothing to correct
    return Offsets(np.broadcast_to(-rest[:, None], labels.shape), of_candidates)


def _of_candidates(sampler: Any, candidates: Any) -> Array:
    counts = _counts(sampler, candidates.ids, candidates.expected_sampled, candidates, "candidates")
    bad = counts <= 0
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"candidates.ids[{place}] is {candidates.ids[place]}, whose expected count is "
            f"{counts[place]}; of what was drawn it must be positive"
        )
    return np.log(counts)


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
    bad = ~(counts < np.inf)
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"the expected count of class {ids.flat[place]} among the {what} is "
            f"{counts.flat[place]}; it must be finite"
        )
    return counts
