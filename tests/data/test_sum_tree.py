"""The sum tree against NumPy's cumulative sums."""

import pickle

import numpy as np
import pytest

from rlbook.data.sum_tree import FAN_OUT, SumTree, tree_bytes

SIZES = [1, 2, FAN_OUT, FAN_OUT + 1, FAN_OUT**2, FAN_OUT**2 + 1, 1000]


def tree_of(weights):
    tree = SumTree(len(weights))
    tree.set_weights(np.asarray(weights, float))
    return tree


@pytest.mark.parametrize("size", SIZES)
def test_finds_what_cumulative_sums_find(size):
    rng = np.random.default_rng(size)
    weights = rng.random(size) * (rng.random(size) < 0.6)
    weights[rng.integers(size)] = 0.5  # not all are 0
    tree, sums = tree_of(weights), np.cumsum(weights)
    assert tree.total == pytest.approx(sums[-1], rel=1e-12)
    masses = rng.random(2000) * tree.total
    expected = np.searchsorted(sums, masses, side="right")
    clear = np.abs(masses[:, None] - sums).min(axis=1) > 1e-12  # rounding decides the others
    assert clear.mean() > 0.99
    assert np.array_equal(tree.find(masses)[clear], expected[clear])
    assert np.array_equal(tree.weights, weights)


def test_whole_numbers_are_found_exactly():
    """At a boundary the mass belongs to the leaf on the right."""
    weights = np.array([0, 3, 0, 0, 1, 2, 0, 0, 0, 4, 0])
    tree = tree_of(weights)
    assert tree.total == 10
    assert tree.find(np.arange(10.0)).tolist() == [1, 1, 1, 4, 5, 5, 9, 9, 9, 9]


@pytest.mark.parametrize("size", SIZES)
def test_rounding_never_leads_to_a_leaf_that_weighs_nothing(size):
    rng = np.random.default_rng(size)
    for _ in range(50):
        weights = 10.0 ** rng.integers(-12, 12, size) * (rng.random(size) < 0.3)
        weights[rng.integers(size)] = 0.1
        tree = tree_of(weights)
        near = np.cumsum(weights)
        masses = np.concatenate([near, np.nextafter(near, 0), [tree.total, 0.0]])
        assert (weights[tree.find(np.clip(masses, 0, tree.total))] > 0).all()


def test_a_million_changes_leave_no_error_behind():
    """A tree that added differences to its sums would be off by now."""
    rng = np.random.default_rng(0)
    tree = SumTree(500)
    for _ in range(1000):
        leaves = rng.integers(0, 500, 1000)
        tree.update(leaves, 10.0 ** rng.uniform(-9, 9, 1000))
    anew = tree_of(tree.weights.copy())
    assert tree.total == anew.total
    masses = rng.random(1000) * tree.total
    assert np.array_equal(tree.find(masses), anew.find(masses))


def test_of_a_leaf_that_is_named_twice_the_later_weight_counts():
    tree = tree_of(np.ones(20))
    tree.update(np.array([3, 15, 3]), np.array([7.0, 0.0, 5.0]))
    assert tree.weights[3] == 5 and tree.weights[15] == 0 and tree.total == 23


@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_told_before_they_are_allocated(size):
    assert SumTree(size).nbytes == tree_bytes(size)
    if size == 1000:
        assert tree_bytes(size) < 8 * size * 1.2  # the sums add a seventh


def test_a_copy_through_pickle_is_a_tree_of_its_own():
    tree = tree_of(np.ones(20))
    other = pickle.loads(pickle.dumps(tree))
    other.update(np.array([4]), np.array([9.0]))
    assert (other.weights[4], other.total) == (9, 28)
    assert (tree.weights[4], tree.total) == (1, 20)
