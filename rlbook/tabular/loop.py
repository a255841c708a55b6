"""The training loop of tabular methods: act, step, learn.

The loop is a function of the rules of an environment and of a `Method`, which describes how an
algorithm acts and learns. It runs as machine code if the rules can be compiled, and as Python code
around compiled updates otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile, rule
from rlbook_envs.streams import (
    reset_key,
)

Rule = Callable[..., Any]


class Memory(NamedTuple):
    """Steps of the current episode that a method still needs for learning."""

    rows: NDArray[np.int64]  # (room,), the row of the state
    actions: NDArray[np.int64]  # (room,), the action taken there
    numbers: NDArray[np.float64]  # (room,), the reward that followed, or the eligibility
    length: NDArray[np.int64]  # (1,), number of steps stored


class Position(NamedTuple):
    """The state of the interaction with one environment between two calls of the loop."""

    obs: int = -1  # the observation to act on; -1: reset first
    action: int = -1  # the action to take; -1: not chosen yet
    counter: int = 0  # steps taken so far, the counter of the random streams
    episode_return: float = 0.0
    episode_length: int = 0


def make_loop(
    step_key: Rule,
    reset: Rule,
    step: Rule,
    time_limit_reached: Rule,
    act: Rule,
    learn: Rule,
    on_policy: bool = False,
) -> Callable[..., tuple[Any, ...]]:
    """Return the loop of act, step and learn around these rules.

    The loop is a Python function that can also be compiled.

    Args:
        step_key: `step_key(env_key, counter) -> key`, the randomness of one step.
        reset: `reset(env, key) -> obs`.
        step: `step(env, obs, action, key) -> next_obs, reward, terminated`.
        time_limit_reached: `time_limit_reached(env, length, limit) -> truncated`.
        act: the behaviour policy, called like `epsilon_greedy`.
        learn: the update, as in `Method`.
        on_policy: whether to choose the next action before learning, because `learn` needs it.
    """

    def loop(  # type: ignore[no-untyped-def]
        env, limit, env_key, policy_key, obs, action, counter, episode_return, episode_length,
        q, visits, memory, ended_at, returns, lengths, epsilon, learning_rate, gamma,
    ):  # fmt: skip
        episodes, error = 0, 0.0
        if obs < 0:
            obs = reset(env, reset_key(env_key, counter))
        for t in range(len(ended_at)):
            if action < 0:
                action = act(q, obs, epsilon[t], policy_key, counter)
            next_obs, reward, terminated = step(env, obs, action, step_key(env_key, counter))
            counter += 1
            episode_return += reward
            episode_length += 1
            ended = terminated or time_limit_reached(env, episode_length, limit)
            next_action = -1
            if on_policy:
                next_action = act(q, next_obs, epsilon[t], policy_key, counter)
            error += abs(
                learn(
                    q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
                    ended, epsilon[t], learning_rate[t], gamma, policy_key, counter,
                )
            )  # fmt: skip
            obs, action = next_obs, next_action
            if ended:
                ended_at[episodes] = t
                returns[episodes], lengths[episodes] = episode_return, episode_length
                episodes += 1
                episode_return, episode_length = 0.0, 0
                obs, action = reset(env, reset_key(env_key, counter)), -1
        return obs, action, counter, episode_return, episode_length, episodes, error

    return loop


class Method(NamedTuple):
    """A tabular method as the loop needs it. It can be pickled.

    Attributes:
        act: the behaviour policy, called like `epsilon_greedy`.
        make_learn: function that is called with `parts` and returns `learn(q, visits, memory, obs,
            action, reward, next_obs, next_action, terminated, ended, epsilon, learning_rate, gamma,
            policy_key, counter)`, which changes q, counts its updates in visits, and returns the TD
            error.
        parts: the arguments of `make_learn`: the update rule, or the settings of the method.
        on_policy: whether `learn` needs next_action.
        remembers: number of steps for which `Memory` needs room; -1 for a whole episode.
    """

    act: Rule
    make_learn: Callable[..., Rule]
    parts: tuple[Any, ...]
    on_policy: bool = False
    remembers: int = 0


@cache
def one_step(update: Rule) -> Rule:
    """Return a `learn` that applies an off-policy rule, as `q_learning_update`, to every step."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, counter,
    ):  # fmt: skip
        visits[obs, action] += 1
        return update(q, obs, action, reward, next_obs, terminated, learning_rate, gamma)

    return learn


def _loop_of(rules: tuple[Rule, ...], act: Rule, learn: Rule, on_policy: bool) -> Rule:
    step_key, reset, step, time_limit_reached = rules
    return make_loop(step_key, reset, step, time_limit_reached, act, learn, on_policy)


@cache
def compiled_loop(method: Method, *rules: Rule) -> Rule:
    """Return the loop as machine code, for a world whose rules can be compiled."""
    learn = method.make_learn(*method.parts)
    return compile(_loop_of(rules, method.act, learn, method.on_policy))


@cache
def python_loop(method: Method, *rules: Rule) -> Rule:
    """Return the loop as Python code, for other environments; its updates are still compiled."""
    act = compile(method.act)
    if method.remembers:
        learn = compile(method.make_learn(*method.parts))
    else:
        learn = method.make_learn(*map(compile, method.parts))
    return _loop_of(rules, act, learn, method.on_policy)
