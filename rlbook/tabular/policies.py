"""Tabular policies: ε-greedy in a table of action values, and fixed policies given as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule
from rlbook_envs.streams import random_bits, uniform

Table = NDArray[np.float64]


@rule
def epsilon_greedy(q: Table, obs: int, epsilon: float, key: np.uint64, counter: int) -> int:
    """Return an action of the ε-greedy policy.

    With probability ε, this is a uniformly random action, and otherwise an action with the highest
    value, where ties are broken at random.

    Args:
        q: (S, A) float64, the action values.
        obs: the state.
        epsilon: the probability ε of a uniformly random action.
        key: the key of the random stream.
        counter: the position in the random stream.
    """
    bits = random_bits(key, counter)
    row = q[obs]
    if uniform(bits) < epsilon:
        return int(uniform(random_bits(bits, 0)) * len(row))
    best, ties = 0, 1
    for action in range(1, len(row)):
        if row[action] > row[best]:
            best, ties = action, 1
        elif row[action] == row[best]:
            ties += 1
    if ties == 1:
        return best
    skip = int(uniform(random_bits(bits, 1)) * ties)
    for action in range(best, len(row)):
        if row[action] == row[best]:
            if skip == 0:
                return action
            skip -= 1
    return best


def epsilon_greedy_probabilities(q_row: NDArray[np.float64], epsilon: float) -> Table:
    """Return the probability π(a|s) of each action under `epsilon_greedy`.

    >>> epsilon_greedy_probabilities(np.array([0.0, 2.0, 2.0, 1.0]), 0.2)
    array([0.05, 0.45, 0.45, 0.05])
    """
    best = q_row == q_row.max()
    return epsilon / len(q_row) + (1 - epsilon) * best / best.sum()


@rule
def sample_action(policy: NDArray[np.float64], obs: int, key: np.uint64, counter: int) -> int:
    """Return an action drawn from π(·|s).

    Args:
        policy: (S, A) float64, the probability of each action.
        obs: the state.
        key: the key of the random stream.
        counter: the position in the random stream.
    """
    remaining = uniform(random_bits(key, counter))
    row = policy[obs]
    for action in range(len(row) - 1):
        remaining -= row[action]
        if remaining < 0.0:
            return action
    return len(row) - 1


def as_probabilities(policy: NDArray[Any], num_states: int, num_actions: int) -> Table:
    """Return a policy as (S, A) float64 probabilities.

    Args:
        policy: (S,) int actions, or (S, A) probabilities.
        num_states: S.
        num_actions: A.

    Raises:
        ValueError: `policy` is neither.
    """
    policy = np.asarray(policy)
    if not _is_policy(policy, num_states, num_actions):
        raise ValueError(
            f"policy must be {num_states} actions, whole numbers below {num_actions}, or "
            f"{(num_states, num_actions)} probabilities that sum to 1 in every row, got an array "
            f"of dtype {policy.dtype} and shape {policy.shape}"
        )
    if policy.ndim == 1:
        policy = np.eye(num_actions)[policy]
    return np.ascontiguousarray(policy, np.float64)


def _is_policy(policy: NDArray[Any], num_states: int, num_actions: int) -> bool:
    if policy.ndim == 1:
        whole = policy.dtype.kind in "iu" and len(policy) == num_states
        return whole and bool(np.all((policy >= 0) & (policy < num_actions)))
    if policy.shape != (num_states, num_actions) or policy.dtype.kind not in "iuf":
        return False
    return bool(np.all(policy >= 0)) and np.allclose(policy.sum(axis=1), 1)
