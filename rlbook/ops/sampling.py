"""Random actions and noise for policies, from one random stream per environment.

The streams are counter-based: the random numbers of environment i at step t are a function of the
environment's key and of t. They do not depend on which other environments act, on which machine,
or in which order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile
from rlbook_envs.streams import random_bits, uniform


def explore_uniformly(
    actions: NDArray[np.int64],
    num_actions: int,
    epsilon: NDArray[np.float64],
    keys: NDArray[np.uint64],
    counters: NDArray[np.int64] | int,
) -> None:
    """Replace each action, with probability `epsilon`, by a uniformly random one.

    Args:
        actions: (N,), changed in place.
        num_actions: number of actions to choose from.
        epsilon: (N,), the probability for each row.
        keys: (N,), the key of the random stream of each row.
        counters: (N,), the position in each stream; or one number for all.
    """
    _compiled(_explore_uniformly)(actions, num_actions, epsilon, keys, _each(counters, keys))


def factorised_noise(
    keys: NDArray[np.uint64], counters: NDArray[np.int64] | int, size: int
) -> NDArray[np.float32]:
    """Return the factorised noise of noisy layers, (N, size) float32.

    Each number is sgn(x) √|x| of a standard normal x (Fortunato et al., "Noisy networks for
    exploration", 2018, section 3).
    """
    noise = np.empty((len(keys), size), np.float32)
    _compiled(_fill_noise)(noise, keys, _each(counters, keys))
    return noise


def _explore_uniformly(actions, num_actions, epsilon, keys, counters):  # type: ignore[no-untyped-def]
    for row in range(len(actions)):
        bits = random_bits(keys[row], counters[row])
        if uniform(bits) < epsilon[row]:
            actions[row] = int(uniform(random_bits(bits, 0)) * num_actions)


def _fill_noise(noise, keys, counters):  # type: ignore[no-untyped-def]
    for row in range(len(noise)):
        bits = random_bits(random_bits(keys[row], counters[row]), 1)
        for i in range(noise.shape[1]):  # Box and Muller, 1958
            distance = math.sqrt(-2.0 * math.log(1.0 - uniform(random_bits(bits, 2 * i))))
            x = distance * math.cos(2.0 * math.pi * uniform(random_bits(bits, 2 * i + 1)))
            noise[row, i] = math.copysign(math.sqrt(abs(x)), x)


def _each(counters: NDArray[np.int64] | int, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return counters if isinstance(counters, np.ndarray) else np.full(len(keys), counters)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return compile(function)
