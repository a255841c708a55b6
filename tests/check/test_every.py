"""What every checker of every chapter does; the tests of each chapter have what is its own."""

import inspect

import pytest
from checking import message_of

from rlbook import check
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
EXERCISES = {name: each for chapter in CHAPTERS for name, each in chapter.EXERCISES.items()}
SOLUTIONS = {name: each for chapter in CHAPTERS for name, each in chapter.SOLUTIONS.items()}
PLANTED = [
    pytest.param(exercise, mistake, function, id=f"{exercise.name}-{mistake.name}-{i}")
    for exercise in EXERCISES.values()
    for mistake in exercise.mistakes
    for i, function in enumerate(mistake.functions)
]


def test_no_exercise_is_left_out():
    assert len(EXERCISES) == sum(len(chapter.EXERCISES) for chapter in CHAPTERS)
    offered = {name for name, each in vars(check).items() if inspect.isfunction(each)}
    assert EXERCISES.keys() == SOLUTIONS.keys() == offered


@pytest.mark.parametrize("name", EXERCISES)
def test_solutions_pass(name, capsys):
    for solution in (SOLUTIONS[name], EXERCISES[name].reference):
        getattr(check, name)(solution)
        cases = EXERCISES[name].num_cases
        assert capsys.readouterr().out == f"{name}: correct ({cases} cases)\n"


@pytest.mark.parametrize(("exercise", "mistake", "function"), PLANTED)
def test_planted_mistakes_are_turned_down_by_name(exercise, mistake, function):
    assert message_of(exercise.name, function) == f"{exercise.name}: {mistake.name}. {mistake.hint}"


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
    twice = [[repr(case) for case in exercise._cases()] for _ in range(2)]
    assert twice[0] == twice[1]
    assert len(twice[0]) == exercise.num_cases
