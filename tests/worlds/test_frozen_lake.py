"""FrozenLake is Gymnasium's, entry for entry; and the compiled rules do what the table says."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rlbook_envs
from rlbook.tabular.dynamic_programming import value_iteration
from rlbook_envs import frozen_lake as lake_module
from rlbook_envs.frozen_lake import frozen_lake
from rlbook_envs.world import transition_table

OPTIONS = [
    {"map_name": "4x4"},
    {"map_name": "8x8"},
    {"map_name": "4x4", "is_slippery": False},
    {"map_name": "8x8", "is_slippery": False},
    {"map_name": "4x4", "success_rate": 0.8},
    {"map_name": "8x8", "success_rate": 0.1},
    {"map_name": "4x4", "success_rate": 0.0},
    {"map_name": "4x4", "success_rate": 1.0},
    {"map_name": "4x4", "reward_schedule": (10, -5, -1)},
    {"map_name": "8x8", "reward_schedule": (1.5, -0.5, 0.25), "success_rate": 0.6},
    {"desc": ["SFS", "FHF", "SFG"], "reward_schedule": (2, -1, 0)},
    {"desc": ["SG"], "is_slippery": False},
    {"desc": ["SF", "HF"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_table_is_that_of_gymnasium(options):
    theirs = gymnasium.make("FrozenLake-v1", **options).unwrapped
    ours = transition_table(frozen_lake(**options))
    np.testing.assert_array_equal(ours.start, theirs.initial_state_distrib)
    outcomes = max(len(cell) for row in theirs.P.values() for cell in row.values())
    assert ours.probability.shape == (len(theirs.P), 4, outcomes)
    for state, row in theirs.P.items():
        for action, cell in row.items():
            used = slice(len(cell))
            probability, next_state, reward, terminated = zip(*cell, strict=True)
            assert ours.probability[state, action, used].tolist() == list(probability)
            assert ours.next_state[state, action, used].tolist() == list(next_state)
            assert ours.reward[state, action, used].tolist() == list(reward)
            assert ours.terminated[state, action, used].tolist() == list(terminated)
            assert not ours.probability[state, action, len(cell) :].any(), "padding"
    np.testing.assert_allclose(ours.probability.sum(axis=2), 1, rtol=0, atol=1e-15)


def test_table_types():
    table = transition_table(frozen_lake())
    dtypes = [column.dtype for column in table]
    assert dtypes == [np.float64, np.int64, np.float64, np.bool_, np.float64]


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[4], OPTIONS[10]], ids=str)
def test_compiled_steps_are_as_frequent_as_the_table_says(options):
    env = lake_module.make_env(**options)
    table = transition_table(env.world)
    draws = 600
    for state, action in np.ndindex(table.start.size, 4):
        possible = dict.fromkeys(_outcomes(table, state, action), 0.0)
        for k, outcome in enumerate(_outcomes(table, state, action)):
            possible[outcome] += table.probability[state, action, k]
        counts = dict.fromkeys(possible, 0)
        for draw in range(draws):
            key = 1_000_003 * (4 * state + action)
            env.set_state({"key": key, "counter": draw, "state": state})
            next_state, reward, terminated, truncated, _ = env.step(action)
            assert not truncated
            counts[next_state, reward, terminated] += 1
        for outcome, probability in possible.items():
            spread = np.sqrt(draws * probability * (1 - probability))
            assert abs(counts[outcome] - draws * probability) <= 5 * spread + 1e-9


def _outcomes(table, state, action):
    columns = (table.next_state, table.reward, table.terminated)
    return list(zip(*(column[state, action].tolist() for column in columns), strict=True))


def test_compiled_resets_are_as_frequent_as_the_table_says():
    world = frozen_lake(desc=["SFS", "FHF", "SFG"])
    envs = rlbook_envs.world.WorldVectorEnv(world, num_envs=9000)
    obs, _ = envs.reset(seed=3)
    counts = np.bincount(obs, minlength=9)
    spread = np.sqrt(9000 * 1 / 3 * 2 / 3)
    assert np.flatnonzero(counts).tolist() == [0, 2, 6]
    assert (np.abs(counts[[0, 2, 6]] - 3000) < 5 * spread).all()


@pytest.mark.parametrize("name", ["FrozenLake", "FrozenLake8x8"])
def test_registered_environments_pass_gymnasiums_check(name, recwarn):
    env = gymnasium.make(f"rlbook/{name}-v0", render_mode="rgb_array")
    check_env(env.unwrapped)
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(("name", "limit"), [("FrozenLake", 100), ("FrozenLake8x8", 200)])
def test_time_limits_are_those_of_gymnasium(name, limit):
    assert gymnasium.spec(f"{name}-v1").max_episode_steps == limit
    env = gymnasium.make(f"rlbook/{name}-v0", is_slippery=False)
    env.reset(seed=0)
    for _ in range(limit - 1):
        assert env.step(lake_module.UP)[2:4] == (False, False)
    assert env.step(lake_module.UP)[2:4] == (False, True)
    envs = gymnasium.make_vec(f"rlbook/{name}-v0", num_envs=2, is_slippery=False)
    envs.reset(seed=0)
    for _ in range(limit - 1):
        assert not envs.step(np.full(2, lake_module.UP))[3].any()
    assert envs.step(np.full(2, lake_module.UP))[3].all()


def test_registering_again_changes_nothing():
    spec = gymnasium.spec("rlbook/FrozenLake-v0")
    rlbook_envs.register_envs()
    assert gymnasium.spec("rlbook/FrozenLake-v0") is spec


def test_walk_to_the_goal():
    env = gymnasium.make("rlbook/FrozenLake-v0", is_slippery=False)
    assert env.reset(seed=0) == (0, {})
    down, right = lake_module.DOWN, lake_module.RIGHT
    steps = [env.step(action) for action in (down, down, right, down, right, right)]
    assert [step[0] for step in steps] == [4, 8, 9, 13, 14, 15]
    assert [step[1] for step in steps] == [0, 0, 0, 0, 0, 1]
    assert [step[2] for step in steps] == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map_name": "5x5"}, r"map_name must be one of '4x4', '8x8', got '5x5'"),
        ({"success_rate": 1.1}, r"success_rate must be a number from 0 to 1, got 1.1"),
        ({"success_rate": -0.1}, r"success_rate must be a number from 0 to 1, got -0.1"),
        ({"success_rate": float("nan")}, r"success_rate must be a number from 0 to 1, got nan"),
        ({"reward_schedule": (1, 0)}, r"reward_schedule must be three numbers .*, got \(1, 0\)"),
        ({"desc": ["SFX"]}, r"desc must consist of the letters S, F, H and G, got \['X'\]"),
        ({"desc": ["SF", "F"]}, r"desc must have at least one row, .* got \['SF', 'F'\]"),
        ({"desc": []}, r"desc must have at least one row, .* got \[\]"),
        ({"desc": [""]}, r"desc must have at least one row, .* got \[''\]"),
        ({"desc": ["FG"]}, r"desc must have a start, .* got \['FG'\]"),
        (
            {"render_mode": "human"},
            r"render_mode must be one of 'ansi', 'rgb_array', or None, got 'human'",
        ),
    ],
    ids=str,
)
def test_bad_options(options, message):
    for make in (lake_module.make_env, lake_module.make_vector_env):
        with pytest.raises(ValueError, match=message):
            make(**options)


def test_text():
    env = lake_module.make_env(render_mode="ansi", is_slippery=False)
    env.reset(seed=0)
    assert env.render() == "[S] F  F  F \n F  H  F  H \n F  F  F  H \n H  F  F  G \n"
    env.step(lake_module.RIGHT)
    assert env.render().startswith(" S [F] F  F \n")


@pytest.mark.parametrize("state", [1, 5, 15], ids=["ice", "hole", "goal"])
def test_picture_differs_in_the_players_tiles_alone(state):
    lake = frozen_lake().params
    start, moved = (lake_module.picture(lake, where) for where in (0, state))
    assert start.shape == (256, 256, 3)
    assert start.dtype == np.uint8
    tiles = (start != moved).reshape(4, 64, 4, 64, 3).any(axis=(1, 3, 4)).ravel()
    assert np.flatnonzero(tiles).tolist() == [0, state]


def test_picture_has_the_size_and_the_kinds_of_the_map():
    lake = frozen_lake(desc=["SFH", "FFG"]).params
    picture = lake_module.picture(lake, 0, tile_size=20)
    assert picture.shape == (40, 60, 3)
    ice, hole, goal = picture[20:, :20], picture[:20, 40:], picture[20:, 40:]
    assert ice.mean() > goal.mean() > hole.mean()


def test_no_render_mode_renders_nothing():
    env = lake_module.make_env()
    env.reset(seed=0)
    assert env.render() is None
    envs = lake_module.make_vector_env(num_envs=2)
    envs.reset(seed=0)
    assert envs.render() is None


@pytest.mark.parametrize("seed", range(20))
def test_a_random_map_can_be_crossed(seed):
    size, frozen = 2 + seed, 0.7
    made = lake_module.random_map(size, frozen, seed)
    assert made == lake_module.random_map(size, frozen, seed)
    assert made != lake_module.random_map(size, frozen, seed + 1) or size == 2
    world = lake_module.frozen_lake(desc=made, is_slippery=False)
    optimum = value_iteration(transition_table(world), gamma=0.999)
    assert optimum.values[0] > 0


def test_random_maps_are_as_frozen_as_they_were_asked_to_be():
    tiles = "".join("".join(lake_module.random_map(30, 0.9, seed)) for seed in range(20))
    assert abs(tiles.count("H") / len(tiles) - 0.1) < 0.01


@pytest.mark.parametrize("options", [{"size": 1}, {"size": 101}, {"frozen": 0}, {"frozen": 1.1}])
def test_a_random_map_that_cannot_be_is_refused(options):
    ((name, _),) = options.items()
    with pytest.raises(ValueError, match=f"^{name} must be a number .*, got "):
        lake_module.random_map(**options)


def test_a_map_with_too_few_frozen_tiles_is_given_up():
    with pytest.raises(ValueError, match=r"frozen must be larger, got 0\.2: none of 1,000 maps"):
        lake_module.random_map(50, 0.2)
