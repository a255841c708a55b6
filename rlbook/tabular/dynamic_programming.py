"""Dynamic programming: exact values for environments whose transition probabilities are known.

A learning agent sees only samples; dynamic programming uses the transition probabilities
themselves. The book draws its results as dashed lines, to which learned values are compared. All
functions work on a `TransitionTable`, whose axes are state s, action a and random outcome k, with
shape (S, A, K). Equation numbers refer to Sutton and Barto, *Reinforcement Learning: An
Introduction*, second edition, 2018, chapters 3 and 4.

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

# The largest number of sweeps of value iteration.
MAX_SWEEPS = 100_000


class Optimum(NamedTuple):
    """The optimal values and an optimal policy.

    Attributes:
        values: (S,) float64, the optimal state values v*.
        q: (S, A) float64, the optimal action values q*.
        policy: (S,) int64, an optimal action in each state.
    """

    values: NDArray[np.float64]
    q: NDArray[np.float64]
    policy: NDArray[np.int64]


def transition_table(env: str | gymnasium.Env[Any, Any] | World) -> TransitionTable:
    """Return the exact transition table of a small environment.

    Wrappers are removed, so the table includes neither their time limit nor any other change that
    they make.

    Args:
        env: a Gymnasium id, an environment, or a `World` of `rlbook_envs`.

    Returns:
        The table (see `rlbook_envs.world.TransitionTable`); unused outcomes have probability 0.

    Raises:
        TypeError: the transition probabilities of `env` are not known.
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
    # The table of Gymnasium's Taxi leaves out that a fickle passenger changes the destination.
    known = hasattr(bare, "P") and hasattr(bare, "initial_state_distrib")
    if known and not getattr(bare, "fickle_passenger", False):
        return _table_of_toy_text(bare)
    raise TypeError(
        f"{env if bare is None else bare!r} has no exact table. The worlds of rlbook_envs with"
        " numbered states have one (rlbook/FrozenLake-v0, …), and so have Gymnasium's FrozenLake,"
        " CliffWalking and Taxi."
    )


def value_iteration(
    table: TransitionTable, gamma: float = 0.99, tolerance: float = 1e-12
) -> Optimum:
    """Return the optimal values and an optimal policy, found by value iteration.

    Value iteration applies the Bellman optimality equation (3.20) as an update (4.10). If gamma is
    1, a policy that is greedy in the final values can go round in circles, because all ways have
    the same value. Therefore the action of a state is replaced only by a strictly better one, so
    that the action found first is kept, which is on one of the shortest ways.

    Args:
        table: the transition table.
        gamma: the discount factor, from 0 to 1. With 1, no endless episode may collect an infinite
            return.
        tolerance: the iteration stops when no value changes by more than this in a sweep, relative
            to the largest absolute value if that is above 1. The values are then within
            tolerance * gamma / (1 - gamma) of v*.

    Raises:
        ValueError: an argument is out of range, or `MAX_SWEEPS` sweeps were not enough.
    """
    _check_gamma(gamma)
    if not tolerance > 0:
        raise ValueError(f"tolerance must be a number above 0, got {tolerance}")
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
        f"gamma must be smaller for value iteration to converge, got {gamma}: after {MAX_SWEEPS}"
        f" sweeps, a sweep still changes a value by {change:.2g}. gamma=1 converges only if no"
        " endless episode can go on collecting rewards."
    )


def policy_values(
    table: TransitionTable, policy: ArrayLike, gamma: float = 0.99
) -> NDArray[np.float64]:
    """Return the state values v of a policy, by solving the Bellman equation (3.14, 4.3).

    Let r be the expected reward of the next step from each state, and P the probabilities of the
    next state if the episode continues. Then v = r + gamma P v, and v is the solution of the linear
    system (I - gamma P) v = r.

    Args:
        table: the transition table.
        policy: (S,) integers, the action in each state; or (S, A), the probabilities of actions.
        gamma: the discount factor, from 0 to 1.

    Returns:
        (S,) float64.

    Raises:
        ValueError: an argument is out of range, or gamma is 1 and episodes under this policy may
            never end.
    """
    _check_gamma(gamma)
    actions = _probabilities(table, np.asarray(policy))
    outcomes = actions[:, :, None] * table.probability  # (S, A, K)
    rewards = (outcomes * table.reward).sum(axis=(1, 2))
    num_states = len(rewards)
    onward = np.zeros((num_states, num_states))
    states = np.broadcast_to(np.arange(num_states)[:, None, None], outcomes.shape)
    np.add.at(onward, (states, table.next_state), outcomes * ~table.terminated)
    if gamma == 1:
        _check_that_episodes_end(onward, (outcomes * table.terminated).sum(axis=(1, 2)) > 0)
    solution: NDArray[np.float64] = np.linalg.solve(np.eye(num_states) - gamma * onward, rewards)
    return solution


def action_values(
    table: TransitionTable, values: NDArray[np.float64], gamma: float = 0.99
) -> NDArray[np.float64]:
    """Return the action values that follow from the state values (4.6).

    The target of an outcome that ends the episode is its reward alone.

    Args:
        table: the transition table.
        values: (S,) float64, the values of the next states.
        gamma: the discount factor, from 0 to 1.

    Returns:
        (S, A) float64.

    Raises:
        ValueError: an argument is out of range or has the wrong shape.
    """
    _check_gamma(gamma)
    values = _check_values(table, values)
    discounts = gamma * (1.0 - table.terminated)
    targets = table.reward + discounts * values[table.next_state]
    expected: NDArray[np.float64] = (table.probability * targets).sum(axis=2)
    return expected


def start_value(table: TransitionTable, values: NDArray[np.float64]) -> float:
    """Return the expected value of the first state of an episode.

    Args:
        table: the transition table.
        values: (S,) float64, the state values.
    """
    return float(table.start @ _check_values(table, values))


def _table_of_toy_text(env: Any) -> TransitionTable:
    """Return the table of an `env` with lists of outcomes in `env.P[state][action]`.

    An outcome is (probability, next state, reward, terminated).
    """
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
    """Return a policy as probabilities (S, A)."""
    num_states, num_actions, _ = table.probability.shape
    if policy.shape == (num_states,) and policy.dtype.kind in "iu":
        allowed = f"an action from 0 to {num_actions - 1}"
        _check_rows(policy, (policy >= 0) & (policy < num_actions), allowed)
        return np.eye(num_actions)[policy]
    if policy.shape == (num_states, num_actions):
        add_up = np.isclose(policy.sum(axis=1), 1, rtol=0, atol=1e-8)
        _check_rows(policy, add_up & (policy >= 0).all(axis=1), "probabilities that sum to 1")
        return policy.astype(np.float64)
    raise ValueError(
        f"policy must be ({num_states},) integers or ({num_states}, {num_actions}) probabilities,"
        f" got shape {policy.shape} and dtype {policy.dtype}"
    )


def _check_rows(policy: NDArray[Any], good: NDArray[np.bool_], allowed: str) -> None:
    if not good.all():
        state = int(good.argmin())
        raise ValueError(f"policy[{state}] must be {allowed}, got {policy[state]}")


def _check_that_episodes_end(onward: NDArray[np.float64], ends: NDArray[np.bool_]) -> None:
    """Raise a ValueError unless every episode ends with probability 1.

    With finitely many states, this is the case if the end can be reached from every state.
    """
    can_end = ends
    for _ in range(len(ends)):
        can_end = can_end | ((onward > 0) & can_end).any(axis=1)
    if not can_end.all():
        endless = np.flatnonzero(~can_end).tolist()
        raise ValueError(
            "gamma must be below 1 for this policy, got 1: its episodes never end once they reach"
            f" one of the states {endless}"
        )


def _check_values(table: TransitionTable, values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(values, np.float64)
    if values.shape != table.start.shape:
        raise ValueError(f"values must have shape {table.start.shape}, got {values.shape}")
    return values


def _check_gamma(gamma: float) -> None:
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must be a number from 0 to 1, got {gamma}")
