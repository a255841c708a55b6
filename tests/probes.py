"""Environments so small that one knows what must be learned in them, and what must learn it."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np

from rlbook import MonteCarlo, QLearning, Sarsa, saving
from rlbook.tabular.policies import epsilon_greedy
from rlbook_envs.streams import ENVIRONMENT, POLICY, stream_key

LAKE = "rlbook/FrozenLake-v0"

# Every method that an agent with a table can run, with what one would give it.
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "q_learning": (QLearning, {}),
    "double_q_learning": (QLearning, {"double": True}),
    "sarsa": (Sarsa, {}),
    "expected_sarsa": (Sarsa, {"expected": True}),
    "n_step_sarsa": (Sarsa, {"n_step": 4}),
    "n_step_expected_sarsa": (Sarsa, {"n_step": 4, "expected": True}),
    "sarsa_lambda": (Sarsa, {"lambda_": 0.8}),
    "monte_carlo": (MonteCarlo, {"learning_rate": 0.1}),
    "monte_carlo_means": (MonteCarlo, {"learning_rate": None, "first_visit": False}),
}


def agent_of(method: str, env: Any, **options: Any) -> Any:
    """An agent that runs one of `METHODS`."""
    kind, own = METHODS[method]
    return kind(env, **(own | options))


def same(one: Any, other: Any) -> bool:
    """Two agents know the same, stand where they stood, and remember the same, to the last bit."""
    arrays, others = (
        {
            "table": agent._table,
            "counts": agent._counts,
            "states": np.array([]) if agent.states is None else agent.states,
            "timesteps": agent.timesteps,
            **agent.history.to_arrays(),
        }
        for agent in (one, other)
    )
    del arrays["timing"], others["timing"]
    assert arrays.keys() == others.keys()
    equal = all(np.array_equal(arrays[name], others[name]) for name in arrays)
    return equal and same_states(one._states, other._states)


def same_states(one: Any, other: Any) -> bool:
    """Whether two states of environments, with the arrays and bytes that they hold, are equal."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_states(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_states, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one == other)


def stored(states: Any) -> Any:
    """States of environments as they come out of a model file."""
    with tempfile.TemporaryDirectory() as folder:
        saving.save(f"{folder}/states", "States", {"states": states}, {})
        header, _ = saving.load(f"{folder}/states", "States")
    return header["states"]


class Probe(gymnasium.Env):
    """Plays `rule(state, action) -> next state, reward, terminated`.

    Args:
        rule: what happens.
        states: how many there are.
        starts: an episode begins in one of the first so many, at random.
    """

    def __init__(self, rule: Callable[..., Any], states: int = 1, starts: int = 1) -> None:
        self.rule, self.starts, self.state = rule, starts, 0
        self.observation_space = gymnasium.spaces.Discrete(states)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(self.starts))
        return self.state, {}

    def step(self, action):
        self.state, reward, terminated = self.rule(self.state, action)
        return self.state, reward, terminated, False, {}


def cut_short(rule: Callable[..., Any], limit: int) -> Callable[[], gymnasium.Env]:
    """Makes a one-state probe whose episodes are truncated after `limit` steps."""
    return lambda: gymnasium.wrappers.TimeLimit(Probe(rule), limit)


# For textbook loops


def short_lake() -> gymnasium.Env:
    """A small lake, whose goal is often reached, and whose time limit often comes before."""
    return gymnasium.make(LAKE, desc=["SFFF", "FHFF", "FFGF"], max_episode_steps=7)


def begin(env: gymnasium.Env, seed: int, number: int) -> int:
    """Begin an episode as environment `number` of a run does; the first observation."""
    env.reset(seed=0)
    key = stream_key(seed, ENVIRONMENT, number)
    env.unwrapped.set_state({"key": key, "counter": 0, "fresh": False, "state": 0})
    return env.reset()[0]


def on_policy_steps(
    q: np.ndarray, seed: int, steps: int, epsilon: float
) -> Iterator[tuple[int, int, float, int, int, bool, bool]]:
    """S, A, R, S', A', terminated and ended of every step, by `short_lake` as Gymnasium plays it.

    Actions are ε-greedy in `q` as it is then, and drawn as environment 0 of a run draws them.
    """
    env, key = short_lake(), stream_key(seed, POLICY, 0)
    obs, _ = env.reset(seed=seed)
    action = epsilon_greedy(q, obs, epsilon, key, 0)
    for t in range(1, steps + 1):
        next_obs, reward, terminated, truncated, _ = env.step(action)
        next_action = epsilon_greedy(q, next_obs, epsilon, key, t)
        yield obs, action, reward, next_obs, next_action, terminated, terminated or truncated
        obs, action = next_obs, next_action
        if terminated or truncated:
            obs, _ = env.reset()
            action = epsilon_greedy(q, obs, epsilon, key, t)
