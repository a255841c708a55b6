"""Chapter 04: its checkers, and its numbered equations written out against the library."""

from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from checking import message_of

from rlbook.algorithms.q_learning import q_learning_update
from rlbook.check.snake import EXERCISES, board_at
from rlbook_envs import snake

# Solutions, each written in another way than the reference.


def my_apple_direction(head, apple):
    above_level_below = 0 if apple[0] < head[0] else 1 if apple[0] == head[0] else 2
    left_line_right = 0 if apple[1] < head[1] else 1 if apple[1] == head[1] else 2
    return 3 * above_level_below + left_line_right


def my_blocked_directions(ages):
    row, column = np.unravel_index(ages.argmax(), ages.shape)
    framed = np.pad(ages, 1, constant_values=2)
    left, right = framed[row + 1, [column, column + 2]]
    up, down = framed[[row, row + 2], column + 1]
    return np.array([int(age > 1) for age in (left, down, right, up)])


def my_reachable_cells(ages, row, column):
    free = ages <= 1
    reached = np.zeros_like(free)
    reached[row, column] = True
    while True:
        spread = reached.copy()
        spread[1:] |= reached[:-1]
        spread[:-1] |= reached[1:]
        spread[:, 1:] |= reached[:, :-1]
        spread[:, :-1] |= reached[:, 1:]
        spread &= free
        if (spread == reached).all():
            return int(reached.sum())
        reached = spread


def my_encode_digits(digits, bases):
    number = 0
    for digit, base in zip(digits[::-1].tolist(), bases[::-1].tolist(), strict=True):
        number = number * base + digit
    return number


def my_decode_digits(number, bases):
    digits = []
    for base in bases.tolist():
        number, digit = divmod(number, base)
        digits.append(digit)
    return np.array(digits)


def my_shaped_rewards(rewards, potentials, gamma, terminated):
    shaped = np.zeros_like(rewards)
    for t in range(len(rewards)):
        ends = terminated and t == len(rewards) - 1
        shaped[t] = rewards[t] - potentials[t] + (0.0 if ends else gamma * potentials[t + 1])
    return shaped


class MyView(gymnasium.ObservationWrapper):
    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Discrete(144)

    def observation(self, ages):
        head = np.unravel_index(ages.argmax(), ages.shape)
        apple = np.unravel_index((ages == -1).argmax(), ages.shape)
        digits = np.append(my_blocked_directions(ages), my_apple_direction(head, apple))
        return my_encode_digits(digits, np.array([2, 2, 2, 2, 9]))


SOLUTIONS = {
    "apple_direction": my_apple_direction,
    "blocked_directions": my_blocked_directions,
    "reachable_cells": my_reachable_cells,
    "encode_digits": my_encode_digits,
    "decode_digits": my_decode_digits,
    "shaped_rewards": my_shaped_rewards,
    "snake_view": MyView,
}


def test_cases_hold_what_is_easily_got_wrong():
    boards = [ages for (ages,) in EXERCISES["blocked_directions"].cases]
    for ages in boards:
        length = int(ages.max())
        assert sorted(ages[ages > 0].tolist()) == list(range(1, length + 1)), "one snake"
        assert (ages == -1).sum() == (length < ages.size), "and an apple"
        path = [np.argwhere(ages == age)[0] for age in range(1, length + 1)]
        assert (np.abs(np.diff(path, axis=0)).sum(axis=1) == 1).all(), "each next to the one before"
    rooms = EXERCISES["reachable_cells"].cases
    cut_off = [my_reachable_cells(*case) < (case[0] <= 1).sum() for case in rooms]
    assert 0.2 < np.mean(cut_off) < 0.8
    directions = {my_apple_direction(*case) for case in EXERCISES["apple_direction"].cases}
    assert directions == set(range(9)) - {4}
    ends = [case[3] for case in EXERCISES["shaped_rewards"].cases]
    assert {True, False} == set(ends)


# What else the messages say.


def test_a_number_that_is_not_one():
    text = message_of("blocked_directions", lambda ages: my_blocked_directions(ages) == 1)
    assert "it should return int64 of shape (4,)" in text
    text = message_of("reachable_cells", lambda ages, row, column: None)
    assert "returns None; it should return a number. Is there a `return`?" in text


def test_a_view_that_is_wrong_in_a_way_of_its_own():
    class Shy(MyView):
        def observation(self, ages):
            number = super().observation(ages)
            return 0 if ages.max() > 3 else number

    text = message_of("snake_view", Shy)
    assert "observation should be " in text
    assert "yours is 0, where the ages are\n[[" in text

    class Generous(MyView):
        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, reward + 0.5, *rest

    assert "reward should be 0; yours is 0.5, where the ages are" in message_of(
        "snake_view", Generous
    )


def test_the_board_in_a_message_is_the_one_that_was_shown():
    exercise = EXERCISES["snake_view"]
    case = exercise.cases[0]
    games = case[2]
    shown = []

    class Noting(MyView):
        def observation(self, ages):
            shown.append(str(ages))
            return super().observation(ages)

    exercise.run(Noting, case)
    assert len(shown) == sum(1 + len(actions) for actions in games)
    assert [board_at(case, moment) for moment in range(len(shown))] == shown


def test_a_view_of_the_wrong_kind():
    class Wide(MyView):
        def __init__(self, env):
            super().__init__(env)
            self.observation_space = gymnasium.spaces.Discrete(729)

    assert "observation_space should be Discrete(144); yours is Discrete(729)" in message_of(
        "snake_view", Wide
    )
    assert "this makes a list, not a gymnasium.Env" in message_of("snake_view", lambda env: [env])
    assert "your wrapper raised ZeroDivisionError" in message_of("snake_view", lambda env: 1 / 0)

    class BoardsInstead(MyView):
        def observation(self, ages):
            return ages

    assert "your wrapper raised TypeError" in message_of("snake_view", BoardsInstead)


# The numbered equations of the chapter, on random boards.


def random_states(number, size):
    """States of Snake as a player meets them who is blind, but rarely runs into anything."""
    rng = np.random.default_rng(size)
    env = gymnasium.make("rlbook/Snake-v0", size=size)
    ages, _ = env.reset(seed=size)
    for _ in range(number):
        yield env.unwrapped.state, ages
        choices = np.flatnonzero(my_blocked_directions(ages) == 0)
        action = rng.choice(choices) if len(choices) else 0
        ages, _, terminated, truncated, _ = env.step(int(action))
        if terminated or truncated:
            ages, _ = env.reset()


def feature_digits(ages):
    """d_0 … d_3 and k of equation 4.1."""
    head = np.unravel_index(ages.argmax(), ages.shape)
    apple = np.unravel_index((ages == -1).argmax(), ages.shape)
    tail = np.unravel_index((ages == 1).argmax(), ages.shape)
    digits = []
    for blocked, (down, right) in zip(
        my_blocked_directions(ages), [(0, -1), (1, 0), (0, 1), (-1, 0)], strict=True
    ):
        if blocked:
            digits.append(0)
            continue
        there = head[0] + down, head[1] + right
        enough = my_reachable_cells(ages, *there) >= ages.max()
        without_tail = ages.copy()
        without_tail[tail] = 2
        meets_tail = there == tail or (
            my_reachable_cells(without_tail, *there) < my_reachable_cells(ages, *there)
        )
        digits.append(2 if enough or meets_tail else 1)
    return digits, my_apple_direction(head, apple)


@pytest.mark.parametrize("size", [4, 5, 7])
def test_equation_4_1(size):
    met = set()
    for state, ages in random_states(400, size):
        digits, k = feature_digits(ages)
        number = sum(3**a * digits[a] for a in range(4)) + 81 * k
        assert snake.observe_features(snake.Game(size), state) == number
        met.update(digits)
    assert met == {0, 1, 2}, "blocked, a trap and open: all of them occur"


def test_equation_4_1_by_pencil():
    ages = np.array([[-1, 0, 7, 0], [4, 5, 6, 0], [3, 2, 1, 0], [0, 0, 0, 0]], np.int16)
    state = np.append(ages.ravel(), [2, 7]).astype(np.int16)
    assert feature_digits(ages) == ([1, 0, 2, 0], 3)
    assert snake.observe_features(snake.Game(4), state) == 262


def test_equation_4_2():
    rng = np.random.default_rng(2)
    states = [state for state, _ in random_states(60, 5)]
    phi = [int(snake.observe_features(snake.Game(5), state)) for state in states]
    for now, then in pairwise(phi):
        q = rng.normal(size=(729, 4))
        action, terminated = int(rng.integers(4)), bool(rng.random() < 0.3)
        r, alpha, gamma = rng.normal(), rng.uniform(0.1, 1), rng.uniform(0.5, 1)
        next_value = 0.0 if terminated else max(q[then, b] for b in range(4))
        right = q[now, action] + alpha * (r + gamma * next_value - q[now, action])
        before = q.copy()
        q_learning_update(q, now, action, r, then, terminated, alpha, gamma)
        assert q[now, action] == pytest.approx(right)
        assert (q != before).sum() <= 1


def test_equation_4_3():
    shaped_rewards = EXERCISES["shaped_rewards"].reference
    rng = np.random.default_rng(3)
    for terminated in (False, True):
        r, phi, gamma = rng.normal(size=6), rng.normal(size=7), rng.uniform(0.5, 1)
        after = [*phi[1:-1], 0.0 if terminated else phi[-1]]
        right = [r[t] + (gamma * after[t] - phi[t]) for t in range(6)]
        np.testing.assert_allclose(shaped_rewards(r, phi, gamma, terminated), right)


def test_shaping_moves_every_return_by_the_same_potential():
    """What makes it harmless: from t on, the discounted F add up to -Φ(s_t)."""
    rng = np.random.default_rng(4)
    r, phi, gamma = rng.normal(size=6), rng.normal(size=7), 0.9
    shaped = EXERCISES["shaped_rewards"].reference(r, phi, gamma, True)
    for t in range(6):
        discounts = gamma ** np.arange(6 - t)
        assert discounts @ shaped[t:] == pytest.approx(discounts @ r[t:] - phi[t])


# That the chapter's own pair of boards is what it says.


def test_two_boards_with_one_feature_and_two_right_ways():
    path = [(1, 2), (1, 1), (2, 1), (3, 1), (4, 1), (4, 2), (4, 3), (4, 4), (5, 4)]
    numbers = []
    for mirror in (False, True):
        ages = np.zeros((6, 6), np.int16)
        for age, (row, column) in enumerate(path, start=1):
            ages[row, 5 - column if mirror else column] = age
        ages[1, 1 if mirror else 4] = -1
        head = 31 if mirror else 34
        state = np.append(ages.ravel(), [head, 9]).astype(np.int16)
        numbers.append(snake.observe_features(snake.Game(6), state))
    assert numbers == [101, 101]
