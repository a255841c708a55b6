"""Actions as networks choose them: arrays of one shape and dtype, whatever the environment takes.

>>> actions = actions_of(gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32))
>>> actions.decode(np.float32([[0.5], [-3.0]]))  # scaled from [-1, 1], and clipped
[array([1.], dtype=float32), array([-2.], dtype=float32)]
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray


class Actions(NamedTuple):
    """How the actions of a space are encoded.

    A `Discrete` action is a number from 0, wherever the space itself starts to count; so is each
    component of a `MultiDiscrete` action. A component of a `Box` action that is bounded on both
    sides is encoded as a number from -1 to 1; any other is taken as it is.

    Attributes:
        kind: `"discrete"`, `"multi_discrete"`, `"multi_binary"` or `"box"`.
        space: the environment's own space.
        shape: of one encoded action; () for `Discrete`.
        dtype: of its numbers.
        sizes: how many values each discrete component has; () for `Box`.
    """

    kind: str
    space: Any
    shape: tuple[int, ...]
    dtype: str
    sizes: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        """The number of actions of a `Discrete` space."""
        return self.sizes[0]

    def decode(self, actions: NDArray[Any]) -> Any:
        """Return N encoded actions, (N, *shape), as N actions for `env.step`.

        Raises:
            ValueError: an action holds NaN.
        """
        if self.kind == "discrete":
            return (actions + self.space.start).tolist() if self.space.start else actions.tolist()
        if self.kind == "multi_discrete":
            return list((actions + self.space.start).astype(self.space.dtype))
        if self.kind == "multi_binary":
            return list(actions.astype(self.space.dtype))
        if np.isnan(actions).any():
            raise ValueError(f"actions must be numbers, got {actions.tolist()}")
        low, high = self.space.low, self.space.high
        bounded = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore"):  # of infinite bounds, which the mask leaves out
            scaled = low + (actions.astype(np.float64) + 1) / 2 * (high.astype(np.float64) - low)
        found = np.where(bounded, scaled, actions)
        return list(np.clip(found, low, high).astype(self.space.dtype))

    def to_bytes(self, decoded: list[Any]) -> bytes:
        """Return actions that `env.step` was given in as few bytes as they need."""
        if self.kind == "discrete":
            return (np.array(decoded, np.int64) - self.space.start).astype(self._compact).tobytes()
        return np.array(decoded, self.space.dtype).tobytes()

    def from_bytes(self, stored: bytes) -> list[Any]:
        """Return the actions that `to_bytes` was given."""
        if self.kind == "discrete":
            numbers = np.frombuffer(stored, self._compact).astype(np.int64) + self.space.start
            return numbers.tolist()  # type: ignore[no-any-return]
        return list(np.frombuffer(stored, self.space.dtype).reshape(-1, *self.shape).copy())

    @property
    def _compact(self) -> Any:
        return np.min_scalar_type(self.n - 1)

    def decode_one(self, action: NDArray[Any]) -> Any:
        """Return one encoded action, (*shape,), as an action for `env.step`."""
        return self.decode(np.asarray(action)[None])[0]


def actions_of(space: gymnasium.Space[Any]) -> Actions:
    """Return how the actions of `space` are encoded.

    Raises:
        ValueError: the space is none of `Discrete`, `MultiDiscrete`, `MultiBinary` and `Box`.
    """
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Discrete):
        return Actions("discrete", space, (), "int64", (int(space.n),))
    if isinstance(space, spaces.MultiDiscrete):
        return Actions("multi_discrete", space, space.shape, "int64", tuple(space.nvec.flat))
    if isinstance(space, spaces.MultiBinary):
        return Actions("multi_binary", space, space.shape, "int8", (2,) * int(np.prod(space.shape)))
    if isinstance(space, spaces.Box):
        return Actions("box", space, space.shape, "float32")
    allowed = "a Discrete, MultiDiscrete, MultiBinary or Box space"
    raise ValueError(f"action_space must be {allowed}, got {space}")
