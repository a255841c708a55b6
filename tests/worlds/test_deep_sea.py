"""Tests of DeepSea: its definition, and how rarely a random diver finds the treasure."""

import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlbook.tabular import dynamic_programming as dp
from rlbook_envs import deep_sea as sea
from rlbook_envs.world import transition_table


def dive(env, to_the_right):
    """Rewards and cells of one dive; each flag says which way its step goes."""
    rights, (obs, _) = env.unwrapped.world.params.rights, env.reset(seed=0)
    rewards, cells = [], [obs]
    for right in to_the_right:
        obs, reward, terminated, truncated, _ = env.step(int(rights[obs] == right))
        rewards.append(reward)
        cells.append(obs)
        assert not truncated
    return rewards, cells, terminated


@pytest.mark.parametrize("seed", [0, 1, 2, None])
def test_only_who_always_goes_to_the_right_finds_the_treasure(seed):
    """Against bsuite's rules, written out anew: every dive that there is."""
    env = gymnasium.make("rlbook/DeepSea-v0", size=4, mapping_seed=seed)
    for number in range(2**4):
        flags = [bool(number >> bit & 1) for bit in range(4)]
        rewards, cells, terminated = dive(env, flags)
        column, columns = 0, [0]
        for right in flags:
            column = min(max(column + (1 if right else -1), 0), 3)
            columns.append(column)
        assert cells == [4 * row + column for row, column in enumerate(columns)]
        assert sum(rewards) == pytest.approx(all(flags) - 0.01 / 4 * sum(flags))
        assert terminated


@pytest.mark.parametrize("size", [2, 3, 10, 25])
def test_the_optimum_is_one_less_what_it_costs_to_get_there(size):
    table = transition_table(sea.deep_sea(size))
    optimum = dp.value_iteration(table, gamma=1.0)
    assert dp.start_value(table, optimum.values) == pytest.approx(0.99)
    rights = sea.deep_sea(size).params.rights
    way = np.arange(size) * (size + 1)  # the diagonal
    np.testing.assert_array_equal(optimum.policy[way], rights[way])
    random = np.full((size * (size + 1), 2), 0.5)
    worth = dp.start_value(table, dp.policy_values(table, random, gamma=1.0))
    assert worth == pytest.approx(2.0**-size - 0.005)


def test_random_dives_find_it_as_rarely_as_they_should():
    """1 in 8 of 20,000 dives: within four standard deviations."""
    envs = gymnasium.make_vec("rlbook/DeepSea-v0", num_envs=1000, size=3)
    envs.reset(seed=3)
    rng, found = np.random.default_rng(0), 0
    for _ in range(20 * 4):  # a row of a vector environment begins each dive
        rewards = envs.step(rng.integers(2, size=1000))[1]
        found += int((rewards > 0.5).sum())
    assert abs(found - 20_000 / 8) < 4 * math.sqrt(20_000 * 7 / 64)


def test_the_seed_says_which_action_is_right_and_nothing_else_does():
    first, same, other, plain = (
        sea.deep_sea(10, mapping_seed=seed).params.rights for seed in (5, 5, 6, None)
    )
    assert np.array_equal(first, same) and not np.array_equal(first, other)
    assert 30 < first.sum() < 80 and (plain == 1).all()


@pytest.mark.parametrize("size", [1, 0, -3, 1001, 2.5, "8", None])
def test_a_bad_size_is_named(size):
    with pytest.raises(ValueError, match=r"^size must be a whole number from 2 to 1,000, got "):
        sea.deep_sea(size)


@pytest.mark.parametrize("seed", [-1, 0.5, "x"])
def test_a_bad_mapping_seed_is_named(seed):
    with pytest.raises(
        ValueError, match=r"^mapping_seed must be a whole number of at least 0, or None, got "
    ):
        sea.deep_sea(mapping_seed=seed)


def test_made_by_gymnasium_and_drawn():
    check_env(gymnasium.make("rlbook/DeepSea-v0").unwrapped, skip_render_check=True)
    env = gymnasium.make("rlbook/DeepSea-v0", render_mode="ansi", size=3)
    env.reset(seed=0)
    assert env.render() == "[.] .  . \n .  .  . \n .  .  .  T\n _  _  _ \n"
    params = env.unwrapped.world.params
    pictures = [sea.picture(params, state) for state in range(12)]
    assert {picture.shape for picture in pictures} == {(160, 160, 3)}
    changed = np.argwhere((pictures[0] != pictures[4]).any(axis=2)) // 40
    assert {tuple(cell) for cell in changed.tolist()} == {(0, 0), (1, 1)}  # the diver's two cells
