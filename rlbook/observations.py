"""Observations as networks see them: arrays of one shape and dtype, whatever the environment gives.

>>> observations_of(gymnasium.make("FrozenLake-v1")).encode_all([3, 0]).shape
(2, 16)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray


class Observations(NamedTuple):
    """How observations are stored, and how large their numbers get.

    Attributes:
        shape: of one observation.
        dtype: of its numbers.
        scale: what the network divides them by: 255 for bytes, 1 for numbers that stay as they are.
        stack: how many frames, one after the other in time, an observation consists of.
        space: where an observation must be flattened first (by `gymnasium.spaces.flatten`), the
            space that says how; else None.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = 1.0
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

    def batch_of(self, obs: Any) -> tuple[NDArray[Any], bool]:
        """One observation or several as an array (B, *shape), and whether it was one.

        Raises:
            ValueError: it is neither.
        """
        parts = isinstance(self.space, (gymnasium.spaces.Tuple, gymnasium.spaces.Dict))
        shape = self.shape if self.space is None else self.space.shape
        single = parts or np.shape(obs) == shape
        if not single and np.shape(obs)[1:] != shape:
            raise ValueError(f"obs of shape {np.shape(obs)} is not allowed: {shape}, or a batch")
        return self.encode_all([obs] if single else obs), single


def observations_of(env: gymnasium.Env[Any, Any]) -> Observations:
    """How a network sees what this environment shows.

    A `Box` stays as it is, but for double precision; everything else that Gymnasium can flatten
    becomes a vector, in which a `Discrete` number is a one among zeros.

    Raises:
        ValueError: the observations can't be flattened.
    """
    space = env.observation_space
    if isinstance(space, gymnasium.spaces.Box):
        scale = 255.0 if space.dtype == np.uint8 else 1.0
        dtype = np.dtype(space.dtype).name if space.dtype.kind in "iu" else "float32"
        return Observations(space.shape, dtype, scale, frames_of(env))
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
