"""Checkers for the book's exercises: they say what is wrong, not only that it is.

>>> from rlbook import check, q_learning
>>> check.q_learning_update(q_learning.q_learning_update)
q_learning_update: correct (200 cases)

Every exercise has a reference, random cases (always the same ones), and the mistakes that people
make in it. Your function is run on copies of all cases. If all that it does is what one of the
mistakes would do, `CheckFailed` names that mistake; otherwise it shows the first case in which your
function differs from the reference, and how.
"""

from __future__ import annotations

from rlbook.check.exercise import CheckFailed as CheckFailed
from rlbook.check.exercise import Function
from rlbook.check.q_learning import EXERCISES


def q_learning_update(function: Function) -> None:
    """Check a Q-learning update, Sutton and Barto (2018), equation 6.8.

    Args:
        function: `(q, obs, action, reward, next_obs, terminated, learning_rate, gamma) -> td_error`
            that changes `q`, float64 (S, A), in place, at `q[obs, action]` alone, and returns the
            error before learning_rate is applied. What follows a terminated step is worth 0.

    Raises:
        CheckFailed: it does something else.
    """
    EXERCISES["q_learning_update"].check(function)


def double_q_learning_update(function: Function) -> None:
    """Check a double Q-learning update, equation 6.10 (van Hasselt, "Double Q-learning", 2010).

    Args:
        function: `(q, other, obs, action, reward, next_obs, terminated, learning_rate, gamma) ->
            td_error`. The next action is chosen by `q` (the first of equals, as `argmax` does) and
            valued by `other`; `q` is changed in place, and `other` stays as it is. Both (S, A).

    Raises:
        CheckFailed: it does something else.
    """
    EXERCISES["double_q_learning_update"].check(function)


def epsilon_greedy_probabilities(function: Function) -> None:
    """Check the probabilities of an epsilon-greedy policy, Sutton and Barto (2018), section 5.4.

    Args:
        function: `(q_row, epsilon) -> probabilities`, float64 (A,): epsilon / A for every action,
            and the remaining 1 - epsilon shared equally by all actions of the highest value.

    Raises:
        CheckFailed: it does something else.
    """
    EXERCISES["epsilon_greedy_probabilities"].check(function)


def average_tables(function: Function) -> None:
    """Check the average of several workers' tables.

    Args:
        function: `(q, tables, visits) -> average`, from float64 (S, A), float64 (N, S, A) and int64
            (N, S, A) to float64 (S, A). Each cell is the mean of the N workers' cells, weighted by
            how often each visited it; where nobody did, it is q's. No argument is changed.

    Raises:
        CheckFailed: it does something else.
    """
    EXERCISES["average_tables"].check(function)


def my_world(make_env: Function) -> None:
    """Check an environment of your own: a corridor of the cells 0 to 6.

    Episodes start in cell 3. Action 0 goes one cell to the left, action 1 to the right. Reaching
    cell 6 pays 1 and terminates, reaching cell 0 pays 0 and terminates, every other step pays 0.
    Nothing is ever truncated: that is for a time limit to do.

    Args:
        make_env: a callable, such as your class, that makes a `gymnasium.Env` with observations
            `Discrete(7)` and actions `Discrete(2)`.

    Raises:
        CheckFailed: it does something else, or Gymnasium's `check_env` objects.
    """
    EXERCISES["my_world"].check(make_env)
