"""The worlds of rlbook, registered with Gymnasium as `rlbook/<name>`.

Importing this package registers the worlds and nothing more: Numba, which compiles them, is
imported when the first world is made. Gymnasium does not look for them by itself, so the import
must stand in every program that names one.

>>> import gymnasium, rlbook_envs
>>> env = gymnasium.make("rlbook/FrozenLake-v0")
>>> env.reset(seed=0)
(0, {})
"""

import gymnasium


def register_envs() -> None:
    """Register every world with Gymnasium, unless it already is. Importing this package does it."""
    for name, map_name, max_episode_steps in (
        ("FrozenLake", "4x4", 100),
        ("FrozenLake8x8", "8x8", 200),
    ):
        if f"rlbook/{name}-v0" not in gymnasium.registry:
            gymnasium.register(
                id=f"rlbook/{name}-v0",
                entry_point="rlbook_envs.frozen_lake:make_env",
                vector_entry_point="rlbook_envs.frozen_lake:make_vector_env",
                kwargs={"map_name": map_name},
                max_episode_steps=max_episode_steps,
            )


register_envs()
