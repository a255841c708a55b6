"""Networks as algorithms use them: arrays go in, arrays come out, and slopes find their way back.

An algorithm knows how its loss changes with what the network says. How that changes with the
weights is the network's business: `vjp`, a vector-Jacobian product, takes the one to the other.

Two kinds of network have these methods: `rlbook.nn.dense.Dense`, in NumPy, for vectors, and
`rlbook.nn.torch_networks.TorchNetwork` for everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Network(Protocol):
    """What an algorithm needs of a network.

    Attributes:
        noise_size: how many random numbers one row of noise has; 0 if it is not noisy.
    """

    noise_size: int

    def get_weights(self) -> Floats:
        """All weights in one vector, (P,) float32."""

    def set_weights(self, weights: Floats) -> None:
        """Take these."""

    def __call__(self, obs: NDArray[Any], noise: Floats | None = None) -> Floats:
        """(B, *shape) to (B, *out); `noise` is (B or 1, noise_size), None for none."""

    def vjp(
        self, obs: NDArray[Any], noise: Floats | None = None
    ) -> tuple[Floats, Callable[[Floats], Any]]:
        """The output, and a function from its slopes (B, *out) to those of the weights (P,)."""

    def optimiser(self, epsilon: float) -> Any:
        """What moves the weights: `rlbook.nn.adam.Adam`, or what behaves as it does."""


def check_weights(weights: Floats, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless there are as many weights as a network has."""
    if weights.shape != shape:
        raise ValueError(f"weights of shape {weights.shape} are not allowed: {shape}")
