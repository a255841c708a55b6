"""Adam, the optimiser of every agent with a network, as one pass over one vector."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile

FIRST_DECAY, SECOND_DECAY = np.float32(0.9), np.float32(0.999)
# Numbers nearer to 0 slow processors down, and moments of weights that nothing moves get there.
TINY = np.float32(1e-30)


class Adam:
    """Moves weights against their gradient (Kingma and Ba, "Adam", ICLR 2015, algorithm 1).

    Args:
        weights: (P,) float32, changed in place.
        epsilon: what is added to the denominators.
    """

    def __init__(self, weights: NDArray[np.float32], epsilon: float) -> None:
        self.weights, self.epsilon = weights, np.float32(epsilon)
        self.first, self.second = np.zeros_like(weights), np.zeros_like(weights)
        self.steps = 0

    def step(self, gradient: NDArray[np.float32], rate: float, longest: float) -> None:
        """One step, against a gradient that is first shortened to a length of at most `longest`."""
        self.steps += 1
        length = float(np.sqrt(np.dot(gradient, gradient)))
        scale = np.float32(longest / length if length > longest else 1.0)
        first = np.float32(rate / (1 - float(FIRST_DECAY) ** self.steps))
        second = np.float32(1 / np.sqrt(1 - float(SECOND_DECAY) ** self.steps))
        moments = self.first, self.second
        _compiled()(self.weights, gradient, *moments, scale, first, second, self.epsilon)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that it remembers."""
        steps = np.array(self.steps)
        return {"adam_first": self.first, "adam_second": self.second, "adam_steps": steps}

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take up what `to_arrays` gave.

        Raises:
            ValueError: an array has another shape.
        """
        check_moments(arrays, self.weights.shape)
        self.first[:], self.second[:] = arrays["adam_first"], arrays["adam_second"]
        self.steps = int(arrays["adam_steps"])


def check_moments(arrays: dict[str, NDArray[Any]], shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless the arrays of `to_arrays` are of so many weights."""
    for name in ("adam_first", "adam_second"):
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, not {shape}")


def adam_step(weights, gradient, first, second, scale, rate, root, epsilon):  # type: ignore[no-untyped-def]
    """All weights, one by one. `rate` and `root` make up for moments that began at 0."""
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
