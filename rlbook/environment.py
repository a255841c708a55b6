"""Environments as a training loop meets them: one interface for compiled worlds and for all others.

A loop that learns from a table calls four functions and does not know what is behind them:

    chance(env_key, clock) -> key                                what is random in one step
    reset(env, key) -> obs
    step(env, obs, action, key) -> next_obs, reward, terminated
    out_of_time(env, length, limit) -> truncated

For a world of `rlbook_envs` these are the world's own rules, and the loop is compiled together with
them; where its state is not what is observed, as in Snake, `env` holds the state. For any other
Gymnasium environment, which has its own chance, they drive an `Episodes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from rlbook_envs.chance import step_key
from rlbook_envs.compiled import rule
from rlbook_envs.world import WorldEnv, row_rules

# What `gymnasium.make` wraps around an environment without changing what it does.
TRANSPARENT = (TimeLimit, OrderEnforcing, PassiveEnvChecker)

FIRST_EPISODE = "first"
NO_LIMIT = int(np.iinfo(np.int64).max)

EnvSource = str | gymnasium.Env[Any, Any] | Callable[[], gymnasium.Env[Any, Any]]


def env_maker(env: EnvSource) -> Callable[[], gymnasium.Env[Any, Any]]:
    """A function that makes a fresh environment, and that can travel to another process.

    Args:
        env: a Gymnasium id such as `"rlbook/FrozenLake-v0"`, an environment that
            `gymnasium.make` made, or a callable that makes one.

    Raises:
        TypeError: none of these.
    """
    if isinstance(env, str):
        return partial(make, env)
    if isinstance(env, gymnasium.Env):
        if env.spec is None:
            raise TypeError(
                f"env={env} was not made by gymnasium.make, so it cannot be made again for every "
                "worker: give a function that makes it"
            )
        return partial(make, env.spec)
    if callable(env):
        return env
    raise TypeError(f"env={env!r} is not allowed: a Gymnasium id, an environment or a function")


def env_id(env: EnvSource) -> str | None:
    """The id from which the environment is made; None where it is made in another way."""
    return env if isinstance(env, str) else None


def make(spec: Any) -> gymnasium.Env[Any, Any]:
    """`gymnasium.make`, in a module whose import registers this library's worlds."""
    made: gymnasium.Env[Any, Any] = gymnasium.make(spec)
    return made


class Numbering(NamedTuple):
    """How the observations of a space are counted.

    Attributes:
        size: how many there are.
        number: from an observation (or an array for each of its parts) to 0 … size - 1; None where
            it is that number already.
    """

    size: int
    number: Any


class MixedRadix(NamedTuple):
    """Numbers observations of several parts as a clock counts seconds."""

    sizes: tuple[int, ...]
    shape: tuple[int, ...]  # of an observation that is an array; () for a tuple

    def __call__(self, obs: Any) -> Any:
        number: Any = 0
        for part, size in zip(self.parts(obs), self.sizes, strict=True):
            number = number * size + part
        return number if np.ndim(number) else int(number)

    def parts(self, obs: Any) -> Any:
        """The parts of an observation, or, for each part, an array with that of many."""
        if not self.shape:
            return obs
        obs = np.asarray(obs)  # the parts are on the last axes
        return np.moveaxis(obs.reshape(*obs.shape[: -len(self.shape)], -1), -1, 0)

    def allows(self, obs: Any) -> bool:
        """Whether there is such an observation."""
        try:
            pairs = list(zip(self.parts(obs), self.sizes, strict=True))
            return all(np.all((part >= 0) & (part < size)) for part, size in pairs)
        except (TypeError, ValueError):
            return False


def numbering(space: gymnasium.Space[Any]) -> Numbering | None:
    """How the observations of `space` are counted; None if they can't be."""
    spaces = gymnasium.spaces
    shape: tuple[int, ...] = ()
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return Numbering(int(space.n), None)
    if isinstance(space, spaces.Tuple):
        parts = list(space.spaces)
        if not all(isinstance(part, spaces.Discrete) and part.start == 0 for part in parts):
            return None
        sizes = [int(part.n) for part in parts]  # type: ignore[attr-defined]
    elif isinstance(space, spaces.MultiDiscrete) and not np.any(space.start):
        sizes, shape = [int(n) for n in space.nvec.flat], space.shape
    elif isinstance(space, spaces.MultiBinary):
        sizes, shape = [2] * int(np.prod(space.shape)), space.shape
    else:
        return None
    size = math.prod(sizes)
    return Numbering(size, MixedRadix(tuple(sizes), shape)) if size < NO_LIMIT else None


def numbered_spaces(env: gymnasium.Env[Any, Any], algorithm: str) -> tuple[Numbering, int]:
    """How a table counts the observations of `env`, and how many actions there are.

    Raises:
        ValueError: the environment's spaces fit no table.
    """
    observations, actions = numbering(env.observation_space), numbering(env.action_space)
    if observations is None:
        raise ValueError(
            f"{algorithm} keeps a table, so it needs observations that can be counted (Discrete, "
            f"MultiDiscrete, or a Tuple of Discrete), but this environment has "
            f"{env.observation_space}"
        )
    if actions is None or actions.number is not None:
        raise ValueError(
            f"{algorithm} keeps a table, so it needs Discrete actions 0 to n-1, but this "
            f"environment has {env.action_space}"
        )
    return observations, actions.size


class Interface(NamedTuple):
    """The four functions, the `env` that is their argument, and its time limit in steps."""

    rules: tuple[Callable[..., Any], ...]  # chance, reset, step, out_of_time
    env: Any
    limit: int
    compiled: bool

    def get_state(self) -> Any:
        """What `set_state` needs beside the observation, in plain numbers."""
        if not self.compiled:
            return self.env.get_state()
        return self.env[1].tolist() if self._keeps_states() else None

    def set_state(self, saved: Any) -> None:
        """Go back to where `get_state` was called."""
        if not self.compiled:
            self.env.set_state(saved)
        elif self._keeps_states():
            self.env[1][:] = saved

    def _keeps_states(self) -> bool:
        return type(self.env) is tuple  # and not the parameters alone, a named tuple


def interface(make_env: Callable[[], gymnasium.Env[Any, Any]], seed: int) -> Interface:
    """How a loop meets the environment that `make_env` makes."""
    env = make_env()
    found = compiled_world(env)
    if found is None:
        counted = numbering(env.observation_space)
        reset, step = _reset, _step
        if counted is not None and counted.number is not None:
            reset, step = _numbering_rules(counted.number)
        own = (_own_chance, reset, step, _truncated)
        return Interface(own, Episodes(make_env, seed), NO_LIMIT, False)
    world, limit = found
    if world.num_states is not None:
        rules = (step_key, world.reset, world.step, _limit_reached)
        return Interface(rules, world.params, limit, True)
    reset, step = _observing_rules(row_rules(world))
    states = (world.params, world.blanks(1), np.zeros(1, np.int64))
    return Interface((step_key, reset, step, _limit_reached), states, limit, True)


@rule
def _limit_reached(env: Any, length: int, limit: int) -> bool:
    return length >= limit


@lru_cache(maxsize=64)
def _observing_rules(rules: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The rules of a world whose state is more than what is observed: `env` holds both."""
    begin, advance, show = rules

    @rule
    def reset(env, key):  # type: ignore[no-untyped-def]
        params, states, observations = env
        begin(params, states, 0, key)
        show(params, states, 0, observations)
        return observations[0]

    @rule
    def step(env, obs, action, key):  # type: ignore[no-untyped-def]
        params, states, observations = env
        reward, terminated = advance(params, states, 0, action, key)
        show(params, states, 0, observations)
        return observations[0], reward, terminated

    return reset, step


def compiled_world(env: gymnasium.Env[Any, Any]) -> tuple[Any, int] | None:
    """The `World` behind an environment and its time limit in steps; None if there is none.

    A wrapper that changes what happens, such as one that rewrites rewards, hides the world: then
    the environment is stepped through its wrapper, as any other.
    """
    limit = NO_LIMIT
    while isinstance(env, gymnasium.Wrapper):
        if type(env) not in TRANSPARENT:
            return None
        if isinstance(env, TimeLimit):
            limit = min(limit, env._max_episode_steps)
        env = env.env
    if type(env).__module__ != "rlbook_envs.world":
        return None
    return env.world, limit  # type: ignore[attr-defined]


PRINTABLE = ord("0")  # stands for action 0: other characters take more room in a file


class Episodes:
    """Steps an ordinary environment, and remembers enough to go on in another process.

    A pickle of a Gymnasium environment often holds no more than how to make it. So this keeps the
    state of the environment's chance from when the episode began, and the actions since, and plays
    them again after it has travelled.

    That fails where the environment keeps what is not in this: chance of its own, or something that
    outlasts an episode. Who calls `set_state` compares what is observed then with what was.

    Args:
        make_env: makes the environment.
        seed: for the environment's chance.
    """

    def __init__(self, make_env: Callable[[], gymnasium.Env[Any, Any]], seed: int) -> None:
        self.make_env = make_env
        self.seed = seed
        self.actions: list[Any] = []
        self.told = ""  # the actions that `get_state` has told of
        self.begun_with: Any = None  # the environment's chance when the episode began
        self.truncated = False
        self.env = make_env()
        self.step = self.env.step

    def reset(self) -> Any:
        """Begin an episode; the very first one seeds the environment. Its first observation."""
        first = self.begun_with is None
        self.begun_with = FIRST_EPISODE if first else _chance_of(self.env)
        self.actions, self.told = [], ""
        obs, _ = self.env.reset(seed=self.seed if first else None)
        return obs

    def get_state(self) -> dict[str, Any]:
        """What `set_state` needs, in plain numbers and text.

        It is asked for after every rollout. So the actions are a text of one character each, which
        is copied at once, however long the episode has become, where a list goes number by number.
        """
        self.told += "".join(chr(PRINTABLE + action) for action in self.actions[len(self.told) :])
        return {"begun_with": self.begun_with, "actions": self.told}

    def set_state(self, saved: dict[str, Any]) -> tuple[Any, bool]:
        """Play again what had been played when `get_state` was called.

        Returns:
            The newest observation, and whether it ends the episode. Where the episode ends before
            all has been played, or had never begun, the observation is None.
        """
        self.begun_with, self.told = saved["begun_with"], saved["actions"]
        self.actions = [ord(action) - PRINTABLE for action in self.told]
        if self.begun_with is None:
            return None, False
        obs, _ = self.env.reset(seed=self.seed)
        if self.begun_with != FIRST_EPISODE:
            _set_chance_of(self.env, self.begun_with)
            obs, _ = self.env.reset()
        ended = False
        for action in self.actions:
            if ended:
                return None, True
            obs, _, terminated, truncated, _ = self.env.step(action)
            ended = bool(terminated or truncated)
        return obs, ended

    def __reduce__(self) -> Any:
        return _again, (self.make_env, self.seed, self.get_state())


def _again(make_env: Callable[[], Any], seed: int, saved: dict[str, Any]) -> Episodes:
    episodes = Episodes(make_env, seed)
    episodes.set_state(saved)
    return episodes


def _chance_of(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """The state of the environment's chance, as JSON can hold it; empty if it can't be told."""
    world = env.unwrapped
    if isinstance(world, WorldEnv):  # others may mean anything by `get_state`
        return world.get_state()
    generator = getattr(world.np_random, "bit_generator", None)  # NumPy's old ones have none
    return {} if generator is None else _plain(generator.state)  # type: ignore[no-any-return]


def _set_chance_of(env: gymnasium.Env[Any, Any], saved: dict[str, Any]) -> None:
    world = env.unwrapped
    if isinstance(world, WorldEnv):
        world.set_state(saved)
    elif saved:
        world.np_random.bit_generator.state = saved


def _plain(state: Any) -> Any:
    """With lists for arrays, which NumPy's generators take back as well."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _own_chance(env_key: Any, clock: int) -> int:
    return 0  # the environment draws its random numbers itself


def _reset(episodes: Episodes, key: Any) -> Any:
    return episodes.reset()


def _step(episodes: Episodes, obs: Any, action: Any, key: Any) -> tuple[Any, float, bool]:
    next_obs, reward, terminated, episodes.truncated, _ = episodes.step(action)
    episodes.actions.append(action)
    return next_obs, float(reward), terminated


def _truncated(episodes: Episodes, length: int, limit: int) -> bool:
    return episodes.truncated


@lru_cache(maxsize=64)
def _numbering_rules(number: Callable[[Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`_reset` and `_step` for observations that must be numbered first."""

    def reset(episodes: Episodes, key: Any) -> Any:
        return number(episodes.reset())

    def step(episodes: Episodes, obs: Any, action: Any, key: Any) -> tuple[Any, float, bool]:
        next_obs, reward, terminated = _step(episodes, obs, action, key)
        return number(next_obs), reward, terminated

    return reset, step
