"""CliffWalking: walk home along the edge of a cliff, or take the longer way around.

    . . . . . . . . . . . .      S  start          actions  0 up     1 right
    . . . . . . . . . . . .      G  goal                    2 down   3 left
    . . . . . . . . . . . .      C  cliff
    S C C C C C C C C C C G

Every step has reward -1. Stepping off the cliff has reward -100 and puts the walker back at the
start, where the same episode continues. The episode terminates at the goal. A walker who would
leave the grid stays in place. On slippery ground, the walker slides to either side of the chosen
direction with probability 1/3 each. The state is the number of the cell, counted row by row.

This is example 6.6 of Sutton and Barto (2018). The rules, the order of outcomes and every entry of
the transition table are those of Gymnasium's `CliffWalking-v1`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule
from rlbook_envs.scene import Scene
from rlbook_envs.streams import choice
from rlbook_envs.world import World, makers

UP, RIGHT, DOWN, LEFT = 0, 1, 2, 3
THIRDS = (1 / 3, 1 / 3, 1 / 3)


class Cliff(NamedTuple):
    """Parameters of the rules."""

    rows: int
    columns: int
    slippery: bool


@rule
def step(cliff: Cliff, state: int, action: int, key: Any) -> tuple[int, float, bool]:
    """Take one step."""
    direction = action
    if cliff.slippery:
        direction = (action + choice(key, THIRDS) - 1) % 4
    row = state // cliff.columns + (direction == DOWN) - (direction == UP)
    column = state % cliff.columns + (direction == RIGHT) - (direction == LEFT)
    row = min(max(row, 0), cliff.rows - 1)
    column = min(max(column, 0), cliff.columns - 1)

    at_the_bottom = row == cliff.rows - 1
    if at_the_bottom and 0 < column < cliff.columns - 1:
        return row * cliff.columns, -100.0, False
    at_the_goal = at_the_bottom and column == cliff.columns - 1
    return row * cliff.columns + column, -1.0, at_the_goal


@rule
def reset(cliff: Cliff, key: Any) -> int:
    """Begin an episode in the lower left corner."""
    return (cliff.rows - 1) * cliff.columns


def cliff_walking(shape: tuple[int, int] = (4, 12), is_slippery: bool = False) -> World:
    """Return the rules of CliffWalking.

    Args:
        shape: number of rows, at least 2, and of columns, at least 3.
        is_slippery: whether the walker can slide to the side.

    Raises:
        ValueError: `shape` is too small for a cliff, or not two numbers.
    """
    try:
        rows, columns = (int(number) for number in shape)
    except (TypeError, ValueError):
        raise ValueError(f"shape must be two numbers, rows and columns, got {shape!r}") from None
    if rows < 2 or columns < 3:
        raise ValueError(f"shape must be at least 2 rows and 3 columns, got {shape!r}")
    cliff = Cliff(rows, columns, bool(is_slippery))
    actions = ("up", "right", "down", "left")
    return World("CliffWalking", cliff, reset, step, rows * columns, actions, text, picture)


# The entry points of `gymnasium.make("rlbook/CliffWalking-v0", …)` and `gymnasium.make_vec`.
make_env, make_vector_env = makers(cliff_walking)


def text(cliff: Cliff, state: int) -> str:
    """Return the map as text, with the walker's cell in brackets."""
    rows = ["." * cliff.columns] * (cliff.rows - 1) + ["S" + "C" * (cliff.columns - 2) + "G"]
    lines = []
    for row, letters in enumerate(rows):
        marked = [
            f"[{letter}]" if row * cliff.columns + column == state else f" {letter} "
            for column, letter in enumerate(letters)
        ]
        lines.append("".join(marked))
    return "\n".join(lines) + "\n"


GRASS, OTHER_GRASS, EARTH = (206, 226, 178), (198, 219, 168), (150, 116, 84)
SEA, DEEP_SEA, FOAM = (70, 128, 160), (52, 104, 138), (214, 230, 236)


def picture(cliff: Cliff, state: int, tile_size: int = 48) -> NDArray[np.uint8]:
    """Return a picture of the map from above, uint8 (rows * tile_size, columns * tile_size, 3)."""
    rows, columns = cliff.rows, cliff.columns
    scene = Scene(columns, rows, tile_size, GRASS)
    for cell in range(rows * columns):
        row, column = divmod(cell, columns)
        if (row + column) % 2:
            scene.box((column, row), (column + 1, row + 1), OTHER_GRASS)
    _paint_cliff(scene, rows - 1, columns)
    _paint_flag(scene, columns - 0.5, rows - 0.5)
    _paint_walker(scene, state % columns + 0.5, state // columns + 0.5)
    return scene.pixels()


def _paint_cliff(scene: Scene, top: int, columns: int) -> None:
    scene.box((1, top), (columns - 1, top + 1), DEEP_SEA)
    scene.box((1, top + 0.3), (columns - 1, top + 0.55), SEA)
    for column in range(1, columns - 1):  # waves at the foot, and a ragged edge above
        scene.line((column + 0.15, top + 0.62), (column + 0.45, top + 0.62), 0.05, FOAM, 0.7)
        scene.line((column + 0.5, top + 0.85), (column + 0.8, top + 0.85), 0.05, FOAM, 0.5)
        for x, depth in ((0.0, 0.16), (0.35, 0.26), (0.7, 0.2)):
            scene.box((column + x, top), (column + min(x + 0.37, 1), top + depth), EARTH)
    scene.box((1, top), (columns - 1, top + 0.06), (112, 84, 60))


def _paint_flag(scene: Scene, x: float, y: float) -> None:
    scene.disc((x, y + 0.3), 0.22, (120, 150, 96), 0.6)
    scene.line((x - 0.12, y + 0.3), (x - 0.12, y - 0.34), 0.06, (90, 84, 80))
    scene.box((x - 0.1, y - 0.36), (x + 0.3, y - 0.06), (206, 58, 48), radius=0.04)


def _paint_walker(scene: Scene, x: float, y: float) -> None:
    dark, coat = (44, 52, 66), (236, 118, 74)
    scene.disc((x, y + 0.36), 0.16, (90, 110, 70), 0.45)
    for side in (-0.09, 0.09):
        scene.line((x + side / 2, y + 0.1), (x + side, y + 0.34), 0.09, dark)
    scene.line((x, y - 0.06), (x, y + 0.1), 0.27, coat)
    scene.box((x - 0.26, y - 0.14), (x - 0.1, y + 0.12), (110, 84, 58), radius=0.05)
    scene.disc((x, y - 0.28), 0.14, (240, 200, 168))
    scene.line((x - 0.13, y - 0.34), (x + 0.13, y - 0.34), 0.09, dark)
