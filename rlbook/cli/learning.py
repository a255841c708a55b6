"""Training of an agent with a progress bar, checkpoints and a clean stop after Ctrl-C."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from rlbook.cli import runs
from rlbook.cli.output import console, print_json, short
from rlbook.cli.progress import RECENT, Display, recent_return
from rlbook.cli.signals import Signals


class Stopped(Exception):
    """Raised at the end of a round to stop training."""


class Checkpoints:
    """Saves the agent at regular intervals.

    Args:
        agent: the agent.
        path: the file.
        every: seconds between two checkpoints.

    Attributes:
        steps: number of steps that the agent had taken at the last checkpoint.
    """

    def __init__(self, agent: Any, path: Path, every: float) -> None:
        self.agent, self.path, self.every = agent, path, every
        self.save()

    def save(self) -> None:
        """Save the agent now."""
        self.agent.save(self.path)
        self.steps, self._last = self.agent.timesteps, monotonic()

    def save_if_due(self) -> None:
        """Save the agent if the last checkpoint is at least `every` seconds old."""
        if monotonic() - self._last >= self.every:
            self.save()


def learn(run: runs.Run, agent: Any, every: float, as_json: bool) -> int:
    """Take the remaining steps, save the agent, print a summary, and return the exit code."""
    total, done, start = run.config.steps, agent.timesteps, monotonic()
    with Display(run.config, done) as display, Signals(display.stopping) as signals:
        checkpoints = Checkpoints(agent, run.checkpoint, every)

        def after_round(agent: Any) -> None:
            display.update(agent)
            checkpoints.save_if_due()
            if signals.received and agent.timesteps < total:
                raise Stopped

        try:
            if done < total:
                with suppress(Stopped):
                    agent.learn(total - done, progress=False, callback=after_round)
            agent.history.to_csv(run.path / "history.csv")
            checkpoints.save()
        except KeyboardInterrupt:
            pass  # perhaps in the middle of a round, so the last checkpoint counts
    seconds, saved = monotonic() - start, checkpoints.steps
    if as_json:
        _print_json(run, agent, saved, seconds)
    if saved < total:
        told = f"saved at step {saved:,} of {total:,}; to continue:"
        console(stderr=True).print(told, run.resume_command())
        return 128 + (signals.received or 0)
    if not as_json:
        _print_summary(run, agent, saved - done, seconds)
    return 0


def _print_json(run: runs.Run, agent: Any, steps: int, seconds: float) -> None:
    config = run.config
    print_json(
        {
            "run": str(run.path),
            "algo": config.algo,
            "env": config.env,
            "seed": config.seed,
            "steps": steps,
            "episodes": len(agent.history),
            "mean_return": recent_return(agent),
            "seconds": seconds,
            "finished": steps >= config.steps,
        }
    )


def _print_summary(run: runs.Run, agent: Any, steps: int, seconds: float) -> None:
    screen, episodes = console(), len(agent.history)
    took = f"{steps:,} steps in {seconds:.1f} s, {short(steps / seconds)} a second"
    if not steps:
        took = f"all {agent.timesteps:,} steps were taken before: use --steps to take more"
    result = "no episode has ended yet"
    if episodes:
        last = f"the last {RECENT} of {episodes:,}" if episodes > RECENT else f"{episodes}"
        result = f"{recent_return(agent):.3f}, the mean of {last} episodes"
    for name, text in (("time", took), ("return", result), ("saved", str(run.path))):
        screen.print(f"{name:>8}  ", style="dim", end="")
        screen.print(text)
