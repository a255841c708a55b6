"""On-policy Monte Carlo control (Sutton and Barto, 2018, sections 5.3 and 5.4).

Chapter 01 of the book explains the method. The value of a state-action pair is estimated by the
mean of the returns that followed it, while the policy is ε-greedy in these means. Prediction, for
which the policy is fixed, is in `rlbook.tabular.monte_carlo_prediction`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rlbook.arguments import check_flag
from rlbook.schedules import Harmonic, Schedule
from rlbook.tabular.agent import TableAgent, TableHyperparameters
from rlbook.tabular.loop import Method
from rlbook.tabular.monte_carlo_prediction import Rule
from rlbook.tabular.policies import Table, epsilon_greedy
from rlbook_envs.compiled import rule


@rule
def monte_carlo_update(
    q: Table,
    visits: NDArray[np.int64],
    states: NDArray[np.int64],
    actions: NDArray[np.int64],
    rewards: NDArray[np.float64],
    last_value: float,
    learning_rate: float | None,
    gamma: float,
    first_visit: bool,
) -> float:
    """Move the value of each pair of an episode towards its return (S. and B., section 5.4).

    Args:
        q: (S, A) float64, changed in place.
        visits: (S, A) int64, changed in place: the number of updates of each entry.
        states: (T,) int64, the states in which the agent acted.
        actions: (T,) int64, the actions taken.
        rewards: (T,) float64, the reward that followed each action.
        last_value: the value after the last reward: 0 if the episode terminated, the value of the
            next state-action pair if it was truncated.
        learning_rate: the step size α; None for 1 / (number of visits), so that the entry is the
            mean of all its returns (Sutton and Barto, equation 2.3).
        gamma: the discount factor γ.
        first_visit: whether to learn only from the first visit to each pair.

    Returns:
        The sum of |return - old value| over all updates.
    """
    error, following = 0.0, last_value
    for t in range(len(states) - 1, -1, -1):  # G_t = R_{t+1} + γ G_{t+1}
        following = rewards[t] + gamma * following
        state, action = states[t], actions[t]
        earlier = False
        if first_visit:
            for before in range(t):
                earlier |= (states[before] == state) & (actions[before] == action)
        if not earlier:
            visits[state, action] += 1
            step_size = 1.0 / visits[state, action] if learning_rate is None else learning_rate
            error += abs(following - q[state, action])
            q[state, action] += step_size * (following - q[state, action])
    return error


# The step size is large at first, to forget the returns of early policies, and small later, because
# returns are noisy.
FADING = Harmonic(0.1, 50_000)


@dataclass(frozen=True)
class Hyperparameters(TableHyperparameters):
    """Hyperparameters of `MonteCarlo`, in addition to those of `TableHyperparameters`.

    Attributes:
        learning_rate: step size α in (0, 1], or a schedule. None means 1 / (number of visits), so
            that an entry is the mean of all returns, including those of early, bad policies (Sutton
            and Barto, section 5.4). A larger step size forgets them.
        first_visit: whether to learn only from the first visit to a pair in an episode (first-visit
            Monte Carlo) or from every visit.
    """

    learning_rate: float | Schedule | None = FADING
    first_visit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("first_visit", self.first_visit)
        self._set("first_visit", bool(self.first_visit))


class MonteCarlo(TableAgent):
    """On-policy Monte Carlo control for ε-greedy policies, with a table (see `TableAgent`).

    With `epsilon=schedules.Harmonic(1.0, 50_000)`, the policy is greedy in the limit with infinite
    exploration (GLIE).

    >>> agent = MonteCarlo("rlbook/FrozenLake-v0", seed=1)
    >>> history = agent.learn(400_000)
    >>> agent.predict(14)
    1
    """

    Hyperparameters = Hyperparameters

    def _method(self) -> Method:
        parts = (self.settings.first_visit, self.settings.learning_rate is None)
        return Method(epsilon_greedy, whole_episodes, parts, on_policy=True, remembers=-1)


@cache
def whole_episodes(first_visit: bool, sample_means: bool) -> Rule:
    """Return a `learn` that stores every step and updates all pairs when the episode ends."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, counter,
    ):  # fmt: skip
        rows, actions, rewards, length = memory
        now = length[0]
        rows[now], actions[now], rewards[now] = obs, action, reward
        length[0] = now + 1
        if not ended:
            return 0.0
        episode = slice(0, now + 1)
        last_value = (1 - terminated) * q[next_obs, next_action]
        length[0] = 0
        return monte_carlo_update(
            q, visits, rows[episode], actions[episode], rewards[episode],
            last_value, None if sample_means else learning_rate, gamma, first_visit,
        )  # fmt: skip

    return learn
