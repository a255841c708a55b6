"""The promise: same seed, same numbers; on every backend, with any workers, whoever dies."""

import os
import signal
import sys
from pathlib import Path

import cloudpickle
import gymnasium
import numpy as np
import pytest
from probes import Probe

import rlbook_envs  # noqa: F401  (registers the worlds)
from rlbook import QLearning, table_agent
from rlbook.backends import Backend
from rlbook.monte_carlo import evaluate_policy

# Workers in other processes cannot import these modules, as they cannot import a notebook's cells.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(sys.modules["probes"])

LAKE = "rlbook/FrozenLake-v0"
APART = [
    "multiprocessing",
    pytest.param("ray", marks=pytest.mark.ray),
    pytest.param("spark", marks=pytest.mark.spark),
]


def run(env, backend: Backend | str = "local", workers: int = 1, rounds: int = 8):
    """All the numbers that a run leaves behind, but for its timing; and where it stopped."""
    agent = QLearning(
        env, seed=77, num_envs=4, sync_every=400, backend=backend, workers=workers, epsilon=0.5
    )
    arrays = agent.learn(rounds * 4 * 400).to_arrays()
    del arrays["timing"]
    return {"q": agent.q, **arrays}, agent._states


def assert_same(mine, reference):
    (arrays, states), (others, other_states) = mine, reference
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert np.array_equal(array, others[name]), name
    assert states == other_states


@pytest.fixture(scope="module")
def reference():
    found = run(LAKE)
    assert found[0]["q"].any() and len(found[0]["timesteps"]) > 100
    return found


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_backend_and_number_of_workers_gives_the_same_numbers(backend, workers, reference):
    assert_same(run(LAKE, backend, workers), reference)


def doomed(marker: Path, call: int):
    """A worker 0 that is killed once, in its `call`-th call, when part of the work is done."""

    class Doomed(table_agent.Learner):
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
    monkeypatch.setattr(table_agent, "Learner", doomed(marker, call=6))
    found = run(LAKE, backend, workers=2)
    assert marker.exists()
    assert_same(found, reference)


@pytest.mark.parametrize("call", [2, 6])  # before and after the first snapshot
@pytest.mark.parametrize("backend", ["multiprocessing"], indirect=True)
def test_an_environment_of_gymnasium_is_replayed_when_its_worker_is_killed(
    backend, call, monkeypatch, tmp_path
):
    marker = tmp_path / "killed"
    reference = run("FrozenLake-v1")
    monkeypatch.setattr(table_agent, "Learner", doomed(marker, call))
    found = run("FrozenLake-v1", backend, workers=2)
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
    reference = evaluate_policy(LAKE, policy, **options)
    found = evaluate_policy(make, policy, backend=backend, **options)
    assert np.array_equal(found.values, reference.values, equal_nan=True)
    assert np.array_equal(found.counts, reference.counts)
    players = {path.name for path in tmp_path.iterdir()} - {str(os.getpid())}
    assert bool(players) is (backend.name != "local")
