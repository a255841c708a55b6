"""Returns: discounted sums of the rewards that follow each step.

All functions take `discounts = gamma * (1 - terminated)`, one number per step, so that no reward
after a termination counts. The value of the *next* observation is an array of its own, so that a
truncated step needs no special treatment in one-step returns: its next observation has a value like
any other. The functions run backwards over time: G_t = R_{t+1} + discount_{t+1} * G_{t+1}.

Time is the last axis, so arrays may be (T,), of one trajectory, or (N, T), of N environments.

>>> rewards, discounts = np.array([0.0, 0.0, 1.0]), np.array([0.9, 0.9, 0.0])
>>> discounted_returns(rewards, discounts, 5.0)  # the last step terminated, so the 5 is not used
array([0.81, 0.9 , 1.  ])
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule

Numbers = NDArray[np.float64]


@rule
def discounted_returns(rewards: Numbers, discounts: Numbers, last_value: Any) -> Numbers:
    """Return the Monte Carlo returns of a trajectory (Sutton and Barto, 2018, equation 3.9).

    Args:
        rewards: (…, T) float64, R_1 … R_T.
        discounts: (…, T) float64, gamma * (1 - terminated) of each step.
        last_value: (…) float64, the value of the observation after the last step.

    Returns:
        (…, T) float64, G_0 … G_{T-1}.
    """
    returns = np.empty_like(rewards)
    following = last_value
    for t in range(rewards.shape[-1] - 1, -1, -1):
        following = rewards.T[t] + discounts.T[t] * following
        returns.T[t] = following
    return returns


@rule
def n_step_returns(rewards: Numbers, discounts: Numbers, next_values: Numbers, n: int) -> Numbers:
    """Return the n-step returns of a trajectory (Sutton and Barto, 2018, equation 7.1).

    Args:
        rewards: (…, T) float64.
        discounts: (…, T) float64.
        next_values: (…, T) float64, the value of the observation after each step.
        n: number of rewards in each return, at least 1; fewer where the trajectory ends earlier.

    Returns:
        (…, T) float64.
    """
    returns = np.empty_like(rewards)
    num_steps = rewards.shape[-1]
    for t in range(num_steps):
        last = min(t + n, num_steps) - 1
        following = next_values.T[last]
        for k in range(last, t - 1, -1):
            following = rewards.T[k] + discounts.T[k] * following
        returns.T[t] = following
    return returns


@rule
def lambda_returns(
    rewards: Numbers, discounts: Numbers, next_values: Numbers, lambda_: Any
) -> Numbers:
    """Return the λ-returns of a trajectory (Sutton and Barto, 2018, equation 12.2).

    A λ-return is an average of all n-step returns with weights proportional to λ^n. It is computed
    as G_t = R_{t+1} + discount * ((1 - λ) * next_value + λ * G_{t+1}).

    What follows a truncated step belongs to another episode. Give such steps λ = 0, so that they
    bootstrap from their next observation and from nothing later.

    Args:
        rewards: (…, T) float64.
        discounts: (…, T) float64.
        next_values: (…, T) float64, the value of the observation after each step.
        lambda_: λ from 0, which gives one-step returns, to 1, which gives Monte Carlo returns: a
            number, or one for each step, (…, T).

    Returns:
        (…, T) float64.
    """
    returns = np.empty_like(rewards)
    weights = np.zeros_like(rewards) + lambda_
    following = next_values.T[-1]
    for t in range(rewards.shape[-1] - 1, -1, -1):
        mixed = (1 - weights.T[t]) * next_values.T[t] + weights.T[t] * following
        following = rewards.T[t] + discounts.T[t] * mixed
        returns.T[t] = following
    return returns


@rule
def n_step_return(rewards: NDArray[np.float64], last_value: float, gamma: float) -> float:
    """Return the n-step return of one step (Sutton and Barto, 2018, equation 7.4).

    This is R_1 + γ R_2 + … + γ^(n-1) R_n + γ^n last_value.

    Args:
        rewards: (n,) float64.
        last_value: the value of the observation after the n steps; 0 if the last one terminated.
        gamma: the discount factor γ.
    """
    total = last_value
    for k in range(len(rewards) - 1, -1, -1):
        total = rewards[k] + gamma * total
    return total
