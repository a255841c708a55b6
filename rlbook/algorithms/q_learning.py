"""Q-learning (Watkins, 1989; Sutton and Barto, 2018, section 6.5): chapter 03 of the book.

The update rules, and the agent that applies them. The training loop that calls the rules is in
`rlbook.tabular.loop`, and what all agents with a table share is in `rlbook.tabular.agent`.
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

    After a terminated step nothing follows, so the target is the reward alone. A truncated step is
    an ordinary one: the world would have gone on.

    Args:
        q: (S, A) float64, changed in place.
        learning_rate: the step size α.
        gamma: the discount γ.

    Returns:
        The TD error δ, the target less the old value.
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
    """One table picks the next action, the other says what that is worth (Sutton and Barto, 6.10).

    Which of the two tables is `q`, the one to be changed, is for the caller to toss a coin over
    (van Hasselt, "Double Q-learning", NeurIPS 2010, algorithm 1).

    Args:
        q: (S, A) float64, changed in place.
        other: (S, A) float64, only read.

    Returns:
        The TD error δ.
    """
    value = other[next_obs, q[next_obs].argmax()]
    td_error = reward + gamma * (1 - terminated) * value - q[obs, action]
    q[obs, action] += learning_rate * td_error
    return td_error


@dataclass(frozen=True)
class Hyperparameters(TableHyperparameters):
    """What `QLearning` can be told, beside what `TableHyperparameters` says.

    Attributes:
        double: keep two tables, either of which says what the other's best action is worth, so that
            luck is not taken for value (Sutton and Barto, section 6.7).
    """

    double: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_needed("learning_rate", self.learning_rate)
        check_flag("double", self.double)
        self._set("double", bool(self.double))


class QLearning(TableAgent):
    """Q-learning, or double Q-learning, with a table. See `TableAgent` for everything else.

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
        """(S, A) float64, the action values; of two tables, the mean."""
        return self._table.mean(axis=1) if self.settings.double else self._table


@rule
def double_epsilon_greedy(q: Table, obs: int, epsilon: float, key: np.uint64, clock: int) -> int:
    """ε-greedy in the sum of two tables, q of shape (S, 2, A)."""
    both = q[obs, 0] + q[obs, 1]
    return epsilon_greedy(both.reshape(1, -1), 0, epsilon, key, clock)


@cache
def double_step(update: Rule) -> Rule:
    """Toss a coin for which table learns from this step."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, clock,
    ):  # fmt: skip
        coin = int(random_bits(random_bits(policy_key, clock), 2) & np.uint64(1))
        visits[obs, coin, action] += 1
        return update(
            q[:, coin], q[:, 1 - coin],
            obs, action, reward, next_obs, terminated, learning_rate, gamma,
        )  # fmt: skip

    return learn
