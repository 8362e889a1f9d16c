"""Samplers: their probabilities and expected counts, what they learn, and what they refuse."""

import pickle
import warnings
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax._sampling.rank_order import ENOUGH
from fastsoftmax.samplers import (
    AllClasses,
    Candidates,
    LearnedUnigram,
    LogUniform,
    Sampler,
    Uniform,
    Unigram,
    UnsortedIdsWarning,
)


def counts_of(rng, classes):
    return rng.zipf(1.5, classes).clip(max=10**6).astype(float)


def all_samplers(rng, classes, **options):
    learned = LearnedUnigram(classes, **options)
    learned.update(rng.integers(0, classes, 3 * classes))
    return [
        Uniform(classes, **options),
        LogUniform(classes, **options),
        Unigram(counts_of(rng, classes), 0.75, **options),
        learned,
    ]


def every_class(sampler):
    return np.arange(sampler.num_classes)


# Probabilities ------------------------------------------------------------------------------------


def test_log_uniform_probabilities_are_those_of_its_formula():
    golden = [0.2890648263, 0.1690920837, 0.1199727426, 0.0930580888, 0.0760339948]
    golden += [0.0642858266, 0.055686916, 0.049119341, 0.0439387478, 0.0397474322]
    np.testing.assert_allclose(LogUniform(10).probability(range(10)), golden, rtol=2e-9, atol=0)


def test_log_uniform_probabilities_keep_their_digits_in_the_tail(rng):
    mpmath = pytest.importorskip("mpmath")
    classes = 2**53
    ids = rng.integers(0, classes, 20)
    with mpmath.workdps(50):
        true = [
            float(mpmath.log1p(mpmath.mpf(1) / (int(k) + 1)) / mpmath.log1p(classes)) for k in ids
        ]
    np.testing.assert_allclose(LogUniform(classes).probability(ids), true, rtol=1e-15)


@pytest.mark.parametrize("classes", [1, 2, 17, 5000])
def test_probabilities_sum_to_one(rng, classes):
    for sampler in all_samplers(rng, classes):
        p = sampler.probability(every_class(sampler))
        assert p.dtype == np.float64
        assert abs(p.sum() - 1) < 1e-12


def test_unigram_probabilities_are_powers_of_counts(rng):
    counts = counts_of(rng, 50)
    true = counts**0.75 / (counts**0.75).sum()
    np.testing.assert_allclose(Unigram(counts, 0.75).probability(range(50)), true, rtol=1e-13)


def test_reserved_ids_come_first_and_are_never_drawn(rng):
    sampler = Unigram([3, 1], num_reserved=2)
    assert sampler.num_classes == 4
    np.testing.assert_array_equal(sampler.probability(range(4)), [0, 0, 0.75, 0.25])
    drawn = sampler.sample(1000, unique=False, rng=rng)
    assert set(drawn.ids.tolist()) == {2, 3}
    np.testing.assert_array_equal(sampler.expected_count([0, 1], drawn), [0, 0])


@pytest.mark.parametrize("shard", [0, 1, 2])
def test_a_shard_keeps_the_ids_of_the_whole(rng, shard):
    counts = counts_of(rng, 20)
    sampler = Unigram(counts, num_reserved=1, num_shards=3, shard=shard)
    whole = np.concatenate([[0], counts])
    mine = np.arange(21) % 3 == shard
    true = np.where(mine, whole, 0) / whole[mine].sum()
    np.testing.assert_allclose(sampler.probability(range(21)), true, rtol=1e-13)
    assert (sampler.sample(500, unique=False, rng=rng).ids % 3 == shard).all()


def test_sums_of_counts_may_overflow():
    np.testing.assert_array_equal(Unigram([1e308] * 4).probability(range(4)), [0.25] * 4)


def test_a_huge_distortion_leaves_the_largest(rng):
    np.testing.assert_array_equal(Unigram([1, 3, 2], 1e300).probability(range(3)), [0, 1, 0])


def test_distortion_0_makes_every_class_alike():
    np.testing.assert_array_equal(Unigram([0, 5], 0).probability([0, 1]), [0.5, 0.5])


def test_probabilities_have_the_shape_of_ids(rng):
    for sampler in all_samplers(rng, 9):
        for dtype in ("int8", "uint64", ">i4"):
            ids = rng.integers(0, 9, (2, 3)).astype(dtype)
            assert sampler.probability(ids).shape == (2, 3)
        assert sampler.probability([]).shape == (0,)
        assert sampler.probability(3).shape == ()


# Expected counts ----------------------------------------------------------------------------------


def exact_inclusion(p, n):
    """How likely each class is among the first n different ones, by enumeration."""
    p = [Fraction(x) for x in p]
    total = [Fraction(0)] * len(p)
    for order in permutations(range(len(p)), n):
        chance, left = Fraction(1), sum(p)
        for k in order:
            chance *= p[k] / left
            left -= p[k]
        for k in order:
            total[k] += chance
    return np.array([float(x) for x in total])


def test_expected_counts_are_near_exact_inclusion(rng):
    sampler = Unigram(rng.random(7) + 0.5)
    p = sampler.probability(range(7))
    for n in (1, 2, 3, 4):
        candidates = sampler.sample(n, rng=rng)
        solved = sampler.expected_count(range(7), candidates, rule="solved")
        assert np.abs(solved - exact_inclusion(p, n)).max() < 0.03


def test_expected_counts_with_repetitions_are_multiples_of_probabilities(rng):
    for sampler in all_samplers(rng, 12):
        candidates = sampler.sample(40, unique=False, rng=rng)
        ids = every_class(sampler)
        np.testing.assert_array_equal(
            sampler.expected_count(ids, candidates), sampler.probability(ids) * 40
        )


def test_the_rule_of_tries_follows_its_formula(rng):
    mpmath = pytest.importorskip("mpmath")
    for sampler in all_samplers(rng, 3000):
        ids = rng.integers(0, 3000, 20)
        candidates = Candidates(np.arange(50), num_tries=61)
        with mpmath.workdps(50):
            p = [mpmath.mpf(float(x)) for x in sampler.probability(ids)]
            true = [float(1 - (1 - x) ** 61) for x in p]
        np.testing.assert_allclose(sampler.expected_count(ids, candidates), true, rtol=1e-14)
        same = candidates._replace(num_tries=50)
        np.testing.assert_allclose(
            sampler.expected_count(ids, same), 50 * sampler.probability(ids), rtol=1e-15
        )


@pytest.mark.parametrize("excludes", [False, True])
def test_solved_counts_sum_to_the_number_drawn(rng, excludes):
    for sampler in all_samplers(rng, 20_000, rule="solved"):
        exclude = rng.integers(0, 20_000, 500) if excludes else None
        for n in (1, 300, 9000, 18_000):
            candidates = sampler.sample(n, exclude=exclude, rng=rng)
            e = sampler.expected_count(every_class(sampler), candidates)
            assert abs(e.sum() - n) < 1e-9 * n
            assert (e <= 1).all()


def test_solved_tries_of_a_large_vocabulary():
    sampler = LogUniform(793_472)
    assert round(sampler._solved(8192, Candidates(np.arange(8192), 9000))) == 16053


def test_solved_tries_take_an_integral_for_the_sum_over_classes(rng):
    classes = int(rng.integers(50_000, 400_000))
    sampler = LogUniform(classes)
    p, weights = sampler._quadrature()
    assert len(p) < classes // 10
    every = sampler.probability(every_class(sampler))
    for tries in (1.0, 100.0, 1e4, 1e6, 1e8):
        true = -np.expm1(tries * np.log1p(-every)).sum(dtype=np.longdouble)
        found = weights @ -np.expm1(tries * np.log1p(-p))
        assert abs(found - true) < 1e-10 * true


def test_all_of_the_classes_have_expected_count_1(rng):
    for sampler in all_samplers(rng, 30, rule="solved"):
        candidates = sampler.sample(30, rng=rng)
        np.testing.assert_array_equal(
            sampler.expected_count(every_class(sampler), candidates), np.ones(30)
        )


def test_excluded_classes_are_expected_0_times_and_the_others_more(rng):
    for sampler in all_samplers(rng, 40):
        candidates = sampler.sample(10, unique=False, exclude=[5, 2, 5], rng=rng)
        assert candidates.excluded.tolist() == [2, 5]
        p = sampler.probability(every_class(sampler))
        assert candidates.excluded_mass == pytest.approx(p[2] + p[5], rel=1e-14)
        p[[2, 5]] = 0
        e = sampler.expected_count(every_class(sampler), candidates)
        np.testing.assert_allclose(e, 10 * p / p.sum(), rtol=1e-12)


def test_one_class_that_has_everything_is_expected_once():
    for sampler in (Uniform(1), LogUniform(1), Unigram([2.0]), LearnedUnigram(1)):
        for tries in (1, 5):
            assert sampler.expected_count([0], Candidates(np.array([0]), tries)) == 1


def test_expected_counts_beside_excluded_classes_of_nearly_all_mass(rng):
    sampler = Unigram([1.0, 1e-14, 3e-14])
    candidates = sampler.sample(1, unique=False, exclude=[0], rng=rng)
    np.testing.assert_allclose(
        sampler.expected_count(range(3), candidates), [0, 0.25, 0.75], rtol=1e-12
    )


# What samplers learn ------------------------------------------------------------------------------


def test_a_learned_unigram_counts_labels_after_the_draw(rng):
    sampler = LearnedUnigram(6)
    before = LearnedUnigram(6)
    labels = rng.integers(0, 6, (4, 2))
    candidates = sampler.sample(2, labels=labels, rng=rng)
    np.testing.assert_array_equal(
        candidates.expected_true, before.expected_count(labels, candidates)
    )
    np.testing.assert_array_equal(
        candidates.expected_sampled, before.expected_count(candidates.ids, candidates)
    )
    counts = 1 + np.bincount(labels.ravel(), minlength=6)
    np.testing.assert_allclose(sampler.probability(range(6)), counts / 14, rtol=1e-15)


def test_a_learned_unigram_is_the_same_after_updates_as_after_one_of_all(rng, tmp_path):
    one, many = LearnedUnigram(1000), LearnedUnigram(1000)
    labels = rng.integers(0, 1000, 500)
    one.update(labels)
    for part in np.split(labels, 5):
        many.update(part)
    many.save(tmp_path / "counts")
    copies = [many, LearnedUnigram.load(tmp_path / "counts"), pickle.loads(pickle.dumps(many))]
    for copy in copies:
        ids = [s.sample(300, unique=False, rng=7).ids for s in (one, copy)]
        np.testing.assert_array_equal(*ids)


def test_a_label_out_of_range_is_not_counted_and_neither_are_the_others():
    sampler = LearnedUnigram(3)
    with pytest.raises(IndexError, match=r"labels\[1\] is 3.*0 to 2"):
        sampler.update([0, 3])
    with pytest.raises(IndexError, match=r"labels\[0\] is -1"):
        sampler.sample(2, labels=[-1, 0])
    np.testing.assert_array_equal(sampler.probability(range(3)), np.full(3, 1 / 3))


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_what_is_loaded_is_counts_and_never_executed(tmp_path):
    path = tmp_path / "counts.npy"
    for content in (np.array([0]), np.array([[1]]), np.array([1.0]), np.array([], np.int64)):
        with path.open("wb") as file:
            np.save(file, content)
        with pytest.raises(ValueError, match="counts"):
            LearnedUnigram.load(path)
    np.save(path, np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"counts\.npy"):
        LearnedUnigram.load(path)
    for content in (b"", pickle.dumps(Trap()), b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"counts\.npy"):
            LearnedUnigram.load(path)


# All classes --------------------------------------------------------------------------------------


def test_all_classes_takes_each_once_in_order(rng):
    sampler = AllClasses(5)
    candidates = sampler.sample(5, rng=rng)
    assert candidates.ids.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(sampler.expected_count([[0, 4]], candidates), [[1, 1]])
    candidates = sampler.sample(4, exclude=[3])
    assert candidates.ids.tolist() == [0, 1, 2, 4]
    np.testing.assert_array_equal(sampler.expected_count([3, 4], candidates), [0, 1])
    with pytest.raises(ValueError, match="num_sampled is 4"):
        sampler.sample(4)


# Whether ids are sorted ---------------------------------------------------------------------------


def test_divergence_is_that_of_its_formula(rng):
    counts = rng.integers(1, 50, 20).astype(float)
    p, q = LogUniform(20).probability(range(20)), counts / counts.sum()
    assert LogUniform(20).kl_divergence(counts) == pytest.approx((q * np.log(q / p)).sum())


def test_ids_in_random_order_are_warned_of_and_sorted_ones_are_not(rng):
    sampler = LogUniform(2000)
    counts = np.bincount(sampler.sample(20_000, unique=False, rng=rng).ids, minlength=2000)
    sampler.check_order(counts)
    rng.shuffle(counts)
    with pytest.warns(UnsortedIdsWarning, match=r"is \d\.\d+ nats, and would be \d\.\d+"):
        sampler.check_order(counts)


def test_labels_are_observed_and_warned_of_once(rng):
    sampler = LogUniform(2000, observe=True)
    sampler.sample(3, labels=rng.integers(0, 2000, ENOUGH - 1), rng=rng)
    with pytest.warns(UnsortedIdsWarning, match="less likely"):
        sampler.sample(3, labels=[5], rng=rng)
    sampler.sample(3, labels=rng.integers(0, 2000, ENOUGH), rng=rng)


def test_labels_in_order_are_not_warned_of(rng):
    sampler = LogUniform(2000, observe=True)
    labels = sampler.sample(2 * ENOUGH, unique=False, rng=rng).ids
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler.sample(3, labels=labels, rng=rng)


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Uniform, LogUniform, LearnedUnigram, AllClasses])
@pytest.mark.parametrize("classes", [0, -1, 2**53 + 1, 2**63 - 1, 2**64])
def test_a_number_of_classes_out_of_range_is_refused(kind, classes):
    with pytest.raises(ValueError, match=f"num_classes is {classes}"):
        kind(classes)


@pytest.mark.parametrize("kind", [Uniform, LogUniform, LearnedUnigram, AllClasses])
@pytest.mark.parametrize("classes", [True, np.True_, 1.5, "3", None])
def test_what_is_no_number_of_classes_is_refused(kind, classes):
    with pytest.raises(TypeError, match="num_classes must be an int"):
        kind(classes)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], r"shape \(0,\)"),
        ([[1.0]], r"shape \(1, 1\)"),
        ([0.0, 0.0], "all 2 of them are 0"),
        ([1.0, -2.0], r"counts\[1\] is -2\.0"),
        ([1.0, np.nan], r"counts\[1\] is nan"),
        ([np.inf, 1.0], r"counts\[0\] is inf"),
    ],
)
def test_bad_counts_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        Unigram(counts)


def test_counts_beyond_float64_are_refused_without_a_warning():
    with np.errstate(over="ignore"):  # where long double is float64
        counts = np.array([1, 1e308], np.longdouble) * 1e10
    with pytest.raises(ValueError, match=r"counts\[1\] is"):
        Unigram(counts)


@pytest.mark.parametrize("counts", [["a"], [1j], [True], [None]])
def test_counts_that_are_no_numbers_are_refused(counts):
    with pytest.raises(TypeError, match="counts"):
        Unigram(counts)


@pytest.mark.parametrize("distortion", [np.nan, np.inf, -0.5])
def test_a_bad_distortion_is_refused(distortion):
    with pytest.raises(ValueError, match="distortion is"):
        Unigram([1.0], distortion)


@pytest.mark.parametrize(
    "options",
    [{"num_reserved": -1}, {"num_shards": 0}, {"shard": 1}, {"num_shards": 2, "shard": 2}],
)
def test_bad_shards_and_reserved_ids_are_refused(options):
    with pytest.raises(ValueError, match=f"{list(options)[-1]} is"):
        Unigram([1.0, 2.0], **options)


def test_a_shard_without_weight_is_refused():
    with pytest.raises(ValueError, match="no class with id % 2 == 1"):
        Unigram([1.0, 0.0], num_shards=2, shard=1)


def test_an_unknown_rule_is_refused(rng):
    with pytest.raises(ValueError, match="rule must be 'tries' or 'solved', not 'exact'"):
        Uniform(3, rule="exact")
    sampler = Uniform(3)
    with pytest.raises(ValueError, match="rule must be"):
        sampler.expected_count([0], sampler.sample(1, rng=rng), rule="exact")


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 7], IndexError, r"ids\[1\] is 7.*0 to 6"),
        ([[0], [-1]], IndexError, r"ids\[1, 0\] is -1"),
        (np.uint64(2**64 - 1), IndexError, "ids is 18446744073709551615"),
        ([0.0], TypeError, "ids has dtype float64"),
        ([True], TypeError, "ids has dtype bool"),
    ],
)
def test_ids_that_are_no_classes_are_refused(rng, ids, error, message):
    for sampler in [*all_samplers(rng, 7), AllClasses(7)]:
        with pytest.raises(error, match=message):
            sampler.probability(ids)
        with pytest.raises(error, match=message):
            sampler.expected_count(ids, Candidates(np.array([1]), 1))


def test_a_pickled_sampler_draws_the_same(rng):
    for sampler in [*all_samplers(rng, 90), AllClasses(90)]:
        copy = pickle.loads(pickle.dumps(sampler))
        drawn = [s.sample(90, rng=5).ids.tolist() for s in (sampler, copy)]
        assert drawn[0] == drawn[1]


def test_samplers_keep_their_protocol(rng):
    for sampler in [*all_samplers(rng, 3), AllClasses(3)]:
        assert isinstance(sampler, Sampler)
    assert not isinstance(object(), Sampler)
    assert fs.samplers.Uniform is Uniform
