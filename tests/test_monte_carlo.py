"""Monte Carlo prediction against plain references and against the exact values."""

import gymnasium
import numpy as np
import pytest
from probes import Probe, cut_short

from rlbook import dynamic_programming as dp
from rlbook.backends.local import Local
from rlbook.monte_carlo import evaluate_policy, first_visit_returns, sample_action
from rlbook_envs.chance import POLICY, stream_key
from rlbook_envs.compiled import compile

LAKE = "rlbook/FrozenLake-v0"


def plain_first_visit(states, rewards, last_value, gamma):
    """state: the return from its first visit on, from the definition of a return."""
    found = {}
    for t, state in enumerate(states):
        if state not in found:
            rest = rewards[t:]
            found[state] = sum(gamma**k * reward for k, reward in enumerate(rest))
            found[state] += gamma ** len(rest) * last_value
    return found


@pytest.mark.parametrize("function", [first_visit_returns, compile(first_visit_returns)])
def test_first_visit_returns_are_those_of_the_definition(function):
    rng = np.random.default_rng(0)
    for _ in range(100):
        length = int(rng.integers(1, 30))
        states, rewards = rng.integers(8, size=length), rng.normal(size=length)
        last_value, gamma = rng.normal(), rng.uniform()
        sums, counts = rng.normal(size=8), rng.integers(5, size=8)
        expected = plain_first_visit(states.tolist(), rewards, last_value, gamma)
        new_sums, new_counts = sums.copy(), counts.copy()
        function(states, rewards, last_value, gamma, new_sums, new_counts)
        met = np.isin(np.arange(8), list(expected))
        assert np.array_equal(new_counts - counts, met)
        assert np.allclose(new_sums - sums, [expected.get(state, 0.0) for state in range(8)])


def test_a_later_visit_does_not_count():
    sums, counts = np.zeros(2), np.zeros(2, np.int64)
    first_visit_returns(np.array([0, 1, 0]), np.array([1.0, 2.0, 4.0]), 0.0, 0.5, sums, counts)
    assert sums.tolist() == [3.0, 4.0] and counts.tolist() == [1, 1]


def test_actions_are_as_frequent_as_the_policy_says():
    policy, act, n = np.array([[0.1, 0.0, 0.6, 0.3]]), compile(sample_action), 20_000
    key = stream_key(1, POLICY, 0)
    counts = np.bincount([act(policy, 0, key, clock) for clock in range(n)], minlength=4)
    assert counts[1] == 0
    assert np.all(np.abs(counts - n * policy[0]) < 4 * np.sqrt(n * policy[0]) + 1)


@pytest.mark.parametrize("probabilities", [False, True])
def test_values_are_near_the_exact_ones(probabilities):
    table, gamma, episodes = dp.transition_table(LAKE), 0.9, 20_000
    policy = dp.value_iteration(table, gamma).policy
    if probabilities:
        policy = 0.7 * np.eye(4)[policy] + 0.3 / 4
    exact = dp.policy_values(table, policy, gamma)
    values, counts = evaluate_policy(LAKE, policy, episodes=episodes, gamma=gamma, num_envs=2)
    assert counts[0] == episodes
    assert np.array_equal(np.isnan(values), counts == 0)
    often = counts > 100
    # Returns lie between 0 and 1, so their standard deviation is at most √(v (1 - v)).
    standard_error = np.sqrt(exact * (1 - exact) / np.maximum(counts, 1))
    assert often.sum() >= 8
    assert np.all(np.abs(values - exact)[often] < 4.5 * standard_error[often])


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not():
    options = {"policy": np.array([0]), "episodes": 2000, "gamma": 0.5}
    endless = evaluate_policy(cut_short(lambda state, action: (0, 1.0, False), 3), **options)
    ended = evaluate_policy(cut_short(lambda state, action: (0, 1.0, True), 3), **options)
    assert endless.values[0] == pytest.approx(2.0, rel=0.01)  # cut off it would be 1.75
    assert ended.values[0] == 1.0


def test_a_state_that_was_never_met_has_no_value():
    make = lambda: Probe(lambda state, action: (2, 1.0, True), states=3)  # noqa: E731
    values, counts = evaluate_policy(make, np.zeros(3, int), episodes=5)
    assert values[0] == 1.0 and np.isnan(values[1:]).all()
    assert counts.tolist() == [5, 0, 0]


def test_more_environments_than_episodes_are_no_problem():
    policy = np.full((16, 4), 0.25)
    assert evaluate_policy(LAKE, policy, episodes=3, num_envs=5).counts[0] == 3


def test_long_episodes_are_kept_whole():
    make = cut_short(lambda state, action: (0, 1.0, False), 3000)
    values, counts = evaluate_policy(make, np.array([0]), episodes=1, gamma=1.0)
    assert values[0] == 3000.0 and counts[0] == 1


@pytest.mark.parametrize(
    "argument",
    [{"episodes": 0}, {"gamma": 1.5}, {"gamma": -0.1}, {"seed": -1}, {"num_envs": 0}],
)
def test_a_bad_argument_is_named_with_its_value(argument):
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=f"{name}={value} is not allowed"):
        evaluate_policy(LAKE, np.zeros(16, int), **argument)


@pytest.mark.parametrize(
    "policy",
    [
        np.zeros(15, int), np.full(16, 4), np.full(16, -1), np.zeros(16), np.full((16, 4), 0.3),
        np.full((4, 16), 1 / 16), np.tile([1.5, -0.5, 0.0, 0.0], (16, 1)), np.full((16, 4), np.nan),
        np.array("left"),
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(ValueError, match="is not allowed: 16 actions"):
        evaluate_policy(LAKE, policy)


def test_a_backend_given_by_name_is_closed_afterwards(monkeypatch):
    closed = []
    monkeypatch.setattr(Local, "close", lambda self: closed.append(self))
    mine = Local()
    evaluate_policy(LAKE, np.zeros(16, int), episodes=1, backend=mine)
    assert not closed
    evaluate_policy(LAKE, np.zeros(16, int), episodes=1, backend="local")
    assert closed and mine not in closed


def test_spaces_that_fit_no_table_are_refused():
    with pytest.raises(ValueError, match="needs observations that can be counted"):
        evaluate_policy(lambda: gymnasium.make("CartPole-v1"), np.zeros(4, int))
