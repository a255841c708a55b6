"""Tests of Snake: examples by hand, a second implementation, and all four observations."""

import json
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlbook_envs import snake
from rlbook_envs.snake import DOWN, LEFT, RIGHT, UP
from rlbook_envs.streams import (
    random_bits,
    reset_key,
    step_key,
    stream_key,
    uniform,
)

ID = "rlbook/Snake-v0"
VIEWS = ("ages", "kinds", "features", "window")


def state_of(body, apple=None, size=4):
    """The state in which the snake lies on these cells (row, column), from tail to head."""
    state = np.zeros(size * size + 2, np.int16)
    for age, (row, column) in enumerate(body, 1):
        state[row * size + column] = age
    if apple is not None:
        state[apple[0] * size + apple[1]] = snake.APPLE
    state[-2], state[-1] = body[-1][0] * size + body[-1][1], len(body)
    return state


def board(state):
    size = int(np.sqrt(len(state) - 2))
    return state[:-2].reshape(size, size).tolist()


def move(state, action, key=0):
    size = int(np.sqrt(len(state) - 2))
    return snake.step(snake.Game(size), state, action, random_bits(np.uint64(key), 0))


def test_it_moves():
    state, reward, terminated = move(state_of([(1, 0), (1, 1), (1, 2)], (3, 3)), DOWN)
    assert board(state) == [[0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 3, 0], [0, 0, 0, -1]]
    assert (reward, terminated, state[-2], state[-1]) == (0.0, False, 10, 3)


def test_it_eats_and_grows_and_there_is_a_new_apple():
    state, reward, terminated = move(state_of([(1, 0), (1, 1), (1, 2)], (1, 3)), RIGHT)
    found = np.array(board(state))
    assert found[1].tolist() == [1, 2, 3, 4]
    assert (reward, terminated, state[-1]) == (1.0, False, 4)
    assert (found == snake.APPLE).sum() == 1


@pytest.mark.parametrize(
    ("body", "action"),
    [
        ([(0, 0), (0, 1), (0, 2)], UP),  # the wall
        ([(3, 0), (3, 1), (3, 2)], DOWN),
        ([(1, 2), (1, 1), (1, 0)], LEFT),
        ([(1, 1), (1, 2), (1, 3)], RIGHT),
        ([(1, 0), (1, 1), (1, 2)], LEFT),  # straight back
        ([(0, 0), (0, 1), (0, 2), (1, 2), (1, 1)], UP),  # its own side
    ],
)
def test_it_dies(body, action):
    before = state_of(body, (3, 3))
    state, reward, terminated = move(before.copy(), action)
    assert (reward, terminated) == (-1.0, True)
    assert board(state) == board(before)  # the board stays as it was
    again, reward, terminated = move(state.copy(), DOWN)
    assert (reward, terminated) == (0.0, True) and np.array_equal(again, state)


def test_it_may_follow_the_end_of_its_tail():
    ring = [(0, 1), (0, 0), (1, 0), (1, 1)]
    state, reward, terminated = move(state_of(ring, (3, 3)), UP)
    assert (reward, terminated) == (0.0, False)
    assert board(state)[:2] == [[1, 4, 0, 0], [2, 3, 0, 0]]


def full_but_one():
    rows = [
        (row, column if row % 2 == 0 else 3 - column) for row in range(4) for column in range(4)
    ]
    return state_of(rows[:-1], rows[-1])


def test_filling_the_board_is_the_end_and_pays():
    state, reward, terminated = move(full_but_one(), LEFT)
    assert (reward, terminated, state[-1]) == (1.0, True, 16)
    assert snake.APPLE not in state[:-2]


def test_apples_fall_on_every_free_cell_alike():
    body = [(1, 0), (1, 1), (1, 2)]
    counts = np.zeros(16)
    for key in range(12_000):
        state, _, _ = move(state_of(body, (1, 3)), RIGHT, key)
        counts[state[:-2] == snake.APPLE] += 1
    free = np.array([cell for cell in range(16) if not 4 <= cell < 8])
    assert counts.sum() == counts[free].sum() == 12_000
    assert ((counts[free] - 1000) ** 2 / 1000).sum() < 37.4  # 11 degrees; once in ten thousand


class PlainSnake:
    """The same game with a list of cells, as one would write it without NumPy."""

    def __init__(self, size, key, counter):
        self.size, middle = size, size // 2
        self.body = [(middle, middle - 2), (middle, middle - 1), (middle, middle)]
        self.put_apple(reset_key(key, counter))

    def put_apple(self, key):
        tries = 0
        while True:
            cell = int(uniform(random_bits(key, tries)) * self.size**2)
            self.apple = divmod(cell, self.size)
            if self.apple not in self.body:
                return
            tries += 1

    def step(self, action, key):
        down, right = {LEFT: (0, -1), DOWN: (1, 0), RIGHT: (0, 1), UP: (-1, 0)}[action]
        head = (self.body[-1][0] + down, self.body[-1][1] + right)
        if not all(0 <= place < self.size for place in head) or head in self.body[1:]:
            return -1.0, True
        self.body.append(head)
        if head != self.apple:
            self.body.pop(0)
            return 0.0, False
        if len(self.body) == self.size**2:
            return 1.0, True
        self.put_apple(key)
        return 1.0, False


@pytest.mark.parametrize("size", [4, 7])
def test_it_is_the_game_that_another_program_plays(size):
    env, rng = snake.make_env(size=size), np.random.default_rng(size)
    obs, _ = env.reset(seed=11)
    key = stream_key(11, 0, 0)
    plain, longest = PlainSnake(size, key, 0), 0
    for counter in range(4000):
        assert np.array_equal(
            obs, np.reshape(state_of(plain.body, plain.apple, size)[:-2], obs.shape)
        )
        # Towards the apple as a rule, so that it gets somewhere.
        (row, column), (down, right) = plain.body[-1], plain.apple
        towards = DOWN if down > row else UP if down < row else RIGHT if right > column else LEFT
        action = towards if rng.random() < 0.8 else int(rng.integers(4))
        obs, reward, terminated, truncated, _ = env.step(action)
        assert (reward, terminated) == plain.step(action, step_key(key, counter)) and not truncated
        longest = max(longest, len(plain.body))
        if terminated:
            obs, _ = env.reset()
            plain = PlainSnake(size, key, counter + 1)
    assert longest >= 8


@pytest.mark.parametrize("view", VIEWS)
def test_compiled_rules_equal_the_python_rules(view):
    world = snake.snake(size=6, observation=view)
    envs = snake.make_vector_env(num_envs=3, size=6, observation=view)
    rng = np.random.default_rng(0)
    obs, _ = envs.reset(seed=2)
    keys = [stream_key(2, 0, row) for row in range(3)]
    states, counters = [snake.reset(world.params, reset_key(key, 0)) for key in keys], [0, 0, 0]
    ended = [False] * 3
    for _ in range(400):
        for row, state in enumerate(states):
            assert np.array_equal(obs[row], see(world, state))
        actions = rng.integers(4, size=3)
        obs, *_ = envs.step(actions)
        for row in range(3):
            if ended[row]:
                states[row] = snake.reset(world.params, reset_key(keys[row], counters[row]))
                ended[row] = False
            else:
                key = step_key(keys[row], counters[row])
                states[row], _, ended[row] = snake.step(
                    world.params, states[row], int(actions[row]), key
                )
                counters[row] += 1


def see(world, state):
    if isinstance(world.space, gymnasium.spaces.Discrete):
        return int(world.observe(world.params, state))
    out = np.zeros(world.space.shape, world.space.dtype)
    world.observe(world.params, state, out.reshape(-1))
    return out


def test_ages_tell_the_way_of_the_body():
    env = gymnasium.make(ID, size=6)
    rng = np.random.default_rng(1)
    obs, _ = env.reset(seed=0)
    for _ in range(500):
        length = int((obs > 0).sum())
        cells = [tuple(np.argwhere(obs == age)[0]) for age in range(1, length + 1)]
        steps = [abs(a - c) + abs(b - d) for (a, b), (c, d) in pairwise(cells)]
        assert set(steps) == {1} and (obs == -1).sum() == 1
        obs, _, terminated, truncated, _ = env.step(int(rng.integers(4)))
        if terminated or truncated:
            obs, _ = env.reset()


def test_kinds_are_the_ages_made_coarse():
    body = [(0, 0), (0, 1), (1, 1), (1, 2)]
    kinds = see(snake.snake(4, "kinds"), state_of(body, (3, 0)))
    assert kinds.tolist() == [[1, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0], [3, 0, 0, 0]]
    assert kinds.dtype == np.int8


def features(body, apple, size=4):
    code = see(snake.snake(size, "features"), state_of(body, apple, size))
    directions = [code // 3**action % 3 for action in range(4)]
    return directions, code // 81


B, T, O = snake.BLOCKED, snake.TRAP, snake.OPEN  # noqa: E741


def test_features_by_hand():
    # Directions: left, down, right, up. The apple: 3 times 0 above, 1 level, 2 below; and 0 to the
    # left, 1 in line, 2 to the right.
    assert features([(1, 0), (1, 1), (1, 2)], (3, 3)) == ([B, O, O, O], 3 * 2 + 2)
    assert features([(1, 2), (1, 1), (1, 0)], (0, 0)) == ([B, O, B, O], 3 * 0 + 1)
    assert features([(0, 1), (0, 2), (0, 3)], (0, 0)) == ([B, O, B, B], 3 * 1 + 0)
    # A pocket of two cells in the corner: the snake does not fit, and its tail is elsewhere.
    pocket = [(3, 2), (3, 1), (2, 1), (1, 1), (1, 0)]
    assert features(pocket, (3, 3))[0] == [B, T, B, O]
    closed = [(3, 0), (3, 1), (2, 1), (1, 1), (0, 1), (0, 2), (1, 2), (2, 2), (2, 3), (1, 3)]
    assert features(closed, (3, 3))[0] == [B, B, B, T]
    # The room is as small, but the end of the tail is there, and makes way.
    tail = [(0, 3), *closed[1:]]
    assert features(tail, (3, 3))[0] == [B, B, B, O]


def test_window_by_hand():
    body = [(0, 0), (0, 1), (0, 2)]
    code = see(snake.snake(4, "window"), state_of(body, (1, 3)))
    digits, direction = code // 9, code % 9
    seen = [digits // 3**place % 3 for place in range(23, -1, -1)]
    assert direction == 3 * 2 + 2
    assert seen == [
        2, 2, 2, 2, 2,
        2, 2, 2, 2, 2,
        2, 2,    0, 2,
        0, 0, 0, 1, 2,
        0, 0, 0, 0, 2,
    ]  # fmt: skip


def test_views_stay_within_their_spaces():
    rng = np.random.default_rng(0)
    for view in VIEWS:
        envs = snake.make_vector_env(50, 1000, size=5, observation=view)
        obs, _ = envs.reset(seed=1)
        for _ in range(200):
            assert all(envs.single_observation_space.contains(one) for one in obs)
            obs, *_ = envs.step(rng.integers(4, size=50))


def test_a_snake_that_wanders_is_cut_short_and_does_not_die():
    env = gymnasium.make(ID)
    env.reset(seed=3)
    around, steps = [UP, LEFT, DOWN, RIGHT], 0
    while True:
        _, reward, terminated, truncated, _ = env.step(around[steps % 4])
        steps += 1
        if terminated or truncated:
            break
        assert reward == 0.0
    assert (steps, terminated, truncated) == (1000, False, True)


@pytest.mark.parametrize("view", VIEWS)
def test_made_by_gymnasium(view):
    check_env(gymnasium.make(ID, observation=view).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("view", VIEWS)
def test_the_state_survives_a_file(view):
    env, other = (snake.make_env(observation=view) for _ in range(2))
    env.reset(seed=5)
    actions = [UP, UP, RIGHT, RIGHT, DOWN, DOWN, LEFT]
    for action in actions[:3]:
        env.step(action)
    other.set_state(json.loads(json.dumps(env.get_state(), default=np.ndarray.tolist)))
    for action in actions[3:]:
        mine, theirs = env.step(action), other.step(action)
        assert np.array_equal(mine[0], theirs[0]) and mine[1:] == theirs[1:]


@pytest.mark.parametrize("size", [3, 101, 4.0, True, "10"])
def test_a_bad_size_is_named(size):
    with pytest.raises(ValueError, match=r"^size must be a whole number from 4 to 100, got "):
        snake.snake(size=size)


def test_a_bad_view_is_named():
    with pytest.raises(
        ValueError, match=r"^observation must be one of 'ages', 'kinds', .*, got 'pixels'"
    ):
        snake.snake(observation="pixels")


def test_it_is_drawn():
    state = state_of([(1, 0), (1, 1), (1, 2)], (3, 3))
    game = snake.Game(4)
    assert snake.text(game, state) == ". . . .\no o @ .\n. . . .\n. . . *\n"
    dead = state.copy()
    dead[-1] = 0
    assert "x" in snake.text(game, dead)
    picture = snake.picture(game, state)
    assert picture.shape == (160, 160, 3)
    assert not np.array_equal(picture, snake.picture(game, dead))
    red = (picture[..., 0] > 180) & (picture[..., 1] < 90)
    row, column = np.argwhere(red).mean(axis=0) / 32 - 0.5
    assert (int(row), int(column)) == (3, 3)  # the apple
