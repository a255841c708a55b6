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

# Whole numbers that may be larger than this are not scaled: such a bound says only that there is
# none, and what is really seen would vanish beside it.
LARGEST_SCALE = 2**16

SIGNED = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}


class Observations(NamedTuple):
    """How observations are stored, and how large their numbers get.

    Attributes:
        shape: of one observation.
        dtype: of its numbers.
        scale: what the network divides them by: the largest that there is, if they are whole and
            that is known.
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
        """Observations of several environments as one array, (N, *shape).

        Raises:
            ValueError: an array of another shape, or a number that there is not.
        """
        if self.space is None:
            array = np.asarray(observations, self.dtype)
            if array.shape[1:] != self.shape:
                raise ValueError(
                    f"observations of shape {array.shape[1:]} are not allowed: {self.shape}"
                )
            return array
        if isinstance(self.space, gymnasium.spaces.Discrete):
            ones = np.asarray(observations)[:, None] - self.space.start == np.arange(self.space.n)
            if not ones.any(axis=1).all():
                raise self._refused(observations)
            return ones.astype(self.dtype)
        flat = [gymnasium.spaces.flatten(self.space, each) for each in observations]
        return np.asarray(flat, self.dtype)

    def _refused(self, observations: Any) -> ValueError:
        return ValueError(f"obs={observations!r} is not allowed: one of {self.space}, or more")

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
            if not single and (given.shape[1:] != self.shape or not len(given)):
                raise ValueError(
                    f"obs of shape {given.shape} is not allowed: {self.shape}, or more"
                )
            return self.encode_all(given[None] if single else given), single
        allowed = _without_bounds(self.space)
        single = allowed.contains(obs)
        several = [obs] if single else list(obs) if np.iterable(obs) else []
        if not several or not all(allowed.contains(each) for each in several):
            raise self._refused(obs)
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
        raise ValueError(f"the environment's observations can't be made an array: {space}")
    return Observations((gymnasium.spaces.flatdim(space),), space=space)


def _without_bounds(space: Any) -> Any:
    """A space that also holds what lies a little outside this one, or is in double precision.

    Environments give such observations, and a network makes nothing of the difference.
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
    """The name of the dtype that whole numbers are kept in: signed beyond bytes, for torch."""
    return SIGNED.get(whole.name, whole.name)


def frames_of(env: gymnasium.Env[Any, Any]) -> int:
    """How many frames an observation is a stack of, if it is one like those of Gymnasium's wrapper.

    One that begins an episode with copies of the first frame can be put together again from frames.
    """
    pictures = len(env.observation_space.shape or ()) == 3
    size = getattr(env, "stack_size", 1)  # of `gymnasium.wrappers.FrameStackObservation`
    return size if pictures and getattr(env, "padding_type", None) == "reset" else 1
