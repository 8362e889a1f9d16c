"""TensorFlow's candidate samplers, over `fastsoftmax.samplers`. Nothing is drawn here."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from operator import index
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax._arrays import as_array
from fastsoftmax._typing import Array
from fastsoftmax.compat._tf_arguments import as_rng, as_true_classes
from fastsoftmax.samplers import (
    AllClasses,
    Candidates,
    LearnedUnigram,
    LogUniform,
    Sampler,
    Uniform,
    Unigram,
)


class SampledValues(NamedTuple):
    """What a candidate sampler gives, and what the losses take as `sampled_values`.

    Attributes
    ----------
    sampled_candidates : ndarray of int64, shape (num_sampled,)
        The classes that were drawn.
    true_expected_count : ndarray of float32, shape (batch_size, num_true)
        How often each true class is expected in such a draw.
    sampled_expected_count : ndarray of float32, shape (num_sampled,)
        The same of each class that was drawn.
    """

    sampled_candidates: Array
    true_expected_count: Array
    sampled_expected_count: Array


def uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: Any = None,
    name: str | None = None,
) -> SampledValues:
    """`tf.random.uniform_candidate_sampler`: every class is as likely as any other.

    .. math:: P(k) = 1 / R

    Parameters
    ----------
    true_classes : array_like of int, shape (batch_size, num_true)
        The classes whose expected counts are wanted. They may be drawn, too.
    num_true : int
        Columns of true_classes.
    num_sampled : int
        How many candidates to draw.
    unique : bool
        Whether a class can be drawn only once.
    range_max : int
        R, the number of classes.
    seed : int, numpy.random.Generator, numpy.random.SeedSequence, optional
        Where the candidates come from. By default they are others in each call. A seed gives the
        same ones in every call, which are not those of TensorFlow.
    name : str, optional
        Of no meaning here.

    Returns
    -------
    SampledValues
        Candidates (int64), and expected counts of true_classes and of the candidates (float32): n P
        for n draws with replacement; for unique ones 1 - (1 - P)^t, where t is the number of tries
        that it took.

    Raises
    ------
    IndexError
        If a true class is out of range.
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If true_classes has another shape, or more unique candidates are asked for than there are.

    See Also
    --------
    fastsoftmax.samplers.Uniform : the sampler by itself.

    Examples
    --------
    >>> import fastsoftmax.compat.tf as tf_nn
    >>> drawn = tf_nn.uniform_candidate_sampler([[0]], 1, 3, False, 12)
    >>> drawn.true_expected_count
    array([[0.25]], dtype=float32)
    """
    return _values(Uniform(range_max), true_classes, num_true, num_sampled, unique, seed)


def log_uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: Any = None,
    name: str | None = None,
) -> SampledValues:
    r"""`tf.random.log_uniform_candidate_sampler`: for classes sorted by falling frequency.

    .. math:: P(k) = \frac{\ln((k + 2) / (k + 1))}{\ln(R + 1)}

    Parameters
    ----------
    true_classes, num_true, num_sampled, unique, range_max, seed, name
        As in `uniform_candidate_sampler`.

    Returns
    -------
    SampledValues
        As in `uniform_candidate_sampler`.

    Raises
    ------
    IndexError, TypeError, ValueError
        As in `uniform_candidate_sampler`.

    See Also
    --------
    fastsoftmax.samplers.LogUniform : the sampler by itself.

    Examples
    --------
    >>> import fastsoftmax.compat.tf as tf_nn
    >>> drawn = tf_nn.log_uniform_candidate_sampler([[0, 9]], 2, 2, False, 10)
    >>> drawn.true_expected_count.round(4)
    array([[0.5781, 0.0795]], dtype=float32)
    """
    return _values(LogUniform(range_max), true_classes, num_true, num_sampled, unique, seed)


def learned_unigram_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: Any = None,
    name: str | None = None,
) -> SampledValues:
    """`tf.random.learned_unigram_candidate_sampler`: classes as often as they were true before.

    Every class begins with a count of 1; the true classes of a call are counted after its draw.

    Parameters
    ----------
    true_classes, num_true, num_sampled, unique, range_max, seed, name
        As in `uniform_candidate_sampler`.

    Returns
    -------
    SampledValues
        As in `uniform_candidate_sampler`, by the counts before this call's.

    Raises
    ------
    IndexError, TypeError, ValueError
        As in `uniform_candidate_sampler`.

    See Also
    --------
    fastsoftmax.samplers.LearnedUnigram : counts of one's own, which can be saved and loaded.

    Notes
    -----
    As in TensorFlow the process keeps the counts, and calls share them that agree in num_true,
    num_sampled, unique and range_max. In TensorFlow they have to agree in seed, too.

    Examples
    --------
    >>> import fastsoftmax.compat.tf as tf_nn
    >>> for _ in range(2):
    ...     drawn = tf_nn.learned_unigram_candidate_sampler([[0, 0]], 2, 4, False, 8)
    ...     print(drawn.true_expected_count)
    [[0.5 0.5]]
    [[1.2 1.2]]
    """
    sampler = _learned_unigram(*map(index, (num_true, num_sampled, unique, range_max)))
    return _values(sampler, true_classes, num_true, num_sampled, unique, seed)


@cache
def _learned_unigram(
    num_true: int, num_sampled: int, unique: int, range_max: int
) -> LearnedUnigram:
    return LearnedUnigram(range_max)


def fixed_unigram_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    vocab_file: Any = "",
    distortion: float = 1.0,
    num_reserved_ids: int = 0,
    num_shards: int = 1,
    shard: int = 0,
    unigrams: Any = (),
    seed: Any = None,
    name: str | None = None,
) -> SampledValues:
    r"""`tf.random.fixed_unigram_candidate_sampler`: classes in proportion to counts.

    .. math:: P(k) = c_k^d / \sum_j c_j^d

    Parameters
    ----------
    true_classes, num_true, num_sampled, unique, range_max, seed, name
        As in `uniform_candidate_sampler`. range_max must be the number of classes that reserved
        ids and counts make, of those that the shard has.
    vocab_file : str or path, optional
        A file with a line for each class, whose last field, after a comma if there are several, is
        its count. Either this or `unigrams`.
    distortion : float, default 1.0
        d, the power that counts are raised to: 0.75 for word2vec's negatives.
    num_reserved_ids : int, default 0
        Classes without a count that come before the others and are never drawn.
    num_shards, shard : int, default 1 and 0
        Of reserved ids, and of counts after them, every num_shards-th is taken; the classes are
        numbered anew from 0. Which counts: see Notes.
    unigrams : sequence of float, optional
        Counts by class. Either this or `vocab_file`.

    Returns
    -------
    SampledValues
        As in `uniform_candidate_sampler`.

    Raises
    ------
    IndexError, TypeError, ValueError
        As in `uniform_candidate_sampler`; ValueError if there are both counts and a file, or
        neither, or if range_max is another number than theirs.
    OSError
        If the file cannot be read.

    See Also
    --------
    fastsoftmax.samplers.Unigram : the sampler by itself, set up once for any number of draws.

    Notes
    -----
    A shard has the reserved ids k with k mod num_shards = shard, say m of them, and then the counts
    i with (m + i) mod num_shards = shard, as TensorFlow loads them. Where there are both shards and
    reserved ids `fastsoftmax.samplers.Unigram` has others: those with num_reserved_ids + i in place
    of m + i; and its ids are those of all classes.

    Setting up takes time in proportion to the number of classes. What a file gave is kept until the
    file changes; with `unigrams` it is done in each call.

    Examples
    --------
    >>> import fastsoftmax.compat.tf as tf_nn
    >>> drawn = tf_nn.fixed_unigram_candidate_sampler(
    ...     [[1, 3]], 2, 4, False, 4, num_reserved_ids=1, unigrams=[1, 2, 5]
    ... )
    >>> drawn.true_expected_count
    array([[0.5, 2.5]], dtype=float32)
    """
    path, has_counts = os.fspath(vocab_file), len(unigrams) > 0
    if has_counts == bool(path):
        given = "both were given" if has_counts else "neither was"
        raise ValueError(f"exactly one of vocab_file and unigrams is needed; {given}")
    options = (float(distortion), index(num_reserved_ids), index(num_shards), index(shard))
    if has_counts:
        sampler = _of_shard(as_array(unigrams, "unigrams"), *options)
    else:
        sampler = _of_file(path, _stamp(path), *options)
    if sampler.num_classes != range_max:
        raise ValueError(
            f"range_max is {range_max!r}, but the counts, with reserved ids and of shard {shard}, "
            f"are of {sampler.num_classes} classes"
        )
    return _values(sampler, true_classes, num_true, num_sampled, unique, seed)


def all_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    seed: Any = None,
    name: str | None = None,
) -> SampledValues:
    """`tf.random.all_candidate_sampler`: all classes, each with an expected count of 1.

    Parameters
    ----------
    true_classes : array_like of int, shape (batch_size, num_true)
        The classes whose expected counts are wanted.
    num_true : int
        Columns of true_classes.
    num_sampled : int
        The number of classes.
    unique, seed, name
        Of no meaning.

    Returns
    -------
    SampledValues
        The numbers below num_sampled (int64), and ones (float32).

    Raises
    ------
    IndexError, TypeError, ValueError
        As in `uniform_candidate_sampler`.

    See Also
    --------
    fastsoftmax.cross_entropy : the loss that this amounts to.

    Examples
    --------
    >>> import fastsoftmax.compat.tf as tf_nn
    >>> tf_nn.all_candidate_sampler([[2]], 1, 4, True).sampled_candidates
    array([0, 1, 2, 3])
    """
    return _values(AllClasses(num_sampled), true_classes, num_true, num_sampled, True, None)


def _of_shard(
    counts: Any, distortion: float, num_reserved: int, num_shards: int, shard: int
) -> Unigram:
    """The classes of a shard, numbered anew, reserved ones first."""
    if not 0 <= shard < num_shards:
        raise ValueError(f"shard is {shard}; with num_shards={num_shards} it must be from 0 below")
    reserved = len(range(shard, num_reserved, num_shards))
    # TensorFlow counts on from the reserved ids of the shard, not from all reserved ids.
    first = (shard - reserved) % num_shards
    return Unigram(counts[first::num_shards], distortion, reserved)


@lru_cache(maxsize=8)
def _of_file(path: str, stamp: tuple[int, int], *options: Any) -> Unigram:
    """As `_of_shard`, for as long as the file is the same."""
    whole = Unigram.from_file(path)
    return _of_shard(whole.probability(np.arange(whole.num_classes)), *options)


def _stamp(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size


def draw(sampler: Sampler, true: Array, num_sampled: int, unique: bool, seed: Any) -> Candidates:
    """Candidates that carry the expected counts of the true classes and their own, in float64."""
    drawn = sampler.sample(num_sampled, unique=bool(unique), labels=true, rng=as_rng(seed))
    if drawn.expected_true is not None:  # of a sampler that has learned the true classes since
        return drawn
    return drawn._replace(
        expected_true=sampler.expected_count(true, drawn),
        expected_sampled=sampler.expected_count(drawn.ids, drawn),
    )


def _values(
    sampler: Sampler, true_classes: Any, num_true: int, num_sampled: int, unique: bool, seed: Any
) -> SampledValues:
    true = as_true_classes(true_classes, num_true, "true_classes", sampler.num_classes)
    drawn = draw(sampler, true, num_sampled, unique, seed)
    return SampledValues(
        drawn.ids,
        np.asarray(drawn.expected_true, np.float32),
        np.asarray(drawn.expected_sampled, np.float32),
    )
