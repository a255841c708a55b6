"""Ordinary environments whose episode can be continued in another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

from rlbook.envs.actions import Actions
from rlbook_envs.world import WorldEnv

FIRST_EPISODE = "first"


class Episodes:
    """Steps an ordinary environment, and remembers enough to continue its episode elsewhere.

    A pickle of a Gymnasium environment often holds no more than how to make it. So this class keeps
    the state of the environment's random generator when the episode began, and the actions since,
    and plays them again in the other process.

    That fails where the environment keeps state outside of both: random numbers of its own, or
    something that outlasts an episode. Whoever calls `set_state` therefore compares the newest
    observation with the one that was newest then.

    Args:
        make_env: makes the environment.
        seed: of the environment's random generator.
        actions: how actions are encoded.
    """

    def __init__(
        self, make_env: Callable[[], gymnasium.Env[Any, Any]], seed: int, actions: Actions
    ) -> None:
        self.make_env, self.seed, self._encoding = make_env, seed, actions
        self.actions: list[Any] = []  # that `env.step` was given in this episode
        self._stored = b""  # the actions that `get_state` has stored already
        self._num_stored = 0
        self.begun_with: Any = None  # the random generator's state when the episode began
        self.truncated = False
        self.env = make_env()
        self.step = self.env.step

    def reset(self) -> Any:
        """Begin an episode; the very first one seeds the environment. Return its observation."""
        first = self.begun_with is None
        self.begun_with = FIRST_EPISODE if first else _random_state_of(self.env)
        self._forget()
        obs, _ = self.env.reset(seed=self.seed if first else None)
        return obs

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs: numbers, arrays and bytes.

        It is called after every rollout, so only the actions since the last call are encoded.
        """
        self._stored += self._encoding.to_bytes(self.actions[self._num_stored :])
        self._num_stored = len(self.actions)
        return {"begun_with": self.begun_with, "actions": self._stored}

    def set_state(self, saved: dict[str, Any]) -> tuple[Any, bool]:
        """Play again what had been played when `get_state` was called.

        Returns:
            The newest observation, and whether it ends the episode. The observation is None if the
            episode ends before all actions have been played, or had never begun.
        """
        self.begun_with = saved["begun_with"]
        self._forget()
        self._stored = bytes(saved["actions"])
        self.actions = self._encoding.from_bytes(self._stored)
        self._num_stored = len(self.actions)
        if self.begun_with is None:
            return None, False
        obs, _ = self.env.reset(seed=self.seed)
        if not isinstance(self.begun_with, str):
            _set_random_state_of(self.env, self.begun_with)
            obs, _ = self.env.reset()
        ended = False
        for action in self.actions:
            if ended:
                return None, True
            obs, _, terminated, truncated, _ = self.env.step(action)
            ended = bool(terminated or truncated)
        return obs, ended

    def _forget(self) -> None:
        self.actions, self._stored, self._num_stored = [], b"", 0

    def __reduce__(self) -> Any:
        return _again, (self.make_env, self.seed, self._encoding, self.get_state())


def _again(make_env: Callable[[], Any], seed: int, actions: Actions, saved: Any) -> Episodes:
    episodes = Episodes(make_env, seed, actions)
    episodes.set_state(saved)
    return episodes


def _random_state_of(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """Return the state of the environment's random generator; empty if it cannot be read."""
    world = env.unwrapped
    if isinstance(world, WorldEnv):  # in other environments `get_state` may mean anything
        return world.get_state()
    generator = getattr(world.np_random, "bit_generator", None)  # NumPy's old ones have none
    return {} if generator is None else dict(generator.state)


def _set_random_state_of(env: gymnasium.Env[Any, Any], saved: dict[str, Any]) -> None:
    world = env.unwrapped
    if isinstance(world, WorldEnv):
        world.set_state(saved)
    elif saved:
        world.np_random.bit_generator.state = saved
