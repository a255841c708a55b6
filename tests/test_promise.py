"""The promise: same seed, same numbers; on every backend, with any workers, whoever dies."""

import os
import signal
import sys
from pathlib import Path

import cloudpickle
import gymnasium
import numpy as np
import pytest
from probes import LAKE, METHODS, Probe, agent_of, same_states

import rlbook_envs  # noqa: F401  (registers the worlds)
from benchmarks import soak
from rlbook.backends import Backend
from rlbook.patterns import averaged_tables
from rlbook.schedules import Linear
from rlbook.tabular import monte_carlo_prediction, temporal_difference

# Workers in other processes cannot import these modules, as they cannot import a notebook's cells.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(sys.modules["probes"])

APART = [
    "multiprocessing",
    pytest.param("ray", marks=pytest.mark.ray),
    pytest.param("spark", marks=pytest.mark.spark),
]


def run(
    env,
    backend: Backend | str = "local",
    workers: int = 1,
    rounds: int = 8,
    method: str = "q_learning",
    **options,
):
    """All the numbers that a run leaves behind, but for its timing; and where it stopped."""
    options = {"seed": 77, "num_envs": 4, "sync_every": 400, "epsilon": 0.5, **options}
    agent = agent_of(method, env, backend=backend, workers=workers, **options)
    arrays = agent.learn(rounds * 4 * options["sync_every"]).to_arrays()
    del arrays["timing"]
    states = np.zeros(0) if agent.states is None else agent.states
    tables = {"table": agent._table, "counts": agent._counts, "states": states}
    return tables | arrays, agent._states


def assert_same(mine, reference):
    (arrays, states), (others, other_states) = mine, reference
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert np.array_equal(array, others[name]), name
    assert same_states(states, other_states)


@pytest.fixture(scope="module")
def reference():
    found = run(LAKE)
    assert found[0]["table"].any() and len(found[0]["timesteps"]) > 100
    return found


@pytest.mark.once_per_engine(workers=2)
@pytest.mark.filterwarnings("ignore:4 workers on a Spark of 2 slots")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_backend_and_number_of_workers_gives_the_same_numbers(backend, workers, reference):
    assert_same(run(LAKE, backend, workers), reference)


SMALL = {"rounds": 3, "sync_every": 250, "epsilon": Linear(1.0, 0.2, 3000)}


# Q-learning is what all the tests above ran; and what comes of n steps travels in one way.
OTHERS = [method for method in METHODS if method not in ("q_learning", "n_step_expected_sarsa")]


@pytest.mark.once_per_engine(method="monte_carlo")
@pytest.mark.parametrize("method", OTHERS)
def test_every_method_gives_the_same_numbers_on_every_backend(backend, method):
    reference = run(LAKE, method=method, **SMALL)
    assert reference[0]["table"].any()
    remembered = [len(state["memory"][0]) for state in reference[1]]
    assert any(remembered) is (agent_of(method, LAKE)._method().remembers != 0)
    assert_same(run(LAKE, backend, workers=2, method=method, **SMALL), reference)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_the_same_numbers_with_any_number_of_workers(method):
    reference = run(LAKE, method=method, **SMALL)
    for workers in (2, 3, 4):
        assert_same(run(LAKE, workers=workers, method=method, **SMALL), reference)


SNAKE = {
    "window": gymnasium.make("rlbook/Snake-v0", observation="window", size=6),  # hashed
    "features": gymnasium.make("rlbook/Snake-v0", observation="features", size=6),
}


@pytest.mark.once_per_engine(seen="window")
@pytest.mark.parametrize("seen, method", [("window", "q_learning"), ("features", "sarsa_lambda")])
def test_a_hash_table_is_the_same_on_every_backend(backend, seen, method):
    options = {"method": method, "table": "hash", **SMALL}
    reference = run(SNAKE[seen], **options)
    assert len(reference[0]["states"]) > 50
    assert_same(run(SNAKE[seen], backend, workers=2, **options), reference)


def doomed(marker: Path, call: int):
    """A worker 0 that is killed once, in its `call`-th call, when part of the work is done."""

    class Doomed(averaged_tables.Learner):
        def __init__(self, index, *args):
            super().__init__(index, *args)
            self.index, self.calls = index, 0

        def learn(self, work):
            self.calls += 1
            if self.index == 0 and self.calls == call and not marker.exists():
                self.places[0].learn(work)
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().learn(work)

    return Doomed


@pytest.mark.parametrize("backend", APART, indirect=True)
def test_a_worker_that_is_killed_in_a_call_changes_no_number(
    backend, reference, monkeypatch, tmp_path
):
    marker = tmp_path / "killed"
    monkeypatch.setattr(averaged_tables, "Learner", doomed(marker, call=6))
    found = run(LAKE, backend, workers=2)
    assert marker.exists()
    assert_same(found, reference)


@pytest.mark.on_one_engine("multiprocessing")
@pytest.mark.parametrize("backend", APART, indirect=True)
def test_workers_killed_at_random_change_no_number(backend):
    """`make soak` kills more of them."""
    found = soak.soak(backend, kills=3, seed=1, steps=80_000)
    assert found.kills == 3 and found.equal


@pytest.mark.parametrize("call", [2, 6])  # before and after the first snapshot
@pytest.mark.parametrize("backend", ["multiprocessing"], indirect=True)
def test_an_environment_of_gymnasium_is_replayed_when_its_worker_is_killed(
    backend, call, monkeypatch, tmp_path
):
    marker = tmp_path / "killed"
    reference = run("FrozenLake-v1")
    monkeypatch.setattr(averaged_tables, "Learner", doomed(marker, call))
    found = run("FrozenLake-v1", backend, workers=2)
    assert marker.exists()
    assert_same(found, reference)


@pytest.mark.parametrize("backend", ["multiprocessing"], indirect=True)
def test_what_is_remembered_of_an_episode_outlives_a_worker(backend, monkeypatch, tmp_path):
    """n-step SARSA has learned from none of the last steps when its worker is killed."""
    marker = tmp_path / "killed"
    options = {"method": "n_step_sarsa", "rounds": 8, "sync_every": 101}
    reference = run(LAKE, **options)
    assert all(len(state["memory"][0]) for state in reference[1])
    monkeypatch.setattr(averaged_tables, "Learner", doomed(marker, call=6))
    found = run(LAKE, backend, workers=2, **options)
    assert marker.exists()
    assert_same(found, reference)


def drifting():
    """An environment that no worker can import: a ring of five, with wind from its own chance."""

    class Ring(Probe):
        def step(self, action):
            self.state = int(self.state + 2 * action - 1 + self.np_random.integers(2)) % 5
            return self.state, float(self.state == 3), self.state == 3, False, {}

    return gymnasium.wrappers.TimeLimit(Ring(None, states=5, starts=3), 20)


def test_an_environment_of_ones_own_gives_the_same_numbers(backend):
    assert_same(run(drifting, backend, workers=2, rounds=3), run(drifting, rounds=3))


def test_monte_carlo_gives_the_same_numbers_and_plays_elsewhere(backend, tmp_path):
    def make():
        (tmp_path / str(os.getpid())).touch()
        return gymnasium.make(LAKE)

    policy = np.random.default_rng(0).dirichlet(np.ones(4), size=16)
    options = {"episodes": 500, "seed": 3, "num_envs": 4}
    reference = monte_carlo_prediction.evaluate_policy(LAKE, policy, **options)
    found = monte_carlo_prediction.evaluate_policy(make, policy, backend=backend, **options)
    assert np.array_equal(found.values, reference.values, equal_nan=True)
    assert np.array_equal(found.counts, reference.counts)
    players = {path.name for path in tmp_path.iterdir()} - {str(os.getpid())}
    assert bool(players) is (backend.name != "local")


def test_td_prediction_gives_the_same_numbers_on_every_backend(backend):
    walk, policy = "rlbook/RandomWalk-v0", np.zeros(7, int)
    options = {"runs": 60, "episodes": 20, "n_step": 3, "seed": 3}  # three tasks
    reference = temporal_difference.evaluate_policy(walk, policy, **options)
    assert reference.any()
    found = temporal_difference.evaluate_policy(walk, policy, backend=backend, **options)
    assert np.array_equal(found, reference)
