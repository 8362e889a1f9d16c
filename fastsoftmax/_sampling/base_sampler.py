"""What all samplers do alike: check arguments, draw, and turn probabilities into expected counts.

A sampler brings its law, its probabilities, and what sums over all its classes are taken from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from fastsoftmax import _registry
from fastsoftmax._sampling.candidates import Candidates, as_count, as_generator, as_ids, contains
from fastsoftmax._sampling.draws import Law, Without, draw_ids
from fastsoftmax._sampling.expected_counts import as_rule, at_least_once, solved_tries
from fastsoftmax._typing import Array

NO_FLOATS, NO_IDS = np.empty(0), np.empty(0, np.int64)
_ALL = Without()


class BaseSampler(ABC):
    """The part of every sampler that does not depend on its probabilities."""

    def __init__(self, law: Law, rule: str) -> None:
        self._law = law
        self._rule = as_rule(rule)
        self._sums: dict[tuple[str, int, bytes | None], float] = {}

    @property
    def num_classes(self) -> int:
        """The number R of classes, which are 0 to R - 1."""
        return self._law.num_classes

    @abstractmethod
    def _probability(self, ids: Array) -> Array:
        """P of each of the ids, which are in range, as a new array."""

    @abstractmethod
    def _quadrature(self) -> tuple[Array, Array]:
        """Probabilities p and weights w with sum(w f(p)) = the sum of f(P) over all classes."""

    def sample(
        self,
        num_sampled: int,
        *,
        unique: bool = True,
        labels: Any = None,
        exclude: Any = None,
        rng: Any = None,
        backend: str | None = None,
    ) -> Candidates:
        """Draw classes at random.

        Parameters
        ----------
        num_sampled : int
            How many. Not more than there are classes of positive probability, unless they may
            repeat.
        unique : bool, default True
            Whether to take each class once, as it first comes up: always exactly `num_sampled`
            classes, also where they are nearly all that there are.
        labels : array_like of int, optional
            The true classes of a batch: checked to be classes of this sampler, and counted by
            samplers that learn. They are not kept out of the sample.
        exclude : array_like of int, optional
            Classes that are never drawn.
        rng : None, int, numpy.random.Generator or numpy.random.SeedSequence, optional
            Where randomness comes from, as in SPEC 7.
        backend : str, optional
            "auto", or one of `fastsoftmax.backends()`. Each gives the same classes and leaves the
            generator in the same state.

        Returns
        -------
        Candidates
            The classes and what their expected counts depend on.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind.
        ValueError
            If fewer classes have a positive probability, and are not excluded, than are asked for.
        IndexError
            If a label or an excluded class is out of range; the message names its place.
        BackendUnavailable
            If the backend asked for cannot run here.

        See Also
        --------
        expected_count

        Notes
        -----
        Without repetition, classes are drawn and repetitions rejected until that takes long, and
        the others by an exponential race [1]_, which has the same distribution. Every try takes one
        number of the generator; in the race every class that is left does.

        References
        ----------
        .. [1] P. S. Efraimidis, P. G. Spirakis, "Weighted random sampling with a reservoir",
           Information Processing Letters 97, 2006.

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> sampler = fs.samplers.LogUniform(1000)
        >>> candidates = sampler.sample(5, rng=0)
        >>> len(set(candidates.ids.tolist()))
        5
        """
        count = as_count(num_sampled, "num_sampled")
        draw = _registry.resolve(backend).draw
        generator = as_generator(rng)
        if labels is not None:
            labels = as_ids(labels, "labels", self._law.num_classes)
        without = _ALL if exclude is None else self._without(exclude)
        law, every = self._law, self._all_probabilities
        ids, tries = draw_ids(draw, law, every, count, bool(unique), without, generator)
        if labels is not None:
            self._see(labels)
        return Candidates(ids, tries, bool(unique), without.ids, without.mass)

    def probability(self, ids: Any) -> Array:
        """The probability of each class in a single draw.

        Parameters
        ----------
        ids : array_like of int
            Classes, in any shape.

        Returns
        -------
        ndarray of float64
            In the shape of `ids`, whatever was excluded from a sample.

        Raises
        ------
        IndexError
            If a class is out of range; the message names its place.

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> fs.samplers.Uniform(4).probability([0, 3])
        array([0.25, 0.25])
        """
        classes = as_ids(ids, "ids", self._law.num_classes)
        return self._probability(np.atleast_1d(classes)).reshape(classes.shape)

    def expected_count(self, ids: Any, candidates: Candidates, *, rule: str | None = None) -> Array:
        r"""How often each class is expected among such candidates.

        With P the probability of one draw, n the number of candidates and t that of tries:
        :math:`n P` if classes may repeat, else

        .. math:: E = 1 - (1 - P)^t

        Parameters
        ----------
        ids : array_like of int
            Classes, in any shape.
        candidates : Candidates
            What `sample` returned.
        rule : {"tries", "solved"}, optional
            Where t comes from; by default what the sampler was made with. "tries": the number of
            tries that it took, and n P if no class came twice, as in TensorFlow [1]_; that can be
            more than 1. "solved": the t for which the expected counts of all classes sum to n,
            which does not vary from sample to sample.

        Returns
        -------
        ndarray of float64
            In the shape of `ids`; 0 for excluded classes, and P is relative to the others.

        Raises
        ------
        IndexError
            If a class is out of range; the message names its place.
        ValueError
            If the rule is unknown.

        References
        ----------
        .. [1] TensorFlow, "Candidate Sampling Algorithms Reference".

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> sampler = fs.samplers.Uniform(10)
        >>> candidates = sampler.sample(4, rng=0)
        >>> sampler.expected_count([0, 9], candidates, rule="solved").round(6)
        array([0.4, 0.4])
        """
        classes = as_ids(ids, "ids", self._law.num_classes)
        return self._expected(np.atleast_1d(classes), candidates, rule).reshape(classes.shape)

    def _expected(self, classes: Array, candidates: Candidates, rule: str | None) -> Array:
        chosen = self._rule if rule is None else as_rule(rule)
        p = self._probability(classes)
        excluded = candidates.excluded
        if excluded is not None and len(excluded):
            p /= self._kept(candidates)
            np.minimum(p, 1.0, out=p)
            p[contains(excluded, classes)] = 0.0
        count = len(candidates.ids)
        if not candidates.unique:
            p *= count
            return p
        if chosen == "solved":
            return at_least_once(p, self._solved(count, candidates))
        if candidates.num_tries == count:
            p *= count
            return p
        return at_least_once(p, candidates.num_tries)

    def _see(self, labels: Array) -> None:  # noqa: B027
        """What a sampler learns of labels: nothing, unless it says otherwise."""

    def _all_probabilities(self) -> Array:
        return self._probability(np.arange(self._law.num_classes))

    def _without(self, exclude: Any) -> Without:
        ids = np.unique(as_ids(exclude, "exclude", self._law.num_classes))
        if not ids.size:
            return _ALL
        p = self._probability(ids)
        return Without(ids, int(np.count_nonzero(p)), float(p.sum()))

    def _kept(self, candidates: Candidates) -> float:
        """The probability of what is not excluded; summed where 1 - mass would have few digits."""
        if candidates.excluded is None or candidates.excluded_mass <= 0.999:
            return 1.0 - candidates.excluded_mass
        key = ("kept", 0, candidates.excluded.tobytes())
        if (known := self._sums.get(key)) is not None:
            return known
        p = self._all_probabilities()
        p[candidates.excluded] = 0.0
        return self._remember(key, float(p.sum()))

    def _solved(self, count: int, candidates: Candidates) -> float:
        excluded = candidates.excluded
        key = ("tries", count, None if excluded is None else excluded.tobytes())
        if (known := self._sums.get(key)) is not None:
            return known
        p, weights = self._quadrature()
        support = self._law.support
        if excluded is not None and len(excluded):
            without = self._probability(excluded)
            support -= int(np.count_nonzero(without))
            p = np.concatenate([p, without]) / self._kept(candidates)
            weights = np.concatenate([weights, np.full(len(without), -1.0)])
        return self._remember(key, solved_tries(p, weights, support, count))

    def _remember(self, key: tuple[str, int, bytes | None], value: float) -> float:
        """The value; another thread may have forgotten it by the next line."""
        if len(self._sums) >= 16:  # excluded classes may differ from call to call
            self._sums.clear()
        self._sums[key] = value
        return value
