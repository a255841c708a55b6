"""`python -m benchmarks.soak`: the promise, while workers are killed at random moments.

Agents learn on a backend while a thread kills their workers' processes by SIGKILL. Every number
that a run leaves behind must equal, to the last bit, that of the same run undisturbed and in one
process. Works on Linux, whose `/proc` and `pidfd` make sure that each kill hit a living worker.

Each form of a backend has a row, and a process of its own, since a process can be connected to one
Ray and one Spark only. More rows tell how much memory grows over very many calls.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import cloudpickle
import gymnasium
import numpy as np

import rlbook
from benchmarks import clusters
from rlbook.backends import Backend, CallFuture, get
from rlbook.backends.processes import environment

PAGE = Path(__file__).with_suffix(".md")
PACKAGES = ("numpy", "gymnasium", "cloudpickle", "ray", "pyspark")

# Seconds between two kills: at random from 0 to this. A new worker needs about one to start.
LONGEST_PAUSE = {"multiprocessing": 2.0, "ray": 4.0, "spark": 4.0}

# What is killed. On a Spark that has them, every fifth time, it is an executor: a worker's Java.
VICTIMS = {"multiprocessing": "worker", "ray": "actor", "spark": "Python worker"}
EXECUTOR, EXECUTOR_EVERY = "executor", 5

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


# How many calls, one after the other on one worker, of which so many are under way at a time.
CALLS = {"multiprocessing": 100_000, "ray": 100_000, "spark": 2_000}
UNDER_WAY = 64


class Soak(NamedTuple):
    """What became of one backend. `killed` has how many of what."""

    killed: Counter[str]
    runs: int
    seconds: float
    equal: bool

    @property
    def kills(self) -> int:
        """How many in all."""
        return self.killed.total()


class Memory(NamedTuple):
    """Bytes in memory after a tenth of many calls, and after all; None where there is no such."""

    seconds: float
    driver: list[int]
    worker: list[int] | None


class Form(NamedTuple):
    """One way to run a backend: how many kills it gets, and how it is started for so many."""

    kills: int
    about: str
    start: Callable[[int], AbstractContextManager[Backend]]


@contextmanager
def ray_nodes(kills: int) -> Iterator[Backend]:
    """A Ray of two nodes, with room for one worker each."""
    with clusters.short_directory() as directory, environment(**clusters.ray_settings(directory)):
        cluster, _ = clusters.ray_nodes(directory, 1, 1)
        try:
            with get("ray", address=cluster.address, max_restarts=kills) as backend:
                yield backend
        finally:
            cluster.shutdown()


@contextmanager
def ray_on_spark(kills: int) -> Iterator[Backend]:
    """A Ray whose nodes are tasks of a Spark."""
    from rlbook.backends.ray import Ray

    session = clusters.session_for_ray()
    try:
        with Ray.on_spark(session, max_restarts=kills, **clusters.SMALL_NODES) as backend:
            yield backend
    finally:
        session.stop()


@contextmanager
def spark_standalone(kills: int) -> Iterator[Backend]:
    """A Spark of a master and two workers."""
    with (
        clusters.short_directory() as directory,
        environment(PYSPARK_PYTHON=sys.executable),
        clusters.Standalone(directory, {"PYSPARK_PYTHON": sys.executable}) as cluster,
        get("spark", master=cluster.master, max_restarts=kills) as backend,
    ):
        yield backend


FORMS = {
    "multiprocessing": Form(
        50, "this machine", lambda kills: get("multiprocessing", max_restarts=kills)
    ),
    "ray": Form(50, "this machine", lambda kills: get("ray", max_restarts=kills)),
    "ray-nodes": Form(50, "a head and a second node", ray_nodes),
    "ray-on-spark": Form(50, "`Ray.on_spark`, in an executor", ray_on_spark),
    "spark": Form(15, "this machine", lambda kills: get("spark", max_restarts=kills)),
    "spark-local-cluster": Form(
        15,
        f"`{clusters.LOCAL_CLUSTER}`",
        lambda kills: get("spark", master=clusters.LOCAL_CLUSTER, max_restarts=kills),
    ),
    "spark-standalone": Form(15, "a master and two workers", spark_standalone),
}


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
        engine: the backend's name.
        longest_pause: seconds between two kills, at most.
        seed: of the moments and the victims.

    Attributes:
        killed: how many of what it has killed so far.
    """

    def __init__(self, directory: str, engine: str, longest_pause: float, seed: int) -> None:
        self.directory = Path(directory)
        self.engine = engine
        self.killed: Counter[str] = Counter()
        self.longest_pause = longest_pause
        self.random = np.random.default_rng(seed)

    @contextmanager
    def at_work(self, most: int) -> Iterator[None]:
        """Kill meanwhile, so many at most."""
        over = threading.Event()
        thread = threading.Thread(target=self._kill, args=(self.killed.total() + most, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _kill(self, goal: int, over: threading.Event) -> None:
        while self.killed.total() < goal:
            if over.wait(self.random.uniform(0, self.longest_pause)):
                return
            found = sorted(int(path.name) for path in self.directory.glob("[0-9]*[0-9]"))
            living = [process for process in found if process != os.getpid()]
            if living:
                self._kill_one(int(self.random.choice(living)))

    def _kill_one(self, worker: int) -> None:
        """Kill a worker, or its executor, if it has one and it is time."""
        word = self.directory / str(worker)
        kind, process, began = VICTIMS[self.engine], worker, word.read_text()
        if self.engine == "spark" and (self.killed.total() + 1) % EXECUTOR_EVERY == 0:
            executor = executor_of(worker)
            if executor is not None:
                kind, (process, began) = EXECUTOR, executor
        self.killed[kind] += kill(process, began)
        word.unlink()


def executor_of(process: int) -> tuple[int, str] | None:
    """The Spark executor that a process is part of, and when it began; None if there is none."""
    try:
        while process > 1:
            words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            if b"CoarseGrainedExecutorBackend" in Path(f"/proc/{process}/cmdline").read_bytes():
                return process, words[19]
            process = int(words[1])
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        pass
    return None


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


def soak(
    backend: Backend,
    kills: int,
    seed: int = 0,
    steps: int = STEPS,
    longest_pause: float | None = None,
) -> Soak:
    """Learn on a backend until so many workers were killed.

    Args:
        backend: one that builds a worker again often enough: see `max_restarts`.
        kills: how many.
        seed: of the moments and the victims.
        steps: in each run.
        longest_pause: seconds between two kills, at most; by default what suits the backend.

    Raises:
        RuntimeError: ten runs went by without a kill.
    """
    # Workers in other processes can't import this module unless they begin where we did.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    begin, runs, equal, in_vain = monotonic(), 0, True, 0
    references: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        killer = Killer(directory, backend.name, longest_pause or LONGEST_PAUSE[backend.name], seed)
        while (before := killer.killed.total()) < kills:
            name = list(LEARNERS)[runs % len(LEARNERS)]
            if name not in references:
                references[name] = numbers(name, directory, "local", 1, steps)
            with killer.at_work(min(KILLS_A_RUN, kills - before)):
                found = numbers(name, directory, backend, 2, steps)
            equal &= same(found, references[name])
            runs += 1
            in_vain = 0 if killer.killed.total() > before else in_vain + 1
            if in_vain:  # runs are over sooner than that
                killer.longest_pause /= 2
            if in_vain == 10:
                raise RuntimeError(f"ten runs on {backend.name} without a kill: is it a busy day?")
    return Soak(killer.killed, runs, monotonic() - begin, equal)


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


class Small:
    """A worker that does next to nothing."""

    def __init__(self, index: int) -> None:
        self.total = 0

    def add(self, amount: int) -> int:
        """Count."""
        self.total += amount
        return self.total

    def memory(self) -> int:
        """Bytes that its process has."""
        return resident()


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def memory(backend: Backend, calls: int) -> Memory:
    """How much of it there is after a tenth of so many calls, and after all of them."""
    begin, driver, worker = monotonic(), [], []
    group = backend.launch(Small, 1)
    done = 0
    for goal in (calls // 10, calls):
        under_way: deque[CallFuture] = deque()
        while done < goal or under_way:
            if done < goal and len(under_way) < UNDER_WAY:
                under_way.append(group.submit(0, "add", 1))
                done += 1
            else:
                last = under_way.popleft().result(60)
        assert last == done
        gc.collect()
        driver.append(resident())
        worker += group.call("memory")
    # On Spark a worker is a value, and has no process of its own.
    return Memory(monotonic() - begin, driver, None if backend.name == "spark" else worker)


def soak_row(name: str, found: Soak) -> str:
    """Its line in the table."""
    killed = ", ".join(
        f"{number} {kind}{'s' * (number > 1)}" for kind, number in sorted(found.killed.items())
    )
    return (
        f"| {name} | {FORMS[name].about} | {killed} | {found.runs} | {found.seconds:.0f} "
        f"| {'yes' if found.equal else '**NO**'} | {today()} |"
    )


def memory_row(name: str, calls: int, found: Memory) -> str:
    """Its line in the other table."""
    first, last = (
        "–" if each is None else " → ".join(f"{size / 2**20:.0f}" for size in each)
        for each in (found.driver, found.worker)
    )
    return f"| calls on {name} | {calls:,} | {found.seconds:.0f} | {first} | {last} | {today()} |"


def today() -> str:
    """The date, as in 2026-01-31."""
    return datetime.now(UTC).date().isoformat()


def page(rows: dict[str, str]) -> str:
    """The page that is kept, with these rows by their first cells."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    soaks = [rows[name] for name in FORMS if name in rows]
    memories = [rows[f"calls on {name}"] for name in CALLS if f"calls on {name}" in rows]
    return "\n".join(
        [
            "# The promise under random SIGKILLs",
            "",
            "Written by `make soak`. Agents learned on each form of each backend while their",
            "workers' processes were killed by SIGKILL at random moments; each kill was seen to",
            "hit a living process. Equal: every table and history, to the last bit, as undisturbed",
            "in one process. An executor is a Java of a Spark cluster with its Python workers.",
            "",
            '* one row: `make soak ARGS="--form NAME"`, where NAME is in its first column',
            f"* learners, by turns: {', '.join(LEARNERS)}",
            f"* in each run {STEPS:,} steps, up to {KILLS_A_RUN} kills, "
            f"num_envs={OPTIONS['num_envs']}, workers=2",
            f"* {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, {versions}",
            "",
            "| form | on | killed | runs | seconds | equal | date |",
            "|---|---|---|---|---|---|---|",
            *soaks,
            "",
            "# Memory over many calls",
            "",
            f"Calls of one worker, {UNDER_WAY} under way at a time; what the processes had in",
            "memory after a tenth of them and after all. On Spark a worker has no process of its",
            'own. One row: `make soak ARGS="--calls NAME"`.',
            "",
            "| form | calls | seconds | driver, MB | worker, MB | date |",
            "|---|---|---|---|---|---|",
            *memories,
            "",
        ]
    )


def keep(row: str, path: Path = PAGE) -> None:
    """Put a row into the page, which is written whole or not at all."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = {line.split("|")[1].strip(): line for line in [*lines, row] if line.startswith("| ")}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(page(rows))
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    print(f"{row}\nin {os.path.relpath(path)}", file=sys.stderr)


def main() -> int:
    """Run what the command line asks for. 1 if a number differed or something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--form", choices=FORMS, help="kill on this one only")
    which.add_argument("--calls", choices=CALLS, help="only make many calls on this one")
    parser.add_argument("--kills", type=int, metavar="N", help="on each, in place of 50 or 15")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    asked = parser.parse_args()
    if asked.kills is not None and asked.kills < 1:
        parser.error(f"--kills={asked.kills} is not allowed: at least 1")
    if asked.form:
        return soak_form(asked.form, asked.kills, asked.seed)
    if asked.calls:
        return count_calls(asked.calls)
    parts = [["--form", name] for name in FORMS] + [["--calls", name] for name in CALLS]
    command = [sys.executable, "-m", "benchmarks.soak", *sys.argv[1:]]
    return max([subprocess.run([*command, *part]).returncode != 0 for part in parts])


def soak_form(name: str, kills: int | None, seed: int) -> int:
    """Kill on one form, and keep the row. 1 if a number differed."""
    print(f"killing on {name} …", file=sys.stderr, flush=True)
    form = FORMS[name]
    kills = kills or form.kills
    with form.start(kills) as backend:
        found = soak(backend, kills, seed)
    whole = kills >= form.kills
    keep(soak_row(name, found), PAGE if whole else PAGE.parents[1] / "build/benchmarks" / PAGE.name)
    return 0 if found.equal else 1


def count_calls(name: str) -> int:
    """Make many calls on one backend, and keep the row."""
    print(f"{CALLS[name]:,} calls on {name} …", file=sys.stderr, flush=True)
    with get(name) as backend:
        found = memory(backend, CALLS[name])
    keep(memory_row(name, CALLS[name], found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
