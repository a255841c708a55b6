"""SARSA and its kin against their equations, against textbook loops, and at the cliff."""

import re

import numpy as np
import pytest
from probes import LAKE, on_policy_steps, short_lake

from rlbook import QLearning, Sarsa
from rlbook.algorithms.sarsa import (
    expected_sarsa_update,
    expected_value,
    sarsa_lambda_update,
    sarsa_update,
)
from rlbook.ops.returns import lambda_returns, n_step_return
from rlbook.tabular import dynamic_programming as dp
from rlbook.tabular.loop import Memory
from rlbook.tabular.policies import epsilon_greedy_probabilities
from rlbook_envs.compiled import compile


def transitions(count=200, states=5, actions=3):
    """Random q, S, A, R, S', A', terminated, α, γ, ε."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield (
            rng.normal(size=(states, actions)), int(rng.integers(states)),
            int(rng.integers(actions)), rng.normal(), int(rng.integers(states)),
            int(rng.integers(actions)), bool(rng.integers(2)), *rng.random(3).tolist(),
        )  # fmt: skip


# The rules


def test_update_is_equation_6_7():
    for q, s, a, r, next_s, next_a, terminated, alpha, gamma, _ in transitions():
        expected = q.copy()
        td_error = (r if terminated else r + gamma * q[next_s, next_a]) - q[s, a]
        expected[s, a] = q[s, a] + alpha * td_error
        assert sarsa_update(q, s, a, r, next_s, next_a, terminated, alpha, gamma) == td_error
        assert np.array_equal(q, expected)


def test_expected_update_is_equation_6_9():
    for q, s, a, r, next_s, _, terminated, alpha, gamma, epsilon in transitions():
        expected = q.copy()
        mean = sum(epsilon_greedy_probabilities(q[next_s], epsilon) * q[next_s])
        td_error = (r if terminated else r + gamma * mean) - q[s, a]
        expected[s, a] = q[s, a] + alpha * td_error
        got = expected_sarsa_update(q, s, a, r, next_s, terminated, alpha, gamma, epsilon)
        assert got == pytest.approx(td_error, rel=0, abs=1e-14)
        np.testing.assert_allclose(q, expected, rtol=0, atol=1e-14)


def test_expected_values_share_what_is_left_among_the_best():
    q = np.array([[1.0, 3.0, 3.0, 1.0]])
    assert expected_value(q, 0, 0.0) == 3.0 and expected_value(q, 0, 1.0) == 2.0
    assert expected_value(q, 0, 0.5) == 2.5


def test_n_step_returns_are_equation_7_4():
    rng = np.random.default_rng(0)
    for _ in range(100):
        rewards, last_value, gamma = rng.normal(size=rng.integers(1, 10)), *rng.random(2)
        n = len(rewards)
        expected = sum(gamma**k * rewards[k] for k in range(n)) + gamma**n * last_value
        assert n_step_return(rewards, last_value, gamma) == pytest.approx(expected, abs=1e-13)


def random_episode(length=40, states=4, actions=3):
    """S, A and R of every step, with many visits to the same pairs; one more S and A at the end."""
    rng = np.random.default_rng(2)
    return (
        rng.integers(states, size=length + 1).tolist(),
        rng.integers(actions, size=length + 1).tolist(),
        rng.normal(size=length).tolist(),
    )


def traces_of(length):
    return Memory(np.zeros(length, int), np.zeros(length, int), np.zeros(length), np.zeros(1, int))


def learn_with_traces(update, q, episode, terminated, alpha, gamma, lambda_):
    """One episode by `sarsa_lambda_update`: its TD errors, its traces, how often what changed."""
    states, actions, rewards = episode
    traces, visits = traces_of(len(rewards)), np.zeros(q.shape, np.int64)
    errors = [
        update(
            q, traces, visits, states[t], actions[t], reward, states[t + 1], actions[t + 1],
            terminated and t == len(rewards) - 1, alpha, gamma, lambda_,
        )
        for t, reward in enumerate(rewards)
    ]  # fmt: skip
    return errors, traces, visits


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("alpha, gamma, lambda_", [(0.3, 0.9, 0.8), (0.7, 1.0, 1.0), (1, 0.5, 0)])
@pytest.mark.parametrize("update", [sarsa_lambda_update, compile(sarsa_lambda_update)])
def test_accumulating_traces_are_equation_12_7(update, terminated, alpha, gamma, lambda_):
    """The reference keeps a trace for every pair there is: e ← γλe, e(S, A) += 1, q += αδe."""
    episode = states, actions, rewards = random_episode()
    q = np.random.default_rng(3).normal(size=(4, 3))
    mine, expected, trace, changes = q.copy(), q.copy(), np.zeros((4, 3)), np.zeros((4, 3), int)
    met = np.zeros((4, 3), bool)
    expected_errors = []
    for t, reward in enumerate(rewards):
        s, a, next_s, next_a = states[t], actions[t], states[t + 1], actions[t + 1]
        over = terminated and t == len(rewards) - 1
        td_error = reward + (0.0 if over else gamma * expected[next_s, next_a]) - expected[s, a]
        trace *= gamma * lambda_
        trace[s, a] += 1
        expected += alpha * td_error * trace
        met[s, a] = True
        changes += met
        expected_errors.append(td_error)
    errors, traces, visits = learn_with_traces(
        update, mine, episode, terminated, alpha, gamma, lambda_
    )
    assert errors == expected_errors
    assert np.array_equal(mine, expected)
    assert np.array_equal(visits, changes)
    count = traces.length[0]
    assert count == met.sum() < len(rewards)
    pairs = traces.rows[:count], traces.actions[:count]
    assert np.array_equal(traces.numbers[:count], trace[pairs])


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_the_backward_view_is_the_forward_view(terminated, lambda_):
    """While the table hardly moves, traces add up to the λ-returns' errors (S. and B., 12.2)."""
    episode = states, actions, rewards = random_episode()
    q, alpha, gamma = np.random.default_rng(3).normal(size=(4, 3)), 1e-8, 0.9
    discounts = np.full(len(rewards), gamma)
    if terminated:
        discounts[-1] = 0.0
    returns = lambda_returns(np.array(rewards), discounts, q[states[1:], actions[1:]], lambda_)
    forward, learned = np.zeros_like(q), q.copy()
    for s, a, target in zip(states, actions, returns, strict=False):
        forward[s, a] += target - q[s, a]
    learn_with_traces(sarsa_lambda_update, learned, episode, terminated, alpha, gamma, lambda_)
    np.testing.assert_allclose((learned - q) / alpha, forward, rtol=1e-5, atol=1e-5)


def test_with_lambda_0_it_is_sarsa():
    one, other = np.zeros((4, 3)), np.zeros((4, 3))
    episode = states, actions, rewards = random_episode()
    errors, _, _ = learn_with_traces(sarsa_lambda_update, one, episode, True, 0.5, 0.9, 0.0)
    for t, reward in enumerate(rewards):
        over = t == len(rewards) - 1
        pairs = states[t], actions[t], reward, states[t + 1], actions[t + 1]
        assert sarsa_update(other, *pairs, over, 0.5, 0.9) == errors[t]
    assert np.array_equal(one, other)


def test_a_terminated_step_is_worth_its_reward_alone():
    def after(update, *next_action, **options):
        q = np.full((2, 2), 10.0)
        update(q, 0, 0, 1.0, 1, *next_action, True, 1.0, 0.5, **options)
        update(q, 0, 1, 1.0, 1, *next_action, False, 1.0, 0.5, **options)
        return q[0].tolist()

    assert after(sarsa_update, 1) == [1.0, 6.0]
    assert after(expected_sarsa_update, epsilon=0.3) == [1.0, 6.0]


def test_compiled_rules_equal_the_python_rules():
    names = (sarsa_update, expected_sarsa_update, expected_value, n_step_return)
    sarsa, expected_sarsa, value, n_step = map(compile, names)
    for q, s, a, r, next_s, next_a, terminated, alpha, gamma, epsilon in transitions():
        tables = [q.copy() for _ in range(4)]
        rest = s, a, r, next_s, next_a, terminated, alpha, gamma
        assert sarsa(tables[0], *rest) == sarsa_update(tables[1], *rest)
        rest = s, a, r, next_s, terminated, alpha, gamma, epsilon
        assert expected_sarsa(tables[2], *rest) == expected_sarsa_update(tables[3], *rest)
        assert np.array_equal(tables[0], tables[1]) and np.array_equal(tables[2], tables[3])
        assert value(q, s, epsilon) == expected_value(q, s, epsilon)
        assert n_step(q[:, 0], r, gamma) == n_step_return(q[:, 0], r, gamma)


# The loops, as a textbook writes them

STEPS, ALPHA, GAMMA, EPSILON = 6000, 0.05, 0.99, 0.2


def textbook_sarsa(q, steps):
    for s, a, r, next_s, next_a, terminated, _ in steps:
        q[s, a] += ALPHA * ((r if terminated else r + GAMMA * q[next_s, next_a]) - q[s, a])


def textbook_expected_sarsa(q, steps):
    for s, a, r, next_s, _, terminated, _ in steps:
        mean = EPSILON * q[next_s].sum() / 4 + (1 - EPSILON) * q[next_s].max()
        q[s, a] += ALPHA * ((r if terminated else r + GAMMA * mean) - q[s, a])


def textbook_n_step_sarsa(q, steps, n, expected=False):
    """Keeps the whole episode, and learns about the time τ = t - n + 1 (S. and B., section 7.2)."""
    states, actions, rewards = [], [], []
    for s, a, r, next_s, next_a, terminated, ended in steps:
        states.append(s), actions.append(a), rewards.append(r)
        t, value = len(states) - 1, q[next_s, next_a]
        if expected:
            value = EPSILON * q[next_s].sum() / 4 + (1 - EPSILON) * q[next_s].max()
        for tau in range(max(t - n + 1, 0), t + 1 if ended else t - n + 2):
            target = 0.0 if terminated else value
            for reward in reversed(rewards[tau:]):
                target = reward + GAMMA * target
            q[states[tau], actions[tau]] += ALPHA * (target - q[states[tau], actions[tau]])
        if ended:
            states, actions, rewards = [], [], []


def textbook_sarsa_lambda(q, steps, lambda_):
    """With a trace for every pair (S. and B., section 12.7)."""
    trace = np.zeros_like(q)
    for s, a, r, next_s, next_a, terminated, ended in steps:
        td_error = (r if terminated else r + GAMMA * q[next_s, next_a]) - q[s, a]
        trace *= GAMMA * lambda_
        trace[s, a] += 1
        q += ALPHA * td_error * trace
        if ended:
            trace[:] = 0


@pytest.mark.parametrize("seed", [0, 77])
@pytest.mark.parametrize(
    "textbook, options",
    [
        (textbook_sarsa, {}),
        (textbook_expected_sarsa, {"expected": True}),
        (textbook_n_step_sarsa, {"n_step": 4}),
        (textbook_n_step_sarsa, {"n_step": 4, "expected": True}),
        (textbook_sarsa_lambda, {"lambda_": 0.8}),
    ],
)
def test_a_textbook_loop_gives_the_very_same_table(textbook, options, seed):
    q = np.zeros((12, 4))
    steps = on_policy_steps(q, seed, STEPS, EPSILON)
    if textbook is textbook_n_step_sarsa:
        textbook(q, steps, options["n_step"], options.get("expected", False))
    else:
        textbook(q, steps, *(value for name, value in options.items() if name == "lambda_"))
    agent = Sarsa(short_lake(), seed=seed, **options)
    agent.learn(STEPS)
    assert np.count_nonzero(agent.q) > 20
    if options.get("expected"):  # NumPy adds up four numbers in another order
        np.testing.assert_allclose(agent.q, q, rtol=0, atol=1e-12)
    else:
        assert np.array_equal(agent.q, q)


# At the cliff (Sutton and Barto, example 6.6)

CLIFF = "rlbook/CliffWalking-v0"


def best_of_the_soft(table, epsilon):
    """The best of the policies that are random with probability ε, by policy iteration."""
    policy, better = None, np.zeros(len(table.start), int)
    while policy is None or not np.array_equal(policy, better):
        policy = better
        soft = epsilon / 4 + (1 - epsilon) * np.eye(4)[policy]
        values = dp.policy_values(table, soft, gamma=1.0)
        better = dp.action_values(table, values, gamma=1.0).argmax(axis=1)
    return policy


def cells(table, policy):
    """The row and column of every cell on the policy's way home."""
    state, way = int(table.start.argmax()), []
    for _ in range(50):
        way.append(divmod(state, 12))
        outcome = state, policy[state], 0
        state = int(table.next_state[outcome])
        if table.terminated[outcome]:
            return way
    return None


def test_sarsa_takes_the_way_that_is_best_for_a_stumbler_and_q_learning_the_edge():
    table = dp.transition_table(CLIFF)
    safe, edge = cells(table, best_of_the_soft(table, 0.1)), [(3, 0), *((2, k) for k in range(12))]
    assert [row for row, _ in safe] == [3, 2, *[1] * 12, 2]  # one row away from the edge
    for seed in range(10):
        for agent, way in ((Sarsa, safe), (QLearning, edge)):
            learner = agent(CLIFF, seed=seed, learning_rate=0.02, gamma=1.0, epsilon=0.1)
            learner.learn(400_000)
            assert cells(table, learner.predict(np.arange(48))) == way, (seed, agent)


def test_online_q_learning_earns_less_than_sarsa():
    """The figure of example 6.6: about -25 for SARSA, and about -50 for Q-learning."""
    means = {}
    for agent in (Sarsa, QLearning):
        earned = []
        for seed in range(20):
            learner = agent(CLIFF, seed=seed, learning_rate=0.5, gamma=1.0, epsilon=0.1)
            earned.append(learner.learn(12_000).episode_returns[100:400].mean())
        means[agent] = np.mean(earned)
    assert means[Sarsa] == pytest.approx(-27, abs=5)
    assert means[QLearning] == pytest.approx(-50, abs=5)


# Errors


@pytest.mark.parametrize(
    "argument",
    [
        {"n_step": 0}, {"n_step": 2.5}, {"lambda_": -0.1}, {"lambda_": 1.5}, {"expected": 1},
        {"expected": "yes"}, {"learning_rate": None},
    ],
)  # fmt: skip
def test_a_bad_argument_is_named_with_its_value(argument):
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=rf"^{name}\b.*{re.escape(repr(value))}"):
        Sarsa(LAKE, **argument)


@pytest.mark.parametrize("other", [{"n_step": 2}, {"expected": True}])
def test_lambda_goes_with_nothing_else(other):
    with pytest.raises(ValueError, match=r"lambda_=0.5 is not allowed with n_step="):
        Sarsa(LAKE, lambda_=0.5, **other)
