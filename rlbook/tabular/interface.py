"""Adapters between environments and the tabular training loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from rlbook.envs.actions import actions_of
from rlbook.envs.episodes import Episodes
from rlbook.envs.making import NO_LIMIT, compiled_world
from rlbook.envs.numbering import numbering
from rlbook_envs.compiled import rule
from rlbook_envs.streams import step_key
from rlbook_envs.world import row_rules


class Interface(NamedTuple):
    """An environment as the four rules that a training loop calls.

    `rlbook.tabular.loop.make_loop` describes the rules.

    Attributes:
        rules: step_key, reset, step and time_limit_reached.
        env: the first argument of the last three rules.
        limit: time limit in steps.
        compiled: whether the rules can be compiled.
    """

    rules: tuple[Callable[..., Any], ...]
    env: Any
    limit: int
    compiled: bool

    def get_state(self) -> Any:
        """Return the environment's state without the observation, as numbers and arrays."""
        if not self.compiled:
            return self.env.get_state()
        return self.env[1].copy() if self._keeps_states() else None

    def set_state(self, saved: Any) -> None:
        """Restore a state that `get_state` returned."""
        if not self.compiled:
            self.env.set_state(saved)
        elif self._keeps_states():
            self.env[1][:] = saved

    def _keeps_states(self) -> bool:
        return type(self.env) is tuple  # rather than the parameters alone, which are a named tuple


def interface(make_env: Callable[[], gymnasium.Env[Any, Any]], seed: int) -> Interface:
    """Return the interface of the environment that `make_env` makes.

    Args:
        make_env: makes the environment.
        seed: seed of an environment whose rules can't be compiled.
    """
    env = make_env()
    found = compiled_world(env)
    if found is None:
        counted = numbering(env.observation_space)
        reset, step = _reset, _step
        if counted is not None and counted.number is not None:
            reset, step = _numbering_rules(counted.number)
        own = (_no_key, reset, step, _truncated)
        episodes = Episodes(make_env, seed, actions_of(env.action_space))
        return Interface(own, episodes, NO_LIMIT, False)
    world, limit = found
    if world.num_states is not None:
        rules = (step_key, world.reset, world.step, _limit_reached)
        return Interface(rules, world.params, limit, True)
    reset, step = _observing_rules(row_rules(world))
    states = (world.params, world.blanks(1), np.zeros(1, np.int64))
    return Interface((step_key, reset, step, _limit_reached), states, limit, True)


@rule
def _limit_reached(env: Any, length: int, limit: int) -> bool:
    return length >= limit


@lru_cache(maxsize=64)
def _observing_rules(rules: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return `reset` and `step` of a world whose state differs from its observation.

    Their argument `env` holds the parameters, the state and the observation.
    """
    begin, advance, show = rules

    @rule
    def reset(env, key):  # type: ignore[no-untyped-def]
        params, states, observations = env
        begin(params, states, 0, key)
        show(params, states, 0, observations)
        return observations[0]

    @rule
    def step(env, obs, action, key):  # type: ignore[no-untyped-def]
        params, states, observations = env
        reward, terminated = advance(params, states, 0, action, key)
        show(params, states, 0, observations)
        return observations[0], reward, terminated

    return reset, step


def _no_key(env_key: Any, counter: int) -> int:
    return 0  # the environment has its own random number generator


def _reset(episodes: Episodes, key: Any) -> Any:
    return episodes.reset()


def _step(episodes: Episodes, obs: Any, action: Any, key: Any) -> tuple[Any, float, bool]:
    next_obs, reward, terminated, episodes.truncated, _ = episodes.step(action)
    episodes.actions.append(action)
    return next_obs, float(reward), terminated


def _truncated(episodes: Episodes, length: int, limit: int) -> bool:
    return episodes.truncated


@lru_cache(maxsize=64)
def _numbering_rules(number: Callable[[Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return `_reset` and `_step` for observations that must first be converted to numbers."""

    def reset(episodes: Episodes, key: Any) -> Any:
        return number(episodes.reset())

    def step(episodes: Episodes, obs: Any, action: Any, key: Any) -> tuple[Any, float, bool]:
        next_obs, reward, terminated = _step(episodes, obs, action, key)
        return number(next_obs), reward, terminated

    return reset, step
