"""DeepSea: a treasure that only one dive in two to the n finds.

    D . . . .      D  diver, who sinks one row with every step, to the left or to the right
    . . . . .      T  treasure, for whoever swims to the right in the corner beside it
    . . . . .
    . . . . .      (size 5; the floor below the last row is where every dive ends)
    . . . . . T

A dive takes n steps. A step to the left is free, and beside the left wall leads straight down. One
to the right costs 0.01 / n, and beside the right wall leads straight down, too. To be in the corner
in time, every step must go to the right; the last one then finds the treasure and pays 1. The best
dive is therefore worth 1 - 0.01 = 0.99, and one that never goes to the right 0. Whoever acts at
random finds the treasure with probability 2 ** -n, and learns meanwhile that the right costs.

Which of the two actions leads to the right is drawn for each cell, once for all, so that nobody can
find the treasure by always doing the same. The state is the number of the cell, row by row; the
floor's cells come last.

This is the deep sea of Osband, Van Roy, Russo and Wen, "Deep exploration via randomized value
functions", JMLR 20, 2019, section 4, with the rules of the deterministic one in bsuite (Osband and
others, "Behaviour suite for reinforcement learning", ICLR 2020).
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
    """What the rules read."""

    size: int
    rights: NDArray[np.int64]  # (num_states,), the action that leads to the right from each cell


@rule
def step(sea: Sea, state: int, action: int, key: Any) -> tuple[int, float, bool]:
    """One row down."""
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
    """Dives begin in the upper left corner."""
    return 0


def deep_sea(size: int = 10, mapping_seed: int | None = 0) -> World:
    """DeepSea.

    Args:
        size: rows and columns, from 2 to 1,000.
        mapping_seed: of the draw that says which action leads to the right in each cell; None for
            action 1 everywhere.

    Raises:
        ValueError: an option is out of range.
    """
    if not isinstance(size, (int, np.integer)) or not 2 <= size <= MOST_ROWS:
        raise ValueError(f"size={size!r} is not allowed: a whole number from 2 to {MOST_ROWS:,}")
    num_states = (size + 1) * size
    rights = np.ones(num_states, np.int64)
    if mapping_seed is not None:
        if not isinstance(mapping_seed, (int, np.integer)) or mapping_seed < 0:
            allowed = "a whole number from 0, or None"
            raise ValueError(f"mapping_seed={mapping_seed!r} is not allowed: {allowed}")
        rights = np.random.default_rng(mapping_seed).integers(2, size=num_states)
    sea = Sea(int(size), rights)
    actions = ("one way", "the other way")
    return World("DeepSea", sea, reset, step, num_states, actions, text, picture)


# Behind `gymnasium.make("rlbook/DeepSea-v0", …)` and `gymnasium.make_vec`.
make_env, make_vector_env = makers(deep_sea)


def text(sea: Sea, state: int) -> str:
    """The sea in letters, the diver's cell in brackets; the last line is the floor."""
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
    """The sea from the side: uint8 ((size + 1) * tile_size, (size + 1) * tile_size, 3)."""
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
    for side in (-1, 1):  # legs and fins trail above, for the diver goes down head first
        scene.line((x + 0.05 * side, y - 0.08), (x + 0.1 * side, y - 0.26), 0.09, suit)
        scene.line((x + 0.1 * side, y - 0.28), (x + 0.17 * side, y - 0.42), 0.1, (40, 46, 60))
        scene.line((x + 0.1 * side, y + 0.04), (x + 0.22 * side, y + 0.22), 0.07, suit)
    scene.line((x, y - 0.06), (x, y + 0.1), 0.2, suit)
    scene.line((x + 0.12, y - 0.1), (x + 0.12, y + 0.06), 0.1, (120, 132, 150))
    scene.disc((x, y + 0.24), 0.12, skin)
    scene.box((x - 0.1, y + 0.22), (x + 0.1, y + 0.32), mask, radius=0.04)
