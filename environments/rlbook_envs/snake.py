"""Snake: eat apples, grow, and avoid the walls and your own body.

    . . . . . .      @  head       actions  0 left   1 down
    . o o @ . .      o  body                2 right  3 up
    . o . . . .      *  apple
    . o . * . .
    . . . . . .
    . . . . . .

The board has n × n cells, walls around it, and one apple. In every step the head moves one cell in
the chosen direction, and the body follows. Eating the apple has reward +1, makes the snake one cell
longer, and puts a new apple on a free cell, chosen uniformly at random. Running into a wall or into
the body has reward -1 and terminates the episode; filling the board also terminates it, because no
better outcome is possible. Every other step has reward 0. A snake that turns straight back runs
into its body. The cell that the end of the tail leaves in a step can be entered in the same step.

A snake that never eats could go on forever, so the registered environments have a time limit of
1,000 steps. The time limit truncates the episode: it does not mean that the last state was a bad
one.

There are four kinds of observations, `observation=`:

    "ages"      the board as numbers: 0 is free, -1 the apple, and k a cell of the body that will
                be free in k steps, so the end of the tail is 1 and the head is the length. This
                observation shows where every part of the body goes next, so it is Markov.
    "kinds"     the board as in most of the literature: 0 free, 1 body, 2 head, 3 apple. Two bodies
                that cover the same cells in a different order look the same, so this observation
                is not Markov.
    "features"  one number below 729: what each direction leads to, and where the apple is.
    "window"    one number: the 24 cells around the head, and where the apple is. A table for all
                3 ** 24 * 9 of them would be too large, but few of them ever occur.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule
from rlbook_envs.scene import Scene
from rlbook_envs.streams import random_bits, uniform
from rlbook_envs.world import World, makers, store_cells

LEFT, DOWN, RIGHT, UP = 0, 1, 2, 3
FREE, APPLE = 0, -1
Cells = NDArray[np.int16]


class Game(NamedTuple):
    """Parameters of the rules."""

    size: int  # number of cells along a side


START_LENGTH = 3


@rule
def step(game: Game, state: Cells, action: int, key: Any) -> tuple[Cells, float, bool]:
    """Move the snake by one cell.

    `state` is (n * n + 2,) int16: the ages of the cells, the cell of the head, and the length of
    the snake, which is 0 for a dead snake.
    """
    size = game.size
    cells = size * size
    head, length = state[cells], state[cells + 1]
    if length == 0:
        return state, 0.0, True

    row = head // size + (action == DOWN) - (action == UP)
    column = head % size + (action == RIGHT) - (action == LEFT)
    onto = row * size + column
    if min(row, column) < 0 or max(row, column) == size or state[onto] > 1:
        state[cells + 1] = 0
        return state, -1.0, True

    eats = state[onto] == APPLE
    if eats:
        length += 1
    else:
        for cell in range(cells):
            state[cell] -= state[cell] > 0
    state[onto] = length
    state[cells], state[cells + 1] = onto, length
    if not eats:
        return state, 0.0, False
    if length == cells:
        return state, 1.0, True
    put_apple(state, key)
    return state, 1.0, False


@rule
def reset(game: Game, key: Any) -> Cells:
    """Begin an episode with a snake of three cells in the middle, heading right."""
    cells = game.size * game.size
    state = np.zeros(cells + 2, np.int16)
    head = (game.size // 2) * game.size + game.size // 2
    for age in range(1, START_LENGTH + 1):
        state[head - START_LENGTH + age] = age
    state[cells], state[cells + 1] = head, START_LENGTH
    put_apple(state, key)
    return state


@rule
def put_apple(state: Cells, key: Any) -> None:
    """Put an apple on a uniformly random free cell, by trying random cells until one is free."""
    tries = 0
    while True:
        cell = int(uniform(random_bits(key, tries)) * (len(state) - 2))
        if state[cell] == FREE:
            state[cell] = APPLE
            return
        tries += 1


@rule
def observe_ages(game: Game, state: Cells, out: NDArray[np.int16]) -> None:
    """Write the board: 0 free, -1 apple, k a cell of the body that will be free in k steps."""
    for cell in range(len(out)):
        out[cell] = state[cell]


@rule
def observe_kinds(game: Game, state: Cells, out: NDArray[np.int8]) -> None:
    """Write the board: 0 free, 1 body, 2 head, 3 apple."""
    for cell in range(len(out)):
        out[cell] = (state[cell] > 0) + 3 * (state[cell] == APPLE)
    out[state[len(out)]] = 2


BLOCKED, TRAP, OPEN = 0, 1, 2


@rule
def observe_features(game: Game, state: Cells) -> int:
    """Return what each of the four directions leads to and where the apple is, as one number.

    A direction is blocked by a wall or the body, or it leads into a trap (a room that is smaller
    than the snake and does not touch the end of its tail), or it is open.

    Returns:
        The sum over the four directions of 3 ** direction times BLOCKED, TRAP or OPEN, plus 81
        times the direction of the apple (0 to 8).
    """
    code = 81 * apple_direction(game, state)
    size = game.size
    head = state[size * size]
    power = 1
    for action in range(4):
        row = head // size + (action == DOWN) - (action == UP)
        column = head % size + (action == RIGHT) - (action == LEFT)
        if min(row, column) >= 0 and max(row, column) < size and state[row * size + column] <= 1:
            code += power * (OPEN if is_open(game, state, row * size + column) else TRAP)
        power *= 3
    return code


@rule
def is_open(game: Game, state: Cells, start: int) -> bool:
    """Return whether the room around a free cell can hold the whole snake, or touches its tail."""
    size = game.size
    cells = size * size
    seen = np.zeros(cells, np.bool_)
    found = np.empty(cells, np.int16)
    found[0], seen[start] = start, True
    next_one, room, length = 0, 1, state[cells + 1]
    while next_one < room < length:
        cell = found[next_one]
        next_one += 1
        if state[cell] == 1:  # the end of the tail, which will be free in the next step
            return True
        row, column = cell // size, cell % size
        for neighbour, inside in (
            (cell - 1, column > 0),
            (cell + size, row < size - 1),
            (cell + 1, column < size - 1),
            (cell - size, row > 0),
        ):
            if inside and not seen[neighbour] and state[neighbour] <= 1:
                seen[neighbour] = True
                found[room] = neighbour
                room += 1
    return room >= length


@rule
def apple_direction(game: Game, state: Cells) -> int:
    """Return the direction of the apple from the head, 0 to 8.

    It is 3 * (0 above, 1 level, 2 below) + (0 left, 1 in line, 2 right).
    """
    size = game.size
    head, apple = state[size * size], 0
    for cell in range(size * size):
        if state[cell] == APPLE:
            apple = cell
    down = np.sign(apple // size - head // size)
    right = np.sign(apple % size - head % size)
    return 3 * (down + 1) + right + 1


@rule
def observe_window(game: Game, state: Cells) -> int:
    """Return the 24 other cells of the 5 × 5 window around the head, as one number.

    Returns:
        A number in base 3 whose 24 digits are 0 for a free cell, 1 for the apple and 2 for a wall
        or the body, times 9, plus the direction of the apple.
    """
    size = game.size
    head = state[size * size]
    code = 0
    for row in range(head // size - 2, head // size + 3):
        for column in range(head % size - 2, head % size + 3):
            cell = row * size + column
            if min(row, column) < 0 or max(row, column) >= size:
                code = 3 * code + 2
            elif cell != head:
                code = 3 * code + (1 if state[cell] == APPLE else 2 * (state[cell] > 0))
    return 9 * code + apple_direction(game, state)


def snake(size: int = 10, observation: str = "ages") -> World:
    """Return the rules of Snake on a board of size × size cells.

    Args:
        size: number of cells along a side, 4 to 100.
        observation: `"ages"`, `"kinds"`, `"features"` or `"window"`; see the module docstring.

    Raises:
        ValueError: an argument is out of range.
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 4 <= size <= 100:
        raise ValueError(f"size must be a whole number from 4 to 100, got {size!r}")
    board = (int(size), int(size))
    views: dict[str, tuple[Any, gymnasium.Space[Any]]] = {
        "ages": (observe_ages, gymnasium.spaces.Box(-1, size * size, board, np.int16)),
        "kinds": (observe_kinds, gymnasium.spaces.Box(0, 3, board, np.int8)),
        "features": (observe_features, gymnasium.spaces.Discrete(9 * 3**4)),
        "window": (observe_window, gymnasium.spaces.Discrete(9 * 3**24)),
    }
    if observation not in views:
        names = ", ".join(map(repr, views))
        raise ValueError(f"observation must be one of {names}, got {observation!r}")
    observe, space = views[observation]
    return World(
        name="Snake",
        params=Game(int(size)),
        reset=reset,
        step=step,
        num_states=None,
        actions=("left", "down", "right", "up"),
        text=text,
        picture=picture,
        blank=np.zeros(size * size + 2, np.int16),
        store=store_cells,
        space=space,
        observe=observe,
        fps=10,
    )


# The entry points of `gymnasium.make("rlbook/Snake-v0", …)` and `gymnasium.make_vec`.
make_env, make_vector_env = makers(snake)


def text(game: Game, state: Cells) -> str:
    """Return the board as text; the head of a dead snake is an x."""
    *cells, head, length = state.tolist()
    letters = ["*" if cell == APPLE else "o" if cell > 0 else "." for cell in cells]
    letters[head] = "@" if length else "x"
    rows = (letters[start : start + game.size] for start in range(0, len(cells), game.size))
    return "\n".join(" ".join(row) for row in rows) + "\n"


GRASS, OTHER_GRASS, WALL = (222, 237, 205), (214, 231, 195), (118, 138, 104)
SKIN, BELLY, DEAD = (58, 122, 84), (104, 168, 112), (128, 128, 128)


def picture(game: Game, state: Cells, tile_size: int = 32) -> NDArray[np.uint8]:
    """Return a picture of the board and a wall half a tile thick, uint8 (side, side, 3)."""
    size, side = game.size, game.size + 1.0
    *cells, head, length = state.tolist()
    scene = Scene(side, side, tile_size, WALL)
    for cell in range(size * size):
        x, y = cell % size + 0.5, cell // size + 0.5
        colour = GRASS if (cell % size + cell // size) % 2 else OTHER_GRASS
        scene.box((x, y), (x + 1, y + 1), colour)
        if cells[cell] == APPLE:
            _paint_apple(scene, x + 0.5, y + 0.5)
    _paint_snake(scene, size, cells, head, alive=length > 0)
    return scene.pixels()


def _paint_apple(scene: Scene, x: float, y: float) -> None:
    scene.disc((x, y + 0.33), 0.2, (150, 170, 130), 0.6)
    for side in (-0.1, 0.1):
        scene.disc((x + side, y + 0.06), 0.27, (206, 58, 48))
    scene.disc((x - 0.14, y - 0.04), 0.08, (240, 150, 130), 0.9)
    scene.line((x, y - 0.16), (x + 0.05, y - 0.36), 0.07, (98, 70, 44))
    scene.line((x + 0.07, y - 0.3), (x + 0.22, y - 0.36), 0.13, (86, 150, 70))


def _paint_snake(scene: Scene, size: int, cells: list[int], head: int, alive: bool) -> None:
    body = sorted((age, cell) for cell, age in enumerate(cells) if age > 0)
    middles = [(cell % size + 1.0, cell // size + 1.0) for _, cell in body]
    skin = SKIN if alive else DEAD
    for thickness, colour in ((0.74, skin), (0.34, BELLY if alive else (170, 170, 170))):
        for i, (start, end) in enumerate(pairwise(middles)):
            taper = min(1.0, 0.5 + 0.2 * i)  # thinner at the end of the tail
            scene.line(start, end, thickness * taper, colour)
    x, y = head % size + 1.0, head // size + 1.0
    neck_x, neck_y = middles[-2]
    ahead_x, ahead_y = x - neck_x, y - neck_y
    scene.disc((x, y), 0.44, skin)
    for side in (-1, 1):
        eye = (x + 0.12 * ahead_x - 0.2 * side * ahead_y, y + 0.12 * ahead_y + 0.2 * side * ahead_x)
        scene.disc(eye, 0.13, (255, 255, 255))
        scene.disc((eye[0] + 0.04 * ahead_x, eye[1] + 0.04 * ahead_y), 0.07, (20, 24, 30))
