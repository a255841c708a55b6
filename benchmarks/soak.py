"""`python -m benchmarks.soak`: the promise, while workers are killed at random moments.

Agents learn on a backend while a thread kills their workers' processes by SIGKILL. Every number
that a run leaves behind must equal, to the last bit, that of the same run undisturbed and in one
process. Works on Linux, whose `/proc` and `pidfd` make sure that each kill hit a living worker.
"""

from __future__ import annotations

import argparse
import os
import platform
import select
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import cloudpickle
import gymnasium
import numpy as np

import rlbook
from rlbook.backends import Backend, get

PAGE = Path(__file__).with_suffix(".md")
KILLS = {"multiprocessing": 50, "ray": 50, "spark": 15}
PACKAGES = ("numpy", "gymnasium", "cloudpickle", "ray", "pyspark")

# Seconds between two kills: at random from 0 to this. A new worker needs about one to start.
LONGEST_PAUSE = {"multiprocessing": 2.0, "ray": 4.0, "spark": 4.0}

# What learns by turns: an environment of Gymnasium, which is replayed after a kill, and one of
# ours, which is saved; a method that learns at once, and one that remembers its episodes.
LEARNERS: dict[str, tuple[type[Any], str, dict[str, Any]]] = {
    "Q-learning on FrozenLake-v1": (rlbook.QLearning, "FrozenLake-v1", {}),
    "Monte Carlo on FrozenLake-v1": (rlbook.MonteCarlo, "FrozenLake-v1", {"learning_rate": 0.1}),
    "Q-learning on rlbook/FrozenLake-v0": (rlbook.QLearning, "rlbook/FrozenLake-v0", {}),
}
OPTIONS = {"seed": 5, "num_envs": 4, "sync_every": 2_000, "epsilon": 0.5}
STEPS = 100_000
KILLS_A_RUN = 5


class Soak(NamedTuple):
    """What became of one backend."""

    backend: str
    kills: int
    runs: int
    seconds: float
    equal: bool


class Announced(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that leaves word in a directory of which process it is stepped in."""

    def __init__(self, env: gymnasium.Env[Any, Any], directory: str) -> None:
        super().__init__(env)
        self.directory = directory

    def reset(self, **options: Any) -> Any:
        """Leave word, and begin an episode."""
        process = os.getpid()
        if not os.path.exists(f"{self.directory}/{process}"):
            began = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
            Path(f"{self.directory}/{process}.new").write_text(began)
            os.rename(f"{self.directory}/{process}.new", f"{self.directory}/{process}")
        return self.env.reset(**options)


class Killer:
    """A thread that kills those who announced themselves, at random moments.

    Args:
        directory: where they do.
        longest_pause: seconds between two kills, at most.
        seed: of the moments and the victims.

    Attributes:
        killed: how many it has killed so far.
    """

    def __init__(self, directory: str, longest_pause: float, seed: int) -> None:
        self.directory = Path(directory)
        self.killed = 0
        self.longest_pause = longest_pause
        self.random = np.random.default_rng(seed)

    @contextmanager
    def at_work(self, most: int) -> Iterator[None]:
        """Kill meanwhile, so many at most."""
        over = threading.Event()
        thread = threading.Thread(target=self._kill, args=(self.killed + most, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _kill(self, goal: int, over: threading.Event) -> None:
        while self.killed < goal and not over.wait(self.random.uniform(0, self.longest_pause)):
            found = sorted(int(path.name) for path in self.directory.glob("[0-9]*[0-9]"))
            living = [process for process in found if process != os.getpid()]
            if living:
                victim = int(self.random.choice(living))
                began = (self.directory / str(victim)).read_text()
                self.killed += kill(victim, began)
                (self.directory / str(victim)).unlink()


def kill(process: int, began: str) -> bool:
    """Kill a process by SIGKILL. Whether it lived until then, and died of it.

    Args:
        process: its number.
        began: when it began, by `/proc`: another process may have got its number since.
    """
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return False
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        if state in "ZX" or rest[18] != began:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return bool(select.select([handle], [], [], 30)[0])  # readable when it is dead
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(handle)


def soak(backend: Backend, kills: int, seed: int = 0, steps: int = STEPS) -> Soak:
    """Learn on a backend until so many workers were killed.

    Args:
        backend: one that builds a worker again often enough: see `max_restarts`.
        kills: how many.
        seed: of the moments and the victims.
        steps: in each run.

    Raises:
        RuntimeError: ten runs went by without a kill.
    """
    # Workers in other processes can't import this module unless they begin where we did.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    begin, runs, equal, in_vain = monotonic(), 0, True, 0
    references: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        killer = Killer(directory, LONGEST_PAUSE[backend.name], seed)
        while killer.killed < kills:
            name, before = list(LEARNERS)[runs % len(LEARNERS)], killer.killed
            if name not in references:
                references[name] = numbers(name, directory, "local", 1, steps)
            with killer.at_work(min(KILLS_A_RUN, kills - killer.killed)):
                found = numbers(name, directory, backend, 2, steps)
            equal &= same(found, references[name])
            runs += 1
            in_vain = 0 if killer.killed > before else in_vain + 1
            if in_vain:  # runs are over sooner than that
                killer.longest_pause /= 2
            if in_vain == 10:
                raise RuntimeError(f"ten runs on {backend.name} without a kill: is it a busy day?")
    return Soak(backend.name, killer.killed, runs, monotonic() - begin, equal)


def numbers(
    name: str, directory: str, backend: Backend | str, workers: int, steps: int
) -> dict[str, Any]:
    """All that a run leaves behind, but for its timing."""
    kind, env, options = LEARNERS[name]
    agent = kind(
        lambda: Announced(gymnasium.make(env), directory),
        backend=backend,
        workers=workers,
        **OPTIONS | options,
    )
    found = agent.learn(steps, progress=False).to_arrays()
    del found["timing"]
    return {**found, "table": agent.q}


def same(found: dict[str, Any], reference: dict[str, Any]) -> bool:
    """Whether two runs left the same, bit for bit."""
    return found.keys() == reference.keys() and all(
        found[name].tobytes() == reference[name].tobytes() for name in reference
    )


def as_markdown(found: list[Soak], command: str) -> str:
    """The page that is kept."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    rows = [
        f"| {each.backend} | {each.kills} | {each.runs} | {each.seconds:.0f} "
        f"| {'yes' if each.equal else '**NO**'} |"
        for each in found
    ]
    return "\n".join(
        [
            "# The promise under random SIGKILLs",
            "",
            "Written by `make soak`. Agents learned on each backend while their workers' processes",
            "were killed by SIGKILL at random moments; each kill was seen to hit a living worker.",
            "Equal: every table and history, to the last bit, as undisturbed in one process.",
            "",
            f"* date: {datetime.now(UTC).isoformat(timespec='minutes')}",
            f"* command: {command}",
            f"* learners, by turns: {', '.join(LEARNERS)}",
            f"* in each run {STEPS:,} steps, up to {KILLS_A_RUN} kills, "
            f"num_envs={OPTIONS['num_envs']}, workers=2",
            f"* {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, {versions}",
            "",
            "| backend | kills | runs | seconds | equal |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def keep(page: str, path: Path = PAGE) -> None:
    """Write the page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(page)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    print(f"wrote {os.path.relpath(path)}", file=sys.stderr)


def main() -> int:
    """Run what the command line asks for. 1 if a number differed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--backend", choices=KILLS, help="only this one")
    parser.add_argument("--kills", type=int, metavar="N", help=f"on each; by default {KILLS}")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    asked = parser.parse_args()
    if asked.kills is not None and asked.kills < 1:
        parser.error(f"--kills={asked.kills} is not allowed: at least 1")
    found = []
    for name in [asked.backend] if asked.backend else KILLS:
        print(f"killing on {name} …", file=sys.stderr, flush=True)
        kills = asked.kills or KILLS[name]
        with get(name, max_restarts=kills) as backend:
            found.append(soak(backend, kills, asked.seed))
    page = as_markdown(found, shlex.join(["python", "-m", "benchmarks.soak", *sys.argv[1:]]))
    print(page)
    whole = asked.backend is None and asked.kills is None
    keep(page, PAGE if whole else PAGE.parents[1] / "build" / "benchmarks" / PAGE.name)
    return 0 if all(each.equal for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
