"""The exercises of chapter 03: right solutions, random cases, and the mistakes people make."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from numpy.random import Generator

from rlbook.check.exercise import Case, FunctionExercise, Mistakes, Table, Whole, by_name
from rlbook.check.playing import SWAPPED_ENDS, Reset, Step, WorldExercise
from rlbook.check.sarsa import random_reward, step_numbers, update_mistakes


def q_learning_update(
    q: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """Check a Q-learning update, Sutton and Barto (2018), equation 6.8.

    It changes `q`, float64 (S, A), in place, at `q[obs, action]` alone, and returns the error
    before learning_rate is applied. What follows a terminated step is worth 0.
    """
    following = q[next_obs].max()
    target = reward + gamma * (1 - terminated) * following
    td_error = float(target - q[obs, action])
    q[obs, action] += learning_rate * td_error
    return td_error


def double_q_learning_update(
    q: Table,
    other: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """Check a double Q-learning update, equation 6.10 (van Hasselt, "Double Q-learning", 2010).

    The next action is chosen by `q` (the first of equals, as `argmax` does) and valued by `other`,
    both float64 (S, A). `q` is changed in place, at `q[obs, action]` alone, and `other` stays as it
    is. The error is returned before learning_rate is applied.
    """
    following = other[next_obs, q[next_obs].argmax()]
    target = reward + gamma * (1 - terminated) * following
    td_error = float(target - q[obs, action])
    q[obs, action] += learning_rate * td_error
    return td_error


_WRONG_ACTION = (
    "wrong action's value. You bootstrap from the action that was just taken; in next_obs it is the"
    " greedy action whose value counts."
)
_Q_MISTAKES: Mistakes = {
    **update_mistakes(following="the next state's value"),
    _WRONG_ACTION: [{"q[next_obs].max()": "q[next_obs, action]"}],
    "mean instead of maximum. You bootstrap from the mean of next_obs's action values; Q-learning"
    " takes their maximum.": [{"q[next_obs].max()": "q[next_obs].mean()"}],
}
_DOUBLE_MISTAKES: Mistakes = {
    **update_mistakes(following="the next state's value"),
    _WRONG_ACTION: [{"q[next_obs].argmax()": "action"}],
    "one table chooses and values. You value the greedy action with the table that chose it, which"
    " is plain Q-learning: let q choose and other value.": [
        {"other[next_obs, q[next_obs].argmax()]": "q[next_obs].max()"},
        {"other[next_obs, q[next_obs].argmax()]": "other[next_obs].max()"},
    ],
    "tables exchanged. You let other choose the action and q value it; it is the other way"
    " round.": [{"other[next_obs, q[next_obs].argmax()]": "q[next_obs, other[next_obs].argmax()]"}],
    "wrong table updated. You change other; only q[obs, action] is updated.": [
        {"q[obs, action] +=": "other[obs, action] +="},
        {"return": "other[obs, action] += learning_rate * td_error; return"},
        {"q[obs, action]": "other[obs, action]"},
    ],
    "value taken from other. You subtract other[obs, action] from the target; subtract the value"
    " that you update, q's.": [{"target - q[obs, action]": "target - other[obs, action]"}],
}


def _transition_case(rng: Generator, num_tables: int) -> Case:
    num_states, num_actions = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    tables = [rng.normal(size=(num_states, num_actions)).round(3) for _ in range(num_tables)]
    if rng.random() < 0.15:  # as learning begins: all actions of the next state are worth the same
        tables = [np.zeros_like(table) for table in tables]
    obs, action = int(rng.integers(num_states)), int(rng.integers(num_actions))
    reward = random_reward(rng)
    next_obs = int(rng.integers(num_states))  # now and then the same state again
    return *tables, obs, action, reward, next_obs, *step_numbers(rng)


_single_case = partial(_transition_case, num_tables=1)
_double_case = partial(_transition_case, num_tables=2)


def epsilon_greedy_probabilities(q_row: Table, epsilon: float) -> Table:
    """Check the probabilities of an epsilon-greedy policy, Sutton and Barto (2018), section 5.4.

    They are float64 (A,): epsilon / A for every action, and the remaining 1 - epsilon shared
    equally by all actions of the highest value.
    """
    best = q_row == q_row.max()
    greedy = best / best.sum()
    return epsilon / len(q_row) + (1 - epsilon) * greedy


def _others_explore(q_row: Table, epsilon: float) -> Table:
    """Exploring among the actions that are not greedy, and among them alone."""
    best = q_row == q_row.max()
    if best.all():
        return best / best.sum()
    return np.where(best, (1 - epsilon) / best.sum(), epsilon / (~best).sum())


def _all_but_one_explore(q_row: Table, epsilon: float) -> Table:
    probabilities = np.full(len(q_row), epsilon / (len(q_row) - 1))
    probabilities[q_row.argmax()] = 1 - epsilon
    return probabilities


_EPSILON_MISTAKES: Mistakes = {
    "ties to one action. Where several actions have the highest value you give one of them"
    " everything; let them share the greedy probability equally.": [
        {"best / best.sum()": "np.eye(len(q_row))[q_row.argmax()]"},
        {"best / best.sum()": "np.eye(len(q_row))[-1 - q_row[::-1].argmax()]"},
    ],
    "ties counted in full. Where several actions have the highest value you give each of them"
    " 1 - epsilon, and the sum exceeds 1; divide it by their number.": [{" / best.sum()": ""}],
    "off by one. You share epsilon among the other actions only; exploring means any of all A"
    " actions, the greedy one included: epsilon / A each.": [
        "_others_explore(q_row, epsilon)",
        "_all_but_one_explore(q_row, epsilon)",
    ],
    "greedy action does not explore. You leave out the greedy actions' own epsilon / A, and the sum"
    " falls short of 1.": [{"epsilon / len(q_row)": "~best * epsilon / len(q_row)"}],
    "epsilon the wrong way round. You are greedy with probability epsilon; be so with probability"
    " 1 - epsilon.": ["epsilon_greedy_probabilities(q_row, 1 - epsilon)"],
    "sign. You favour the lowest value; the greedy action is the one with the highest.": [
        "epsilon_greedy_probabilities(-q_row, epsilon)",
        {"best / best.sum()": "np.eye(len(q_row))[q_row.argmin()]"},
    ],
    "epsilon dropped. You never explore; with probability epsilon all actions are equally"
    " likely.": [
        "epsilon_greedy_probabilities(q_row, 0.0)",
        "np.eye(len(q_row))[q_row.argmax()]",
    ],
}


def _epsilon_case(rng: Generator) -> Case:
    num_actions = int(rng.integers(2, 7))
    if rng.random() < 0.6:
        q_row = rng.integers(-2, 2, num_actions).astype(np.float64)  # ties, and highest below 0
    else:
        q_row = rng.normal(size=num_actions).round(3)
    return q_row, float(rng.choice([0.0, 0.05, 0.1, 0.3, 0.75, 1.0]))


def average_tables(q: Table, tables: Table, visits: Whole) -> Table:
    """Check the average of several workers' tables.

    From `q`, float64 (S, A), `tables`, float64 (N, S, A), and `visits`, int64 (N, S, A), it makes
    float64 (S, A). Each cell is the mean of the N workers' cells, weighted by how often each worker
    visited it; where nobody did, it is q's. No argument is changed.
    """
    total = visits.sum(axis=0)
    mean = (visits * tables).sum(axis=0) / np.maximum(total, 1)
    return np.where(total > 0, mean, q)


def _of_workers(visits: Whole) -> Whole:
    """In each cell, all visits of that worker together."""
    return np.broadcast_to(visits.sum((1, 2), keepdims=True), visits.shape)


def _last_visitors(visits: Whole) -> Whole:
    """In each cell, 1 for the last worker that visited it."""
    visited = (visits > 0).astype(np.int64)
    return visited * (np.cumsum(visited[::-1], axis=0)[::-1] == 1)


_AVERAGE_MISTAKES: Mistakes = {
    "visits dropped. You count every worker alike; weigh each cell by how often that worker visited"
    " it.": [
        "tables.mean(axis=0)",
        {"mean, q)": "tables.mean(axis=0), q)"},
        "average_tables(q, tables, np.sign(visits))",
    ],
    "unvisited cells lost. Where no worker went, you do not keep q's value.": [
        {"mean, q)": "mean, 0.0)"},
        {"mean, q)": "mean, np.nan)"},
        {"mean, q)": "mean, tables.mean(axis=0))"},
    ],
    "weights of workers, not of cells. You weigh a worker by all of its visits together; each cell"
    " has weights of its own.": [
        {"mean, q)": "average_tables(q, tables, _of_workers(visits)), q)"},
        "average_tables(q, tables, _of_workers(visits))",
    ],
    "off by one. You count the old q as one more visit; visited cells are the workers' mean"
    " alone.": ["(q + (visits * tables).sum(axis=0)) / (1 + visits.sum(axis=0))"],
    "sum instead of mean. You do not divide by the visits of all workers together.": [
        {" / np.maximum(total, 1)": ""},
        "(visits * tables).sum(axis=0)",
    ],
    "divided by the number of workers. You divide the weighted sum by the number of workers; divide"
    " by their visits together.": [
        {"np.maximum(total, 1)": "len(tables)"},
        "(visits * tables).mean(axis=0)",
    ],
    "sign. You move q away from the workers' mean; the change to add is mean minus q.": [
        "2 * q - average_tables(q, tables, visits)"
    ],
    "last worker wins. You overwrite one worker's cells with the next one's; average them.": [
        "average_tables(q, tables, _last_visitors(visits))",
        "tables[-1]",
    ],
}


def _average_case(rng: Generator) -> Case:
    shape = tuple(int(size) for size in rng.integers((1, 2, 2), (5, 5, 4)))
    visits = rng.integers(0, 5, shape) * (rng.random(shape) < 0.7)
    visits[:, 0, 0] = 0  # a cell where nobody went
    return rng.normal(size=shape[1:]).round(3), rng.normal(size=shape).round(3), visits


class MyWorld(gymnasium.Env[Any, Any]):
    """Check an environment of your own: a corridor of the cells 0 to 6.

    Episodes start in cell 3. Action 0 goes one cell to the left, action 1 to the right. Reaching
    cell 6 pays 1 and terminates, reaching cell 0 pays 0 and terminates, every other step pays 0.
    Nothing is ever truncated: that is for a time limit to do.
    """

    observation_space = Discrete(7)
    action_space = Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        self.cell = 3
        return self.cell, {}

    def step(self, action: int) -> Step:
        self.cell += 1 if action == 1 else -1
        ends = self.cell in (0, 6)
        return self.cell, float(self.cell == 6), ends, False, {}


_WORLD_MISTAKES: Mistakes = {
    "never terminates. In your environment terminated is never True; it must be when cell 0 or cell"
    " 6 is reached.": [{"ends, False": "False, False"}],
    "reward on the wrong side. Your environment pays for cell 0; it is cell 6 that pays 1.": [
        {"self.cell == 6": "self.cell == 0"}
    ],
    "moves the wrong way. In your environment action 0 goes to the right and action 1 to the left;"
    " it is the other way round.": [{"action == 1": "action == 0"}],
    "starts in the wrong cell. reset() must begin in cell 3.": [
        {"self.cell = 3": f"self.cell = {cell}"} for cell in (0, 1, 2, 4, 5, 6)
    ],
    "does not reset. Your second episode begins where the first one ended: put cell 3 back in"
    " reset().": [{"self.cell = 3": "self.cell = getattr(self, 'cell', 3)"}],
    SWAPPED_ENDS: [{"ends, False": "False, ends"}],
}


def _corridor_case(rng: Generator) -> Case:
    """The actions of three episodes, each played to its end."""
    episodes = []
    for _ in range(3):
        cell, actions = 3, list[int]()
        while 0 < cell < 6:
            actions.append(int(rng.integers(2)))
            cell += 2 * actions[-1] - 1
        episodes.append(actions)
    return tuple(episodes)


EXERCISES = by_name(
    FunctionExercise(
        q_learning_update, partial(_transition_case, num_tables=1), _Q_MISTAKES, "td_error", "q"
    ),
    FunctionExercise(
        double_q_learning_update,
        partial(_transition_case, num_tables=2),
        _DOUBLE_MISTAKES,
        "td_error",
        "q",
    ),
    FunctionExercise(
        epsilon_greedy_probabilities, _epsilon_case, _EPSILON_MISTAKES, "probabilities"
    ),
    FunctionExercise(average_tables, _average_case, _AVERAGE_MISTAKES, "average"),
    WorldExercise(MyWorld, _corridor_case, _WORLD_MISTAKES, start=3),
)
