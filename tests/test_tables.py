"""Tables of weights: which shard holds a class, what is accepted, what is changed in place."""

import ml_dtypes
import numpy as np
import pytest

from fastsoftmax._sampling.tables import as_table

STRATEGIES = pytest.mark.parametrize("strategy", ["div", "mod"])


def shards_of(weight, count, strategy):
    """By the rules in words: "div" gives neighbours, the first shards one more; "mod" deals out."""
    if strategy == "div":
        return np.array_split(weight, count)
    return [weight[i::count] for i in range(count)]


def rows_of(table, ids):
    """The rows of the ids, put together from blocks."""
    rows = np.full((len(ids), table.columns), np.nan)
    for block in table.blocks(ids):
        rows[block.places] = block.array[block.rows]
    return rows


@STRATEGIES
@pytest.mark.parametrize("classes", [1, 2, 7, 12, 13])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 12, 16])
def test_every_class_is_found_in_its_shard(rng, classes, count, strategy):
    weight = rng.standard_normal((classes, 3))
    table = as_table(shards_of(weight, count, strategy), "weight", strategy)
    assert table.num_classes == classes
    assert table.columns == 3
    for ids in (np.arange(classes), rng.integers(0, classes, 40)):
        np.testing.assert_array_equal(rows_of(table, ids), weight[ids])


@STRATEGIES
def test_blocks_divide_the_places_among_themselves(rng, strategy):
    table = as_table(shards_of(np.zeros((50, 1)), 4, strategy), "weight", strategy)
    for ids in (np.arange(50), np.sort(rng.choice(50, 20, replace=False)), np.array([7])):
        places = [np.arange(len(ids))[block.places] for block in table.blocks(ids)]
        assert all(one.size for one in places)
        np.testing.assert_array_equal(np.sort(np.concatenate(places)), np.arange(len(ids)))


def test_neighbours_are_a_slice_so_that_gradients_are_not_copied(rng):
    table = as_table(shards_of(np.zeros((50, 1)), 3, "div"), "weight", "div")
    ids = np.sort(rng.choice(50, 30, replace=False))
    assert all(isinstance(block.places, slice) for block in table.blocks(ids))


def test_a_table_is_the_memory_that_was_handed_in(rng):
    weight = rng.standard_normal((8, 4)).astype(np.float32)
    for given in (weight, weight.T, weight[::2, ::-1]):
        assert np.shares_memory(as_table(given, "weight", "div").shards[0], given)


def test_a_bias_is_a_table_of_one_column(rng):
    bias = rng.standard_normal(9)
    for given in (bias, np.array_split(bias, 2)):
        table = as_table(given, "bias", "div", one_column=True)
        assert (table.num_classes, table.columns) == (9, 1)
        np.testing.assert_array_equal(rows_of(table, np.arange(9))[:, 0], bias)


def test_rows_as_lists_are_one_array_and_arrays_are_shards():
    assert len(as_table([[1.0, 2.0], [3.0, 4.0]], "weight", "div").shards) == 1
    assert len(as_table([[[1.0, 2.0]], [[3.0, 4.0]]], "weight", "div").shards) == 2
    assert len(as_table([1.0, 2.0], "bias", "div", one_column=True).shards) == 1


@pytest.mark.parametrize("in_place", [False, True])
def test_shards_must_be_alike_and_of_the_sizes_that_the_strategy_gives(in_place):
    a, b = np.zeros((3, 2)), np.zeros((2, 2))
    as_table([a, b], "weight", "div", in_place=in_place)
    with pytest.raises(ValueError, match=r"weight\[0\] has 2 rows; of 5 classes in 2 shards.*3"):
        as_table([b, a], "weight", "mod", in_place=in_place)
    with pytest.raises(ValueError, match=r"weight\[1\] has 4 columns of float64.*2 of float64"):
        as_table([a, np.zeros((2, 4))], "weight", "div", in_place=in_place)
    with pytest.raises(ValueError, match=r"weight\[1\] has 2 columns of float32.*2 of float64"):
        as_table([a, b.astype(np.float32)], "weight", "div", in_place=in_place)
    with pytest.raises(ValueError, match=r"weight\[1\] has shape \(2,\)"):
        as_table([a, np.zeros(2)], "weight", "div", in_place=in_place)


def test_dimensions_and_strategies_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"partition_strategy must be 'div' or 'mod', not 'fair'"):
        as_table(np.zeros((3, 2)), "weight", "fair")
    with pytest.raises(ValueError, match=r"weight has shape \(3,\); it must have a row for each"):
        as_table(np.zeros(3), "weight", "div")
    with pytest.raises(ValueError, match=r"bias has shape \(3, 1\); it must have a number for"):
        as_table(np.zeros((3, 1)), "bias", "div", one_column=True)


# In place -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_what_is_to_be_changed_is_the_array_itself(dtype):
    weight = np.zeros((4, 3), dtype)
    shards = np.split(weight, 2)
    assert np.shares_memory(as_table(weight, "weight", "div", in_place=True).shards[0], weight)
    table = as_table(shards, "weight", "div", in_place=True)
    for own, given in zip(table.shards, shards, strict=True):
        assert type(own) is np.ndarray
        assert np.shares_memory(own, given)


@pytest.mark.parametrize("given", [[[1.0, 2.0]], ((1.0, 2.0),), 1.0, None])
def test_what_is_no_array_cannot_be_changed_in_place(given):
    with pytest.raises(TypeError, match=r"weight is changed in place and must be a NumPy array"):
        as_table(given, "weight", "div", in_place=True)
    with pytest.raises(TypeError, match=r"weight\[1\] is changed in place.*not list"):
        as_table([np.ones((1, 2)), [[1.0, 2.0]]], "weight", "div", in_place=True)


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.int64, np.bool_, np.complex128, object])
def test_what_would_be_converted_cannot_be_changed_in_place(dtype):
    with pytest.raises(TypeError, match=r"weight has dtype .* in native byte order"):
        as_table(np.zeros((2, 2), dtype), "weight", "div", in_place=True)


def test_what_is_read_only_cannot_be_changed_in_place():
    shards = [np.zeros((2, 2)), np.broadcast_to(0.0, (2, 2))]
    with pytest.raises(ValueError, match=r"weight\[1\] is read-only"):
        as_table(shards, "weight", "div", in_place=True)
