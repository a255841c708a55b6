"""Ordinary environments whose episode can be continued in another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from rlbook_envs.world import WorldEnv

FIRST_EPISODE = "first"


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
