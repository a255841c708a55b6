"""Chapter 02: its checkers, and its numbered equations written out against the library."""

import gymnasium
import numpy as np
import pytest
from checking import message_of

from rlbook.algorithms.sarsa import (
    expected_sarsa_update,
    expected_value,
    sarsa_lambda_update,
    sarsa_update,
)
from rlbook.check.sarsa import EXERCISES
from rlbook.ops.returns import n_step_return
from rlbook.tabular.loop import Memory
from rlbook.tabular.policies import epsilon_greedy_probabilities
from rlbook.tabular.temporal_difference import td_update

# What the book promises of every exercise that asks for an update. A state value has no actions.
OF_EVERY_UPDATE = {"discount dropped", "bootstrap through a terminal state", "sign", "off by one"}


# Solutions, each written out as its equation.


def my_td_update(values, obs, reward, next_obs, terminated, learning_rate, gamma):
    target = reward if terminated else reward + gamma * values[next_obs]
    td_error = target - values[obs]
    values[obs] = values[obs] + learning_rate * td_error
    return td_error


def my_sarsa_update(
    q, obs, action, reward, next_obs, next_action, terminated, learning_rate, gamma
):
    target = reward if terminated else reward + gamma * q[next_obs, next_action]
    td_error = target - q[obs, action]
    q[obs, action] = q[obs, action] + learning_rate * td_error
    return td_error


def my_expected_value(q, obs, epsilon):
    row = q[obs]
    best = np.flatnonzero(row == row.max())
    probabilities = np.full(len(row), epsilon / len(row))
    probabilities[best] += (1 - epsilon) / len(best)
    return sum(p * value for p, value in zip(probabilities, row, strict=True))


def my_expected_sarsa_update(
    q, obs, action, reward, next_obs, terminated, learning_rate, gamma, epsilon
):
    target = reward
    if not terminated:
        target += gamma * my_expected_value(q, next_obs, epsilon)
    td_error = target - q[obs, action]
    q[obs, action] += learning_rate * td_error
    return td_error


def my_n_step_return(rewards, last_value, gamma):
    n = len(rewards)
    return sum(gamma**k * rewards[k] for k in range(n)) + gamma**n * last_value


class WindyGridworld(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(70)
    action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row, self.column = 3, 0
        return 30, {}

    def step(self, action):
        wind = [0, 0, 0, 1, 1, 1, 2, 2, 1, 0][self.column]
        down, right = [(-1, 0), (0, 1), (1, 0), (0, -1)][action]
        self.row = int(np.clip(self.row + down - wind, 0, 6))
        self.column = int(np.clip(self.column + right, 0, 9))
        cell = 10 * self.row + self.column
        return cell, -1.0, cell == 37, False, {}


SOLUTIONS = {
    "td_update": my_td_update,
    "sarsa_update": my_sarsa_update,
    "expected_value": my_expected_value,
    "expected_sarsa_update": my_expected_sarsa_update,
    "n_step_return": my_n_step_return,
    "windy_gridworld": WindyGridworld,
}


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_planted_in_updates(name):
    names = [mistake.name for mistake in EXERCISES[name].mistakes]
    if name.endswith("update"):
        assert set(names) >= OF_EVERY_UPDATE
    if name.endswith("sarsa_update"):
        assert "wrong action's value" in names


def test_cases_hold_what_is_easily_got_wrong():
    for name, next_obs, terminated in (("td_update", 3, 4), ("sarsa_update", 4, 6)):
        cases = EXERCISES[name].cases
        assert {case[terminated] for case in cases} == {False, True}
        assert any(case[next_obs] == case[1] for case in cases), "a state that follows itself"
        assert any(not case[0].any() for case in cases), "an untouched table"
    cases = EXERCISES["sarsa_update"].cases
    assert any(case[0][case[4]].argmax() != case[5] for case in cases), "an action not greedy"
    rows = [case[0][case[1]] for case in EXERCISES["expected_value"].cases]
    assert {1, 2, 3} <= {int((row == row.max()).sum()) for row in rows}, "ties"
    assert any(row.max() < 0 for row in rows), "no action is worth as much as 0"
    cases = EXERCISES["n_step_return"].cases
    assert {len(rewards) for rewards, _, _ in cases} == {1, 2, 3, 4, 5, 6}
    assert any(last_value == 0 for _, last_value, _ in cases), "steps that led to the end"


def test_a_wrong_solution_is_shown_where_it_differs():
    def nudged(q, obs, action, *rest):
        td_error = my_sarsa_update(q, obs, action, *rest)
        q[obs, action] += 1e-3
        return td_error

    text = message_of("sarsa_update", nudged)
    assert "q afterwards should be" in text
    assert "  next_action = " in text


def test_a_world_that_begins_elsewhere():
    class FromTheCorner(WindyGridworld):
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.row = 0
            return 0, {}

    text = message_of("windy_gridworld", FromTheCorner)
    assert "reset() should give observation 30; yours gives observation 0" in text


def test_a_world_with_a_mistake_of_its_own():
    class Gust(WindyGridworld):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, -2.0, *rest

    text = message_of("windy_gridworld", Gust)
    assert "after reset(), the steps " in text
    assert "should give observation " in text
    assert "reward -1, terminated False, truncated False; yours gives" in text


def test_spaces_and_gymnasium_s_own_opinion():
    class Numbers(WindyGridworld):
        observation_space = gymnasium.spaces.Discrete(71)

    text = message_of("windy_gridworld", Numbers)
    assert "observation_space should be Discrete(70); yours is Discrete(71)" in text

    class NoInfo(WindyGridworld):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0]

    assert "check_env objects" in message_of("windy_gridworld", NoInfo)


# The chapter's equations, from left to right as they are printed there.


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def transition(rng, num_states=5, num_actions=3):
    """S_t, A_t, R_{t+1}, S_{t+1}, A_{t+1}, and whether S_{t+1} is terminal."""
    s, next_s = rng.integers(num_states, size=2).tolist()
    a, next_a = rng.integers(num_actions, size=2).tolist()
    return s, a, float(rng.normal()), next_s, next_a, bool(rng.random() < 0.3)


@pytest.mark.parametrize("update", [td_update, my_td_update])
def test_equation_2_1(update, rng):
    """v(S_t) ← v(S_t) + α [R_{t+1} + γ v(S_{t+1}) - v(S_t)], where v of a terminal state is 0."""
    for _ in range(200):
        v, alpha, gamma = rng.normal(size=5), rng.random(), rng.random()
        s, _, reward, next_s, _, terminal = transition(rng)
        v_next = 0.0 if terminal else v[next_s]
        right, delta = v.copy(), reward + gamma * v_next - v[s]
        right[s] = v[s] + alpha * delta
        assert update(v, s, reward, next_s, terminal, alpha, gamma) == pytest.approx(delta)
        np.testing.assert_allclose(v, right, rtol=1e-12)


@pytest.mark.parametrize("function", [n_step_return, my_n_step_return])
def test_equation_2_2(function, rng):
    """G = R_{t+1} + γ R_{t+2} + … + γ^{n-1} R_{t+n} + γ^n v(S_{t+n})."""
    for n in range(1, 9):
        rewards, v_last, gamma = rng.normal(size=n), float(rng.normal()), rng.random()
        total = 0.0
        for k in range(n):
            total += gamma**k * rewards[k]
        total += gamma**n * v_last
        assert function(rewards, v_last, gamma) == pytest.approx(total)


@pytest.mark.parametrize("update", [sarsa_update, my_sarsa_update])
def test_equation_2_3(update, rng):
    """q(S, A) ← q(S, A) + α [R + γ q(S', A') - q(S, A)], where q of a terminal state is 0."""
    for _ in range(200):
        q, alpha, gamma = rng.normal(size=(5, 3)), rng.random(), rng.random()
        s, a, reward, next_s, next_a, terminal = transition(rng)
        q_next = 0.0 if terminal else q[next_s, next_a]
        right, delta = q.copy(), reward + gamma * q_next - q[s, a]
        right[s, a] = q[s, a] + alpha * delta
        assert update(q, s, a, reward, next_s, next_a, terminal, alpha, gamma) == pytest.approx(
            delta
        )
        np.testing.assert_allclose(q, right, rtol=1e-12)


@pytest.mark.parametrize("update", [expected_sarsa_update, my_expected_sarsa_update])
def test_equation_2_4(update, rng):
    """q(S, A) ← q(S, A) + α [R + γ Σ_a π(a|S') q(S', a) - q(S, A)], with π ε-greedy in q."""
    for _ in range(200):
        q, alpha, gamma = rng.normal(size=(5, 3)), rng.random(), rng.random()
        epsilon = rng.random()
        s, a, reward, next_s, _, terminal = transition(rng)
        pi = epsilon_greedy_probabilities(q[next_s], epsilon)
        mean = 0.0
        for action in range(3):
            mean += pi[action] * q[next_s, action]
        right = q.copy()
        delta = reward + gamma * (0.0 if terminal else mean) - q[s, a]
        right[s, a] = q[s, a] + alpha * delta
        got = update(q, s, a, reward, next_s, terminal, alpha, gamma, epsilon)
        assert got == pytest.approx(delta)
        np.testing.assert_allclose(q, right, rtol=1e-12)


def test_expected_sarsa_s_target_is_the_mean_of_sarsa_s(rng):
    q, epsilon, gamma = rng.normal(size=(2, 3)), 0.3, 0.9
    pi = epsilon_greedy_probabilities(q[1], epsilon)
    errors = [sarsa_update(q.copy(), 0, 0, 1.0, 1, a, False, 0.5, gamma) for a in range(3)]
    mean = expected_sarsa_update(q.copy(), 0, 0, 1.0, 1, False, 0.5, gamma, epsilon)
    assert mean == pytest.approx(pi @ errors)
    assert expected_value(q, 1, epsilon) == pytest.approx(pi @ q[1])


def test_equation_2_5(rng):
    """e(s, a) ← γλ e(s, a) + [s = S_t, a = A_t], and q(s, a) ← q(s, a) + α δ_t e(s, a)."""
    alpha, gamma, lambda_ = 0.1, 0.9, 0.7
    q, e = rng.normal(size=(4, 2)), np.zeros((4, 2))
    library, visits = q.copy(), np.zeros((4, 2), np.int64)
    room = 30
    traces = Memory(np.zeros(room, int), np.zeros(room, int), np.zeros(room), np.zeros(1, int))
    s, a = 0, 0
    for t in range(room):  # one episode, in which every pair is met again and again
        next_s, next_a = int(rng.integers(4)), int(rng.integers(2))
        reward, terminal = float(rng.normal()), t == room - 1
        delta = reward + gamma * (0.0 if terminal else q[next_s, next_a]) - q[s, a]
        e = gamma * lambda_ * e
        e[s, a] += 1
        q = q + alpha * delta * e
        got = sarsa_lambda_update(
            library, traces, visits, s, a, reward, next_s, next_a, terminal, alpha, gamma, lambda_
        )
        assert got == pytest.approx(delta)
        np.testing.assert_allclose(library, q, rtol=1e-12)
        s, a = next_s, next_a
