"""FrozenLake: cross slippery ice to the fish without falling into a hole.

    S F F F      S  start          actions  0 left   1 down
    F H F H      F  frozen                  2 right  3 up
    F F F H      H  hole
    H F F G      G  goal

The player stands on a tile and chooses a direction. On slippery ice, the player moves in that
direction with probability 1/3, and in either direction at a right angle to it with probability 1/3
each. A player who would leave the map stays in place. Reaching the goal has reward 1 and terminates
the episode; falling into a hole has reward 0 and terminates it, too. The state is the number of the
tile, counted row by row.

The rules, the order of outcomes and every entry of the transition table are those of Gymnasium's
`FrozenLake-v1`. Edit `step` and see what changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook_envs import drawing
from rlbook_envs.compiled import rule
from rlbook_envs.streams import choice
from rlbook_envs.world import World, makers

LEFT, DOWN, RIGHT, UP = 0, 1, 2, 3
START, FROZEN, HOLE, GOAL = 0, 1, 2, 3
TILES = "SFHG"
MAPS = {
    "4x4": ("SFFF", "FHFH", "FFFH", "HFFG"),
    "8x8": (
        "SFFFFFFF",
        "FFFFFFFF",
        "FFFHFFFF",
        "FFFFFHFF",
        "FFFHFFFF",
        "FHHFFFHF",
        "FHFFHFHF",
        "FFFHFFFG",
    ),
}


class Lake(NamedTuple):
    """Parameters of the rules: the map, the probabilities of slipping, and the rewards."""

    tiles: NDArray[np.uint8]  # (rows, columns), of START, FROZEN, HOLE and GOAL
    start: tuple[float, ...]  # probability that an episode starts on each START tile
    slippery: bool
    # Probabilities of moving in the directions action - 1, action and action + 1 on slippery ice.
    veer: tuple[float, float, float]
    rewards: NDArray[np.float64]  # (4,), for entering START, FROZEN, HOLE, GOAL


@rule
def step(lake: Lake, state: int, action: int, key: Any) -> tuple[int, float, bool]:
    """Take one step on the ice."""
    rows, columns = lake.tiles.shape
    row, column = state // columns, state % columns
    ended = lake.tiles[row, column] >= HOLE

    direction = action
    if lake.slippery and not ended:
        direction = (action + choice(key, lake.veer) - 1) % 4
    # Sums of comparisons rather than four branches, most of which the processor would mispredict.
    row = min(max(row + (direction == DOWN) - (direction == UP), 0), rows - 1)
    column = min(max(column + (direction == RIGHT) - (direction == LEFT), 0), columns - 1)
    tile = lake.tiles[row, column]
    reward = lake.rewards[tile]

    if ended:  # the episode has ended, so nothing changes
        return state, 0.0, True
    return row * columns + column, reward, tile >= HOLE


@rule
def reset(lake: Lake, key: Any) -> int:
    """Begin an episode on a start tile."""
    which = choice(key, lake.start) if len(lake.start) > 1 else 0
    for state in range(lake.tiles.size):
        if lake.tiles.flat[state] == START:
            if which == 0:
                return state
            which -= 1
    return 0


def random_map(size: int = 8, frozen: float = 0.8, seed: int = 0) -> tuple[str, ...]:
    """Return a random map on which the goal can be reached from the start.

    The start and the goal are in opposite corners.

    Args:
        size: number of tiles along a side, 2 to 100.
        frozen: the probability that a tile is frozen rather than a hole.
        seed: seed of the map; the same seed gives the same map.

    Raises:
        ValueError: an argument is out of range, or `frozen` is so small that none of 1,000 maps had
            a way from the start to the goal.

    >>> random_map(4, seed=1)
    ('SHFH', 'FFHF', 'FFFF', 'FFFG')
    """
    if not 2 <= size <= 100:
        raise ValueError(f"size must be a number from 2 to 100, got {size!r}")
    if not 0 < frozen <= 1:
        raise ValueError(f"frozen must be a number above 0 and up to 1, got {frozen!r}")
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        tiles = np.where(rng.random((size, size)) < frozen, FROZEN, HOLE)
        tiles[0, 0], tiles[-1, -1] = START, GOAL
        if _has_a_way(tiles):
            return tuple("".join(TILES[tile] for tile in row) for row in tiles)
    raise ValueError(
        f"frozen must be larger, got {frozen!r}: none of 1,000 maps had a way to the goal"
    )


def _has_a_way(tiles: NDArray[np.int64]) -> bool:
    """Return whether there is a way from the first tile to the last."""
    reached = np.zeros(tiles.shape, np.bool_)
    reached[0, 0], before = True, 0
    while before < reached.sum():
        before = int(reached.sum())
        padded = np.pad(reached, 1)
        neighbours = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        reached |= neighbours & (tiles != HOLE)
    return bool(reached[-1, -1])


def frozen_lake(
    map_name: str = "4x4",
    desc: Sequence[str] | None = None,
    is_slippery: bool = True,
    success_rate: float = 1 / 3,
    reward_schedule: tuple[float, float, float] = (1, 0, 0),
) -> World:
    """Return the rules of FrozenLake, with the options of Gymnasium's `FrozenLake-v1`.

    Args:
        map_name: `"4x4"` or `"8x8"`.
        desc: a custom map, which replaces `map_name`: one string of the letters S, F, H and G per
            row, as `random_map` returns it.
        is_slippery: whether the player can slide to the side.
        success_rate: the probability of moving as intended on slippery ice.
        reward_schedule: the rewards for reaching the goal, a hole, and any other tile.

    Raises:
        ValueError: the map is not valid, or an option is out of range.
    """
    tiles = _read_map(map_name, desc)
    if not 0 <= success_rate <= 1:
        raise ValueError(f"success_rate must be a number from 0 to 1, got {success_rate}")
    if len(reward_schedule) != 3:
        raise ValueError(
            f"reward_schedule must be three numbers (goal, hole, frozen), got {reward_schedule}"
        )
    goal, hole, frozen = map(float, reward_schedule)
    aside = (1 - success_rate) / 2
    starts = int((tiles == START).sum())
    lake = Lake(
        tiles=tiles,
        start=(1 / starts,) * starts,
        slippery=bool(is_slippery),
        veer=(aside, success_rate, aside),
        rewards=np.array([frozen, frozen, hole, goal]),
    )
    actions = ("left", "down", "right", "up")
    return World("FrozenLake", lake, reset, step, tiles.size, actions, text, picture)


# The entry points of `gymnasium.make("rlbook/FrozenLake-v0", …)` and `gymnasium.make_vec`.
make_env, make_vector_env = makers(frozen_lake)


def _read_map(map_name: str, desc: Sequence[str] | None) -> NDArray[np.uint8]:
    if desc is None:
        if map_name not in MAPS:
            names = ", ".join(map(repr, MAPS))
            raise ValueError(f"map_name must be one of {names}, got {map_name!r}")
        desc = MAPS[map_name]
    rows = [str(row) for row in desc]
    if not rows or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise ValueError(f"desc must have at least one row, and rows of one length, got {rows}")
    strangers = set("".join(rows)) - set(TILES)
    if strangers:
        raise ValueError(f"desc must consist of the letters S, F, H and G, got {sorted(strangers)}")
    if "S" not in "".join(rows):
        raise ValueError(f"desc must have a start, the letter S, got {rows}")
    return np.array([[TILES.index(letter) for letter in row] for row in rows], np.uint8)


def text(lake: Lake, state: int) -> str:
    """Return the map as text, with the player's tile in brackets."""
    columns = lake.tiles.shape[1]
    lines = []
    for row, tiles in enumerate(lake.tiles):
        letters = [TILES[tile] for tile in tiles]
        marked = [
            f"[{letter}]" if row * columns + column == state else f" {letter} "
            for column, letter in enumerate(letters)
        ]
        lines.append("".join(marked))
    return "\n".join(lines) + "\n"


def picture(lake: Lake, state: int, tile_size: int = 64) -> NDArray[np.uint8]:
    """Return a picture of the lake from above, uint8 (rows * tile_size, columns * tile_size, 3)."""
    rows, columns = lake.tiles.shape
    painters = {HOLE: _paint_hole, GOAL: _paint_fish, START: _paint_start}
    canvas = drawing.Canvas(rows, columns, tile_size)
    for row in range(rows):
        for column in range(columns):
            _paint_ice(canvas, row, column)
            painters.get(int(lake.tiles[row, column]), lambda *_: None)(canvas, row, column)
    row, column = divmod(state, columns)
    if lake.tiles[row, column] == HOLE:
        _paint_splash(canvas, row, column)
    else:
        _paint_penguin(canvas, row, column)
    return canvas.pixels()


def _paint_ice(canvas: drawing.Canvas, row: int, column: int) -> None:
    canvas.fill(row, column, (188, 215, 230))  # the seam between two tiles
    seam = 0.02
    canvas.polygon(
        row,
        column,
        [(seam, seam), (1 - seam, seam), (1 - seam, 1 - seam), (seam, 1 - seam)],
        (226, 240, 247),
    )
    # Two glints, in a different place on neighbouring tiles.
    shift = ((7 * row + 3 * column) % 5) / 12
    for x, y, length in ((0.12 + shift, 0.3, 0.3), (0.3 + shift, 0.62, 0.2)):
        glint = [(x, y), (x + length, y - length), (x + length + 0.04, y - length), (x + 0.04, y)]
        canvas.polygon(row, column, glint, (255, 255, 255), 0.7)


def _paint_start(canvas: drawing.Canvas, row: int, column: int) -> None:
    for radius, opacity in ((0.4, 0.5), (0.31, 0.0)):
        colour = (120, 170, 200) if opacity else (226, 240, 247)
        canvas.ellipse(row, column, (0.5, 0.5), (radius, radius), colour, opacity or 1.0)


def _paint_hole(canvas: drawing.Canvas, row: int, column: int) -> None:
    for radius, colour in (
        (0.43, (150, 190, 212)),
        (0.39, (52, 98, 138)),
        (0.34, (30, 66, 104)),
        (0.24, (22, 50, 84)),
    ):
        centre = (0.5, 0.5 + (0.43 - radius) / 3)
        canvas.ellipse(row, column, centre, (radius, radius * 0.92), colour)


def _paint_fish(canvas: drawing.Canvas, row: int, column: int) -> None:
    canvas.ellipse(row, column, (0.5, 0.5), (0.42, 0.42), (250, 214, 120), 0.9)
    canvas.ellipse(row, column, (0.5, 0.5), (0.37, 0.37), (255, 238, 190), 0.9)
    canvas.polygon(row, column, [(0.33, 0.5), (0.17, 0.36), (0.17, 0.64)], (214, 92, 58))
    canvas.polygon(row, column, [(0.42, 0.4), (0.56, 0.27), (0.64, 0.42)], (214, 92, 58))
    canvas.ellipse(row, column, (0.53, 0.5), (0.26, 0.15), (236, 118, 74))
    canvas.ellipse(row, column, (0.55, 0.55), (0.2, 0.07), (250, 170, 120), 0.7)
    canvas.ellipse(row, column, (0.69, 0.46), (0.035, 0.035), (255, 255, 255))
    canvas.ellipse(row, column, (0.695, 0.46), (0.018, 0.018), (20, 24, 30))


def _paint_penguin(canvas: drawing.Canvas, row: int, column: int) -> None:
    dark, light, orange = (44, 52, 66), (250, 250, 248), (243, 156, 52)
    canvas.ellipse(row, column, (0.5, 0.87), (0.26, 0.06), (90, 120, 140), 0.45)
    for side in (-1, 1):
        canvas.ellipse(row, column, (0.5 + side * 0.11, 0.85), (0.1, 0.045), orange)
        flipper = [
            (0.5 + side * 0.18, 0.42),
            (0.5 + side * 0.36, 0.62),
            (0.5 + side * 0.31, 0.68),
            (0.5 + side * 0.16, 0.6),
        ]
        canvas.polygon(row, column, flipper, dark)
    canvas.ellipse(row, column, (0.5, 0.6), (0.24, 0.26), dark)
    canvas.ellipse(row, column, (0.5, 0.3), (0.18, 0.18), dark)
    canvas.ellipse(row, column, (0.5, 0.65), (0.165, 0.19), light)
    for side in (-1, 1):
        canvas.ellipse(row, column, (0.5 + side * 0.065, 0.32), (0.08, 0.09), light)
        canvas.ellipse(row, column, (0.5 + side * 0.06, 0.29), (0.025, 0.032), (20, 24, 30))
    canvas.polygon(row, column, [(0.44, 0.35), (0.56, 0.35), (0.5, 0.42)], orange)


def _paint_splash(canvas: drawing.Canvas, row: int, column: int) -> None:
    for radius, opacity in ((0.3, 0.35), (0.2, 0.5)):
        canvas.ellipse(row, column, (0.5, 0.58), (radius, radius * 0.5), (160, 205, 230), opacity)
    for x, y in ((0.34, 0.34), (0.5, 0.24), (0.66, 0.34), (0.42, 0.42), (0.58, 0.42)):
        canvas.ellipse(row, column, (x, y), (0.04, 0.055), (200, 230, 245))
