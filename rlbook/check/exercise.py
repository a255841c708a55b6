"""How an exercise is checked: a reference, cases to try, and the mistakes to tell apart."""

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

# Where the episodes of the exercise `my_world` begin.
CORRIDOR_START = 3


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
                    f" {name}[…] += …; {name} = {name} + … makes a new array instead"
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
        start: what is observed where episodes begin.
    """

    num_states: int = 7
    actions: tuple[str, ...] = ("left", "right")
    start: int = CORRIDOR_START

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
                if rows[-1][0] != self.start:
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


def from_library(module: str, name: str) -> Function:
    """The function `name` of `rlbook.<module>`, imported when it is first called."""

    def reference(*arguments: Any) -> Any:
        return getattr(importlib.import_module(f"rlbook.{module}"), name)(*arguments)

    return reference
