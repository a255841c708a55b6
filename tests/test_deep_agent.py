"""Agents with networks: which environments they learn in, and where."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlbook import DQN, Rainbow
from rlbook.deep_agent import torch_device


class Shapes(gymnasium.Env):
    """Pays for naming the kind that is shown."""

    def __init__(self, together):
        kind, place = spaces.Discrete(3), spaces.Box(-1, 1, (2,))
        self.together = together
        self.observation_space = together(kind, place)
        self.action_space = spaces.Discrete(3)

    def show(self):
        place = np.float32([0.5, -0.5])
        if isinstance(self.observation_space, spaces.Tuple):
            return self.kind, place
        return {"kind": self.kind, "place": place}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.kind = int(self.np_random.integers(3))
        return self.show(), {}

    def step(self, action):
        return self.show(), float(action == self.kind), True, False, {}


@pytest.mark.parametrize(
    "together",
    [
        lambda *parts: spaces.Tuple(parts),
        lambda kind, place: spaces.Dict(kind=kind, place=place),
    ],
    ids=["Tuple", "Dict"],
)
def test_observations_of_several_parts_are_learned_from(together):
    agent = DQN(lambda: Shapes(together), seed=1, learning_starts=100, hidden=(16,), workers=2)
    agent.learn(3_000)
    env, shown = Shapes(together), []
    for env.kind in range(3):
        shown.append(env.show())
    assert [agent.predict(each) for each in shown] == [0, 1, 2] == agent.predict(shown).tolist()


class Lander(gymnasium.Env):
    """Spaces and ends like LunarLander's: 8 numbers of several scales, 4 actions, a crash."""

    def __init__(self):
        high = np.array([2.5, 2.5, 10, 10, 6.3, 10, 1, 1], np.float32)
        self.observation_space = spaces.Box(-high, high)
        self.action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.zeros(8, np.float32)
        self.x[1] = 1.4
        return self.x.copy(), {}

    def step(self, action):
        self.x[3] += 0.02 * (action == 2) - 0.01
        self.x[1] += self.x[3] + 0.01 * self.np_random.normal()
        landed = bool(self.x[1] < 0)
        return self.x.copy(), -100.0 if landed else -0.3 * (action == 2), landed, False, {}


@pytest.mark.parametrize("kind", [DQN, pytest.param(Rainbow, marks=pytest.mark.slow)])
@pytest.mark.parametrize("env", ["Acrobot-v1", "MountainCar-v0", Lander], ids=str)
def test_these_environments_run(env, kind):
    options = {"learning_starts": 100, "hidden": (16,), "batch_size": 16}
    options |= {"v_min": -120.0} if kind is Rainbow else {}
    agent = kind(env, seed=1, workers=2, **options)
    before = agent.get_weights().copy()
    agent.learn(1_608)
    assert agent.algorithm.updates > 500 and np.isfinite(agent.get_weights()).all()
    assert (agent.get_weights() != before).any() and agent.timesteps == 1_608
    assert env != "MountainCar-v0" or set(agent.history.episode_lengths) == {200}


def birds():
    env = gymnasium.make("rlbook/FlappyBird-v0", observation="pixels")
    return gymnasium.wrappers.FrameStackObservation(env, 4, padding_type="reset")


def test_flappy_bird_from_pixels(tmp_path):
    options = {"learning_starts": 64, "batch_size": 8, "steps_per_update": 16}
    agent = DQN(birds, seed=1, num_envs=2, device="cpu", replay_capacity=1_000, **options)
    agent.learn(160)
    assert agent.algorithm.updates == 6 and np.isfinite(agent.get_weights()).all()
    assert agent.replay.to_arrays()["replay_obs"].shape[1:] == (84, 84)  # a frame a step
    agent.save(tmp_path / "bird")
    again = DQN.load(tmp_path / "bird", env=birds, workers=2, device="cpu")
    agent.learn(64), again.learn(64)
    np.testing.assert_array_equal(agent.get_weights(), again.get_weights())


@pytest.mark.parametrize(
    "device, pictures, gpu, expected",
    [
        ("auto", True, True, "cuda"),
        ("auto", True, False, "cpu"),
        ("auto", False, True, "cpu"),  # vectors are faster without
        ("cpu", True, True, "cpu"),
        ("cuda", False, True, "cuda"),
    ],
)
def test_which_device_is_used(device, pictures, gpu, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert torch_device(device, pictures) == expected


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match="device must be 'cpu' here, where torch finds no GPU, got"
    ):
        DQN("CartPole-v1", device="cuda")


@pytest.mark.parametrize("name", ["weights", "target"])
def test_weights_that_are_not_finite_are_not_loaded(name, tmp_path):
    agent = DQN("CartPole-v1", hidden=(8,))
    parameters = agent.algorithm.get_parameters()
    agent.algorithm.set_parameters(parameters | {name: np.full_like(parameters[name], np.nan)})
    agent.save(tmp_path / "agent")
    with pytest.raises(ValueError, match=f"{name} holds numbers that are not finite"):
        DQN.load(tmp_path / "agent")
