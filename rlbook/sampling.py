"""Chance for policies: random actions and noise, from each environment's own stream of numbers.

Nothing is drawn in sequence. What environment i gets at step t is a function of its key and of t,
so it does not matter who else acts, where, or in which order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.chance import random_bits, uniform
from rlbook_envs.compiled import compile


def explore_uniformly(
    actions: NDArray[np.int64],
    num_actions: int,
    epsilon: NDArray[np.float64],
    keys: NDArray[np.uint64],
    clock: int,
) -> None:
    """Replace each action, with its probability in `epsilon`, by any, all equally likely.

    Args:
        actions: (N,), changed in place.
        epsilon: (N,).
        keys: (N,), of one stream of random numbers for each row; `clock` says which to use.
    """
    _compiled(_explore_uniformly)(actions, num_actions, epsilon, keys, clock)


def factorised_noise(keys: NDArray[np.uint64], clock: int, size: int) -> NDArray[np.float32]:
    """What noisy layers multiply: (N, size) float32, sgn(x) √|x| of normally distributed x.

    From Fortunato et al., "Noisy networks for exploration", 2018, section 3.
    """
    noise = np.empty((len(keys), size), np.float32)
    _compiled(_fill_noise)(noise, keys, clock)
    return noise


def _explore_uniformly(actions, num_actions, epsilon, keys, clock):  # type: ignore[no-untyped-def]
    for row in range(len(actions)):
        bits = random_bits(keys[row], clock)
        if uniform(bits) < epsilon[row]:
            actions[row] = int(uniform(random_bits(bits, 0)) * num_actions)


def _fill_noise(noise, keys, clock):  # type: ignore[no-untyped-def]
    for row in range(len(noise)):
        bits = random_bits(random_bits(keys[row], clock), 1)
        for i in range(noise.shape[1]):  # Box and Muller, 1958
            distance = math.sqrt(-2.0 * math.log(1.0 - uniform(random_bits(bits, 2 * i))))
            x = distance * math.cos(2.0 * math.pi * uniform(random_bits(bits, 2 * i + 1)))
            noise[row, i] = math.copysign(math.sqrt(abs(x)), x)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return compile(function)
