"""Schedules: hyperparameters that change during training.

Every learning rate and every ε can be a number, which stays constant, or a schedule, which gives
its value at each step. Steps are environment steps since the start of the run, summed over all
environments.

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
    """Linear interpolation from `start` to `end` over `steps` steps, and `end` from then on."""

    start: float
    end: float
    steps: float

    def __post_init__(self) -> None:
        _make_floats(self, positive="steps")

    def __call__(self, timesteps: NDArray[np.int64]) -> Numbers:
        """Return the value at each of these steps."""
        done = np.minimum(np.asarray(timesteps) / self.steps, 1.0)
        return np.asarray(self.start * (1 - done) + self.end * done)  # exact at both ends


@dataclass(frozen=True)
class Exponential:
    """Exponential decay from `start` towards `end`.

    The distance to `end` halves every `half_life` steps.
    """

    start: float
    end: float
    half_life: float

    def __post_init__(self) -> None:
        _make_floats(self, positive="half_life")

    def __call__(self, timesteps: NDArray[np.int64]) -> Numbers:
        """Return the value at each of these steps."""
        left = np.exp2(-np.asarray(timesteps) / self.half_life)
        return np.asarray(self.end + (self.start - self.end) * left)


@dataclass(frozen=True)
class Harmonic:
    """Harmonic decay towards 0: start / (1 + t / half_life) at step t.

    It decays so slowly that the sum over all steps diverges. With it, ε-greedy control is greedy in
    the limit with infinite exploration (GLIE; Singh, Jaakkola, Littman and Szepesvári, "Convergence
    results for single-step on-policy reinforcement learning algorithms", 2000), and learning rates
    meet both conditions under which stochastic approximation converges (Sutton and Barto, 2018,
    equation 2.7).
    """

    start: float
    half_life: float

    def __post_init__(self) -> None:
        _make_floats(self, positive="half_life")

    def __call__(self, timesteps: NDArray[np.int64]) -> Numbers:
        """Return the value at each of these steps."""
        return np.asarray(self.start / (1 + np.asarray(timesteps) / self.half_life))


Schedule = Linear | Exponential | Harmonic
KINDS = {kind.__name__.lower(): kind for kind in (Linear, Exponential, Harmonic)}


def values(source: float | Schedule, timesteps: NDArray[np.int64]) -> Numbers:
    """Return the values of a number or a schedule at these steps, float64."""
    if isinstance(source, Schedule):
        return source(timesteps)
    return np.full(len(timesteps), float(source))


def check(name: str, source: Any, least: float, most: float) -> float | Schedule:
    """Return the number or schedule `source` if all its values lie from `least` to `most`.

    Raises:
        ValueError: the number, or the first or last value of the schedule, is out of range.
    """
    if not isinstance(source, Schedule):
        return check_number(name, source, least, most)
    ends = {"start": source.start, "end": getattr(source, "end", 0.0)}
    for end, value in ends.items():
        check_number(f"{name}.{end}", value, least, most)
    return source


def to_plain(source: Any) -> Any:
    """Return a number unchanged, and a schedule as a dictionary that JSON can hold."""
    if isinstance(source, Schedule):
        return {"schedule": type(source).__name__.lower(), **asdict(source)}
    return source


def from_plain(plain: Any) -> Any:
    """Return the number or schedule that `to_plain` was given.

    Raises:
        KeyError: there is no schedule of this name.
        TypeError: a parameter is missing, or there is an unknown one.
    """
    if not isinstance(plain, dict):
        return plain
    parameters = dict(plain)
    return KINDS[parameters.pop("schedule")](**parameters)


def _make_floats(schedule: Schedule, positive: str) -> None:
    """Convert every parameter to a Python float, and check that `positive` is above 0.

    JSON can hold Python's floats but not NumPy's.
    """
    for name, value in vars(schedule).items():
        object.__setattr__(schedule, name, check_number(name, value, -np.inf, np.inf))
    if getattr(schedule, positive) <= 0:
        found = getattr(schedule, positive)
        raise ValueError(f"{positive} must be a number above 0, got {found!r}")
