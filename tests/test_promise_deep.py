"""The promise for agents with networks: same seed, same numbers, wherever it runs, whoever dies."""

import os
import signal
import sys

import cloudpickle
import gymnasium
import numpy as np
import pytest
from probes import same_states

from rlbook import DQN, Rainbow
from rlbook.backends.local import Local

# Workers in other processes cannot import this module, as they cannot import a notebook's cells.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

APART = [
    "multiprocessing",
    pytest.param("ray", marks=pytest.mark.ray),
    pytest.param("spark", marks=pytest.mark.spark),
]
SMALL = {"learning_starts": 100, "hidden": (16,), "batch_size": 16, "num_envs": 4}


def run(agent_class=DQN, env="CartPole-v1", backend="local", workers=1, **options):
    agent = agent_class(env, seed=5, backend=backend, workers=workers, **(SMALL | options))
    agent.learn(480)
    return agent


def assert_same(mine, reference):
    learned, others = (
        {**agent.algorithm.get_state(), **agent.history.to_arrays(), "timing": None}
        for agent in (mine, reference)
    )
    assert learned.keys() == others.keys()
    for name in learned:
        assert same_states(learned[name], others[name]), name
    assert same_states(mine._states, reference._states) and mine.algorithm.updates > 0


@pytest.mark.once_per_engine(agent_class=DQN)
@pytest.mark.parametrize("agent_class", [DQN, Rainbow])
def test_every_backend_gives_the_same_numbers(backend, agent_class):
    assert_same(run(agent_class, backend=backend, workers=2), run(agent_class))


@pytest.mark.on_one_engine("multiprocessing")
def test_a_compiled_world_gives_the_same_numbers_on_every_backend(backend):
    assert_same(run(env="rlbook/Snake-v0", backend=backend, workers=2), run(env="rlbook/Snake-v0"))


def test_gradients_in_parts_are_the_same_on_every_backend(backend):
    options = {"gradient_parts": 4, "steps_per_update": 16.0}
    shared = run(backend=backend, workers=2, pattern="data_parallel", **options)
    assert_same(shared, run(**options))


class Saboteur(gymnasium.Wrapper):
    """Kills its own process once, in its 7th step: before a round of 8 steps is over."""

    def __init__(self, env, marker):
        super().__init__(env)
        self.marker, self.steps = marker, 0

    def step(self, action):
        self.steps += 1
        if self.steps == 7 and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.env.step(action)


@pytest.mark.once_per_engine(agent_class=DQN)
@pytest.mark.parametrize("agent_class, workers", [(DQN, 2), (Rainbow, 1)])
@pytest.mark.parametrize("backend", APART, indirect=True)
def test_a_killed_worker_changes_nothing(backend, agent_class, workers, tmp_path):
    marker = str(tmp_path / "killed")

    def make():
        return Saboteur(gymnasium.make("CartPole-v1"), marker)

    killed = run(agent_class, make, backend, workers)
    assert os.path.exists(marker)
    assert_same(killed, run(agent_class, make))


class Lost(gymnasium.Env):
    """A walk of steps of size 1, whose chance no seed reaches."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, close=lambda: None):
        self.chance, self.close = np.random.default_rng(), close

    def reset(self, *, seed=None, options=None):
        self.obs = self.chance.integers(-1_000, 1_000, size=1).astype(float)
        return self.obs.copy(), {}

    def step(self, action):
        self.obs += self.chance.choice([-1, 1])
        return self.obs.copy(), 0.0, False, False, {}


def test_what_cannot_be_brought_back_begins_anew_on_every_backend(backend):
    agent = DQN(Lost, backend=backend, workers=2, replay_order="latest", **SMALL)
    with pytest.warns(UserWarning, match="cannot be brought back to where it stood") as told:
        for _ in range(3):
            agent.learn(4 * 16)
            agent._workers.end()  # as an interruption of `learn` does
    assert len(told) == 1
    batch = agent.replay.sample(len(agent.replay))
    assert len(batch.obs) >= 4 * (48 - 6)  # on Spark each round of 8 steps is an episode
    assert (np.abs(batch.next_obs - batch.obs) == 1).all()


# Asynchronous learning promises the same numbers for the same order of events alone.


@pytest.mark.parametrize("schedule", [1, 2])
def test_the_same_schedule_gives_the_same_numbers(schedule):
    runs = [
        run(backend=Local(schedule=schedule), workers=3, pattern="asynchronous_actors")
        for _ in range(2)
    ]
    assert_same(*runs)


def test_another_schedule_gives_other_numbers():
    first, second = (
        run(backend=Local(schedule=schedule), workers=3, pattern="asynchronous_actors")
        for schedule in (1, 2)
    )
    assert not np.array_equal(first.get_weights(), second.get_weights())


@pytest.mark.parametrize("backend", APART, indirect=True)
def test_asynchronous_learning_takes_every_step_once(backend):
    agent = run(backend=backend, workers=2, pattern="asynchronous_actors", push_every=3)
    assert agent.timesteps == 480
    assert agent.replay.to_arrays()["replay_counts"].tolist() == [120] * 4
    assert agent.algorithm.updates == (480 - 100) // 2
    agent.learn(80)
    assert agent.timesteps == 560
