"""DeepSea: a treasure that random exploration finds in only one of 2ⁿ dives.

    D . . . .      D  diver, who sinks one row in every step, to the left or to the right
    . . . . .      T  treasure, for a diver who swims to the right in the last corner
    . . . . .
    . . . . .      (n = 5; every dive ends on the floor below the last row)
    . . . . . T

A dive takes n steps. A step to the left has reward 0, and at the left wall it leads straight down.
A step to the right has reward -0.01 / n, and at the right wall it leads straight down, too. Only a
diver who goes to the right in every step reaches the corner in time, and finds the treasure, of
reward 1, with the last step. The return of this best dive is 1 - 0.01 = 0.99, and that of a dive
that never goes to the right is 0. A random diver finds the treasure with probability 2 ** -n, and
until then learns only that going to the right has a cost.

For each cell it is decided at random, once and for all, which of the two actions leads to the
right. An agent that always takes the same action can therefore not find the treasure. The state is
the number of the cell, counted row by row; the cells of the floor come last.

This is the deep-sea environment of Osband, Van Roy, Russo and Wen, "Deep exploration via randomized
value functions", JMLR 20, 2019, section 4, with the rules of the deterministic version in bsuite
(Osband et al., "Behaviour suite for reinforcement learning", ICLR 2020).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule
from rlbook_envs.scene import Scene
from rlbook_envs.world import World, makers

MOST_ROWS = 1000
COST, TREASURE = 0.01, 1.0


class Sea(NamedTuple):
    """Parameters of the rules."""

    size: int
    rights: NDArray[np.int64]  # (num_states,), the action that leads to the right from each cell


@rule
def step(sea: Sea, state: int, action: int, key: Any) -> tuple[int, float, bool]:
    """Sink by one row."""
    size = sea.size
    row, column = state // size, state % size
    reward = 0.0
    if action == sea.rights[state]:
        reward -= COST / size
        if state == size * size - 1:
            reward += TREASURE
        column = min(column + 1, size - 1)
    else:
        column = max(column - 1, 0)
    row = min(row + 1, size)  # nothing is below the floor
    return row * size + column, reward, row == size


@rule
def reset(sea: Sea, key: Any) -> int:
    """Begin a dive in the upper left corner."""
    return 0


def deep_sea(size: int = 10, mapping_seed: int | None = 0) -> World:
    """Return the rules of DeepSea.

    Args:
        size: number of rows and of columns, from 2 to 1,000.
        mapping_seed: seed that decides which action leads to the right in each cell; if None, this
            is action 1 everywhere.

    Raises:
        ValueError: an option is out of range.
    """
    if not isinstance(size, (int, np.integer)) or not 2 <= size <= MOST_ROWS:
        raise ValueError(f"size must be a whole number from 2 to {MOST_ROWS:,}, got {size!r}")
    num_states = (size + 1) * size
    rights = np.ones(num_states, np.int64)
    if mapping_seed is not None:
        if not isinstance(mapping_seed, (int, np.integer)) or mapping_seed < 0:
            allowed = "a whole number of at least 0, or None"
            raise ValueError(f"mapping_seed must be {allowed}, got {mapping_seed!r}")
        rights = np.random.default_rng(mapping_seed).integers(2, size=num_states)
    sea = Sea(int(size), rights)
    actions = ("one way", "the other way")
    return World("DeepSea", sea, reset, step, num_states, actions, text, picture)


# The entry points of `gymnasium.make("rlbook/DeepSea-v0", …)` and `gymnasium.make_vec`.
make_env, make_vector_env = makers(deep_sea)


def text(sea: Sea, state: int) -> str:
    """Return the sea as text, with the diver's cell in brackets; the last line is the floor."""
    lines = []
    for row in range(sea.size + 1):
        letters = ("." if row < sea.size else "_") * sea.size
        marked = [
            f"[{letter}]" if row * sea.size + column == state else f" {letter} "
            for column, letter in enumerate(letters)
        ]
        lines.append("".join(marked) + (" T" if row == sea.size - 1 else ""))
    return "\n".join(lines) + "\n"


SURFACE, DEPTH = np.array([120, 196, 214]), np.array([14, 38, 78])
ROCK, DARK_ROCK, SAND = (74, 68, 72), (56, 52, 58), (206, 182, 132)


def picture(sea: Sea, state: int, tile_size: int = 40) -> NDArray[np.uint8]:
    """Return a picture of the sea, uint8 ((size + 1) * tile_size, (size + 1) * tile_size, 3)."""
    size = sea.size
    scene = Scene(size + 1, size + 1, tile_size, ROCK)
    for row in range(size):
        shade = SURFACE + (DEPTH - SURFACE) * row / (size - 1)
        red, green, blue = (int(part) for part in shade)
        scene.box((0, row), (size, row + 1), (red, green, blue))
    _paint_coast(scene, size)
    _paint_chest(scene, size + 0.5, size - 0.5)
    row, column = divmod(state, size)
    _paint_diver(scene, column + 0.5, min(row, size - 0.35) + 0.5)
    return scene.pixels()


def _paint_coast(scene: Scene, size: int) -> None:
    for x in range(size):  # waves above, sand below
        scene.line((x + 0.1, 0.08), (x + 0.5, 0.08), 0.06, (226, 242, 246), 0.8)
    scene.box((0, size + 0.1), (size + 1, size + 1), SAND)
    for x in range(size):
        scene.disc((x + 0.3, size + 0.15), 0.28, SAND)
        scene.disc((x + 0.75, size + 0.55), 0.05, (176, 150, 104))
    for y in range(size - 1):  # the rock's ragged edge
        scene.disc((size + 0.04, y + 0.35), 0.14 + 0.05 * (y % 3), ROCK)
        scene.disc((size + 0.55, y + 0.6), 0.2, DARK_ROCK, 0.5)
    scene.box((size, size - 1), (size + 0.95, size + 0.1), (18, 30, 54))  # the treasure's cave


def _paint_chest(scene: Scene, x: float, y: float) -> None:
    wood, dark, gold = (150, 94, 48), (104, 62, 32), (250, 204, 70)
    scene.disc((x, y + 0.05), 0.42, gold, 0.18)
    scene.box((x - 0.32, y - 0.2), (x + 0.32, y + 0.1), dark, radius=0.12)
    scene.line((x - 0.2, y - 0.02), (x + 0.2, y - 0.02), 0.16, gold)
    scene.box((x - 0.34, y + 0.04), (x + 0.34, y + 0.4), wood, radius=0.04)
    scene.box((x - 0.07, y + 0.06), (x + 0.07, y + 0.22), gold, radius=0.02)


def _paint_diver(scene: Scene, x: float, y: float) -> None:
    suit, skin, mask = (236, 118, 74), (240, 200, 168), (250, 232, 120)
    for side in (-1, 1):  # legs and fins are above, because the diver swims head first
        scene.line((x + 0.05 * side, y - 0.08), (x + 0.1 * side, y - 0.26), 0.09, suit)
        scene.line((x + 0.1 * side, y - 0.28), (x + 0.17 * side, y - 0.42), 0.1, (40, 46, 60))
        scene.line((x + 0.1 * side, y + 0.04), (x + 0.22 * side, y + 0.22), 0.07, suit)
    scene.line((x, y - 0.06), (x, y + 0.1), 0.2, suit)
    scene.line((x + 0.12, y - 0.1), (x + 0.12, y + 0.06), 0.1, (120, 132, 150))
    scene.disc((x, y + 0.24), 0.12, skin)
    scene.box((x - 0.1, y + 0.22), (x + 0.1, y + 0.32), mask, radius=0.04)
