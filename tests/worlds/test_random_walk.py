"""The random walk: its values are known."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlbook.tabular import dynamic_programming as dp
from rlbook_envs import random_walk as walk
from rlbook_envs.world import transition_table


def values(**options):
    table = transition_table(walk.random_walk(**options))
    return dp.policy_values(table, np.ones((table.start.size, 1)), gamma=1.0)


def test_values_of_five_states_are_sixths():
    np.testing.assert_allclose(values(), np.array([0, 1, 2, 3, 4, 5, 0]) / 6, atol=1e-12)


def test_values_of_nineteen_states_are_tenths():
    found = values(num_states=19, left_reward=-1.0)
    np.testing.assert_allclose(found[1:-1], (np.arange(1, 20) - 10) / 10, atol=1e-12)


def test_values_are_as_the_docstring_says():
    m = 8
    found = values(num_states=m - 1, left_reward=3.0, right_reward=-2.0)
    np.testing.assert_allclose(found[1:-1], 3.0 - 5.0 * np.arange(1, m) / m, atol=1e-12)


def test_episodes_begin_in_the_middle_and_end_at_an_end():
    env = gymnasium.make("rlbook/RandomWalk-v0")
    ends = []
    for seed in range(200):
        obs, terminated = env.reset(seed=seed)[0], False
        assert obs == 3
        while not terminated:
            before = obs
            obs, reward, terminated, truncated, _ = env.step(0)
            assert abs(obs - before) == 1 and not truncated
            assert reward == float(obs == 6) and terminated == (obs in (0, 6))
        ends.append(obs)
    assert 70 < ends.count(6) < 130  # 100 expected, standard deviation 7


@pytest.mark.parametrize(
    "options",
    [
        {"num_states": 0}, {"num_states": 1001}, {"num_states": 2.0}, {"num_states": True},
        {"left_reward": float("nan")}, {"right_reward": float("inf")},
    ],
)  # fmt: skip
def test_a_bad_option_is_named(options):
    ((name, _),) = options.items()
    with pytest.raises(ValueError, match=f"^{name} must be a .*number.*, got "):
        walk.random_walk(**options)


def test_made_by_gymnasium_and_drawn():
    check_env(gymnasium.make("rlbook/RandomWalk-v0").unwrapped, skip_render_check=True)
    env = gymnasium.make("rlbook/RandomWalk-v0", render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == " 0  o  o [o] o  o  1 \n"
    pictures = [walk.picture(env.unwrapped.world.params, state) for state in range(7)]
    assert len({picture.tobytes() for picture in pictures}) == 7
