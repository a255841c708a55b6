"""Dynamic programming: exact values, for worlds whose probabilities are known.

A learner sees samples; here we look into the rules themselves. What comes out is the truth that the
book draws as a dashed line into its plots. Everything works on a `TransitionTable`, whose axes are
state s, action a and outcome k of chance, S x A x K. Equations are numbered as in Sutton and Barto,
*Reinforcement Learning: An Introduction*, second edition, 2018, chapters 3 and 4.

>>> table = transition_table("FrozenLake-v1")
>>> optimum = value_iteration(table, gamma=1.0)
>>> round(start_value(table, optimum.values), 4)    # 14 of 17 episodes reach the goal
0.8235
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import gymnasium

    from rlbook_envs.world import TransitionTable, World

# Sweeps of value iteration before it is given up.
MAX_SWEEPS = 100_000


class Optimum(NamedTuple):
    """What is best, for every state.

    Attributes:
        values: (S,) float64, the optimal state values v*.
        q: (S, A) float64, the optimal action values q*.
        policy: (S,) int64, an action that is best in each state.
    """

    values: NDArray[np.float64]
    q: NDArray[np.float64]
    policy: NDArray[np.int64]


def transition_table(env: str | gymnasium.Env[Any, Any] | World) -> TransitionTable:
    """The exact transition table of a small world.

    Wrappers are taken off: the table knows neither their time limit nor what else they change.

    Args:
        env: a Gymnasium id, an environment, or the rules of one of our worlds.

    Returns:
        The table (see `rlbook_envs.world.TransitionTable`), outcomes padded with probability 0.

    Raises:
        TypeError: this is nothing whose probabilities are known.
    """
    import gymnasium

    from rlbook_envs import world as worlds

    if isinstance(env, worlds.World):
        return worlds.transition_table(env)
    if isinstance(env, str):
        with gymnasium.make(env) as made:
            return transition_table(made)
    bare = env.unwrapped if isinstance(env, gymnasium.Env) else None
    if isinstance(bare, worlds.WorldEnv):
        return worlds.transition_table(bare.world)
    # Taxi's fickle passenger changes her mind outside the table that Gymnasium has for her.
    known = hasattr(bare, "P") and hasattr(bare, "initial_state_distrib")
    if known and not getattr(bare, "fickle_passenger", False):
        return _table_of_toy_text(bare)
    raise TypeError(
        f"{env if bare is None else bare!r} has no exact table. Our worlds have one"
        " (rlbook/FrozenLake-v0, …), and so have Gymnasium's FrozenLake, CliffWalking and Taxi."
    )


def value_iteration(
    table: TransitionTable, gamma: float = 0.99, tolerance: float = 1e-12
) -> Optimum:
    """The optimum, by the Bellman optimality equation (3.20) turned into an update (4.10).

    A policy that is merely greedy may go round in circles where gamma is 1 and every road has the
    same value. So a state's action is replaced only by one that is better, not by one as good: it
    stays the one that was found first, which is one of the shortest ways.

    Args:
        table: the world.
        gamma: the discount, from 0 to 1. With 1, no endless way may go on earning for ever.
        tolerance: stop when a sweep changes no value by more, relative to the largest value where
            that is above 1. The values are then within tolerance * gamma / (1 - gamma) of v*.

    Raises:
        ValueError: an argument is out of range, or `MAX_SWEEPS` sweeps were not enough.
    """
    _check_gamma(gamma)
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance} is not allowed: above 0")
    states = np.arange(len(table.start))
    values = np.zeros(len(states))
    policy = np.zeros(len(states), np.int64)
    for _ in range(MAX_SWEEPS):
        q = action_values(table, values, gamma)
        best = q.max(axis=1)
        better = best > q[states, policy] + tolerance
        policy[better] = q[better].argmax(axis=1)
        change = np.abs(best - values).max()
        values = best
        if change <= tolerance * max(1.0, np.abs(values).max()):
            return Optimum(values, action_values(table, values, gamma), policy)
    raise ValueError(
        f"gamma={gamma} is not allowed here: after {MAX_SWEEPS} sweeps of value iteration a sweep"
        f" still changes a value by {change:.2g}. A smaller gamma converges sooner; gamma=1 only"
        " where every way of earning or losing for ever comes to an end."
    )


def policy_values(
    table: TransitionTable, policy: ArrayLike, gamma: float = 0.99
) -> NDArray[np.float64]:
    """The values v of a policy, from the Bellman equation (3.14, 4.3): one linear system, solved.

    With r the expected reward of each state's next step, and P the probabilities of the next state
    where the episode goes on, v = r + gamma P v, and so (I - gamma P) v = r.

    Args:
        table: the world.
        policy: (S,) integers, the action taken in each state; or (S, A), its probabilities.
        gamma: the discount, from 0 to 1.

    Returns:
        (S,) float64.

    Raises:
        ValueError: an argument is out of range; or gamma is 1 and this policy's episodes may never
            end.
    """
    _check_gamma(gamma)
    chances = _probabilities(table, np.asarray(policy))[:, :, None] * table.probability  # (S, A, K)
    rewards = (chances * table.reward).sum(axis=(1, 2))
    num_states = len(rewards)
    onward = np.zeros((num_states, num_states))
    states = np.broadcast_to(np.arange(num_states)[:, None, None], chances.shape)
    np.add.at(onward, (states, table.next_state), chances * ~table.terminated)
    if gamma == 1:
        _check_that_episodes_end(onward, (chances * table.terminated).sum(axis=(1, 2)) > 0)
    solution: NDArray[np.float64] = np.linalg.solve(np.eye(num_states) - gamma * onward, rewards)
    return solution


def action_values(
    table: TransitionTable, values: NDArray[np.float64], gamma: float = 0.99
) -> NDArray[np.float64]:
    """The values of all actions, if `values` is what the states are worth afterwards (4.6).

    An outcome that ends the episode is worth its reward alone.

    Args:
        table: the world.
        values: (S,) float64.
        gamma: the discount, from 0 to 1.

    Returns:
        (S, A) float64.

    Raises:
        ValueError: an argument is out of range or has another shape.
    """
    _check_gamma(gamma)
    values = _check_values(table, values)
    discounts = gamma * (1.0 - table.terminated)
    targets = table.reward + discounts * values[table.next_state]
    expected: NDArray[np.float64] = (table.probability * targets).sum(axis=2)
    return expected


def start_value(table: TransitionTable, values: NDArray[np.float64]) -> float:
    """The value (S,) that an episode has when it begins: the mean over the states where it may."""
    return float(table.start @ _check_values(table, values))


def _table_of_toy_text(env: Any) -> TransitionTable:
    """From `env.P[state][action]`, a list of (probability, next state, reward, terminated)."""
    from rlbook_envs.world import TransitionTable

    num_states, num_actions = len(env.P), len(env.P[0])
    most = max(len(outcomes) for row in env.P.values() for outcomes in row.values())
    shape = (num_states, num_actions, most)
    table = TransitionTable(
        probability=np.zeros(shape),
        next_state=np.zeros(shape, np.int64),
        reward=np.zeros(shape),
        terminated=np.zeros(shape, np.bool_),
        start=np.array(env.initial_state_distrib, np.float64),
    )
    for state, row in env.P.items():
        for action, outcomes in row.items():
            for k, outcome in enumerate(outcomes):
                for column, entry in zip(table[:4], outcome, strict=True):
                    column[state, action, k] = entry
    return table


def _probabilities(table: TransitionTable, policy: NDArray[Any]) -> NDArray[np.float64]:
    """A policy as probabilities (S, A)."""
    num_states, num_actions, _ = table.probability.shape
    if policy.shape == (num_states,) and policy.dtype.kind in "iu":
        _check_rows(policy, (policy >= 0) & (policy < num_actions), f"0 to {num_actions - 1}")
        return np.eye(num_actions)[policy]
    if policy.shape == (num_states, num_actions):
        add_up = np.isclose(policy.sum(axis=1), 1, rtol=0, atol=1e-8)
        _check_rows(policy, add_up & (policy >= 0).all(axis=1), "probabilities that add up to 1")
        return policy.astype(np.float64)
    raise ValueError(
        f"policy has shape {policy.shape} and dtype {policy.dtype}, which is not allowed:"
        f" ({num_states},) integers or ({num_states}, {num_actions}) probabilities"
    )


def _check_rows(policy: NDArray[Any], good: NDArray[np.bool_], allowed: str) -> None:
    if not good.all():
        state = int(good.argmin())
        raise ValueError(f"policy[{state}]={policy[state]} is not allowed: {allowed}")


def _check_that_episodes_end(onward: NDArray[np.float64], ends: NDArray[np.bool_]) -> None:
    """With finitely many states an episode ends for sure if it can end from wherever it goes."""
    can_end = ends
    for _ in range(len(ends)):
        can_end = can_end | ((onward > 0) & can_end).any(axis=1)
    if not can_end.all():
        endless = np.flatnonzero(~can_end).tolist()
        raise ValueError(
            "gamma=1 is not allowed for this policy, whose episodes never end once they are in"
            f" one of the states {endless}: below 1"
        )


def _check_values(table: TransitionTable, values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(values, np.float64)
    if values.shape != table.start.shape:
        raise ValueError(f"values has shape {values.shape}, not {table.start.shape}, one a state")
    return values


def _check_gamma(gamma: float) -> None:
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma={gamma} is not allowed: from 0 to 1")
