"""What every checker of every chapter does; the tests of each chapter have what is its own."""

import dataclasses
import inspect
import pydoc

import numpy as np
import pytest
from checking import message_of

from rlbook import check
from rlbook.algorithms import q_learning, sarsa
from rlbook.check import EXERCISES
from rlbook.check.exercise import rewritten
from rlbook.ops import returns
from rlbook.tabular import averaging, dynamic_programming, policies, temporal_difference
from rlbook_envs.streams import stream_key
from tests.check import (
    test_dqn,
    test_exercise,
    test_laptop_to_cluster,
    test_monte_carlo,
    test_rainbow,
    test_sarsa,
    test_snake,
    test_the_problem,
)

CHAPTERS = (
    test_the_problem,
    test_monte_carlo,
    test_sarsa,
    test_exercise,
    test_snake,
    test_laptop_to_cluster,
    test_dqn,
    test_rainbow,
)
SOLUTIONS = {name: each for chapter in CHAPTERS for name, each in chapter.SOLUTIONS.items()}
PLANTED = [
    pytest.param(exercise, mistake, id=f"{exercise.name}-{mistake.name}")
    for exercise in EXERCISES.values()
    for mistake in exercise.mistakes
]


def library_returns(rewards, terminated, last_value, gamma):
    return returns.discounted_returns(rewards, gamma * (1.0 - terminated), last_value)


def library_keys(seed, stream, number):
    return np.array([stream_key(seed, stream, index) for index in range(number)], np.uint64)


# Exercises that ask for a function of the library.
LIBRARY = {
    "policy_values": dynamic_programming.policy_values,
    "discounted_returns": library_returns,
    "td_update": temporal_difference.td_update,
    "sarsa_update": sarsa.sarsa_update,
    "expected_value": sarsa.expected_value,
    "expected_sarsa_update": sarsa.expected_sarsa_update,
    "n_step_return": returns.n_step_return,
    "q_learning_update": q_learning.q_learning_update,
    "double_q_learning_update": q_learning.double_q_learning_update,
    "epsilon_greedy_probabilities": policies.epsilon_greedy_probabilities,
    "average_tables": averaging.average_tables,
    "stream_keys": library_keys,
}


def test_no_exercise_is_left_out():
    assert len(EXERCISES) == sum(len(chapter.EXERCISES) for chapter in CHAPTERS)
    offered = {name for name, _ in inspect.getmembers(check, inspect.isfunction)}
    assert EXERCISES.keys() == SOLUTIONS.keys() == offered


@pytest.mark.parametrize("name", EXERCISES)
def test_solutions_pass(name, capsys):
    for solution in (SOLUTIONS[name], EXERCISES[name].reference, LIBRARY.get(name)):
        if solution is not None:
            getattr(check, name)(solution)
            cases = EXERCISES[name].num_cases
            assert capsys.readouterr().out == f"{name}: correct ({cases} cases)\n"


@pytest.mark.parametrize(("exercise", "mistake"), PLANTED)
def test_planted_mistakes_are_turned_down_by_name(exercise, mistake):
    text = f"{exercise.name}: {mistake.name}. {mistake.hint}"
    for function in mistake.functions:
        assert message_of(exercise.name, function) == text


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_planted(name):
    names = [mistake.name for mistake in EXERCISES[name].mistakes]
    assert len(names) == len(set(names)) >= 5


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_is_no_failure_so_that_a_chapter_runs_from_top_to_bottom(name, capsys):
    def stub(*arguments):
        raise NotImplementedError("your turn")

    getattr(check, name)(stub)
    assert capsys.readouterr().out == f"{name}: not written yet\n"


@pytest.mark.parametrize("name", EXERCISES)
def test_not_a_function(name):
    with pytest.raises(TypeError, match=f"check.{name} takes a function"):
        getattr(check, name)(3)


@pytest.mark.parametrize("name", EXERCISES)
def test_cases_are_always_the_same(name):
    exercise = EXERCISES[name]
    again = dataclasses.replace(exercise)
    assert again.cases is not exercise.cases
    assert list(map(repr, again.cases)) == list(map(repr, exercise.cases))
    assert len(exercise.cases) == exercise.num_cases


# The functions of `rlbook.check`, which are made from the exercises.


@pytest.mark.parametrize("name", EXERCISES)
def test_help_is_the_task(name):
    checker = getattr(check, name)
    assert checker is getattr(check, name)
    assert (checker.__module__, checker.__name__) == ("rlbook.check", name)
    text = pydoc.render_doc(checker, renderer=pydoc.plaintext)
    assert f"{name}(function: 'Function') -> 'None'" in text
    assert "    Check " in text and "Args:\n" in text and "CheckFailed: " in text
    assert inspect.getdoc(EXERCISES[name].reference).splitlines()[-1] in text
    assert all(len(line) <= 100 for line in text.splitlines()[1:])


def test_tab_completion_and_other_names():
    assert set(EXERCISES) < set(dir(check))
    assert "CheckFailed" in dir(check)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = check.nothing


def test_a_wrong_solution_must_differ_from_the_reference():
    with pytest.raises(ValueError, match="the text to replace must be a part of td_update"):
        rewritten(EXERCISES["td_update"].reference, {"values[next_state]": "0.0"})
