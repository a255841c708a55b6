"""Random actions and noise have the right distributions, and each environment its own stream."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from rlbook.ops import sampling
from rlbook.ops.sampling import explore_uniformly, factorised_noise
from rlbook_envs.streams import POLICY, stream_key

N = 40_000


def keys(number, seed=1):
    return np.array([stream_key(seed, POLICY, i) for i in range(number)], np.uint64)


def explored(num_actions, epsilon, keys, counters, greedy=0):
    """(T, N) actions of environments that would otherwise all take `greedy`."""
    rows = np.full((len(counters), len(keys)), greedy)
    for row, counter in zip(rows, counters, strict=True):
        explore_uniformly(row, num_actions, np.full(len(keys), epsilon), keys, counter)
    return rows


# Actions


@pytest.mark.parametrize("num_actions", [2, 3, 18])
@pytest.mark.parametrize("epsilon", [0.05, 0.4, 1.0])
def test_actions_are_as_frequent_as_they_should_be(num_actions, epsilon):
    actions = explored(num_actions, epsilon, keys(40), range(N // 40), greedy=1)
    counts = np.bincount(actions.ravel(), minlength=num_actions)
    expected = np.full(num_actions, N * epsilon / num_actions)
    expected[1] += N * (1 - epsilon)
    freedom = num_actions - 1
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # Wilson and Hilferty's approximation of what is exceeded once in a hundred thousand.
    limit = freedom * (1 - 2 / (9 * freedom) + 4.27 * math.sqrt(2 / (9 * freedom))) ** 3
    assert len(counts) == num_actions and chi_square < limit


def test_epsilon_of_0_changes_nothing_and_each_row_has_its_own():
    assert (explored(5, 0.0, keys(20), range(500), greedy=3) == 3).all()
    actions = np.full((2_000, 3), 7)
    for counter, row in enumerate(actions):
        explore_uniformly(row, 4, np.array([0.0, 0.25, 1.0]), keys(3), counter)
    shares = (actions != 7).mean(axis=0)
    assert shares[0] == 0 and shares[2] == 1
    assert abs(shares[1] - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 2_000)


def test_environments_and_steps_are_independent():
    actions = explored(2, 1.0, keys(10), range(4_000)).astype(float)
    together = np.corrcoef(actions.T)[np.triu_indices(10, k=1)]
    after = np.corrcoef(actions[1:].ravel(), actions[:-1].ravel())[0, 1]
    assert np.abs(together).max() < 5 / math.sqrt(4_000)
    assert abs(after) < 5 / math.sqrt(N)


def test_whether_to_explore_says_nothing_about_the_action():
    actions = explored(10, 0.3, keys(40), range(1_000), greedy=-1)
    random = actions[actions >= 0]
    assert abs(random.mean() - 4.5) < 5 * math.sqrt(99 / 12 / len(random))
    counts = np.bincount(random, minlength=10)
    assert counts.min() > 0.8 * len(random) / 10


def test_what_an_environment_does_depends_on_its_key_and_the_counter_alone():
    many = explored(6, 0.5, keys(9), range(50))
    for i in (0, 4, 8):
        np.testing.assert_array_equal(
            explored(6, 0.5, keys(9)[i : i + 1], range(50))[:, 0], many[:, i]
        )
    np.testing.assert_array_equal(explored(6, 0.5, keys(9), range(20, 30)), many[20:30])
    assert (explored(6, 0.5, keys(9, seed=2), range(50)) != many).any()


def test_compiled_exploring_is_the_python_function():
    compiled, python = np.zeros(50, int), np.zeros(50, int)
    arguments = (7, np.linspace(0, 1, 50), keys(50), np.arange(50) % 7)
    explore_uniformly(compiled, *arguments)
    sampling._explore_uniformly(python, *arguments)
    np.testing.assert_array_equal(compiled, python)
    assert compiled.any()


def test_each_row_can_have_a_counter_of_its_own():
    """As where workers have come to different steps; one number is for all rows."""
    counters, whole = np.array([4, 0, 9, 4, 2] * 8), explored(6, 0.7, keys(40), range(10))
    actions = np.zeros(40, int)
    explore_uniformly(actions, 6, np.full(40, 0.7), keys(40), counters)
    np.testing.assert_array_equal(actions, whole[counters, np.arange(40)])
    assert (actions != whole[4]).any()

    noise = np.array([factorised_noise(keys(40), counter, 3) for counter in range(10)])
    found = factorised_noise(keys(40), counters, 3)
    np.testing.assert_array_equal(found, noise[counters, np.arange(40)])
    assert (found != noise[4]).any()


# Noise


def test_noise_is_the_signed_root_of_something_normal():
    """f(x) = sgn(x) sqrt(|x|): so f(x) |f(x)| is x."""
    noise = factorised_noise(keys(100), 5, 1_000).ravel().astype(np.float64)
    normal = NormalDist()
    x = np.sort(noise * np.abs(noise))
    at = (np.arange(len(x)) + 0.5) / len(x)
    distance = np.abs([normal.cdf(each) for each in x] - at).max()
    assert distance < 2.5 / math.sqrt(len(x))  # Kolmogorov and Smirnov: once in 130,000

    size = len(noise)
    assert abs(noise.mean()) < 5 * math.sqrt(0.798 / size)
    assert abs((noise > 0).mean() - 0.5) < 2.5 / math.sqrt(size)
    # The variance is E|x|, whose own variance is 1 - 2 / pi.
    assert abs(noise.var() - math.sqrt(2 / math.pi)) < 5 * math.sqrt((1 - 2 / math.pi) / size)
    assert np.abs(noise).max() < 3 and noise.dtype == np.float64


def test_noise_is_independent_across_rows_places_and_steps():
    one, two = factorised_noise(keys(10), 5, 4_000), factorised_noise(keys(10), 6, 4_000)
    limit = 5 / math.sqrt(4_000)
    assert np.abs(np.corrcoef(one)[np.triu_indices(10, k=1)]).max() < limit
    assert np.abs(np.diag(np.corrcoef(one, two), k=10)).max() < limit
    assert abs(np.corrcoef(one[:, 1:].ravel(), one[:, :-1].ravel())[0, 1]) < 5 / math.sqrt(N)


def test_noise_depends_on_key_and_counter_alone():
    many = factorised_noise(keys(7), 3, 20)
    assert many.shape == (7, 20) and many.dtype == np.float32
    np.testing.assert_array_equal(factorised_noise(keys(7)[4:5], 3, 20), many[4:5])
    np.testing.assert_array_equal(factorised_noise(keys(7), 3, 12), many[:, :12])
    assert (factorised_noise(keys(7), 4, 20) != many).all()


def test_noise_is_not_made_of_the_numbers_that_choose_actions():
    """Both come from one stream: an action must not tell what the noise will be."""
    actions = explored(2, 1.0, keys(4_000), [8])[0].astype(float)
    noise = factorised_noise(keys(4_000), 8, 4)
    for column in noise.T:
        assert abs(np.corrcoef(actions, column)[0, 1]) < 5 / math.sqrt(4_000)
        assert abs(np.corrcoef(actions, np.abs(column))[0, 1]) < 5 / math.sqrt(4_000)
