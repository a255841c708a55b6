"""Learners that share a table: what they report, in any order, and what comes of it."""

import os
import signal
import sys

import cloudpickle
import gymnasium
import numpy as np
import pytest
from probes import LAKE, METHODS, agent_of, same, short_lake

from rlbook import MonteCarlo, QLearning, Sarsa
from rlbook.patterns import shared_table
from rlbook.patterns.shared_table import SharedTable, contribution
from rlbook.schedules import Linear
from rlbook.tabular import dynamic_programming as dp
from rlbook.tabular.learner import Learned

# Workers in other processes cannot import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


# What a learner reports


def random_updates(rng, count, states=4, actions=2):
    """Some updates: which entry moves, and towards which target."""
    entries = zip(rng.integers(states, size=count), rng.integers(actions, size=count), strict=True)
    return list(zip(entries, rng.normal(size=count), strict=True))


def apply(table, updates, alpha):
    """The table after these updates, and how often each entry moved."""
    table, visits = table.copy(), np.zeros(table.shape, np.int64)
    for entry, target in updates:
        table[entry] += alpha * (target - table[entry])
        visits[entry] += 1
    return table, visits


def reported(before, updates, alpha):
    q, visits = apply(before, updates, alpha)
    nothing = np.zeros(0, np.int64)
    return contribution(before, Learned(q, None, visits, nothing, nothing, nothing, 0.0), alpha)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0])
def test_contributions_in_any_order_are_the_updates_in_that_order(alpha):
    """Learners who began from tables of their own; the table takes them in as they come."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        learners = [random_updates(rng, 25) for _ in range(4)]
        reports = [reported(rng.normal(size=(4, 2)), updates, alpha) for updates in learners]
        start = rng.normal(size=(4, 2))
        order = rng.permutation(4)
        holder = SharedTable(0, start, np.zeros((4, 2), np.int64))
        for i in order:
            q, visits = holder.take_in([reports[i]])
        in_sequence = [update for i in order for update in learners[i]]
        expected, expected_visits = apply(start, in_sequence, alpha)
        np.testing.assert_allclose(q, expected, rtol=0, atol=1e-12)
        assert np.array_equal(visits, expected_visits)
        # All at once is the same as one after the other.
        other = SharedTable(0, start, np.zeros((4, 2), np.int64))
        assert np.array_equal(other.take_in([reports[i] for i in order])[0], q)


def test_two_learners_who_agree_do_not_overshoot():
    """Both moved from 0 nearly to 1. Their differences would add up to 2; updates stay below 1."""
    towards_one = [((0, 0), 1.0)] * 60
    report = reported(np.zeros((1, 1)), towards_one, 0.1)
    holder = SharedTable(0, np.zeros((1, 1)), np.zeros((1, 1), np.int64))
    q, visits = holder.take_in([report, report])
    assert q[0, 0] == pytest.approx(1 - 0.9**120, abs=1e-12) and visits[0, 0] == 120


def test_what_was_not_updated_stays_to_the_last_bit():
    rng = np.random.default_rng(1)
    start, before = rng.normal(size=(2, 4, 2))
    report = reported(before, [((0, 1), 3.0)], 0.3)
    holder = SharedTable(0, start, np.zeros((4, 2), np.int64))
    q, _ = holder.take_in([report])
    untouched = np.ones((4, 2), bool)
    untouched[0, 1] = False
    assert np.array_equal(q[untouched], start[untouched])
    assert q[0, 1] == pytest.approx(start[0, 1] + 0.3 * (3.0 - start[0, 1]))


# Agents


def optimal_share(agent):
    """The value of the greedy policy over the optimum."""
    table = dp.transition_table(LAKE)
    optimum = dp.start_value(table, dp.value_iteration(table).values)
    values = dp.policy_values(table, agent.predict(np.arange(16)))
    return dp.start_value(table, values) / optimum


@pytest.mark.once_per_engine(kind=QLearning)
@pytest.mark.parametrize("kind", [QLearning, Sarsa])
def test_learners_who_share_a_table_learn_on_every_backend(backend, kind):
    agent = kind(
        LAKE, seed=5, num_envs=4, workers=2, backend=backend, pattern="shared_table",
        sync_every=20_000,
        epsilon=0.2 if kind is QLearning else Linear(1.0, 0.05, 800_000), learning_rate=0.02,
    )  # fmt: skip
    history = agent.learn(1_000_000)
    assert optimal_share(agent) >= 0.97
    assert_adds_up(agent, history, 1_000_000)


def positions(agent):
    """Of each environment that has begun: its steps, and those of the episode that goes on."""
    begun = [state["position"] for state in agent._states if state is not None]
    return [place[2] for place in begun], [place[4] for place in begun]


def assert_adds_up(agent, history, steps):
    """Every step is counted once: in the table, in the metrics, in the episodes."""
    assert agent.timesteps == steps == history.metrics["timesteps"][-1]
    assert agent._counts.sum() == steps  # one update a step
    assert np.all(np.diff(history.timesteps) >= 0) and history.timesteps[-1] <= steps
    clocks, unfinished = positions(agent)
    assert sum(clocks) == steps and max(clocks) == min(clocks)
    assert history.episode_lengths.sum() + sum(unfinished) == steps


@pytest.mark.parametrize("name", ["q_learning", "double_q_learning", "sarsa", "expected_sarsa"])
@pytest.mark.parametrize("steps", [3000, 2998])  # the last round may be a short one
def test_the_history_adds_up(name, steps):
    agent = agent_of(
        name, short_lake(), num_envs=2, workers=2, pattern="shared_table", sync_every=400, seed=1
    )
    assert_adds_up(agent, agent.learn(steps), steps)
    assert_adds_up(agent, agent.learn(500), steps + 500)


def test_where_workers_take_turns_the_numbers_repeat():
    agents = [
        Sarsa(LAKE, seed=2, num_envs=5, workers=3, pattern="shared_table", sync_every=70)
        for _ in range(2)
    ]
    for agent in agents:
        agent.learn(5000)
    assert same(*agents) and agents[0].q.any()


@pytest.mark.parametrize("name", ["q_learning", "double_q_learning", "sarsa", "expected_sarsa"])
def test_a_single_learner_learns_what_it_learns_by_itself(name):
    alone, sharing = (
        agent_of(name, short_lake(), seed=3, pattern=pattern, sync_every=500)
        for pattern in ("averaged_tables", "shared_table")
    )
    for agent in (alone, sharing):
        agent.learn(5000)
    np.testing.assert_allclose(sharing.q, alone.q, rtol=0, atol=1e-12)
    assert np.array_equal(sharing._counts, alone._counts)
    assert np.array_equal(sharing.history.timesteps, alone.history.timesteps)


@pytest.mark.parametrize("env", [LAKE, "FrozenLake-v1"])
def test_a_loaded_agent_goes_on_as_it_would_have(env, tmp_path):
    """On one machine, workers of the local backend take turns, so that even this repeats."""
    agent = QLearning(env, seed=8, num_envs=3, workers=3, pattern="shared_table", sync_every=100)
    agent.learn(2001)
    assert agent.history.episode_lengths.sum() < agent.timesteps
    agent.save(tmp_path / "agent.rlbook")
    loaded = QLearning.load(tmp_path / "agent.rlbook", workers=3)
    assert loaded.pattern == "shared_table" and same(agent, loaded)
    for one in (agent, loaded):
        one.learn(1500)
    assert same(agent, loaded)
    assert_adds_up(loaded, loaded.history, 3501)


class Interrupted(Exception):
    pass


def assert_goes_on_after_an_interruption(backend, seed):
    """It comes after the seventh round, while the other learner is at the eighth."""

    def interrupt(agent):
        if agent.timesteps == 1750:
            raise Interrupted

    agent = QLearning(
        LAKE,
        seed=seed,
        num_envs=2,
        workers=2,
        pattern="shared_table",
        sync_every=250,
        backend=backend,
    )
    with pytest.raises(Interrupted):
        agent.learn(100_000, callback=interrupt)
    assert agent.timesteps == 1750 == agent._counts.sum() == agent.history.metrics["timesteps"][-1]
    clocks, unfinished = positions(agent)
    assert sum(clocks) == 1750 == agent.history.episode_lengths.sum() + sum(unfinished)
    agent.learn(1000)
    assert agent.timesteps == 2750 == agent._counts.sum()


def test_an_interruption_keeps_completed_rounds_and_nothing_of_others():
    for seed in range(20):
        assert_goes_on_after_an_interruption("local", seed)


@pytest.mark.parametrize("backend", ["multiprocessing"], indirect=True)
def test_an_interruption_keeps_what_other_processes_completed(backend):
    assert_goes_on_after_an_interruption(backend, 9)


@pytest.mark.parametrize("killed, call", [("learner", 3), ("holder", 5)])
@pytest.mark.parametrize("backend", ["multiprocessing"], indirect=True)
def test_a_worker_that_is_killed_costs_no_update(backend, killed, call, monkeypatch, tmp_path):
    """Learner 0, or who holds the table, when it has done part of the work of a call."""
    marker = tmp_path / "killed"
    name, method = {
        "learner": ("SharingLearner", "learn"), "holder": ("SharedTable", "take_in")
    }[killed]  # fmt: skip
    original = getattr(shared_table, name)

    class Doomed(original):
        def __init__(self, index, *args):
            super().__init__(index, *args)
            self.index, self.calls = index, 0

    def work_and_die_once(self, argument):
        result = getattr(original, method)(self, argument)
        self.calls += 1
        if self.index == 0 and self.calls == call and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(Doomed, method, work_and_die_once)
    monkeypatch.setattr(shared_table, name, Doomed)
    agent = Sarsa(
        LAKE, seed=4, num_envs=2, workers=2, pattern="shared_table", sync_every=250, backend=backend
    )
    history = agent.learn(4000)
    assert marker.exists()
    assert_adds_up(agent, history, 4000)


def test_the_callback_is_called_after_every_round():
    seen = []
    agent = QLearning(LAKE, num_envs=4, workers=2, pattern="shared_table", sync_every=100)
    agent.learn(1000, callback=lambda agent: seen.append(agent.timesteps))
    assert seen == [200, 400, 600, 800, 900, 1000]


SNAKE = gymnasium.make("rlbook/Snake-v0", observation="window")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda **o: QLearning(LAKE, table="hash", **o), "table must be 'dense' with"),
        (lambda **o: Sarsa(SNAKE, **o), "got a hash table"),
        (lambda **o: Sarsa(LAKE, learning_rate=Linear(1, 0.1, 10), **o), "got Linear"),
        (lambda **o: MonteCarlo(LAKE, **o), "got Harmonic"),
        (lambda **o: MonteCarlo(LAKE, learning_rate=None, **o), "got None"),
        (lambda **o: MonteCarlo(LAKE, learning_rate=0.1, **o), "needs a one-step method"),
        (lambda **o: Sarsa(LAKE, n_step=2, **o), "needs a one-step method"),
        (lambda **o: Sarsa(LAKE, lambda_=0.5, **o), "needs a one-step method"),
    ],
)
def test_what_cannot_share_a_table_says_so(make, message):
    with pytest.raises(ValueError, match="must be") as error:
        make(pattern="shared_table")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert make().timesteps == 0  # without it there is nothing wrong


def test_every_method_either_shares_or_says_that_it_cannot():
    sharing = set()
    for name in METHODS:
        try:
            agent_of(name, LAKE, pattern="shared_table").learn(10)
        except ValueError:
            continue
        sharing.add(name)
    assert sharing == {"q_learning", "double_q_learning", "sarsa", "expected_sarsa"}
