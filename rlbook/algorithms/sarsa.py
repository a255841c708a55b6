"""SARSA and its variants (Rummery and Niranjan, 1994; Sutton and Barto, 2018, chapters 6, 7, 12).

Chapter 02 of the book explains these methods. All of them are on-policy: they learn the value of
the policy that they follow, from the quintuple of state, action, reward, next state and next
action. They differ in the target: SARSA bootstraps from the value of the next action, Expected
SARSA from the mean value under the policy, n-step SARSA from the value after n rewards, and
SARSA(λ) from a weighted average of all n-step targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rlbook.arguments import check_flag, check_needed, check_number, check_whole
from rlbook.ops.returns import n_step_return
from rlbook.tabular.agent import TableAgent, TableHyperparameters
from rlbook.tabular.loop import Memory, Method, Rule
from rlbook.tabular.policies import Table, epsilon_greedy
from rlbook_envs.compiled import rule


@rule
def sarsa_update(
    q: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    next_action: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """Move q[obs, action] towards reward + gamma * q[next_obs, next_action] (S. and B., eq. 6.7).

    After a termination no reward follows, so the target is the reward alone. A truncated step is
    treated like any other step: next_action is the action that the policy would take next.

    Args:
        q: (S, A) float64, changed in place.
        obs: the state S_t.
        action: the action A_t.
        reward: the reward R_{t+1}.
        next_obs: the state S_{t+1}.
        next_action: the action A_{t+1} of the behaviour policy in next_obs.
        terminated: whether the step terminated the episode.
        learning_rate: the step size α.
        gamma: the discount factor γ.

    Returns:
        The TD error δ: the target minus the old value.
    """
    target = reward + gamma * (1 - terminated) * q[next_obs, next_action]
    td_error = target - q[obs, action]
    q[obs, action] += learning_rate * td_error
    return td_error


@rule
def expected_value(q: Table, obs: int, epsilon: float) -> float:
    """Return the mean of q[obs] under the ε-greedy policy, Σ_a π(a|obs) q[obs, a]."""
    best, total = q[obs, 0], 0.0
    for value in q[obs]:
        best = max(best, value)
        total += value
    return epsilon * total / q.shape[1] + (1 - epsilon) * best


@rule
def expected_sarsa_update(
    q: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
    epsilon: float,
) -> float:
    """Move q[obs, action] towards reward + gamma * Σ_a π(a|next_obs) q[next_obs, a] (eq. 6.9).

    The policy π is ε-greedy in q (van Seijen, van Hasselt, Whiteson and Wiering, "A theoretical and
    empirical analysis of Expected Sarsa", 2009).

    Args:
        q: (S, A) float64, changed in place.
        obs, action, reward, next_obs, terminated, learning_rate, gamma: as in `sarsa_update`.
        epsilon: ε of the policy π.

    Returns:
        The TD error δ.
    """
    target = reward + gamma * (1 - terminated) * expected_value(q, next_obs, epsilon)
    td_error = target - q[obs, action]
    q[obs, action] += learning_rate * td_error
    return td_error


@rule
def sarsa_lambda_update(
    q: Table,
    traces: Memory,
    visits: NDArray[np.int64],
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    next_action: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
    lambda_: float,
) -> float:
    """Move the value of every pair by the TD error times its eligibility trace (S. and B., 12.7).

    The trace of a pair grows by 1 at each visit and decays by the factor γλ in every step
    ("accumulating traces"). Only the traces of pairs that this episode has visited are stored; all
    other traces are 0.

    Args:
        q: (S, A) float64, changed in place.
        traces: the traces of this episode, changed in place; empty at its beginning.
        visits: (S, A) int64, changed in place: the number of updates of each entry.
        obs, action, reward, next_obs, next_action, terminated, learning_rate, gamma: as in
            `sarsa_update`.
        lambda_: λ; with 0, this is `sarsa_update`.

    Returns:
        The TD error δ.
    """
    target = reward + gamma * (1 - terminated) * q[next_obs, next_action]
    td_error = target - q[obs, action]
    count, found = traces.length[0], False
    for i in range(count):
        traces.numbers[i] *= gamma * lambda_
        if traces.rows[i] == obs and traces.actions[i] == action:
            traces.numbers[i] += 1.0
            found = True
    if not found:
        traces.rows[count], traces.actions[count], traces.numbers[count] = obs, action, 1.0
        count += 1
        traces.length[0] = count
    for i in range(count):
        row, column = traces.rows[i], traces.actions[i]
        q[row, column] += learning_rate * td_error * traces.numbers[i]
        visits[row, column] += 1
    return td_error


@dataclass(frozen=True)
class Hyperparameters(TableHyperparameters):
    """Hyperparameters of `Sarsa`, in addition to those of `TableHyperparameters`.

    Attributes:
        expected: whether to bootstrap from the mean value over the next action rather than from the
            value of the action that was drawn, also after n steps (Sutton and Barto, sections 6.6
            and 7.2).
        n_step: number of rewards before bootstrapping. With a larger n, a reward reaches earlier
            states sooner, and targets are noisier (Sutton and Barto, section 7.2).
        lambda_: λ of SARSA(λ), in [0, 1]; 0 is SARSA, and 1 is close to Monte Carlo. It can be
            combined neither with `n_step` nor with `expected` (Sutton and Barto, section 12.7,
            where 0.9 does well).
    """

    expected: bool = False
    n_step: int = 1
    lambda_: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_needed("learning_rate", self.learning_rate)
        check_flag("expected", self.expected)
        self._set("expected", bool(self.expected))
        check_whole("n_step", self.n_step, 1)
        self._set("n_step", int(self.n_step))
        self._set("lambda_", check_number("lambda_", self.lambda_, 0, 1))
        if self.lambda_ > 0 and (self.n_step > 1 or self.expected):
            raise ValueError(
                f"lambda_ must be 0 unless n_step=1 and expected=False, got {self.lambda_} with "
                f"n_step={self.n_step} and expected={self.expected}"
            )


class Sarsa(TableAgent):
    """SARSA, Expected SARSA, n-step SARSA or SARSA(λ), with a table (see `TableAgent`).

    >>> agent = Sarsa("rlbook/FrozenLake-v0", seed=1, expected=True)
    >>> history = agent.learn(200_000)
    >>> agent.predict(0)
    0
    """

    Hyperparameters = Hyperparameters

    def _method(self) -> Method:
        settings = self.settings
        if settings.lambda_ > 0:
            return Method(epsilon_greedy, lambda_steps, (settings.lambda_,), True, remembers=-1)
        if settings.n_step > 1:
            parts = (settings.n_step, settings.expected)
            return Method(epsilon_greedy, n_steps, parts, True, remembers=settings.n_step)
        if settings.expected:
            return Method(epsilon_greedy, expected_step, (expected_sarsa_update,), True)
        return Method(epsilon_greedy, sarsa_step, (sarsa_update,), True)


# The following functions make the `learn` that the loop in `rlbook.tabular.loop` calls after every
# step.


@cache
def sarsa_step(update: Rule) -> Rule:
    """Return a `learn` that applies a rule such as `sarsa_update` to every step."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, counter,
    ):  # fmt: skip
        visits[obs, action] += 1
        return update(
            q, obs, action, reward, next_obs, next_action, terminated, learning_rate, gamma
        )

    return learn


@cache
def expected_step(update: Rule) -> Rule:
    """Return a `learn` that applies a rule such as `expected_sarsa_update` to every step."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, counter,
    ):  # fmt: skip
        visits[obs, action] += 1
        return update(q, obs, action, reward, next_obs, terminated, learning_rate, gamma, epsilon)

    return learn


@cache
def n_steps(n: int, expected: bool) -> Rule:
    """Return a `learn` that updates a pair when n rewards have followed it or the episode ends."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, counter,
    ):  # fmt: skip
        rows, actions, rewards, length = memory
        now = length[0]
        rows[now], actions[now], rewards[now] = obs, action, reward
        now += 1
        error, learned = 0.0, 0
        if now == n or ended:
            value = q[next_obs, next_action]
            if expected:
                value = expected_value(q, next_obs, epsilon)
            last_value = (1 - terminated) * value
            learned = now if ended else 1  # when the episode ends, all that are left
        for first in range(learned):
            target = n_step_return(rewards[first:now], last_value, gamma)
            td_error = target - q[rows[first], actions[first]]
            q[rows[first], actions[first]] += learning_rate * td_error
            visits[rows[first], actions[first]] += 1
            error += abs(td_error)
        for i in range(now - learned):  # move the others to the front
            rows[i], actions[i] = rows[i + learned], actions[i + learned]
            rewards[i] = rewards[i + learned]
        length[0] = now - learned
        return error

    return learn


@cache
def lambda_steps(lambda_: float) -> Rule:
    """Return a `learn` that updates all pairs of the episode in every step, as in SARSA(λ)."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, counter,
    ):  # fmt: skip
        td_error = sarsa_lambda_update(
            q, memory, visits, obs, action, reward, next_obs, next_action, terminated,
            learning_rate, gamma, lambda_,
        )  # fmt: skip
        if ended:
            memory.length[0] = 0
        return td_error

    return learn
