"""Expected counts of classes among candidates, from the probabilities of single draws."""

from __future__ import annotations

from math import inf, log1p

import numpy as np

from fastsoftmax._typing import Array

RULES = ("tries", "solved")


def as_rule(rule: str) -> str:
    """One of `RULES`."""
    if rule not in RULES:
        raise ValueError(f"rule must be {' or '.join(map(repr, RULES))}, not {rule!r}")
    return rule


def at_least_once(p: Array, tries: float) -> Array:
    """The probability that a class of probability p comes up in so many tries: 1 - (1 - p)**tries.

    All digits are kept for small p.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.log1p(-p)
        q *= tries
        np.expm1(q, q)
    np.negative(q, q)
    if tries == inf:  # times the logarithm of 1 is no number
        q[p == 0] = 0.0
    return q


def solved_tries(p: Array, weights: Array, support: int, count: int) -> float:
    """The t for which sum(weights * at_least_once(p, t)) is `count`, of `support` at infinity.

    The logarithm of what is not yet found falls ever more slowly with t, so that Newton's method
    comes from below without overshooting; in 5 steps in ordinary cases.
    """
    if count >= support:
        return inf
    with np.errstate(divide="ignore"):
        rates = -np.log1p(-np.minimum(p, 1.0))
    weights, rates = weights[rates > 0], rates[rates > 0]
    certain = np.isinf(rates)
    found_at_once = float(weights[certain].sum())
    weights, rates = weights[~certain], rates[~certain]
    tries, aim = float(count), log1p(-count / support)
    for _ in range(400):
        exponents = rates * -tries
        found = found_at_once - float(weights @ np.expm1(exponents))
        slope = float((weights * rates) @ np.exp(exponents)) / (support - found)
        change = (log1p(-found / support) - aim) / slope
        tries += change
        if abs(change) <= 1e-13 * tries:
            break
    return tries
