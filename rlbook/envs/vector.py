"""Several environments stepped together: the vector environments of rollout workers.

Each class has `reset`, `step`, `get_row` and `set_row`. After a step that ended an episode, the
next step of that row ignores its action and begins a new episode, as `rlbook.data.rollout`
explains.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook.envs.actions import Actions
from rlbook.envs.episodes import Episodes
from rlbook.envs.making import NO_LIMIT, compiled_world
from rlbook_envs.streams import ENVIRONMENT, stream_key


def make_envs(make_env: Callable[[], Any], actions: Actions, seed: int, numbers: list[int]) -> Any:
    """Return the environments with these numbers: a compiled batch, or a list.

    Args:
        make_env: makes one environment; with a method `batch(seeds)`, it makes several at once.
        actions: how actions are encoded.
        seed: of the run.
        numbers: which environments of the run.

    Raises:
        ValueError: `make_env` returned the same object twice.
    """
    seeds = [int(stream_key(seed, ENVIRONMENT, number)) for number in numbers]
    if hasattr(make_env, "batch"):
        return make_env.batch(seeds)
    env = make_env()
    found = compiled_world(env)
    env.close()
    if found is None:
        return EnvList(make_env, actions, [seed % 2**31 for seed in seeds])  # as old ones want them
    return WorldBatch(*found, seeds)


class EnvList:
    """Ordinary environments, stepped one after the other, and closed with this object.

    Raises:
        ValueError: `make_env` returned the same object twice.
    """

    restorable = True  # as far as playing an episode again leads to the same place; see `set_row`

    def __init__(self, make_env: Callable[[], Any], actions: Actions, seeds: list[int]) -> None:
        self.actions = actions
        self.envs = [Episodes(make_env, seed, actions) for seed in seeds]
        if len({id(each.env.unwrapped) for each in self.envs}) < len(seeds):
            raise ValueError(
                "env must be a function that makes a new environment whenever it is called, got "
                f"{make_env!r}, which returned the same environment again"
            )
        # Backends drop workers without notice, and at the latest when the interpreter ends.
        weakref.finalize(self, _close_all, [each.env for each in self.envs])
        self.ended = [False] * len(seeds)

    def reset(self) -> list[Any]:
        """Begin an episode in each; return the first observations."""
        return [env.reset() for env in self.envs]

    def step(self, actions: NDArray[Any]) -> tuple[Any, ...]:
        """Step each; return observations, rewards, terminated and truncated.

        In an environment whose episode had ended, the step begins a new one.
        """
        decoded = self.actions.decode(actions)
        steps = [self._step_one(i, action) for i, action in enumerate(decoded)]
        return tuple(zip(*steps, strict=True))

    def _step_one(self, i: int, action: Any) -> tuple[Any, ...]:
        env = self.envs[i]
        if self.ended[i]:
            self.ended[i] = False
            return env.reset(), 0.0, False, False
        obs, reward, terminated, truncated, _ = env.step(action)
        env.actions.append(action)
        self.ended[i] = terminated or truncated
        return obs, reward, terminated, truncated

    def get_row(self, row: int) -> Any:
        """Return everything that `set_row` needs."""
        return {"episode": self.envs[row].get_state(), "ended": bool(self.ended[row])}

    def set_row(self, row: int, saved: Any, as_then: Callable[[Any], bool]) -> bool:
        """Play again what had been played when `get_row` was called.

        Args:
            as_then: tells whether an observation is the one that was newest then.

        Returns:
            Whether to go on from there. If not, an episode must `begin`.
        """
        self.ended[row] = saved["ended"]
        try:
            obs, ended = self.envs[row].set_state(saved["episode"])
            there = ended == saved["ended"] and as_then(obs)
        except Exception:  # an environment that is not what it was may raise anything
            there = False
        return there or saved["ended"]  # after an end, an episode begins in any case

    def begin(self, row: int) -> Any:
        """Begin an episode in one of them, wherever it is; return the first observation."""
        self.ended[row] = False
        return self.envs[row].reset()


def _close_all(envs: list[Any]) -> None:
    for env in envs:
        with contextlib.suppress(Exception):  # there is nobody left to be told
            env.close()


class WorldBatch:
    """A compiled world in several rows, stepped by one compiled call."""

    restorable = True

    def __init__(self, world: Any, limit: int, seeds: list[int]) -> None:
        from rlbook_envs.world import WorldVectorEnv

        self.seeds = seeds
        most = None if limit == NO_LIMIT else limit
        self.envs = WorldVectorEnv(world, len(seeds), max_episode_steps=most, copy=False)

    def reset(self) -> NDArray[Any]:
        """Begin an episode in each row; return the first observations."""
        return self.envs.reset(seed=self.seeds)[0]

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        """Step each row; return observations, rewards, terminated and truncated."""
        return self.envs.step(actions)[:4]

    def get_row(self, row: int) -> Any:
        """Return everything that `set_row` needs."""
        return self.envs.get_row(row)

    def set_row(self, row: int, saved: Any, as_then: Callable[[Any], bool]) -> bool:
        """Go on from where `get_row` was called, which a compiled world always can."""
        self.envs.set_row(row, saved)
        return True
