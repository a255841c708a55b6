"""How agents act: what workers do with weights that were sent to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook.nn.network import Network
from rlbook.ops.distributional import action_values
from rlbook.ops.sampling import explore_uniformly, factorised_noise

Floats = NDArray[np.float32]


class EpsilonGreedy:
    """The behaviour policy: usually the action of the highest value.

    Args:
        network: what says the values; or, with `support`, distributions over these atoms.
    """

    def __init__(self, network: Network, support: Floats) -> None:
        self.network, self.support = network, support

    def set_weights(self, weights: Floats) -> None:
        """Act with these from now on, (P,) float32."""
        self.network.set_weights(weights)

    def act(
        self,
        obs: NDArray[Any],
        keys: NDArray[np.uint64],
        clocks: NDArray[np.int64],
        explore: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """`explore` is ε; a noisy network needs any above 0."""
        noise, size = None, self.network.noise_size
        if size and explore.any():
            noise = factorised_noise(keys, clocks, size)
        values = action_values(self.network(obs, noise), self.support)
        actions = values.argmax(axis=1)
        if not size:
            explore_uniformly(actions, values.shape[1], explore, keys, clocks)
        return actions
