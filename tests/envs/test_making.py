"""How a training loop meets environments: made anywhere, compiled if they can be, resumable."""

import pickle

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit, TransformReward
from probes import Probe, stored

from rlbook.envs.actions import actions_of
from rlbook.envs.episodes import Episodes
from rlbook.envs.making import NO_LIMIT, compiled_world, env_maker
from rlbook.envs.numbering import Numbering, numbered_spaces, numbering
from rlbook_envs.frozen_lake import frozen_lake
from rlbook_envs.world import WorldEnv

LAKE = "rlbook/FrozenLake-v0"


def episodes_of(make_env, seed):
    return Episodes(make_env, seed, actions_of(make_env().action_space))


def play(episodes, steps, rng):
    """What the environment does under random actions, counted in it as the loops do."""
    seen = []
    for _ in range(steps):
        action = rng.integers(episodes.env.action_space.n).item()
        obs, reward, terminated, truncated, _ = episodes.step(action)
        episodes.actions.append(action)
        seen.append((np.asarray(obs).tolist(), reward, terminated, truncated))
        if terminated or truncated:
            seen.append(np.asarray(episodes.reset()).tolist())
    return seen


def travelled(episodes):
    return pickle.loads(cloudpickle.dumps(episodes))


def from_a_file(episodes):
    again = episodes_of(episodes.make_env, episodes.seed)
    again.set_state(stored(episodes.get_state()))
    return again


def doubled():
    return TransformReward(gymnasium.make(LAKE), lambda reward: 2 * reward)


@pytest.mark.parametrize("send", [travelled, from_a_file])
@pytest.mark.parametrize("steps", [0, 3, 250])  # at once, in the first episode, in a later one
@pytest.mark.parametrize("env", ["FrozenLake-v1", "CartPole-v1", "CliffWalking-v1", doubled])
def test_an_environment_goes_on_elsewhere_as_it_would_have_here(env, steps, send):
    episodes = episodes_of(env_maker(env), seed=2**63 + 5)
    episodes.reset()
    play(episodes, steps, np.random.default_rng(1))
    there = send(episodes)
    here, there = (play(one, 300, np.random.default_rng(2)) for one in (episodes, there))
    assert here == there


def test_an_environment_that_was_never_reset_travels_too():
    there = travelled(episodes_of(env_maker("FrozenLake-v1"), seed=3))
    assert there.begun_with is None
    assert there.reset() == 0


def test_an_environment_may_have_a_set_state_of_its_own_kind():
    class Settable(Probe):
        def set_state(self, position, velocity):
            raise AssertionError("not ours to call")

    make = lambda: Settable(lambda s, a: ((s + a) % 9, 0.0, s == 8), 9, starts=9)  # noqa: E731
    episodes = episodes_of(make, seed=1)
    episodes.reset()
    play(episodes, 100, np.random.default_rng(0))
    here, there = (
        play(one, 100, np.random.default_rng(1)) for one in (episodes, travelled(episodes))
    )
    assert here == there


class Counts(Probe):
    """Has states of its own, which mean something else."""

    def __init__(self):
        super().__init__(lambda s, a: ((s + a) % 9, 0.0, s == 8), 9, starts=9)

    def get_state(self):
        return np.array([self.state])

    def set_state(self, saved):
        self.state = int(saved[0])


class Asks(Counts):
    def get_state(self, player):
        raise AssertionError("not ours to call")


def generator(kind):
    class Chance(Counts):
        def reset(self, *, seed=None, options=None):
            if seed is not None:
                self.np_random = np.random.Generator(kind(seed))
            return super().reset(options=options)

    return Chance


GENERATORS = (np.random.MT19937, np.random.Philox, np.random.SFC64)


@pytest.mark.parametrize("send", [travelled, from_a_file])
@pytest.mark.parametrize("make", [Counts, Asks, *map(generator, GENERATORS)])
def test_states_and_generators_of_any_kind_travel(make, send):
    episodes = episodes_of(make, seed=1)
    episodes.reset()
    assert len(play(episodes, 100, np.random.default_rng(0))) > 105  # in a later episode
    here, there = (play(one, 100, np.random.default_rng(1)) for one in (episodes, send(episodes)))
    assert here == there


def test_where_an_episode_stands_after_it_was_played_again():
    def make():
        probe = Probe(lambda s, a: (s + 1, 0.0, s == 2), 4)
        probe.action_space = gymnasium.spaces.Discrete(100_000)
        return probe

    episodes, again = episodes_of(make, seed=1), episodes_of(make, seed=1)
    assert again.set_state(episodes.get_state()) == (None, False)
    episodes.reset()
    assert again.set_state(episodes.get_state()) == (0, False)
    for expected in ((1, False), (2, False), (3, True)):
        episodes.step(70_000)
        episodes.actions.append(70_000)
        assert again.set_state(stored(episodes.get_state())) == expected
        assert again.actions == episodes.actions
    episodes.actions.append(0)
    assert again.set_state(episodes.get_state()) == (None, True)  # it had ended before


@pytest.mark.parametrize("source", [LAKE, gymnasium.make(LAKE, map_name="8x8"), doubled])
def test_what_makes_an_environment_can_travel(source):
    make = pickle.loads(cloudpickle.dumps(env_maker(source)))
    one, two = make(), make()
    assert one is not two
    expected = source.observation_space if isinstance(source, gymnasium.Env) else one
    assert one.observation_space == getattr(expected, "observation_space", expected)


def test_what_makes_no_environment_is_refused():
    with pytest.raises(TypeError, match=r"^env must be made by gymnasium\.make, got "):
        env_maker(Probe(None))
    with pytest.raises(TypeError, match=r"^env must be a Gymnasium id, .*, got 5$"):
        env_maker(5)
    with pytest.raises(gymnasium.error.Error):
        env_maker("NoSuchWorld-v0")()


def test_the_options_of_an_environment_are_kept():
    env = gymnasium.make(LAKE, desc=["SFG"], is_slippery=False, max_episode_steps=9)
    world, limit = compiled_world(env_maker(env)())
    assert (world.num_states, world.params.slippery, limit) == (3, False, 9)


def test_a_compiled_world_is_found_behind_what_changes_nothing():
    bare = WorldEnv(frozen_lake())
    assert compiled_world(bare) == (bare.world, NO_LIMIT)
    assert compiled_world(gymnasium.make(LAKE))[1] == 100
    assert compiled_world(TimeLimit(gymnasium.make(LAKE), 30))[1] == 30
    assert compiled_world(TimeLimit(gymnasium.make(LAKE), 300))[1] == 100


def test_a_world_is_not_found_behind_what_changes_something():
    class Mine(WorldEnv):
        pass

    class Extended(TimeLimit):
        pass

    assert compiled_world(gymnasium.make("FrozenLake-v1")) is None
    assert compiled_world(doubled()) is None
    assert compiled_world(Mine(frozen_lake())) is None
    assert compiled_world(Extended(gymnasium.make(LAKE), 5)) is None


def test_the_shape_of_a_table():
    assert numbered_spaces(gymnasium.make(LAKE), "It") == (Numbering(16, None), 4)
    with pytest.raises(
        ValueError, match=r"^observation_space must be Discrete, .* for It, .* got Box"
    ):
        numbered_spaces(gymnasium.make("CartPole-v1"), "It")
    with pytest.raises(
        ValueError, match=r"^action_space must be Discrete and start at 0 for It, .* got Multi"
    ):
        numbered_spaces(gymnasium.wrappers.TransformAction(gymnasium.make(LAKE), int, TWO), "It")


TWO = gymnasium.spaces.MultiDiscrete([2, 2])


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(n) for n in (3, 2, 4)]),
        gymnasium.spaces.MultiDiscrete([3, 2, 4]),
        gymnasium.spaces.MultiDiscrete([[3, 2], [4, 1]]),
        gymnasium.spaces.MultiBinary([2, 2]),
    ],
)
def test_observations_of_several_parts_have_a_number_each(space):
    size, number = numbering(space)
    parts = [part.n for part in space] if isinstance(space, gymnasium.spaces.Tuple) else None
    shape = parts or (space.nvec if hasattr(space, "nvec") else np.full(space.shape, 2)).flatten()
    assert size == np.prod(shape)
    every = list(np.ndindex(*shape))
    observations = every if parts else [np.reshape(one, space.shape) for one in every]
    assert [number(obs) for obs in observations] == list(range(size))
    if not parts:
        assert number(np.stack(observations)).tolist() == list(range(size))


def test_too_many_observations_to_have_a_number_each():
    assert numbering(gymnasium.spaces.MultiBinary(63)) is None
    assert numbering(gymnasium.spaces.MultiBinary(62)).size == 2**62
