"""The progress bar of training, shown only if stderr is a terminal."""

from __future__ import annotations

import sys
from math import isnan
from time import monotonic
from types import TracebackType
from typing import Any, Self

from rlbook.cli.output import console, short
from rlbook.cli.runs import Config

# Number of recent episodes over which the mean return is taken.
RECENT = 100


def recent_return(agent: Any) -> float:
    """Return the mean return of the last 100 episodes, or NaN before the first has ended."""
    returns = agent.history.recent_returns(RECENT)
    return float(returns.mean()) if len(returns) else float("nan")


class Display:
    """The progress bar: steps, speed, time left, mean return.

    Args:
        config: the configuration of the run.
        done: number of steps taken before.
    """

    def __init__(self, config: Config, done: int) -> None:
        self._config, self._total = config, config.steps
        # Time and step at the end of the first round, because compilation takes much of that round.
        self._first: tuple[float, int] | None = None
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[steps]}", style="cyan"),
                TimeRemainingColumn(),
                TextColumn("left"),
                TextColumn("{task.fields[note]}"),
                console=console(stderr=True),
                expand=True,
                transient=True,
            )
            self._task = self._bar.add_task(
                "", total=self._total, completed=done, steps="starting", note=""
            )

    def update(self, agent: Any) -> None:
        """Show the progress of the agent."""
        if self._bar is None:
            return
        now = monotonic()
        self._first = self._first or (now, agent.timesteps)
        began, steps = self._first
        speed = f", {short((agent.timesteps - steps) / (now - began))}/s" if now > began else ""
        mean_return = recent_return(agent)
        self._bar.update(
            self._task,
            completed=agent.timesteps,
            steps=f"{short(agent.timesteps)} of {short(self._total)} steps{speed}",
            note="" if isnan(mean_return) else f"return {mean_return:.2f}",
        )

    def stopping(self) -> None:
        """Show that training stops after this round."""
        if self._bar is not None:
            self._bar.update(self._task, steps="stopping after this round", note="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            config = self._config
            self._bar.console.print(f"{config.algo} on {config.env}, seed {config.seed}")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
