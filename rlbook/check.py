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

import copy
import importlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Function = Callable[..., Any]
Table = NDArray[np.float64]

# Where the episodes of `my_world` begin, and where it pays.
START, GOAL = 3, 6


class CheckFailed(AssertionError):
    """What you wrote does not do what the exercise asks for. The message says what it does."""


@dataclass(frozen=True)
class Mistake:
    """A mistake that people make.

    Attributes:
        name: what it is called, in the message and in the tests.
        hint: what you did, and what to do instead.
        functions: wrong solutions; one that behaves like any of them has made this mistake.
    """

    name: str
    hint: str
    functions: tuple[Function, ...]


class Outcome(NamedTuple):
    """What a function did in one case.

    Attributes:
        returned: what it gave back, or None if it raised.
        arguments: the arguments as it left them.
        error: what it raised, or None.
    """

    returned: Any
    arguments: tuple[Any, ...] = ()
    error: Exception | None = None


@dataclass(frozen=True)
class Exercise(ABC):
    """A task with a solution, cases to try it on, and the mistakes to tell apart.

    Attributes:
        name: of the checker.
        signature: how the solution is called and what it gives back, for messages.
        reference: a right solution.
        case: `case(rng) -> arguments`, one random case.
        mistakes: the planted mistakes.
        num_cases: how many cases are tried.
    """

    name: str
    signature: str
    reference: Function
    case: Callable[[Generator], tuple[Any, ...]]
    mistakes: tuple[Mistake, ...]
    num_cases: int = 200

    @abstractmethod
    def run(self, function: Function, case: tuple[Any, ...]) -> Outcome:
        """What `function` does in this case, which stays as it is."""

    @abstractmethod
    def difference(self, case: tuple[Any, ...], expected: Outcome, got: Outcome) -> str | None:
        """What is wrong with `got`, in words; None if nothing is."""

    def inspect(self, function: Function) -> str | None:
        """What is wrong with the solution apart from what it does in the cases, or None."""
        return None

    def check(self, function: Function) -> None:
        """Print one line if `function` solves the exercise, or is still the stub.

        Raises:
            CheckFailed: it does not; the message says why.
            TypeError: it is nothing that can be called.
        """
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called: check.{self.name} takes a function")
        cases = list(self._cases())
        got = [self.run(function, case) for case in cases]
        if any(isinstance(outcome.error, NotImplementedError) for outcome in got):
            print(f"{self.name}: not written yet")
            return
        expected = [self.run(self.reference, case) for case in cases]
        wrong = map(self.difference, cases, expected, got)
        difference = next((text for text in wrong if text is not None), None)
        message = self._recognise(cases, got) if difference else None
        message = message or self.inspect(function) or difference
        if message:
            cause = next((outcome.error for outcome in got if outcome.error), None)
            raise CheckFailed(f"{self.name}: {message}") from cause
        print(f"{self.name}: correct ({len(cases)} cases)")

    def _cases(self) -> Iterator[tuple[Any, ...]]:
        rng = np.random.default_rng(0)
        return (self.case(rng) for _ in range(self.num_cases))

    def _recognise(self, cases: list[tuple[Any, ...]], got: list[Outcome]) -> str | None:
        """The message for the first mistake that explains everything that was seen."""
        for mistake in self.mistakes:
            for function in mistake.functions:
                runs = zip(cases, got, strict=True)
                if all(_same(self.run(function, case), outcome) for case, outcome in runs):
                    return f"{mistake.name}. {mistake.hint}"
        return None


@dataclass(frozen=True)
class FunctionExercise(Exercise):
    """The solution is a function of arrays and numbers.

    Attributes:
        changes: the name of the one argument that the function changes in place, if any.
    """

    changes: str | None = None

    def run(self, function: Function, case: tuple[Any, ...]) -> Outcome:
        """Call `function` on a copy of the case."""
        arguments = copy.deepcopy(case)
        try:
            with np.errstate(all="ignore"):
                returned = function(*arguments)
        except Exception as error:
            return Outcome(None, arguments, error)
        return Outcome(copy.deepcopy(returned), arguments)

    def difference(self, case: tuple[Any, ...], expected: Outcome, got: Outcome) -> str | None:
        """The first fault of `got`: an error, a wrong argument changed, the result, the update."""
        fault = (
            self._raised(got)
            or self._changed_wrongly(case, expected, got)
            or _wrong_kind(expected.returned, got.returned)
            or self._wrong_numbers(expected, got)
        )
        return fault and f"{fault}\nIt was called with\n{self._show(case)}"

    @property
    def _names(self) -> list[str]:
        return self.signature[: self.signature.index(")")].strip("(").split(", ")

    def _raised(self, got: Outcome) -> str | None:
        if got.error is None:
            return None
        raised = f"{type(got.error).__name__}: {got.error}"
        return f"your function raised {raised}\nIt should be {self.signature}"

    def _changed_wrongly(
        self, case: tuple[Any, ...], expected: Outcome, got: Outcome
    ) -> str | None:
        arguments = zip(self._names, case, expected.arguments, got.arguments, strict=True)
        for name, before, right, after in arguments:
            if name != self.changes:
                if not _same(before, after):
                    return f"your function changes {name}, which must stay as it is"
            elif _same(before, after) and not _same(before, right):
                return (
                    f"your function leaves {name} as it is. Change it in place, as in"
                    f" {name}[obs, action] += …; {name} = {name} + … makes a new array instead"
                )
            elif after.shape == right.shape and (
                strays := _cells((after != before) & (right == before))
            ):
                may = ", ".join(_cells(right != before)) or "nothing"
                return f"your function changes {name} at {', '.join(strays)}; only {may} may change"
        return None

    def _wrong_numbers(self, expected: Outcome, got: Outcome) -> str | None:
        for name, right, after in zip(
            ["the result", *self._names],
            [expected.returned, *expected.arguments],
            [got.returned, *got.arguments],
            strict=True,
        ):
            if not _same(right, after):
                then = "" if name == "the result" else " afterwards"
                return f"{name}{then} should be\n{_indent(right)}\nbut is\n{_indent(after)}"
        return None

    def _show(self, case: tuple[Any, ...]) -> str:
        pairs = zip(self._names, case, strict=True)
        lines = (
            f"  {name} =\n{_indent(value)}" if np.ndim(value) > 1 else f"  {name} = {_show(value)}"
            for name, value in pairs
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class WorldExercise(Exercise):
    """The solution is a callable that makes a `gymnasium.Env`. A case is some episodes' actions.

    Attributes:
        num_states: of the world, whose observations are `Discrete(num_states)`.
        actions: what the actions are called.
    """

    num_states: int = 7
    actions: tuple[str, ...] = ("left", "right")

    def run(self, function: Function, case: tuple[Any, ...]) -> Outcome:
        """Play the episodes, one after the other, in one environment.

        A row is (obs, reward, terminated, truncated); a reset's has NaN for what it lacks. Play
        ends with a reset to where episodes do not begin, for what follows then means nothing.
        """
        rows: list[tuple[float, float, float, float]] = []
        try:
            env = function()
            for episode in case:
                rows.append((float(env.reset(seed=None)[0]), np.nan, np.nan, np.nan))
                if rows[-1][0] != START:
                    break
                for action in episode:
                    obs, reward, terminated, truncated, _ = env.step(action)
                    rows.append((float(obs), float(reward), bool(terminated), bool(truncated)))
                    if terminated or truncated:
                        break
        except Exception as error:
            return Outcome(np.array(rows), error=error)
        return Outcome(np.array(rows))

    def difference(self, case: tuple[Any, ...], expected: Outcome, got: Outcome) -> str | None:
        """Where `got` leaves the right way for the first time."""
        moments = self._moments(case)
        for moment, right, row in zip(moments, expected.returned, got.returned, strict=False):
            if not _same(right, row):
                return f"{moment} should give {_show_row(right)}; yours gives {_show_row(row)}"
        if got.error is not None:
            raised = f"{type(got.error).__name__}: {got.error}"
            return f"{moments[len(got.returned)]} raised {raised}"
        return None

    def inspect(self, function: Function) -> str | None:
        """Gymnasium's own opinion, from `gymnasium.utils.env_checker.check_env`."""
        import gymnasium
        from gymnasium.utils.env_checker import check_env

        try:
            env = function()
            if not isinstance(env, gymnasium.Env):
                return f"this makes a {type(env).__name__}, not a gymnasium.Env"
            for name, size in (
                ("observation_space", self.num_states),
                ("action_space", len(self.actions)),
            ):
                space, right = getattr(env, name, None), gymnasium.spaces.Discrete(size)
                if space != right:
                    return f"{name} should be {right}; yours is {space}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check_env(env, skip_render_check=True)
        except Exception as error:
            return f"Gymnasium's check_env objects. {type(error).__name__}: {error}"
        return None

    def _moments(self, case: tuple[Any, ...]) -> list[str]:
        moments: list[str] = []
        for episode in case:
            moments.append("reset()" if not moments else "the next reset()")
            done: list[str] = []
            for action in episode:
                done.append(self.actions[action])
                moments.append(f"after reset(), the steps {', '.join(done)}")
        return moments


def _show_row(row: Table) -> str:
    text = f"observation {row[0]:g}"
    if not np.isnan(row[1]):
        text += f", reward {row[1]:g}, terminated {bool(row[2])}, truncated {bool(row[3])}"
    return text


def _same(a: Any, b: Any) -> bool:
    """Whether two outcomes, or parts of them, agree up to rounding."""
    if isinstance(a, Outcome) and isinstance(b, Outcome):
        return a.error is b.error is None and _same(tuple(a[:2]), tuple(b[:2]))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    try:
        x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    except (TypeError, ValueError):
        return False
    if a is None or b is None:  # None is NaN to NumPy
        return a is b
    return x.shape == y.shape and np.allclose(x, y, rtol=1e-9, atol=1e-12, equal_nan=True)


def _wrong_kind(right: Any, got: Any) -> str | None:
    """What is wrong with the type, shape or dtype of a result, or None."""
    kind = f"{right.dtype} of shape {right.shape}" if np.ndim(right) else "a number"
    if got is None:
        return f"your function returns None; it should return {kind}. Is there a `return`?"
    if np.ndim(right) and not isinstance(got, np.ndarray):
        return f"your function returns a {type(got).__name__}; it should return an array, {kind}"
    if np.shape(got) != np.shape(right):
        return f"your function returns shape {np.shape(got)}; it should return {kind}"
    if np.asarray(got).dtype.kind not in "fiu":
        return f"your function returns {got!r}; it should return {kind}"
    if np.ndim(right) and got.dtype != right.dtype:
        return f"your function returns dtype {got.dtype}; it should return {kind}"
    return None


def _cells(mask: NDArray[np.bool_]) -> list[str]:
    return [str(cell) for cell in map(tuple, np.argwhere(mask).tolist())]


def _show(value: Any) -> str:
    return np.array2string(value, separator=", ") if isinstance(value, np.ndarray) else repr(value)


def _indent(value: Any) -> str:
    return "\n".join("    " + line for line in _show(value).splitlines())


def _from_library(module: str, name: str) -> Function:
    """The function `name` of `rlbook.<module>`, imported when it is first called."""

    def reference(*arguments: Any) -> Any:
        return getattr(importlib.import_module(f"rlbook.{module}"), name)(*arguments)

    return reference


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
            _from_library("q_learning", "q_learning_update"),
            lambda rng: _transition_case(rng, num_tables=1),
            (*_update_mistakes(double=False), _MEAN_FOR_MAXIMUM),
            changes="q",
        ),
        FunctionExercise(
            "double_q_learning_update",
            "(q, other, obs, action, reward, next_obs, terminated, learning_rate, gamma)"
            " -> td_error",
            _from_library("q_learning", "double_q_learning_update"),
            lambda rng: _transition_case(rng, num_tables=2),
            (*_update_mistakes(double=True), *_DOUBLE_MISTAKES),
            changes="q",
        ),
        FunctionExercise(
            "epsilon_greedy_probabilities",
            "(q_row, epsilon) -> probabilities",
            _from_library("q_learning", "epsilon_greedy_probabilities"),
            _epsilon_case,
            _EPSILON_MISTAKES,
        ),
        FunctionExercise(
            "average_tables",
            "(q, tables, visits) -> average",
            _from_library("q_learning", "average_tables"),
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
