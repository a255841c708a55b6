"""What tabular methods share: how to behave, the loop, the worker that runs it, the average.

Read in this order: the behaviour policy; the loop of act, step and learn; the worker, which runs
the loop in its environments; and how several copies of a table become one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook.environment import interface
from rlbook_envs.chance import ENVIRONMENT, POLICY, random_bits, reset_key, stream_key, uniform
from rlbook_envs.compiled import compile, rule

Table = NDArray[np.float64]
Rule = Callable[..., Any]


@rule
def epsilon_greedy(q: Table, obs: int, epsilon: float, key: np.uint64, clock: int) -> int:
    """Usually the best action, one of them at random where several are; any with probability ε.

    Args:
        q: (S, A) float64.
        epsilon: the probability of a uniformly random action.
        key: of the stream of random numbers; `clock` says which one to use.
    """
    bits = random_bits(key, clock)
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
    """The probability π(a|s) of each action under `epsilon_greedy`.

    >>> epsilon_greedy_probabilities(np.array([0.0, 2.0, 2.0, 1.0]), 0.2)
    array([0.05, 0.45, 0.45, 0.05])
    """
    best = q_row == q_row.max()
    return epsilon / len(q_row) + (1 - epsilon) * best / best.sum()


class Position(NamedTuple):
    """Where one environment's interaction stands between two calls of the loop."""

    obs: int = -1  # what to act on next; -1: reset first
    clock: int = 0  # steps taken so far: the counter of the random streams
    episode_return: float = 0.0
    episode_length: int = 0


def make_loop(
    chance: Rule, reset: Rule, step: Rule, out_of_time: Rule, act: Rule, update: Rule
) -> Callable[..., tuple[Any, ...]]:
    """The loop of act, step and learn around these rules, in Python or ready to be compiled."""

    def loop(  # type: ignore[no-untyped-def]
        env, limit, env_key, policy_key, obs, clock, episode_return, episode_length,
        q, visits, ended_at, returns, lengths, epsilon, learning_rate, gamma,
    ):  # fmt: skip
        episodes, error = 0, 0.0
        if obs < 0:
            obs = reset(env, reset_key(env_key, clock))
        for t in range(len(ended_at)):
            action = act(q, obs, epsilon, policy_key, clock)
            next_obs, reward, terminated = step(env, obs, action, chance(env_key, clock))
            error += abs(update(q, obs, action, reward, next_obs, terminated, learning_rate, gamma))
            visits[obs, action] += 1
            clock += 1
            episode_return += reward
            episode_length += 1
            if terminated or out_of_time(env, episode_length, limit):
                ended_at[episodes] = t
                returns[episodes], lengths[episodes] = episode_return, episode_length
                episodes += 1
                episode_return, episode_length = 0.0, 0
                obs = reset(env, reset_key(env_key, clock))
            else:
                obs = next_obs
        return obs, clock, episode_return, episode_length, episodes, error

    return loop


@cache
def _compiled_loop(update: Rule, chance: Rule, reset: Rule, step: Rule, out_of_time: Rule) -> Rule:
    return compile(make_loop(chance, reset, step, out_of_time, epsilon_greedy, update))


@cache
def _python_loop(update: Rule, chance: Rule, reset: Rule, step: Rule, out_of_time: Rule) -> Rule:
    # The loop is Python's, since it calls the environment; what it does to the table is compiled.
    act, update = compile(epsilon_greedy), compile(update)
    return make_loop(chance, reset, step, out_of_time, act, update)


class Learned(NamedTuple):
    """What one environment brings back from a round, in which E of its episodes ended."""

    q: Table  # (S, A), the table as this environment would have it
    visits: NDArray[np.int64]  # (S, A), how often each entry was updated
    ended_at: NDArray[np.int64]  # (E,), the step of the round at which each episode ended, from 0
    returns: NDArray[np.float64]  # (E,)
    lengths: NDArray[np.int64]  # (E,)
    td_error: float  # sum of |δ|


class Learner:
    """A worker: some of the environments, each with random streams of its own.

    Args:
        index: which worker this is.
        shares: for each worker, the numbers of its environments.
        make_env: makes an environment.
        seed: of the run.
        update: the rule by which an entry of the table changes, as `q_learning_update`.
        settings: the hyperparameters, of which it needs `epsilon`, `learning_rate` and `gamma`.
        states: for each environment, the state in which `learn` left it, or None to begin.
    """

    def __init__(
        self,
        index: int,
        shares: list[list[int]],
        make_env: Callable[[], Any],
        seed: int,
        update: Rule,
        settings: Any,
        states: list[Any],
    ) -> None:
        self.update, self.settings = update, settings
        self.places = [_Place(make_env, seed, number, states[number]) for number in shares[index]]

    def learn(self, q: Table, steps: int) -> tuple[list[Learned], list[Any], float]:
        """Take `steps` steps in each environment, each on its own copy of `q`.

        Returns:
            What each environment learned, where it now stands (plain numbers), the seconds taken.
        """
        start = perf_counter()
        learned = [p.learn(q.copy(), steps, self.update, self.settings) for p in self.places]
        states = [place.get_state() for place in self.places]
        return learned, states, perf_counter() - start


class _Place:
    """One environment, its random streams, and how far it has come."""

    def __init__(self, make_env: Callable[[], Any], seed: int, number: int, state: Any) -> None:
        self.env_key = stream_key(seed, ENVIRONMENT, number)
        self.policy_key = stream_key(seed, POLICY, number)
        self.interface = interface(make_env, int(self.env_key))
        self.position = Position()
        if state is not None:
            self.position = Position(*state["position"])
            self.interface.set_state(state["env"])

    def learn(self, q: Table, steps: int, update: Rule, settings: Any) -> Learned:
        face = self.interface
        loop = (_compiled_loop if face.compiled else _python_loop)(update, *face.rules)
        visits = np.zeros(q.shape, np.int64)
        ended_at, lengths = np.empty(steps, np.int64), np.empty(steps, np.int64)
        returns = np.empty(steps, np.float64)
        *position, episodes, td_error = loop(
            face.env, face.limit, self.env_key, self.policy_key, *self.position,
            q, visits, ended_at, returns, lengths,
            settings.epsilon, settings.learning_rate, settings.gamma,
        )  # fmt: skip
        self.position = Position(*position)
        ended = slice(episodes)
        return Learned(
            q,
            visits,
            ended_at[ended].copy(),
            returns[ended].copy(),
            lengths[ended].copy(),
            td_error,
        )

    def get_state(self) -> dict[str, Any]:
        obs, clock, episode_return, episode_length = self.position
        position = [int(obs), int(clock), float(episode_return), int(episode_length)]
        return {"position": position, "env": self.interface.get_state()}


def average_tables(q: Table, tables: NDArray[np.float64], visits: NDArray[np.int64]) -> Table:
    """One table from several: the mean of each entry, weighted by how often each copy updated it.

    Args:
        q: (S, A), what the copies started from; entries that none of them updated stay so.
        tables: (N, S, A), the copies.
        visits: (N, S, A), the number of updates of each entry of each copy.
    """
    totals = visits.sum(axis=0)
    mean = np.where(totals > 0, 0.0, q)
    for table, count in zip(tables, visits, strict=True):  # always in this order: sums round
        mean += table * (count / np.maximum(totals, 1))
    return mean
