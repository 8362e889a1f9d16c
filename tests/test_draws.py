"""Draws: their distribution, the same ids and generator states everywhere, sizes, refusals."""

import ctypes
import threading
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import chi2

import fastsoftmax as fs
from fastsoftmax import _registry
from fastsoftmax._sampling import float_math
from fastsoftmax._sampling.alias_table import alias_table
from fastsoftmax._typing import ALIAS, COUNTS, LOG_UNIFORM, UNIFORM, DrawCall
from fastsoftmax.samplers import LearnedUnigram, LogUniform, Uniform, Unigram

FALSE_ALARM = 1e-8
NONE = np.empty(0, np.int64)


def samplers(rng, classes):
    learned = LearnedUnigram(classes)
    learned.update(rng.integers(0, classes, 2 * classes))
    counts = rng.random(classes) ** 3
    counts[rng.integers(0, classes)] = 0.0
    return [Uniform(classes), LogUniform(classes), Unigram(counts), learned]


def assert_distributed(observed, expected):
    possible = expected > 0
    assert not observed[~possible].any()
    observed, expected = observed[possible], expected[possible]
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, max(len(expected) - 1, 1)) > FALSE_ALARM


# Distribution -------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_draws_with_repetitions_have_the_sampler_s_distribution(rng, classes):
    for sampler in samplers(rng, classes):
        n = 200_000
        ids = sampler.sample(n, unique=False, rng=rng).ids
        p = sampler.probability(np.arange(classes))
        assert_distributed(np.bincount(ids, minlength=classes), n * p)


@pytest.mark.parametrize("n", [2, 3], ids=["rejection", "race"])
@pytest.mark.parametrize("exclude", [None, [1]])
def test_draws_without_repetition_come_in_the_order_that_enumeration_gives(rng, n, exclude):
    trials = 10_000
    for sampler in samplers(rng, 5):
        p = sampler.probability(np.arange(5))
        if exclude:
            p[exclude] = 0
        if np.count_nonzero(p) < n:
            continue
        chances = {}
        for order in permutations(np.flatnonzero(p), n):
            left, chance = p.sum(), 1.0
            for k in order:
                chance, left = chance * p[k] / left, left - p[k]
            chances[tuple(int(k) for k in order)] = chance
        seen = dict.fromkeys(chances, 0)
        for _ in range(trials):
            seen[tuple(sampler.sample(n, exclude=exclude, rng=rng).ids.tolist())] += 1
        # Rare orders together: a chi-square wants some of each.
        rare = [k for k, c in chances.items() if c * trials < 20]
        common = [k for k in chances if k not in rare]
        observed = [seen[k] for k in common] + [sum(seen[k] for k in rare)]
        expected = [chances[k] for k in common] + [sum(chances[k] for k in rare)]
        assert_distributed(np.array(observed), trials * np.array(expected))


@pytest.mark.parametrize("n", [3, 60], ids=["rejection", "race"])
def test_tries_number_as_many_as_solving_for_them_says(rng, n):
    sampler = Unigram(rng.random(100) + 0.2)
    tries = [sampler.sample(n, rng=rng).num_tries for _ in range(400)]
    solved = sampler._solved(n, sampler.sample(n, rng=rng))
    assert abs(np.mean(tries) / solved - 1) < 0.1


@pytest.mark.parametrize("n", [3, 4])
def test_a_race_counts_as_many_tries_as_draws_would_take(rng, n):
    sampler = Unigram([8, 4, 2, 1, 0.5])
    p = sampler.probability(np.arange(5))
    truth = 0.0
    for ids in permutations(range(5), n):
        left = 1 - np.concatenate([[0], np.cumsum(p[list(ids)])[:-1]])  # before each new class
        truth += np.prod(p[list(ids)] / left) * np.sum(1 / left)
    tries = np.array([sampler.sample(n, rng=rng).num_tries for _ in range(20_000)])
    error = tries.std() / np.sqrt(len(tries))
    # Never less than n: that alone is a quarter of a try.
    assert abs(tries.mean() - truth) < 0.3 + 6 * error


def test_an_alias_table_holds_its_distribution(rng):
    for p in (np.ones(9), rng.random(1000) ** 8, np.eye(1, 50, 7)[0], rng.zipf(1.1, 3000) * 1.0):
        p /= p.sum()
        thresholds, aliases = alias_table(p)
        assert ((thresholds >= 0) & (thresholds <= 1)).all()
        back = thresholds + np.bincount(aliases, 1 - thresholds, minlength=len(p))
        np.testing.assert_allclose(back / len(p), p, rtol=1e-11, atol=1e-15)
        assert not (back[p == 0]).any()


# The same everywhere ------------------------------------------------------------------------------


def drawn_by(backend, sampler, seed, *arguments, **options):
    generator = np.random.default_rng(seed)
    candidates = sampler.sample(*arguments, rng=generator, backend=backend, **options)
    return candidates.ids.tolist(), candidates.num_tries, generator.bit_generator.state


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("excludes", [False, True])
def test_backends_draw_the_same_ids_and_leave_the_same_generator(rng, backend, unique, excludes):
    seed = int(rng.integers(2**32))
    for classes, sizes in ((30, (1, 5, 14, 29)), (5000, (40, 600, 2400, 4900))):
        for sampler in samplers(rng, classes):
            exclude = rng.integers(0, classes, classes // 30) if excludes else None
            for n in sizes:
                n = min(n, sampler._law.support - (0 if exclude is None else len(exclude)))
                how = {"unique": unique, "exclude": exclude}
                assert drawn_by(backend, sampler, seed, n, **how) == drawn_by(
                    "numpy", sampler, seed, n, **how
                )


def test_backends_agree_on_a_million_draws(rng, backend):
    seed = int(rng.integers(2**32))
    for sampler in samplers(rng, int(rng.integers(2, 2_000_000))):
        got = drawn_by(backend, sampler, seed, 1_000_000, unique=False)
        assert got == drawn_by("numpy", sampler, seed, 1_000_000, unique=False)


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_any_bit_generator_does(backend, bits):
    generators = [np.random.Generator(bits(5)) for _ in range(2)]
    a = Uniform(1000).sample(50, rng=generators[0], backend=backend)
    b = Uniform(1000).sample(50, rng=generators[1], backend="numpy")
    assert a.ids.tolist() == b.ids.tolist()
    assert generators[0].random() == generators[1].random()


def test_every_try_takes_one_number(rng, backend):
    seed = int(rng.integers(2**32))
    for sampler in samplers(rng, 10_000):
        generator, other = np.random.default_rng(seed), np.random.default_rng(seed)
        candidates = sampler.sample(700, rng=generator, backend=backend)
        other.random(candidates.num_tries)
        assert generator.bit_generator.state == other.bit_generator.state


def test_exp_and_log_are_right_to_a_unit_or_two(rng):
    x = np.concatenate([rng.random(100_000) * 36.8, [0.0, 2.0**-53, np.log(2) / 2]])
    true = np.exp(x.astype(np.longdouble))
    assert (np.abs(float_math.exp(x) - true) <= 1.25 * np.spacing(true.astype(float))).all()
    v = np.concatenate([1.0 - rng.random(100_000), [1.0, 2.0**-53, 1 - 2.0**-53, 0.5]])
    true = np.log(v.astype(np.longdouble))
    error = np.abs(float_math.log(v) - true)
    assert (error <= 2 * np.spacing(np.abs(true.astype(float)))).all()


class FixedNumbers:
    """A generator that gives numbers in turn, laid out for the core as NumPy's are."""

    def __init__(self, numbers):
        self._left = list(numbers)
        double = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p)
        self._function = double(lambda state: self._left.pop(0))
        pointers = (ctypes.c_void_p * 5)()
        pointers[3] = ctypes.cast(self._function, ctypes.c_void_p).value
        self._memory, self._name = pointers, b"BitGenerator"
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = (
            ctypes.py_object,
            [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p],
        )
        capsule = new(ctypes.addressof(pointers), self._name, None)
        self.bit_generator = SimpleNamespace(capsule=capsule, lock=threading.Lock())

    def random(self, size):
        return np.array([self._left.pop(0) for _ in range(size)])


EDGES = [0.0, 5e-324, 2.0**-53, 0.5 - 2.0**-54, 0.5, 1 - 2.0**-52, 1 - 2.0**-53]


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 1000, 2**20 + 1])
def test_the_least_and_the_largest_number_stand_for_classes(backend, classes):
    learned = LearnedUnigram(classes)
    for sampler in (Uniform(classes), LogUniform(classes), Unigram(np.ones(classes)), learned):
        ids = {}
        for name in (backend, "numpy"):
            found = np.full(len(EDGES), -1)
            call = DrawCall(*sampler._law[:6], FixedNumbers(EDGES), found, False, None, len(EDGES))
            assert _registry.resolve(name).draw(call) == (len(EDGES), len(EDGES))
            ids[name] = found
        np.testing.assert_array_equal(ids[backend], ids["numpy"])
        assert ids[backend][0] == 0
        assert ids[backend][-1] == classes - 1
        assert (np.diff(ids[backend]) >= 0).all()


@pytest.mark.parametrize("kind", [UNIFORM, LOG_UNIFORM])
def test_the_largest_number_stays_below_2_to_the_53(backend, kind):
    sampler = {UNIFORM: Uniform, LOG_UNIFORM: LogUniform}[kind](2**53)
    found = np.full(2, -1)
    call = DrawCall(*sampler._law[:6], FixedNumbers([0.0, EDGES[-1]]), found, False, None, 2)
    _registry.resolve(backend).draw(call)
    assert found[0] == 0
    assert 2**52 < found[1] < 2**53


def test_the_core_holds_ids_of_a_wrong_table_in_range():
    if "cpp" not in {name.partition(":")[0] for name in fs.backends()}:
        pytest.skip("there is no core")
    numbers = FixedNumbers([0.1, 0.9])
    found = np.full(2, -1)
    tables = (np.zeros(2), np.array([-(2**62), 2**62]), NONE)
    call = DrawCall(ALIAS, 2, 2.0, *tables, numbers, found, True, None, 2)
    assert _registry.resolve("cpp").draw(call) == (2, 2)
    assert found.tolist() == [0, 1]
    with pytest.raises(ValueError, match="tree"):
        _registry.resolve("cpp").draw(call._replace(kind=COUNTS))


# Sizes, and no end --------------------------------------------------------------------------------


def test_unique_draws_are_as_many_as_asked_for_and_different(rng, backend):
    for sampler in samplers(rng, 300):
        for n in (1, 100, 149, 151, 299):
            candidates = sampler.sample(n, rng=rng, backend=backend)
            ids = candidates.ids
            assert ids.dtype == np.int64
            assert len(set(ids.tolist())) == n
            assert candidates.num_tries >= n
            assert ((ids >= 0) & (ids < 300)).all()


def test_draws_from_a_large_vocabulary_take_their_usual_number_of_tries(rng, backend):
    candidates = LogUniform(793_472).sample(8192, rng=rng, backend=backend)
    assert 14_500 < candidates.num_tries < 17_000


@pytest.mark.parametrize("n", [2, 300, 1000])
def test_a_distribution_with_nearly_all_in_one_class_comes_to_an_end(rng, backend, n):
    counts = np.full(1000, 1e-15)
    counts[417] = 1.0
    candidates = Unigram(counts).sample(n, rng=rng, backend=backend)
    assert len(set(candidates.ids.tolist())) == n
    assert candidates.ids[0] == 417
    assert candidates.num_tries > 10**6


def test_probabilities_near_the_smallest_are_drawn_by_the_race(rng):
    sampler = Unigram([1.0, 1e-270, 0.0])
    candidates = sampler.sample(2, rng=rng)
    assert candidates.ids.tolist() == [0, 1]
    assert np.isfinite(sampler.expected_count(range(3), candidates)).all()
    assert Unigram([1.0, 1e-290]).probability(1) == 0


def test_few_of_very_many_classes_need_no_memory_of_their_number(rng, backend):
    for kind in (Uniform, LogUniform):
        candidates = kind(2**53).sample(100, exclude=[0, 1, 2**53 - 1], rng=rng, backend=backend)
        assert len(np.unique(candidates.ids)) == 100


def test_excluded_classes_are_never_drawn_and_are_no_tries(rng, backend):
    for sampler in samplers(rng, 60):
        exclude = rng.integers(0, 60, 20)
        for n, unique in ((10, True), (25, True), (400, False)):
            candidates = sampler.sample(n, unique=unique, exclude=exclude, rng=rng, backend=backend)
            assert not np.isin(candidates.ids, exclude).any()
            if not unique:
                assert candidates.num_tries == n


def test_where_nearly_all_is_excluded_the_rest_keeps_its_distribution(rng, backend):
    sampler = Unigram([1.0, 1e-9, 3e-9, 0.0])
    for seed in rng.integers(0, 2**32, 2):
        ids = sampler.sample(8000, unique=False, exclude=[0], rng=int(seed), backend=backend).ids
        assert_distributed(np.bincount(ids, minlength=4), np.array([0, 2000, 6000, 0]))


def test_more_than_there_are_classes_if_they_may_repeat(rng, backend):
    assert len(Uniform(3).sample(100, unique=False, rng=rng, backend=backend).ids) == 100


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_of_candidates_below_1_is_refused(number):
    with pytest.raises(ValueError, match=f"num_sampled is {number}"):
        Uniform(5).sample(number)


@pytest.mark.parametrize("number", [True, 2.0, "2", None])
def test_what_is_no_number_of_candidates_is_refused(number):
    with pytest.raises(TypeError, match="num_sampled must be an int"):
        Uniform(5).sample(number)


def test_too_many_for_the_classes_that_there_are_is_refused_at_once(rng):
    generator = np.random.default_rng(3)
    before = generator.bit_generator.state
    for sampler, exclude, n, left in (
        (Uniform(5), None, 6, 5),
        (LogUniform(5), [0, 4], 4, 3),
        (Unigram([1, 0, 2]), None, 3, 2),
        (Unigram([1, 0, 2]), [1, 2], 2, 1),
    ):
        with pytest.raises(ValueError, match=f"num_sampled is {n}, but {left} classes"):
            sampler.sample(n, exclude=exclude, rng=generator)
    with pytest.raises(ValueError, match="but 0 classes"):
        Uniform(3).sample(1, unique=False, exclude=[0, 1, 2], rng=generator)
    assert generator.bit_generator.state == before


def test_classes_out_of_range_are_refused(rng):
    for sampler in samplers(rng, 8):
        with pytest.raises(IndexError, match=r"exclude\[1\] is 8"):
            sampler.sample(1, exclude=[0, 8])
        with pytest.raises(IndexError, match=r"labels\[0\] is -2"):
            sampler.sample(1, labels=[-2])


@pytest.mark.parametrize("rng", [1.5, "seed", True, np.random.RandomState(0), [1, 2]])
def test_what_is_no_source_of_randomness_is_refused(rng):
    with pytest.raises(TypeError, match="rng must be None, an int"):
        Uniform(5).sample(1, rng=rng)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="rng is -1"):
        Uniform(5).sample(1, rng=-1)


def test_seeds_sequences_and_generators_are_one_source():
    drawn = [
        Uniform(10**6).sample(20, rng=source).ids.tolist()
        for source in (7, np.int64(7), np.random.SeedSequence(7), np.random.default_rng(7))
    ]
    assert drawn.count(drawn[0]) == 4
    assert Uniform(10**6).sample(20).ids.tolist() != Uniform(10**6).sample(20).ids.tolist()


def test_global_random_state_is_left_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    LogUniform(1000).sample(100)
    assert np.random.get_state()[1].tolist() == before
