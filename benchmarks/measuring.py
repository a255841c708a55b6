"""How a row is measured: both sides by turns, one ratio for each turn, and the median of those.

Other programs slow a machine down for seconds at a time. Two sides that are measured by turns are
slowed down together, so their ratio keeps still where their times do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """The median of some measurements, and between what they lie."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of these."""
        found = list(values)
        return cls(median(found), min(found), max(found))

    def __str__(self) -> str:
        return f"{show(self.median)} ({show(self.lowest)} to {show(self.highest)})"


class Target(NamedTuple):
    """What the first figure of a row should be."""

    limit: float
    at_least: bool = False  # else: at most

    def reached(self, figure: Spread) -> bool:
        """Whether the median keeps to it."""
        if self.at_least:
            return figure.median >= self.limit
        return figure.median <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {show(self.limit)}"


@dataclass(frozen=True)
class Row:
    """One comparison, measured.

    Attributes:
        subject: what is compared.
        ours: what of rlbook was run.
        peer: what was run beside it, with its version.
        figures: for each unit, such as "times as fast", what was found. The first is judged.
        absolute: medians with their unit, such as "ours, steps/s".
        target: None for a row that only reports.
        note: whatever favours one side, and how to read the row.
    """

    subject: str
    ours: str
    peer: str
    figures: dict[str, Spread]
    absolute: dict[str, float]
    target: Target | None = None
    note: str = ""
    reached: bool | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.target is not None:
            first = next(iter(self.figures.values()))
            object.__setattr__(self, "reached", self.target.reached(first))


def interleave(*sides: Callable[[], float], turns: int) -> list[list[float]]:
    """Call each of the sides in every turn; for each side, what its calls returned.

    Who begins changes from turn to turn: what one side leaves behind, such as a warm processor or a
    full cache, then helps all alike.
    """
    found: list[list[float]] = [[] for _ in sides]
    for turn in range(turns):
        for i in range(len(sides)):
            side = (turn + i) % len(sides)
            found[side].append(sides[side]())
    return found


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """The spread of the ratios, turn by turn."""
    return Spread.of(a / b for a, b in zip(numerators, denominators, strict=True))


def differences(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The spread of the differences, turn by turn."""
    return Spread.of(a - b for a, b in zip(ours, theirs, strict=True))


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """How long a call takes."""
    start = perf_counter()
    function(*args)
    return perf_counter() - start


def microseconds_each(function: Callable[[], Any], calls: int) -> Callable[[], float]:
    """A side that calls `function` so many times and returns the mean time of one."""

    def side() -> float:
        start = perf_counter()
        for _ in range(calls):
            function()
        return (perf_counter() - start) / calls * 1e6

    return side


def named(package: str) -> str:
    """A package with its version."""
    return f"{package} {version(package)}"


def show(value: float) -> str:
    """A number with about three digits that count."""
    if value == 0:
        return "0"
    digits = 2
    size = abs(value)
    while size >= 10 and digits > 0:
        size, digits = size / 10, digits - 1
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}f}" if abs(value) >= 0.01 else f"{value:.2g}"
