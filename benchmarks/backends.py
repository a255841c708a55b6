"""What a backend adds to the engine under it: calls that do nothing, and idle workers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

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
        return [_call_spark(backend, n, turns=5 if quick else 30) for n in (1, 2)]


def _call_spark(backend: Any, n: int, turns: int) -> Row:
    context = backend.context

    def ask() -> None:
        context.parallelize(range(n), n).map(identity).collect()

    ours, peer = _calls(backend, n, ask, calls=10, turns=turns)
    return Row(
        f"a no-op call, Spark, {n} worker{'s' * (n > 1)}",
        'group.call("noop")',
        f"parallelize(range({n}), {n}).map(identity).collect(), {named('pyspark')}",
        {"times its time": ratios(ours, peer), "µs more": differences(ours, peer)},
        _absolute(ours, peer, "µs"),
        Target(1.2),
        "The empty job carries no worker and no call, and nobody could cancel it.",
    )


def memory(quick: bool) -> list[Row]:
    """What an idle worker's process holds, against a Python that has imported nothing."""
    with get("multiprocessing") as backend:
        pairs = [_memory_pair(backend) for _ in range(1 if quick else 5)]
    ours, theirs = zip(*pairs, strict=True)
    return [
        Row(
            "memory of an idle worker, multiprocessing",
            "a worker's process",
            f"an empty Python process, Python {sys.version.split()[0]}",
            {
                "MiB more (PSS)": differences([m["Pss"] for m in ours], [m["Pss"] for m in theirs]),
                "times its PSS": ratios([m["Pss"] for m in ours], [m["Pss"] for m in theirs]),
            },
            {
                f"{side}, MiB {kind.upper()}": Spread.of(m[kind] for m in found).median
                for side, found in (("ours", ours), ("peer", theirs))
                for kind in ("Rss", "Pss")
            },
            note="PSS shares out what several processes map. What the worker's own class imports, "
            "such as NumPy and Numba, comes on top. Read from /proc, so only on Linux.",
        )
    ]


def _memory_pair(backend: Backend) -> tuple[dict[str, float], dict[str, float]]:
    group = backend.launch(Idle, 1)
    pid = group.call("pid")[0]
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as empty:
        assert empty.stdin is not None and empty.stdout is not None
        empty.stdout.readline()  # it is up
        found = _memory(pid), _memory(empty.pid)
        empty.stdin.write(b"\n")
    group.close()
    return found


def _memory(pid: int) -> dict[str, float]:
    """MiB that a process holds, by kind."""
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        words = [line.split() for line in lines]
    return {w[0].rstrip(":"): int(w[1]) / 1024 for w in words if w[0] in ("Rss:", "Pss:")}


def _calls(
    backend: Backend, n: int, ask: Callable[[], Any], calls: int, turns: int
) -> list[list[float]]:
    """Microseconds of a call that does nothing, on n workers, and of `ask`, by turns."""
    group = backend.launch(Idle, n)
    ours = microseconds_each(lambda: group.call("noop"), calls)
    peer = microseconds_each(ask, calls)
    interleave(ours, peer, turns=2)  # warm both up
    found = interleave(ours, peer, turns=turns)
    group.close()
    return found


def _absolute(ours: list[float], peer: list[float], unit: str) -> dict[str, float]:
    return {f"ours, {unit}": Spread.of(ours).median, f"peer, {unit}": Spread.of(peer).median}
