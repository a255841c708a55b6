"""Tests of evaluation: returns of whole episodes, which the seed determines."""

import contextlib

import gymnasium
import numpy as np
import pytest
from probes import Probe

import rlbook
from rlbook.envs.making import env_maker
from rlbook.tabular import dynamic_programming as dp

LAKE = "rlbook/FrozenLake-v0"


class Fixed:
    """An agent with a fixed policy, which notes whether it was asked to be greedy."""

    def __init__(self, env, policy):
        self.make_env, self.policy, self.asked = env_maker(env), policy, set()

    def predict(self, obs, deterministic=True):
        self.asked.add(deterministic)
        return int(self.policy[obs])


def test_returns_and_lengths_are_those_of_the_episodes():
    agent = Fixed(lambda: Probe(lambda s, a: (s + 1, 2.0, s == 2), states=4), [0, 1, 0])
    evaluation = rlbook.evaluate(agent, episodes=3)
    assert evaluation.returns.tolist() == [6.0] * 3
    assert evaluation.lengths.tolist() == [3] * 3
    assert evaluation.mean == 6.0 and evaluation.std == 0.0
    assert repr(evaluation) == "Evaluation(mean=6.000, std=0.000, episodes=3)"


def test_a_truncated_episode_ends():
    env = gymnasium.make(LAKE, max_episode_steps=7, desc=["SF"])
    assert rlbook.evaluate(Fixed(env, [0, 0]), episodes=4).lengths.tolist() == [7] * 4


@pytest.mark.parametrize("env", [LAKE, "FrozenLake-v1"])
def test_the_same_seed_plays_the_same_episodes(env):
    policy = dp.value_iteration(dp.transition_table(env)).policy
    one, two, other = (
        rlbook.evaluate(Fixed(env, policy), episodes=20, seed=seed) for seed in (5, 5, 6)
    )
    assert np.array_equal(one.returns, two.returns) and np.array_equal(one.lengths, two.lengths)
    assert not np.array_equal(one.lengths, other.lengths)
    assert len(set(one.lengths)) > 1  # one episode is not like the next


def test_the_mean_return_is_near_the_exact_value():
    table = dp.transition_table(LAKE)
    policy = dp.value_iteration(table).policy
    exact = dp.start_value(table, dp.policy_values(table, policy, gamma=1.0))
    evaluation = rlbook.evaluate(Fixed(LAKE, policy), episodes=1000, seed=1)
    # The time limit of 100 steps costs some of the 0.82.
    assert exact - 0.13 < evaluation.mean < exact + 0.04


def test_another_environment_and_random_actions_may_be_asked_for():
    agent = Fixed(LAKE, np.zeros(64, int))
    easy = gymnasium.make(LAKE, desc=["SFG"], is_slippery=False, max_episode_steps=5)
    assert rlbook.evaluate(agent, episodes=2, env=easy).lengths.tolist() == [5, 5]
    assert agent.asked == {True}
    rlbook.evaluate(agent, episodes=1, deterministic=False)
    assert agent.asked == {True, False}


@pytest.mark.parametrize("fails", [False, True])
def test_the_environment_is_closed_also_after_an_error(fails):
    closed = []

    class Door(Probe):
        def close(self):
            closed.append(True)

    def rule(state, action):
        if fails:
            raise RuntimeError("stuck")
        return 0, 1.0, True

    with pytest.raises(RuntimeError, match="stuck") if fails else contextlib.nullcontext():
        rlbook.evaluate(Fixed(lambda: Door(rule), [0]), episodes=2)
    assert closed == [True]


def test_an_agent_is_not_changed():
    agent = rlbook.QLearning(LAKE, seed=1)
    agent.learn(20_000)
    before = agent.q.copy()
    rlbook.evaluate(agent, episodes=5)
    assert np.array_equal(agent.q, before) and agent.timesteps == 20_000


@pytest.mark.parametrize("episodes", [0, -1, 1.5])
def test_a_bad_number_of_episodes_is_refused(episodes):
    with pytest.raises(ValueError, match="episodes must be a whole number of at least 1, got "):
        rlbook.evaluate(Fixed(LAKE, np.zeros(16, int)), episodes)
