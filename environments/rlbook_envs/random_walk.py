"""RandomWalk: step left or right at random until one end of the chain is reached.

    0 ← A ↔ B ↔ C ↔ D ↔ E → 1

There is only one action, so the agent has nothing to choose. Every step has reward 0, except the
last one, whose reward is the number at the end reached. Prediction methods are often compared on
this example (Sutton and Barto, 2018, example 6.2; with 19 states and ends of -1 and 1, example
7.1).

States are numbered from the left end, 0, to the right end, num_states + 1, and episodes begin in
the middle. The state values are known exactly: with m = num_states + 1, the value of state k is
left_reward + (right_reward - left_reward) * k / m. In the chain above, the values of A to E are 1/6
to 5/6.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule
from rlbook_envs.scene import Scene
from rlbook_envs.streams import choice
from rlbook_envs.world import World, makers


class Walk(NamedTuple):
    """Parameters of the rules."""

    num_states: int  # not counting the two ends
    left_reward: float
    right_reward: float


@rule
def step(walk: Walk, state: int, action: int, key: Any) -> tuple[int, float, bool]:
    """Take one step to either side, each with probability 1/2."""
    right_end = walk.num_states + 1
    if state == 0 or state == right_end:  # the episode has ended, so nothing changes
        return state, 0.0, True
    state += 2 * choice(key, (0.5, 0.5)) - 1
    if state == 0:
        return state, walk.left_reward, True
    if state == right_end:
        return state, walk.right_reward, True
    return state, 0.0, False


@rule
def reset(walk: Walk, key: Any) -> int:
    """Begin an episode in the middle."""
    return (walk.num_states + 1) // 2


def random_walk(num_states: int = 5, left_reward: float = 0.0, right_reward: float = 1.0) -> World:
    """Return the rules of a random walk between two ends.

    Args:
        num_states: number of states between the ends, 1 to 1000.
        left_reward: reward for reaching the left end.
        right_reward: reward for reaching the right end.

    Raises:
        ValueError: an argument is out of range.
    """
    whole = isinstance(num_states, int | np.integer) and not isinstance(num_states, bool)
    if not whole or not 1 <= num_states <= 1000:
        raise ValueError(f"num_states must be a whole number from 1 to 1000, got {num_states!r}")
    for name, value in (("left_reward", left_reward), ("right_reward", right_reward)):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value!r}")
    walk = Walk(int(num_states), float(left_reward), float(right_reward))
    return World("RandomWalk", walk, reset, step, walk.num_states + 2, ("walk",), text, picture)


# The entry points of `gymnasium.make("rlbook/RandomWalk-v0", …)` and `gymnasium.make_vec`.
make_env, make_vector_env = makers(random_walk)


def text(walk: Walk, state: int) -> str:
    """Return the chain as one line of text, with the walker's state in brackets."""
    ends = [f"{walk.left_reward:g}", f"{walk.right_reward:g}"]
    places = [ends[0], *("o" * walk.num_states), ends[1]]
    return "".join(f"[{p}]" if k == state else f" {p} " for k, p in enumerate(places)) + "\n"


def picture(walk: Walk, state: int, tile_size: int = 48) -> NDArray[np.uint8]:
    """Return a picture of the chain, uint8 (1.5 * tile_size, (num_states + 2) * tile_size, 3)."""
    last = walk.num_states + 1
    scene = Scene(last + 1, 1.5, tile_size, (247, 248, 250))
    scene.line((0.5, 0.75), (last + 0.5, 0.75), 0.06, (150, 160, 172))
    worth = {0: walk.left_reward, last: walk.right_reward}
    for place in range(last + 1):
        middle = (place + 0.5, 0.75)
        if place in worth:
            colour = (214, 92, 58) if worth[place] < 0 else (96, 160, 110)
            colour = (170, 178, 188) if worth[place] == 0 else colour
            scene.box((place + 0.2, 0.45), (place + 0.8, 1.05), colour, radius=0.08)
        else:
            scene.disc(middle, 0.3, (52, 98, 138))
            scene.disc(middle, 0.25, (226, 240, 247))
    scene.disc((state + 0.5, 0.75), 0.17, (236, 118, 74))
    return scene.pixels()
