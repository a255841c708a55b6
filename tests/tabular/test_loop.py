"""Tests of the behaviour policy, the training loop, and the averages of tables."""

import numpy as np
import pytest
from probes import METHODS, agent_of, begin, short_lake

from rlbook import QLearning
from rlbook.algorithms.monte_carlo import monte_carlo_update
from rlbook.envs.making import env_maker
from rlbook.schedules import Harmonic, Linear
from rlbook.tabular.averaging import average_tables, merge
from rlbook.tabular.interface import interface
from rlbook.tabular.learner import Learned, Learner, Work
from rlbook.tabular.loop import Memory, make_loop
from rlbook.tabular.policies import epsilon_greedy, epsilon_greedy_probabilities
from rlbook_envs.compiled import compile
from rlbook_envs.streams import ENVIRONMENT, POLICY, stream_key

# The behaviour policy


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("row", [(0.0, 3.0, 1.0, 2.0), (2.0, 1.0, 2.0, 2.0), (0.0, 0.0, 0.0, 0.0)])
def test_actions_are_as_frequent_as_their_probabilities(row, epsilon):
    q, act, n = np.array([row]), compile(epsilon_greedy), 20_000
    key = stream_key(3, POLICY, 0)
    counts = np.bincount([act(q, 0, epsilon, key, counter) for counter in range(n)], minlength=4)
    expected = n * epsilon_greedy_probabilities(q[0], epsilon)
    assert not counts[expected == 0].any()
    possible = expected > 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 21.1  # three degrees of freedom: above this once in ten thousand


def test_probabilities_share_what_is_left_among_the_best():
    tied = epsilon_greedy_probabilities(np.array([1.0, 5.0, 5.0, 5.0]), 0.4)
    assert np.allclose(tied, [0.1, 0.3, 0.3, 0.3])


def test_compiled_epsilon_greedy_equals_the_python_function():
    act, rng = compile(epsilon_greedy), np.random.default_rng(2)
    for counter in range(2000):
        q = rng.integers(3, size=(4, 5)).astype(float)  # with many ties
        case = (q, int(rng.integers(4)), rng.uniform(), stream_key(counter % 7, POLICY, 0), counter)
        assert act(*case) == epsilon_greedy(*case)


# The loop


@pytest.mark.parametrize("name", METHODS)
def test_compiled_loop_equals_the_python_loop(name):
    face, steps = interface(env_maker(short_lake()), 0), 2000
    keys = stream_key(5, ENVIRONMENT, 0), stream_key(5, POLICY, 0)
    agent = agent_of(name, short_lake())
    method = agent._method()
    learn = method.make_learn(*method.parts)
    python = make_loop(*face.rules, method.act, learn, method.on_policy)
    results = []
    for loop in (python, compile(python)):
        q = np.zeros((12, *agent._row_shape()))
        memory = Memory(*(np.zeros(steps, kind) for kind in (int, int, float)), np.zeros(1, int))
        changed = q, np.zeros(q.shape, np.int64), memory
        ended_at, lengths, returns = np.zeros(steps, int), np.zeros(steps, int), np.zeros(steps)
        schedules = np.linspace(0.9, 0.1, steps), np.linspace(0.5, 0.1, steps), 0.99
        where = loop(
            face.env, face.limit, *keys, -1, -1, 0, 0.0, 0,
            *changed, ended_at, returns, lengths, *schedules,
        )  # fmt: skip
        arrays = *changed[:2], *memory, ended_at, returns, lengths
        results.append([*map(np.ndarray.tolist, arrays), *where])
    assert face.compiled
    assert results[0] == results[1]
    assert np.count_nonzero(results[0][0]) > 10


def test_a_schedule_counts_the_steps_of_all_environments():
    """Environment i takes the steps i, i + n, i + 2n, … of the run, from those already taken on."""
    n, before, steps, seed = 3, 600, 400, 5
    epsilon, alpha = Linear(1.0, 0.1, 2000), Harmonic(0.5, 300)
    agent = QLearning(short_lake(), num_envs=n, epsilon=epsilon, learning_rate=alpha)
    shares, states = [list(range(n))], [None] * n
    worker = Learner(0, shares, short_lake, seed, agent._method(), agent.settings, states)
    copies, *_ = worker.learn(Work(np.zeros((12, 4)), None, None, before, steps))
    for number, copy in enumerate(copies):
        env, q, key = short_lake(), np.zeros((12, 4)), stream_key(seed, POLICY, number)
        obs = begin(env, seed, number)
        for t in range(steps):
            now = before + t * n + number
            action = epsilon_greedy(q, obs, max(0.1, 1 - 0.9 * now / 2000), key, t)
            next_obs, reward, terminated, truncated, _ = env.step(action)
            target = reward if terminated else reward + 0.99 * q[next_obs].max()
            q[obs, action] += 0.5 / (1 + now / 300) * (target - q[obs, action])
            obs = env.reset()[0] if terminated or truncated else next_obs
        np.testing.assert_allclose(copy.q, q, rtol=0, atol=1e-12)
        assert np.count_nonzero(q) > 3


# One table from several


def plain_average(q, tables, visits):
    mean = q.copy()
    for entry in np.ndindex(q.shape):
        total = sum(int(count[entry]) for count in visits)
        if total:
            weighted = zip(tables, visits, strict=True)
            mean[entry] = sum(t[entry] * (int(n[entry]) / total) for t, n in weighted)
    return mean


def test_average_weights_each_copy_by_its_visits():
    rng = np.random.default_rng(3)
    q, tables = rng.normal(size=(6, 3)), rng.normal(size=(4, 6, 3))
    visits = rng.integers(3, size=(4, 6, 3))
    visits[:, 0] = 0
    assert np.array_equal(average_tables(q, tables, visits), plain_average(q, tables, visits))


def test_average_of_one_visitor_is_its_copy_and_of_none_the_old_value():
    rng = np.random.default_rng(4)
    q, tables = rng.normal(size=(6, 3)), rng.normal(size=(4, 6, 3))
    visits = np.zeros((4, 6, 3), np.int64)
    visits[2, :5] = 7
    mean = average_tables(q, tables, visits)
    assert np.array_equal(mean[:5], tables[2, :5])
    assert np.array_equal(mean[5:], q[5:])


def test_copies_that_take_means_are_put_together_as_the_mean_of_all_samples():
    """Four copies go on from the mean of old samples, each with a number of its own."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        old = [rng.normal(size=rng.integers(4)) for _ in range(6)]
        new = [[rng.normal(size=rng.integers(4)) for _ in range(6)] for _ in range(4)]
        q = np.array([[sample.mean() if len(sample) else 9.0] for sample in old])
        counts = np.array([[len(sample)] for sample in old])
        tables, visits = np.stack([q] * 4), np.zeros((4, 6, 1), np.int64)
        for table, count, samples in zip(tables, visits, new, strict=True):
            seen = counts.copy()
            for state, sample in enumerate(samples):
                for value in sample:  # an episode of one step: its return is its reward
                    episode = np.array([state]), np.array([0]), np.array([value])
                    monte_carlo_update(table, seen, *episode, 0.0, None, 1.0, True)
            count[:] = seen - counts
        pooled = [np.concatenate([old[s], *(samples[s] for samples in new)]) for s in range(6)]
        expected = [[sample.mean() if len(sample) else 9.0] for sample in pooled]
        got = average_tables(q, tables, visits, counts)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


def learned(q, visits, states):
    nothing = np.zeros(0, np.int64)
    return Learned(np.array(q), np.array(states), np.array(visits), nothing, nothing, nothing, 0.0)


def test_what_several_copies_met_for_the_first_time_is_put_together_in_their_order():
    """States 5 and 7 are known. One copy then meets 2 and 9; the other 9, 4 and 2."""
    work = Work(np.array([[1.0], [2.0]]), np.array([5, 7]), None, 0, 10)
    one = learned([[1.0], [4.0], [10.0], [20.0]], [[0], [2], [1], [3]], [5, 7, 2, 9])
    other = learned(
        [[1.0], [8.0], [40.0], [50.0], [30.0]], [[0], [2], [1], [5], [1]], [5, 7, 9, 4, 2]
    )
    q, states, visits = merge(work, [one, other], initial_value=-1.0)
    assert states.tolist() == [5, 7, 2, 9, 4]
    assert q.tolist() == [[1.0], [6.0], [20.0], [25.0], [50.0]]
    assert visits.tolist() == [[0], [4], [2], [4], [5]]


def test_a_pair_that_nobody_tried_keeps_the_initial_value_in_a_state_that_was_met():
    work = Work(np.zeros((0, 2)), np.zeros(0, np.int64), None, 0, 10)
    copies = [learned([[3.0, 0.5]], [[1, 0]], [8]), learned([[5.0, 0.5]], [[3, 0]], [8])]
    q, states, visits = merge(work, copies, initial_value=0.5)
    assert states.tolist() == [8] and q.tolist() == [[4.5, 0.5]] and visits.tolist() == [[4, 0]]


def test_means_are_pooled_in_states_that_are_new_as_well():
    """One copy saw the returns 1 and 2 in the new state, the other 6; q was the mean of 4 and 8."""
    work = Work(np.array([[6.0]]), np.array([3]), np.array([[2]]), 0, 10)
    one = learned([[5.0], [1.5]], [[1], [2]], [3, 1])  # the third return of state 3 was 3
    other = learned([[6.0], [6.0]], [[0], [1]], [3, 1])
    q, states, visits = merge(work, [one, other], initial_value=0.0)
    assert states.tolist() == [3, 1] and visits.tolist() == [[1], [3]]
    np.testing.assert_allclose(q, [[5.0], [3.0]], rtol=0, atol=1e-15)
