"""Returns against their definitions, written out as sums over what followed each step."""

import numpy as np
import pytest

from rlbook.ops.returns import discounted_returns, lambda_returns, n_step_returns
from rlbook_envs.compiled import compile


def random_steps(count=60):
    """Random rewards, terminations, values of the next observations, γ and λ."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        length = int(rng.integers(1, 15))
        terminated = rng.random(length) < 0.2
        yield rng.normal(size=length), terminated, rng.normal(size=length), *rng.random(2)


def n_step_return(rewards, terminated, next_values, gamma, t, n):
    """G_{t:t+n}, equation 7.1: a sum that stops where the episode or what is known of it ends."""
    total = 0.0
    for k in range(n):
        total += gamma**k * rewards[t + k]
        if terminated[t + k]:
            return total
        if t + k == len(rewards) - 1:
            break
    return total + gamma ** (k + 1) * next_values[t + k]


def lambda_return(rewards, terminated, next_values, gamma, lambda_, t):
    """Equation 12.2 with its tail, 12.3: (1 - λ) Σ λ^(n-1) G_{t:t+n}, the last n has the rest."""
    last = len(rewards) - t  # the most steps there are; fewer if the episode ends before
    ends = np.flatnonzero(terminated[t:])
    if len(ends):
        last = int(ends[0]) + 1
    total = 0.0
    for n in range(1, last):
        mine = n_step_return(rewards, terminated, next_values, gamma, t, n)
        total += (1 - lambda_) * lambda_ ** (n - 1) * mine
    whole = n_step_return(rewards, terminated, next_values, gamma, t, last)
    return total + lambda_ ** (last - 1) * whole


def test_discounted_returns_are_equation_3_9():
    for rewards, terminated, next_values, gamma, _ in random_steps():
        got = discounted_returns(rewards, gamma * (1 - terminated), next_values[-1])
        expected = [
            n_step_return(rewards, terminated, next_values, gamma, t, len(rewards))
            for t in range(len(rewards))
        ]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_n_step_returns_are_equation_7_1():
    for rewards, terminated, next_values, gamma, _ in random_steps():
        for n in (1, 2, 5, 100):
            got = n_step_returns(rewards, gamma * (1 - terminated), next_values, n)
            expected = [
                n_step_return(rewards, terminated, next_values, gamma, t, n)
                for t in range(len(rewards))
            ]
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_lambda_returns_are_the_weighted_sum_of_equation_12_2():
    for rewards, terminated, next_values, gamma, lambda_ in random_steps():
        for mixture in (0.0, lambda_, 1.0):
            got = lambda_returns(rewards, gamma * (1 - terminated), next_values, mixture)
            expected = [
                lambda_return(rewards, terminated, next_values, gamma, mixture, t)
                for t in range(len(rewards))
            ]
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_the_ends_of_lambda_are_one_step_and_monte_carlo():
    for rewards, terminated, next_values, gamma, _ in random_steps():
        discounts = gamma * (1 - terminated)
        one_step = n_step_returns(rewards, discounts, next_values, 1)
        monte_carlo = discounted_returns(rewards, discounts, next_values[-1])
        ends = [lambda_returns(rewards, discounts, next_values, lambda_) for lambda_ in (0.0, 1.0)]
        np.testing.assert_allclose(ends, [one_step, monte_carlo], rtol=0, atol=1e-12)


def test_an_episode_worked_by_hand():
    """Rewards 1, 2, 4 and γ = 1/2; all values are 8, and the last step is the last there is."""
    rewards, values = np.array([1.0, 2.0, 4.0]), np.full(3, 8.0)
    ended, cut = np.array([0.5, 0.5, 0.0]), np.full(3, 0.5)
    assert discounted_returns(rewards, ended, 8.0).tolist() == [3.0, 4.0, 4.0]
    assert discounted_returns(rewards, cut, 8.0).tolist() == [4.0, 6.0, 8.0]
    assert n_step_returns(rewards, ended, values, 2).tolist() == [4.0, 4.0, 4.0]
    assert n_step_returns(rewards, cut, values, 2).tolist() == [4.0, 6.0, 8.0]
    assert lambda_returns(rewards, ended, values, 0.5).tolist() == [4.25, 5.0, 4.0]
    assert lambda_returns(rewards, cut, values, 0.5).tolist() == [4.5, 6.0, 8.0]


def test_the_numbers_of_rlaxs_n_step_returns():
    """Those of its `multistep_test.py`, where no sequence ends in the middle."""
    rewards = np.array([[1.0, 0.0, -1.0, 0.0, 1.0], [0.5, 0.8, -0.7, 0.0, 2.1]])
    discounts = np.array([[0.5, 0.9, 1.0, 0.5, 0.8], [0.9, 0.5, 0.3, 0.8, 0.7]])
    values = np.array([[3.0, 1.0, 5.0, -5.0, 3.0], [-1.7, 1.2, 2.3, 2.2, 2.7]])
    three = [[2.8, -3.15, 0.7, 1.7, 3.4], [1.2155, 0.714, 0.2576, 3.192, 3.99]]
    whole = [[1.315, 0.63, 0.7, 1.7, 3.4], [1.33592, 0.9288, 0.2576, 3.192, 3.99]]
    for n, expected in ((3, three), (5, whole), (7, whole)):
        found = [n_step_returns(*row, n) for row in zip(rewards, discounts, values, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda rewards, discounts, values: discounted_returns(rewards, discounts, values[-1]),
        lambda rewards, discounts, values: n_step_returns(rewards, discounts, values, 3),
        lambda rewards, discounts, values: lambda_returns(rewards, discounts, values, 0.7),
    ],
)
def test_a_termination_hides_all_that_follows(function):
    rng = np.random.default_rng(1)
    rewards, values = rng.normal(size=(2, 8)), rng.normal(size=(2, 8))
    rewards[1, :5], values[1, :4] = rewards[0, :5], values[0, :4]  # 4: the value after the end
    discounts = np.where(np.arange(8) == 4, 0.0, 0.9)
    found = [function(r, discounts, v) for r, v in zip(rewards, values, strict=True)]
    assert np.array_equal(found[0][:5], found[1][:5])
    assert not np.isclose(found[0][5:], found[1][5:]).any()


def test_compiled_returns_equal_the_python_functions():
    compiled = [compile(f) for f in (discounted_returns, n_step_returns, lambda_returns)]
    for rewards, terminated, next_values, gamma, lambda_ in random_steps():
        discounts = gamma * (1 - terminated)
        for python, fast, *rest in (
            (discounted_returns, compiled[0], next_values[-1]),
            (n_step_returns, compiled[1], next_values, 3),
            (lambda_returns, compiled[2], next_values, lambda_),
        ):
            expected = python(rewards, discounts, *rest)
            assert np.array_equal(fast(rewards, discounts, *rest), expected)


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_many_environments_at_once_are_each_of_them_alone(lambda_):
    rng = np.random.default_rng(1)
    rewards, next_values = rng.normal(size=(2, 5, 12))
    discounts = 0.9 * (rng.random((5, 12)) > 0.2)
    weights = lambda_ * (rng.random((5, 12)) > 0.2)
    together = (
        discounted_returns(rewards, discounts, next_values[:, -1]),
        n_step_returns(rewards, discounts, next_values, 3),
        lambda_returns(rewards, discounts, next_values, weights),
    )
    for i in range(5):
        row = rewards[i], discounts[i]
        np.testing.assert_array_equal(together[0][i], discounted_returns(*row, next_values[i, -1]))
        np.testing.assert_array_equal(together[1][i], n_step_returns(*row, next_values[i], 3))
        alone = lambda_returns(*row, next_values[i], weights[i])
        np.testing.assert_array_equal(together[2][i], alone)


def test_nothing_crosses_a_truncation_where_lambda_is_0():
    rewards, next_values = np.array([1.0, 2.0, 100.0]), np.array([10.0, 20.0, 30.0])
    truncated = np.array([False, True, False])
    got = lambda_returns(rewards, np.full(3, 0.5), next_values, 0.9 * (1 - truncated))
    assert got[1] == 2 + 0.5 * 20
    assert got[0] == pytest.approx(1 + 0.5 * (0.1 * 10 + 0.9 * got[1]))
