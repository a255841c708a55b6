"""The interface of networks: arrays go in, arrays come out, and gradients are propagated back.

An algorithm knows the gradient of its loss with respect to the outputs of the network. The network
turns this gradient into the one with respect to its weights, by `vjp`, a vector-Jacobian product.

Two classes have this interface: `rlbook.nn.dense.Dense`, in NumPy, for vectors, and
`rlbook.nn.torch_networks.TorchNetwork` for everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Network(Protocol):
    """The methods of a network that algorithms use.

    Attributes:
        noise_size: length of a row of noise; 0 if no layer is noisy.
    """

    noise_size: int

    def get_weights(self) -> Floats:
        """Return all weights as one vector, (P,) float32."""

    def set_weights(self, weights: Floats) -> None:
        """Replace all weights."""

    def __call__(self, obs: NDArray[Any], noise: Floats | None = None) -> Floats:
        """Return the outputs, (B, *out), for observations (B, *shape).

        `noise` is (B or 1, noise_size), or None for outputs without noise.
        """

    def vjp(
        self, obs: NDArray[Any], noise: Floats | None = None
    ) -> tuple[Floats, Callable[[Floats], Any]]:
        """Return the outputs and a function that propagates gradients back to the weights.

        The function takes the gradient at the outputs, (B, *out), to that at the weights, (P,).
        """

    def optimiser(self, epsilon: float) -> Any:
        """Return an optimiser for the weights, with the methods of `rlbook.nn.adam.Adam`."""


def check_weights(weights: Floats, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless `weights` has the shape of the network's weights."""
    if weights.shape != shape:
        raise ValueError(f"weights must have shape {shape}, got {weights.shape}")
