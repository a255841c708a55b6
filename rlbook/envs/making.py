"""Environments as a training loop meets them: one interface for compiled worlds and for all others.

A loop that learns from a table calls four functions and does not know what is behind them:

    step_key(env_key, counter) -> key                            what is random in one step
    reset(env, key) -> obs
    step(env, obs, action, key) -> next_obs, reward, terminated
    time_limit_reached(env, length, limit) -> truncated

For a world of `rlbook_envs` these are the world's own rules, and the loop is compiled together with
them; where its state is not what is observed, as in Snake, `env` holds the state. For any other
Gymnasium environment, which has its own chance, they drive an `Episodes`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

# What `gymnasium.make` wraps around an environment without changing what it does.
TRANSPARENT = (TimeLimit, OrderEnforcing, PassiveEnvChecker)

NO_LIMIT = int(np.iinfo(np.int64).max)

EnvSource = str | gymnasium.Env[Any, Any] | Callable[[], gymnasium.Env[Any, Any]]


def env_maker(env: EnvSource) -> Callable[[], gymnasium.Env[Any, Any]]:
    """A function that makes a fresh environment, and that can travel to another process.

    Args:
        env: a Gymnasium id such as `"rlbook/FrozenLake-v0"`, an environment that
            `gymnasium.make` made, or a callable that makes one.

    Raises:
        TypeError: none of these.
    """
    if isinstance(env, str):
        return partial(make, env)
    if isinstance(env, gymnasium.Env):
        if env.spec is None:
            raise TypeError(
                f"env={env} was not made by gymnasium.make, so it cannot be made again for every "
                "worker: give a function that makes it"
            )
        return partial(make, env.spec)
    if callable(env):
        return env
    raise TypeError(f"env={env!r} is not allowed: a Gymnasium id, an environment or a function")


def env_id(env: EnvSource) -> str | None:
    """The id from which the environment is made; None where it is made in another way."""
    return env if isinstance(env, str) else None


def make(spec: Any) -> gymnasium.Env[Any, Any]:
    """`gymnasium.make`, in a module whose import registers this library's worlds."""
    made: gymnasium.Env[Any, Any] = gymnasium.make(spec)
    return made


def compiled_world(env: gymnasium.Env[Any, Any]) -> tuple[Any, int] | None:
    """The `World` behind an environment and its time limit in steps; None if there is none.

    A wrapper that changes what happens, such as one that rewrites rewards, hides the world: then
    the environment is stepped through its wrapper, as any other.
    """
    limit = NO_LIMIT
    while isinstance(env, gymnasium.Wrapper):
        if type(env) not in TRANSPARENT:
            return None
        if isinstance(env, TimeLimit):
            limit = min(limit, env._max_episode_steps)
        env = env.env
    if type(env).__module__ != "rlbook_envs.world":
        return None
    return env.world, limit  # type: ignore[attr-defined]
