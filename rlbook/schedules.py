"""Schedules: hyperparameters that change as training goes on.

Wherever a learning rate or an ε is asked for, a number means that it stays, and a schedule says
what it is at each step. A step is a step of the run, counted over all environments together.

>>> Linear(1.0, 0.1, steps=1000)(np.array([0, 500, 1000, 5000]))
array([1.  , 0.55, 0.1 , 0.1 ])
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook.arguments import check_number

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` in a straight line over `steps`, and `end` from then on."""

    start: float
    end: float
    steps: float

    def __post_init__(self) -> None:
        _make_floats(self, positive="steps")

    def __call__(self, timesteps: NDArray[np.int64]) -> Numbers:
        """The value at each of these steps."""
        done = np.minimum(np.asarray(timesteps) / self.steps, 1.0)
        return np.asarray(self.start * (1 - done) + self.end * done)  # exact at both ends


@dataclass(frozen=True)
class Exponential:
    """From `start` towards `end`, of which half the way is gone every `half_life` steps."""

    start: float
    end: float
    half_life: float

    def __post_init__(self) -> None:
        _make_floats(self, positive="half_life")

    def __call__(self, timesteps: NDArray[np.int64]) -> Numbers:
        """The value at each of these steps."""
        left = np.exp2(-np.asarray(timesteps) / self.half_life)
        return np.asarray(self.end + (self.start - self.end) * left)


@dataclass(frozen=True)
class Harmonic:
    """start / (1 + t / half_life): towards 0, yet so slowly that its sum has no end.

    With it, ε-greedy control is greedy in the limit with infinite exploration (GLIE; Singh,
    Jaakkola, Littman and Szepesvári, "Convergence results for single-step on-policy reinforcement
    learning algorithms", 2000), and learning rates meet the second of the conditions under which
    stochastic approximation converges (Sutton and Barto, 2018, equation 2.7).
    """

    start: float
    half_life: float

    def __post_init__(self) -> None:
        _make_floats(self, positive="half_life")

    def __call__(self, timesteps: NDArray[np.int64]) -> Numbers:
        """The value at each of these steps."""
        return np.asarray(self.start / (1 + np.asarray(timesteps) / self.half_life))


Schedule = Linear | Exponential | Harmonic
KINDS = {kind.__name__.lower(): kind for kind in (Linear, Exponential, Harmonic)}


def values(source: float | Schedule, timesteps: NDArray[np.int64]) -> Numbers:
    """What a number or a schedule is at each of these steps, float64."""
    if isinstance(source, Schedule):
        return source(timesteps)
    return np.full(len(timesteps), float(source))


def check(name: str, source: Any, least: float, most: float) -> float | Schedule:
    """A number or a schedule of which every value lies in this range; or a clear error.

    Raises:
        ValueError: a value is out of range, at the beginning or in the end.
    """
    if not isinstance(source, Schedule):
        return check_number(name, source, least, most)
    ends = {"start": source.start, "end": getattr(source, "end", 0.0)}
    for end, value in ends.items():
        check_number(f"{name}.{end}", value, least, most)
    return source


def to_plain(source: Any) -> Any:
    """A number as it is, and a schedule as JSON has it."""
    if isinstance(source, Schedule):
        return {"schedule": type(source).__name__.lower(), **asdict(source)}
    return source


def from_plain(plain: Any) -> Any:
    """What `to_plain` was given.

    Raises:
        KeyError: no such schedule.
        TypeError: it lacks a parameter, or has one too many.
    """
    if not isinstance(plain, dict):
        return plain
    parameters = dict(plain)
    return KINDS[parameters.pop("schedule")](**parameters)


def _make_floats(schedule: Schedule, positive: str) -> None:
    """Make every parameter a plain float, which a file can hold; one of them must be above 0."""
    for name, value in vars(schedule).items():
        object.__setattr__(schedule, name, check_number(name, value, -np.inf, np.inf))
    if getattr(schedule, positive) <= 0:
        found = getattr(schedule, positive)
        raise ValueError(f"{positive} must be a number above 0, got {found!r}")
