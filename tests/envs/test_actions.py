"""Actions: what a network chooses, and what the environment is given for it."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rlbook.envs.actions import actions_of

INF = np.inf


def box(low, high, dtype=np.float32):
    return spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)


SPACES = {
    "discrete": spaces.Discrete(5),
    "discrete from 3": spaces.Discrete(5, start=3),
    "discrete from -2": spaces.Discrete(5, start=-2),
    "one action": spaces.Discrete(1),
    "many actions": spaces.Discrete(70_000, start=-7),
    "multi-discrete": spaces.MultiDiscrete([3, 1, 4]),
    "multi-discrete with a start": spaces.MultiDiscrete([3, 2], start=[-1, 10]),
    "multi-discrete of two axes": spaces.MultiDiscrete([[3, 2], [2, 5]], dtype=np.int32),
    "multi-binary": spaces.MultiBinary(4),
    "multi-binary of two axes": spaces.MultiBinary([2, 3]),
    "box": box([-1, -1], [1, 1]),
    "asymmetric box": box([0.0, -3.0], [10.0, -1.0]),
    "float64": box([-2.0], [2.0], np.float64),
    "one-sided": box([0.0, -INF], [INF, 5.0]),
    "unbounded": box([[-INF, -INF]], [[INF, INF]]),
    "mixed": box([-1.0, 0.0, -INF], [3.0, INF, INF]),
}
EACH = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def random_actions(actions, number=200, seed=0):
    """Encoded actions as an algorithm chooses them."""
    rng = np.random.default_rng(seed)
    if actions.kind == "box":
        return rng.normal(size=(number, *actions.shape)).astype(actions.dtype)
    sizes = np.array(actions.sizes).reshape(actions.shape)
    return rng.integers(sizes, size=(number, *actions.shape)).astype(actions.dtype)


def same_actions(some, others):
    return len(some) == len(others) and all(
        type(one) is type(other)
        and getattr(one, "dtype", None) == getattr(other, "dtype", None)
        and np.array_equal(one, other)
        for one, other in zip(some, others, strict=True)
    )


@EACH
def test_every_action_that_is_decoded_is_one_of_the_space(space):
    actions = actions_of(space)
    encoded = random_actions(actions)
    before = encoded.copy()
    decoded = actions.decode(encoded)
    assert len(decoded) == 200 and all(action in space for action in decoded)
    np.testing.assert_array_equal(encoded, before)
    assert same_actions([actions.decode_one(each) for each in encoded], decoded)


@EACH
def test_bytes_give_the_same_actions_back(space):
    actions = actions_of(space)
    decoded = actions.decode(random_actions(actions))
    one_by_one = b"".join(actions.to_bytes([action]) for action in decoded)
    assert actions.to_bytes(decoded) == one_by_one
    assert same_actions(actions.from_bytes(one_by_one), decoded)
    assert actions.from_bytes(actions.to_bytes([])) == []


@EACH
def test_a_description_of_actions_can_travel(space):
    actions = actions_of(space)
    there = pickle.loads(pickle.dumps(actions))
    encoded = random_actions(actions)
    assert (there.kind, there.shape, there.dtype, there.sizes) == actions[:1] + actions[2:]
    assert same_actions(there.decode(encoded), actions.decode(encoded))


@pytest.mark.parametrize("start", [0, 3, -2])
def test_a_discrete_action_is_counted_from_the_start_of_the_space(start):
    actions = actions_of(spaces.Discrete(4, start=start))
    assert (actions.kind, actions.shape, actions.dtype, actions.n) == ("discrete", (), "int64", 4)
    decoded = actions.decode(np.arange(4))
    assert decoded == [start, start + 1, start + 2, start + 3]
    assert all(type(action) is int for action in decoded)


@pytest.mark.parametrize("n, size", [(1, 1), (256, 1), (257, 2), (70_000, 4)])
def test_a_discrete_action_takes_as_few_bytes_as_its_number_needs(n, size):
    actions = actions_of(spaces.Discrete(n, start=-100))
    decoded = [-100, n - 101]  # the first and the last
    assert len(actions.to_bytes(decoded)) == 2 * size
    assert actions.from_bytes(actions.to_bytes(decoded)) == decoded


def test_parts_of_a_multi_discrete_action_are_counted_from_their_starts():
    actions = actions_of(spaces.MultiDiscrete([3, 2], start=[-1, 10]))
    assert (actions.kind, actions.shape, actions.sizes) == ("multi_discrete", (2,), (3, 2))
    first, last = actions.decode(np.array([[0, 0], [2, 1]]))
    assert first.tolist() == [-1, 10] and last.tolist() == [1, 11]


def test_a_multi_binary_action_is_taken_as_it_is():
    actions = actions_of(spaces.MultiBinary([2, 2]))
    assert (actions.kind, actions.shape, actions.sizes) == ("multi_binary", (2, 2), (2,) * 4)
    [action] = actions.decode(np.array([[[0, 1], [1, 0]]], np.int8))
    assert action.tolist() == [[0, 1], [1, 0]] and action.dtype == np.int8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounded_parts_of_a_box_are_scaled_from_minus_1_to_1(dtype):
    actions = actions_of(box([0.0, -3.0], [10.0, -1.0], dtype))
    assert (actions.kind, actions.shape, actions.sizes) == ("box", (2,), ())
    encoded = np.float32([[-1, -1], [0, 0], [1, 1], [0.5, -0.5]])
    decoded = actions.decode(encoded)
    np.testing.assert_allclose(decoded, [[0, -3], [5, -2], [10, -1], [7.5, -2.5]])
    assert all(action.dtype == dtype for action in decoded)


def test_what_lies_beyond_the_bounds_lies_on_them():
    actions = actions_of(box([0.0, -3.0], [10.0, -1.0]))
    decoded = actions.decode(np.float32([[-1.5, 7.0], [INF, -INF]]))
    np.testing.assert_array_equal(decoded, [[0, -1], [10, -3]])


def test_the_bounds_are_met_exactly():
    """Rounding might otherwise lead beyond them, and environments check."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        low, high = np.sort(rng.normal(scale=10, size=(2, 4)).astype(np.float32), axis=0)
        decoded = actions_of(box(low, high)).decode(np.float32([[-1] * 4, [1] * 4]))
        np.testing.assert_array_equal(decoded, [low, high])


def test_parts_that_are_not_bounded_on_both_sides_are_taken_as_they_are_and_clipped():
    actions = actions_of(box([-1.0, 0.0, -INF, -INF], [3.0, INF, 5.0, INF]))
    decoded = actions.decode(np.float32([[0.0, 7.5, -20.0, 1e6], [1.0, -1.0, 6.0, -1e6]]))
    np.testing.assert_array_equal(decoded, [[1.0, 7.5, -20.0, 1e6], [3.0, 0.0, 5.0, -1e6]])


@pytest.mark.parametrize("high", [1.0, INF])
def test_an_action_that_is_no_number_is_refused(high):
    actions = actions_of(box([-1.0, 0.0], [1.0, high]))
    with pytest.raises(ValueError, match=r"^actions must be numbers, got \[\[0\.0, nan\]\]$"):
        actions.decode(np.float32([[0.0, np.nan]]))


@pytest.mark.parametrize(
    "space", [spaces.Tuple([spaces.Discrete(2)]), spaces.Dict(a=spaces.Discrete(2)), spaces.Text(3)]
)
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match=r"^action_space must be a Discrete, .* or Box space, got"):
        actions_of(space)


def test_an_environment_is_stepped_with_decoded_actions():
    """Pendulum's actions reach from -2 to 2."""
    env, actions = (
        gymnasium.make("Pendulum-v1"),
        actions_of(gymnasium.make("Pendulum-v1").action_space),
    )
    env.reset(seed=0)
    env.step(actions.decode_one(np.float32([0.5])))
    assert env.unwrapped.last_u == pytest.approx(1.0)
