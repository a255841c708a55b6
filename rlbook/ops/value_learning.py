"""Targets and losses of algorithms that learn action values.

The losses are written as the papers write them, for arrays and for torch's tensors alike. Where a
gradient is written out by hand, because small networks learn faster that way, a test compares it
with torch's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def q_learning_targets(returns: Floats, discounts: Floats, next_values: Floats) -> Floats:
    """Return G + discount * max_a Q(s', a), the targets of Q-learning.

    Mnih et al., "Human-level control through deep reinforcement learning", 2015, equation 2.

    Args:
        returns: (B,), the reward, or the discounted sum of n rewards.
        discounts: (B,), gamma ** n * (1 - terminated).
        next_values: (B, A), the action values of the observation that these steps led to.
    """
    return returns + discounts * next_values.max(axis=1)  # type: ignore[no-any-return]


def double_q_learning_targets(
    returns: Floats, discounts: Floats, next_values: Floats, next_choices: Floats
) -> Floats:
    """Return G + discount * Q(s', argmax_a Q'(s', a)), the targets of double Q-learning.

    van Hasselt, Guez and Silver, "Deep reinforcement learning with double Q-learning", AAAI 2016,
    equation 4.

    Args:
        returns: (B,).
        discounts: (B,).
        next_values: (B, A), by the network that values actions.
        next_choices: (B, A), by the network that chooses them, Q'.
    """
    return returns + discounts * take(next_values, next_choices.argmax(axis=1))


def take(values: Any, actions: Any) -> Any:
    """Return the entry of one action in each row: (B, A) becomes (B,), and (B, A, K) (B, K)."""
    return values[np.arange(len(values)), actions]


def huber_loss(errors: Any) -> Any:
    """Return Huber's loss: e² / 2 for errors up to 1, and |e| - 1/2 beyond.

    Mnih et al. (2015, "Methods") clip the error; this is the loss of which that is the gradient.

    Args:
        errors: (B,), an array or a tensor.
    """
    clipped = errors.clip(-1, 1)
    return clipped * (errors - clipped / 2)


def huber_gradient(errors: Floats) -> Floats:
    """Return the gradient of `huber_loss` with respect to the errors: the errors, clipped to ±1."""
    return errors.clip(-1, 1)
