"""Temporal-difference prediction (Sutton, 1988; Sutton and Barto, 2018, sections 6.1 and 7.1).

The value of a state under a fixed policy is learned from the value of a later state: the next one
in TD(0), the one n steps later in n-step TD. With n as long as the episode, this becomes Monte
Carlo with a constant step size. The first half of chapter 02 of the book explains these methods.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook import backends
from rlbook.arguments import check_number, check_whole
from rlbook.envs.making import EnvSource, env_maker
from rlbook.envs.numbering import numbered_spaces
from rlbook.ops.returns import n_step_return
from rlbook.tabular.interface import interface
from rlbook.tabular.policies import as_probabilities, sample_action
from rlbook_envs.compiled import compile, rule
from rlbook_envs.streams import ENVIRONMENT, POLICY, reset_key, stream_key

Rule = Callable[..., Any]
Values = NDArray[np.float64]

# Runs per task, so that a task takes longer than the overhead of sending it.
RUNS_PER_TASK = 25


@rule
def td_update(
    values: Values,
    obs: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """Move values[obs] towards reward + gamma * values[next_obs] (Sutton and Barto, equation 6.2).

    After a termination no reward follows, so the target is the reward alone. A truncated step is
    treated like any other step.

    Args:
        values: (S,) float64, changed in place.
        obs: the state S_t.
        reward: the reward R_{t+1}.
        next_obs: the state S_{t+1}.
        terminated: whether the step terminated the episode.
        learning_rate: the step size α.
        gamma: the discount factor γ.

    Returns:
        The TD error δ: the target minus the old value.
    """
    target = reward + gamma * (1 - terminated) * values[next_obs]
    td_error = target - values[obs]
    values[obs] += learning_rate * td_error
    return td_error


def make_loop(
    step_key: Rule, reset: Rule, step: Rule, time_limit_reached: Rule, act: Rule, update: Rule
) -> Callable[..., None]:
    """Return the loop of n-step TD around these rules.

    The loop is a Python function that can also be compiled. `rlbook.envs.making` describes the
    first four rules; `act` is called like `sample_action`, and `update` like `td_update`.
    """

    def loop(  # type: ignore[no-untyped-def]
        env, limit, env_key, policy_key, policy, values, history, n, learning_rate, gamma
    ):
        states, rewards, counter = np.empty(64, np.int64), np.empty(64), 0
        for episode in range(len(history)):
            obs = reset(env, reset_key(env_key, counter))
            length, learned, ended = 0, 0, False
            while not ended:
                if length == len(states):
                    states = np.append(states, np.empty_like(states))
                    rewards = np.append(rewards, np.empty_like(rewards))
                action = act(policy, obs, policy_key, counter)
                next_obs, reward, terminated = step(env, obs, action, step_key(env_key, counter))
                states[length], rewards[length] = obs, reward
                counter += 1
                length += 1
                ended = terminated or time_limit_reached(env, length, limit)
                if n == 1:
                    update(values, obs, reward, next_obs, terminated, learning_rate, gamma)
                else:
                    # Update the states that n rewards have followed, or all when the episode ends.
                    last_value = (1 - terminated) * values[next_obs]
                    while learned < length and (ended or learned + n <= length):
                        target = n_step_return(rewards[learned:length], last_value, gamma)
                        td_error = target - values[states[learned]]
                        values[states[learned]] += learning_rate * td_error
                        learned += 1
                obs = next_obs
            history[episode] = values

    return loop


@cache
def _compiled_loop(step_key: Rule, reset: Rule, step: Rule, time_limit_reached: Rule) -> Rule:
    return compile(make_loop(step_key, reset, step, time_limit_reached, sample_action, td_update))


@cache
def _python_loop(step_key: Rule, reset: Rule, step: Rule, time_limit_reached: Rule) -> Rule:
    act, update = compile(sample_action), compile(td_update)
    return make_loop(step_key, reset, step, time_limit_reached, act, update)


def _play(
    make_env: Rule,
    policy: Values,
    start: Values,
    settings: tuple[int, int, float, float],
    seed: int,
    runs: list[int],
) -> NDArray[np.float64]:
    episodes, n, learning_rate, gamma = settings
    histories = np.empty((len(runs), episodes, len(start)))
    for history, run in zip(histories, runs, strict=True):
        env_key = stream_key(seed, ENVIRONMENT, run)
        face = interface(make_env, int(env_key))
        loop = (_compiled_loop if face.compiled else _python_loop)(*face.rules)
        loop(
            face.env, face.limit, env_key, stream_key(seed, POLICY, run), policy, start.copy(),
            history, n, learning_rate, gamma,
        )  # fmt: skip
    return histories


def evaluate_policy(
    env: EnvSource,
    policy: NDArray[Any],
    *,
    episodes: int = 100,
    n_step: int | None = 1,
    learning_rate: float = 0.1,
    gamma: float = 0.99,
    initial_values: float | Values = 0.0,
    runs: int = 1,
    seed: int = 0,
    backend: str | backends.Backend = "local",
) -> NDArray[np.float64]:
    """Return the state values of a policy after each episode of n-step TD prediction.

    If a time limit truncates an episode, the targets bootstrap from the value of the last state, so
    that the time limit does not count as a termination. Every run has its own random streams, and
    the results are the same on every backend.

    Args:
        env: a Gymnasium id, an environment or a function that makes one. Its observation space
            must be `Discrete` (from 0), `MultiDiscrete`, `MultiBinary` or a `Tuple` of `Discrete`.
        policy: (S,) int actions, or (S, A) float64 probabilities.
        episodes: number of episodes in each run.
        n_step: number of rewards before bootstrapping; None for all rewards of the episode, which
            is every-visit Monte Carlo with a constant step size.
        learning_rate: step size α, from 0 to 1.
        gamma: discount factor, from 0 to 1.
        initial_values: initial state values, a number or (S,) float64.
        runs: number of independent runs.
        seed: seed of all random streams.
        backend: where the runs take place; a backend given by name is closed afterwards.

    Returns:
        (runs, episodes + 1, S) float64, the initial values and those after each episode.

    Raises:
        ValueError: an argument is out of range.
    """
    for name, whole in (("episodes", episodes), ("runs", runs)):
        check_whole(name, whole, 1)
    if n_step is not None:
        check_whole("n_step", n_step, 1)
    check_whole("seed", seed, 0)
    learning_rate = check_number("learning_rate", learning_rate, 0, 1)
    gamma = check_number("gamma", gamma, 0, 1)
    make_env = env_maker(env)
    observations, num_actions = numbered_spaces(make_env(), "TD prediction")
    probabilities = as_probabilities(policy, observations.size, num_actions)
    start = _initial_values(initial_values, observations.size)
    n = np.iinfo(np.int64).max // 2 if n_step is None else n_step
    settings = (int(episodes), int(n), learning_rate, gamma)
    play = partial(_play, make_env, probabilities, start, settings, int(seed))
    tasks = [part.tolist() for part in np.array_split(np.arange(runs), -(-runs // RUNS_PER_TASK))]
    if isinstance(backend, backends.Backend):
        played = backend.run(play, tasks)
    else:
        with backends.get(backend) as own:
            played = own.run(play, tasks)
    beginning = np.broadcast_to(start, (runs, 1, len(start)))
    return np.concatenate([beginning, np.concatenate(played)], axis=1)


def _initial_values(given: float | Values, num_states: int) -> Values:
    """Return the initial values as a new array (S,), and check that they are finite."""
    try:
        values = np.array(given, np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if values.shape not in ((), (num_states,)) or not np.isfinite(values).all():
        found = f"an array of shape {values.shape}" if values.ndim else repr(given)
        raise ValueError(
            f"initial_values must be a finite number or finite numbers of shape ({num_states},), "
            f"got {found}"
        )
    return np.broadcast_to(values, num_states).copy()
