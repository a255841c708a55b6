"""Functions that make environments and find the compiled worlds of `rlbook_envs` behind them.

An agent accepts a Gymnasium id, an environment, or a function. `env_maker` turns each of these into
a function that every worker can call to make its own environment. `compiled_world` returns the
compiled world behind an environment, if there is one, so that a training loop can be compiled
together with the rules of the world. `rlbook.tabular.loop.make_loop` lists these rules.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

# Wrappers of `gymnasium.make` that do not change the dynamics of an environment.
TRANSPARENT = (TimeLimit, OrderEnforcing, PassiveEnvChecker)

NO_LIMIT = int(np.iinfo(np.int64).max)

EnvSource = str | gymnasium.Env[Any, Any] | Callable[[], gymnasium.Env[Any, Any]]


def env_maker(env: EnvSource) -> Callable[[], gymnasium.Env[Any, Any]]:
    """Return a function that makes a new environment and that can be sent to another process.

    Args:
        env: a Gymnasium id such as `"rlbook/FrozenLake-v0"`, an environment made by
            `gymnasium.make`, or a function that makes an environment.

    Raises:
        TypeError: `env` is none of these.
    """
    if isinstance(env, str):
        return partial(make, env)
    if isinstance(env, gymnasium.Env):
        if env.spec is None:
            raise TypeError(
                f"env must be made by gymnasium.make, got {env}. Each worker makes its own "
                "environment, so pass a function that makes one."
            )
        return partial(make, env.spec)
    if callable(env):
        return env
    raise TypeError(f"env must be a Gymnasium id, an environment or a function, got {env!r}")


def env_id(env: EnvSource) -> str | None:
    """Return the Gymnasium id of an environment; None if `env` is not an id."""
    return env if isinstance(env, str) else None


def make(spec: Any) -> gymnasium.Env[Any, Any]:
    """Return `gymnasium.make(spec)`; importing this module registers the library's worlds."""
    made: gymnasium.Env[Any, Any] = gymnasium.make(spec)
    return made


def compiled_world(env: gymnasium.Env[Any, Any]) -> tuple[Any, int] | None:
    """Return the `World` behind an environment and its time limit in steps, or None.

    The result is None for an environment without a compiled world. It is also None if a wrapper
    changes the environment, for example its rewards, because a loop that was compiled with the
    rules of the world would bypass the wrapper.
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
