"""Numbering of the observations of a space, so that a table can have a row for each of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from rlbook.envs.making import NO_LIMIT


class Numbering(NamedTuple):
    """The number of each observation of a space.

    Attributes:
        size: number of observations in the space.
        number: a function from an observation (or an array for each of its parts) to its number,
            from 0 to size - 1; None if observations already are these numbers.
    """

    size: int
    number: Any


class MixedRadix(NamedTuple):
    """Numbering of observations with several parts, as digits of a mixed-radix number."""

    sizes: tuple[int, ...]
    shape: tuple[int, ...]  # shape of an observation that is an array; () for a tuple

    def __call__(self, obs: Any) -> Any:
        number: Any = 0
        for part, size in zip(self.parts(obs), self.sizes, strict=True):
            number = number * size + part
        return number if np.ndim(number) else int(number)

    def parts(self, obs: Any) -> Any:
        """Return the parts of an observation; of several observations, one array for each part."""
        if not self.shape:
            return obs
        obs = np.asarray(obs)  # the parts are on the last axes
        return np.moveaxis(obs.reshape(*obs.shape[: -len(self.shape)], -1), -1, 0)

    def allows(self, obs: Any) -> bool:
        """Return whether `obs` is one observation of the space, or several."""
        try:
            pairs = list(zip(self.parts(obs), self.sizes, strict=True))
            return all(np.all((part >= 0) & (part < size)) for part, size in pairs)
        except (TypeError, ValueError):
            return False


def numbering(space: gymnasium.Space[Any]) -> Numbering | None:
    """Return the numbering of the observations of `space`; None if they can't be numbered."""
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
    """Return the numbering of the observations of `env`, and its number of actions.

    Args:
        env: the environment.
        algorithm: the name of the algorithm, for error messages.

    Raises:
        ValueError: no table can represent values for the environment's spaces.
    """
    observations, actions = numbering(env.observation_space), numbering(env.action_space)
    if observations is None:
        raise ValueError(
            "observation_space must be Discrete, MultiDiscrete, or a Tuple of Discrete for "
            f"{algorithm}, which learns a table, got {env.observation_space}"
        )
    if actions is None or actions.number is not None:
        raise ValueError(
            f"action_space must be Discrete and start at 0 for {algorithm}, which learns a table, "
            f"got {env.action_space}"
        )
    return observations, actions.size
