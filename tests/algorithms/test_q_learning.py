"""Q-learning and double Q-learning against the textbook: their rules, their loops, their bias."""

import math
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
from probes import LAKE, short_lake

from rlbook import QLearning
from rlbook.algorithms.q_learning import double_q_learning_update, q_learning_update
from rlbook.tabular.policies import epsilon_greedy
from rlbook_envs.compiled import compile, rule
from rlbook_envs.streams import (
    POLICY,
    random_bits,
    stream_key,
    uniform,
)
from rlbook_envs.world import World, WorldEnv


def transitions(count=200, states=5, actions=3):
    """Random arguments of an update: q, obs, action, reward, next_obs, terminated, α, γ."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield (
            rng.normal(size=(states, actions)), int(rng.integers(states)),
            int(rng.integers(actions)), rng.normal(), int(rng.integers(states)),
            bool(rng.integers(2)), rng.uniform(), rng.uniform(),
        )  # fmt: skip


# The rules


def test_update_is_equation_6_8():
    for q, obs, action, reward, next_obs, terminated, alpha, gamma in transitions():
        expected = q.copy()
        target = reward if terminated else reward + gamma * max(q[next_obs])
        td_error = target - q[obs, action]
        expected[obs, action] = q[obs, action] + alpha * td_error
        got = q_learning_update(q, obs, action, reward, next_obs, terminated, alpha, gamma)
        assert got == td_error
        assert np.array_equal(q, expected)


def test_double_update_is_equation_6_10():
    other = np.random.default_rng(1).normal(size=(5, 3))
    before = other.copy()
    for q, obs, action, reward, next_obs, terminated, alpha, gamma in transitions():
        expected = q.copy()
        value = other[next_obs, np.argmax(q[next_obs])]
        td_error = reward + (0 if terminated else gamma * value) - q[obs, action]
        expected[obs, action] = q[obs, action] + alpha * td_error
        rest = (obs, action, reward, next_obs, terminated, alpha, gamma)
        assert double_q_learning_update(q, other, *rest) == td_error
        assert np.array_equal(q, expected)
    assert np.array_equal(other, before)


@pytest.mark.parametrize("update", [q_learning_update, double_q_learning_update])
def test_a_terminated_step_is_worth_its_reward_alone(update):
    q = np.full((2, 2), 10.0)
    tables = (q, q.copy()) if update is double_q_learning_update else (q,)
    update(*tables, 0, 0, 1.0, 1, True, 1.0, 0.5)
    update(*tables, 0, 1, 1.0, 1, False, 1.0, 0.5)
    assert q[0].tolist() == [1.0, 6.0]


def test_compiled_rules_equal_the_python_rules():
    compiled = {update: compile(update) for update in (q_learning_update, double_q_learning_update)}
    other = np.random.default_rng(1).normal(size=(5, 3))
    for q, *rest in transitions():
        for update, tables in ((q_learning_update, ()), (double_q_learning_update, (other,))):
            mine, theirs = q.copy(), q.copy()
            assert update(mine, *tables, *rest) == compiled[update](theirs, *tables, *rest)
            assert np.array_equal(mine, theirs)


# What is learned


def textbook(seed, steps, alpha=0.05, gamma=0.99, epsilon=0.2):
    """Q-learning as a textbook writes it; the table, and each episode's end, return and length."""
    env = gymnasium.make(LAKE)
    q, key, episodes = np.zeros((16, 4)), stream_key(seed, POLICY, 0), []
    obs, _ = env.reset(seed=seed)
    total, begun = 0.0, 0
    for t in range(steps):
        action = epsilon_greedy(q, obs, epsilon, key, t)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        q_learning_update(q, obs, action, reward, next_obs, terminated, alpha, gamma)
        total += reward
        obs = next_obs
        if terminated or truncated:
            episodes.append((t + 1, total, t + 1 - begun))
            total, begun = 0.0, t + 1
            obs, _ = env.reset()
    return q, episodes


@pytest.mark.parametrize("seed", [0, 77])
def test_a_textbook_loop_gives_the_very_same_table_and_history(seed):
    q, episodes = textbook(seed, 10_000)
    agent = QLearning(LAKE, seed=seed)
    history = agent.learn(10_000)
    assert np.array_equal(agent.q, q)
    columns = history.timesteps, history.episode_returns, history.episode_lengths
    assert list(zip(*map(np.ndarray.tolist, columns), strict=True)) == episodes
    assert sum(history.episode_returns) > 0


def textbook_double(seed, steps, alpha=0.05, gamma=0.99, epsilon=0.2):
    """Double Q-learning as its box has it (Sutton and Barto, section 6.7)."""
    env, key = short_lake(), stream_key(seed, POLICY, 0)
    one, two = np.zeros((12, 4)), np.zeros((12, 4))
    obs, _ = env.reset(seed=seed)
    for t in range(steps):
        action = epsilon_greedy(one + two, obs, epsilon, key, t)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        coin = int(random_bits(random_bits(key, t + 1), 2)) % 2  # as environment 0 tosses it
        mine, other = (two, one) if coin else (one, two)
        value = 0.0 if terminated else gamma * other[next_obs, mine[next_obs].argmax()]
        mine[obs, action] += alpha * (reward + value - mine[obs, action])
        obs = next_obs
        if terminated or truncated:
            obs, _ = env.reset()
    return one, two


@pytest.mark.parametrize("seed", [0, 77])
def test_a_textbook_loop_gives_the_very_same_two_tables(seed):
    one, two = textbook_double(seed, 8000)
    agent = QLearning(short_lake(), seed=seed, double=True)
    agent.learn(8000)
    assert np.array_equal(agent._table, np.stack([one, two], axis=1))
    assert np.array_equal(agent.q, (one + two) / 2)
    assert np.count_nonzero(one) > 20 and not np.array_equal(one, two)


def test_both_tables_learn_equally_often():
    agent = QLearning(short_lake(), double=True, epsilon=1.0)
    agent.learn(10_000)
    one, two = agent._counts.sum(axis=(0, 2))
    assert one + two == 10_000 and abs(one - two) < 4 * math.sqrt(10_000)


# Maximisation bias (Sutton and Barto, example 6.7 and figure 6.5)

A, B = 0, 1


class Draw(NamedTuple):
    """What every action in B pays."""

    mean: float = -0.1
    deviation: float = 1.0


@rule
def begin_at_a(draw, key):
    return A


@rule
def left_or_right(draw, state, action, key):
    """From A, right ends with 0, and left leads to B, where each of ten actions ends with a draw.

    In a table, A has as many actions as B: half of them go left, so that a random one is left as
    often as in the example.
    """
    if state == A:
        return B, 0.0, action % 2 == 1
    first, second = uniform(key), uniform(random_bits(key, 1))
    normal = math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)
    return B, draw.mean + draw.deviation * normal, True


def how_often_left(double, runs, first_seed=0, episodes=300):
    """In what share of the runs each episode went left."""
    world = World("Bias", Draw(), begin_at_a, left_or_right, 2, tuple("0123456789"), str, str)
    left = np.zeros(episodes)
    for seed in range(first_seed, first_seed + runs):
        agent = QLearning(
            lambda: WorldEnv(world), seed=seed, double=double,
            learning_rate=0.1, epsilon=0.1, gamma=1.0, sync_every=2 * episodes,
        )  # fmt: skip
        left += agent.learn(2 * episodes).episode_lengths[:episodes] == 2
    return left / runs


def test_the_draws_are_those_of_the_example():
    draws = [left_or_right(Draw(), B, 0, random_bits(np.uint64(7), t))[1] for t in range(20_000)]
    assert np.mean(draws) == pytest.approx(-0.1, abs=0.03)
    assert np.std(draws) == pytest.approx(1.0, abs=0.03)


def test_q_learning_takes_luck_for_value_and_double_q_learning_does_not():
    """As in figure 6.5: the one soon goes left nearly always, the other less and less often.

    The share of both falls towards 5 %, which is what random exploration with ε causes.
    """
    single, double = how_often_left(False, 150), how_often_left(True, 150)
    assert single[0] == pytest.approx(0.5, abs=0.2) and double[0] == pytest.approx(0.5, abs=0.2)
    assert single[10:50].mean() > 0.8 and single[:100].mean() > 0.75
    assert double[10:50].mean() < 0.65 and double[:100].mean() < 0.45
    assert double[100:].mean() < 0.13 < 0.2 < single[100:].mean()
    assert double[-50:].mean() < 0.1
