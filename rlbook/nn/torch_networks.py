"""Networks in torch: for images, dueling heads, noisy layers and GPUs.

All weights of a network are stored in one flat vector, and so are their gradients. Therefore a copy
of the network, a message to a worker, an optimiser step, and a sum of gradients from several
workers are each one operation on one array, however many layers the network has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rlbook.envs.observations import Observations
from rlbook.nn.adam import Adam, check_moments
from rlbook.nn.network import check_weights

# Images whose shorter side has at least this many pixels get the network of the Atari papers.
FRAME_PIXELS = 36

ADAM_NAMES = ("exp_avg", "exp_avg_sq", "step")


class NoisyLinear(nn.Module):
    """A linear layer whose weights have noise, the scale of which is learned.

    The noise is factorised: y = (μ + σ ⊙ ε_out ε_inᵀ) x + …, with one ε for each input and each
    output (Fortunato et al., "Noisy networks for exploration", 2018, equations 9 to 11). Because
    the layer computes this as μ x + ε_out ⊙ σ (ε_in ⊙ x), every row of a batch can have its own
    noise.
    """

    def __init__(self, num_in: int, num_out: int, sigma: float = 0.5) -> None:
        super().__init__()
        self.num_in, self.num_out = num_in, num_out
        bound = 1 / math.sqrt(num_in)
        self.weight = nn.Parameter(torch.empty(num_out, num_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_out).uniform_(-bound, bound))
        self.weight_sigma = nn.Parameter(torch.full((num_out, num_in), sigma * bound))
        self.bias_sigma = nn.Parameter(torch.full((num_out,), sigma * bound))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the layer to (B, num_in); `noise` is None or (B or 1, num_in + num_out)."""
        mean = functional.linear(x, self.weight, self.bias)
        if noise is None:
            return mean
        noise_in, noise_out = noise.split((self.num_in, self.num_out), dim=1)
        return mean + noise_out * functional.linear(
            x * noise_in, self.weight_sigma, self.bias_sigma
        )


class Body(nn.Module):
    """Layers that turn observations, which are vectors, boards, or frames, into features.

    A board is represented by one plane for each kind of cell and keeps its size through 3 x 3
    convolutions with these `channels`. Frames go through the three convolutions of Mnih et al.,
    "Human-level control through deep reinforcement learning", 2015, whatever `channels` contains.
    With `channels=()`, boards and frames are flattened instead.
    """

    def __init__(
        self, observations: Observations, hidden: Sequence[int], channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.observations, shape = observations, observations.shape
        if len(shape) > 3 and channels:
            raise ValueError(
                f"observations must have at most 3 axes, got shape {shape}. Pass channels=() to "
                "flatten them."
            )
        # An image is (height, width), (channels, height, width) or (height, width, channels).
        last = len(shape) == 3 and shape[-1] < min(shape[:2])
        self.channels_last = (
            last and len(channels) > 0
        )  # flattened images keep the order of their axes
        self.layers = nn.Sequential()
        size = observations.num_inputs
        if len(shape) in (2, 3) and channels:
            blank = self._as_input(torch.zeros(1, *shape))
            planes, *sides = blank.shape[1:]
            frames = min(sides) >= FRAME_PIXELS
            self.layers.extend(_frame_layers(planes) if frames else _board_layers(planes, channels))
            with torch.no_grad():
                size = self.layers(blank).numel()
        self.layers.append(nn.Flatten())
        for width in hidden:
            self.layers.extend([nn.Linear(size, width), nn.ReLU()])
            size = width
        self.num_features = size

    def forward(self, obs: Tensor) -> Tensor:
        """Return features, (B, num_features), of observations (B, *shape) of any dtype."""
        return self.layers(self._as_input(obs))  # type: ignore[no-any-return]

    def _as_input(self, obs: Tensor) -> Tensor:
        """Return observations as floats; images become (B, channels, height, width)."""
        _, _, scale, levels, low, *_ = self.observations
        if levels:
            values = torch.arange(low, low + levels, device=obs.device)
            return (obs[:, None] == values[:, None, None]).float()
        x = obs.float() if scale == 1 else obs.float() / scale
        if x.ndim < 3:
            return x.reshape(len(x), -1)
        if x.ndim == 3:
            return x[:, None]
        return x.permute(0, 3, 1, 2) if self.channels_last else x


def _board_layers(planes: int, channels: Sequence[int]) -> list[nn.Module]:
    return [
        layer
        for a, b in pairwise((planes, *channels))
        for layer in (nn.Conv2d(a, b, kernel_size=3, padding=1), nn.ReLU())
    ]


def _frame_layers(planes: int) -> list[nn.Module]:
    return [
        nn.Conv2d(planes, 32, kernel_size=8, stride=4), nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=4, stride=2), nn.ReLU(),
        nn.Conv2d(64, 64, kernel_size=3, stride=1), nn.ReLU(),
    ]  # fmt: skip


class Head(nn.Module):
    """A hidden layer and an output layer, with or without noise."""

    def __init__(self, num_in: int, hidden: int, num_out: int, noisy: bool) -> None:
        super().__init__()
        layer = NoisyLinear if noisy else nn.Linear
        self.hidden, self.out = layer(num_in, hidden), layer(hidden, num_out)
        self.noise_sizes = (num_in + hidden, hidden + num_out) if noisy else (0, 0)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return (B, num_out) for (B, num_in); `noise` is for both layers, as in `NoisyLinear`."""
        if noise is None:
            return self.out(functional.relu(self.hidden(x)))  # type: ignore[no-any-return]
        first, second = noise.split(self.noise_sizes, dim=1)
        return self.out(functional.relu(self.hidden(x, first)), second)  # type: ignore[no-any-return]


class QNetwork(nn.Module):
    """A network that computes the values of all actions, or the logits of their distributions.

    Args:
        observations: the observations that the network takes.
        num_actions: A.
        hidden: number of units in each hidden layer; the last of these layers belongs to the head.
        channels: number of channels of each convolution over images; () for no convolutions.
        dueling: whether the state's value and the actions' advantages have separate heads, Q = V +
            A - mean(A) (Wang et al., "Dueling network architectures", 2016, equation 9).
        noisy: whether the layers of the heads are `NoisyLinear`.
        num_atoms: K, the number of returns over which the logits define a distribution (Bellemare
            et al., "A distributional perspective on reinforcement learning", 2017); 0 for values.
    """

    def __init__(
        self,
        observations: Observations,
        num_actions: int,
        hidden: Sequence[int],
        channels: Sequence[int] = (),
        *,
        dueling: bool = False,
        noisy: bool = False,
        num_atoms: int = 0,
    ) -> None:
        super().__init__()
        self.num_actions, self.num_atoms = num_actions, num_atoms
        atoms = max(num_atoms, 1)
        self.body = Body(observations, hidden[:-1], channels)
        sizes = (self.body.num_features, hidden[-1])
        self.advantage = Head(*sizes, num_actions * atoms, noisy)
        self.value = Head(*sizes, atoms, noisy) if dueling else None
        heads = (self.advantage, self.value) if self.value else (self.advantage,)
        self.noise_sizes = [sum(head.noise_sizes) for head in heads]

    @property
    def noise_size(self) -> int:
        """Length of a row of noise; 0 if no layer is noisy."""
        return sum(self.noise_sizes)

    def forward(self, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return values (B, A) or logits (B, A, K); `noise` is None or (B or 1, noise_size)."""
        features = self.body(obs)
        noises = [None, None] if noise is None else noise.split(self.noise_sizes, dim=1)
        out: Tensor = self.advantage(features, noises[0])
        if self.num_atoms:
            out = out.view(-1, self.num_actions, self.num_atoms)
        if self.value is not None:
            value = self.value(features, noises[1]).view(len(out), 1, *out.shape[2:])
            out = value + out - out.mean(dim=1, keepdim=True)
        return out


class TorchNetwork:
    """A torch module with the interface `rlbook.nn.network.Network`.

    Args:
        make_module: a function that makes the module.
        seed: seed of the initial weights.
        device: the torch device on which the module computes.

    Attributes:
        noise_size: length of a row of noise; 0 if no layer is noisy.
    """

    def __init__(self, make_module: Callable[[], QNetwork], seed: int, device: str) -> None:
        self._made_with = make_module, seed, device
        with torch.random.fork_rng(devices=[]):  # torch's own random generator keeps its state
            torch.manual_seed(seed % 2**63)
            self.module = make_module().to(device)
        self.device, self.noise_size = device, self.module.noise_size
        self.flat = flatten(self.module)

    def get_weights(self) -> NDArray[np.float32]:
        """Return all weights as one vector, (P,) float32; on the CPU it is a view."""
        return self.flat.detach().cpu().numpy()  # type: ignore[no-any-return]

    def set_weights(self, weights: NDArray[np.float32]) -> None:
        """Replace all weights.

        Raises:
            ValueError: the number of weights is wrong.
        """
        check_weights(weights, tuple(self.flat.shape))
        self.flat.data.copy_(torch.from_numpy(np.array(weights)))

    def __call__(self, obs: NDArray[Any], noise: NDArray[np.float32] | None = None) -> Any:
        """Return the outputs, (B, *out); `noise` is None or (B or 1, noise_size)."""
        with torch.inference_mode():
            return self.module(self._tensor(obs), self._tensor(noise)).cpu().numpy()

    def vjp(self, obs: NDArray[Any], noise: NDArray[np.float32] | None = None) -> Any:
        """Return the outputs and a function that takes their gradient to that of the weights."""
        out = self.module(self._tensor(obs), self._tensor(noise))

        def backward(gradient: NDArray[np.float32]) -> Any:
            self.flat.grad.zero_()  # type: ignore[union-attr]
            out.backward(self._tensor(gradient))
            result = self.flat.grad.clone()  # type: ignore[union-attr]
            return result.numpy() if self.device == "cpu" else result

        return out.detach().cpu().numpy(), backward

    def optimiser(self, epsilon: float) -> Any:
        """Return an optimiser for the weights."""
        if self.device == "cpu":
            return Adam(self.get_weights(), epsilon)
        return TorchAdam(self.flat, epsilon)

    def __reduce__(self) -> Any:
        return _rebuilt, (self._made_with, self.get_weights())

    def _tensor(self, array: Any) -> Any:
        if array is None:
            return None
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _rebuilt(made_with: Any, weights: NDArray[np.float32]) -> TorchNetwork:
    """Return a network that was pickled."""
    network = TorchNetwork(*made_with)
    network.set_weights(weights)
    return network


def flatten(network: nn.Module) -> nn.Parameter:
    """Move all weights of a network into one vector, and their gradients into its `grad`.

    The network works as before, because its parameters become views of the vector.

    Returns:
        (P,) float32.
    """
    parameters = list(network.parameters())
    flat = nn.Parameter(torch.cat([parameter.detach().reshape(-1) for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        part = slice(start, start + parameter.numel())
        parameter.data = flat.data[part].view_as(parameter)
        parameter.grad = flat.grad[part].view_as(parameter)
        start += parameter.numel()
    return flat


class TorchAdam:
    """The optimiser `rlbook.nn.adam.Adam` for a vector on a GPU."""

    def __init__(self, flat: nn.Parameter, epsilon: float) -> None:
        self.flat = flat
        self.optimiser = torch.optim.Adam([flat], eps=epsilon, fused=True)

    def step(self, gradient: Any, learning_rate: float, max_norm: float) -> None:
        """Take one step against the gradient; see `Adam.step`."""
        gradient = torch.as_tensor(gradient, device=self.flat.device)
        self.flat.grad.copy_(gradient * (max_norm / gradient.norm().clamp(min=max_norm)))  # type: ignore[union-attr]
        self.optimiser.param_groups[0]["lr"] = learning_rate
        self.optimiser.step()

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state of the optimiser as named arrays; see `Adam.to_arrays`."""
        state = self.optimiser.state[self.flat] or dict.fromkeys(ADAM_NAMES, self.flat.detach() * 0)
        return {
            "adam_first": state["exp_avg"].cpu().numpy(),
            "adam_second": state["exp_avg_sq"].cpu().numpy(),
            "adam_steps": np.array(int(state["step"].max())),
        }

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore the state of the optimiser; see `Adam.load_arrays`."""
        check_moments(arrays, tuple(self.flat.shape))
        numbers = arrays["adam_first"], arrays["adam_second"], np.float32(arrays["adam_steps"])
        tensors = [torch.from_numpy(np.array(each)).to(self.flat.device) for each in numbers]
        self.optimiser.state[self.flat] = dict(zip(ADAM_NAMES, tensors, strict=True))
