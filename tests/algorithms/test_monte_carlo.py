"""Monte Carlo prediction and control against plain references and against the exact values."""

import re
from collections import defaultdict

import gymnasium
import numpy as np
import pytest
from probes import LAKE, Probe, begin, cut_short, on_policy_steps, short_lake

from rlbook import MonteCarlo
from rlbook.algorithms.monte_carlo import monte_carlo_update
from rlbook.backends.local import Local
from rlbook.schedules import Exponential, Linear
from rlbook.tabular import dynamic_programming as dp
from rlbook.tabular.monte_carlo_prediction import evaluate_policy, first_visit_returns
from rlbook.tabular.policies import epsilon_greedy, sample_action
from rlbook_envs.compiled import compile
from rlbook_envs.streams import POLICY, stream_key


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
    counts = np.bincount([act(policy, 0, key, counter) for counter in range(n)], minlength=4)
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
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got {value}$"):
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
    with pytest.raises(ValueError, match=r"policy must be 16 actions, .*, got an array of dtype "):
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
    with pytest.raises(ValueError, match=r"^observation_space must be Discrete, "):
        evaluate_policy(lambda: gymnasium.make("CartPole-v1"), np.zeros(4, int))


# Control: the rule


def returns_after(rewards, last_value, gamma):
    """G_t of every step, from the definition of a return."""
    ends = range(len(rewards))
    return [
        sum(gamma ** (k - t) * rewards[k] for k in range(t, len(rewards)))
        + gamma ** (len(rewards) - t) * last_value
        for t in ends
    ]


@pytest.mark.parametrize("first_visit", [True, False])
@pytest.mark.parametrize("alpha", [0.3, 1.0, None])
@pytest.mark.parametrize("update", [monte_carlo_update, compile(monte_carlo_update)])
def test_update_is_that_of_section_5_4(update, alpha, first_visit):
    """The box goes through the episode from its end, and asks whether the pair came before."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        length = int(rng.integers(1, 30))
        states, actions = rng.integers(4, size=length), rng.integers(2, size=length)
        rewards, (last_value, gamma) = rng.normal(size=length), rng.random(2)
        q, visits = rng.normal(size=(4, 2)), rng.integers(5, size=(4, 2))
        expected, expected_visits, error = q.copy(), visits.copy(), 0.0
        pairs = list(zip(states.tolist(), actions.tolist(), strict=True))
        returns = returns_after(rewards, last_value, gamma)
        for t in reversed(range(length)):
            pair = pairs[t]
            if first_visit and pair in pairs[:t]:
                continue
            expected_visits[pair] += 1
            step_size = 1 / expected_visits[pair] if alpha is None else alpha
            error += abs(returns[t] - expected[pair])
            expected[pair] += step_size * (returns[t] - expected[pair])
        got = update(q, visits, states, actions, rewards, last_value, alpha, gamma, first_visit)
        assert got == pytest.approx(error, abs=1e-11)
        np.testing.assert_allclose(q, expected, rtol=0, atol=1e-12)
        assert np.array_equal(visits, expected_visits)


def test_compiled_update_equals_the_python_function():
    compiled, rng = compile(monte_carlo_update), np.random.default_rng(1)
    for case in range(100):
        length = int(rng.integers(1, 30))
        pairs, rewards = rng.integers([[4], [2]], size=(2, length)), rng.normal(size=length)
        last_value, gamma = rng.random(2)
        rest = rewards, last_value, (None, 0.3)[case % 2], gamma, bool(case % 3)
        q, visits = rng.normal(size=(4, 2)), rng.integers(5, size=(4, 2))
        mine, my_visits = q.copy(), visits.copy()
        error = monte_carlo_update(q, visits, *pairs, *rest)
        assert compiled(mine, my_visits, *pairs, *rest) == error
        assert np.array_equal(q, mine) and np.array_equal(visits, my_visits)


# Control: the loop


def textbook(q, steps, returns_of, first_visit, alpha, gamma=0.99):
    """On-policy control as the box of section 5.4 has it; `returns_of` keeps lists of returns."""
    episode = []
    for s, a, r, next_s, next_a, terminated, ended in steps:
        episode.append((s, a, r))
        if not ended:
            continue
        following = 0.0 if terminated else q[next_s, next_a]
        for t in range(len(episode) - 1, -1, -1):
            s, a, r = episode[t]
            following = r + gamma * following
            if first_visit and (s, a) in [pair[:2] for pair in episode[:t]]:
                continue
            returns_of[s, a].append(following)
            if alpha is None:
                q[s, a] = np.mean(returns_of[s, a])
            else:
                q[s, a] += alpha * (following - q[s, a])
        episode = []


@pytest.mark.parametrize("seed", [0, 77])
@pytest.mark.parametrize("first_visit", [True, False])
@pytest.mark.parametrize("alpha", [0.1, None])
def test_a_textbook_loop_gives_the_very_same_table(alpha, first_visit, seed):
    q, returns_of = np.zeros((12, 4)), defaultdict(list)
    textbook(q, on_policy_steps(q, seed, 6000, 0.2), returns_of, first_visit, alpha)
    agent = MonteCarlo(
        short_lake(), seed=seed, learning_rate=alpha, first_visit=first_visit, epsilon=0.2
    )
    agent.learn(6000)
    assert np.count_nonzero(agent.q) > 20
    if alpha is None:  # a mean of all at once rounds otherwise than one that is carried on
        np.testing.assert_allclose(agent.q, q, rtol=0, atol=1e-12)
    else:
        assert np.array_equal(agent.q, q)
    for pair, seen in returns_of.items():
        assert agent._counts[pair] == len(seen)


def all_returns(seed, number, steps, gamma):
    """The first-visit returns that one environment of a run sees under a random policy."""
    env, key = gymnasium.make(LAKE, max_episode_steps=10_000), stream_key(seed, POLICY, number)
    obs = begin(env, seed, number)
    q, episode, found = np.zeros((16, 4)), [], defaultdict(list)
    for t in range(steps):
        action = epsilon_greedy(q, obs, 1.0, key, t)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        assert not truncated
        episode.append((obs, action, reward))
        obs = next_obs
        if terminated:
            pairs = [pair[:2] for pair in episode]
            for pair in set(pairs):
                first = pairs.index(pair)
                rewards = [reward for *_, reward in episode[first:]]
                found[pair].append(sum(gamma**k * reward for k, reward in enumerate(rewards)))
            obs, episode = env.reset()[0], []
    return found


@pytest.mark.parametrize("table", ["dense", "hash"])
def test_means_of_several_environments_are_the_mean_of_all_their_returns(table):
    """Whenever and however often the environments' tables became one."""
    runs = [all_returns(seed=6, number=number, steps=4000, gamma=0.9) for number in range(3)]
    agent = MonteCarlo(
        gymnasium.make(LAKE, max_episode_steps=10_000), seed=6, num_envs=3, sync_every=70,
        learning_rate=None, epsilon=1.0, gamma=0.9, table=table,
    )  # fmt: skip
    agent.learn(3 * 4000)
    values, met = agent.action_values(np.arange(16)), np.zeros((16, 4), bool)
    for pair in set().union(*runs):
        pooled = [one for run in runs for one in run[pair]]
        assert values[pair] == pytest.approx(np.mean(pooled), rel=0, abs=1e-12)
        met[pair] = len(pooled) > 0
    assert met.sum() == 4 * 11  # every action in every state where there is one to take
    assert not values[~met].any()


@pytest.mark.parametrize("fading", [Linear(0.1, 0.0, 1000), Exponential(0.1, 0.0, 0.9)])
def test_when_the_step_size_has_faded_to_0_nothing_moves(fading):
    agent = MonteCarlo(LAKE, learning_rate=fading, seed=1, initial_value=0.5)
    agent.learn(1000)
    q = agent.q.copy()
    assert np.any(q != 0.5)
    agent.learn(5000)
    assert agent.history.episode_returns[-300:].any()
    assert np.array_equal(agent.q, q)


@pytest.mark.parametrize("argument", [{"first_visit": 1}, {"first_visit": "every"}])
def test_a_bad_argument_of_control_is_named_with_its_value(argument):
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got {re.escape(repr(value))}$"):
        MonteCarlo(LAKE, **argument)
