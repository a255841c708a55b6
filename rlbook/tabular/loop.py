"""What tabular methods share: how to behave, the loop, the worker that runs it, the average.

Read in this order: the behaviour policy; the loop of act, step and learn; what a method must say to
be run by it; the worker, which runs the loop in its environments; and how several copies of a table
become one.
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
    """Steps of this episode that a method has yet to learn from, or goes on learning from."""

    rows: NDArray[np.int64]  # (room,), where the agent was
    actions: NDArray[np.int64]  # (room,), what it did
    numbers: NDArray[np.float64]  # (room,), the reward it received, or how eligible the pair is
    length: NDArray[np.int64]  # (1,), how many steps there are


class Position(NamedTuple):
    """Where one environment's interaction stands between two calls of the loop."""

    obs: int = -1  # what to act on next; -1: reset first
    action: int = -1  # what to do about it; -1: not chosen yet
    clock: int = 0  # steps taken so far: the counter of the random streams
    episode_return: float = 0.0
    episode_length: int = 0


def make_loop(
    chance: Rule,
    reset: Rule,
    step: Rule,
    out_of_time: Rule,
    act: Rule,
    learn: Rule,
    on_policy: bool = False,
) -> Callable[..., tuple[Any, ...]]:
    """The loop of act, step and learn around these rules, in Python or ready to be compiled.

    An on-policy method learns from the action that comes next, so that is chosen first.
    """

    def loop(  # type: ignore[no-untyped-def]
        env, limit, env_key, policy_key, obs, action, clock, episode_return, episode_length,
        q, visits, memory, ended_at, returns, lengths, epsilon, learning_rate, gamma,
    ):  # fmt: skip
        episodes, error = 0, 0.0
        if obs < 0:
            obs = reset(env, reset_key(env_key, clock))
        for t in range(len(ended_at)):
            if action < 0:
                action = act(q, obs, epsilon[t], policy_key, clock)
            next_obs, reward, terminated = step(env, obs, action, chance(env_key, clock))
            clock += 1
            episode_return += reward
            episode_length += 1
            ended = terminated or out_of_time(env, episode_length, limit)
            next_action = -1
            if on_policy:
                next_action = act(q, next_obs, epsilon[t], policy_key, clock)
            error += abs(
                learn(
                    q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
                    ended, epsilon[t], learning_rate[t], gamma, policy_key, clock,
                )
            )  # fmt: skip
            obs, action = next_obs, next_action
            if ended:
                ended_at[episodes] = t
                returns[episodes], lengths[episodes] = episode_return, episode_length
                episodes += 1
                episode_return, episode_length = 0.0, 0
                obs, action = reset(env, reset_key(env_key, clock)), -1
        return obs, action, clock, episode_return, episode_length, episodes, error

    return loop


class Method(NamedTuple):
    """What the loop needs to know of a method. All of it can travel to another process.

    Attributes:
        act: the behaviour policy, called as `epsilon_greedy` is.
        make_learn: from the functions in `parts`, makes `learn(q, visits, memory, obs, action,
            reward, next_obs, next_action, terminated, ended, epsilon, learning_rate, gamma,
            policy_key, clock)`, which changes q, counts its updates in visits, and returns the TD
            error.
        parts: the update rule, and whatever else it is made from.
        on_policy: whether `learn` needs next_action.
        remembers: how many steps `Memory` needs room for; -1 for a whole episode.
    """

    act: Rule
    make_learn: Callable[..., Rule]
    parts: tuple[Any, ...]
    on_policy: bool = False
    remembers: int = 0


@cache
def one_step(update: Rule) -> Rule:
    """Learn from every step at once: `learn` for off-policy rules such as `q_learning_update`."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, clock,
    ):  # fmt: skip
        visits[obs, action] += 1
        return update(q, obs, action, reward, next_obs, terminated, learning_rate, gamma)

    return learn


def _loop_of(rules: tuple[Rule, ...], act: Rule, learn: Rule, on_policy: bool) -> Rule:
    chance, reset, step, out_of_time = rules
    return make_loop(chance, reset, step, out_of_time, act, learn, on_policy)


@cache
def compiled_loop(method: Method, *rules: Rule) -> Rule:
    """The loop as machine code, for a world whose rules can be compiled."""
    learn = method.make_learn(*method.parts)
    return compile(_loop_of(rules, method.act, learn, method.on_policy))


@cache
def python_loop(method: Method, *rules: Rule) -> Rule:
    """The loop as Python's, for an ordinary environment; what it does to the table is compiled."""
    act = compile(method.act)
    if method.remembers:
        learn = compile(method.make_learn(*method.parts))
    else:
        learn = method.make_learn(*map(compile, method.parts))
    return _loop_of(rules, act, learn, method.on_policy)
