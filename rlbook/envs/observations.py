"""Encoding of observations: every observation becomes an array of one shape and dtype.

>>> observations_of(gymnasium.make("FrozenLake-v1")).encode_all([3, 0]).shape
(2, 16)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

# Boards with more kinds of cells than this are encoded as numbers instead of planes.
MOST_LEVELS = 64

# Whole numbers with a larger bound than this are not scaled. Such a bound usually means that there
# is none, and typical observations would become tiny if they were divided by it.
LARGEST_SCALE = 2**16

SIGNED = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}


class Observations(NamedTuple):
    """How the observations of an environment are stored and scaled.

    Attributes:
        shape: shape of one observation.
        dtype: dtype in which observations are stored.
        scale: the number by which the network divides observations. It is the largest possible
            value if observations are whole numbers with a known bound, and 1 otherwise.
        levels: number of different cell values of a board, each of which gets its own plane; 0 for
            observations that are not encoded as planes.
        low: the lowest cell value of a board.
        stack: number of consecutive frames in an observation.
        space: the space of observations that must be flattened by `gymnasium.spaces.flatten`; None
            for observations that are arrays already.
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
        """Shape of the new part of every observation, which is one frame of a stack."""
        return self.shape[1:] if self.stack > 1 else self.shape

    def newest(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the newest frames, (N, T, *frame_shape), of observations (N, T, *shape)."""
        return obs[:, :, -1] if self.stack > 1 else obs

    def encode_all(self, observations: Any) -> NDArray[Any]:
        """Return observations of several environments as one array, (N, *shape).

        Raises:
            ValueError: an observation has another shape, or is not in a `Discrete` space.
        """
        if self.space is None:
            array = np.asarray(observations, self.dtype)
            if array.shape[1:] != self.shape:
                raise ValueError(f"obs must have shape {self.shape}, got {array.shape[1:]}")
            return array
        if isinstance(self.space, gymnasium.spaces.Discrete):
            ones = np.asarray(observations)[:, None] - self.space.start == np.arange(self.space.n)
            if not ones.any(axis=1).all():
                raise self._not_in_space(observations)
            return ones.astype(self.dtype)
        flat = [gymnasium.spaces.flatten(self.space, each) for each in observations]
        return np.asarray(flat, self.dtype)

    def _not_in_space(self, obs: Any) -> ValueError:
        return ValueError(f"obs must be one or several elements of {self.space}, got {obs!r}")

    @property
    def num_inputs(self) -> int:
        """Length of the vector that `as_vectors` returns for one observation."""
        return math.prod(self.shape) * max(self.levels, 1)

    def as_vectors(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return scaled vectors, or the planes of boards, (B, num_inputs), for (B, *shape)."""
        if self.levels:
            kinds = np.arange(self.low, self.low + self.levels).reshape(-1, *[1] * len(self.shape))
            obs = obs[:, None] == kinds
        vectors = obs.reshape(len(obs), -1).astype(np.float32, copy=False)
        return vectors if self.scale == 1 else vectors / np.float32(self.scale)

    def batch_of(self, obs: Any) -> tuple[NDArray[Any], bool]:
        """Return a batch (B, *shape) of one or several observations, and whether there was one.

        Raises:
            ValueError: `obs` is neither an observation nor a sequence of observations.
        """
        if self.space is None:
            given = np.asarray(obs)
            single = given.shape == self.shape
            if not single and (given.shape[1:] != self.shape or not len(given)):
                raise ValueError(
                    f"obs must have shape {self.shape}, with one more axis in front for a batch, "
                    f"got {given.shape}"
                )
            return self.encode_all(given[None] if single else given), single
        allowed = _without_bounds(self.space)
        single = allowed.contains(obs)
        several = [obs] if single else list(obs) if np.iterable(obs) else []
        if not several or not all(allowed.contains(each) for each in several):
            raise self._not_in_space(obs)
        return self.encode_all(several), single


def observations_of(env: gymnasium.Env[Any, Any]) -> Observations:
    """Return the encoding of an environment's observations.

    Observations of a `Box` keep their shape, with floats in single precision. All others that
    Gymnasium can flatten become vectors, in which a `Discrete` number is one-hot encoded.

    Raises:
        ValueError: the observations can't be flattened.
    """
    space = env.observation_space
    if isinstance(space, gymnasium.spaces.Box):
        whole = space.dtype.kind in "iu"
        found = Observations(
            space.shape,
            dtype=_stored(np.dtype(space.dtype)) if whole else "float32",
            stack=frames_of(env),
        )
        if not whole:
            return found
        low, high = int(space.low.min()), int(space.high.max())
        if len(space.shape) == 2 and high - low < MOST_LEVELS:
            return found._replace(levels=high - low + 1, low=low)
        largest = max(-low, high, 1)
        return found._replace(scale=float(largest if largest <= LARGEST_SCALE else 1))
    if not space.is_np_flattenable:
        raise ValueError(f"observation_space must be one that can be flattened, got {space}")
    return Observations((gymnasium.spaces.flatdim(space),), space=space)


def _without_bounds(space: Any) -> Any:
    """Return a space that also contains observations out of bounds or in double precision.

    Some environments return observations slightly out of bounds, and networks can process them.
    """
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Dict):
        return spaces.Dict({name: _without_bounds(each) for name, each in space.items()})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([_without_bounds(each) for each in space])
    if isinstance(space, spaces.Box):
        return spaces.Box(-np.inf, np.inf, space.shape, np.float64)
    return space


def _stored(whole: np.dtype[Any]) -> str:
    """Return the dtype that stores whole numbers; above uint8 it is signed, as torch needs."""
    return SIGNED.get(whole.name, whole.name)


def frames_of(env: gymnasium.Env[Any, Any]) -> int:
    """Return the number of stacked frames in an observation; 1 if observations are not stacked.

    Only stacks that begin an episode with copies of its first frame count, as those of Gymnasium's
    wrapper do by default, because they can be rebuilt from single frames.
    """
    pictures = len(env.observation_space.shape or ()) == 3
    size = getattr(env, "stack_size", 1)  # of `gymnasium.wrappers.FrameStackObservation`
    return size if pictures and getattr(env, "padding_type", None) == "reset" else 1
