"""Networks as algorithms use them: arrays go in, arrays come out, and slopes find their way back.

An algorithm knows how its loss changes with what the network says. How that changes with the
weights is the network's business: `vjp`, a vector-Jacobian product, takes the one to the other.

`Dense` is a network for vectors, in NumPy: on matrices as small as these, torch takes longer to
keep its books than to multiply. For everything else there is torch, in `rlbook.torch_networks`,
behind the same methods.

>>> network = Dense((4, 64, 2), seed=1)
>>> network(np.zeros((8, 4), np.float32)).shape
(8, 2)
>>> out, backward = network.vjp(np.zeros((8, 4), np.float32))
>>> backward(np.ones_like(out)).shape == network.get_weights().shape
True
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlbook.adam import Adam
from rlbook.observations import Observations

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
        """What moves the weights: `rlbook.adam.Adam`, or what behaves as it does."""


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


def q_network(
    observations: Observations,
    num_actions: int,
    hidden: Sequence[int],
    channels: Sequence[int] = (),
    *,
    dueling: bool = False,
    noisy: bool = False,
    num_atoms: int = 0,
    seed: int = 0,
    torch: bool = False,
    device: str = "cpu",
) -> Network:
    """A network of action values (B, A), or of the logits of their distributions (B, A, K).

    Args:
        observations: what goes in.
        num_actions: A.
        hidden: units of each hidden layer.
        channels: of each convolution over pictures; none for none.
        dueling: separate heads for the state's value and the actions' advantages.
        noisy: noise in the weights of the last two layers.
        num_atoms: K; 0 for values.
        seed: of the first weights.
        torch: use torch also where NumPy would do.
        device: where it computes.
    """
    out_shape = (num_actions, num_atoms) if num_atoms else (num_actions,)
    if torch or needs_torch(observations, channels, dueling, noisy, device):
        from rlbook.torch_networks import QNetwork, TorchNetwork

        make = partial(
            QNetwork, observations, num_actions, hidden, channels,
            dueling=dueling, noisy=noisy, num_atoms=num_atoms,
        )  # fmt: skip
        return TorchNetwork(make, seed, device)
    sizes = (observations.num_inputs, *hidden, math.prod(out_shape))
    return Dense(sizes, seed, out_shape, observations)


def needs_torch(
    observations: Observations, channels: Sequence[int], dueling: bool, noisy: bool, device: str
) -> bool:
    """Whether `Dense` will not do."""
    convolutions = len(observations.shape) > 1 and len(channels) > 0
    return convolutions or dueling or noisy or device != "cpu"


def check_weights(weights: Floats, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless there are as many weights as a network has."""
    if weights.shape != shape:
        raise ValueError(f"weights of shape {weights.shape} are not allowed: {shape}")


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep matrix products to one thread: with more, sums may round differently.

    Products as small as these are also slower with more.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with _libraries(torch is not None).limit(limits=1):
        if torch:
            torch.set_num_threads(1)  # or its first product takes what MKL_NUM_THREADS says
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


@cache
def _libraries(with_torch: bool) -> Any:
    # It knows the libraries that are there when it is made, and torch brings one along.
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()
