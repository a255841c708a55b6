"""Exact values: against pencil and paper, against a plain loop, against Gymnasium's tables."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from rlbook.tabular import dynamic_programming as dp
from rlbook_envs.frozen_lake import frozen_lake
from rlbook_envs.world import TransitionTable


def two_states() -> TransitionTable:
    """In state 0, action 0 stays and pays 1; action 1 ends the episode or goes to state 1, 1/2
    each, and pays 2. In state 1 both actions end the episode; action 0 pays 3, action 1 pays 4."""
    return TransitionTable(
        probability=np.array([[[1, 0], [0.5, 0.5]], [[1, 0], [1, 0]]]),
        next_state=np.array([[[0, 0], [1, 1]], [[0, 0], [0, 0]]]),
        reward=np.array([[[1, 0], [2, 2]], [[3, 0], [4, 0]]], np.float64),
        terminated=np.array([[[0, 0], [0, 1]], [[1, 0], [1, 0]]], np.bool_),
        start=np.array([0.75, 0.25]),
    )


@pytest.fixture(scope="module")
def lake() -> TransitionTable:
    return dp.transition_table("FrozenLake-v1")


def plain_value_iteration(env, gamma, sweeps):
    """Value iteration as one would first write it, on Gymnasium's own table."""
    values = [0.0] * len(env.P)
    for _ in range(sweeps):
        values = [
            max(
                sum(
                    probability * (reward + (0.0 if terminated else gamma * values[next_state]))
                    for probability, next_state, reward, terminated in outcomes
                )
                for outcomes in env.P[state].values()
            )
            for state in range(len(env.P))
        ]
    return values


def test_two_states_by_hand():
    # v(1) = 4. In state 0, gamma = 1/2: staying forever is worth 1 / (1 - 1/2) = 2, and leaving
    # 2 + 1/2 * 1/2 * 4 = 3; staying once before leaving is worth 1 + 3/2.
    optimum = dp.value_iteration(two_states(), gamma=0.5)
    np.testing.assert_allclose(optimum.values, [3.0, 4.0], atol=1e-12)
    np.testing.assert_allclose(optimum.q, [[2.5, 3.0], [3.0, 4.0]], atol=1e-12)
    np.testing.assert_array_equal(optimum.policy, [1, 1])
    # gamma = 0.9: staying forever is worth 10, leaving 2 + 0.9 / 2 * 4 = 3.8.
    optimum = dp.value_iteration(two_states(), gamma=0.9)
    np.testing.assert_allclose(optimum.values, [10.0, 4.0], atol=1e-10)
    np.testing.assert_array_equal(optimum.policy, [0, 1])
    assert dp.start_value(two_states(), optimum.values) == pytest.approx(0.75 * 10 + 0.25 * 4)
    assert optimum.values.dtype == optimum.q.dtype == np.float64
    assert optimum.policy.dtype == np.int64


def test_policy_values_by_hand():
    table = two_states()
    np.testing.assert_allclose(dp.policy_values(table, [0, 0], 0.9), [10.0, 3.0])
    np.testing.assert_allclose(dp.policy_values(table, [1, 1], 1.0), [4.0, 4.0])
    # At random: v(1) = 3.5 and v(0) = (1 + v(0) / 2) / 2 + (2 + 3.5 / 4) / 2 with gamma = 1/2.
    random = np.full((2, 2), 0.5)
    np.testing.assert_allclose(
        dp.policy_values(table, random, 0.5), [(0.5 + 1 + 0.4375) / 0.75, 3.5]
    )


def test_no_discount_where_all_ends_or_pays_nothing():
    """With gamma = 1, a greedy policy is not enough: going round in circles has the same value."""
    table = dp.transition_table(frozen_lake(is_slippery=False))
    optimum = dp.value_iteration(table, gamma=1.0)
    assert dp.start_value(table, optimum.values) == 1.0
    np.testing.assert_array_equal(
        dp.policy_values(table, optimum.policy, 0.9) > 0.5, optimum.values > 0
    )
    state, steps = 0, 0
    while not table.terminated[state, optimum.policy[state], 0]:
        state, steps = table.next_state[state, optimum.policy[state], 0], steps + 1
    assert steps == 5  # and the sixth step, which reaches the goal


def test_no_discount_where_earning_never_ends():
    with pytest.raises(ValueError, match=r"gamma must be smaller for .*, got 1.* sweeps"):
        dp.value_iteration(two_states(), gamma=1)


def test_frozen_lake(lake):
    values = dp.value_iteration(lake, 0.99).values
    plain = plain_value_iteration(gymnasium.make("FrozenLake-v1").unwrapped, 0.99, 2000)
    np.testing.assert_allclose(values, plain, atol=1e-9)
    assert dp.start_value(lake, values) == pytest.approx(0.5420, abs=5e-5)


def test_frozen_lake_success_probability(lake):
    optimum = dp.value_iteration(lake, 1.0)
    assert dp.start_value(lake, optimum.values) == pytest.approx(14 / 17, abs=1e-9)
    exact = dp.policy_values(lake, optimum.policy, 1.0)
    assert dp.start_value(lake, exact) == pytest.approx(14 / 17, abs=1e-13)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
def test_the_optimum_satisfies_its_equations(lake, gamma):
    optimum = dp.value_iteration(lake, gamma)
    np.testing.assert_allclose(optimum.q.max(axis=1), optimum.values, atol=1e-10)
    np.testing.assert_allclose(
        dp.policy_values(lake, optimum.policy, gamma), optimum.values, atol=1e-9
    )
    np.testing.assert_allclose(dp.action_values(lake, optimum.values, gamma), optimum.q, atol=1e-12)


def test_bellman_equation_of_a_random_policy(lake):
    """Equation 4.4 written out: the sum over actions and outcomes."""
    policy = np.random.default_rng(0).dirichlet(np.ones(4), 16)
    values = dp.policy_values(lake, policy, 0.9)
    for state in range(16):
        expected = 0.0
        for action in range(4):
            for k in range(3):
                following = (
                    0.0
                    if lake.terminated[state, action, k]
                    else values[lake.next_state[state, action, k]]
                )
                expected += (
                    policy[state, action]
                    * lake.probability[state, action, k]
                    * (lake.reward[state, action, k] + 0.9 * following)
                )
        assert values[state] == pytest.approx(expected, abs=1e-12)


def test_actions_and_their_probabilities_are_one_policy(lake):
    actions = np.random.default_rng(1).integers(0, 4, 16)
    np.testing.assert_array_equal(
        dp.policy_values(lake, actions), dp.policy_values(lake, np.eye(4)[actions])
    )


def test_start_value_is_what_episodes_return(lake):
    """A thousand episodes of a random player, against the exact value, within five sigma."""
    exact = dp.start_value(lake, dp.policy_values(lake, np.full((16, 4), 0.25), 1.0))
    env = gymnasium.make("rlbook/FrozenLake-v0", max_episode_steps=10_000)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    wins = 0.0
    for _ in range(1000):
        env.reset()
        over = False
        while not over:
            _, reward, terminated, truncated, _ = env.step(int(rng.integers(4)))
            wins += float(reward)
            over = terminated or truncated
    assert abs(wins / 1000 - exact) < 5 * np.sqrt(exact * (1 - exact) / 1000)


@pytest.mark.parametrize("map_name", ["4x4", "8x8"])
def test_one_table_for_every_kind_of_source(map_name):
    options = {"map_name": map_name, "success_rate": 0.7}
    sources = [
        gymnasium.make("FrozenLake-v1", **options),
        gymnasium.make("rlbook/FrozenLake-v0", **options),
        frozen_lake(**options),
    ]
    first, *others = map(dp.transition_table, sources)
    for other in others:
        for ours, theirs in zip(other, first, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype


def test_an_id_is_the_environment_of_that_name():
    by_id, made = map(
        dp.transition_table, ("rlbook/FrozenLake8x8-v0", gymnasium.make("FrozenLake8x8-v1"))
    )
    for ours, theirs in zip(by_id, made, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("name", "best"), [("CliffWalking-v1", -13.0), ("Taxi-v4", 7.93)])
def test_other_worlds_of_gymnasium(name, best):
    table = dp.transition_table(name)
    np.testing.assert_allclose(table.probability.sum(axis=2), 1)
    assert table.start.sum() == pytest.approx(1)
    optimum = dp.value_iteration(table, 1.0)
    assert dp.start_value(table, optimum.values) == pytest.approx(best)
    np.testing.assert_allclose(
        dp.policy_values(table, optimum.policy, 0.99).shape, table.start.shape
    )


@pytest.mark.parametrize(
    "stranger",
    ["CartPole-v1", "Blackjack-v1", 3, None, frozen_lake],
)
def test_what_has_no_table(stranger):
    with pytest.raises(TypeError, match=r"has no exact table.*FrozenLake"):
        dp.transition_table(stranger)


def test_a_table_that_is_not_the_whole_truth():
    with pytest.raises(TypeError, match="has no exact table"):
        dp.transition_table(gymnasium.make("Taxi-v4", fickle_passenger=True))


@pytest.mark.parametrize("gamma", [-0.1, 1.01, float("nan")])
def test_bad_gamma(lake, gamma):
    for call in (
        lambda: dp.value_iteration(lake, gamma),
        lambda: dp.policy_values(lake, np.zeros(16, int), gamma),
        lambda: dp.action_values(lake, np.zeros(16), gamma),
    ):
        with pytest.raises(ValueError, match=rf"^gamma must be a number from 0 to 1, got {gamma}$"):
            call()


def test_bad_arguments(lake):
    with pytest.raises(ValueError, match=r"tolerance must be a number above 0, got 0"):
        dp.value_iteration(lake, tolerance=0)
    with pytest.raises(ValueError, match=r"policy\[0\] must be an action from 0 to 3, got 4"):
        dp.policy_values(lake, [4] * 16)
    with pytest.raises(ValueError, match=r"policy\[0\] must be probabilities that sum to 1, got "):
        dp.policy_values(lake, np.full((16, 4), 0.3))
    with pytest.raises(
        ValueError, match=r"policy must be \(16,\) integers or .*, got shape \(3,\)"
    ):
        dp.policy_values(lake, [0, 1, 2])
    with pytest.raises(ValueError, match=r"policy must be .*, got shape \(16,\) and dtype float64"):
        dp.policy_values(lake, np.zeros(16))
    with pytest.raises(ValueError, match=r"values must have shape \(16,\), got \(4,\)"):
        dp.start_value(lake, np.zeros(4))
    with pytest.raises(ValueError, match=r"values must have shape \(16,\), got \(16, 4\)"):
        dp.action_values(lake, np.zeros((16, 4)))
    with pytest.raises(ValueError, match=r"gamma must be below 1 .*, got 1: .*never end.*\[0\]"):
        dp.policy_values(two_states(), [0, 0], gamma=1)


def test_importing_it_compiles_nothing():
    program = "import sys, rlbook.tabular.dynamic_programming; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
