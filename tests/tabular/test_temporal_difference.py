"""TD prediction: its rule, its loop, the exact values, and the figures of Sutton and Barto (2018).

Figure 6.2 compares TD(0) with constant-α Monte Carlo on the random walk of five states, figure 7.2
n-step TD on that of nineteen. Both show the root mean squared error over the states, averaged over
100 runs. What is asserted was read off them, and is met with room by 20 other sets of 100 runs.
"""

import re

import gymnasium
import numpy as np
import pytest
from probes import LAKE, Probe, cut_short

import rlbook_envs  # noqa: F401  (registers the worlds)
from rlbook.backends.local import Local
from rlbook.tabular import dynamic_programming as dp
from rlbook.tabular.policies import sample_action
from rlbook.tabular.temporal_difference import evaluate_policy, td_update
from rlbook_envs.compiled import compile
from rlbook_envs.streams import POLICY, stream_key

WALK = "rlbook/RandomWalk-v0"
ON = np.zeros(7, int)  # there is one action


def test_update_is_equation_6_2():
    rng, compiled = np.random.default_rng(0), compile(td_update)
    for _ in range(200):
        values, (obs, next_obs) = rng.normal(size=6), rng.integers(6, size=2).tolist()
        reward, alpha, gamma, terminated = rng.normal(), *rng.random(2), bool(rng.integers(2))
        expected, again = values.copy(), values.copy()
        td_error = reward + (0.0 if terminated else gamma * values[next_obs]) - values[obs]
        expected[obs] = values[obs] + alpha * td_error
        rest = obs, reward, next_obs, terminated, alpha, gamma
        assert td_update(values, *rest) == compiled(again, *rest) == td_error
        assert np.array_equal(values, expected) and np.array_equal(again, expected)


# The loop


def textbook(policy, n, seed, episodes, alpha, gamma):
    """The values after each episode, learned about the time τ = t - n + 1 (S. and B., 7.1)."""
    env, key = gymnasium.make(LAKE, max_episode_steps=12), stream_key(seed, POLICY, 0)
    values, history, counter = np.zeros(16), [np.zeros(16)], 0
    obs, _ = env.reset(seed=seed)
    for _ in range(episodes):
        states, rewards, ended = [], [], False
        while not ended:
            next_obs, reward, terminated, truncated, _ = env.step(
                sample_action(policy, obs, key, counter)
            )
            states.append(obs), rewards.append(reward)
            obs, counter, ended = next_obs, counter + 1, terminated or truncated
            t, last_value = len(states) - 1, 0.0 if terminated else values[next_obs]
            for tau in range(max(t - n + 1, 0), t + 1 if ended else t - n + 2):
                target = last_value
                for later in reversed(rewards[tau:]):
                    target = later + gamma * target
                values[states[tau]] += alpha * (target - values[states[tau]])
        history.append(values.copy())
        obs, _ = env.reset()
    return np.array(history)


@pytest.mark.parametrize("n", [1, 3, None])
def test_a_textbook_loop_gives_the_very_same_values(n):
    policy = np.random.default_rng(1).dirichlet(np.ones(4), size=16)
    env = gymnasium.make(LAKE, max_episode_steps=12)
    options = {"episodes": 500, "n_step": n, "learning_rate": 0.2, "gamma": 0.95, "seed": 6}
    found = evaluate_policy(env, policy, **options)
    assert found.shape == (1, 501, 16)
    assert np.array_equal(found[0], textbook(policy, n or 1000, 6, 500, 0.2, 0.95))
    assert np.count_nonzero(found[0, -1]) >= 8


def test_an_ordinary_environment_is_learned_on_as_well():
    env = gymnasium.make("FrozenLake-v1", is_slippery=False)
    down_and_right = dp.value_iteration(dp.transition_table(env)).policy
    for n_step in (1, 3, None):
        values = evaluate_policy(env, down_and_right, gamma=0.9, learning_rate=0.5, n_step=n_step)
        assert values[0, -1, [0, 14]] == pytest.approx([0.9**5, 1.0], rel=0.01)


@pytest.mark.parametrize("n_step", [1, 2, 7, None])
def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not(n_step):
    options = {"policy": np.array([0]), "episodes": 300, "gamma": 0.5, "n_step": n_step}
    endless = evaluate_policy(cut_short(lambda state, action: (0, 1.0, False), 3), **options)
    ended = evaluate_policy(cut_short(lambda state, action: (0, 1.0, True), 3), **options)
    assert endless[0, -1, 0] == pytest.approx(2.0, rel=0.01)  # cut off it would be 1.75 at most
    assert ended[0, -1, 0] == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("n_step", [1, 2, None])
def test_a_delayed_reward_is_discounted(n_step):
    make = lambda: Probe(lambda s, a: ((s + 1) % 3, float(s == 2), s == 2), 3)  # noqa: E731
    values = evaluate_policy(make, np.zeros(3, int), gamma=0.5, episodes=300, n_step=n_step)
    assert values[0, -1] == pytest.approx([0.25, 0.5, 1.0], rel=0.01)


def test_runs_are_independent_of_each_other_and_of_how_many_there_are():
    few = evaluate_policy(WALK, ON, runs=3, episodes=20, seed=5)
    many = evaluate_policy(WALK, ON, runs=60, episodes=20, seed=5)  # in several tasks
    assert np.array_equal(many[:3], few)
    assert len({run.tobytes() for run in many}) == 60
    assert not np.array_equal(evaluate_policy(WALK, ON, runs=3, episodes=20, seed=6), few)


def test_it_begins_with_the_initial_values_and_leaves_them_alone():
    start = np.linspace(0.0, 1.0, 7)
    values = evaluate_policy(WALK, ON, runs=2, episodes=5, initial_values=start)
    assert np.array_equal(values[:, 0], [start, start])
    assert np.array_equal(start, np.linspace(0.0, 1.0, 7))
    assert np.all(evaluate_policy(WALK, ON, episodes=1, initial_values=0.5)[0, 0] == 0.5)
    unmoved = evaluate_policy(WALK, ON, episodes=5, initial_values=0.5, learning_rate=0.0)
    assert np.all(unmoved == 0.5)


# The right answers


def exact(num_states, left):
    """The values between the ends, from the Bellman equation."""
    env = gymnasium.make(WALK, num_states=num_states, left_reward=left)
    values = dp.policy_values(dp.transition_table(env), np.zeros(num_states + 2, int), gamma=1.0)
    return values[1:-1]


def test_the_values_of_the_walks_are_those_of_the_book():
    np.testing.assert_allclose(exact(5, 0.0), np.arange(1, 6) / 6, rtol=0, atol=1e-12)
    np.testing.assert_allclose(exact(19, -1.0), np.arange(-9, 10) / 10, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_step", [1, 4, None])
def test_every_method_converges_to_the_exact_values(n_step):
    """With small steps, the mean over 1,000 runs; its standard error is at most 0.004."""
    options = {"n_step": n_step, "learning_rate": 0.02, "episodes": 1000, "runs": 1000}
    values = evaluate_policy(WALK, ON, gamma=1.0, initial_values=0.5, **options)[:, -1, 1:-1]
    np.testing.assert_allclose(values.mean(axis=0), exact(5, 0.0), rtol=0, atol=0.016)


def test_with_a_policy_that_chooses_values_are_near_the_exact_ones():
    table, policy = dp.transition_table(LAKE), np.full((16, 4), 0.25)
    policy[:, 1:3] += [0.2, -0.2]
    values = evaluate_policy(LAKE, policy, gamma=0.9, episodes=20_000, learning_rate=0.02, runs=20)
    true = dp.policy_values(table, policy, 0.9)
    np.testing.assert_allclose(values[:, -1].mean(axis=0), true, rtol=0.2, atol=0.005)


def errors(num_states, left, **options):
    """The root mean squared error over states after each episode, averaged over 100 runs."""
    env = gymnasium.make(WALK, num_states=num_states, left_reward=left)
    policy = np.zeros(num_states + 2, int)
    values = evaluate_policy(env, policy, gamma=1.0, runs=100, **options)[:, :, 1:-1]
    return np.sqrt(((values - exact(num_states, left)) ** 2).mean(axis=2)).mean(axis=0)


# α and n: the error after 10, 25 and 100 episodes, as far as one can read it off figure 6.2
TD, MONTE_CARLO = 1, None
FIGURE_6_2 = {
    (0.15, TD): (0.095, 0.06, 0.07),
    (0.1, TD): (0.13, 0.06, 0.055),
    (0.05, TD): (0.175, 0.11, 0.035),
    (0.01, MONTE_CARLO): (0.21, 0.18, 0.1),
    (0.02, MONTE_CARLO): (0.2, 0.155, 0.08),
    (0.03, MONTE_CARLO): (0.19, 0.14, 0.09),
    (0.04, MONTE_CARLO): (0.18, 0.135, 0.105),
}


def test_the_curves_are_those_of_figure_6_2():
    curves = {
        (alpha, n): errors(5, 0.0, learning_rate=alpha, n_step=n, episodes=100, initial_values=0.5)
        for alpha, n in FIGURE_6_2
    }
    for which, read in FIGURE_6_2.items():
        assert curves[which][0] == pytest.approx(np.sqrt(5 / 18 / 5))  # all are 1/2
        assert curves[which][[10, 25, 100]] == pytest.approx(read, abs=0.02), which
    best = {
        n: np.min([curve for (_, other), curve in curves.items() if other == n], axis=0)
        for n in (TD, MONTE_CARLO)
    }
    assert np.all(best[TD][2:] < best[MONTE_CARLO][2:])  # "TD was consistently better"
    # A larger α is faster, and ends higher.
    assert curves[0.15, TD][10] < curves[0.1, TD][10] < curves[0.05, TD][10]
    assert curves[0.15, TD][100] > curves[0.1, TD][100] > curves[0.05, TD][100]


def test_the_u_curves_are_those_of_figure_7_2():
    """The error over the first ten episodes: lowest for n = 4 and α near 0.4, about 0.26."""
    found = {
        (n, alpha): errors(19, -1.0, n_step=n, learning_rate=alpha, episodes=10)[1:].mean()
        for n in (1, 2, 4, 8, 16, 64, 512)
        for alpha in np.arange(1, 11) / 10
    }
    best = {n: min(e for (other, _), e in found.items() if other == n) for n, _ in found}
    assert min(best, key=best.__getitem__) == 4
    n, alpha = min(found, key=found.__getitem__)
    assert n == 4 and 0.3 <= alpha <= 0.5
    read = {1: 0.345, 2: 0.275, 4: 0.26, 8: 0.28, 16: 0.325, 64: 0.45}
    assert {n: best[n] for n in read} == pytest.approx(read, abs=0.02)
    assert best[512] > 0.53  # at the upper edge of the figure
    # Each curve is a U: large steps cost the more, the more rewards are counted.
    assert [found[n, 1.0] for n in best] == sorted(found[n, 1.0] for n in best)


# Arguments


@pytest.mark.parametrize(
    "argument",
    [
        {"episodes": 0}, {"runs": 0}, {"n_step": 0}, {"n_step": 1.5}, {"n_step": -1}, {"seed": -1},
        {"learning_rate": 1.5}, {"learning_rate": None}, {"gamma": -0.1}, {"backend": "cluster"},
    ],
)  # fmt: skip
def test_a_bad_argument_is_named_with_its_value(argument):
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=rf"^{name}\b.*{re.escape(repr(value))}"):
        evaluate_policy(WALK, ON, **argument)


@pytest.mark.parametrize("bad", [np.zeros(5), np.zeros((7, 1)), np.nan, "much"])
def test_initial_values_are_a_number_or_one_for_each_state(bad):
    with pytest.raises(ValueError, match=r"initial_values must be .* of shape \(7,\), got "):
        evaluate_policy(WALK, ON, initial_values=bad)


@pytest.mark.parametrize("policy", [np.zeros(5, int), np.ones(7, int), np.full((7, 1), 0.5)])
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(ValueError, match=r"policy must be 7 actions, .*, got an array of dtype "):
        evaluate_policy(WALK, policy)


def test_a_backend_given_by_name_is_closed_afterwards(monkeypatch):
    closed = []
    monkeypatch.setattr(Local, "close", lambda self: closed.append(self))
    mine = Local()
    evaluate_policy(WALK, ON, episodes=1, backend=mine)
    assert not closed
    evaluate_policy(WALK, ON, episodes=1, backend="local")
    assert closed and mine not in closed
