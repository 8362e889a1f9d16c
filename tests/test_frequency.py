"""Estimated frequencies: the algorithm one id at a time, convergence, hashing, files, refusals."""

import copy
import io
import pickle
from math import sqrt

import numpy as np
import pytest

import fastsoftmax as fs


def one_by_one(ids, size, alpha):
    """The average gaps, as the formula in the docstring says."""
    last, times, mean = np.zeros(size), np.zeros(size), np.zeros(size, np.longdouble)
    for t, i in enumerate(ids, 1):
        times[i] += 1
        share = max(alpha, 1 / times[i])
        mean[i] = (1 - share) * mean[i] + share * (t - last[i])
        last[i] = t
    return np.where(times > 0, mean, len(ids) + 1)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.3, 0.9, 1e-300])
def test_a_batch_counts_as_its_ids_one_after_another(rng, alpha):
    ids = np.minimum(rng.geometric(0.3, 3000), 20)
    frequency = fs.StreamingFrequency(25, alpha=alpha)
    for part in np.split(ids, np.sort(rng.integers(len(ids), size=9))):
        frequency.update(part)
    wanted = 1 / one_by_one(ids, 25, alpha)
    np.testing.assert_allclose(frequency.probability(np.arange(25)), np.float64(wanted), rtol=1e-9)
    assert frequency.num_seen == len(ids)


def test_how_a_stream_is_cut_into_batches_does_not_matter(rng):
    ids = rng.integers(50, size=2000)
    whole, cut = (fs.StreamingFrequency(64, num_hashes=2) for _ in range(2))
    whole.update(ids.reshape(40, 50))
    for i in ids:
        cut.update(i)
    np.testing.assert_allclose(cut.probability(ids), whole.probability(ids), rtol=1e-9)


@pytest.mark.parametrize("num_hashes", [0, 1, 4])
def test_it_converges_to_the_frequencies_of_a_stationary_stream(rng, num_hashes):
    p = 1.0 / np.arange(1, 21)
    p /= p.sum()
    alpha = 0.01
    frequency = fs.StreamingFrequency(20 if not num_hashes else 1 << 20, num_hashes=num_hashes)
    for _ in range(100):
        frequency.update(rng.choice(20, size=1000, p=p))
    # 7 standard deviations of the average gap; 20 ids hardly meet in a million buckets.
    off = 7 * sqrt(alpha / (2 - alpha))
    np.testing.assert_allclose(1 / frequency.probability(np.arange(20)), 1 / p, rtol=off)
    log_p = frequency.log_probability(np.arange(20))
    np.testing.assert_allclose(log_p, np.log(frequency.probability(np.arange(20))), rtol=1e-14)


def test_few_gaps_are_averaged_without_a_starting_value(rng):
    # 30 gaps each of 300 ids: the averages' own average is off by 1 / sqrt(9000).
    frequency = fs.StreamingFrequency(300)
    frequency.update(rng.integers(300, size=9000))
    gaps = 1 / frequency.probability(np.arange(300))
    assert abs(gaps.mean() / 300 - 1) < 7 / sqrt(9000) + 1 / 30


def test_it_follows_a_change(rng):
    frequency = fs.StreamingFrequency(2, alpha=0.02)
    frequency.update((rng.random(20_000) < 0.1).astype(int))
    before = frequency.probability(1)
    frequency.update((rng.random(20_000) < 0.7).astype(int))
    off = 7 * sqrt(0.02 / 1.98)
    assert 1 / before == pytest.approx(10, rel=off)
    assert 1 / frequency.probability(1) == pytest.approx(1 / 0.7, rel=off)
    assert 1 / frequency.probability(0) == pytest.approx(1 / 0.3, rel=off)


def test_ids_that_were_not_seen_have_a_finite_logarithm():
    frequency = fs.StreamingFrequency(5)
    assert frequency.log_probability([0, 4]).tolist() == [0, 0]
    frequency.update([1, 1, 1])
    assert frequency.probability(3) == 0.25
    assert np.isfinite(frequency.log_probability(np.arange(5))).all()


def test_shapes_and_empty_batches():
    frequency = fs.StreamingFrequency(5)
    frequency.update([])
    frequency.update(np.empty((0, 3), np.uint8))
    assert frequency.num_seen == 0
    frequency.update([[1, 2], [3, 1]])
    assert frequency.probability(np.ones((2, 3), np.int8)).shape == (2, 3)
    assert np.ndim(frequency.probability(1)) == 0
    assert frequency.probability([]).shape == (0,)


# Hashing ------------------------------------------------------------------------------------------


def test_hash_functions_are_the_same_everywhere():
    frequency = fs.StreamingFrequency(1000, num_hashes=2, seed=7)
    ids = np.array([0, 1, -1, 2**62], np.int64)
    mask = (1 << 64) - 1

    def mixed(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    wanted = [
        [mixed((int(i) & mask) ^ mixed((7 + n * 0x9E3779B97F4A7C15) & mask)) % 1000 for i in ids]
        for n in (1, 2)
    ]
    assert frequency._buckets(ids).tolist() == wanted


def test_an_id_is_the_same_in_every_type():
    frequency = fs.StreamingFrequency(1 << 16, num_hashes=1)
    frequency.update(np.array([-3, 100], np.int8))
    for kind in ("i2", "i4", ">i8"):
        assert frequency.probability(np.array([-3, 100], kind)).tolist() == [1, 0.5]
    assert frequency.probability(np.uint64(100)) == 0.5


def test_buckets_are_used_evenly(rng):
    frequency = fs.StreamingFrequency(64, num_hashes=3)
    for buckets in frequency._buckets(np.arange(64_000)):  # adjacent ids, as they are in practice
        counts = np.bincount(buckets, minlength=64)
        assert abs(counts - 1000).max() < 7 * sqrt(1000)


def test_more_hash_functions_separate_what_one_confuses(rng):
    p = np.full(400, 0.5 / 399)
    p[0] = 0.5  # whoever shares its bucket seems frequent
    errors = []
    for num_hashes in (1, 4):
        frequency = fs.StreamingFrequency(100, num_hashes=num_hashes)
        frequency.update(rng.choice(400, size=50_000, p=p))
        errors.append(np.abs(frequency.log_probability(np.arange(400)) - np.log(p)).max())
    assert errors[1] < errors[0]


def test_seeds_choose_other_functions():
    ids = np.arange(1000)
    a, b, c = (fs.StreamingFrequency(500, num_hashes=1, seed=s)._buckets(ids) for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.mean(a == c) < 0.05


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_hashes", [0, 3])
def test_what_was_saved_goes_on_as_before(rng, tmp_path, num_hashes):
    frequency = fs.StreamingFrequency(100, num_hashes=num_hashes, alpha=0.05, seed=2**63)
    frequency.update(rng.integers(100, size=1000))
    frequency.save(tmp_path / "state.npz")
    others = [
        fs.StreamingFrequency.load(tmp_path / "state.npz"),
        pickle.loads(pickle.dumps(frequency)),
        copy.deepcopy(frequency),
    ]
    more = rng.integers(100, size=500)
    for each in (frequency, *others):
        each.update(more)
    for other in others:
        assert repr(other) == repr(frequency)
        assert other.num_seen == 1500
        np.testing.assert_array_equal(other.probability(more), frequency.probability(more))


class Poisoned:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        fs.StreamingFrequency.load(tmp_path / "none.npz")
    with pytest.raises(OSError, match="directory"):
        fs.StreamingFrequency.load(tmp_path)
    saved = io.BytesIO()
    frequency = fs.StreamingFrequency(10)
    frequency.update([1, 2, 1])
    frequency.save(saved)
    with np.load(io.BytesIO(saved.getvalue())) as state:
        held = dict(state)
    broken = {
        "a pickle": pickle.dumps(Poisoned()),
        "nothing": b"",
        "text": b"no numbers",
        "cut off": saved.getvalue()[:-200],
    }
    for name, changed in {
        "a missing array": {k: v for k, v in held.items() if k != "gaps"},
        "objects": held | {"last": np.array([[Poisoned()]], object)},
        "a NaN": held | {"mean": np.full_like(held["mean"], np.nan)},
        "another shape": held | {"mean": held["mean"][:, 1:]},
        "a time to come": held | {"last": held["last"] + 100},
        "a negative gap": held | {"gaps": held["gaps"] - 1},
        "an alpha": held | {"alpha": np.float64(2)},
        "tables": held | {"numbers": np.array([3, 0, 3], np.uint64)},
    }.items():
        file = io.BytesIO()
        np.savez(file, **changed)
        broken[name] = file.getvalue()
    for name, content in broken.items():
        with pytest.raises(ValueError, match="file is no saved StreamingFrequency"):
            pytest.fail(f"{name}: {fs.StreamingFrequency.load(io.BytesIO(content))}")


# Faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((0,), ValueError, "num_buckets must be from 1 to .* not 0"),
        ((-1,), ValueError, "num_buckets .* not -1"),
        ((2**63,), ValueError, "num_buckets .* not 9223372036854775808"),
        ((True,), ValueError, "num_buckets .* not True"),
        ((1.5,), TypeError, "num_buckets must be an int, not 1.5"),
        ((9, -1), ValueError, "num_hashes must be from 0 to 16, not -1"),
        ((9, 17), ValueError, "num_hashes must be from 0 to 16, not 17"),
        ((9, 0, 0), ValueError, "alpha must be above 0 and below 1, not 0"),
        ((9, 0, 1), ValueError, "alpha .* not 1"),
        ((9, 0, np.nan), ValueError, "alpha .* not nan"),
        ((9, 0, "0.5"), ValueError, "alpha .* not '0.5'"),
        ((9, 0, 0.5, -1), ValueError, "seed .* not -1"),
        ((9, 0, 0.5, 2**64), ValueError, "seed .* not 18446744073709551616"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, error, said):
    names = ("num_buckets", "num_hashes", "alpha", "seed")
    with pytest.raises(error, match=said):
        fs.StreamingFrequency(**dict(zip(names, arguments, strict=False)))


@pytest.mark.parametrize(
    ("ids", "error", "said"),
    [
        ([1, 10], IndexError, r"ids\[1\] is 10, but without hash functions ids are 0 to 9"),
        ([[1, 2], [-1, 3]], IndexError, r"ids\[1, 0\] is -1"),
        (np.array([2**64 - 100], np.uint64), IndexError, r"ids\[0\] is 18446744073709551516"),
        ([1.0], TypeError, "ids has dtype float64"),
        ([True], TypeError, "ids has dtype bool"),
        ([None], TypeError, "ids has dtype object"),
    ],
)
def test_ids_that_are_none_change_nothing(ids, error, said):
    frequency = fs.StreamingFrequency(10)
    frequency.update([1, 2])
    for call in (frequency.update, frequency.probability, frequency.log_probability):
        with pytest.raises(error, match=said):
            call(ids)
    assert frequency.num_seen == 2
    assert frequency.probability([1, 2]).tolist() == [1, 0.5]
