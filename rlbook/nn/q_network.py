"""Construction of networks that compute action values."""

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
    """Return a network that computes action values, or the logits of their distributions.

    The output is (B, A) for values and (B, A, K) for logits.

    Args:
        observations: the observations that the network takes.
        num_actions: A.
        hidden: number of units in each hidden layer.
        channels: number of channels of each convolution over images; () for no convolutions.
        dueling: whether the state's value and the actions' advantages have separate heads.
        noisy: whether the last two layers have noisy weights.
        num_atoms: K, the number of atoms of a distribution; 0 for action values.
        seed: seed of the initial weights.
        device: the torch device on which the network computes.
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
    """Return whether the network needs torch, because `Dense` does not support these options."""
    convolutions = len(observations.shape) > 1 and len(channels) > 0
    return convolutions or dueling or noisy or device != "cpu"
