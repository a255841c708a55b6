"""The checkers: each passes a right solution, and turns down every planted mistake by its name."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from checking import message_of

from rlbook import check
from rlbook.check import CheckFailed
from rlbook.check.q_learning import EXERCISES

# What the book promises of every exercise that asks for an update.
OF_EVERY_UPDATE = {
    "discount dropped",
    "bootstrap through a terminal state",
    "wrong action's value",
    "sign",
    "off by one",
}


# Solutions, each written out as its equation.


def q_learning_update(q, obs, action, reward, next_obs, terminated, learning_rate, gamma):
    target = reward if terminated else reward + gamma * np.max(q[next_obs])
    td_error = target - q[obs, action]
    q[obs, action] = q[obs, action] + learning_rate * td_error
    return td_error


def double_q_learning_update(
    q, other, obs, action, reward, next_obs, terminated, learning_rate, gamma
):
    target = reward
    if not terminated:
        target += gamma * other[next_obs, np.argmax(q[next_obs])]
    td_error = target - q[obs, action]
    q[obs, action] += learning_rate * td_error
    return td_error


def epsilon_greedy_probabilities(q_row, epsilon):
    probabilities = np.full(len(q_row), epsilon / len(q_row))
    best = np.flatnonzero(q_row == np.max(q_row))
    probabilities[best] += (1 - epsilon) / len(best)
    return probabilities


def average_tables(q, tables, visits):
    average = q.copy()
    for cell in np.ndindex(q.shape):
        weights = visits[:, *cell]
        if weights.sum() > 0:
            average[cell] = np.average(tables[:, *cell], weights=weights)
    return average


class Corridor(gymnasium.Env):
    def __init__(self):
        self.observation_space = gymnasium.spaces.Discrete(7)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell = 3
        return self.cell, {}

    def step(self, action):
        self.cell = self.cell + 1 if action == 1 else self.cell - 1
        return self.cell, 1.0 if self.cell == 6 else 0.0, self.cell in (0, 6), False, {}


SOLUTIONS = {
    "q_learning_update": q_learning_update,
    "double_q_learning_update": double_q_learning_update,
    "epsilon_greedy_probabilities": epsilon_greedy_probabilities,
    "average_tables": average_tables,
    "my_world": Corridor,
}


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_planted_in_updates(name):
    names = [mistake.name for mistake in EXERCISES[name].mistakes]
    if name.endswith("update"):
        assert set(names) >= OF_EVERY_UPDATE


def test_cases_hold_what_is_easily_got_wrong():
    updates = EXERCISES["q_learning_update"].cases
    for terminated in (False, True):
        assert any(case[5] is terminated for case in updates)
    assert any(case[1] == case[4] for case in updates), "a state that is its own successor"
    assert any(not case[0].any() for case in updates), "an untouched table"
    rows = [case[0] for case in EXERCISES["epsilon_greedy_probabilities"].cases]
    ties = {int((row == row.max()).sum()) for row in rows}
    assert {1, 2, 3} <= ties
    assert any(row.max() < 0 for row in rows), "no action is worth as much as 0"
    averages = EXERCISES["average_tables"].cases
    assert {len(visits) for _, _, visits in averages} == {1, 2, 3, 4}
    assert all((visits.sum(axis=0) == 0).any() for _, _, visits in averages)


# Mistakes that are nobody's in particular.


def test_nothing_returned():
    def no_return(*arguments):
        q_learning_update(*arguments)

    text = message_of("q_learning_update", no_return)
    assert "returns None; it should return a number. Is there a `return`?" in text
    assert "learning_rate = " in text, "shows the case"
    text = message_of("average_tables", lambda *_: None)
    assert "returns None; it should return float64 of shape (" in text


def test_wrong_shape_type_and_dtype():
    right = epsilon_greedy_probabilities
    name = "epsilon_greedy_probabilities"
    assert "returns shape ()" in message_of(name, lambda q, e: np.array(1.0))
    assert "returns a list" in message_of(name, lambda q, e: right(q, e).tolist())
    assert "dtype float32" in message_of(name, lambda q, e: right(q, e).astype(np.float32))

    def returns_the_table(q, *arguments):
        q_learning_update(q, *arguments)
        return q

    assert "it should return a number" in message_of("q_learning_update", returns_the_table)
    text = message_of("q_learning_update", lambda *a: q_learning_update(*a) and "δ")
    assert "returns 'δ'; it should return a number" in text


def test_error_in_the_function():
    with pytest.raises(CheckFailed, match=r"raised ZeroDivisionError: division by zero") as failure:
        check.q_learning_update(lambda *arguments: 1 / 0)
    assert isinstance(failure.value.__cause__, ZeroDivisionError)
    text = message_of("q_learning_update", lambda q, obs: 0.0)
    assert "raised TypeError" in text
    assert "(q, obs, action, reward, next_obs, terminated, learning_rate, gamma)" in text


def test_update_of_a_copy():
    def update_of_a_copy(q, *arguments):
        return q_learning_update(q.copy(), *arguments)

    assert "leaves q as it is. Change it in place" in message_of(
        "q_learning_update", update_of_a_copy
    )


def test_wrong_cells_changed():
    def whole_row(q, obs, action, *rest):
        td_error = q_learning_update(q, obs, action, *rest)
        q[obs] = q[obs, action]
        return td_error

    text = message_of("q_learning_update", whole_row)
    assert "changes q at (" in text
    assert "may change" in text


def test_inputs_changed():
    def into_q(q, tables, visits):
        q[:] = average_tables(q, tables, visits)
        return q

    assert "changes q, which must stay as it is" in message_of("average_tables", into_q)

    def tidies_up(q, other, *rest):
        td_error = double_q_learning_update(q, other, *rest)
        other[:] = q
        return td_error

    text = message_of("double_q_learning_update", tidies_up)
    assert "changes other, which must stay as it is" in text


def test_wrong_numbers_are_shown_beside_the_right_ones():
    def ten_times(*arguments):
        return 10 * q_learning_update(*arguments)

    text = message_of("q_learning_update", ten_times)
    assert text.startswith("q_learning_update: the result should be\n")
    assert "but is" in text
    assert "It was called with" in text
    for name in (
        "q",
        "obs",
        "action",
        "reward",
        "next_obs",
        "terminated",
        "learning_rate",
        "gamma",
    ):
        assert f"  {name} = " in text or f"  {name} =\n" in text

    def nudged(q, *arguments):
        td_error = q_learning_update(q, *arguments)
        q[arguments[0], arguments[1]] += 1e-3
        return td_error

    assert "q afterwards should be" in message_of("q_learning_update", nudged)


def test_a_case_is_not_changed_by_the_function_under_test():
    case = EXERCISES["q_learning_update"].cases[0]
    before = case[0].copy()
    EXERCISES["q_learning_update"].run(q_learning_update, case)
    np.testing.assert_array_equal(case[0], before)


# Worlds.


def test_a_mistake_of_ones_own_world():
    class EndlessToTheLeft(Corridor):
        def step(self, action):
            obs, reward, terminated, truncated, info = super().step(action)
            return obs, reward, terminated and obs == 6, truncated, info

    text = message_of("my_world", EndlessToTheLeft)
    assert "after reset(), the steps " in text
    assert "should give observation 0, reward 0, terminated True, truncated False" in text
    assert "yours gives observation 0, reward 0, terminated False, truncated False" in text


def test_gymnasium_objects():
    class NoSeed(Corridor):
        def reset(self, seed=None):
            return super().reset(seed=seed)

    assert "check_env objects" in message_of("my_world", NoSeed)

    class NoInfo(Corridor):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0]

    assert "check_env objects" in message_of("my_world", NoInfo)


def test_not_a_world():
    assert "makes a list, not a gymnasium.Env" in message_of("my_world", list)


def test_spaces():
    class Six(Corridor):
        def __init__(self):
            super().__init__()
            self.observation_space = gymnasium.spaces.Discrete(6)

    assert "observation_space should be Discrete(7); yours is Discrete(6)" in message_of(
        "my_world", Six
    )


def test_world_with_an_error():
    class Broken(Corridor):
        def step(self, action):
            raise KeyError("cell")

    assert "KeyError" in message_of("my_world", Broken)


def test_cheap_to_import():
    heavy = "{'numba', 'torch', 'ray', 'pyspark', 'matplotlib'}"
    program = f"import sys, rlbook.check; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=120, capture_output=True, text=True
    )
    assert done.stdout == "set()\n"
