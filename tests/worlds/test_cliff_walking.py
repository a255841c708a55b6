"""Tests of CliffWalking: Gymnasium's transition table, and examples by hand."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlbook.tabular import dynamic_programming as dp
from rlbook_envs import cliff_walking as cliff
from rlbook_envs.world import transition_table

START, GOAL = 36, 47


@pytest.mark.parametrize("slippery", [False, True])
def test_table_is_that_of_gymnasium(slippery):
    ours = transition_table(cliff.cliff_walking(is_slippery=slippery))
    theirs = gymnasium.make("CliffWalking-v1", is_slippery=slippery).unwrapped
    columns = (ours.probability, ours.next_state, ours.reward, ours.terminated)
    for state, action in np.ndindex(48, 4):
        mine = list(zip(*(column[state, action].tolist() for column in columns), strict=True))
        assert mine == [
            (float(p), int(next_state), float(reward), bool(terminated))
            for p, next_state, reward, terminated in theirs.P[state][action]
        ]
    assert np.array_equal(ours.start, theirs.initial_state_distrib)


def test_the_edge_is_the_shortest_way():
    table = transition_table(cliff.cliff_walking())
    optimum = dp.value_iteration(table, gamma=1.0)
    assert dp.start_value(table, optimum.values) == -13.0
    state, way = START, [START]
    while state != GOAL:
        state = int(table.next_state[state, optimum.policy[state], 0])
        way.append(state)
    assert way == [START, *range(24, 36), GOAL]


def test_falling_pays_minus_100_and_goes_on_from_the_start():
    env = gymnasium.make("rlbook/CliffWalking-v0")
    assert env.reset(seed=0)[0] == START
    assert env.step(cliff.RIGHT)[:4] == (START, -100.0, False, False)
    assert env.step(cliff.LEFT)[:4] == (START, -1.0, False, False)
    assert env.step(cliff.UP)[:4] == (24, -1.0, False, False)


def test_another_shape_is_the_same_cliff():
    table = transition_table(cliff.cliff_walking(shape=(2, 3)))
    values = dp.value_iteration(table, gamma=1.0).values
    assert dp.start_value(table, values) == -4.0


@pytest.mark.parametrize("shape", [(1, 12), (4, 2), 5, "ab", (4,), None])
def test_a_bad_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"^shape must be "):
        cliff.cliff_walking(shape=shape)


def test_made_by_gymnasium_and_drawn():
    check_env(gymnasium.make("rlbook/CliffWalking-v0").unwrapped, skip_render_check=True)
    env = gymnasium.make("rlbook/CliffWalking-v0", render_mode="ansi")
    env.reset(seed=0)
    assert env.render().splitlines()[-1].startswith("[S] C  C ")
    params = env.unwrapped.world.params
    pictures = [cliff.picture(params, state) for state in (START, 24, GOAL)]
    assert {picture.shape for picture in pictures} == {(4 * 48, 12 * 48, 3)}
    assert not np.array_equal(pictures[0], pictures[1])
    # Only the walker's two cells differ.
    changed = np.argwhere((pictures[0] != pictures[1]).any(axis=2)) // 48
    assert {tuple(cell) for cell in changed.tolist()} == {(3, 0), (2, 0)}
