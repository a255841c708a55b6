"""Exercises that ask for an environment, a wrapper or a worker, which is then played with."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np

from rlbook.check.exercise import Case, Exercise, Function, Outcome, Table, same

# What `step` and `reset` of the exercises' environments return.
Step = tuple[int, float, bool, bool, dict[str, Any]]
Reset = tuple[int, dict[str, Any]]

# The hint of every environment that confuses these two.
SWAPPED_ENDS = (
    "terminated and truncated swapped. Your environment says truncated where it ends by its own"
    " rules. step() returns obs, reward, terminated, truncated, info."
)


@dataclass(frozen=True)
class PlayedExercise(Exercise):
    """The solution makes something that is played with, and answers with rows of numbers.

    Attributes:
        unseeded: what to say where the same seed does not give the same numbers again; empty if
            there is no randomness.
    """

    result: str = "environment"
    unseeded: str = field(default="", kw_only=True)
    num_cases: int = field(default=20, kw_only=True)

    @abstractmethod
    def play(self, function: Function, case: Case) -> Iterator[tuple[float, ...]]:
        """Yield the rows of one case."""

    @abstractmethod
    def wrong_row(self, case: Case, rows: Table, number: int, got: Table) -> str:
        """What to say of row `number`, which is `got` and should be `rows[number]`."""

    @abstractmethod
    def broken(self, case: Case, rows: Table, number: int, raised: str) -> str:
        """What to say of an error in the place of row `number`."""

    def run(self, function: Function, case: Case) -> Outcome:
        """Play until the end, or until an error."""
        rows = []
        try:
            for row in self.play(function, case):
                rows.append(row)
        except Exception as error:
            return Outcome(np.array(rows), error=error)
        return Outcome(np.array(rows))

    def difference(self, case: Case, expected: Outcome, got: Outcome) -> str | None:
        """Where `got` differs from the right rows for the first time."""
        rows = expected.returned
        for number, (right, row) in enumerate(zip(rows, got.returned, strict=False)):
            if not same(right, row):
                return self.wrong_row(case, rows, number, row)
        if got.error is not None:
            return self.broken(case, rows, len(got.returned), got.raised)
        return None

    def inspect(self, function: Function) -> str | None:
        """Whether the same seed gives the same rows."""
        first, second = (self.run(function, self.cases[0]) for _ in range(2))
        if self.unseeded and first.error is None and not same(first.returned, second.returned):
            return self.unseeded
        return None


@dataclass(frozen=True)
class WorldExercise(PlayedExercise):
    """The solution is a callable that makes a `gymnasium.Env`. A case is some episodes' actions.

    Where there is randomness, the actions follow a seed, which the first reset is given.

    Attributes:
        actions: what the actions are called.
        start: what is observed where episodes begin.
    """

    actions: tuple[str, ...] = field(default=("left", "right"), kw_only=True)
    start: int = field(default=0, kw_only=True)

    @property
    def asks_for(self) -> str:
        """A callable, and the spaces."""
        return (
            "a callable, such as your class, that makes a `gymnasium.Env` with observations"
            f" `{self._spaces['observation_space']}` and actions `{self._spaces['action_space']}`,"
            " to which Gymnasium's `check_env` does not object"
        )

    @cached_property
    def _spaces(self) -> dict[str, Any]:
        names = ("observation_space", "action_space")
        return {name: getattr(self.reference, name) for name in names}

    def _seed_and_episodes(self, case: Case) -> tuple[int | None, Case]:
        return (case[0], case[1:]) if self.unseeded else (None, case)

    def play(self, function: Function, case: Case) -> Iterator[tuple[float, ...]]:
        """Play the episodes, one after the other, in one environment.

        A row is (obs, reward, terminated, truncated); a reset's has NaN for what it lacks. Play
        ends with a reset to where episodes do not begin, for what follows then means nothing.
        """
        env = function()
        seed, episodes = self._seed_and_episodes(case)
        for number, episode in enumerate(episodes):
            obs, _ = env.reset(seed=None if number else seed)
            yield float(obs), np.nan, np.nan, np.nan
            if float(obs) != self.start:
                return
            for action in episode:
                obs, reward, terminated, truncated, _ = env.step(action)
                yield float(obs), float(reward), bool(terminated), bool(truncated)
                if terminated or truncated:
                    break

    def wrong_row(self, case: Case, rows: Table, number: int, got: Table) -> str:
        """The moment, what should be and what is."""
        moment = self._moments(case, rows)[number]
        return f"{moment} should give {_show_row(rows[number])}; yours gives {_show_row(got)}"

    def broken(self, case: Case, rows: Table, number: int, raised: str) -> str:
        """The moment and the error."""
        return f"{self._moments(case, rows)[number]} raised {raised}"

    def inspect(self, function: Function) -> str | None:
        """The seed; then Gymnasium's own opinion, `gymnasium.utils.env_checker.check_env`."""
        from gymnasium.utils.env_checker import check_env

        if message := super().inspect(function):
            return message
        try:
            env = function()
            if message := wrong_environment(env, **self._spaces):
                return message
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check_env(env, skip_render_check=True)
        except Exception as error:
            return f"Gymnasium's check_env objects. {type(error).__name__}: {error}"
        return None

    def _moments(self, case: Case, rows: Table) -> list[str]:
        """What to call each row; the rows say how many actions of each episode are played."""
        seed, episodes = self._seed_and_episodes(case)
        left, moments = list(episodes), list[str]()
        for row in rows:
            if np.isnan(row[1]):
                first = "reset()" if seed is None else f"reset(seed={seed})"
                moments.append("the next reset()" if moments else first)
                actions, done = iter(left.pop(0)), list[str]()
            else:
                done.append(self.actions[next(actions)])
                moments.append(f"after reset(), the steps {', '.join(done)}")
        return moments


def wrong_environment(env: Any, **spaces: Any) -> str | None:
    """Return what is wrong with the type or a space of an environment, or None."""
    if not isinstance(env, gymnasium.Env):
        return f"this makes a {type(env).__name__}, not a gymnasium.Env"
    for name, right in spaces.items():
        if (space := getattr(env, name, None)) != right:
            return f"{name} should be {right}; yours is {space}"
    return None


def _show_row(row: Table) -> str:
    text = f"observation {row[0]:g}"
    if not np.isnan(row[1]):
        text += f", reward {row[1]:g}, terminated {bool(row[2])}, truncated {bool(row[3])}"
    return text
