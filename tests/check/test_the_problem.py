"""Chapter 00: its checkers, and its numbered equations written out against the library."""

import gymnasium
import numpy as np
import pytest
from checking import message_of

from rlbook.check.the_problem import EXERCISES
from rlbook.ops.returns import discounted_returns
from rlbook.tabular import dynamic_programming as dp

# What the book promises of every exercise that asks for values, and of the bandit's update.
OF_EVERY_VALUE = {
    "discount dropped",
    "bootstrap through a terminal state",
    "wrong action's value",
    "sign",
    "off by one",
}
OF_THE_BANDIT = {"wrong action's value", "sign", "off by one", "step size dropped"}


# Solutions, each written out as its equation.


def my_discounted_return(rewards, gamma):
    total = 0.0
    for k, reward in enumerate(rewards):
        total += gamma**k * reward
    return total


def my_bandit_update(estimates, counts, action, reward):
    error = reward - estimates[action]
    estimates[action] += error / counts[action]
    return error


def my_action_value(table, values, gamma, s, a):
    """Equation (0.4), one term after the other."""
    total = 0.0
    for k in range(table.probability.shape[2]):
        following = 0.0 if table.terminated[s, a, k] else values[table.next_state[s, a, k]]
        total += table.probability[s, a, k] * (table.reward[s, a, k] + gamma * following)
    return total


def my_action_values(table, values, gamma):
    states, actions, _ = table.probability.shape
    rows = [
        [my_action_value(table, values, gamma, s, a) for a in range(actions)] for s in range(states)
    ]
    return np.array(rows)


def my_sweep(table, values, gamma):
    return my_action_values(table, values, gamma).max(axis=1)


def my_greedy_policy(table, values, gamma):
    return my_action_values(table, values, gamma).argmax(axis=1)


def my_policy_values(table, policy, gamma):
    values, change = np.zeros(len(policy)), 1.0
    while change > 1e-14:
        new = (policy * my_action_values(table, values, gamma)).sum(axis=1)
        values, change = new, np.abs(new - values).max()
    return values


class Bandit(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(1)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        wins = self.np_random.random() < [0.2, 0.5, 0.8][action]
        return 0, float(wins), True, False, {}


SOLUTIONS = {
    "discounted_return": my_discounted_return,
    "bandit_update": my_bandit_update,
    "value_iteration_sweep": my_sweep,
    "greedy_policy": my_greedy_policy,
    "policy_values": my_policy_values,
    "my_bandit": Bandit,
}


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_planted_in_updates(name):
    names = [mistake.name for mistake in EXERCISES[name].mistakes]
    if name in ("value_iteration_sweep", "policy_values"):
        assert set(names) >= OF_EVERY_VALUE
    if name == "bandit_update":
        assert set(names) >= OF_THE_BANDIT


def test_cases_hold_what_is_easily_got_wrong():
    lengths = {len(rewards) for rewards, _ in EXERCISES["discounted_return"].cases}
    assert lengths == set(range(1, 8))
    counts = [counts[action] for _, counts, action, _ in EXERCISES["bandit_update"].cases]
    assert min(counts) == 1 and max(counts) > 1, "a first pull, and later ones"
    for name in ("value_iteration_sweep", "greedy_policy", "policy_values"):
        for table, second, _ in EXERCISES[name].cases:
            np.testing.assert_allclose(table.probability.sum(axis=2), 1)
            if name == "policy_values":
                np.testing.assert_allclose(second.sum(axis=1), 1)
    cases = EXERCISES["greedy_policy"].cases
    best = [(q == q.max(axis=1, keepdims=True)).sum(axis=1) for q in map(my_q, cases)]
    assert max(map(max, best)) > 1, "ties"


def my_q(case):
    return my_action_values(*case)


def test_a_wrong_solution_is_shown_where_it_differs():
    text = message_of("value_iteration_sweep", lambda *arguments: my_sweep(*arguments) + 1e-3)
    for part in ("probability", "next_state", "reward", "terminated", "start"):
        assert f"  table.{part} =\n    [" in text
    assert "  values = [" in text and "  gamma = 0." in text


def test_a_sweep_that_changes_its_input():
    def into_values(table, values, gamma):
        values[:] = my_sweep(table, values, gamma)
        return values

    assert "changes values, which must stay as it is" in message_of(
        "value_iteration_sweep", into_values
    )


def test_a_sweep_without_a_return():
    assert "Is there a `return`?" in message_of("value_iteration_sweep", lambda *arguments: None)


def test_a_bandit_with_a_mistake_of_its_own():
    class Generous(Bandit):
        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, 2 * reward, *rest

    text = message_of("my_bandit", Generous)
    assert "arm " in text
    assert "should give observation 0, reward 1, terminated True, truncated False; yours" in text


def test_a_bandit_with_dice_of_its_own():
    dice = np.random.default_rng(3)

    class OwnDice(Bandit):
        def step(self, action):
            return 0, float(dice.random() < [0.2, 0.5, 0.8][action]), True, False, {}

    assert "two games with the same seed differ" in message_of("my_bandit", OwnDice)


def test_spaces_and_gymnasium_s_own_opinion():
    class FourArms(Bandit):
        action_space = gymnasium.spaces.Discrete(4)

    text = message_of("my_bandit", FourArms)
    assert "action_space should be Discrete(3); yours is Discrete(4)" in text

    class NoInfo(Bandit):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0]

    assert "check_env objects" in message_of("my_bandit", NoInfo)
    assert "makes a list, not a gymnasium.Env" in message_of("my_bandit", list)


# The chapter's equations, from left to right as they are printed there.


def worlds(number=50):
    """Random tables, values, policies and discounts."""
    rng = np.random.default_rng(1)
    for _ in range(number):
        table, policy, gamma = EXERCISES["policy_values"].case(rng)
        yield table, rng.normal(size=len(policy)), policy, gamma


def test_equation_0_1():
    """G_t = R_{t+1} + γ R_{t+2} + γ² R_{t+3} + … = R_{t+1} + γ G_{t+1}."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        rewards, gamma = rng.normal(size=6), rng.random()
        total = my_discounted_return(rewards, gamma)
        later = my_discounted_return(rewards[1:], gamma)
        assert total == pytest.approx(rewards[0] + gamma * later)
        assert total == pytest.approx(EXERCISES["discounted_return"].reference(rewards, gamma))
        discounts = np.append(np.full(5, gamma), 0.0)
        assert total == pytest.approx(discounted_returns(rewards, discounts, 0.0)[0])


def test_equation_0_2():
    """v(s) = Σ_a π(a|s) Σ_{s', r} p(s', r|s, a) [r + γ v(s')], of the values of π."""
    for table, _, policy, gamma in worlds():
        v = dp.policy_values(table, policy, gamma)
        for s, value in enumerate(v):
            right = 0.0
            for a, probability in enumerate(policy[s]):
                right += probability * my_action_value(table, v, gamma, s, a)
            assert value == pytest.approx(right)


def test_equation_0_3():
    """v(s) = max_a Σ_{s', r} p(s', r|s, a) [r + γ v(s')], of the optimal values."""
    for table, _, _, gamma in worlds():
        v = dp.value_iteration(table, gamma).values
        for s, value in enumerate(v):
            actions = range(table.probability.shape[1])
            right = max(my_action_value(table, v, gamma, s, a) for a in actions)
            assert value == pytest.approx(right)


def test_equation_0_4():
    """q(s, a) = Σ_{s', r} p(s', r|s, a) [r + γ v(s')]."""
    for table, values, _, gamma in worlds():
        q = dp.action_values(table, values, gamma)
        for s, a in np.ndindex(q.shape):
            assert q[s, a] == pytest.approx(my_action_value(table, values, gamma, s, a))


def test_equation_0_5():
    """Q ← Q + (R - Q) / N: the mean of all rewards so far."""
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=30)
    for update in (my_bandit_update, EXERCISES["bandit_update"].reference):
        estimates, counts = np.zeros(2), np.zeros(2, np.int64)
        for n, reward in enumerate(rewards, start=1):
            counts[1] += 1
            before = estimates[1]
            assert update(estimates, counts, 1, reward) == pytest.approx(reward - before)
            np.testing.assert_allclose(estimates, [0.0, rewards[:n].mean()])
