"""A network of linear layers with ReLU between them, in NumPy.

It serves agents that observe vectors, or boards that are flattened. Its gradient is written out by
hand, and a test compares it with torch's.

>>> network = Dense((4, 64, 2), seed=1)
>>> network(np.zeros((8, 4), np.float32)).shape
(8, 2)
>>> out, backward = network.vjp(np.zeros((8, 4), np.float32))
>>> backward(np.ones_like(out)).shape == network.get_weights().shape
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook.envs.observations import Observations
from rlbook.nn.adam import Adam
from rlbook.nn.network import Floats, check_weights


class Dense:
    """A network of linear layers with ReLU between them.

    Args:
        sizes: number of units in each layer, from the input to the output.
        seed: seed of the initial weights, which are uniform between ±1 / sqrt(inputs), as in torch.
        out_shape: shape of one output; by default, (sizes[-1],).
        observations: how observations become vectors; by default, they are flattened.
    """

    noise_size = 0

    def __init__(
        self,
        sizes: Sequence[int],
        seed: int,
        out_shape: tuple[int, ...] | None = None,
        observations: Observations | None = None,
    ) -> None:
        self.shapes = list(pairwise(sizes))
        self.observations = observations or Observations((sizes[0],))
        self.out_shape = out_shape or (sizes[-1],)
        self.weights = np.empty(
            sum((inputs + 1) * units for inputs, units in self.shapes), np.float32
        )
        rng = np.random.default_rng(seed)
        for weight, bias in self.layers(self.weights):
            bound = 1 / math.sqrt(weight.shape[1])
            weight[:] = rng.uniform(-bound, bound, weight.shape)
            bias[:] = rng.uniform(-bound, bound, bias.shape)

    def layers(self, vector: Floats) -> list[tuple[Floats, Floats]]:
        """Return each layer's weights (units, inputs) and biases (units,), as views of a vector."""
        parts, start = [], 0
        for inputs, units in self.shapes:
            middle, end = start + inputs * units, start + (inputs + 1) * units
            parts.append((vector[start:middle].reshape(units, inputs), vector[middle:end]))
            start = end
        return parts

    def get_weights(self) -> Floats:
        """Return all weights as one vector, (P,) float32, which is not a copy."""
        return self.weights

    def set_weights(self, weights: Floats) -> None:
        """Replace all weights.

        Raises:
            ValueError: the number of weights is wrong.
        """
        check_weights(weights, self.weights.shape)
        self.weights[:] = weights

    def __call__(self, obs: NDArray[Any], noise: Floats | None = None) -> Floats:
        """Return the outputs, (B, *out_shape), for observations (B, *shape)."""
        return self._forward(obs)[-1].reshape(-1, *self.out_shape)

    def vjp(
        self, obs: NDArray[Any], noise: Floats | None = None
    ) -> tuple[Floats, Callable[[Floats], Floats]]:
        """Return the outputs and their backward function, which applies the chain rule by layer."""
        *inputs, out = self._forward(obs)

        def backward(gradient: Floats) -> Floats:
            result, gradient = np.empty_like(self.weights), gradient.reshape(len(out), -1)
            layers = zip(self.layers(self.weights), self.layers(result), inputs, strict=True)
            for (weight, _), (weight_gradient, bias_gradient), x in reversed(list(layers)):
                np.dot(gradient.T, x, out=weight_gradient)
                np.sum(gradient, axis=0, out=bias_gradient)
                if x is not inputs[0]:
                    gradient = gradient @ weight
                    gradient *= x > 0  # the derivative of ReLU is 0 where its output is 0
            return result

        return out.reshape(-1, *self.out_shape), backward

    def _forward(self, obs: NDArray[Any]) -> list[Floats]:
        """Return the input of each layer, followed by the output of the last layer."""
        x = self.observations.as_vectors(obs)
        found = [x]
        *hidden, last = self.layers(self.weights)
        for weight, bias in hidden:
            x = x @ weight.T
            x += bias
            found.append(np.maximum(x, 0, out=x))
        return [*found, x @ last[0].T + last[1]]

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(
            state, weights=state["weights"].copy()
        )  # unpickled arrays may be read-only

    def optimiser(self, epsilon: float) -> Adam:
        """Return an optimiser for the weights."""
        return Adam(self.weights, epsilon)
