"""Samplers of classes: the distributions that candidates of a sampled loss are drawn from.

Each brings its probabilities and its law; what they do alike is in `_sampling.base_sampler`.
"""

from __future__ import annotations

import os
from math import log1p
from threading import Lock
from typing import Any

import numpy as np

from fastsoftmax._sampling.alias_table import alias_table
from fastsoftmax._sampling.base_sampler import NO_FLOATS, NO_IDS, BaseSampler
from fastsoftmax._sampling.candidates import MOST_CLASSES, Candidates, Sampler, as_count, as_ids
from fastsoftmax._sampling.count_files import open_regular, read_counts
from fastsoftmax._sampling.draws import Law
from fastsoftmax._sampling.rank_order import Observer, UnsortedIdsWarning, check_order, divergence
from fastsoftmax._sampling.weights import as_counts, as_distortion, distorted
from fastsoftmax._typing import ALIAS, COUNTS, LOG_UNIFORM, UNIFORM, Array

__all__ = [
    "AllClasses",
    "Candidates",
    "LearnedUnigram",
    "LogUniform",
    "Sampler",
    "Uniform",
    "Unigram",
    "UnsortedIdsWarning",
]

_EXACT = 4096
"""Classes of a log-uniform distribution that sums take one by one; an integral takes the rest."""


class Uniform(BaseSampler):
    """Every class with the same probability, 1 / R.

    Parameters
    ----------
    num_classes : int
        R, at most 2**53.
    rule : {"tries", "solved"}, default "tries"
        The default of `expected_count`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.samplers.Uniform(10).sample(3, rng=0).ids.shape
    (3,)
    """

    def __init__(self, num_classes: int, *, rule: str = "tries") -> None:
        r = as_count(num_classes, "num_classes")
        tables = (NO_FLOATS, NO_IDS, NO_IDS)
        super().__init__(Law(UNIFORM, r, float(r), *tables, r), rule)

    def _probability(self, ids: Array) -> Array:
        return np.full(ids.shape, 1.0 / self._law.num_classes)

    def _quadrature(self) -> tuple[Array, Array]:
        r = float(self._law.num_classes)
        return np.array([1.0 / r]), np.array([r])


class LogUniform(BaseSampler):
    r"""Classes by Zipf's law, for ids that are sorted by falling frequency.

    .. math:: P(k) = \frac{\log(k + 2) - \log(k + 1)}{\log(R + 1)}

    Parameters
    ----------
    num_classes : int
        R, at most 2**53.
    observe : bool, default False
        Whether to look at the labels that `sample` is given, and to warn, once, if 10 000 of them
        are less likely than under a uniform distribution.
    rule : {"tries", "solved"}, default "tries"
        The default of `expected_count`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Warns
    -----
    UnsortedIdsWarning
        From `sample` with `observe`.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.samplers.LogUniform(10).probability([0, 1, 9]).round(4)
    array([0.2891, 0.1691, 0.0397])
    """

    def __init__(self, num_classes: int, *, observe: bool = False, rule: str = "tries") -> None:
        r = as_count(num_classes, "num_classes")
        tables = (NO_FLOATS, NO_IDS, NO_IDS)
        super().__init__(Law(LOG_UNIFORM, r, log1p(r), *tables, r), rule)
        self._observer = Observer(r) if observe else None

    def kl_divergence(self, counts: Any) -> float:
        """How far class frequencies are from this distribution.

        Parameters
        ----------
        counts : array_like of float
            How often each class occurs, R numbers.

        Returns
        -------
        float
            KL(counts / sum || P) in nats.

        Raises
        ------
        ValueError
            If there are not R counts, or they are not finite, negative or all 0.

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> sampler = fs.samplers.LogUniform(3)
        >>> round(sampler.kl_divergence([6, 3, 2]), 3)
        0.004
        """
        return divergence(self._counts(counts), self._all_probabilities())

    def check_order(self, counts: Any) -> None:
        """Warn if ids are not sorted by falling frequency.

        Parameters
        ----------
        counts : array_like of float
            How often each class occurs in all of the data, R numbers.

        Raises
        ------
        ValueError
            As `kl_divergence`.

        Warns
        -----
        UnsortedIdsWarning
            If the divergence is more than 0.5 nats larger than that of the counts sorted; the
            message has both.

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> fs.samplers.LogUniform(4).check_order([60, 30, 20, 15])
        """
        check_order(self._counts(counts), self._all_probabilities())

    def _counts(self, counts: Any) -> Array:
        given = as_counts(counts)
        if len(given) != self._law.num_classes:
            raise ValueError(f"counts has {len(given)} numbers for {self._law.num_classes} classes")
        scaled: Array = given / given.max()  # a sum of these does not overflow
        return scaled

    def _probability(self, ids: Array) -> Array:
        p = ids + 1.0
        p = np.log1p(np.reciprocal(p, p), p)
        return np.divide(p, self._law.scale, p)

    def _quadrature(self) -> tuple[Array, Array]:
        """The first classes one by one, the others by Gauss-Legendre rules in the logarithm.

        For f smooth in log k the sum from a to R - 1 is the integral from a - 1/2 to R - 1/2 less
        1/24 of the difference of f' there; what follows is below 1e-12 of f from 4096 on.
        """
        r = self._law.num_classes
        head = self._probability(np.arange(min(r, _EXACT)))
        weights = np.ones(len(head))
        if r <= _EXACT:
            return head, weights
        low, high = np.log(_EXACT + 0.5), np.log(r + 0.5)  # of k + 1
        x, w = np.polynomial.legendre.leggauss(16)
        panels = int(np.ceil(high - low))
        half = (high - low) / panels / 2
        nodes = np.exp(low + half * (2 * np.arange(panels)[:, None] + 1 + x))
        edge = np.array([_EXACT - 1, _EXACT, r - 1, r], np.float64)
        p = np.log1p(1 / np.concatenate([nodes.ravel(), edge + 1])) / self._law.scale
        inner = (nodes * (half * w)).ravel()
        return (
            np.concatenate([head, p]),
            np.concatenate([weights, inner, np.array([-1.0, 1.0, 1.0, -1.0]) / 24]),
        )

    def _see(self, labels: Array) -> None:
        if self._observer is not None:
            self._observer.see(labels)


class Unigram(BaseSampler):
    r"""Classes in proportion to a power of their counts.

    .. math:: P(k) = c_k^d / \sum_j c_j^d

    Parameters
    ----------
    counts : array_like of float
        How often each class occurs: finite, not negative, not all 0. Their sum may overflow.
    distortion : float, default 1.0
        The exponent d, not negative; 0.75 is usual for word vectors. With 0 every class counts
        alike, also one of count 0.
    num_reserved : int, default 0
        So many ids, from 0 on, come before those of `counts` and are never drawn.
    num_shards, shard : int, default 1 and 0
        Only classes with id % num_shards == shard are drawn. Ids are those of the whole range;
        TensorFlow's fixed unigram sampler numbers the classes of a shard from 0.
    rule : {"tries", "solved"}, default "tries"
        The default of `expected_count`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or no class has a positive probability.

    Notes
    -----
    Drawn from by Walker's alias method [1]_. A probability below 1e-280 counts as 0. A number of
    the generator has 53 bits: what is rarer than 1e-16 is drawn about as often as that, if at all.

    References
    ----------
    .. [1] A. J. Walker, "An efficient method for generating discrete random variables with general
       distributions", ACM Transactions on Mathematical Software 3, 1977.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.samplers.Unigram([3, 0, 1], num_reserved=1).probability([0, 1, 2, 3])
    array([0.  , 0.75, 0.  , 0.25])
    """

    def __init__(
        self,
        counts: Any,
        distortion: float = 1.0,
        num_reserved: int = 0,
        *,
        num_shards: int = 1,
        shard: int = 0,
        rule: str = "tries",
    ) -> None:
        given = as_counts(counts)
        reserved = as_count(num_reserved, "num_reserved", 0)
        shards = as_count(num_shards, "num_shards")
        own = as_count(shard, "shard", 0, shards - 1)
        p = distorted(given, as_distortion(distortion), reserved, shards, own)
        self._p = p
        support = int(np.count_nonzero(p))
        law = Law(ALIAS, len(p), float(len(p)), *alias_table(p), NO_IDS, support)
        super().__init__(law, rule)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        distortion: float = 1.0,
        num_reserved: int = 0,
        *,
        num_shards: int = 1,
        shard: int = 0,
        num_classes: int | None = None,
        rule: str = "tries",
    ) -> Unigram:
        r"""Make a sampler from a file of counts.

        Parameters
        ----------
        path : str or os.PathLike
            A text file with a line for each class; the count is the line, or its last field after
            a comma.
        distortion, num_reserved, num_shards, shard, rule
            As for `Unigram`.
        num_classes : int, optional
            How many counts there must be; otherwise all that there are.

        Returns
        -------
        Unigram
            The sampler.

        Raises
        ------
        OSError
            If there is no such file, or it is a directory, a pipe or a device.
        ValueError
            If a line holds no count; the message names path and line.

        Examples
        --------
        >>> import os, tempfile
        >>> import fastsoftmax as fs
        >>> path = os.path.join(tempfile.mkdtemp(), "counts.csv")
        >>> with open(path, "w") as file:
        ...     _ = file.write("the,3\nof,1\n")
        >>> fs.samplers.Unigram.from_file(path).probability([0, 1])
        array([0.75, 0.25])
        """
        expected = None if num_classes is None else as_count(num_classes, "num_classes")
        counts = read_counts(path, expected)
        if not counts.any():
            raise ValueError(f"{os.fspath(path)!r}: every count is 0")
        shards = {"num_shards": num_shards, "shard": shard}
        return cls(counts, distortion, num_reserved, **shards, rule=rule)

    def _probability(self, ids: Array) -> Array:
        return self._p[ids]

    def _quadrature(self) -> tuple[Array, Array]:
        return self._p, np.ones(len(self._p))


class LearnedUnigram(BaseSampler):
    """Classes in proportion to how often they were labels, plus 1.

    Labels that `sample` is given count from the next draw on; the candidates carry the expected
    counts, by the sampler's own rule, as they were before.

    Parameters
    ----------
    num_classes : int
        R; 24 bytes are kept for each.
    rule : {"tries", "solved"}, default "tries"
        The default of `expected_count`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Notes
    -----
    The counts are in a Fenwick tree [1]_: a draw and an update each take O(log R). Several threads
    may draw and update at a time.

    References
    ----------
    .. [1] P. M. Fenwick, "A new data structure for cumulative frequency tables", Software: Practice
       and Experience 24, 1994.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> sampler = fs.samplers.LearnedUnigram(3)
    >>> sampler.update([0, 0, 2])
    >>> sampler.probability([0, 1, 2]).round(3)
    array([0.5  , 0.167, 0.333])
    """

    def __init__(self, num_classes: int, *, rule: str = "tries") -> None:
        r = as_count(num_classes, "num_classes")
        self._begin(np.ones(r, np.int64), rule)

    def _begin(self, counts: Array, rule: str) -> None:
        self._lock, self._counts = Lock(), counts
        r = len(counts)
        places = np.arange(1, r + 1)
        total = np.concatenate([[0], np.cumsum(counts)])
        tree = total[1:] - total[places - (places & -places)]
        total_count = float(total[-1])
        law = Law(COUNTS, r, total_count, NO_FLOATS, NO_IDS, tree, r)
        super().__init__(law, rule)

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds."""
        with self._lock:
            return {"counts": self._counts.copy(), "rule": self._rule}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The sampler as it was."""
        self._begin(state["counts"], state["rule"])

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
        """Draw classes at random, then count the labels; see `LogUniform.sample`."""
        drawing = {"unique": unique, "exclude": exclude, "rng": rng, "backend": backend}
        if labels is not None:
            # This call's own: what is checked is what is counted.
            labels = as_ids(np.array(labels), "labels", self._law.num_classes)
        with self._lock:
            candidates = super().sample(num_sampled, **drawing)
            if labels is None:
                return candidates
            candidates = candidates._replace(
                expected_true=self.expected_count(labels, candidates),
                expected_sampled=self.expected_count(candidates.ids, candidates),
            )
            self._add(labels)
        return candidates

    def update(self, labels: Any) -> None:
        """Count labels, each once more.

        Parameters
        ----------
        labels : array_like of int
            Classes, in any shape.

        Raises
        ------
        IndexError
            If a label is out of range; nothing is counted then.

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> fs.samplers.LearnedUnigram(3).update([0, 2])
        """
        own = as_ids(np.array(labels), "labels", self._law.num_classes)
        with self._lock:
            self._add(own)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the counts to a file, in NumPy's format.

        Parameters
        ----------
        path : str or os.PathLike
            The file, which is replaced.

        Examples
        --------
        >>> import os, tempfile
        >>> import fastsoftmax as fs
        >>> sampler = fs.samplers.LearnedUnigram(3)
        >>> sampler.save(os.path.join(tempfile.mkdtemp(), "counts.npy"))
        """
        with self._lock:
            counts = self._counts.copy()
        with open(path, "wb") as file:
            np.save(file, counts, allow_pickle=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, rule: str = "tries") -> LearnedUnigram:
        """Make a sampler from a file that `save` has written. Nothing in it is executed.

        Parameters
        ----------
        path : str or os.PathLike
            The file.
        rule : {"tries", "solved"}, default "tries"
            As for the sampler.

        Returns
        -------
        LearnedUnigram
            The sampler, which draws as the other would go on to.

        Raises
        ------
        OSError
            If there is no such file, or it is a directory, a pipe or a device.
        ValueError
            If the file holds no counts; the message names it.

        Examples
        --------
        >>> import os, tempfile
        >>> import fastsoftmax as fs
        >>> path = os.path.join(tempfile.mkdtemp(), "counts.npy")
        >>> fs.samplers.LearnedUnigram(3).save(path)
        >>> fs.samplers.LearnedUnigram.load(path).num_classes
        3
        """
        name = os.fspath(path)
        with open_regular(path) as file:
            try:
                counts = np.load(file, allow_pickle=False)
            except (ValueError, EOFError, MemoryError, OSError) as error:
                raise ValueError(f"{name!r} holds no array of counts: {error}") from None
        if not isinstance(counts, np.ndarray) or counts.dtype != np.int64 or counts.ndim != 1:
            raise ValueError(f"{name!r} holds no array of int64 counts in one dimension")
        if not counts.size or counts.min() < 1 or counts.sum(dtype=np.float64) > MOST_CLASSES:
            raise ValueError(f"{name!r}: counts must be 1 or more, and sum to 2**53 at most")
        sampler = cls.__new__(cls)
        sampler._begin(counts.astype(np.int64), rule)
        return sampler

    def _add(self, labels: Array) -> None:
        r, total = self._law.num_classes, self._law.scale + labels.size
        if total > MOST_CLASSES:
            raise ValueError("labels: more than 2**53 would have been counted")
        ids, times = np.unique(labels, return_counts=True)
        self._counts[ids] += times
        place = ids + 1
        while place.size:
            np.add.at(self._law.tree, place - 1, times)
            place += place & -place
            inside = place <= r
            place, times = place[inside], times[inside]
        self._law = self._law._replace(scale=total)
        self._sums.clear()

    def _probability(self, ids: Array) -> Array:
        return self._counts[ids] / self._law.scale

    def _quadrature(self) -> tuple[Array, Array]:
        counts, times = np.unique(self._counts, return_counts=True)
        return counts / self._law.scale, times.astype(np.float64)


class AllClasses(Uniform):
    """Every class, always: what a sampled loss becomes a full one with.

    Parameters
    ----------
    num_classes : int
        R.
    rule : {"tries", "solved"}, default "tries"
        Of no consequence: every expected count is 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.samplers.AllClasses(3).sample(3).ids
    array([0, 1, 2])
    """

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
        """All classes in order, but those excluded; `num_sampled` must be as many.

        Takes nothing of `rng`; see `LogUniform.sample` for the parameters.
        """
        count, r = as_count(num_sampled, "num_sampled"), self._law.num_classes
        if labels is not None:
            as_ids(labels, "labels", r)
        ids, excluded = np.arange(r), None
        if exclude is not None:
            excluded = np.unique(as_ids(exclude, "exclude", r))
            ids = np.delete(ids, excluded)
        if count != len(ids):
            raise ValueError(f"num_sampled is {count}; of all classes there are {len(ids)}")
        return Candidates(ids, count, True, excluded, 1.0 - len(ids) / r)

    def expected_count(self, ids: Any, candidates: Candidates, *, rule: str | None = None) -> Array:
        """1, or 0 for excluded classes; see `LogUniform.expected_count` for the parameters."""
        classes = as_ids(ids, "ids", self._law.num_classes)
        if candidates.excluded is None:
            return np.ones(classes.shape)
        return 1.0 - np.isin(classes, candidates.excluded)
