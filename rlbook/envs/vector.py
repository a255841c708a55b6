"""Several environments stepped together."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook.envs.episodes import Episodes
from rlbook.envs.making import NO_LIMIT, compiled_world
from rlbook_envs.streams import ENVIRONMENT, stream_key


def make_envs(make_env: Callable[[], Any], seed: int, numbers: list[int]) -> Any:
    """The environments of these numbers: one compiled batch of a world, or one after the other.

    Raises:
        ValueError: `make_env` gives the same environment again.
    """
    seeds = [int(stream_key(seed, ENVIRONMENT, number)) for number in numbers]
    if hasattr(make_env, "batch"):
        return make_env.batch(seeds)
    env = make_env()
    found = compiled_world(env)
    env.close()
    if found is None:
        return EnvList(make_env, [seed % 2**31 for seed in seeds])  # as old generators want them
    return WorldBatch(*found, seeds)


class EnvList:
    """Ordinary environments, stepped one after the other, and closed when nobody has them any more.

    Raises:
        ValueError: `make_env` gives the same environment again.
    """

    restorable = True  # as far as playing an episode again leads where it had led; see `set_row`

    def __init__(self, make_env: Callable[[], Any], seeds: list[int]) -> None:
        self.envs = [Episodes(make_env, seed) for seed in seeds]
        if len({id(each.env.unwrapped) for each in self.envs}) < len(seeds):
            raise ValueError(
                f"env={make_env!r} is not allowed: it must make a new environment whenever it is "
                "called, and gave the same one again"
            )
        # Backends drop workers without a word, and at the latest when the interpreter ends.
        weakref.finalize(self, _close_all, [each.env for each in self.envs])
        self.ended = [False] * len(seeds)

    def reset(self) -> list[Any]:
        """Begin an episode in each; the first observations."""
        return [env.reset() for env in self.envs]

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        """One step of each: observations, rewards, terminated, truncated.

        Of an environment whose episode had ended, it is the beginning of a new one.
        """
        steps = [self._step_one(i, action) for i, action in enumerate(actions.tolist())]
        return tuple(zip(*steps, strict=True))

    def _step_one(self, i: int, action: int) -> tuple[Any, ...]:
        env = self.envs[i]
        if self.ended[i]:
            self.ended[i] = False
            return env.reset(), 0.0, False, False
        obs, reward, terminated, truncated, _ = env.step(action)
        env.actions.append(action)
        self.ended[i] = terminated or truncated
        return obs, reward, terminated, truncated

    def get_row(self, row: int) -> Any:
        """All that `set_row` needs, in plain numbers."""
        return {"episode": self.envs[row].get_state(), "ended": bool(self.ended[row])}

    def set_row(self, row: int, saved: Any, as_then: Callable[[Any], bool]) -> bool:
        """Play again what had been played when `get_row` was called.

        Args:
            as_then: whether an observation is the one that was newest then.

        Returns:
            Whether to go on from there. False: it led elsewhere, so an episode must `begin`.
        """
        self.ended[row] = saved["ended"]
        try:
            obs, ended = self.envs[row].set_state(saved["episode"])
            there = ended == saved["ended"] and as_then(obs)
        except Exception:  # whatever an environment raises where it is not what it was
            there = False
        return there or saved["ended"]  # after an end, an episode begins in any case

    def begin(self, row: int) -> Any:
        """Begin an episode in one of them, wherever it is; the first observation."""
        self.ended[row] = False
        return self.envs[row].reset()


def _close_all(envs: list[Any]) -> None:
    for env in envs:
        with contextlib.suppress(Exception):  # nobody is there to be told
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
        """Begin an episode in each row; the first observations."""
        return self.envs.reset(seed=self.seeds)[0]

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        """One step of each row; observations, rewards, terminated, truncated."""
        return self.envs.step(actions)[:4]

    def get_row(self, row: int) -> Any:
        """All that `set_row` needs, in plain numbers."""
        return self.envs.get_row(row)

    def set_row(self, row: int, saved: Any, as_then: Callable[[Any], bool]) -> bool:
        """Go on from where `get_row` was called, as our worlds always can."""
        self.envs.set_row(row, saved)
        return True
