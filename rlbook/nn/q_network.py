"""Networks of action values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from rlbook.envs.observations import Observations
from rlbook.nn.dense import Dense
from rlbook.nn.network import Network


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
        device: where it computes.
    """
    out_shape = (num_actions, num_atoms) if num_atoms else (num_actions,)
    if needs_torch(observations, channels, dueling, noisy, device):
        from rlbook.nn.torch_networks import QNetwork, TorchNetwork

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
