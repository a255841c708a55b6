"""One environment, a vector environment and Gymnasium's own batching behave the same."""

import pickle
import subprocess
import sys
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from rlbook_envs.compiled import rule
from rlbook_envs.frozen_lake import frozen_lake
from rlbook_envs.streams import choice, random_bits
from rlbook_envs.world import World, WorldEnv, WorldVectorEnv, transition_table

THREE_STARTS = ["SFFF", "HHFS", "FFFF", "SFFG"]
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


class Circle(NamedTuple):
    size: int
    stays: float


@rule
def _turn(circle, state, action, key):
    """Two rolls, the second only where the first lets the player go: by one, or by two."""
    if choice(key, (circle.stays, 1 - circle.stays)) == 0:
        return state, 0.0, False
    far = choice(random_bits(key, 1), (0.75, 0.25))
    state = (state + (1 + far) * (1 if action == 0 else -1)) % circle.size
    return state, float(state), state == 0


@rule
def _begin(circle, key):
    return 1 + choice(key, (0.5, 0.5))


@pytest.fixture
def world():
    return frozen_lake(desc=THREE_STARTS)


def actions_for(num_envs, steps, seed=0):
    return np.random.default_rng(seed).integers(0, 4, (steps, num_envs))


def play(envs, actions, seed):
    """All that a batch of environments shows: observations, rewards, ends, final observations."""
    obs, infos = envs.reset(seed=seed)
    assert infos == {}
    shown = [(obs, *(np.zeros(len(obs)) for _ in range(4)))]
    for row in actions:
        obs, rewards, terminated, truncated, infos = envs.step(row)
        final = np.full(len(obs), -1)
        if "final_obs" in infos:
            mask = infos["_final_obs"]
            np.testing.assert_array_equal(mask, terminated | truncated)
            final[mask] = infos["final_obs"][mask].astype(int)
        else:
            same_step = envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
            assert not (same_step and (terminated | truncated).any())
        shown.append((obs, rewards, terminated, truncated, final))
    return [np.array(column) for column in zip(*shown, strict=True)]


def assert_same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [None, 1, 7])
def test_batch_is_gymnasiums_batch_of_our_environments(world, mode, limit):
    """Step for step: autoreset, truncation, and an episode that ends both ways at once."""
    num_envs, seeds = 5, [11, 12, 13, 14, 15]
    actions = actions_for(num_envs, 400)

    def one():
        env = WorldEnv(world)
        return env if limit is None else TimeLimit(env, limit)

    theirs = play(SyncVectorEnv([one] * num_envs, autoreset_mode=mode), actions, seeds)
    ours = play(WorldVectorEnv(world, num_envs, limit, mode), actions, seeds)
    assert_same(ours, theirs)
    terminated, truncated = theirs[2].astype(bool), theirs[3].astype(bool)
    assert terminated.any()
    if limit is not None:
        assert (truncated & ~terminated).any()
        assert (truncated & terminated).any(), "the last step allowed reaches an end"


@pytest.mark.parametrize("num_envs", [1, 2, 17])
def test_an_environment_is_row_0_of_any_batch(world, num_envs):
    actions = actions_for(num_envs, 300)
    batch = play(WorldVectorEnv(world, num_envs, 50), actions, seed=5)
    alone = play(SyncVectorEnv([lambda: TimeLimit(WorldEnv(world), 50)]), actions[:, :1], seed=5)
    assert_same([column[:, :1] for column in batch], alone)


@pytest.mark.parametrize("mode", MODES)
def test_rows_do_not_depend_on_how_many_there_are(world, mode):
    actions = actions_for(64, 200)
    wide = play(WorldVectorEnv(world, 64, 20, mode), actions, seed=9)
    for num_envs in (1, 3, 16):
        narrow = play(WorldVectorEnv(world, num_envs, 20, mode), actions[:, :num_envs], seed=9)
        assert_same([column[:, :num_envs] for column in wide], narrow)


def test_rows_and_seeds_differ(world):
    actions = np.repeat(actions_for(1, 100), 8, axis=1)
    first, second = (play(WorldVectorEnv(world, 8), actions, seed)[0] for seed in (1, 2))
    assert len({tuple(column) for column in first.T} | {tuple(column) for column in second.T}) == 16


def test_same_seed_same_episode(world):
    actions = actions_for(4, 100)
    envs = WorldVectorEnv(world, 4, 10)
    first, again = play(envs, actions, seed=3), play(envs, actions, seed=3)
    assert_same(first, again)
    unseeded = play(envs, actions, seed=None)
    assert any((a != b).any() for a, b in zip(first, unseeded, strict=True))


def test_two_unseeded_environments_differ(world):
    actions = actions_for(8, 50)
    one, other = (play(WorldVectorEnv(world, 8), actions, seed=None) for _ in range(2))
    assert (one[0] != other[0]).any()


def test_types_and_shapes(world):
    envs = WorldVectorEnv(world, 3)
    obs, _ = envs.reset(seed=0)
    assert (obs.dtype, obs.shape) == (np.int64, (3,))
    assert obs in envs.observation_space
    results = envs.step(np.zeros(3, np.int32))[:4]
    assert [array.dtype for array in results] == [np.int64, np.float64, np.bool_, np.bool_]
    env = WorldEnv(world)
    obs, info = env.reset(seed=0)
    assert (type(obs), info) == (int, {})
    assert [type(value) for value in env.step(np.int64(0))] == [int, float, bool, bool, dict]


def test_copy(world):
    fresh, same = WorldVectorEnv(world, 2), WorldVectorEnv(world, 2, copy=False)
    for envs, copies in ((fresh, True), (same, False)):
        envs.reset(seed=0)
        first, second = envs.step(np.zeros(2, int)), envs.step(np.zeros(2, int))
        for a, b in zip(first[:4], second[:4], strict=True):
            assert np.shares_memory(a, b) is not copies


def test_what_is_returned_may_be_changed(world):
    """Writing into a returned array must not reach the environment."""
    actions = actions_for(3, 50)
    plain = play(WorldVectorEnv(world, 3, 5), actions, seed=1)
    envs = WorldVectorEnv(world, 3, 5)
    envs.reset(seed=1)[0][:] = 15
    for step, row in enumerate(actions):
        results = envs.step(row)[:4]
        assert_same(results, [column[step + 1] for column in plain[:4]])
        for array in results:
            array[:] = 1


def test_get_state_and_set_state(world):
    actions = actions_for(1, 80)[:, 0]

    def go_on(env):
        seen = []
        for action in actions[40:]:
            seen.append(env.step(int(action)))
            if seen[-1][2]:
                seen.append(env.reset())
        return seen

    env = WorldEnv(world)
    env.reset(seed=4)
    for action in actions[:40]:
        if env.step(int(action))[2]:
            env.reset()
    saved = env.get_state()
    expected = go_on(env)
    env.set_state(saved)
    assert go_on(env) == expected
    elsewhere = WorldEnv(world)
    elsewhere.set_state(pickle.loads(pickle.dumps(saved)))
    assert go_on(elsewhere) == expected


def test_state_before_the_first_reset(world):
    env = WorldEnv(world)
    before = env.get_state()
    env.reset(seed=0)
    env.set_state(before)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def test_reset_must_come_first(world):
    with pytest.raises(gymnasium.error.ResetNeeded):
        WorldEnv(world).step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        WorldVectorEnv(world, 2).step(np.zeros(2, int))


@pytest.mark.parametrize("action", [-1, 4, 1.0, True, "left"])
def test_bad_actions(world, action):
    env, envs = WorldEnv(world), WorldVectorEnv(world, 2)
    env.reset(seed=0)
    envs.reset(seed=0)
    message = (
        r"action must be one of 0 \(left\), 1 \(down\), 2 \(right\), 3 \(up\) in FrozenLake, got "
    )
    with pytest.raises(ValueError, match=message):
        env.step(action)
    with pytest.raises(ValueError, match=message):
        envs.step(np.array([action, action]))


def test_wrong_number_of_actions_or_seeds(world):
    envs = WorldVectorEnv(world, 2)
    with pytest.raises(ValueError, match=r"seed must have one entry per row, 2, got 3"):
        envs.reset(seed=[1, 2, 3])
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must have shape \(2,\), got \(3,\)"):
        envs.step(np.zeros(3, int))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, r"num_envs must be at least 1, got 0"),
        ({"max_episode_steps": 0}, r"max_episode_steps must be at least 1, or None, got 0"),
        ({"autoreset_mode": "Disabled"}, r"autoreset_mode must be .*, got 'Disabled'"),
        ({"autoreset_mode": "never"}, r"never"),
        ({"render_mode": "human"}, r"render_mode must be .*, got 'human'"),
    ],
)
def test_bad_options(world, options, message):
    with pytest.raises(ValueError, match=message):
        WorldVectorEnv(world, **options)


def test_made_by_gymnasium():
    envs = gymnasium.make_vec("rlbook/FrozenLake-v0", num_envs=3, autoreset_mode="SameStep")
    assert isinstance(envs, WorldVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert envs.single_observation_space == gymnasium.spaces.Discrete(16)
    assert envs.action_space.shape == (3,)
    sync = gymnasium.make_vec("rlbook/FrozenLake-v0", num_envs=3, vectorization_mode="sync")
    actions = actions_for(3, 200)
    defaults = gymnasium.make_vec("rlbook/FrozenLake-v0", num_envs=3)
    assert_same(play(sync, actions, [1, 2, 3]), play(defaults, actions, [1, 2, 3]))


def test_rendering_a_batch(world):
    envs = WorldVectorEnv(world, 2, render_mode="ansi")
    envs.reset(seed=0)
    texts = envs.render()
    assert [text.count("[S]") for text in texts] == [1, 1]
    envs = WorldVectorEnv(world, 2, render_mode="rgb_array")
    envs.reset(seed=0)
    assert [(picture.shape, picture.dtype) for picture in envs.render()] == [
        ((256, 256, 3), np.uint8)
    ] * 2


def test_table_of_rules_with_two_rolls():
    circle = World(
        "Circle", Circle(5, 0.2), _begin, _turn, 5, ("on", "back"),
        lambda circle, state: str(state), lambda circle, state: np.zeros((1, 1, 3), np.uint8),
    )  # fmt: skip
    table = transition_table(circle)
    assert table.start.tolist() == [0, 0.5, 0.5, 0, 0]
    assert table.probability.shape == (5, 2, 3)
    np.testing.assert_allclose(table.probability[3, 0], [0.2, 0.6, 0.2])
    assert table.next_state[3].tolist() == [[3, 4, 0], [3, 2, 1]]
    assert table.reward[3, 0].tolist() == [0.0, 4.0, 0.0]
    assert table.terminated[3, 0].tolist() == [False, False, True]
    # The compiled rules agree: the second roll, which has a key of its own, is independent.
    env = WorldEnv(circle)
    counts = {3: 0, 4: 0, 0: 0}
    for key in range(5000):
        env.set_state({"key": key, "counter": 0, "state": 3})
        counts[env.step(0)[0]] += 1
    for next_state, probability in ((3, 0.2), (4, 0.6), (0, 0.2)):
        spread = np.sqrt(5000 * probability * (1 - probability))
        assert abs(counts[next_state] - 5000 * probability) < 5 * spread


def test_importing_the_worlds_imports_nothing_heavy():
    heavy = "{'numba', 'torch', 'ray', 'pyspark', 'matplotlib'}"
    program = f"import sys, rlbook_envs; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "set()\n"


def test_a_second_reset_begins_another_episode():
    desc = ["S" * 50, "F" * 49 + "G"]
    env = gymnasium.make("rlbook/FrozenLake-v0", desc=desc)
    starts = [env.reset(seed=3)[0]] + [env.reset()[0] for _ in range(20)]
    assert len(set(starts)) > 5
    envs = gymnasium.make_vec("rlbook/FrozenLake-v0", num_envs=1, desc=desc)
    assert [envs.reset(seed=3)[0][0]] + [envs.reset()[0][0] for _ in range(20)] == starts


def test_a_vector_of_worlds_goes_on_from_a_saved_state():
    envs, twin = (gymnasium.make_vec("rlbook/FrozenLake-v0", num_envs=5) for _ in range(2))
    actions = np.random.default_rng(0).integers(0, 4, (60, 5))
    envs.reset(seed=1)
    for row in actions[:30]:
        envs.step(row)
    twin.unwrapped.set_state(envs.unwrapped.get_state())
    for row in actions[30:]:
        for one, other in zip(envs.step(row)[:4], twin.step(row)[:4], strict=True):
            np.testing.assert_array_equal(one, other)
