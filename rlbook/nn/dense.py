"""A network of linear layers with ReLU between them, in NumPy.

The matrices of the book's small networks take less time to multiply than torch takes to record the
operations that it will differentiate; `make bench` has the figures.

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
    """Linear layers with ReLU between them.

    Args:
        sizes: units of each layer, from the input to the output.
        seed: of the first weights, uniform within 1 / sqrt(inputs), as torch has them.
        out_shape: of one output; by default, (sizes[-1],).
        observations: how observations become vectors; by default, they are laid flat.
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
        """The parts of a vector: each layer's weights (units, inputs) and biases (units,)."""
        parts, start = [], 0
        for inputs, units in self.shapes:
            middle, end = start + inputs * units, start + (inputs + 1) * units
            parts.append((vector[start:middle].reshape(units, inputs), vector[middle:end]))
            start = end
        return parts

    def get_weights(self) -> Floats:
        """All weights in one vector, (P,) float32; not a copy."""
        return self.weights

    def set_weights(self, weights: Floats) -> None:
        """Take these.

        Raises:
            ValueError: there are more of them, or fewer.
        """
        check_weights(weights, self.weights.shape)
        self.weights[:] = weights

    def __call__(self, obs: NDArray[Any], noise: Floats | None = None) -> Floats:
        """(B, *shape) to (B, *out_shape)."""
        return self._forward(obs)[-1].reshape(-1, *self.out_shape)

    def vjp(
        self, obs: NDArray[Any], noise: Floats | None = None
    ) -> tuple[Floats, Callable[[Floats], Floats]]:
        """See `Network.vjp`: the chain rule, layer by layer."""
        *inputs, out = self._forward(obs)

        def backward(slopes: Floats) -> Floats:
            gradient, slopes = np.empty_like(self.weights), slopes.reshape(len(out), -1)
            layers = zip(self.layers(self.weights), self.layers(gradient), inputs, strict=True)
            for (weight, _), (weight_slopes, bias_slopes), x in reversed(list(layers)):
                np.dot(slopes.T, x, out=weight_slopes)
                np.sum(slopes, axis=0, out=bias_slopes)
                if x is not inputs[0]:
                    slopes = slopes @ weight
                    slopes *= x > 0  # what ReLU held back moves nothing
            return gradient

        return out.reshape(-1, *self.out_shape), backward

    def _forward(self, obs: NDArray[Any]) -> list[Floats]:
        """What goes into each layer, and what comes out of the last."""
        x = self.observations.as_vectors(obs)
        found = [x]
        *hidden, last = self.layers(self.weights)
        for weight, bias in hidden:
            x = x @ weight.T
            x += bias
            found.append(np.maximum(x, 0, out=x))
        return [*found, x @ last[0].T + last[1]]

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, weights=state["weights"].copy())  # what travelled is read-only

    def optimiser(self, epsilon: float) -> Adam:
        """What moves the weights."""
        return Adam(self.weights, epsilon)
