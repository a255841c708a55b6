"""Numbering the observations of a space, so that a table can have a row for each."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from rlbook.envs.making import (
    NO_LIMIT,
)


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
