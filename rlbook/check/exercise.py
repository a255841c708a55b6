"""How an exercise is checked: a reference, cases to try, and the mistakes to tell apart."""

from __future__ import annotations

import copy
import inspect
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from textwrap import fill, indent
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Function = Callable[..., Any]
Case = tuple[Any, ...]
Table = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]
# How a wrong solution differs from the reference: `{text of the reference: what stands there
# instead}`, or the expression that is returned in place of all that the reference does.
Change = dict[str, str] | str
# What the checker says, "<name>. <hint>", and the wrong solutions of which it says so.
Mistakes = dict[str, list[Change]]


class CheckFailed(AssertionError):
    """What you wrote does not do what the exercise asks for. The message says what it does."""


def rewritten(reference: Function, change: Change) -> Function:
    """Return a wrong solution: the reference with other text in the place of some of its text.

    Args:
        reference: a function or class of a module.
        change: what is different.

    Raises:
        ValueError: the reference does not contain the text that is to be replaced.
    """
    name = reference.__name__
    if isinstance(change, str):
        parameters = ", ".join(inspect.signature(reference).parameters)
        source = f"def {name}({parameters}): return {change}"
    else:
        source = inspect.getsource(reference)
        for old, new in change.items():
            if old not in source:
                raise ValueError(f"the text to replace must be a part of {name}, got {old!r}")
            source = source.replace(old, new)
    # Under another name, so that a wrong solution can call the right one.
    source = re.sub(rf"^(def|class) {name}\b", r"\1 wrong", source)
    namespace = dict(vars(sys.modules[reference.__module__]))
    exec(source, namespace)
    return namespace["wrong"]


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
        returned: what it returned, or None if it raised.
        arguments: the arguments as it left them.
        error: what it raised, or None.
    """

    returned: Any
    arguments: tuple[Any, ...] = ()
    error: Exception | None = None

    @property
    def raised(self) -> str:
        """The error as Python prints it."""
        return f"{type(self.error).__name__}: {self.error}"


@dataclass(frozen=True)
class Exercise(ABC):
    """A task with a solution, cases to try it on, and the mistakes to tell apart.

    Attributes:
        reference: a right solution; its docstring is the task, which `help` shows.
        case: `case(rng) -> arguments`, one random case.
        wrong: the planted mistakes.
        result: what the solution returns, in one word.
        num_cases: how many cases are tried.
    """

    reference: Function
    case: Callable[[Generator], Case]
    wrong: Mistakes
    result: str
    num_cases: int = field(default=200, kw_only=True)

    @property
    def name(self) -> str:
        """The checker's name: that of the reference, `MyWorld` as `my_world`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.reference.__name__).lower()

    @property
    def signature(self) -> str:
        """How the solution is called, and what it returns."""
        return f"({', '.join(inspect.signature(self.reference).parameters)}) -> {self.result}"

    @property
    def asks_for(self) -> str:
        """The argument of the checker, in words."""
        return f"`{self.signature}`"

    @abstractmethod
    def run(self, function: Function, case: Case) -> Outcome:
        """What `function` does in this case, which stays as it is."""

    @abstractmethod
    def difference(self, case: Case, expected: Outcome, got: Outcome) -> str | None:
        """What is wrong with `got`, in words; None if nothing is."""

    def inspect(self, function: Function) -> str | None:
        """What is wrong with the solution apart from what it does in the cases, or None."""
        return None

    @cached_property
    def cases(self) -> list[Case]:
        """The random cases, always the same ones."""
        rng = np.random.default_rng(0)
        return [self.case(rng) for _ in range(self.num_cases)]

    @cached_property
    def expected(self) -> list[Outcome]:
        """What the reference does in each case."""
        return [self.run(self.reference, case) for case in self.cases]

    @cached_property
    def mistakes(self) -> tuple[Mistake, ...]:
        """The planted mistakes."""
        found = []
        for text, changes in self.wrong.items():
            name, hint = text.split(". ", maxsplit=1)
            functions = tuple(rewritten(self.reference, change) for change in changes)
            found.append(Mistake(name, hint, functions))
        return tuple(found)

    @cached_property
    def checker(self) -> Callable[[Function], None]:
        """The function of `rlbook.check`; its help is the task."""

        def checker(function: Function) -> None:
            self.check(function)

        checker.__name__ = checker.__qualname__ = self.name
        checker.__module__ = "rlbook.check"
        argument = fill(f"function: {self.asks_for}.", 92, subsequent_indent="    ")
        checker.__doc__ = (
            f"{inspect.getdoc(self.reference)}\n\nArgs:\n{indent(argument, '    ')}\n\n"
            "Raises:\n    CheckFailed: it does something else; the message says what."
        )
        return checker

    def check(self, function: Function) -> None:
        """Print one line if `function` solves the exercise, or is still the stub.

        Raises:
            CheckFailed: it does not; the message says why.
            TypeError: it is nothing that can be called.
        """
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called: check.{self.name} takes a function")
        got = [self.run(function, case) for case in self.cases]
        if any(isinstance(outcome.error, NotImplementedError) for outcome in got):
            print(f"{self.name}: not written yet")
            return
        wrong = map(self.difference, self.cases, self.expected, got)
        difference = next((text for text in wrong if text is not None), None)
        message = self._recognise(got) if difference else None
        message = message or self.inspect(function) or difference
        if message:
            cause = next((outcome.error for outcome in got if outcome.error), None)
            raise CheckFailed(f"{self.name}: {message}") from cause
        print(f"{self.name}: correct ({len(self.cases)} cases)")

    def _recognise(self, got: list[Outcome]) -> str | None:
        """The message for the first mistake that explains everything that was seen."""
        for mistake in self.mistakes:
            for function in mistake.functions:
                runs = zip(self.cases, got, strict=True)
                if all(same(self.run(function, case), outcome) for case, outcome in runs):
                    return f"{mistake.name}. {mistake.hint}"
        return None


def by_name(*exercises: Exercise) -> dict[str, Exercise]:
    """Return a chapter's exercises under their names."""
    return {exercise.name: exercise for exercise in exercises}


@dataclass(frozen=True)
class FunctionExercise(Exercise):
    """The solution is a function of arrays and numbers.

    Attributes:
        changes: the name of the one argument that the function changes in place, if any.
    """

    changes: str | None = None

    def run(self, function: Function, case: Case) -> Outcome:
        """Call `function` on a copy of the case."""
        arguments = copy.deepcopy(case)
        try:
            with np.errstate(all="ignore"):
                returned = function(*arguments)
        except Exception as error:
            return Outcome(None, arguments, error)
        return Outcome(copy.deepcopy(returned), arguments)

    def difference(self, case: Case, expected: Outcome, got: Outcome) -> str | None:
        """The first fault of `got`: an error, a wrong argument changed, the result, the update."""
        fault = (
            self._raised(got)
            or self._changed_wrongly(case, expected, got)
            or _wrong_kind(expected.returned, got.returned)
            or self._wrong_numbers(expected, got)
        )
        return fault and f"{fault}\nIt was called with\n{self._show(case)}"

    @cached_property
    def _names(self) -> list[str]:
        return list(inspect.signature(self.reference).parameters)

    def _raised(self, got: Outcome) -> str | None:
        if got.error is None:
            return None
        return f"your function raised {got.raised}\nIt should be {self.signature}"

    def _changed_wrongly(self, case: Case, expected: Outcome, got: Outcome) -> str | None:
        arguments = zip(self._names, case, expected.arguments, got.arguments, strict=True)
        for name, before, right, after in arguments:
            if name != self.changes:
                if not same(before, after):
                    return f"your function changes {name}, which must stay as it is"
            elif same(before, after) and not same(before, right):
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
        names = ["the result", *(f"{name} afterwards" for name in self._names)]
        pairs = zip(
            [expected.returned, *expected.arguments], [got.returned, *got.arguments], strict=True
        )
        for name, (right, found) in zip(names, pairs, strict=True):
            if not same(right, found):
                return f"{name} should be\n{_indent(right)}\nbut is\n{_indent(found)}"
        return None

    def _show(self, case: Case) -> str:
        return "\n".join(map(show_argument, self._names, case))


def show_argument(name: str, value: Any) -> str:
    """Return an argument as messages show it."""
    if hasattr(value, "_asdict"):  # a transition table, in its parts
        parts = value._asdict().items()
        return "\n".join(f"  {name}.{part} =\n{_indent(array)}" for part, array in parts)
    if np.ndim(value) > 1:
        return f"  {name} =\n{_indent(value)}"
    return f"  {name} = {_show(value)}"


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


def same(a: Any, b: Any) -> bool:
    """Return whether two outcomes, or parts of them, agree up to rounding."""
    if isinstance(a, Outcome) and isinstance(b, Outcome):
        return a.error is b.error is None and same(tuple(a[:2]), tuple(b[:2]))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float) and a == b:
        return True
    try:
        x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    except (TypeError, ValueError):
        return False
    if a is None or b is None:  # None is NaN to NumPy
        return a is b
    if x.shape != y.shape:
        return False
    return bool((x == y).all()) or np.allclose(x, y, rtol=1e-9, atol=1e-12, equal_nan=True)


def _cells(mask: Flags) -> list[str]:
    return [str(cell) for cell in map(tuple, np.argwhere(mask).tolist())]


def _show(value: Any) -> str:
    return np.array2string(value, separator=", ") if isinstance(value, np.ndarray) else repr(value)


def _indent(value: Any) -> str:
    return indent(_show(value), "    ")
