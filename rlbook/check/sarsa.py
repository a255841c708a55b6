"""The exercises of chapter 02: right solutions, random cases, and how people go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlbook.check.exercise import (
    Exercise,
    Function,
    FunctionExercise,
    Mistake,
    Table,
    WorldExercise,
    from_library,
)

# The updates of TD(0), SARSA and Expected SARSA, and how they go wrong.


class _Step(NamedTuple):
    """What an update looks at, whichever of the three it is."""

    table: Table  # state values (S,), or action values (S, A)
    cell: tuple[int, ...]  # of the entry to be updated
    next_cell: tuple[int, ...]  # of the same entry, one step later
    following: float  # what comes next is worth so much
    present: float  # the same, looked up one step too early
    reward: float
    terminated: bool
    learning_rate: float
    gamma: float

    @property
    def discount(self) -> float:
        return self.gamma * (1 - self.terminated)

    @property
    def value(self) -> float:
        return float(self.table[self.cell])


def _target(step: _Step) -> float:
    return step.reward + step.discount * step.following


def _faulty_update(
    read: Callable[..., _Step],
    *,
    target: Callable[[_Step], float] = _target,
    error: Callable[[_Step, float], float] = lambda s, target: target - s.value,
    cell: Callable[[_Step], tuple[int, ...]] = lambda s: s.cell,
    move: Callable[[_Step, float], float] = lambda s, error: s.learning_rate * error,
    result: Callable[[_Step, float], float] = lambda s, error: error,
) -> Function:
    """The update in all its parts, any of which may be put wrong."""

    def update(table: Table, *arguments: Any) -> float:
        step = read(table, *arguments)
        td_error = error(step, target(step))
        table[cell(step)] += move(step, td_error)
        return float(result(step, td_error))

    return update


def _update_mistakes(read: Callable[..., _Step], entry: str) -> tuple[Mistake, ...]:
    """The mistakes that all three share; `entry` is how the one that is updated is written."""

    def mistake(name: str, hint: str, *faults: dict[str, Any]) -> Mistake:
        return Mistake(name, hint, tuple(_faulty_update(read, **each) for each in faults))

    return (
        mistake(
            "discount dropped",
            "You add the value of what comes next undiscounted; multiply it by gamma.",
            {"target": lambda s: s.reward + (1 - s.terminated) * s.following},
        ),
        mistake(
            "bootstrap through a terminal state",
            "You count the value of next_obs even where terminated is True; nothing follows there,"
            " and the target is the reward alone.",
            {"target": lambda s: s.reward + s.gamma * s.following},
        ),
        mistake(
            "sign",
            "The error is target minus present value, and is added. Yours has one minus too many.",
            {"result": lambda s, error: -error},
            {"move": lambda s, error: -s.learning_rate * error},
            {
                "move": lambda s, error: -s.learning_rate * error,
                "result": lambda s, error: -error,
            },
        ),
        mistake(
            "off by one",
            "You are one step off: the value of next_obs goes into the target, and it is"
            f" {entry} that is updated.",
            {"target": lambda s: s.reward + s.discount * s.present},
            {"cell": lambda s: s.next_cell},
            {
                "cell": lambda s: s.next_cell,
                "error": lambda s, target: target - s.table[s.next_cell],
            },
        ),
        mistake(
            "learning rate dropped",
            f"You add the whole error to {entry}; multiply it by learning_rate.",
            {"move": lambda s, error: error},
        ),
        mistake(
            "learning rate in the result",
            "You return learning_rate times the error; return the error itself.",
            {"result": lambda s, error: s.learning_rate * error},
        ),
        mistake(
            "error measured after the update",
            f"You measure the error when {entry} has already moved; do it before.",
            {"result": lambda s, error: (1 - s.learning_rate) * error},
        ),
        mistake(
            "target instead of error",
            f"You add learning_rate times the target; first subtract {entry} from it.",
            {"error": lambda s, target: target},
            {"move": lambda s, error: s.learning_rate * (error + s.value)},
        ),
        mistake(
            "last reward dropped",
            "You make the target 0 where terminated is True; it is the reward, which still counts.",
            {"target": lambda s: (1 - s.terminated) * _target(s)},
        ),
        mistake(
            "discounted reward",
            "You multiply the reward by gamma as well; only what comes after it is discounted.",
            {"target": lambda s: s.gamma * s.reward + s.discount * s.following},
        ),
    )


def _read_td(values: Table, obs: int, reward: float, next_obs: int, *numbers: Any) -> _Step:
    following, present = float(values[next_obs]), float(values[obs])
    return _Step(values, (obs,), (next_obs,), following, present, reward, *numbers)


def _read_sarsa(
    q: Table, obs: int, action: int, reward: float, next_obs: int, next_action: int, *numbers: Any
) -> _Step:
    following, present = float(q[next_obs, next_action]), float(q[obs, next_action])
    cells = (obs, action), (next_obs, action)
    return _Step(q, *cells, following, present, reward, *numbers)


def _reader(value: Callable[..., float]) -> Callable[..., _Step]:
    """Reads what Expected SARSA is given; `value(q, obs, epsilon)` is what a state is worth."""

    def read(q: Table, obs: int, action: int, reward: float, next_obs: int, *numbers: Any) -> _Step:
        *rest, epsilon = numbers
        following, present = (float(value(q, state, epsilon)) for state in (next_obs, obs))
        return _Step(q, (obs, action), (next_obs, action), following, present, reward, *rest)

    return read


def _instead(following: Callable[..., float]) -> Function:
    """SARSA with another value of what comes next: of (q, next_obs, next_action, action)."""

    def read(
        q: Table, obs: int, action: int, reward: float, next_obs: int, next_action: int, *rest: Any
    ) -> _Step:
        step = _read_sarsa(q, obs, action, reward, next_obs, next_action, *rest)
        return step._replace(following=float(following(q, next_obs, next_action, action)))

    return _faulty_update(read)


_SARSA = _faulty_update(_read_sarsa)
_SARSA_MISTAKES = (
    Mistake(
        "wrong action's value",
        "You bootstrap from the action that was just taken; in next_obs it is next_action whose"
        " value counts.",
        (_instead(lambda q, next_obs, next_action, action: q[next_obs, action]),),
    ),
    Mistake(
        "greedy action's value",
        "You bootstrap from the best action of next_obs. That is Q-learning; SARSA takes"
        " next_action, which is not always the best.",
        (_instead(lambda q, next_obs, next_action, action: q[next_obs].max()),),
    ),
    Mistake(
        "mean of all actions",
        "You bootstrap from the mean of next_obs's action values; SARSA takes that of next_action.",
        (_instead(lambda q, next_obs, next_action, action: q[next_obs].mean()),),
    ),
    Mistake(
        "next action's entry updated",
        "You update the entry of next_action; it is q[obs, action] that has been tried.",
        (
            lambda q, obs, action, reward, next_obs, next_action, *rest: _SARSA(
                q, obs, next_action, reward, next_obs, next_action, *rest
            ),
        ),
    ),
)


# The mean under an ε-greedy policy, and how it goes wrong.


def _mean(q: Table, obs: int, epsilon: float) -> float:
    return float(epsilon * q[obs].mean() + (1 - epsilon) * q[obs].max())


def _shares_epsilon_among_others(q: Table, obs: int, epsilon: float) -> float:
    row = q[obs]
    probabilities = np.full(len(row), epsilon / (len(row) - 1))
    probabilities[row.argmax()] = 1 - epsilon
    return float(probabilities @ row)


def _counts_ties_in_full(q: Table, obs: int, epsilon: float) -> float:
    row = q[obs]
    return float((epsilon / len(row) + (1 - epsilon) * (row == row.max())) @ row)


def _best_does_not_explore(q: Table, obs: int, epsilon: float) -> float:
    row = q[obs]
    probabilities = np.full(len(row), epsilon / len(row))
    probabilities[row.argmax()] = 1 - epsilon
    return float(probabilities @ row)


class _WrongMean(NamedTuple):
    """A mistake about the mean: `value(q, obs, epsilon)` is what people take instead."""

    name: str
    hint: str
    value: Callable[[Table, int, float], float]


_WRONG_MEANS = (
    _WrongMean(
        "epsilon dropped",
        "You take the best action's value alone; with probability epsilon any action is taken.",
        lambda q, obs, epsilon: q[obs].max(),
    ),
    _WrongMean(
        "greediness dropped",
        "You weigh all actions alike; with probability 1 - epsilon the best one is taken.",
        lambda q, obs, epsilon: q[obs].mean(),
    ),
    _WrongMean(
        "epsilon the wrong way round",
        "You are greedy with probability epsilon; be so with probability 1 - epsilon.",
        lambda q, obs, epsilon: _mean(q, obs, 1 - epsilon),
    ),
    _WrongMean(
        "epsilon shared among the others",
        "You share epsilon among the other actions only; exploring means any of all A actions, the"
        " best one included: epsilon / A each.",
        _shares_epsilon_among_others,
    ),
    _WrongMean(
        "best action does not explore",
        "You leave out the best action's own epsilon / A, so the probabilities do not add up to 1.",
        _best_does_not_explore,
    ),
    _WrongMean(
        "ties counted in full",
        "Where several actions are best you give each of them 1 - epsilon; they share it.",
        _counts_ties_in_full,
    ),
    _WrongMean(
        "worst action preferred",
        "You favour the lowest value; the greedy action is the one with the highest.",
        lambda q, obs, epsilon: epsilon * q[obs].mean() + (1 - epsilon) * q[obs].min(),
    ),
)

_MEAN_MISTAKES = (
    *(Mistake(name, hint, (value,)) for name, hint, value in _WRONG_MEANS),
    Mistake(
        "sum instead of mean",
        "You add up epsilon times each action's value; random actions have epsilon / A each.",
        (lambda q, obs, epsilon: epsilon * q[obs].sum() + (1 - epsilon) * q[obs].max(),),
    ),
    Mistake(
        "best of the whole table",
        "You look at all states; only the actions of obs can be taken there.",
        (
            lambda q, obs, epsilon: epsilon * q[obs].mean() + (1 - epsilon) * q.max(),
            lambda q, obs, epsilon: epsilon * q.mean() + (1 - epsilon) * q.max(),
            lambda q, obs, epsilon: epsilon * q.mean() + (1 - epsilon) * q[obs].max(),
        ),
    ),
)


def _of_action_taken(
    q: Table, obs: int, action: int, reward: float, next_obs: int, *rest: Any
) -> _Step:
    step = _reader(_mean)(q, obs, action, reward, next_obs, *rest)
    return step._replace(following=float(q[next_obs, action]))


_EXPECTED_MISTAKES = (
    Mistake(
        "wrong action's value",
        "You bootstrap from the action that was just taken; take the mean of all actions of"
        " next_obs, as the policy would choose them.",
        (_faulty_update(_of_action_taken),),
    ),
    *(Mistake(name, hint, (_faulty_update(_reader(value)),)) for name, hint, value in _WRONG_MEANS),
)


def _some_table(rng: Generator, *shape: int) -> Table:
    """Random values, and now and then all 0, as when learning begins."""
    return np.asarray(rng.normal(size=shape).round(3) * (rng.random() >= 0.15))


def _numbers(rng: Generator) -> tuple[bool, float, float]:
    """terminated, learning_rate and gamma."""
    terminated = bool(rng.random() < 0.3)
    return terminated, float(rng.choice([0.1, 0.25, 0.5, 1.0])), float(rng.choice([0.9, 0.99, 0.5]))


def _reward(rng: Generator) -> float:
    return float(rng.choice([0.0, 1.0, -1.0, 2.5]))


def _td_case(rng: Generator) -> tuple[Any, ...]:
    num_states = int(rng.integers(2, 6))
    obs, next_obs = rng.integers(num_states, size=2).tolist()  # now and then the same state again
    return _some_table(rng, num_states), obs, _reward(rng), next_obs, *_numbers(rng)


def _sarsa_case(rng: Generator) -> tuple[Any, ...]:
    num_states, num_actions = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    obs, next_obs = rng.integers(num_states, size=2).tolist()
    action, next_action = rng.integers(num_actions, size=2).tolist()
    table = _some_table(rng, num_states, num_actions)
    return table, obs, action, _reward(rng), next_obs, next_action, *_numbers(rng)


def _epsilon(rng: Generator) -> float:
    return float(rng.choice([0.0, 0.05, 0.1, 0.3, 0.75, 1.0]))


def _table_with_ties(rng: Generator) -> Table:
    shape = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    if rng.random() < 0.4:  # ties, and now and then a best action that is worth less than 0
        return rng.integers(-3, 2, shape).astype(np.float64)
    return _some_table(rng, *shape)


def _expected_case(rng: Generator) -> tuple[Any, ...]:
    table = _table_with_ties(rng)
    obs, next_obs = rng.integers(len(table), size=2).tolist()
    action = int(rng.integers(table.shape[1]))
    return table, obs, action, _reward(rng), next_obs, *_numbers(rng), _epsilon(rng)


def _mean_case(rng: Generator) -> tuple[Any, ...]:
    table = _table_with_ties(rng)
    return table, int(rng.integers(len(table))), _epsilon(rng)


# The n-step return, and how it goes wrong.


def _weighted(rewards: Table, last_value: float, gamma: float, first: int, last: int) -> float:
    """Rewards from γ^first on, and the last value with γ^last."""
    powers = gamma ** np.arange(first, first + len(rewards))
    return float(powers @ rewards + gamma**last * last_value)


_N_STEP_MISTAKES = (
    Mistake(
        "discount dropped",
        "You add everything up undiscounted; what comes k steps later counts gamma^k.",
        (lambda rewards, last, gamma: rewards.sum() + last,),
    ),
    Mistake(
        "last value undiscounted",
        "You add last_value in full; it is n steps away, so it counts gamma^n.",
        (lambda rewards, last, gamma: _weighted(rewards, last, gamma, 0, 0),),
    ),
    Mistake(
        "last value discounted once",
        "You multiply last_value by gamma once; it is n steps away, so it counts gamma^n.",
        (lambda rewards, last, gamma: _weighted(rewards, last, gamma, 0, 1),),
    ),
    Mistake(
        "rewards undiscounted",
        "You discount last_value but not the rewards; the reward that comes k steps after the first"
        " counts gamma^k.",
        (lambda rewards, last, gamma: rewards.sum() + gamma ** len(rewards) * last,),
    ),
    Mistake(
        "off by one",
        "A power of gamma is off by one: the first reward counts in full, the nth gamma^(n-1),"
        " and last_value gamma^n.",
        (
            lambda rewards, last, gamma: _weighted(rewards, last, gamma, 0, len(rewards) - 1),
            lambda rewards, last, gamma: _weighted(rewards, last, gamma, 0, len(rewards) + 1),
            lambda rewards, last, gamma: _weighted(rewards, last, gamma, 1, len(rewards)),
            lambda rewards, last, gamma: _weighted(rewards, last, gamma, 1, len(rewards) + 1),
        ),
    ),
    Mistake(
        "last value dropped",
        "You add up the rewards alone; last_value stands for all that comes after them.",
        (lambda rewards, last, gamma: _weighted(rewards, 0.0, gamma, 0, 0),),
    ),
    Mistake(
        "last reward dropped",
        "You put last_value in the place of the last reward; all n rewards count.",
        (
            lambda rewards, last, gamma: _weighted(rewards[:-1], last, gamma, 0, len(rewards) - 1),
            lambda rewards, last, gamma: _weighted(rewards[:-1], last, gamma, 0, len(rewards)),
        ),
    ),
    Mistake(
        "rewards in the wrong order",
        "You discount the first reward most; it is the nearest, and counts in full.",
        (lambda rewards, last, gamma: _weighted(rewards[::-1], last, gamma, 0, len(rewards)),),
    ),
    Mistake(
        "sign",
        "You subtract last_value; it is added.",
        (lambda rewards, last, gamma: _weighted(rewards, -last, gamma, 0, len(rewards)),),
    ),
)


def _n_step_case(rng: Generator) -> tuple[Any, ...]:
    rewards = rng.normal(size=int(rng.integers(1, 7))).round(3)
    last_value = round(rng.normal(), 3) * (rng.random() >= 0.2)
    return rewards, last_value, float(rng.choice([0.9, 0.99, 0.5, 1.0]))


# The windy gridworld, and how it goes wrong.

ROWS, COLUMNS = 7, 10
START, GOAL = 30, 37  # row 3, columns 0 and 7
WIND = (0, 0, 0, 1, 1, 1, 2, 2, 1, 0)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left: of the row, of the column
SHORTEST = (1,) * 9 + (2,) * 4 + (3,) * 2  # past the goal, down where it is calm, and back


def _next_cell(
    cell: int, action: int, wind: tuple[int, ...], moves: Any, late: bool, across: bool
) -> int:
    row, column = divmod(cell, COLUMNS)
    down, right = moves[action]
    new_column = min(max(column + right, 0), COLUMNS - 1)
    blown = wind[new_column if late else column]
    new_row = row + down - blown
    if not across:
        return min(max(new_row, 0), ROWS - 1) * COLUMNS + new_column
    return new_row % ROWS * COLUMNS + (column + right) % COLUMNS


def _windy(
    start: int = START,
    wind: tuple[int, ...] = WIND,
    moves: Any = MOVES,
    late: bool = False,
    across: bool = False,
    resets: bool = True,
    ends: bool = True,
    swapped: bool = False,
    rewards: tuple[float, float] = (-1.0, -1.0),
) -> Function:
    """A function that makes the windy gridworld, any part of which may be put wrong."""

    def make_env() -> Any:
        import gymnasium

        class WindyGridworld(gymnasium.Env[Any, Any]):
            observation_space = gymnasium.spaces.Discrete(ROWS * COLUMNS)
            action_space = gymnasium.spaces.Discrete(len(MOVES))
            cell = start

            def reset(
                self, *, seed: int | None = None, options: dict[str, Any] | None = None
            ) -> tuple[int, dict[str, Any]]:
                super().reset(seed=seed)
                if resets:
                    self.cell = start
                return self.cell, {}

            def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
                self.cell = _next_cell(self.cell, action, wind, moves, late, across)
                there = self.cell == GOAL
                over = ends and there
                return self.cell, rewards[there], over and not swapped, over and swapped, {}

        return WindyGridworld()

    return make_env


_WINDY_MISTAKES = (
    Mistake(
        "wind dropped",
        "In your world no wind blows; it lifts you by that of the column you leave.",
        (_windy(wind=(0,) * COLUMNS),),
    ),
    Mistake(
        "sign",
        "In your world the wind blows down; it blows up, towards row 0.",
        (_windy(wind=tuple(-strength for strength in WIND)),),
    ),
    Mistake(
        "off by one",
        "You take the wind of the column that is entered; it is that of the column you leave.",
        (_windy(late=True),),
    ),
    Mistake(
        "no walls",
        "Who leaves your grid comes in again on the other side; stay on the edge instead.",
        (_windy(across=True),),
    ),
    Mistake(
        "actions in another order",
        "Your actions move in other directions; they are 0 up, 1 right, 2 down, 3 left.",
        (
            _windy(moves=((0, -1), (1, 0), (0, 1), (-1, 0))),  # as in FrozenLake
            _windy(moves=((-1, 0), (1, 0), (0, -1), (0, 1))),
            _windy(moves=((1, 0), (0, 1), (-1, 0), (0, -1))),
            _windy(moves=((-1, 0), (0, -1), (1, 0), (0, 1))),
        ),
    ),
    Mistake(
        "last step is free",
        "Your step into the goal does not cost 1; every step does, the last one too.",
        (_windy(rewards=(-1.0, 0.0)), _windy(rewards=(-1.0, 1.0))),
    ),
    Mistake(
        "reward instead of cost",
        "In your world a step does not cost anything before the goal; every step pays -1.",
        (_windy(rewards=(0.0, 0.0)), _windy(rewards=(0.0, 1.0)), _windy(rewards=(1.0, 1.0))),
    ),
    Mistake(
        "never terminates",
        "In your world terminated is never True; it must be when cell 37 is reached.",
        (_windy(ends=False),),
    ),
    Mistake(
        "terminated and truncated swapped",
        "Your world says truncated where it ends by its own rules. step() returns obs, reward,"
        " terminated, truncated, info.",
        (_windy(swapped=True),),
    ),
    Mistake(
        "does not reset",
        f"Your second episode begins where the first one ended: put cell {START} back in reset().",
        (_windy(resets=False),),
    ),
)


def _windy_case(rng: Generator) -> tuple[Any, ...]:
    """The actions of three episodes: one straight to the goal, two that wander."""
    wander = [rng.integers(len(MOVES), size=40).tolist() for _ in range(2)]
    return wander[0], list(SHORTEST), wander[1]


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        FunctionExercise(
            "td_update",
            "(values, obs, reward, next_obs, terminated, learning_rate, gamma) -> td_error",
            from_library("tabular.temporal_difference", "td_update"),
            _td_case,
            _update_mistakes(_read_td, "values[obs]"),
            changes="values",
        ),
        FunctionExercise(
            "sarsa_update",
            "(q, obs, action, reward, next_obs, next_action, terminated, learning_rate, gamma)"
            " -> td_error",
            from_library("algorithms.sarsa", "sarsa_update"),
            _sarsa_case,
            (*_update_mistakes(_read_sarsa, "q[obs, action]"), *_SARSA_MISTAKES),
            changes="q",
        ),
        FunctionExercise(
            "expected_value",
            "(q, obs, epsilon) -> value",
            from_library("algorithms.sarsa", "expected_value"),
            _mean_case,
            _MEAN_MISTAKES,
        ),
        FunctionExercise(
            "expected_sarsa_update",
            "(q, obs, action, reward, next_obs, terminated, learning_rate, gamma, epsilon)"
            " -> td_error",
            from_library("algorithms.sarsa", "expected_sarsa_update"),
            _expected_case,
            (*_update_mistakes(_reader(_mean), "q[obs, action]"), *_EXPECTED_MISTAKES),
            changes="q",
        ),
        FunctionExercise(
            "n_step_return",
            "(rewards, last_value, gamma) -> value",
            from_library("ops.returns", "n_step_return"),
            _n_step_case,
            _N_STEP_MISTAKES,
        ),
        WorldExercise(
            "windy_gridworld",
            "() -> environment",
            _windy(),
            _windy_case,
            _WINDY_MISTAKES,
            num_cases=20,
            num_states=ROWS * COLUMNS,
            actions=("up", "right", "down", "left"),
            start=START,
        ),
    )
}
