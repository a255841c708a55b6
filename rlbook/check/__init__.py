"""Checkers for the book's exercises: they say what is wrong, not only that it is.

>>> from rlbook import check
>>> from rlbook.algorithms import q_learning
>>> check.q_learning_update(q_learning.q_learning_update)
q_learning_update: correct (200 cases)

Every exercise has a reference, random cases (always the same ones), and the mistakes that people
make in it. Your function is run on copies of all cases. If all that it does is what one of the
mistakes would do, `CheckFailed` names that mistake; otherwise it shows the first case in which your
function differs from the reference, and how.

Each checker is made from its exercise, in the module of its chapter, and its help is the task:
`help(check.q_learning_update)`.
"""

from __future__ import annotations

from typing import Any

from rlbook.check import (
    dqn,
    laptop_to_cluster,
    monte_carlo,
    q_learning,
    rainbow,
    sarsa,
    snake,
    the_problem,
)
from rlbook.check.exercise import CheckFailed as CheckFailed
from rlbook.check.exercise import Exercise

# All exercises, in the order of the chapters.
EXERCISES: dict[str, Exercise] = {
    **the_problem.EXERCISES,
    **monte_carlo.EXERCISES,
    **sarsa.EXERCISES,
    **q_learning.EXERCISES,
    **snake.EXERCISES,
    **laptop_to_cluster.EXERCISES,
    **dqn.EXERCISES,
    **rainbow.EXERCISES,
}


def __getattr__(name: str) -> Any:
    if name in EXERCISES:
        return EXERCISES[name].checker
    raise AttributeError(f"module 'rlbook.check' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*EXERCISES, "EXERCISES", "CheckFailed"]
