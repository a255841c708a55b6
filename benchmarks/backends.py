"""What a backend adds to the engine under it: calls that do nothing, and idle workers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.bare import Bare, pid
from benchmarks.measuring import (
    Row,
    Spread,
    Target,
    differences,
    interleave,
    microseconds_each,
    named,
    ratios,
)
from rlbook.backends import Backend, get

MESSAGE = ("call", "noop", ())


class Idle:
    """A worker that does nothing."""

    def __init__(self, index: int = 0) -> None:
        pass

    def noop(self) -> None:
        """Do nothing."""

    def pid(self) -> int:
        """The number of the process that the worker lives in."""
        return os.getpid()


class Loaded(Idle):
    """A worker that does nothing, and has a megabyte of state, which no call changes."""

    def __init__(self, index: int = 0) -> None:
        self.state = np.arange(2**17, dtype=np.float64)


class Learning(Loaded):
    """The same, but every call changes the state."""

    def noop(self) -> None:
        """Do next to nothing."""
        self.state += 1


def echo(connection: Connection) -> None:
    """Send back whatever comes, until the other end is closed."""
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            return


def identity(item: Any) -> Any:
    """The item itself."""
    return item


def call_multiprocessing(quick: bool) -> list[Row]:
    """A call that does nothing, against an echo through a bare pipe."""
    mine, other = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=echo, args=(other,), daemon=True)
    process.start()
    other.close()

    def ask() -> None:
        mine.send(MESSAGE)
        mine.recv()

    with get("multiprocessing") as backend:
        ours, peer = _calls(backend, 1, ask, calls=500, turns=5 if quick else 60)
    mine.close()
    process.join()
    return [
        Row(
            "a no-op call, multiprocessing, 1 worker",
            'group.call("noop")',
            f"echo of {MESSAGE} through multiprocessing.Pipe, Python {sys.version.split()[0]}",
            {"µs more": differences(ours, peer), "times its time": ratios(ours, peer)},
            _absolute(ours, peer, "µs"),
            Target(60),
            "The pipe has no workers, exceptions, timeouts, or restarts.",
        )
    ]


def call_ray(quick: bool) -> list[Row]:
    """A call that does nothing, against a bare Ray actor's."""
    with get("ray") as backend:
        return [_call_ray(backend, n, turns=5 if quick else 40) for n in (1, 2)]


def _call_ray(backend: Backend, n: int, turns: int) -> Row:
    import ray

    actors = [ray.remote(Idle).options(num_cpus=0).remote() for _ in range(n)]  # type: ignore[attr-defined]

    def ask() -> None:
        ray.get([actor.noop.remote() for actor in actors])

    ours, peer = _calls(backend, n, ask, calls=100, turns=turns)
    for actor in actors:
        ray.kill(actor)
    return Row(
        f"a no-op call, Ray, {n} worker{'s' * (n > 1)}",
        'group.call("noop")',
        f"ray.get([actor.noop.remote() for actor in actors]), {named('ray')}",
        {"times its time": ratios(ours, peer), "µs more": differences(ours, peer)},
        _absolute(ours, peer, "µs"),
        Target(1.2),
        "A bare actor keeps no log of calls and takes no snapshots: when it dies, its state goes.",
    )


def call_spark(quick: bool) -> list[Row]:
    """A call that does nothing, against a Spark job that does nothing."""
    with get("spark") as backend:
        turns = 5 if quick else 20
        cases = ((Idle, ""), (Loaded, ", 1 MB of state"), (Learning, ", 1 MB of new state"))
        return [_call_spark(backend, n, *case, turns) for case in cases for n in (1, 2)]


def _call_spark(backend: Any, n: int, worker: type[Idle], state: str, turns: int) -> Row:
    context = backend.context

    def ask() -> None:
        context.parallelize(range(n), n).map(identity).collect()

    ours, peer = _calls(backend, n, ask, calls=10, turns=turns, worker=worker)
    return Row(
        f"a no-op call, Spark, {n} worker{'s' * (n > 1)}{state}",
        'group.call("noop")',
        f"parallelize(range({n}), {n}).map(identity).collect(), {named('pyspark')}",
        {"times its time": ratios(ours, peer), "µs more": differences(ours, peer)},
        _absolute(ours, peer, "µs"),
        Target(1.2),
        "The empty job carries no worker and no call, and nobody could cancel it.",
    )


def memory(quick: bool) -> list[Row]:
    """What an idle worker's process holds, against one of the engine's own that does nothing."""
    sides = {
        "multiprocessing": (_with_empty_python, f"an empty Python {sys.version.split()[0]}"),
        "ray": (_with_bare_actor, f"an actor that imports nothing, {named('ray')}"),
        "spark": (_with_bare_task, f"a task that imports nothing, {named('pyspark')}"),
    }
    rows = []
    for name, (measure, peer) in sides.items():
        with get(name) as backend:
            pairs = [measure(backend) for _ in range(1 if quick else 3)]
        rows.append(_memory_row(name, peer, pairs))
    return rows


Memory = dict[str, float]  # MiB, by kind


def _memory_row(name: str, peer: str, pairs: list[tuple[Memory, Memory]]) -> Row:
    ours, theirs = zip(*pairs, strict=True)
    return Row(
        f"memory of an idle worker, {name}",
        "a worker's process",
        peer,
        {
            "MiB more (PSS)": differences([m["Pss"] for m in ours], [m["Pss"] for m in theirs]),
            "times its PSS": ratios([m["Pss"] for m in ours], [m["Pss"] for m in theirs]),
        },
        {
            f"{side}, MiB {kind.upper()}": Spread.of(m[kind] for m in found).median
            for side, found in (("ours", ours), ("peer", theirs))
            for kind in ("Rss", "Pss")
        },
        Target(60),
        "PSS shares out what several processes map. What the worker's own class imports, such as "
        "Numba, comes on top. Read from /proc, so only on Linux.",
    )


def _with_empty_python(backend: Backend) -> tuple[Memory, Memory]:
    ours = _of_our_worker(backend)
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as empty:
        assert empty.stdin is not None and empty.stdout is not None
        empty.stdout.readline()  # it is up
        theirs = _memory(empty.pid)
        empty.stdin.write(b"\n")
    return ours, theirs


def _with_bare_actor(backend: Backend) -> tuple[Memory, Memory]:
    import ray

    actor = ray.remote(Bare).options(num_cpus=0).remote()  # type: ignore[attr-defined]
    theirs = _memory(ray.get(actor.pid.remote()))
    ours = _of_our_worker(backend)
    ray.kill(actor)
    return ours, theirs


def _with_bare_task(backend: Backend) -> tuple[Memory, Memory]:
    """Spark runs all tasks in the same processes, so the bare one must come first, in a new one."""
    context = backend.context  # type: ignore[attr-defined]
    # Another environment makes it another process.
    context.environment["RLBOOK_BENCHMARK"] = uuid.uuid4().hex
    theirs = _memory(context.parallelize(range(1), 1).map(pid).collect()[0])
    return _of_our_worker(backend), theirs


def _of_our_worker(backend: Backend) -> Memory:
    group = backend.launch(Idle, 1)
    found = _memory(group.call("pid")[0])
    group.close()
    return found


def _memory(process: int) -> Memory:
    """What a process holds."""
    with open(f"/proc/{process}/smaps_rollup") as lines:
        words = [line.split() for line in lines]
    return {w[0].rstrip(":"): int(w[1]) / 1024 for w in words if w[0] in ("Rss:", "Pss:")}


def _calls(
    backend: Backend,
    n: int,
    ask: Callable[[], Any],
    calls: int,
    turns: int,
    worker: type[Idle] = Idle,
) -> list[list[float]]:
    """Microseconds of a call that does nothing, on n workers, and of `ask`, by turns."""
    group = backend.launch(worker, n)
    ours = microseconds_each(lambda: group.call("noop"), calls)
    peer = microseconds_each(ask, calls)
    interleave(ours, peer, turns=2)  # warm both up
    found = interleave(ours, peer, turns=turns)
    group.close()
    return found


def _absolute(ours: list[float], peer: list[float], unit: str) -> dict[str, float]:
    return {f"ours, {unit}": Spread.of(ours).median, f"peer, {unit}": Spread.of(peer).median}
