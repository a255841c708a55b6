"""Q-learning (Watkins, 1989; Sutton and Barto, 2018, section 6.5).

Chapter 03 of the book explains the method. This module contains the update rules and the agent that
applies them. The training loop that calls the rules is in `rlbook.tabular.loop`, and the base class
of all tabular agents in `rlbook.tabular.agent`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from rlbook.arguments import check_flag, check_needed
from rlbook.tabular.agent import TableAgent, TableHyperparameters
from rlbook.tabular.loop import Method, Rule, one_step
from rlbook.tabular.policies import Table, epsilon_greedy
from rlbook_envs.compiled import rule
from rlbook_envs.streams import random_bits


@rule
def q_learning_update(
    q: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """Move q[obs, action] towards reward + gamma * max q[next_obs] (Sutton and Barto, eq. 6.8).

    After a termination no reward follows, so the target is the reward alone. A truncated step is
    treated like any other step, because the episode would have gone on.

    Args:
        q: (S, A) float64, changed in place.
        obs: the state S_t.
        action: the action A_t.
        reward: the reward R_{t+1}.
        next_obs: the state S_{t+1}.
        terminated: whether the step terminated the episode.
        learning_rate: the step size α.
        gamma: the discount factor γ.

    Returns:
        The TD error δ: the target minus the old value.
    """
    best = q[next_obs, 0]
    for value in q[next_obs]:
        best = max(best, value)
    target = reward + gamma * (1 - terminated) * best
    td_error = target - q[obs, action]
    q[obs, action] += learning_rate * td_error
    return td_error


@rule
def double_q_learning_update(
    q: Table,
    other: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """Update one of the two tables of double Q-learning (Sutton and Barto, equation 6.10).

    The table `q` chooses the next action, and `other` gives the value of this action. The caller
    decides at random which of the two tables is `q` (van Hasselt, "Double Q-learning", NeurIPS
    2010, algorithm 1).

    Args:
        q: (S, A) float64, changed in place.
        other: (S, A) float64, only read.
        obs, action, reward, next_obs, terminated, learning_rate, gamma: as in `q_learning_update`.

    Returns:
        The TD error δ.
    """
    value = other[next_obs, q[next_obs].argmax()]
    td_error = reward + gamma * (1 - terminated) * value - q[obs, action]
    q[obs, action] += learning_rate * td_error
    return td_error


@dataclass(frozen=True)
class Hyperparameters(TableHyperparameters):
    """Hyperparameters of `QLearning`, in addition to those of `TableHyperparameters`.

    Attributes:
        double: whether to use double Q-learning: each of two tables evaluates the best action of
            the other, which avoids the maximisation bias (Sutton and Barto, section 6.7).
    """

    double: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_needed("learning_rate", self.learning_rate)
        check_flag("double", self.double)
        self._set("double", bool(self.double))


class QLearning(TableAgent):
    """Q-learning or double Q-learning, with a table (see `TableAgent`).

    >>> agent = QLearning("rlbook/FrozenLake-v0", seed=1)
    >>> history = agent.learn(200_000)
    >>> agent.predict(0)
    0
    """

    Hyperparameters = Hyperparameters
    update = staticmethod(q_learning_update)

    def _method(self) -> Method:
        if self.settings.double:
            return Method(double_epsilon_greedy, double_step, (double_q_learning_update,))
        return Method(epsilon_greedy, one_step, (type(self).update,))

    def _row_shape(self) -> tuple[int, ...]:
        return (2, self.num_actions) if self.settings.double else (self.num_actions,)

    @property
    def q(self) -> Table:
        """The action values, (S, A) float64; with two tables, their mean."""
        return self._table.mean(axis=1) if self.settings.double else self._table


@rule
def double_epsilon_greedy(q: Table, obs: int, epsilon: float, key: np.uint64, counter: int) -> int:
    """Return an ε-greedy action in the sum of two tables, q of shape (S, 2, A)."""
    both = q[obs, 0] + q[obs, 1]
    return epsilon_greedy(both.reshape(1, -1), 0, epsilon, key, counter)


@cache
def double_step(update: Rule) -> Rule:
    """Return a `learn` that applies a rule to one of two tables, chosen at random in every step."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, counter,
    ):  # fmt: skip
        coin = int(random_bits(random_bits(policy_key, counter), 2) & np.uint64(1))
        visits[obs, coin, action] += 1
        return update(
            q[:, coin], q[:, 1 - coin],
            obs, action, reward, next_obs, terminated, learning_rate, gamma,
        )  # fmt: skip

    return learn
