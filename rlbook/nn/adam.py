"""Adam, the optimiser of all agents with a neural network, in one pass over one vector."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile

FIRST_DECAY, SECOND_DECAY = np.float32(0.9), np.float32(0.999)
# Numbers closer to 0 slow processors down, and moments decay towards 0 where gradients are 0.
TINY = np.float32(1e-30)


class Adam:
    """The optimiser Adam (Kingma and Ba, "Adam", ICLR 2015, algorithm 1).

    Args:
        weights: (P,) float32, which the optimiser changes in place.
        epsilon: the constant that is added to the denominators.
    """

    def __init__(self, weights: NDArray[np.float32], epsilon: float) -> None:
        self.weights, self.epsilon = weights, np.float32(epsilon)
        self.first, self.second = np.zeros_like(weights), np.zeros_like(weights)
        self.steps = 0

    def step(self, gradient: NDArray[np.float32], learning_rate: float, max_norm: float) -> None:
        """Take one step against the gradient, the norm of which is first clipped to `max_norm`."""
        self.steps += 1
        norm = float(np.sqrt(np.dot(gradient, gradient)))
        scale = np.float32(max_norm / norm if norm > max_norm else 1.0)
        first = np.float32(learning_rate / (1 - float(FIRST_DECAY) ** self.steps))
        second = np.float32(1 / np.sqrt(1 - float(SECOND_DECAY) ** self.steps))
        moments = self.first, self.second
        _compiled()(self.weights, gradient, *moments, scale, first, second, self.epsilon)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state of the optimiser as named arrays."""
        steps = np.array(self.steps)
        return {"adam_first": self.first, "adam_second": self.second, "adam_steps": steps}

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore the state that `to_arrays` returned.

        Raises:
            ValueError: an array has another shape.
        """
        check_moments(arrays, self.weights.shape)
        self.first[:], self.second[:] = arrays["adam_first"], arrays["adam_second"]
        self.steps = int(arrays["adam_steps"])


def check_moments(arrays: dict[str, NDArray[Any]], shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless the moments among these arrays have this shape."""
    for name in ("adam_first", "adam_second"):
        if arrays[name].shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {arrays[name].shape}")


def adam_step(weights, gradient, first, second, scale, rate, root, epsilon):  # type: ignore[no-untyped-def]
    """Update every weight; `rate` and `root` contain the bias corrections of the moments."""
    for i in range(len(weights)):
        g = gradient[i] * scale
        m = first[i] + (np.float32(1) - FIRST_DECAY) * (g - first[i])
        v = second[i] + (np.float32(1) - SECOND_DECAY) * (g * g - second[i])
        first[i] = m if abs(m) > TINY else np.float32(0)
        second[i] = v if v > TINY else np.float32(0)
        weights[i] -= rate * first[i] / (np.sqrt(second[i]) * root + epsilon)


@cache
def _compiled() -> Any:
    return compile(adam_step)
