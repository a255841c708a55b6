"""The exercises of chapter 04: right solutions, random cases, and the mistakes people make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from numpy.random import Generator
from numpy.typing import NDArray

from rlbook.check.exercise import Case, Function, FunctionExercise, Mistakes, Table, Whole, by_name
from rlbook.check.playing import PlayedExercise, wrong_environment

Board = NDArray[np.int16]  # of ages: 0 free, -1 the apple, k for a cell that is free in k steps
Cell = tuple[int, int]  # row and column

APPLE, TAIL = -1, 1
WALL = np.iinfo(np.int16).max
# The four directions, (down, right), in the order of the actions: left, down, right, up.
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))


def apple_direction(head: Cell, apple: Cell) -> int:
    """Check the direction in which Snake's apple lies.

    From two cells (row, column), rows counted from the top, it makes the number
    3 * (0 above, 1 level, 2 below) + (0 to the left, 1 in line, 2 to the right).
    """
    down, right = apple[0] - head[0], apple[1] - head[1]
    return int(3 * (np.sign(down) + 1) + np.sign(right) + 1)


_DIRECTION_MISTAKES: Mistakes = {
    "sign. You say where the head lies as seen from the apple; it is the other way round.": [
        "apple_direction(apple, head)"
    ],
    "above and below exchanged. Rows are counted from the top: an apple in a smaller row lies above"
    " the head.": [{"np.sign(down)": "np.sign(-down)"}],
    "left and right exchanged. Columns are counted from the left: an apple in a smaller column lies"
    " to the left.": [{"np.sign(right)": "np.sign(-right)"}],
    "rows and columns exchanged. Three times counts (above, level, below), which is the rows'"
    " affair; (to the left, in line, to the right) is added to it.": [
        {"down, right =": "right, down ="}
    ],
    "off by one. A sign is -1, 0 or 1; add 1 to each of the two, so that the number is 0 to 8.": [
        {"(np.sign(down) + 1)": "np.sign(down)", "np.sign(right) + 1": "np.sign(right)"},
        {"np.sign(right) + 1": "np.sign(right)"},
        {"(np.sign(down) + 1)": "np.sign(down)"},
        "apple_direction(head, apple) + 1",
    ],
    "distance instead of direction. You count how many cells away the apple is; only the sign of"
    " that matters here.": [{"np.sign(down)": "down", "np.sign(right)": "right"}],
    "level and in line forgotten. There are three answers for the rows and three for the columns:"
    " the same row, and the same column, count too.": [
        {"(np.sign(down) + 1)": "2 * (down > 0)", "np.sign(right) + 1": "2 * (right > 0)"},
        {"(np.sign(down) + 1)": "2 * (down >= 0)", "np.sign(right) + 1": "2 * (right >= 0)"},
        {"3 * (np.sign(down) + 1)": "2 * (down > 0)", "np.sign(right) + 1": "(right > 0)"},
    ],
}


def _direction_case(rng: Generator) -> Case:
    head = apple = (0, 0)
    while head == apple:
        cells = rng.integers(10, size=(2, 2))
        if rng.random() < 0.3:  # level, or in line
            axis = int(rng.integers(2))
            cells[1, axis] = cells[0, axis]
        head, apple = tuple(cells[0].tolist()), tuple(cells[1].tolist())
    return head, apple


def blocked_directions(ages: Board) -> Whole:
    """Check which directions are blocked for Snake's head.

    From a board of ages, int16 (n, n), it makes int64 (4,): 1 where a wall or a cell of age 2 or
    more lies to the left, down, right and up of the head, which has the highest age; else 0.
    """
    framed = np.full(np.add(ages.shape, 2), WALL)
    framed[1:-1, 1:-1] = ages
    row, column = np.unravel_index(ages.argmax(), ages.shape)
    around = np.array([framed[1 + row + down, 1 + column + right] for down, right in MOVES])
    return (around > TAIL).astype(np.int64)


# What surrounds the board: walls, or, wrongly, its other side.
_FRAME, _WRAPPED = "framed[1:-1, 1:-1] = ages", "framed = np.pad(ages, 1, mode='wrap')"
# Mistakes of looking around, which those who write the wrapper make too.
_LOOKING_WRONG: Mistakes = {
    "free instead of blocked. You say 1 where the snake can go; 1 is for a direction that is"
    " blocked.": [{"around > TAIL": "around <= TAIL"}],
    "tail counted as blocked. The end of the tail, of age 1, makes way in this very step: it does"
    " not block.": [{"around > TAIL": "around >= TAIL"}],
    "apple counted as blocked. The apple is -1 on the board, and in nobody's way.": [
        {"around > TAIL": "(around > TAIL) | (around == APPLE)"},
        {"around > TAIL": "around != 0"},
    ],
    "walls forgotten. Beyond the edge of the board is a wall, and it blocks.": [{"WALL)": "0)"}],
    "round the edge. You look round the edge, at the other side of the board (in NumPy, index -1 is"
    " the last): beyond the edge is a wall.": [
        {_FRAME: _WRAPPED},
        {_FRAME: _WRAPPED, "around > TAIL": "around >= TAIL"},
    ],
    "body forgotten. You look for walls alone; the snake's own body blocks too, where its age is 2"
    " or more.": [{"around > TAIL": "around == WALL"}],
    "rows and columns exchanged. Left and right change the column, down and up the row:"
    " ages[row, column]. Left comes first, up last.": [{"for down, right": "for right, down"}],
    "order of the directions. The directions come in the order of the actions: left, down, right,"
    " up.": [
        {"in MOVES": f"in [MOVES[i] for i in {order}]"}
        for order in ((0, 3, 2, 1), (3, 1, 0, 2), (0, 2, 3, 1), (0, 2, 1, 3), (3, 2, 0, 1))
    ],
}
_BLOCKED_MISTAKES: Mistakes = {
    **_LOOKING_WRONG,
    "around the wrong cell. Look around the head, whose age is the highest; not around the apple or"
    " the tail.": [
        {"ages.argmax()": "ages.argmin()"},
        {"ages.argmax()": "(ages == TAIL).argmax()"},
    ],
}


def _board(rng: Generator) -> Board:
    """A snake that went wherever there was room, and an apple."""
    size = int(rng.integers(4, 8))
    ages = np.zeros((size, size), np.int16)
    path = [divmod(int(rng.integers(size * size)), size)]
    for _ in range(int(rng.integers(3, size * size))):
        row, column = path[-1]
        near = [(row + down, column + right) for down, right in MOVES]
        free = [each for each in near if min(each) >= 0 and max(each) < size and each not in path]
        if not free:
            break
        path.append(free[rng.integers(len(free))])
    for age, cell in enumerate(path, start=1):
        ages[cell] = age
    if len(path) < size * size:
        ages[tuple(rng.choice(np.argwhere(ages == 0)))] = APPLE
    return ages


def _board_case(rng: Generator) -> Case:
    return (_board(rng),)


def reachable_cells(ages: Board, row: int, column: int) -> int:
    """Check a flood fill.

    It counts the cells that can be reached from this one, itself included, by steps to the left,
    down, right and up through cells of age 1 or less.
    """
    framed = np.full(np.add(ages.shape, 2), WALL)
    framed[1:-1, 1:-1] = ages
    seen, waiting = {(row, column)}, [(row, column)]
    while waiting:
        row, column = waiting.pop()
        for down, right in MOVES:
            cell = (row + down, column + right)
            age = framed[1 + row + down, 1 + column + right]
            if age <= TAIL and cell not in seen:
                seen.add(cell)
                waiting.append(cell)
    return len(seen)


_ROOM_MISTAKES: Mistakes = {
    "off by one. The cell that you start from is one of those that can be reached: count it,"
    " once.": [{"len(seen)": "len(seen) - 1"}, {"len(seen)": "len(seen) + 1"}],
    "diagonals. A snake does not move diagonally: a cell has four neighbours.": [
        {"in MOVES": "in (*MOVES, (-1, -1), (-1, 1), (1, -1), (1, 1))"}
    ],
    "round the edge. You go round the edge, to the other side of the board (in NumPy, index -1 is"
    " the last): beyond the edge is a wall.": [
        {
            _FRAME: f"{_WRAPPED}; size = len(ages)",
            "(row + down, column + right)": "((row + down) % size, (column + right) % size)",
        }
    ],
    "tail counted as blocked. The end of the tail, of age 1, makes way: it can be reached, and gone"
    " through.": [{"age <= TAIL": "age < TAIL"}],
    "apple counted as blocked. The apple is -1 on the board, and in nobody's way.": [
        {"age <= TAIL": "0 <= age <= TAIL"},
        {"age <= TAIL": "age == 0"},
    ],
    "neighbours only. You stop after the cells next to the start; go on from each of them.": [
        {"waiting.append(cell)": "pass"},
        {"waiting.append(cell)": "pass", "len(seen)": "len(seen) - 1"},
    ],
    "cells out of reach counted. You count cells that the body cuts off; go from neighbour to"
    " neighbour.": ["int((ages <= TAIL).sum())", "int((ages < TAIL).sum())"],
    "body walked through. You walk through the body: a cell of age 2 or more is blocked.": [
        {"age <= TAIL": "age < WALL"},
        "ages.size",
    ],
}


def _room_case(rng: Generator) -> Case:
    ages = _board(rng)
    row, column = rng.choice(np.argwhere(ages <= TAIL)).tolist()
    return ages, row, column


def encode_digits(digits: Whole, bases: Whole) -> int:
    """Check a number made of digits, each in a base of its own.

    Both are int64 (k,). The first digit counts ones, and every other one the product of the bases
    before its own.
    """
    weights = np.cumprod(np.append(1, bases[:-1]))
    return int(digits @ weights)


def decode_digits(number: int, bases: Whole) -> Whole:
    """Check the digits of a number: `encode_digits` backwards.

    From an int and int64 (k,) it makes int64 (k,).
    """
    weights = np.cumprod(np.append(1, bases[:-1]))
    return number // weights % bases


_ONE_BASE = (
    "one base for all. You use powers of one base; a digit counts the product of all the bases"
    " before its own."
)
_REVERSED = (
    "digits reversed. The first digit counts ones: it is the one that changes fastest, not the"
    " last."
)
_ENCODE_MISTAKES: Mistakes = {
    _REVERSED: [
        "encode_digits(digits[::-1], bases[::-1])",
        "encode_digits(digits[::-1], bases)",
    ],
    "off by one. You multiply by a digit's own base as well; it counts the product of those before"
    " it.": ["int(digits @ np.cumprod(bases))"],
    _ONE_BASE: [
        {"@ weights": f"@ {base} ** np.arange(len(bases))"}
        for base in ("bases[0]", "bases", "3", "10")
    ],
    "weights dropped. You add the digits as they are, and different digits get the same number.": [
        "int(digits.sum())"
    ],
    "bases instead of their products. You multiply each digit by one base; it counts the product of"
    " all the bases before it.": [
        "int(digits @ bases)",
        "int(digits @ np.append(1, bases[:-1]))",
    ],
    "digit dropped. You leave out the first or the last digit.": [
        "encode_digits(digits[:-1], bases[:-1])",
        {"digits @ weights": "digits[1:] @ weights[1:]"},
    ],
}
_DECODE_MISTAKES: Mistakes = {
    _REVERSED: [
        "decode_digits(number, bases[::-1])[::-1]",
        "decode_digits(number, bases)[::-1]",
    ],
    "off by one. You divide once too often: the first digit is what remains of the number"
    " itself.": [{"// weights": "// np.cumprod(bases)"}],
    _ONE_BASE: [
        {"// weights % bases": "// bases[0] ** np.arange(len(bases)) % bases[0]"},
        {"// weights": "// bases ** np.arange(len(bases))"},
        {"// weights": "// bases[0] ** np.arange(len(bases))"},
    ],
    "remainder forgotten. You divide, and forget to take the remainder: a digit is smaller than its"
    " base.": [{" % bases": ""}],
    "division forgotten. You take the remainder of the whole number each time; first divide by what"
    " has been read.": [{" // weights": ""}],
    "remainder and quotient exchanged. The digit is the remainder, and the quotient is what you go"
    " on with.": [{"// weights % bases": "% (weights * bases) // bases"}],
}


def _encode_case(rng: Generator) -> Case:
    bases = rng.integers(2, 10, size=int(rng.integers(2, 7)))
    return rng.integers(bases), bases


def _decode_case(rng: Generator) -> Case:
    digits, bases = _encode_case(rng)
    return encode_digits(digits, bases), bases


def shaped_rewards(rewards: Table, potentials: Table, gamma: float, terminated: bool) -> Table:
    """Check rewards with potential-based shaping (Ng, Harada and Russell, 1999, theorem 1).

    From float64 (T,) and (T + 1,) it makes float64 (T,): to each reward is added gamma times the
    potential after the step, less the one before it. After a step that terminated, the potential
    counts as 0.
    """
    after = potentials[1:].copy()
    if terminated:
        after[-1] = 0.0
    return rewards + gamma * after - potentials[:-1]


def _without_last(rewards: Table, terminated: bool) -> Table:
    return np.append(rewards[:-1], 0.0 if terminated else rewards[-1])


_F = "gamma * after - potentials[:-1]"
_SHAPING_MISTAKES: Mistakes = {
    "discount dropped. You leave gamma out: it multiplies the potential of where the step led.": [
        {"gamma * after": "after"}
    ],
    "potential of a terminal state. You count the potential of where a terminated episode led;"
    " nothing follows there, so it is 0.": ["shaped_rewards(rewards, potentials, gamma, False)"],
    "truncated taken for terminated. You set the last potential to 0 although the episode was only"
    " truncated; the environment would have gone on.": [
        "shaped_rewards(rewards, potentials, gamma, True)"
    ],
    "every step taken for the last. You set the next potential to 0 in every step of a terminated"
    " episode; only its last step led to the end.": [{"after[-1]": "after[:]"}],
    "sign. F is gamma times the next potential minus the present one. Yours has a minus too"
    " many.": [
        "2 * rewards - shaped_rewards(rewards, potentials, gamma, terminated)",
        {_F: "after - gamma * potentials[:-1]"},
        {"- potentials": "+ potentials"},
    ],
    "off by one. Step t led from potentials[t] to potentials[t + 1]; yours uses those of another"
    " step.": [
        {_F: "gamma * potentials[:-1] - after"},
        {_F: "gamma * potentials[:-1] - np.append(potentials[0], potentials[:-2])"},
        {_F: "gamma * potentials[:-1] - np.append(0.0, potentials[:-2])"},
    ],
    "potential paid out. You pay the potential itself, for as long as the snake stays; pay only for"
    " its change.": [
        {_F: "potentials[1:]"},
        {_F: "after"},
        {_F: "gamma * potentials[1:]"},
        {_F: "gamma * after"},
        {_F: "potentials[:-1]"},
    ],
    "reward dropped. You return F alone; it is added to the reward.": [{"rewards + ": ""}],
    "last reward dropped. You make the whole reward of a terminated step 0; only the potential"
    " after it is.": [
        {"rewards + ": "_without_last(rewards, terminated) + "},
        "_without_last(shaped_rewards(rewards, potentials, gamma, terminated), terminated)",
    ],
}


def _shaping_case(rng: Generator) -> Case:
    steps = int(rng.integers(2, 7))
    return (
        rng.choice([0.0, 0.0, 1.0, -1.0], steps),
        rng.normal(size=steps + 1).round(3),
        float(rng.choice([0.5, 0.9, 0.95])),
        bool(rng.random() < 0.5),
    )


def _head_and_apple(ages: Board) -> tuple[Cell, Cell]:
    head, apple = int(ages.argmax()), int((ages == APPLE).argmax())
    return divmod(head, len(ages)), divmod(apple, len(ages))


class SnakeView(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Check a wrapper that shows the board of Snake as one of 144 numbers.

    It is, for instance, a class of `gymnasium.ObservationWrapper`. The wrapped environment shows
    ages; the wrapper shows, and declares, `Discrete(144)`: the blocked directions (see
    `blocked_directions`) as digits that count 1, 2, 4 and 8, and 16 times the apple's direction
    (see `apple_direction`).
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.observation_space = Discrete(144)

    def observation(self, ages: Board) -> int:
        framed = np.full(np.add(ages.shape, 2), WALL)
        framed[1:-1, 1:-1] = ages
        row, column = np.unravel_index(ages.argmax(), ages.shape)
        around = np.array([framed[1 + row + down, 1 + column + right] for down, right in MOVES])
        apple = apple_direction(*_head_and_apple(ages))
        return int((around > TAIL) @ [1, 2, 4, 8] + 16 * apple)


_VIEW_MISTAKES: Mistakes = {
    **_LOOKING_WRONG,
    "apple forgotten. Your number does not say where the apple lies: add 16 times its direction.": [
        {" + 16 * apple": ""}
    ],
    "digits reversed. Left counts 1, down 2, right 4 and up 8, and the apple's direction 16.": [
        {"[1, 2, 4, 8] + 16 *": "[9, 18, 36, 72] +"},
        {"[1, 2, 4, 8] + 16 *": "[72, 36, 18, 9] +"},
    ],
    "apple on the wrong side. The apple's direction is 3 * (above 0, level 1, below 2) + (left 0,"
    " in line 1, right 2), as in apple_direction.": [
        {"16 * apple": "16 * (8 - apple)"},
        {"_head_and_apple(ages)": "_head_and_apple(ages.T)"},
    ],
    "one step late. You show the board as it was before the step; use the one that you are"
    " given.": [
        {"framed = ": "ages, self.before = getattr(self, 'before', ages), ages; framed = "}
    ],
}


def _view_case(rng: Generator) -> Case:
    """A size, a seed, and the actions of two games.

    The player goes for the apples, for only a snake that has grown meets the end of its own tail.
    """
    size, seed, games = int(rng.integers(4, 7)), int(rng.integers(1000)), []
    env = gymnasium.make("rlbook/Snake-v0", size=size)
    for game in range(2):
        ages, _ = env.reset(seed=seed if game == 0 else None)
        actions: list[int] = []
        ended = False
        while not ended:
            actions.append(_greedy(ages, rng))
            ages, _, ended, _, _ = env.step(actions[-1])
            ended = ended or len(actions) == 40
        games.append(actions)
    return size, seed, games


def _greedy(ages: Board, rng: Generator) -> int:
    head, apple = _head_and_apple(ages)
    down, right = np.sign(np.subtract(apple, head))
    towards = np.array([-right, down, right, -down]) + rng.random(4)
    return int(np.argmax(np.where(blocked_directions(ages), -np.inf, towards)))


@dataclass(frozen=True)
class ViewExercise(PlayedExercise):
    """The solution is a callable that wraps a Snake whose observations are ages."""

    def play(self, function: Function, case: Case) -> Iterator[tuple[float, ...]]:
        """Play the games: a row (obs, reward, terminated) a step; a reset's has NaN."""
        size, seed, games = case
        world = gymnasium.make("rlbook/Snake-v0", size=size, disable_env_checker=True)
        env = function(world)
        for game, actions in enumerate(games):
            obs, _ = env.reset(seed=seed if game == 0 else None)
            yield float(obs), np.nan, np.nan
            for action in actions:
                obs, reward, terminated, _, _ = env.step(action)
                yield float(obs), float(reward), bool(terminated)

    def wrong_row(self, case: Case, rows: Table, number: int, got: Table) -> str:
        """The first number that is wrong, and the board."""
        right = rows[number]
        column = int(np.argmin(np.isclose(right, got, equal_nan=True)))
        name = ("observation", "reward", "terminated")[column]
        wrong = f"{name} should be {right[column]:g}; yours is {got[column]:g}"
        return f"{wrong}, where the ages are\n{board_at(case, number)}"

    def broken(self, case: Case, rows: Table, number: int, raised: str) -> str:
        """The error, and the board."""
        return f"your wrapper raised {raised}, where the ages are\n{board_at(case, number)}"

    def inspect(self, function: Function) -> str | None:
        """Whether it is an environment, and says what it shows."""
        try:
            env = function(gymnasium.make("rlbook/Snake-v0"))
        except Exception:
            return None  # the cases tell
        return wrong_environment(env, observation_space=Discrete(144))


def board_at(case: Case, moment: int) -> str:
    """Return the board of Snake after so many resets and steps."""
    size, seed, games = case
    env = gymnasium.make("rlbook/Snake-v0", size=size)
    for game, actions in enumerate(games):
        ages, _ = env.reset(seed=seed if game == 0 else None)
        for action in actions[:moment]:
            ages = env.step(action)[0]
        if moment <= len(actions):
            break
        moment -= 1 + len(actions)
    return str(ages)


EXERCISES = by_name(
    FunctionExercise(apple_direction, _direction_case, _DIRECTION_MISTAKES, "number"),
    FunctionExercise(blocked_directions, _board_case, _BLOCKED_MISTAKES, "blocked"),
    FunctionExercise(reachable_cells, _room_case, _ROOM_MISTAKES, "number"),
    FunctionExercise(encode_digits, _encode_case, _ENCODE_MISTAKES, "number"),
    FunctionExercise(decode_digits, _decode_case, _DECODE_MISTAKES, "digits"),
    FunctionExercise(shaped_rewards, _shaping_case, _SHAPING_MISTAKES, "shaped"),
    ViewExercise(SnakeView, _view_case, _VIEW_MISTAKES),
)
