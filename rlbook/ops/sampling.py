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

from rlbook_envs.compiled import compile
from rlbook_envs.streams import random_bits, uniform


def explore_uniformly(
    actions: NDArray[np.int64],
    num_actions: int,
    epsilon: NDArray[np.float64],
    keys: NDArray[np.uint64],
    clocks: NDArray[np.int64] | int,
) -> None:
    """Replace each action, with its probability in `epsilon`, by any, all equally likely.

    Args:
        actions: (N,), changed in place.
        epsilon: (N,).
        keys: (N,), of one stream of random numbers for each row.
        clocks: (N,), which of them to use; or one number for all.
    """
    _compiled(_explore_uniformly)(actions, num_actions, epsilon, keys, _each(clocks, keys))


def factorised_noise(
    keys: NDArray[np.uint64], clocks: NDArray[np.int64] | int, size: int
) -> NDArray[np.float32]:
    """What noisy layers multiply: (N, size) float32, sgn(x) √|x| of normally distributed x.

    From Fortunato et al., "Noisy networks for exploration", 2018, section 3.
    """
    noise = np.empty((len(keys), size), np.float32)
    _compiled(_fill_noise)(noise, keys, _each(clocks, keys))
    return noise


def _explore_uniformly(actions, num_actions, epsilon, keys, clocks):  # type: ignore[no-untyped-def]
    for row in range(len(actions)):
        bits = random_bits(keys[row], clocks[row])
        if uniform(bits) < epsilon[row]:
            actions[row] = int(uniform(random_bits(bits, 0)) * num_actions)


def _fill_noise(noise, keys, clocks):  # type: ignore[no-untyped-def]
    for row in range(len(noise)):
        bits = random_bits(random_bits(keys[row], clocks[row]), 1)
        for i in range(noise.shape[1]):  # Box and Muller, 1958
            distance = math.sqrt(-2.0 * math.log(1.0 - uniform(random_bits(bits, 2 * i))))
            x = distance * math.cos(2.0 * math.pi * uniform(random_bits(bits, 2 * i + 1)))
            noise[row, i] = math.copysign(math.sqrt(abs(x)), x)


def _each(clocks: NDArray[np.int64] | int, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return clocks if isinstance(clocks, np.ndarray) else np.full(len(keys), clocks)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return compile(function)
