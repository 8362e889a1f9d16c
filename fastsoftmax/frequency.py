"""How often ids occur in a stream, estimated while it passes: what `log_q` of a loss is made of.

Numbers per bucket only: how a loss uses them is not said here.
"""

from __future__ import annotations

import os
from operator import index
from typing import IO, Any, TypeAlias

import numpy as np

from fastsoftmax._arrays import as_array
from fastsoftmax._labels import class_indices
from fastsoftmax._typing import INVALID, Array

__all__ = ["StreamingFrequency"]

File: TypeAlias = "str | os.PathLike[str] | IO[bytes]"

MOST_HASHES = 16

# SplitMix64: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
# OOPSLA 2014, with the constants of its reference implementation.
_GOLDEN, _MIX = 0x9E3779B97F4A7C15, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class StreamingFrequency:
    r"""Probability that a draw from a stream of ids is this one, estimated from the gaps between.

    .. math:: B \leftarrow (1 - a)\, B + a\, (t - A), \quad A \leftarrow t, \quad
              p = 1 / B, \quad a = \max(\alpha, 1 / n)

    A is where an id was seen last, t where it is seen now, B the average gap, n how many gaps there
    were.

    Parameters
    ----------
    num_buckets : int
        With `num_hashes` 0 the number of ids, which are 0 to num_buckets - 1, and exact: no two
        share anything. Else the number of places that each hash function spreads ids over.
    num_hashes : int, default 0
        How many hash functions there are, up to 16, so that ids may be any integers of 64 bits. Ids
        that share a bucket seem more frequent than they are; of several hash functions the one
        counts that an id has the largest average gap by.
    alpha : float, default 0.01
        The weight of the newest gap, above 0 and below 1: after a change of frequencies, 1 / alpha
        occurrences of an id make most of its estimate.
    seed : int, default 0
        Chooses the hash functions, which are the same on every machine; from 0 to 2**64 - 1.

    Attributes
    ----------
    num_seen : int
        How many ids were seen, which is the time t.

    Raises
    ------
    TypeError, ValueError
        If an argument is not such a number.

    See Also
    --------
    in_batch_softmax_loss : What this is for.

    Notes
    -----
    The relative standard deviation of B settles at sqrt(alpha / (2 - alpha)), 7 percent for 0.01;
    with n gaps seen, of which there are less than 1 / alpha, it is sqrt(1 / n).

    Two things differ from the algorithm of [1]_. Time counts ids, not batches: so p is the
    probability of one draw, as of a sampler, how a stream is cut into batches does not matter, and
    an id that occurs twice in a batch counts twice. By batches p would be larger by the number of
    ids in a batch, which a softmax does not see. And the first 1 / alpha gaps of an id are simply
    averaged, so that no starting value has to be guessed and then forgotten.

    An id that was never seen counts as if it came next. One that comes no more keeps its estimate.

    It takes 24 bytes for each bucket and hash function. Objects of this class may be copied and
    pickled; while one thread updates, no other may use it.

    References
    ----------
    .. [1] X. Yi et al., "Sampling-bias-corrected neural modeling for large corpus item
       recommendations", RecSys 2019, algorithm 2 and section 4.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> frequency = fs.StreamingFrequency(1000)
    >>> for _ in range(100):
    ...     frequency.update([7, 7, 3, 7])
    >>> frequency.probability([7, 3]).round(2)
    array([0.75, 0.25])

    Any ids, by two hash functions:

    >>> frequency = fs.StreamingFrequency(1 << 16, num_hashes=2)
    >>> frequency.update([10**18, -5, 10**18, 10**18])
    >>> frequency.probability(10**18)
    np.float64(0.75)
    """

    def __init__(
        self, num_buckets: int, *, num_hashes: int = 0, alpha: float = 0.01, seed: int = 0
    ) -> None:
        self.num_buckets = _whole_number(num_buckets, "num_buckets", 1, 1 << 48)
        self.num_hashes = _whole_number(num_hashes, "num_hashes", 0, MOST_HASHES)
        self.alpha = _alpha(alpha)
        self.seed = _whole_number(seed, "seed", 0, (1 << 64) - 1)
        self.num_seen = 0
        tables = max(1, self.num_hashes)
        self._last = np.zeros((tables, self.num_buckets), np.int64)
        self._gaps = np.zeros((tables, self.num_buckets), np.int64)
        self._mean = np.zeros((tables, self.num_buckets))

    def __repr__(self) -> str:
        """What it was made by."""
        return (
            f"StreamingFrequency({self.num_buckets}, num_hashes={self.num_hashes}, "
            f"alpha={self.alpha}, seed={self.seed})"
        )

    def update(self, ids: Any) -> None:
        """See some more ids, in the order in which they stand.

        Parameters
        ----------
        ids : array_like of int
            Of any shape and any integer type.

        Raises
        ------
        IndexError
            Without hash functions, if an id is out of range; nothing has changed then.
        TypeError
            If ids are not integers.

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> frequency = fs.StreamingFrequency(10)
        >>> frequency.update([1, 2, 1])
        >>> frequency.num_seen
        3
        """
        buckets = self._buckets(ids)
        for table, own in enumerate(buckets.reshape(len(buckets), -1)):
            self._see(table, own)
        self.num_seen += buckets[0].size

    def probability(self, ids: Any) -> Any:
        """Estimated probability of each id.

        Parameters
        ----------
        ids : array_like of int
            Of any shape and any integer type.

        Returns
        -------
        ndarray of float64 or scalar
            In the shape of ids: above 0, at most 1.

        Raises
        ------
        IndexError, TypeError
            As of `update`.

        Examples
        --------
        An id that was not seen counts as if it came next:

        >>> import fastsoftmax as fs
        >>> frequency = fs.StreamingFrequency(10)
        >>> frequency.update([1, 1, 1])
        >>> frequency.probability([1, 2])
        array([1.  , 0.25])
        """
        return 1.0 / self._mean_gap(ids)

    def log_probability(self, ids: Any) -> Any:
        """Logarithm of `probability`: the `log_q` of `in_batch_softmax_loss`.

        Parameters
        ----------
        ids : array_like of int
            Of any shape and any integer type.

        Returns
        -------
        ndarray of float64 or scalar
            In the shape of ids: finite, at most 0.

        Raises
        ------
        IndexError, TypeError
            As of `update`.

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> frequency = fs.StreamingFrequency(10)
        >>> frequency.update([1, 2, 1, 2])
        >>> frequency.log_probability([1, 2]).round(2)
        array([-0.41, -0.69])
        """
        return 0.0 - np.log(self._mean_gap(ids))  # of certainty 0, not -0

    def save(self, file: File) -> None:
        """Write the state to a file, as `numpy.savez` does.

        Parameters
        ----------
        file : path or binary file
            Where to; to a path without it, ".npz" is added.

        Examples
        --------
        >>> import io
        >>> import fastsoftmax as fs
        >>> frequency, file = fs.StreamingFrequency(10), io.BytesIO()
        >>> frequency.update([1, 2, 1])
        >>> frequency.save(file)
        >>> _ = file.seek(0)
        >>> fs.StreamingFrequency.load(file).num_seen
        3
        """
        numbers = np.array([self.num_hashes, self.seed, self.num_seen], np.uint64)
        np.savez(
            file,
            numbers=numbers,
            alpha=np.float64(self.alpha),
            last=self._last,
            gaps=self._gaps,
            mean=self._mean,
        )

    @classmethod
    def load(cls, file: File) -> StreamingFrequency:
        """Read what `save` wrote.

        Parameters
        ----------
        file : path or binary file
            Nothing that it holds is executed.

        Returns
        -------
        StreamingFrequency
            In the state that was saved.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it holds something else.

        Examples
        --------
        See `save`.
        """
        try:
            with np.load(file, allow_pickle=False) as saved:
                held = {name: saved[name] for name in ("numbers", "alpha", "last", "gaps", "mean")}
            return cls._of(**held)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # zipfile, zlib, numpy: each has errors of its own
            raise ValueError(f"file is no saved StreamingFrequency: {error}") from error

    @classmethod
    def _of(
        cls, numbers: Array, alpha: Array, last: Array, gaps: Array, mean: Array
    ) -> StreamingFrequency:
        num_hashes, seed, num_seen = (int(number) for number in numbers)
        tables, num_buckets = last.shape
        if tables != max(1, num_hashes):
            raise ValueError(f"{tables} tables are there for {num_hashes} hash functions")
        made = cls(num_buckets, num_hashes=num_hashes, alpha=float(alpha), seed=seed)
        for name, array in (("_last", last), ("_gaps", gaps), ("_mean", mean)):
            own: Array = getattr(made, name)
            if array.dtype != own.dtype or array.shape != own.shape:
                raise ValueError(f"an array has dtype {array.dtype} and shape {array.shape}")
            own[...] = array
        seen = gaps > 0
        sound = (gaps >= 0) & (last >= gaps) & (last <= num_seen)
        most = num_seen * (1 + 1e-6)  # and as much as rounding adds
        sound &= np.where(seen, (mean >= 1) & (mean <= most), mean == 0)
        if not sound.all():
            place = np.unravel_index(int(np.argmin(sound)), sound.shape)
            raise ValueError(f"bucket {place[1]} holds what no stream leaves there")
        made.num_seen = num_seen
        return made

    def _buckets(self, ids: Any) -> Array:
        """For each table, the places of the ids."""
        given = as_array(ids, "ids")
        if given.size == 0 and given.dtype.kind == "f":
            given = given.astype(np.int64)  # an empty list
        if given.dtype.kind not in "iu":
            raise TypeError(f"ids has dtype {given.dtype}; ids are integers")
        if not self.num_hashes:
            return self._in_range(given)[None]
        wide = np.int64 if given.dtype.kind == "i" else np.uint64
        keys = given.astype(wide).view(np.uint64)
        return np.stack([self._hash(number, keys) for number in range(self.num_hashes)])

    def _hash(self, number: int, keys: Array) -> Array:
        """Hash function `number`: the output of SplitMix64 for an id, moved on by a seed's own."""
        key = (self.seed + (number + 1) * _GOLDEN) % (1 << 64)
        start = _mixed(np.array([key], np.uint64))[0]
        return (_mixed(keys ^ start) % np.uint64(self.num_buckets)).astype(np.int64)

    def _in_range(self, ids: Array) -> Array:
        own = class_indices(ids, self.num_buckets, None, check=False)
        if (own == INVALID).any():
            place = np.unravel_index(int(np.argmax(own == INVALID)), own.shape)
            at = ", ".join(str(int(i)) for i in place)
            raise IndexError(
                f"ids[{at}] is {ids[place]}, but without hash functions ids are 0 to "
                f"{self.num_buckets - 1}"
            )
        return own

    def _see(self, table: int, buckets: Array) -> None:
        """All ids of a batch at once, as one after another would leave it."""
        if not buckets.size:
            return
        order = np.argsort(buckets, kind="stable")
        grouped, times = buckets[order], order + (self.num_seen + 1)
        first = np.flatnonzero(np.concatenate(([True], grouped[1:] != grouped[:-1])))
        own = grouped[first]
        sizes = np.diff(np.append(first, len(grouped)))
        last = times[first + sizes - 1]
        before, mean = self._gaps[table, own], self._mean[table, own]
        gaps = np.empty_like(times)
        gaps[1:] = times[1:] - times[:-1]
        gaps[first] = times[first] - self._last[table, own]
        # Each gap's weight is its own share, shrunk by those of all that follow.
        n = np.arange(len(times)) - np.repeat(first - before - 1, sizes)
        after = before + sizes
        end = _log_kept(after, self.alpha)
        kept = np.exp(np.repeat(end, sizes) - _log_kept(n, self.alpha))
        parts = np.add.reduceat(kept * _share(n, self.alpha) * gaps, first)
        old = np.exp(end - _log_kept(np.maximum(before, 1), self.alpha)) * (before > 0)
        # An average of gaps, which are at least 1: rounding does not lead below.
        self._mean[table, own] = np.maximum(old * mean + parts, 1.0)
        self._last[table, own] = last
        self._gaps[table, own] = after

    def _mean_gap(self, ids: Any) -> Any:
        buckets = self._buckets(ids)
        means = np.stack([mean[at] for mean, at in zip(self._mean, buckets, strict=True)])
        seen = np.stack([gaps[at] > 0 for gaps, at in zip(self._gaps, buckets, strict=True)])
        return np.where(seen, means, self.num_seen + 1.0).max(axis=0)[()]


def _whole_number(n: Any, name: str, least: int, most: int) -> int:
    try:
        number = index(n)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {n!r}") from None
    if isinstance(n, bool) or not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {n!r}")
    return number


def _alpha(alpha: Any) -> float:
    try:
        value = np.nan if isinstance(alpha, str | bool) else float(alpha)
    except (TypeError, ValueError):
        value = np.nan
    if not 0 < value < 1:
        raise ValueError(f"alpha must be above 0 and below 1, not {alpha!r}")
    return value


def _share(n: Array, alpha: float) -> Array:
    """The weight that the n-th gap has when it is the newest."""
    return np.asarray(np.maximum(alpha, 1.0 / n))


def _log_kept(n: Array, alpha: float) -> Array:
    """Logarithm of the product of 1 - `_share` from 2 to n: 1 / n while gaps are averaged."""
    averaged = np.floor(1 / alpha)
    recent = np.maximum(n - averaged, 0)
    return np.asarray(np.log1p(-alpha) * recent - np.log(np.minimum(n, averaged)))


def _mixed(x: Array) -> Array:
    """Every bit of the result depends on every bit of x, modulo 2**64."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX[0])
        x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX[1])
    return np.asarray(x ^ (x >> np.uint64(31)))
