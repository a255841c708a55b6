"""Temporal-difference prediction (Sutton, 1988; Sutton and Barto, 2018, sections 6.1 and 7.1).

The value of a state under a fixed policy, learned from the value of the state that follows: after
one step, TD(0); after n steps, n-step TD; after the whole episode, Monte Carlo with a constant step
size. The first half of chapter 02 of the book.
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
from rlbook_envs.streams import (
    ENVIRONMENT,
    POLICY,
    reset_key,
    stream_key,
)

Rule = Callable[..., Any]
Values = NDArray[np.float64]

# Runs that one task does, so that a task is worth sending.
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

    After a terminated step nothing follows, so the target is the reward alone. A truncated step is
    an ordinary one.

    Args:
        values: (S,) float64, changed in place.
        learning_rate: the step size α.
        gamma: the discount γ.

    Returns:
        The TD error δ, the target less the old value.
    """
    target = reward + gamma * (1 - terminated) * values[next_obs]
    td_error = target - values[obs]
    values[obs] += learning_rate * td_error
    return td_error


def make_loop(
    chance: Rule, reset: Rule, step: Rule, out_of_time: Rule, act: Rule, update: Rule
) -> Callable[..., None]:
    """The loop of n-step TD around these rules, in Python or ready to be compiled."""

    def loop(  # type: ignore[no-untyped-def]
        env, limit, env_key, policy_key, policy, values, history, n, learning_rate, gamma
    ):
        states, rewards, clock = np.empty(64, np.int64), np.empty(64), 0
        for episode in range(len(history)):
            obs = reset(env, reset_key(env_key, clock))
            length, learned, ended = 0, 0, False
            while not ended:
                if length == len(states):
                    states = np.append(states, np.empty_like(states))
                    rewards = np.append(rewards, np.empty_like(rewards))
                action = act(policy, obs, policy_key, clock)
                next_obs, reward, terminated = step(env, obs, action, chance(env_key, clock))
                states[length], rewards[length] = obs, reward
                clock += 1
                length += 1
                ended = terminated or out_of_time(env, length, limit)
                if n == 1:
                    update(values, obs, reward, next_obs, terminated, learning_rate, gamma)
                else:
                    # Whatever has n rewards behind it, or no more to come.
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
def _compiled_loop(chance: Rule, reset: Rule, step: Rule, out_of_time: Rule) -> Rule:
    return compile(make_loop(chance, reset, step, out_of_time, sample_action, td_update))


@cache
def _python_loop(chance: Rule, reset: Rule, step: Rule, out_of_time: Rule) -> Rule:
    act, update = compile(sample_action), compile(td_update)
    return make_loop(chance, reset, step, out_of_time, act, update)


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
    """n-step TD prediction of a policy's state values, as they were after each episode.

    Where a time limit cuts an episode short, the value of the state it stopped in stands for the
    rest, so that the limit does not count as an end. Every run has its own random streams; the
    numbers are the same on every backend.

    Args:
        env: a Gymnasium id, an environment or a function that makes one, with a numbered or
            countable observation space.
        policy: (S,) int actions, or (S, A) float64 probabilities.
        episodes: how many in each run.
        n_step: rewards that are counted before a value stands for the rest; None for all of them,
            which is Monte Carlo, every visit, with a constant step size.
        learning_rate: step size α, from 0 to 1.
        gamma: discount per step, from 0 to 1.
        initial_values: what to begin with, a number or (S,) float64.
        runs: independent repetitions.
        seed: of everything random.
        backend: where the runs take place; one given by name is closed again afterwards.

    Returns:
        (runs, episodes + 1, S) float64: the values at the beginning, and after each episode.

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
    """One finite number for each state, in an array of their own."""
    try:
        values = np.array(given, np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if values.shape not in ((), (num_states,)) or not np.isfinite(values).all():
        what = f" of shape {values.shape}" if values.ndim else f"={given!r}"
        raise ValueError(
            f"initial_values{what} is not allowed: a finite number, or one for each state, "
            f"({num_states},)"
        )
    return np.broadcast_to(values, num_states).copy()
