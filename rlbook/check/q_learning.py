"""The exercises of chapter 03: right solutions, random cases, and how people go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rlbook.check.exercise import (
    CORRIDOR_START,
    Exercise,
    Function,
    FunctionExercise,
    Mistake,
    Table,
    WorldExercise,
    from_library,
)

# Where the corridor of `my_world` begins, and where it pays.
START, GOAL = CORRIDOR_START, 6


# The updates of Q-learning and double Q-learning, and how they go wrong.


class _Transition(NamedTuple):
    """One step's arguments. In plain Q-learning `other` is `q` itself."""

    q: Table
    other: Table
    obs: int
    action: int
    reward: float
    next_obs: int
    terminated: bool
    learning_rate: float
    gamma: float

    @property
    def discount(self) -> float:
        return self.gamma * (1 - self.terminated)

    @property
    def next_action(self) -> int:
        return int(self.q[self.next_obs].argmax())


def _q_target(t: _Transition) -> float:
    return float(t.reward + t.discount * t.other[t.next_obs, t.next_action])


def _faulty_update(
    *,
    double: bool = False,
    target: Callable[[_Transition], float] = _q_target,
    error: Callable[[_Transition, float], float] = lambda t, target: target - t.q[t.obs, t.action],
    tables: Callable[[_Transition], list[Table]] = lambda t: [t.q],
    cell: Callable[[_Transition], tuple[int, int]] = lambda t: (t.obs, t.action),
    step: Callable[[_Transition, float], float] = lambda t, error: t.learning_rate * error,
    result: Callable[[_Transition, float], float] = lambda t, error: error,
) -> Function:
    """The update in all its parts, any of which may be put wrong."""

    def update(q: Table, *arguments: Any) -> float:
        t = _Transition(q, *arguments) if double else _Transition(q, q, *arguments)
        td_error = error(t, target(t))
        for table in tables(t):
            table[cell(t)] += step(t, td_error)
        return float(result(t, td_error))

    return update


def _update_mistakes(double: bool) -> tuple[Mistake, ...]:
    """The mistakes that both updates share."""

    def mistake(name: str, hint: str, *faults: dict[str, Any]) -> Mistake:
        return Mistake(name, hint, tuple(_faulty_update(double=double, **each) for each in faults))

    return (
        mistake(
            "discount dropped",
            "You add the next state's value undiscounted; multiply it by gamma.",
            {
                "target": lambda t: (
                    t.reward + (1 - t.terminated) * t.other[t.next_obs, t.next_action]
                )
            },
        ),
        mistake(
            "bootstrap through a terminal state",
            "You count the value of next_obs even where terminated is True; nothing follows there,"
            " and the target is the reward alone.",
            {"target": lambda t: t.reward + t.gamma * t.other[t.next_obs, t.next_action]},
        ),
        mistake(
            "wrong action's value",
            "You bootstrap from the action that was just taken; in next_obs it is the greedy action"
            " whose value counts.",
            {"target": lambda t: t.reward + t.discount * t.other[t.next_obs, t.action]},
        ),
        mistake(
            "sign",
            "The error is target minus present value, and is added. Yours has one minus too many.",
            {"result": lambda t, error: -error},
            {"step": lambda t, error: -t.learning_rate * error},
            {
                "step": lambda t, error: -t.learning_rate * error,
                "result": lambda t, error: -error,
            },
        ),
        mistake(
            "off by one",
            "You are one step off: the value of next_obs goes into the target, and it is"
            " q[obs, action] that is updated.",
            {"target": lambda t: t.reward + t.discount * t.other[t.obs, t.q[t.obs].argmax()]},
            {"cell": lambda t: (t.next_obs, t.action)},
            {
                "cell": lambda t: (t.next_obs, t.action),
                "error": lambda t, target: target - t.q[t.next_obs, t.action],
            },
        ),
        mistake(
            "learning rate dropped",
            "You add the whole error to q[obs, action]; multiply it by learning_rate.",
            {"step": lambda t, error: error},
        ),
        mistake(
            "learning rate in the result",
            "You return learning_rate times the error; return the error itself.",
            {"result": lambda t, error: t.learning_rate * error},
        ),
        mistake(
            "error measured after the update",
            "You measure the error when q[obs, action] has already moved; do it before.",
            {"result": lambda t, error: (1 - t.learning_rate) * error},
        ),
        mistake(
            "target instead of error",
            "You add learning_rate times the target; first subtract q[obs, action] from it.",
            {"error": lambda t, target: target},
            {"step": lambda t, error: t.learning_rate * (error + t.q[t.obs, t.action])},
        ),
        mistake(
            "last reward dropped",
            "You make the target 0 where terminated is True; it is the reward, which still counts.",
            {"target": lambda t: (1 - t.terminated) * _q_target(t)},
        ),
        mistake(
            "discounted reward",
            "You multiply the reward by gamma as well; only what comes after it is discounted.",
            {
                "target": lambda t: (
                    t.gamma * t.reward + t.discount * t.other[t.next_obs, t.next_action]
                )
            },
        ),
    )


_MEAN_FOR_MAXIMUM = Mistake(
    "mean instead of maximum",
    "You bootstrap from the mean of next_obs's action values; Q-learning takes their maximum.",
    (_faulty_update(target=lambda t: t.reward + t.discount * t.q[t.next_obs].mean()),),
)

_DOUBLE_MISTAKES = (
    Mistake(
        "one table chooses and values",
        "You value the greedy action with the table that chose it, which is plain Q-learning: let"
        " q choose and other value.",
        (
            _faulty_update(
                double=True, target=lambda t: t.reward + t.discount * t.q[t.next_obs].max()
            ),
            _faulty_update(
                double=True, target=lambda t: t.reward + t.discount * t.other[t.next_obs].max()
            ),
        ),
    ),
    Mistake(
        "tables exchanged",
        "You let other choose the action and q value it; it is the other way about.",
        (
            _faulty_update(
                double=True,
                target=lambda t: (
                    t.reward + t.discount * t.q[t.next_obs, t.other[t.next_obs].argmax()]
                ),
            ),
        ),
    ),
    Mistake(
        "wrong table updated",
        "You change other; only q[obs, action] is updated.",
        (
            _faulty_update(double=True, tables=lambda t: [t.other]),
            _faulty_update(double=True, tables=lambda t: [t.q, t.other]),
            _faulty_update(
                double=True,
                tables=lambda t: [t.other],
                error=lambda t, target: target - t.other[t.obs, t.action],
            ),
        ),
    ),
    Mistake(
        "value taken from other",
        "You subtract other[obs, action] from the target; subtract the value that you update, q's.",
        (_faulty_update(double=True, error=lambda t, target: target - t.other[t.obs, t.action]),),
    ),
)


def _transition_case(rng: Generator, num_tables: int) -> tuple[Any, ...]:
    num_states, num_actions = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    tables = [rng.normal(size=(num_states, num_actions)).round(3) for _ in range(num_tables)]
    if rng.random() < 0.15:  # as learning begins: all actions of the next state are worth the same
        for table in tables:
            table[:] = 0.0
    return (
        *tables,
        int(rng.integers(num_states)),
        int(rng.integers(num_actions)),
        float(rng.choice([0.0, 1.0, -1.0, 2.5])),
        int(rng.integers(num_states)),  # now and then the same state again
        bool(rng.random() < 0.3),
        float(rng.choice([0.1, 0.25, 0.5, 1.0])),
        float(rng.choice([0.9, 0.99, 0.5])),
    )


# Epsilon-greedy probabilities, and how they go wrong.


def _greedy(q_row: Table) -> Table:
    """Probabilities that share everything among the best actions."""
    best = q_row == q_row.max()
    return np.asarray(best / best.sum())


def _one_action(index: int, num_actions: int) -> Table:
    return np.asarray(np.eye(num_actions)[index])


def _off_by_one(q_row: Table, epsilon: float) -> Table:
    """Exploring among the actions that are not greedy, and among them alone."""
    best = q_row == q_row.max()
    if best.all():
        return _greedy(q_row)
    return np.where(best, (1 - epsilon) / best.sum(), epsilon / (~best).sum())


def _off_by_one_with_ties(q_row: Table, epsilon: float) -> Table:
    probabilities = np.full(len(q_row), epsilon / (len(q_row) - 1))
    probabilities[q_row.argmax()] = 1 - epsilon
    return probabilities


_EPSILON_MISTAKES = (
    Mistake(
        "ties to one action",
        "Where several actions have the highest value you give one of them everything; let them"
        " share the greedy probability equally.",
        (
            lambda q, e: e / len(q) + (1 - e) * _one_action(q.argmax(), len(q)),
            lambda q, e: e / len(q) + (1 - e) * _one_action(-1 - q[::-1].argmax(), len(q)),
        ),
    ),
    Mistake(
        "ties counted in full",
        "Where several actions have the highest value you give each of them 1 - epsilon, and the"
        " sum exceeds 1; divide it by their number.",
        (lambda q, e: e / len(q) + (1 - e) * (q == q.max()),),
    ),
    Mistake(
        "off by one",
        "You share epsilon among the other actions only; exploring means any of all A actions, the"
        " greedy one included: epsilon / A each.",
        (_off_by_one, _off_by_one_with_ties),
    ),
    Mistake(
        "greedy action does not explore",
        "You leave out the greedy actions' own epsilon / A, and the sum falls short of 1.",
        (lambda q, e: np.where(q == q.max(), (1 - e) * _greedy(q), e / len(q)),),
    ),
    Mistake(
        "epsilon the wrong way round",
        "You are greedy with probability epsilon; be so with probability 1 - epsilon.",
        (lambda q, e: (1 - e) / len(q) + e * _greedy(q),),
    ),
    Mistake(
        "sign",
        "You favour the lowest value; the greedy action is the one with the highest.",
        (
            lambda q, e: e / len(q) + (1 - e) * _greedy(-q),
            lambda q, e: e / len(q) + (1 - e) * _one_action(q.argmin(), len(q)),
        ),
    ),
    Mistake(
        "epsilon dropped",
        "You never explore; with probability epsilon all actions are equally likely.",
        (lambda q, e: _greedy(q), lambda q, e: _one_action(q.argmax(), len(q))),
    ),
)


def _epsilon_case(rng: Generator) -> tuple[Any, ...]:
    num_actions = int(rng.integers(2, 7))
    if rng.random() < 0.6:
        q_row = rng.integers(-2, 2, num_actions).astype(np.float64)  # ties, and highest below 0
    else:
        q_row = rng.normal(size=num_actions).round(3)
    return q_row, float(rng.choice([0.0, 0.05, 0.1, 0.3, 0.75, 1.0]))


# Averaging the tables of several workers, and how it goes wrong.


def _weighted_mean(q: Table, tables: Table, weights: Table) -> Table:
    """The mean over workers with these weights (N, S, A), and q where they are all 0."""
    total = weights.sum(axis=0)
    mean = (weights * tables).sum(axis=0) / np.maximum(total, 1e-300)
    return np.where(total > 0, mean, q)


def _visited(visits: NDArray[np.int64]) -> Table:
    return (visits > 0).astype(np.float64)


_AVERAGE_MISTAKES = (
    Mistake(
        "visits dropped",
        "You count every worker alike; weigh each cell by how often that worker visited it.",
        (
            lambda q, tables, visits: tables.mean(axis=0),
            lambda q, tables, visits: np.where(visits.sum(axis=0) > 0, tables.mean(axis=0), q),
            lambda q, tables, visits: _weighted_mean(q, tables, _visited(visits)),
        ),
    ),
    Mistake(
        "unvisited cells lost",
        "Where no worker went, you do not keep q's value.",
        (
            lambda q, tables, visits: _weighted_mean(np.zeros_like(q), tables, visits),
            lambda q, tables, visits: _weighted_mean(np.full_like(q, np.nan), tables, visits),
            lambda q, tables, visits: _weighted_mean(tables.mean(axis=0), tables, visits),
        ),
    ),
    Mistake(
        "weights of workers, not of cells",
        "You weigh a worker by all of its visits together; each cell has weights of its own.",
        (
            lambda q, tables, visits: np.where(
                visits.sum(axis=0) > 0,
                _weighted_mean(
                    q, tables, np.broadcast_to(visits.sum((1, 2), keepdims=True), visits.shape)
                ),
                q,
            ),
            lambda q, tables, visits: _weighted_mean(
                q, tables, np.broadcast_to(visits.sum((1, 2), keepdims=True), visits.shape)
            ),
        ),
    ),
    Mistake(
        "off by one",
        "You count the old q as one more visit; visited cells are the workers' mean alone.",
        (lambda q, tables, visits: (q + (visits * tables).sum(axis=0)) / (1 + visits.sum(axis=0)),),
    ),
    Mistake(
        "sum instead of mean",
        "You do not divide by the visits of all workers together.",
        (
            lambda q, tables, visits: np.where(
                visits.sum(axis=0) > 0, (visits * tables).sum(axis=0), q
            ),
            lambda q, tables, visits: (visits * tables).sum(axis=0),
        ),
    ),
    Mistake(
        "divided by the number of workers",
        "You divide the weighted sum by the number of workers; divide by their visits together.",
        (
            lambda q, tables, visits: np.where(
                visits.sum(axis=0) > 0, (visits * tables).mean(axis=0), q
            ),
            lambda q, tables, visits: (visits * tables).mean(axis=0),
        ),
    ),
    Mistake(
        "sign",
        "You move q away from the workers' mean; the change to add is mean minus q.",
        (lambda q, tables, visits: q - (_weighted_mean(q, tables, visits) - q),),
    ),
    Mistake(
        "last worker wins",
        "You overwrite one worker's cells with the next one's; average them.",
        (
            lambda q, tables, visits: _weighted_mean(
                q,
                tables,
                _visited(visits) * (np.cumsum(_visited(visits)[::-1], axis=0)[::-1] == 1),
            ),
            lambda q, tables, visits: tables[-1],
        ),
    ),
)


def _average_case(rng: Generator) -> tuple[Any, ...]:
    shape = tuple(int(size) for size in rng.integers((1, 2, 2), (5, 5, 4)))
    visits = rng.integers(0, 5, shape) * (rng.random(shape) < 0.7)
    visits[:, 0, 0] = 0  # a cell where nobody went
    return rng.normal(size=shape[1:]).round(3), rng.normal(size=shape).round(3), visits


# The corridor, and how it goes wrong.


def _corridor(
    start: int = START,
    goal: int = GOAL,
    right: int = 1,
    resets: bool = True,
    ends: bool = True,
    swapped: bool = False,
) -> Function:
    """A function that makes the corridor of `my_world`, any part of which may be put wrong."""

    def make_env() -> Any:
        import gymnasium

        class Corridor(gymnasium.Env[Any, Any]):
            observation_space = gymnasium.spaces.Discrete(7)
            action_space = gymnasium.spaces.Discrete(2)
            cell = start

            def reset(
                self, *, seed: int | None = None, options: dict[str, Any] | None = None
            ) -> tuple[int, dict[str, Any]]:
                super().reset(seed=seed)
                if resets:
                    self.cell = start
                return self.cell, {}

            def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
                self.cell += right if action == 1 else -right
                over = ends and self.cell in (0, 6)
                reward = float(self.cell == goal)
                return self.cell, reward, over and not swapped, over and swapped, {}

        return Corridor()

    return make_env


_CORRIDOR_MISTAKES = (
    Mistake(
        "never terminates",
        "In your world terminated is never True; it must be when cell 0 or cell 6 is reached.",
        (_corridor(ends=False),),
    ),
    Mistake(
        "reward on the wrong side",
        "Your world pays for cell 0; it is cell 6 that pays 1.",
        (_corridor(goal=0),),
    ),
    Mistake(
        "moves the wrong way",
        "In your world action 0 goes to the right and action 1 to the left; it is the other way"
        " about.",
        (_corridor(right=-1),),
    ),
    Mistake(
        "starts in the wrong cell",
        f"reset() must begin in cell {START}.",
        tuple(_corridor(start=cell) for cell in range(7) if cell != START),
    ),
    Mistake(
        "does not reset",
        f"Your second episode begins where the first one ended: put cell {START} back in reset().",
        (_corridor(resets=False),),
    ),
    Mistake(
        "terminated and truncated swapped",
        "Your world says truncated where it ends by its own rules. step() returns obs, reward,"
        " terminated, truncated, info.",
        (_corridor(swapped=True),),
    ),
)


def _corridor_case(rng: Generator) -> tuple[Any, ...]:
    """The actions of three episodes, each played to its end."""
    episodes = []
    for _ in range(3):
        cell, actions = START, []
        while 0 < cell < GOAL:
            actions.append(int(rng.integers(2)))
            cell += 2 * actions[-1] - 1
        episodes.append(actions)
    return tuple(episodes)


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        FunctionExercise(
            "q_learning_update",
            "(q, obs, action, reward, next_obs, terminated, learning_rate, gamma) -> td_error",
            from_library("algorithms.q_learning", "q_learning_update"),
            lambda rng: _transition_case(rng, num_tables=1),
            (*_update_mistakes(double=False), _MEAN_FOR_MAXIMUM),
            changes="q",
        ),
        FunctionExercise(
            "double_q_learning_update",
            "(q, other, obs, action, reward, next_obs, terminated, learning_rate, gamma)"
            " -> td_error",
            from_library("algorithms.q_learning", "double_q_learning_update"),
            lambda rng: _transition_case(rng, num_tables=2),
            (*_update_mistakes(double=True), *_DOUBLE_MISTAKES),
            changes="q",
        ),
        FunctionExercise(
            "epsilon_greedy_probabilities",
            "(q_row, epsilon) -> probabilities",
            from_library("tabular.policies", "epsilon_greedy_probabilities"),
            _epsilon_case,
            _EPSILON_MISTAKES,
        ),
        FunctionExercise(
            "average_tables",
            "(q, tables, visits) -> average",
            from_library("tabular.averaging", "average_tables"),
            _average_case,
            _AVERAGE_MISTAKES,
        ),
        WorldExercise(
            "my_world",
            "() -> environment",
            _corridor(),
            _corridor_case,
            _CORRIDOR_MISTAKES,
            num_cases=20,
        ),
    )
}
