"""The record of a training run: returns of episodes, metrics, and the time spent."""

from __future__ import annotations

import csv
import io
import os
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from rlbook.saving import atomic_write

if TYPE_CHECKING:
    import pandas

# For some episodes: the timesteps at which they ended, their returns, and their lengths.
Episodes = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]

ACTIVITIES = ("acting", "environment", "learning", "communicating", "waiting")


class History:
    """The record of a training run, to which `learn` adds.

    Attributes:
        timing: seconds spent `acting`, in the `environment`, `learning`, `communicating` (sending
            work and fetching results) and `waiting` (for the slowest worker), as measured by the
            driver. They add up to the total time of `learn`. A compiled loop that acts, steps and
            learns counts as `learning`.
    """

    def __init__(self) -> None:
        # The pieces are concatenated only when they are read, because copying the whole record
        # in every round would take longer and longer.
        self._episodes: list[Episodes] = [
            (np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
        ]
        self._metrics: dict[str, list[float]] = {}
        self.timing: dict[str, float] = dict.fromkeys(ACTIVITIES, 0.0)

    @property
    def timesteps(self) -> NDArray[np.int64]:
        """(E,) int64: steps taken in all environments together when each episode ended."""
        return self._columns()["timesteps"]

    @property
    def episode_returns(self) -> NDArray[np.float64]:
        """(E,) float64: the undiscounted sum of each episode's rewards."""
        return self._columns()["episode_returns"]

    @property
    def episode_lengths(self) -> NDArray[np.int64]:
        """(E,) int64: the number of steps of each episode."""
        return self._columns()["episode_lengths"]

    @property
    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """(R,) float64 for each name, with one entry for each round, as `"timesteps"` also has."""
        return {name: np.array(values) for name, values in self._metrics.items()}

    def recent_returns(self, number: int = 100) -> NDArray[np.float64]:
        """Return the returns of the last `number` episodes, or of all if there are fewer.

        The time that this takes does not depend on the length of the history.
        """
        found: list[NDArray[np.float64]] = []
        left = number
        for _, returns, _ in reversed(self._episodes):
            found.append(returns[max(len(returns) - left, 0) :])
            left -= len(found[-1])
            if left <= 0:
                break
        return np.concatenate(found[::-1])

    def add_episodes(
        self,
        timesteps: NDArray[np.int64],
        returns: NDArray[np.float64],
        lengths: NDArray[np.int64],
    ) -> None:
        """Append episodes, which must be in the order in which they ended."""
        if len(timesteps):
            self._episodes.append((timesteps, returns, lengths))

    def add_metrics(self, **values: float) -> None:
        """Append one entry to each metric."""
        for name, value in values.items():
            self._metrics.setdefault(name, []).append(float(value))

    def add_timing(self, seconds: dict[str, float]) -> None:
        """Add to the seconds of each activity."""
        for activity, value in seconds.items():
            self.timing[activity] += value

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole record as named arrays, for a file."""
        return {
            **self._columns(),
            "timing": np.array([self.timing[activity] for activity in ACTIVITIES]),
            **{f"metrics/{name}": values for name, values in self.metrics.items()},
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """Return the history from which `to_arrays` made these arrays."""
        history = cls()
        history.add_episodes(*(arrays[name] for name in history._columns()))
        history.timing = dict(zip(ACTIVITIES, arrays["timing"].tolist(), strict=True))
        history._metrics = {
            name.removeprefix("metrics/"): values.tolist()
            for name, values in arrays.items()
            if name.startswith("metrics/")
        }
        return history

    def to_frame(self) -> pandas.DataFrame:
        """Return the episodes as a pandas data frame."""
        import pandas

        return pandas.DataFrame(self._columns())

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the episodes to a CSV file; an interrupted call leaves no incomplete file."""
        columns = self._columns()
        with atomic_write(path) as file:
            text = io.TextIOWrapper(file, newline="")
            writer = csv.writer(text)
            writer.writerow(columns)
            writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
            text.flush()
            text.detach()

    def _columns(self) -> dict[str, NDArray[Any]]:
        if len(self._episodes) > 1:
            timesteps, returns, lengths = map(np.concatenate, zip(*self._episodes, strict=True))
            self._episodes = [(timesteps, returns, lengths)]
        names = ("timesteps", "episode_returns", "episode_lengths")
        return dict(zip(names, self._episodes[0], strict=True))

    def __len__(self) -> int:
        return len(self.timesteps)

    def __repr__(self) -> str:
        if not len(self):
            return "History(no episode has ended)"
        recent = self.recent_returns().mean()
        return f"History({len(self)} episodes, mean return of the last 100: {recent:.3f})"


class Stopwatch:
    """A stopwatch that assigns all the time since its creation to activities."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(ACTIVITIES, 0.0)
        self._last = perf_counter()

    def lap(self, activity: str) -> None:
        """Assign the time since the last lap to an activity."""
        now = perf_counter()
        self.seconds[activity] += now - self._last
        self._last = now

    def lap_workers(self, seconds: list[dict[str, float]], parallel: bool) -> None:
        """Assign the time since the last lap according to the seconds that workers measured.

        Parallel workers count with the mean of their seconds, and the time until the slowest one
        finishes counts as waiting. Workers that run in turn count with the sum of their seconds.
        The rest of the lap counts as communicating.
        """
        before = self.seconds["communicating"]
        self.lap("communicating")
        passed = self.seconds["communicating"] - before
        divisor = len(seconds) if parallel else 1
        spent = {name: sum(each[name] for each in seconds) / divisor for name in seconds[0]}
        totals = [sum(each.values()) for each in seconds]
        spent["waiting"] = max(totals) - sum(totals) / divisor if parallel else 0.0
        needed = sum(spent.values())
        scale = min(1.0, passed / needed) if needed else 0.0
        for name, value in spent.items():
            self.seconds[name] += value * scale
        self.seconds["communicating"] -= needed * scale
