"""Returns: what followed each step, added up and discounted.

All take `discounts = gamma * (1 - terminated)`, one for each step, so that nothing is counted
beyond a termination, and the value of the *next* observation as an array of its own, so that a
truncated step is an ordinary one whose next observation has a value. They run backwards over time:
G_t = R_{t+1} + discount_{t+1} * G_{t+1}.

>>> rewards, discounts = np.array([0.0, 0.0, 1.0]), np.array([0.9, 0.9, 0.0])
>>> discounted_returns(rewards, discounts, 5.0)  # the last step terminated: 5 does not count
array([0.81, 0.9 , 1.  ])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule

Numbers = NDArray[np.float64]


@rule
def discounted_returns(rewards: Numbers, discounts: Numbers, last_value: float) -> Numbers:
    """Monte Carlo returns (Sutton and Barto, 2018, equation 3.9).

    Args:
        rewards: (T,) float64, R_1 … R_T.
        discounts: (T,) float64, gamma * (1 - terminated) of each step.
        last_value: the value of the observation after the last step.

    Returns:
        (T,) float64, G_0 … G_{T-1}.
    """
    returns = np.empty(len(rewards))
    following = last_value
    for t in range(len(rewards) - 1, -1, -1):
        following = rewards[t] + discounts[t] * following
        returns[t] = following
    return returns


@rule
def n_step_returns(rewards: Numbers, discounts: Numbers, next_values: Numbers, n: int) -> Numbers:
    """n rewards, and the value of where they led (Sutton and Barto, 2018, equation 7.1).

    Args:
        rewards: (T,) float64.
        discounts: (T,) float64.
        next_values: (T,) float64, the value of the observation after each step.
        n: rewards that are counted, from 1; fewer where the sequence ends before.

    Returns:
        (T,) float64.
    """
    returns = np.empty(len(rewards))
    for t in range(len(rewards)):
        last = min(t + n, len(rewards)) - 1
        following = next_values[last]
        for k in range(last, t - 1, -1):
            following = rewards[k] + discounts[k] * following
        returns[t] = following
    return returns


@rule
def lambda_returns(
    rewards: Numbers, discounts: Numbers, next_values: Numbers, lambda_: float
) -> Numbers:
    """All n-step returns, mixed with weights that fall as λ^n (Sutton and Barto, 2018, eq. 12.2).

    Computed as G_t = R_{t+1} + discount * ((1 - λ) * next_value + λ * G_{t+1}).

    Args:
        rewards: (T,) float64.
        discounts: (T,) float64.
        next_values: (T,) float64, the value of the observation after each step.
        lambda_: λ; 0 gives one-step returns, 1 Monte Carlo's.

    Returns:
        (T,) float64.
    """
    returns = np.empty(len(rewards))
    following = next_values[-1]
    for t in range(len(rewards) - 1, -1, -1):
        mixed = (1 - lambda_) * next_values[t] + lambda_ * following
        following = rewards[t] + discounts[t] * mixed
        returns[t] = following
    return returns


@rule
def n_step_return(rewards: NDArray[np.float64], last_value: float, gamma: float) -> float:
    """R_1 + γ R_2 + … + γ^(n-1) R_n + γ^n last_value (Sutton and Barto, 2018, equation 7.4).

    Args:
        rewards: (n,) float64.
        last_value: of where the n steps led; 0 if they led to the end.
    """
    total = last_value
    for k in range(len(rewards) - 1, -1, -1):
        total = rewards[k] + gamma * total
    return total
