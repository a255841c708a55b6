"""Monte Carlo prediction (Sutton and Barto, 2018, section 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook import backends
from rlbook.arguments import check_whole
from rlbook.envs.making import EnvSource, env_maker
from rlbook.envs.numbering import numbered_spaces
from rlbook.tabular.interface import interface
from rlbook.tabular.policies import as_probabilities, sample_action
from rlbook_envs.compiled import compile, rule
from rlbook_envs.streams import ENVIRONMENT, POLICY, reset_key, stream_key

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
    """Add the first-visit returns of one episode to the sums and counts of the visited states.

    Args:
        states: (T,) int64, the states S_0 … S_{T-1} in which the agent acted.
        rewards: (T,) float64, R_1 … R_T, the reward that followed each state.
        last_value: the value of the state after the last reward: 0 if the episode terminated, an
            estimate if it was truncated.
        gamma: the discount factor.
        sums: (S,) float64, changed in place: the sum of the returns of each state.
        counts: (S,) int64, changed in place: the number of returns of each state.
    """
    last_seen = np.full(len(sums), -1)
    returns = np.empty(len(states))
    total = last_value
    for t in range(len(states) - 1, -1, -1):  # G_t = R_{t+1} + γ G_{t+1}
        total = rewards[t] + gamma * total
        returns[t] = total
        last_seen[states[t]] = t  # after the loop, the time of the first visit
    for t in range(len(states)):
        if last_seen[states[t]] == t:
            sums[states[t]] += returns[t]
            counts[states[t]] += 1


class Prediction(NamedTuple):
    """The result of Monte Carlo prediction.

    Attributes:
        values: (S,) float64, the mean first-visit return; NaN for a state that was never visited.
        counts: (S,) int64, the number of episodes that visited each state.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]


def make_loop(
    step_key: Rule, reset: Rule, step: Rule, time_limit_reached: Rule, act: Rule, add_returns: Rule
) -> Callable[..., tuple[Any, ...]]:
    """Return the loop of Monte Carlo prediction around these rules.

    The loop is a Python function that can also be compiled. `rlbook.envs.making` describes the
    first four rules; `act` is called like `sample_action`, and `add_returns` like
    `first_visit_returns`.
    """

    def loop(env, limit, env_key, policy_key, policy, episodes, gamma):  # type: ignore[no-untyped-def]
        sums, counts = np.zeros(len(policy)), np.zeros(len(policy), np.int64)
        states, rewards = np.empty(1024, np.int64), np.empty(1024)
        counter = 0
        for _ in range(episodes):
            obs = reset(env, reset_key(env_key, counter))
            length, ended = 0, False
            while not ended:
                if length == len(states):
                    states = np.append(states, np.empty_like(states))
                    rewards = np.append(rewards, np.empty_like(rewards))
                action = act(policy, obs, policy_key, counter)
                next_obs, reward, terminated = step(env, obs, action, step_key(env_key, counter))
                states[length], rewards[length] = obs, reward
                counter += 1
                length += 1
                obs = next_obs
                ended = terminated or time_limit_reached(env, length, limit)
            last_value = 0.0
            if not terminated and counts[obs] > 0:
                last_value = float(sums[obs] / counts[obs])
            add_returns(states[:length], rewards[:length], last_value, gamma, sums, counts)
        return sums, counts

    return loop


@cache
def _compiled_loop(step_key: Rule, reset: Rule, step: Rule, time_limit_reached: Rule) -> Rule:
    return compile(
        make_loop(step_key, reset, step, time_limit_reached, sample_action, first_visit_returns)
    )


@cache
def _python_loop(step_key: Rule, reset: Rule, step: Rule, time_limit_reached: Rule) -> Rule:
    act, add_returns = compile(sample_action), compile(first_visit_returns)
    return make_loop(step_key, reset, step, time_limit_reached, act, add_returns)


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
    """Return the state values v_π of a policy, estimated by first-visit Monte Carlo prediction.

    The episodes are divided among `num_envs` environments, each with its own random streams, and
    the results are added in the order of the environments, so that they are the same on every
    backend. If a time limit truncates an episode, the mean return so far of its last state replaces
    the missing rewards, so that the time limit does not count as a termination.

    Args:
        env: a Gymnasium id, an environment or a function that makes one. Its observation space
            must be `Discrete` (from 0), `MultiDiscrete`, `MultiBinary` or a `Tuple` of `Discrete`.
        policy: (S,) int actions, or (S, A) float64 probabilities.
        episodes: total number of episodes.
        gamma: discount factor, from 0 to 1.
        seed: seed of all random streams.
        num_envs: number of environments among which the episodes are divided.
        backend: where the episodes are played; a backend given by name is closed afterwards.

    Raises:
        ValueError: an argument is out of range.
    """
    check_whole("episodes", episodes, 1)
    check_whole("seed", seed, 0)
    check_whole("num_envs", num_envs, 1)
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must be a number from 0 to 1, got {gamma!r}")
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
