"""Chapter 01: its checkers, and its numbered equations written out against the library."""

import random

import gymnasium
import numpy as np
from checking import message_of

from rlbook import schedules
from rlbook.algorithms.monte_carlo import monte_carlo_update
from rlbook.check.monte_carlo import EXERCISES
from rlbook.ops.returns import discounted_returns
from rlbook.tabular import dynamic_programming as dp
from rlbook.tabular.monte_carlo_prediction import evaluate_policy

LAKE = "rlbook/FrozenLake-v0"


# Solutions, each written out as its definition.


def my_discounted_returns(rewards, terminated, last_value, gamma):
    returns = []
    for t in range(len(rewards)):
        total = 0.0
        for k in range(t, len(rewards)):
            total += gamma ** (k - t) * rewards[k]
            if terminated[k]:
                break
        else:
            total += gamma ** (len(rewards) - t) * last_value
        returns.append(total)
    return np.array(returns)


def my_running_moments(moments, value):
    count, mean, squares = moments
    new_count = count + 1
    new_mean = (count * mean + value) / new_count
    return np.array([new_count, new_mean, squares + (value - mean) * (value - new_mean)])


def my_glie_policy(q, visits):
    probabilities = np.zeros(q.shape)
    for state, row in enumerate(q):
        epsilon = 1 / max(visits[state].sum(), 1)
        probabilities[state] = epsilon / len(row)
        probabilities[state, np.argmax(row)] += 1 - epsilon
    return probabilities


def episodes_of(*columns, terminated):
    begin = 0
    for end in np.flatnonzero(terminated) + 1:
        yield tuple(column[begin:end].tolist() for column in columns)
        begin = end


def my_first_visit_action_values(
    states, actions, rewards, terminated, gamma, num_states, num_actions
):
    found = {}
    for episode in episodes_of(states, actions, rewards, terminated=terminated):
        met = set()
        for t, pair in enumerate(zip(*episode[:2], strict=True)):
            if pair not in met:
                met.add(pair)
                rest = episode[2][t:]
                found.setdefault(pair, []).append(sum(gamma**k * r for k, r in enumerate(rest)))
    q = np.full((num_states, num_actions), np.nan)
    for pair, returns in found.items():
        q[pair] = np.mean(returns)
    return q


def my_weighted_importance_sampling(states, actions, rewards, terminated, policy, behaviour, gamma):
    numerator = denominator = 0.0
    for episode in episodes_of(states, actions, rewards, terminated=terminated):
        ratio = 1.0
        for state, action, _ in zip(*episode, strict=True):
            ratio *= policy[state, action] / behaviour[state, action]
        numerator += ratio * sum(gamma**k * reward for k, reward in enumerate(episode[2]))
        denominator += ratio
    return numerator / denominator if denominator else 0.0


class DiceGame(gymnasium.Env):
    def __init__(self):
        self.observation_space = gymnasium.spaces.Discrete(26)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.points = 0
        return self.points, {}

    def step(self, action):
        if action == 1:
            return self.points, float(self.points), True, False, {}
        die = self.roll()
        self.points = 0 if die == 1 else min(self.points + die, 25)
        return self.points, 0.0, die == 1, False, {}

    def roll(self):
        return int(self.np_random.integers(1, 7))


SOLUTIONS = {
    "discounted_returns": my_discounted_returns,
    "running_moments": my_running_moments,
    "glie_policy": my_glie_policy,
    "first_visit_action_values": my_first_visit_action_values,
    "weighted_importance_sampling": my_weighted_importance_sampling,
    "my_dice_game": DiceGame,
}


def test_cases_hold_what_is_easily_got_wrong():
    stretches = [case[1] for case in EXERCISES["discounted_returns"].cases]
    assert any(flags[:-1].any() for flags in stretches), "an episode ends within the stretch"
    assert any(flags[-1] for flags in stretches) and any(not flags[-1] for flags in stretches)
    assert any(moments[0] == 0 for moments, _ in EXERCISES["running_moments"].cases)
    counts = [visits.sum(axis=1) for _, visits in EXERCISES["glie_policy"].cases]
    assert any((count == 0).any() for count in counts), "a state that nobody visited"
    values = [EXERCISES["first_visit_action_values"].run(my_first_visit_action_values, case)
              for case in EXERCISES["first_visit_action_values"].cases]  # fmt: skip
    assert any(np.isnan(value.returned).any() for value in values)
    # With rewards of 1 and no future, the estimate is 1 where any episode has weight.
    weighed = {
        my_weighted_importance_sampling(*case[:2], np.ones_like(case[2]), *case[3:6], 0.0)
        for case in EXERCISES["weighted_importance_sampling"].cases
    }
    assert weighed == {0.0, 1.0}


def test_a_log_is_shown_with_the_difference():
    def rounded(*arguments):
        return my_first_visit_action_values(*arguments).round(1)

    text = message_of("first_visit_action_values", rounded)
    assert "the result should be" in text and "but is" in text
    assert "  terminated = [" in text


# The dice game.


def test_dice_from_elsewhere_are_seen():
    class Elsewhere(DiceGame):
        def roll(self):
            return random.randint(1, 6)

    assert "two games with the same seed differ" in message_of("my_dice_game", Elsewhere)

    class Deaf(DiceGame):
        def reset(self, *, seed=None, options=None):
            self.points = 0
            return self.points, {}

    assert "two games with the same seed differ" in message_of("my_dice_game", Deaf)


def test_a_mistake_of_ones_own_dice_game():
    class Generous(DiceGame):
        def step(self, action):
            obs, reward, terminated, truncated, info = super().step(action)
            return obs, reward + (reward > 10), terminated, truncated, info

    text = message_of("my_dice_game", Generous)
    assert "after reset(), the steps roll, roll, " in text and ", hold should give" in text
    assert "terminated True, truncated False; yours gives" in text


def test_moments_name_the_step_that_differs():
    class LateBust(DiceGame):
        def step(self, action):
            obs, reward, terminated, truncated, info = super().step(action)
            return obs, reward, terminated and action == 1, truncated, info

    text = message_of("my_dice_game", LateBust)
    assert "roll should give observation 0, reward 0, terminated True, truncated False" in text
    assert "yours gives observation 0, reward 0, terminated False, truncated False" in text


def test_spaces_of_the_dice_game():
    class Wide(DiceGame):
        def __init__(self):
            super().__init__()
            self.observation_space = gymnasium.spaces.Discrete(30)

    text = message_of("my_dice_game", Wide)
    assert "observation_space should be Discrete(26); yours is Discrete(30)" in text


# The chapter's numbered equations, written out plainly, on random numbers.


def test_equation_1_1_a_return_is_a_reward_and_the_discounted_rest():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rewards, gamma, last = rng.normal(size=int(rng.integers(1, 20))), rng.random(), rng.normal()
        returns = discounted_returns(rewards, np.full(len(rewards), gamma), last)
        following = np.append(returns[1:], last)
        np.testing.assert_allclose(returns, rewards + gamma * following, rtol=1e-13)
        definition = sum(gamma**k * reward for k, reward in enumerate(rewards))
        np.testing.assert_allclose(returns[0], definition + gamma ** len(rewards) * last)


def one_pair(q, visits, value, learning_rate):
    """Let the one entry of a table learn from one return."""
    monte_carlo_update(
        q, visits, np.array([0]), np.array([0]), np.array([value]), 0.0, learning_rate, 1.0, True
    )


def test_equation_1_2_the_running_mean_is_the_mean():
    rng = np.random.default_rng(1)
    for _ in range(20):
        returns = rng.normal(size=int(rng.integers(1, 50)))
        q, visits, running = np.full((1, 1), 7.0), np.zeros((1, 1), np.int64), 7.0
        for n, value in enumerate(returns, start=1):
            one_pair(q, visits, value, None)
            running = running + (value - running) / n
            np.testing.assert_allclose(q[0, 0], running)
        np.testing.assert_allclose(q[0, 0], returns.mean(), rtol=1e-12)


def test_equation_1_3_the_error_falls_as_the_root_of_the_episodes():
    """The spread of a mean of N returns, from the values under γ and under γ²."""
    table, episodes, gamma = dp.transition_table(LAKE), 400, 0.9
    policy = dp.value_iteration(table, gamma).policy
    value = dp.policy_values(table, policy, gamma)[0]
    square = dp.policy_values(table, policy, gamma**2)[0]
    expected = np.sqrt((square - value**2) / episodes)
    options = {"episodes": episodes, "gamma": gamma}
    means = [evaluate_policy(LAKE, policy, seed=s, **options).values[0] for s in range(200)]
    measured = np.sqrt(np.mean((np.array(means) - value) ** 2))
    # 200 seeds know a spread to 1 / √400, so this is four times that.
    assert abs(measured / expected - 1) < 0.2


def test_equation_1_4_each_pair_moves_towards_its_first_return():
    rng = np.random.default_rng(2)
    for _ in range(50):
        length, gamma, alpha = int(rng.integers(1, 12)), rng.random(), rng.random()
        states, actions = rng.integers(3, size=length), rng.integers(2, size=length)
        rewards, last, q = rng.normal(size=length), rng.normal(), rng.normal(size=(3, 2))
        expected = q.copy()
        for t in range(length):
            if (states[t], actions[t]) not in zip(states[:t], actions[:t], strict=True):
                rest = rewards[t:]
                following = sum(gamma**k * reward for k, reward in enumerate(rest))
                following += gamma ** len(rest) * last
                old = q[states[t], actions[t]]
                expected[states[t], actions[t]] = old + alpha * (following - old)
        visits = np.zeros((3, 2), np.int64)
        monte_carlo_update(q, visits, states, actions, rewards, last, alpha, gamma, True)
        np.testing.assert_allclose(q, expected)


def test_equation_1_5_no_soft_policy_is_better_than_the_soft_optimum():
    table, epsilon, gamma = dp.transition_table(LAKE), 0.2, 0.99
    values = np.zeros(16)
    for _ in range(3000):
        q = dp.action_values(table, values, gamma)
        values = (1 - epsilon) * q.max(axis=1) + epsilon * q.mean(axis=1)
    soft = (1 - epsilon) * np.eye(4)[q.argmax(axis=1)] + epsilon / 4
    np.testing.assert_allclose(values, dp.policy_values(table, soft, gamma), atol=1e-10)
    rng = np.random.default_rng(3)
    for _ in range(200):
        other = (1 - epsilon) * rng.dirichlet(np.full(4, 0.3), 16) + epsilon / 4
        assert np.all(dp.policy_values(table, other, gamma) <= values + 1e-12)


def test_the_schedule_halves_and_its_sum_has_no_end():
    epsilon = schedules.Harmonic(1.0, 100)
    times = np.arange(1_000_000)
    assert epsilon(np.array([0, 100, 900])).tolist() == [1.0, 0.5, 0.1]
    assert epsilon(times).sum() > 100 * np.log(1_000_000 / 100)
