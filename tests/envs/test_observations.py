"""Observations of every space as arrays: shapes, dtypes, what is stored, and what is refused."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation

from rlbook.envs.observations import Observations, observations_of

PARTS = {"kind": spaces.Discrete(3), "place": spaces.Box(-1, 1, (2,))}
FLATTENED = [
    (spaces.Discrete(4), (4,)),
    (spaces.Discrete(4, start=-2), (4,)),
    (spaces.MultiDiscrete([2, 3]), (5,)),
    (spaces.MultiDiscrete([[2, 3], [4, 2]]), (11,)),
    (spaces.MultiBinary(3), (3,)),
    (spaces.Tuple((spaces.Discrete(32), spaces.Discrete(11), spaces.Discrete(2))), (45,)),
    (spaces.Dict(PARTS), (5,)),
    (spaces.Dict(outer=spaces.Dict(PARTS), number=spaces.Discrete(2)), (7,)),
]


class Shows(gymnasium.Env):
    """An environment whose observations are in this space."""

    def __init__(self, space):
        self.observation_space, self.action_space = space, spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def seen(space):
    return observations_of(Shows(space))


# Boxes stay as they are


@pytest.mark.parametrize(
    "dtype, kept, scale",
    [
        (np.float32, "float32", 1.0),
        (np.float64, "float32", 1.0),
        (np.float16, "float32", 1.0),
        (np.uint8, "uint8", 100.0),
        (np.int8, "int8", 100.0),
        (np.int64, "int64", 100.0),
        (np.uint16, "int32", 100.0),  # torch adds and compares none of these three
        (np.uint32, "int64", 100.0),
        (np.uint64, "int64", 100.0),
    ],
)
@pytest.mark.parametrize("shape", [(), (3,), (5, 6), (2, 5, 6)])
def test_boxes(dtype, kept, scale, shape):
    space = spaces.Box(0, 100, shape, dtype)
    found = seen(space)
    assert found == Observations(shape, kept, scale)
    assert found.frame_shape == shape
    space.seed(1)
    several = [space.sample() for _ in range(3)]
    encoded = found.encode_all(several)
    assert encoded.shape == (3, *shape) and encoded.dtype == kept
    np.testing.assert_array_equal(encoded, np.array(several).astype(kept))


@pytest.mark.parametrize(
    "low, high, scale",
    [
        (0, 255, 255.0),
        (-7, 3, 7.0),
        (-3, 7, 7.0),
        (-9, -4, 9.0),
        (0, 1, 1.0),
        (0, 0, 1.0),
        (-(2**16), 5, 2.0**16),
        (-(2**40), 5, 1.0),  # beside which 4 and 5 would look the same
        (0, np.iinfo(np.int64).max, 1.0),
        ([0, -2], [7, 1], 7.0),
    ],
)
def test_the_scale_of_whole_numbers_is_the_largest_that_there_is(low, high, scale):
    limits = (np.broadcast_to(np.array(each, np.int64), 2) for each in (low, high))
    assert seen(spaces.Box(*limits, dtype=np.int64)).scale == scale


@pytest.mark.parametrize(
    "space, levels, low, scale",
    [
        (spaces.Box(-1, 3, (5, 6), np.int8), 5, -1, 1),
        (spaces.Box(0, 3, (5, 6), np.uint8), 4, 0, 1),
        (spaces.Box(0, 63, (5, 6), np.int64), 64, 0, 1),
        (spaces.Box(0, 64, (5, 6), np.int64), 0, 0, 64),
        (spaces.Box(0, 255, (5, 6), np.uint8), 0, 0, 255),
        (spaces.Box(0, 3, (5, 6), np.float32), 0, 0, 1),
        (spaces.Box(0, 3, (5,), np.int8), 0, 0, 3),
        (spaces.Box(0, 3, (2, 5, 6), np.int8), 0, 0, 3),
    ],
)
def test_boards_of_few_whole_numbers_say_which(space, levels, low, scale):
    found = seen(space)
    assert (found.levels, found.low, found.scale) == (levels, low, scale)
    encoded = found.encode_all([space.sample()])
    assert encoded.shape == (1, *space.shape)  # as they are: the network lays them out


# Everything else becomes a vector


@pytest.mark.parametrize("space, shape", FLATTENED)
def test_what_is_flattened(space, shape):
    found = seen(space)
    assert (found.shape, found.dtype, found.scale, found.stack) == (shape, "float32", 1.0, 1)
    space.seed(1)
    several = [space.sample() for _ in range(20)]
    encoded = found.encode_all(several)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, [spaces.flatten(space, each) for each in several])
    assert len(np.unique(encoded, axis=0)) > 1
    for each, row in zip(several, encoded, strict=True):
        batch, single = found.batch_of(each)
        assert single
        np.testing.assert_array_equal(batch, [row])


@pytest.mark.parametrize("start", [0, -2, 5])
def test_a_number_is_a_one_among_zeros(start):
    found = seen(spaces.Discrete(4, start=start))
    np.testing.assert_array_equal(found.encode_all([start + i for i in range(4)]), np.eye(4))
    batch, single = found.batch_of(np.int64(start + 2))
    assert single and batch.tolist() == [[0, 0, 1, 0]]
    batch, single = found.batch_of([start, start + 3])
    assert not single and batch.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_what_cannot_be_flattened_is_refused():
    with pytest.raises(ValueError, match="must be one that can be flattened, got Sequence"):
        seen(spaces.Sequence(spaces.Discrete(2)))


# One or several


@pytest.mark.parametrize("shape", [(), (3,), (5, 6), (2, 5, 6)])
def test_one_observation_or_several(shape):
    found = seen(spaces.Box(-1, 1, shape))
    one = np.random.default_rng(0).normal(size=shape)
    batch, single = found.batch_of(one)
    assert single and batch.shape == (1, *shape) and batch.dtype == np.float32
    for size in (1, 3):
        several, single = found.batch_of(np.repeat(one[None], size, axis=0))
        assert not single and several.shape == (size, *shape)
        np.testing.assert_array_equal(several[0], batch[0])
    assert found.batch_of(one.tolist())[1]


@pytest.mark.parametrize(
    "space, obs",
    [
        (spaces.Box(-1, 1, (3,)), np.zeros(4)),
        (spaces.Box(-1, 1, (3,)), np.zeros((2, 4))),
        (spaces.Box(-1, 1, (3,)), np.zeros((1, 2, 3))),
        (spaces.Box(-1, 1, (3,)), 0.0),
        (spaces.Box(0, 255, (5, 6), np.uint8), np.zeros((6, 5))),
    ],
)
def test_other_shapes_are_refused(space, obs):
    with pytest.raises(ValueError, match=r"^obs must have shape .* for a batch, got ") as said:
        seen(space).batch_of(obs)
    assert str(np.shape(obs)) in str(said.value) and str(space.shape) in str(said.value)


@pytest.mark.parametrize(
    "space, obs",
    [
        (spaces.MultiDiscrete([2, 3]), [1]),
        (spaces.MultiDiscrete([2, 3]), [2, 0]),
        (spaces.MultiDiscrete([2, 3]), np.array([[0, 0], [1, 3]])),
        (spaces.MultiBinary(3), [0, 1, 2]),
        (spaces.Discrete(4), [[1]]),
        (spaces.Discrete(4), 4),
        (spaces.Discrete(4, start=-2), [-2, 2]),
        (spaces.Discrete(4), 1.5),
        (spaces.Discrete(4), None),
        (spaces.Discrete(4), []),
        (spaces.Tuple((spaces.Discrete(3), spaces.Discrete(2))), (1, 2)),
        (spaces.Dict(PARTS), {"kind": 1}),
    ],
    ids=str,
)
def test_what_is_not_in_the_space_is_refused(space, obs):
    """It would become zeros, which mean nothing."""
    with pytest.raises(ValueError, match=r"^obs must be one or several elements of ") as said:
        seen(space).batch_of(obs)
    assert f", got {obs!r}" in str(said.value) and str(space) in str(said.value)


def test_what_lies_a_little_outside_a_box_is_seen_as_training_sees_it():
    space = spaces.Dict({"kind": spaces.Discrete(3), "place": spaces.Box(0, 1, (2,))})
    found = seen(space)
    obs = {"kind": 1, "place": np.array([1.0 + 1e-6, 0.5])}  # in double precision, too
    batch, single = found.batch_of(obs)
    assert single
    np.testing.assert_array_equal(batch, found.encode_all([obs]))
    assert not found.batch_of([obs, obs])[1]


def test_what_an_environment_shows_must_have_its_shape():
    """NumPy would repeat it, and zeros mean nothing."""
    with pytest.raises(ValueError, match=r"^obs must have shape \(2,\), got \(1,\)$"):
        seen(spaces.Box(-1, 1, (2,))).encode_all([np.zeros(1)])
    with pytest.raises(ValueError, match=r"elements of Discrete\(3\), got \[0, 4\]$"):
        seen(spaces.Discrete(3)).encode_all([0, 4])


# Stacks of frames


def stacked(shape, frames, padding="reset"):
    env = Shows(spaces.Box(0, 255, shape, np.uint8))
    return FrameStackObservation(env, frames, padding_type=padding)


def test_of_a_stack_only_the_newest_frame_is_stored():
    found = observations_of(stacked((6, 7), 4))
    assert found == Observations((4, 6, 7), "uint8", 255.0, stack=4)
    assert found.frame_shape == (6, 7)
    obs = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 6, 7)).astype(np.uint8)
    np.testing.assert_array_equal(found.newest(obs), obs[:, :, 3])


@pytest.mark.parametrize(
    "env",
    [
        Shows(spaces.Box(0, 255, (4, 6, 7), np.uint8)),  # no stack, but channels
        stacked((6, 7), 1),
        stacked((6, 7), 4, padding="zero"),  # not what a memory would fill up with
        stacked((6,), 4),  # no pictures
        gymnasium.wrappers.TransformObservation(
            stacked((6, 7), 4), np.flip, spaces.Box(0, 255, (4, 6, 7), np.uint8)
        ),
    ],
)
def test_all_else_is_stored_whole(env):
    found = observations_of(env)
    assert found.stack == 1 and found.frame_shape == found.shape == env.observation_space.shape
    obs = np.zeros((2, 5, *found.shape), np.uint8)
    assert found.newest(obs) is obs
