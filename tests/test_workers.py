"""The workers of an agent: launched once, kept, and given back with everything that they held."""

import gc
import os
from pathlib import Path

import gymnasium
import psutil
import pytest

from rlbook import DQN, MonteCarlo, QLearning, backends
from rlbook.backends import wire
from rlbook.backends.local import Local
from rlbook.patterns.data_parallel import GradientWorker

SMALL = {"learning_starts": 50, "batch_size": 16, "num_envs": 4}


def held():
    """What this process holds: descriptors, child processes, and bytes in shared memory."""
    gc.collect()
    shared = Path("/dev/shm").glob(f"rlbook-*-{os.getpid()}-*/*")
    children = psutil.Process().children(recursive=True)
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "children": len(children),
        "shared bytes": sum(file.stat().st_size for file in shared),
    }


def train(steps=200, **options):
    """An agent whose weights are large enough to travel in shared memory."""
    agent = DQN("CartPole-v1", seed=1, backend="multiprocessing", workers=2, hidden=(512, 512))
    agent.learn(steps, **options)
    return agent


def test_agents_that_are_gone_leave_nothing_behind():
    train()
    before = held()  # what Python itself keeps after the first
    agent = train()
    during = held()
    assert all(during[name] > before[name] for name in before)
    del agent
    assert held() == before
    for _ in range(2):
        train()
        assert held() == before


def test_close_and_with_give_everything_back_and_the_agent_can_still_be_used(tmp_path):
    train()
    before = held()
    agent = train()
    agent.close()
    assert held() == before
    agent.close()  # once more does no harm
    with train() as other:
        assert held() != before
    assert held() == before
    for each in (agent, other):
        assert each.predict([0.0, 0.0, 0.0, 0.0]) in (0, 1)
        each.save(tmp_path / "agent")
        with pytest.raises(RuntimeError, match="the agent was closed, so it cannot learn any more"):
            each.learn(8)
    assert DQN.load(tmp_path / "agent").timesteps == 200


def test_an_interruption_gives_workers_back_and_learning_goes_on():
    class Interrupted(Exception):
        pass

    def interrupt(agent):
        if agent.timesteps >= 100:
            raise Interrupted

    train(8)
    before, agent = held(), train(8)
    assert held()["children"] > before["children"]
    with pytest.raises(Interrupted):
        agent.learn(400, callback=interrupt)
    assert held()["children"] == before["children"]
    taken = agent.timesteps
    agent.learn(64)
    assert agent.timesteps == taken + 64


class Counting(Local):
    """Counts what is launched and how often it is closed."""

    def __init__(self):
        super().__init__()
        self.launched, self.closed = [], 0

    def launch(self, worker_class, n, *args, **options):
        self.launched.append((worker_class.__name__, n))
        return super().launch(worker_class, n, *args, **options)

    def close(self):
        self.closed += 1
        super().close()


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda **o: DQN("CartPole-v1", **SMALL, **o), [("RolloutWorker", 2)]),
        (
            lambda **o: DQN("CartPole-v1", pattern="asynchronous_actors", **SMALL, **o),
            [("RolloutWorker", 2)],
        ),
        (
            lambda **o: DQN("CartPole-v1", pattern="data_parallel", gradient_parts=2, **SMALL, **o),
            [("GradientWorker", 2), ("RolloutWorker", 2)],
        ),
        (lambda **o: QLearning("rlbook/FrozenLake-v0", num_envs=2, **o), [("Learner", 2)]),
        (
            lambda **o: QLearning("rlbook/FrozenLake-v0", num_envs=2, pattern="shared_table", **o),
            [("SharedTable", 1), ("SharingLearner", 2)],
        ),
    ],
    ids=["synchronous", "asynchronous_actors", "data_parallel", "averaged", "shared_table"],
)
def test_workers_are_launched_once_and_kept(make, expected):
    backend = Counting()
    agent = make(backend=backend, workers=2)
    assert backend.launched == []  # not before they are needed
    for _ in range(3):
        agent.learn(120)
        assert sorted(backend.launched) == expected
    agent._workers.end()  # as an interruption does
    agent.learn(120)
    assert sorted(backend.launched) == sorted(2 * expected)


def test_a_process_backend_launches_once_too(monkeypatch):
    agent, launched = train(8), []
    launch = agent.backend.launch
    monkeypatch.setattr(
        agent.backend, "launch", lambda *args, **options: launched.append(args) or launch(*args)
    )
    children = {child.pid for child in psutil.Process().children()}
    agent.learn(64)
    assert not launched and {child.pid for child in psutil.Process().children()} == children


def test_a_backend_of_somebody_else_stays_open():
    backend = Counting()
    with DQN("CartPole-v1", backend=backend, **SMALL) as agent:
        agent.learn(80)
    assert backend.closed == 0
    other = DQN("CartPole-v1", backend=backend, **SMALL)
    other.learn(80)
    del other, agent
    gc.collect()
    assert backend.closed == 0
    assert backends.get(backend) is backend


# --- states -------------------------------------------------------------------------------------


def longest_list(state):
    """The length of the longest list or tuple of plain numbers in a state."""
    if isinstance(state, dict):
        return max(map(longest_list, state.values()), default=0)
    if isinstance(state, list | tuple):
        numbers = sum(isinstance(each, int | float) for each in state)
        return max([numbers, *map(longest_list, state)])
    return 0


def four_frames():
    env = gymnasium.make("rlbook/FlappyBird-v0", observation="pixels")
    return gymnasium.wrappers.FrameStackObservation(env, 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DQN("CartPole-v1", hidden=(8,)),
        lambda: DQN("rlbook/Snake-v0", channels=(), hidden=(8,)),
        lambda: DQN(four_frames, num_envs=2, channels=(), hidden=(8,), learning_starts=10**6),
        lambda: MonteCarlo("FrozenLake-v1", num_envs=2),
        lambda: QLearning(gymnasium.make("rlbook/Snake-v0", observation="features")),
    ],
    ids=["list", "compiled", "pixels", "episodes", "features"],
)
def test_states_travel_as_arrays_and_bytes(make):
    """Each number of a list is an object of its own, which takes time to send."""
    agent = make()
    agent.learn(96)
    assert max(map(longest_list, agent._states)) <= 5
    assert agent._states[0] is not None


def test_a_worker_that_computes_gradients_has_no_snapshot_worth_writing():
    agent = DQN("CartPole-v1", hidden=(512, 512))
    worker = GradientWorker(0, agent.algorithm)
    assert len(agent.get_weights()) > 200_000 and len(wire.freeze(worker)) < 1_000
