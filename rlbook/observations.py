"""Observations as networks see them: arrays of one shape and dtype, whatever the environment gives.

>>> observations_of(gymnasium.make("FrozenLake-v1")).encode_all([3, 0]).shape
(2, 16)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

# Boards with more kinds of cells than this are seen as numbers, rather than in planes.
MOST_LEVELS = 64


class Observations(NamedTuple):
    """How observations are stored, and how large their numbers get.

    Attributes:
        shape: of one observation.
        dtype: of its numbers.
        scale: what the network divides them by: the largest that there is, if they are whole.
        levels: of a board of so few different whole numbers that each gets a plane of its own, how
            many there are; else 0.
        low: the lowest of them.
        stack: how many frames, one after the other in time, an observation consists of.
        space: where an observation must be flattened first (by `gymnasium.spaces.flatten`), the
            space that says how; else None.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = 1.0
    levels: int = 0
    low: int = 0
    stack: int = 1
    space: Any = None

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """What is new in every observation: of a stack, one frame."""
        return self.shape[1:] if self.stack > 1 else self.shape

    def newest(self, obs: NDArray[Any]) -> NDArray[Any]:
        """(N, T, *shape) to (N, T, *frame_shape)."""
        return obs[:, :, -1] if self.stack > 1 else obs

    def encode_all(self, observations: Any) -> NDArray[Any]:
        """Observations of several environments as one array, (N, *shape)."""
        if self.space is None:
            return np.asarray(observations, self.dtype)
        if isinstance(self.space, gymnasium.spaces.Discrete):
            numbers = np.asarray(observations)[:, None] - self.space.start
            return (numbers == np.arange(self.space.n)).astype(self.dtype)
        flat = [gymnasium.spaces.flatten(self.space, each) for each in observations]
        return np.asarray(flat, self.dtype)

    @property
    def num_inputs(self) -> int:
        """How many numbers `as_vectors` makes of one observation."""
        return math.prod(self.shape) * max(self.levels, 1)

    def as_vectors(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """(B, *shape) to (B, num_inputs): scaled, or of a board, one plane after the other."""
        if self.levels:
            kinds = np.arange(self.low, self.low + self.levels).reshape(-1, *[1] * len(self.shape))
            obs = obs[:, None] == kinds
        vectors = obs.reshape(len(obs), -1).astype(np.float32, copy=False)
        return vectors if self.scale == 1 else vectors / np.float32(self.scale)

    def batch_of(self, obs: Any) -> tuple[NDArray[Any], bool]:
        """One observation or several as an array (B, *shape), and whether it was one.

        Raises:
            ValueError: it is neither.
        """
        if self.space is None:
            given = np.asarray(obs)
            single = given.shape == self.shape
            if not single and given.shape[1:] != self.shape:
                raise ValueError(
                    f"obs of shape {given.shape} is not allowed: {self.shape}, or more"
                )
            return self.encode_all(given[None] if single else given), single
        single = self.space.contains(obs)
        several = [obs] if single else list(obs) if np.iterable(obs) else []
        if not several or not all(self.space.contains(each) for each in several):
            raise ValueError(f"obs={obs!r} is not allowed: one of {self.space}, or more")
        return self.encode_all(several), single


def observations_of(env: gymnasium.Env[Any, Any]) -> Observations:
    """How a network sees what this environment shows.

    A `Box` stays as it is, but for double precision; everything else that Gymnasium can flatten
    becomes a vector, in which a `Discrete` number is a one among zeros.

    Raises:
        ValueError: the observations can't be flattened.
    """
    space = env.observation_space
    if isinstance(space, gymnasium.spaces.Box):
        whole = space.dtype.kind in "iu"
        found = Observations(
            space.shape,
            dtype=np.dtype(space.dtype).name if whole else "float32",
            stack=frames_of(env),
        )
        if not whole:
            return found
        low, high = int(space.low.min()), int(space.high.max())
        if len(space.shape) == 2 and high - low < MOST_LEVELS:
            return found._replace(levels=high - low + 1, low=low)
        return found._replace(scale=float(max(-low, high, 1)))
    if not space.is_np_flattenable:
        raise ValueError(f"the environment's observations can't be made an array: {space}")
    return Observations((gymnasium.spaces.flatdim(space),), space=space)


def frames_of(env: gymnasium.Env[Any, Any]) -> int:
    """How many frames an observation is a stack of, if it is one like those of Gymnasium's wrapper.

    One that begins an episode with copies of the first frame can be put together again from frames.
    """
    pictures = len(env.observation_space.shape or ()) == 3
    size = getattr(env, "stack_size", 1)  # of `gymnasium.wrappers.FrameStackObservation`
    return size if pictures and getattr(env, "padding_type", None) == "reset" else 1
