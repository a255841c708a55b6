"""The worlds of rlbook, registered with Gymnasium as `rlbook/<name>`.

Importing this package only registers the worlds; Numba, which compiles them, is imported when the
first world is made. Gymnasium does not find the worlds by itself, so every program that uses one
must import this package.

>>> import gymnasium, rlbook_envs
>>> env = gymnasium.make("rlbook/FrozenLake-v0")
>>> env.reset(seed=0)
(0, {})
"""

from typing import Any

import gymnasium

# Name, module, options, number of steps after which an episode is truncated.
WORLDS: tuple[tuple[str, str, dict[str, Any], int | None], ...] = (
    ("RandomWalk", "random_walk", {}, None),
    ("CliffWalking", "cliff_walking", {}, 1000),
    ("FrozenLake", "frozen_lake", {"map_name": "4x4"}, 100),
    ("FrozenLake8x8", "frozen_lake", {"map_name": "8x8"}, 200),
    ("Blackjack", "blackjack", {}, None),
    ("DeepSea", "deep_sea", {}, None),
    ("Snake", "snake", {}, 1000),
    ("CartPole", "cart_pole", {}, 500),
    ("FlappyBird", "flappy_bird", {}, 10_000),
)


def register_envs() -> None:
    """Register every world with Gymnasium that is not registered yet.

    Importing this package calls this function.
    """
    for name, module, options, max_episode_steps in WORLDS:
        if f"rlbook/{name}-v0" not in gymnasium.registry:
            gymnasium.register(
                id=f"rlbook/{name}-v0",
                entry_point=f"rlbook_envs.{module}:make_env",
                vector_entry_point=f"rlbook_envs.{module}:make_vector_env",
                kwargs=options,
                max_episode_steps=max_episode_steps,
            )


register_envs()
