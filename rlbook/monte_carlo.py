"""Monte Carlo: the value of a state is the mean of the returns that followed it.

Chapter 01 of the book. First prediction (Sutton and Barto, 2018, section 5.1): play whole episodes
with a fixed policy; whenever a state is met for the first time in an episode, note the return from
there on. Then control (sections 5.3 and 5.4): do the same for pairs of state and action, while
the policy is ε-greedy in the means so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook import backends
from rlbook.arguments import check_flag, check_whole
from rlbook.environment import EnvSource, env_maker, interface, numbered_spaces
from rlbook.schedules import Harmonic, Schedule
from rlbook.table_agent import TableAgent, TableHyperparameters
from rlbook.tabular import Method, Table, epsilon_greedy
from rlbook_envs.chance import ENVIRONMENT, POLICY, random_bits, reset_key, stream_key, uniform
from rlbook_envs.compiled import compile, rule

Rule = Callable[..., Any]


@rule
def first_visit_returns(
    states: NDArray[np.int64],
    rewards: NDArray[np.float64],
    last_value: float,
    gamma: float,
    sums: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Add one episode's first-visit returns to the sums and counts of the states it met.

    Args:
        states: (T,) int64, the states S_0 … S_{T-1} in which the agent acted.
        rewards: (T,) float64, R_1 … R_T, the reward that followed each.
        last_value: what followed the last reward: 0 after a terminated episode, an estimate of
            the value of the state it stopped in after a truncated one.
        gamma: the discount.
        sums: (S,) float64, changed in place: the returns of each state, added up.
        counts: (S,) int64, changed in place: how many.
    """
    last_seen = np.full(len(sums), -1)
    returns = np.empty(len(states))
    total = last_value
    for t in range(len(states) - 1, -1, -1):  # G_t = R_{t+1} + γ G_{t+1}
        total = rewards[t] + gamma * total
        returns[t] = total
        last_seen[states[t]] = t  # in the end, the time of the first visit
    for t in range(len(states)):
        if last_seen[states[t]] == t:
            sums[states[t]] += returns[t]
            counts[states[t]] += 1


class Prediction(NamedTuple):
    """What Monte Carlo found.

    Attributes:
        values: (S,) float64, the mean first-visit return; NaN for a state that was never met.
        counts: (S,) int64, from how many episodes.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]


def make_loop(
    chance: Rule, reset: Rule, step: Rule, out_of_time: Rule, act: Rule, add_returns: Rule
) -> Callable[..., tuple[Any, ...]]:
    """The loop over whole episodes around these rules, in Python or ready to be compiled."""

    def loop(env, limit, env_key, policy_key, policy, episodes, gamma):  # type: ignore[no-untyped-def]
        sums, counts = np.zeros(len(policy)), np.zeros(len(policy), np.int64)
        states, rewards = np.empty(1024, np.int64), np.empty(1024)
        clock = 0
        for _ in range(episodes):
            obs = reset(env, reset_key(env_key, clock))
            length, ended = 0, False
            while not ended:
                if length == len(states):
                    states = np.append(states, np.empty_like(states))
                    rewards = np.append(rewards, np.empty_like(rewards))
                action = act(policy, obs, policy_key, clock)
                next_obs, reward, terminated = step(env, obs, action, chance(env_key, clock))
                states[length], rewards[length] = obs, reward
                clock += 1
                length += 1
                obs = next_obs
                ended = terminated or out_of_time(env, length, limit)
            last_value = 0.0
            if not terminated and counts[obs] > 0:
                last_value = float(sums[obs] / counts[obs])
            add_returns(states[:length], rewards[:length], last_value, gamma, sums, counts)
        return sums, counts

    return loop


@rule
def sample_action(policy: NDArray[np.float64], obs: int, key: np.uint64, clock: int) -> int:
    """An action drawn from π(·|s), where `policy` is (S, A) float64."""
    remaining = uniform(random_bits(key, clock))
    row = policy[obs]
    for action in range(len(row) - 1):
        remaining -= row[action]
        if remaining < 0.0:
            return action
    return len(row) - 1


@cache
def _compiled_loop(chance: Rule, reset: Rule, step: Rule, out_of_time: Rule) -> Rule:
    return compile(make_loop(chance, reset, step, out_of_time, sample_action, first_visit_returns))


@cache
def _python_loop(chance: Rule, reset: Rule, step: Rule, out_of_time: Rule) -> Rule:
    act, add_returns = compile(sample_action), compile(first_visit_returns)
    return make_loop(chance, reset, step, out_of_time, act, add_returns)


def _play(
    make_env: Rule, policy: NDArray[np.float64], gamma: float, seed: int, task: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    number, episodes = task
    env_key = stream_key(seed, ENVIRONMENT, number)
    face = interface(make_env, int(env_key))
    loop = (_compiled_loop if face.compiled else _python_loop)(*face.rules)
    sums, counts = loop(
        face.env, face.limit, env_key, stream_key(seed, POLICY, number), policy, episodes, gamma
    )
    return sums, counts


def evaluate_policy(
    env: EnvSource,
    policy: NDArray[Any],
    *,
    episodes: int = 1000,
    gamma: float = 0.99,
    seed: int = 0,
    num_envs: int = 1,
    backend: str | backends.Backend = "local",
) -> Prediction:
    """First-visit Monte Carlo prediction of a policy's state values, v_π.

    Episodes are dealt out to `num_envs` environments, each with its own random streams, and what
    they bring is added up in their order: the numbers are the same on every backend. Where a time
    limit cuts an episode short, the mean return so far of the state it stopped in stands for the
    rest, so that the limit does not count as an end.

    Args:
        env: a Gymnasium id, an environment or a function that makes one; `Discrete` spaces.
        policy: (S,) int actions, or (S, A) float64 probabilities.
        episodes: how many in all.
        gamma: discount per step, from 0 to 1.
        seed: of everything random.
        num_envs: environments that play side by side.
        backend: where they play; one given by name is closed again afterwards.

    Raises:
        ValueError: an argument is out of range.
    """
    check_whole("episodes", episodes, 1)
    check_whole("seed", seed, 0)
    check_whole("num_envs", num_envs, 1)
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma={gamma!r} is not allowed: from 0 to 1")
    make_env = env_maker(env)
    observations, num_actions = numbered_spaces(make_env(), "Monte Carlo")
    probabilities = as_probabilities(policy, observations.size, num_actions)
    shares = [len(part) for part in np.array_split(np.arange(episodes), num_envs)]
    play = partial(_play, make_env, probabilities, gamma, seed)
    if isinstance(backend, backends.Backend):
        played = backend.run(play, list(enumerate(shares)))
    else:
        with backends.get(backend) as own:
            played = own.run(play, list(enumerate(shares)))
    num_states = observations.size
    sums, counts = np.zeros(num_states), np.zeros(num_states, np.int64)
    for some_sums, some_counts in played:
        sums, counts = sums + some_sums, counts + some_counts
    values = np.divide(sums, counts, out=np.full(num_states, np.nan), where=counts > 0)
    return Prediction(values, counts)


def as_probabilities(policy: NDArray[Any], num_states: int, num_actions: int) -> Table:
    """A policy as (S, A) float64 probabilities, from those or from (S,) int actions.

    Raises:
        ValueError: it is neither.
    """
    policy = np.asarray(policy)
    if not _is_policy(policy, num_states, num_actions):
        raise ValueError(
            f"policy of shape {policy.shape} is not allowed: {num_states} actions, whole numbers "
            f"below {num_actions}, or {(num_states, num_actions)} probabilities that add up to 1 "
            "in every row"
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
    """Move each pair of an episode towards the return that followed it (S. and B., section 5.4).

    Args:
        q: (S, A) float64, changed in place.
        visits: (S, A) int64, changed in place: how many returns each entry has learned from.
        states: (T,) int64, the states in which the agent acted.
        actions: (T,) int64.
        rewards: (T,) float64, the reward that followed each.
        last_value: what followed the last reward: 0 after a terminated episode, the value of the
            pair that would have come next after a truncated one.
        learning_rate: the step size α; None for one over the number of visits, so that the entry
            is the mean of all its returns (Sutton and Barto, equation 2.3).
        gamma: the discount γ.
        first_visit: learn only from the first visit to each pair.

    Returns:
        The sum of |return - old value| over all visits learned from.
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


# Large at first, so that the returns of early policies are forgotten; small in the end, since
# returns are noisy.
FADING = Harmonic(0.1, 50_000)


@dataclass(frozen=True)
class Hyperparameters(TableHyperparameters):
    """What `MonteCarlo` can be told, beside what `TableHyperparameters` says.

    Attributes:
        learning_rate: step size α, in (0, 1], or a schedule. None: one over the number of visits,
            so that an entry is the mean of all returns that were seen, also those of early, bad
            policies (Sutton and Barto, section 5.4). A larger one forgets them.
        first_visit: learn from the first visit to a pair in an episode; otherwise from every visit.
    """

    learning_rate: float | Schedule | None = FADING
    first_visit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("first_visit", self.first_visit)
        self._set("first_visit", bool(self.first_visit))


class MonteCarlo(TableAgent):
    """On-policy Monte Carlo control for ε-greedy policies, with a table. See `TableAgent`.

    With `epsilon=schedules.Harmonic(1.0, 50_000)` it is GLIE: greedy in the limit, with infinite
    exploration.

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
    """Note every step, and learn from all of them when the episode has ended."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, clock,
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
