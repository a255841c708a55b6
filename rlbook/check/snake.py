"""The exercises of chapter 04: right solutions, random cases, and how people go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rlbook.check.exercise import (
    Exercise,
    Function,
    FunctionExercise,
    Mistake,
    Outcome,
    Table,
)

Board = NDArray[np.int16]  # of ages: 0 free, -1 the apple, k for a cell that is free in k steps
Numbers = NDArray[np.int64]

APPLE, TAIL = -1, 1
WALL = np.iinfo(np.int16).max
# The four directions, (down, right), in the order of the actions: left, down, right, up.
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))


# The apple's direction, and how it goes wrong.


def _offset(head: tuple[int, int], apple: tuple[int, int]) -> tuple[int, int]:
    """How far the apple lies down and to the right."""
    return apple[0] - head[0], apple[1] - head[1]


def _nine(down: Any, right: Any) -> int:
    """The number of a direction from two signs."""
    return int(3 * (np.sign(down) + 1) + np.sign(right) + 1)


def _apple_direction(head: tuple[int, int], apple: tuple[int, int]) -> int:
    return _nine(*_offset(head, apple))


def _faulty_direction(number: Callable[[int, int], Any]) -> Function:
    """A function of how far down and how far right the apple lies."""
    return lambda head, apple: int(number(*_offset(head, apple)))


_DIRECTION_MISTAKES = (
    Mistake(
        "sign",
        "You say where the head lies as seen from the apple; it is the other way about.",
        (_faulty_direction(lambda down, right: _nine(-down, -right)),),
    ),
    Mistake(
        "above and below exchanged",
        "Rows are counted from the top: an apple in a smaller row lies above the head.",
        (_faulty_direction(lambda down, right: _nine(-down, right)),),
    ),
    Mistake(
        "left and right exchanged",
        "Columns are counted from the left: an apple in a smaller column lies to the left.",
        (_faulty_direction(lambda down, right: _nine(down, -right)),),
    ),
    Mistake(
        "rows and columns exchanged",
        "Three times counts (above, level, below), which is the rows' affair; (to the left, in"
        " line, to the right) is added to it.",
        (_faulty_direction(lambda down, right: _nine(right, down)),),
    ),
    Mistake(
        "off by one",
        "A sign is -1, 0 or 1; add 1 to each of the two, so that the number is 0 to 8.",
        (
            _faulty_direction(lambda down, right: 3 * np.sign(down) + np.sign(right)),
            _faulty_direction(lambda down, right: 3 * (np.sign(down) + 1) + np.sign(right)),
            _faulty_direction(lambda down, right: 3 * np.sign(down) + np.sign(right) + 1),
            _faulty_direction(lambda down, right: _nine(down, right) + 1),
        ),
    ),
    Mistake(
        "distance instead of direction",
        "You count how many cells away the apple is; only the sign of that matters here.",
        (_faulty_direction(lambda down, right: 3 * (down + 1) + right + 1),),
    ),
    Mistake(
        "level and in line forgotten",
        "There are three answers for the rows and three for the columns: the same row, and the same"
        " column, count too.",
        (
            _faulty_direction(lambda down, right: 6 * (down > 0) + 2 * (right > 0)),
            _faulty_direction(lambda down, right: 6 * (down >= 0) + 2 * (right >= 0)),
            _faulty_direction(lambda down, right: 2 * (down > 0) + (right > 0)),
        ),
    ),
)


def _direction_case(rng: Generator) -> tuple[Any, ...]:
    head = apple = (0, 0)
    while head == apple:
        cells = rng.integers(10, size=(2, 2))
        if rng.random() < 0.3:  # level, or in line
            axis = int(rng.integers(2))
            cells[1, axis] = cells[0, axis]
        head, apple = tuple(cells[0].tolist()), tuple(cells[1].tolist())
    return head, apple


# What is next to the head, and how it goes wrong.


def _around(
    ages: Board, cell: tuple[int, int], moves: Any = MOVES, wall: int = WALL, turn: bool = False
) -> Numbers:
    """What lies in each direction from a cell: an age, or `wall` beyond the edge."""
    size, found = len(ages), []
    for down, right in moves:
        row, column = cell[0] + down, cell[1] + right
        inside = turn or (0 <= row < size and 0 <= column < size)
        found.append(int(ages[row % size, column % size]) if inside else wall)
    return np.array(found, np.int64)


def _cell_of(ages: Board, index: Any) -> tuple[int, int]:
    row, column = divmod(int(index), len(ages))
    return row, column


def _head(ages: Board) -> tuple[int, int]:
    return _cell_of(ages, ages.argmax())


def _is_blocked(found: Numbers) -> NDArray[np.bool_]:
    return found > TAIL


def _faulty_blocked(
    blocked: Callable[[Numbers], Any] = _is_blocked,
    centre: Callable[[Board], tuple[int, int]] = _head,
    **looking: Any,
) -> Function:
    """The four directions, any part of which may be put wrong."""
    return lambda ages: blocked(_around(ages, centre(ages), **looking)).astype(np.int64)


_blocked_directions = _faulty_blocked()
_OTHER_ORDERS = tuple(
    tuple(MOVES[direction] for direction in order)
    for order in ((0, 3, 2, 1), (3, 1, 0, 2), (0, 2, 3, 1), (0, 2, 1, 3), (3, 2, 0, 1))
)
_TURNED = tuple((right, down) for down, right in MOVES)

# Mistakes of looking around, which are the wrapper's too.
_LOOKING_WRONG: tuple[tuple[str, str, tuple[dict[str, Any], ...]], ...] = (
    (
        "free instead of blocked",
        "You say 1 where the snake can go; 1 is for a direction that is blocked.",
        ({"blocked": lambda found: ~_is_blocked(found)},),
    ),
    (
        "tail counted as blocked",
        "The end of the tail, of age 1, makes way in this very step: it does not block.",
        ({"blocked": lambda found: found >= TAIL},),
    ),
    (
        "apple counted as blocked",
        "The apple is -1 on the board, and in nobody's way.",
        (
            {"blocked": lambda found: _is_blocked(found) | (found == APPLE)},
            {"blocked": lambda found: found != 0},
        ),
    ),
    (
        "walls forgotten",
        "Beyond the edge of the board is a wall, and it blocks.",
        ({"wall": 0},),
    ),
    (
        "round the edge",
        "You look round the edge, at the other side of the board (in NumPy, index -1 is the last):"
        " beyond the edge is a wall.",
        (
            {"turn": True},
            {"turn": True, "blocked": lambda found: found >= TAIL},
        ),
    ),
    (
        "body forgotten",
        "You look for walls alone; the snake's own body blocks too, where its age is 2 or more.",
        ({"blocked": lambda found: found == WALL},),
    ),
    (
        "rows and columns exchanged",
        "Left and right change the column, down and up the row: ages[row, column]. Left comes"
        " first, up last.",
        ({"moves": _TURNED},),
    ),
    (
        "order of the directions",
        "The directions come in the order of the actions: left, down, right, up.",
        tuple({"moves": order} for order in _OTHER_ORDERS),
    ),
)
_BLOCKED_MISTAKES = (
    *(
        Mistake(name, hint, tuple(_faulty_blocked(**fault) for fault in faults))
        for name, hint, faults in _LOOKING_WRONG
    ),
    Mistake(
        "around the wrong cell",
        "Look around the head, whose age is the highest; not around the apple or the tail.",
        (
            _faulty_blocked(centre=lambda ages: _cell_of(ages, ages.argmin())),
            _faulty_blocked(centre=lambda ages: _cell_of(ages, (ages == TAIL).argmax())),
        ),
    ),
)


def _board(rng: Generator) -> Board:
    """A snake that went wherever there was room, and an apple."""
    size = int(rng.integers(4, 8))
    ages = np.zeros((size, size), np.int16)
    path = [_cell_of(ages, rng.integers(size * size))]
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


def _board_case(rng: Generator) -> tuple[Any, ...]:
    return (_board(rng),)


# How many cells can be reached, and how it goes wrong.


def _reached(
    ages: Board,
    row: int,
    column: int,
    *,
    free: Callable[[int], bool] = lambda age: age <= TAIL,
    moves: Any = MOVES,
    turn: bool = False,
    far: bool = True,
) -> int:
    """A flood fill, any part of which may be put wrong."""
    size = len(ages)
    seen, waiting = {(row, column)}, [(row, column)]
    while waiting:
        cell = waiting.pop()
        for (down, right), age in zip(moves, _around(ages, cell, moves, turn=turn), strict=True):
            there = (cell[0] + down) % size, (cell[1] + right) % size
            if free(int(age)) and there not in seen:
                seen.add(there)
                if far:
                    waiting.append(there)
    return len(seen)


def _faulty_room(more: int = 0, **faults: Any) -> Function:
    return lambda ages, row, column: _reached(ages, row, column, **faults) + more


_reachable_cells = _faulty_room()
_DIAGONALS = ((-1, -1), (-1, 1), (1, -1), (1, 1))

_ROOM_MISTAKES = (
    Mistake(
        "off by one",
        "The cell that you start from is one of those that can be reached: count it, once.",
        (_faulty_room(more=-1), _faulty_room(more=1)),
    ),
    Mistake(
        "diagonals",
        "A snake does not move diagonally: a cell has four neighbours.",
        (_faulty_room(moves=(*MOVES, *_DIAGONALS)),),
    ),
    Mistake(
        "round the edge",
        "You go round the edge, to the other side of the board (in NumPy, index -1 is the last):"
        " beyond the edge is a wall.",
        (_faulty_room(turn=True),),
    ),
    Mistake(
        "tail counted as blocked",
        "The end of the tail, of age 1, makes way: it can be reached, and gone through.",
        (_faulty_room(free=lambda age: age < TAIL),),
    ),
    Mistake(
        "apple counted as blocked",
        "The apple is -1 on the board, and in nobody's way.",
        (
            _faulty_room(free=lambda age: 0 <= age <= TAIL),
            _faulty_room(free=lambda age: age == 0),
        ),
    ),
    Mistake(
        "neighbours only",
        "You stop after the cells next to the start; go on from each of them.",
        (_faulty_room(far=False), _faulty_room(far=False, more=-1)),
    ),
    Mistake(
        "cells out of reach counted",
        "You count cells that the body cuts off; go from neighbour to neighbour.",
        (
            lambda ages, row, column: int((ages <= TAIL).sum()),
            lambda ages, row, column: int((ages < TAIL).sum()),
        ),
    ),
    Mistake(
        "body walked through",
        "You walk through the body: a cell of age 2 or more is blocked.",
        (
            _faulty_room(free=lambda age: age < WALL),
            lambda ages, row, column: ages.size,
        ),
    ),
)


def _room_case(rng: Generator) -> tuple[Any, ...]:
    ages = _board(rng)
    row, column = rng.choice(np.argwhere(ages <= TAIL)).tolist()
    return ages, row, column


# Digits to a number and back, and how it goes wrong.


def _weights(bases: Numbers) -> Numbers:
    """What each digit counts: the product of the bases before it."""
    return np.concatenate([[1], np.cumprod(bases[:-1])]).astype(np.int64)


def _encode_digits(digits: Numbers, bases: Numbers) -> int:
    return int(digits @ _weights(bases))


def _decode_digits(number: int, bases: Numbers) -> Numbers:
    return number // _weights(bases) % bases


def _one_base(bases: Numbers) -> Numbers:
    return bases[0] ** np.arange(len(bases))


def _own_base(bases: Numbers) -> Numbers:
    return bases ** np.arange(len(bases))


_ONE_BASE_HINT = (
    "You use powers of one base; a digit counts the product of all the bases before its own."
)
_REVERSED_HINT = "The first digit counts ones: it is the one that changes fastest, not the last."

_ENCODE_MISTAKES = (
    Mistake(
        "digits reversed",
        _REVERSED_HINT,
        (
            lambda digits, bases: _encode_digits(digits[::-1], bases[::-1]),
            lambda digits, bases: _encode_digits(digits[::-1], bases),
        ),
    ),
    Mistake(
        "off by one",
        "You multiply by a digit's own base as well; it counts the product of those before it.",
        (lambda digits, bases: int(digits @ np.cumprod(bases)),),
    ),
    Mistake(
        "one base for all",
        _ONE_BASE_HINT,
        (
            lambda digits, bases: int(digits @ _one_base(bases)),
            lambda digits, bases: int(digits @ _own_base(bases)),
            lambda digits, bases: int(digits @ 3 ** np.arange(len(bases))),
            lambda digits, bases: int(digits @ 10 ** np.arange(len(bases))),
        ),
    ),
    Mistake(
        "weights dropped",
        "You add the digits as they are, and different digits get the same number.",
        (lambda digits, bases: int(digits.sum()),),
    ),
    Mistake(
        "bases instead of their products",
        "You multiply each digit by one base; it counts the product of all the bases before it.",
        (
            lambda digits, bases: int(digits @ bases),
            lambda digits, bases: int(digits @ np.concatenate([[1], bases[:-1]])),
        ),
    ),
    Mistake(
        "digit dropped",
        "You leave out the first or the last digit.",
        (
            lambda digits, bases: _encode_digits(digits[:-1], bases[:-1]),
            lambda digits, bases: int(digits[1:] @ _weights(bases)[1:]),
        ),
    ),
)
_DECODE_MISTAKES = (
    Mistake(
        "digits reversed",
        _REVERSED_HINT,
        (
            lambda number, bases: _decode_digits(number, bases[::-1])[::-1].copy(),
            lambda number, bases: _decode_digits(number, bases)[::-1].copy(),
        ),
    ),
    Mistake(
        "off by one",
        "You divide once too often: the first digit is what remains of the number itself.",
        (lambda number, bases: number // np.cumprod(bases) % bases,),
    ),
    Mistake(
        "one base for all",
        _ONE_BASE_HINT,
        (
            lambda number, bases: number // _one_base(bases) % bases[0],
            lambda number, bases: number // _own_base(bases) % bases,
            lambda number, bases: number // _one_base(bases) % bases,
        ),
    ),
    Mistake(
        "remainder forgotten",
        "You divide, and forget to take the remainder: a digit is smaller than its base.",
        (lambda number, bases: number // _weights(bases),),
    ),
    Mistake(
        "division forgotten",
        "You take the remainder of the whole number each time; first divide by what has been read.",
        (lambda number, bases: number % bases,),
    ),
    Mistake(
        "remainder and quotient exchanged",
        "The digit is the remainder, and the quotient is what you go on with.",
        (lambda number, bases: number % (_weights(bases) * bases) // bases,),
    ),
)


def _encode_case(rng: Generator) -> tuple[Any, ...]:
    bases = rng.integers(2, 10, size=int(rng.integers(2, 7)))
    return rng.integers(bases), bases


def _decode_case(rng: Generator) -> tuple[Any, ...]:
    digits, bases = _encode_case(rng)
    return _encode_digits(digits, bases), bases


# Shaped rewards, and how they go wrong.


def _shaped_rewards(rewards: Table, potentials: Table, gamma: float, terminated: bool) -> Table:
    return rewards + gamma * _nothing_at_the_end(potentials, terminated)[1:] - potentials[:-1]


def _nothing_at_the_end(potentials: Table, terminated: bool) -> Table:
    """Where the episode terminated, the potential of where it led is 0."""
    return np.append(potentials[:-1], 0.0 if terminated else potentials[-1])


def _without_last_reward(rewards: Table, terminated: bool) -> Table:
    return np.append(rewards[:-1], 0.0 if terminated else rewards[-1])


_SHAPING_MISTAKES = (
    Mistake(
        "discount dropped",
        "You leave gamma out: it multiplies the potential of where the step led.",
        (lambda r, p, gamma, end: _shaped_rewards(r, p, 1.0, end),),
    ),
    Mistake(
        "potential of a terminal state",
        "You count the potential of where a terminated episode led; nothing follows there, so it is"
        " 0.",
        (lambda r, p, gamma, end: _shaped_rewards(r, p, gamma, False),),
    ),
    Mistake(
        "truncated taken for terminated",
        "You set the last potential to 0 although the episode was only truncated; the world would"
        " have gone on.",
        (lambda r, p, gamma, end: _shaped_rewards(r, p, gamma, True),),
    ),
    Mistake(
        "every step taken for the last",
        "You set the next potential to 0 in every step of a terminated episode; only its last step"
        " led to the end.",
        (lambda r, p, gamma, end: r + gamma * (1 - end) * p[1:] - p[:-1],),
    ),
    Mistake(
        "sign",
        "F is gamma times the next potential minus the present one. Yours has a minus too many.",
        (
            lambda r, p, gamma, end: 2 * r - _shaped_rewards(r, p, gamma, end),
            lambda r, p, gamma, end: r + _nothing_at_the_end(p, end)[1:] - gamma * p[:-1],
            lambda r, p, gamma, end: r + p[:-1] + gamma * _nothing_at_the_end(p, end)[1:],
        ),
    ),
    Mistake(
        "off by one",
        "Step t led from potentials[t] to potentials[t + 1]; yours uses those of another step.",
        (
            lambda r, p, gamma, end: r + gamma * p[:-1] - _nothing_at_the_end(p, end)[1:],
            lambda r, p, gamma, end: r + gamma * p[:-1] - np.append(p[0], p[:-2]),
            lambda r, p, gamma, end: r + gamma * p[:-1] - np.append(0.0, p[:-2]),
        ),
    ),
    Mistake(
        "potential paid out",
        "You pay the potential itself, for as long as the snake stays; pay only for its change.",
        (
            lambda r, p, gamma, end: r + p[1:],
            lambda r, p, gamma, end: r + _nothing_at_the_end(p, end)[1:],
            lambda r, p, gamma, end: r + gamma * p[1:],
            lambda r, p, gamma, end: r + gamma * _nothing_at_the_end(p, end)[1:],
            lambda r, p, gamma, end: r + p[:-1],
        ),
    ),
    Mistake(
        "reward dropped",
        "You return F alone; it is added to the reward.",
        (lambda r, p, gamma, end: _shaped_rewards(0 * r, p, gamma, end),),
    ),
    Mistake(
        "last reward dropped",
        "You make the whole reward of a terminated step 0; only the potential after it is.",
        (
            lambda r, p, gamma, end: _shaped_rewards(_without_last_reward(r, end), p, gamma, end),
            lambda r, p, gamma, end: _without_last_reward(_shaped_rewards(r, p, gamma, end), end),
        ),
    ),
)


def _shaping_case(rng: Generator) -> tuple[Any, ...]:
    steps = int(rng.integers(2, 7))
    return (
        rng.choice([0.0, 0.0, 1.0, -1.0], steps),
        rng.normal(size=steps + 1).round(3),
        float(rng.choice([0.5, 0.9, 0.95])),
        bool(rng.random() < 0.5),
    )


# A wrapper around Snake, and how it goes wrong.

VIEWS = 9 * 2**4
_ROW = ("observation", "reward", "terminated")


def _view_number(blocked: Numbers, apple: int) -> int:
    return int(_encode_digits(np.append(blocked, apple), np.array([2, 2, 2, 2, 9])))


def _apple_of(ages: Board) -> int:
    return _apple_direction(_head(ages), _cell_of(ages, (ages == APPLE).argmax()))


def _view(
    number: Callable[[Numbers, int], Any] = _view_number,
    apple: Callable[[Board], int] = _apple_of,
    late: bool = False,
    **looking: Any,
) -> Function:
    """A function that makes the wrapper of `snake_view`, any part of which may be put wrong."""

    def make_view(env: Any) -> Any:
        import gymnasium

        class View(gymnasium.ObservationWrapper[Any, Any, Any]):
            board: Any = None

            def __init__(self, env: Any) -> None:
                super().__init__(env)
                self.observation_space = gymnasium.spaces.Discrete(VIEWS)

            def observation(self, ages: Board) -> Any:
                seen = ages if self.board is None or not late else self.board
                self.board = ages.copy()
                return number(_faulty_blocked(**looking)(seen), apple(seen))

        return View(env)

    return make_view


_VIEW_MISTAKES = (
    *(
        Mistake(name, hint, tuple(_view(**fault) for fault in faults))
        for name, hint, faults in _LOOKING_WRONG
    ),
    Mistake(
        "apple forgotten",
        "Your number does not say where the apple lies: add 16 times its direction.",
        (_view(number=lambda blocked, apple: _view_number(blocked, 0)),),
    ),
    Mistake(
        "digits reversed",
        "Left counts 1, down 2, right 4 and up 8, and the apple's direction 16.",
        (
            _view(number=lambda blocked, apple: 9 * _view_number(blocked, 0) + apple),
            _view(number=lambda blocked, apple: 9 * _view_number(blocked[::-1], 0) + apple),
        ),
    ),
    Mistake(
        "apple on the wrong side",
        "The apple's direction is 3 * (above 0, level 1, below 2) + (left 0, in line 1, right 2),"
        " as in apple_direction.",
        (
            _view(apple=lambda ages: 8 - _apple_of(ages)),
            _view(apple=lambda ages: _apple_of(ages.T)),
        ),
    ),
    Mistake(
        "one step late",
        "You show the board as it was before the step; use the one that you are given.",
        (_view(late=True),),
    ),
)


def _view_case(rng: Generator) -> tuple[Any, ...]:
    """A size, a seed, and the actions of two games.

    The player goes for the apples, for only a snake that has grown meets the end of its own tail.
    """
    import gymnasium

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
    down, right = np.sign(_offset(_head(ages), _cell_of(ages, (ages == APPLE).argmax())))
    towards = np.array([-right, down, right, -down]) + rng.random(4)
    return int(np.argmax(np.where(_blocked_directions(ages), -np.inf, towards)))


@dataclass(frozen=True)
class ViewExercise(Exercise):
    """The solution is a callable that wraps a Snake whose observations are ages."""

    def run(self, function: Function, case: tuple[Any, ...]) -> Outcome:
        """Play the games: a row (obs, reward, terminated) a step; a reset's has NaN."""
        import gymnasium

        size, seed, games = case
        rows: list[tuple[float, float, float]] = []
        try:
            env = function(gymnasium.make("rlbook/Snake-v0", size=size))
            for game, actions in enumerate(games):
                obs, _ = env.reset(seed=seed if game == 0 else None)
                rows.append((float(obs), np.nan, np.nan))
                for action in actions:
                    obs, reward, terminated, _, _ = env.step(action)
                    rows.append((float(obs), float(reward), bool(terminated)))
        except Exception as error:
            return Outcome(np.array(rows), error=error)
        return Outcome(np.array(rows))

    def difference(self, case: tuple[Any, ...], expected: Outcome, got: Outcome) -> str | None:
        """Where `got` leaves the right way for the first time, and the board there."""
        rows = zip(expected.returned, got.returned, strict=False)
        for moment, (right, row) in enumerate(rows):
            for name, wanted, found in zip(_ROW, right, row, strict=True):
                if not np.array_equal(wanted, found, equal_nan=True):
                    what = f"{name} should be {wanted:g}; yours is {found:g}"
                    return f"{what}, where the ages are\n{_board_at(case, moment)}"
        if got.error is not None:
            raised = f"{type(got.error).__name__}: {got.error}"
            return f"your wrapper raised {raised}, where the ages are\n" + _board_at(
                case, len(got.returned)
            )
        return None

    def inspect(self, function: Function) -> str | None:
        """Whether it is an environment, and says what it shows."""
        import gymnasium

        try:
            env = function(gymnasium.make("rlbook/Snake-v0"))
        except Exception:
            return None  # the cases tell
        if not isinstance(env, gymnasium.Env):
            return f"this makes a {type(env).__name__}, not a gymnasium.Env"
        space, right = env.observation_space, gymnasium.spaces.Discrete(VIEWS)
        if space != right:
            return f"observation_space should be {right}; yours is {space}"
        return None


def _board_at(case: tuple[Any, ...], moment: int) -> str:
    """The board after so many resets and steps."""
    import gymnasium

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


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        FunctionExercise(
            "apple_direction",
            "(head, apple) -> number",
            _apple_direction,
            _direction_case,
            _DIRECTION_MISTAKES,
        ),
        FunctionExercise(
            "blocked_directions",
            "(ages) -> blocked",
            _blocked_directions,
            _board_case,
            _BLOCKED_MISTAKES,
        ),
        FunctionExercise(
            "reachable_cells",
            "(ages, row, column) -> number",
            _reachable_cells,
            _room_case,
            _ROOM_MISTAKES,
        ),
        FunctionExercise(
            "encode_digits",
            "(digits, bases) -> number",
            _encode_digits,
            _encode_case,
            _ENCODE_MISTAKES,
        ),
        FunctionExercise(
            "decode_digits",
            "(number, bases) -> digits",
            _decode_digits,
            _decode_case,
            _DECODE_MISTAKES,
        ),
        FunctionExercise(
            "shaped_rewards",
            "(rewards, potentials, gamma, terminated) -> shaped",
            _shaped_rewards,
            _shaping_case,
            _SHAPING_MISTAKES,
        ),
        ViewExercise(
            "snake_view",
            "(env) -> environment",
            _view(),
            _view_case,
            _VIEW_MISTAKES,
            num_cases=20,
        ),
    )
}
