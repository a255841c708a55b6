"""How long a hundred megabytes take: one array to two workers, and one back."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.backends import identity
from benchmarks.measuring import Row, Spread, Target, interleave, named, ratios
from rlbook.backends import Backend, Group, get

BYTES = 100_000_000
WORKERS = 2


@cache
def block() -> NDArray[np.float64]:
    """The array; each process makes one of its own, once."""
    return np.ones(BYTES // 8)


class Mover:
    """A worker that looks at an array, or gives one."""

    def __init__(self, index: int = 0) -> None:
        pass

    def look(self, array: NDArray[np.float64]) -> float:
        """The last of its numbers."""
        return float(array[-1])

    def give(self) -> NDArray[np.float64]:
        """An array."""
        return block()


def multiprocessing_(quick: bool) -> list[Row]:
    """Against an array that is pickled through bare pipes."""
    turns = 2 if quick else 10
    warm = _warm(turns)
    cold = interleave(_cold(_ours), _cold(_pipes), turns=2 if quick else 5)
    peer = f"Connection.send and recv to and from two processes, Python {sys.version.split()[0]}"
    return [
        _row("multiprocessing, warm", warm, peer, Target(10, at_least=True)),
        _row("multiprocessing, cold", cold, peer, Target(3, at_least=True)),
    ]


def ray(quick: bool) -> list[Row]:
    """Against bare `ray.put` and `ray.get`."""
    with get("ray") as backend:
        import ray

        actors = [ray.remote(Mover).options(num_cpus=0).remote() for _ in range(WORKERS)]  # type: ignore[attr-defined]

        def bare() -> None:
            array = ray.put(block())
            ray.get([actor.look.remote(array) for actor in actors])
            ray.get(actors[0].give.remote())

        found = _by_turns(backend, bare, 3 if quick else 15)
    peer = f"ray.put, and ray.get of two actors' and one actor's answers, {named('ray')}"
    return [_row("Ray", found, peer, Target(1.1))]


def spark(quick: bool) -> list[Row]:
    """Against a bare broadcast and a bare collect."""
    with get("spark") as backend:
        context = backend.context  # type: ignore[attr-defined]

        def bare() -> None:
            array = context.broadcast(block())
            jobs = context.parallelize(range(WORKERS), WORKERS)
            jobs.map(lambda _: float(array.value[-1])).collect()
            context.parallelize(range(1), 1).map(lambda _: block()).collect()
            array.destroy()

        context.parallelize(range(WORKERS), WORKERS).map(identity).collect()
        found = _by_turns(backend, bare, 2 if quick else 8)
    peer = f"broadcast, and two collects, {named('pyspark')}"
    return [_row("Spark", found, peer, Target(1.1))]


def _row(where: str, found: list[list[float]], peer: str, target: Target) -> Row:
    ours, theirs = found
    faster, slower = ratios(theirs, ours), ratios(ours, theirs)
    figures = {"times as fast": faster, "times its time": slower}
    if not target.at_least:
        figures = {"times its time": slower, "times as fast": faster}
    return Row(
        f"100 MB to two workers and back, {where}",
        'group.call("look", backend.put(array)); group.submit(0, "give").result()',
        peer,
        figures,
        {"ours, ms": Spread.of(ours).median, "peer, ms": Spread.of(theirs).median},
        target,
        "Cold is the first exchange of new processes, which have memory to ask for; they are up "
        "before. Warm are those after it."
        if "multiprocessing" in where
        else "",
    )


def _by_turns(backend: Backend, bare: Callable[[], None], turns: int) -> list[list[float]]:
    group = backend.launch(Mover, WORKERS)
    ours, peer = _timed(lambda: _exchange(backend, group)), _timed(bare)
    interleave(ours, peer, turns=2)
    return interleave(ours, peer, turns=turns)


def _exchange(backend: Backend, group: Group) -> None:
    group.call("look", backend.put(block()))
    group.submit(0, "give").result()


def _timed(function: Callable[[], None]) -> Callable[[], float]:
    """A side that returns the milliseconds of a call."""

    def side() -> float:
        start = perf_counter()
        function()
        return (perf_counter() - start) * 1e3

    return side


def _warm(turns: int) -> list[list[float]]:
    with ExitStack() as stack:
        sides = [_timed(make(stack)) for make in (_ours, _pipes)]
        interleave(*sides, turns=2)
        return interleave(*sides, turns=turns)


def _cold(make: Callable[[ExitStack], Callable[[], None]]) -> Callable[[], float]:
    """A side that starts new processes, and returns the milliseconds of their first exchange."""

    def side() -> float:
        with ExitStack() as stack:
            return _timed(make(stack))()

    return side


def _ours(stack: ExitStack) -> Callable[[], None]:
    backend = stack.enter_context(get("multiprocessing"))
    group = backend.launch(Mover, WORKERS)
    group.call("look", np.zeros(1))
    return lambda: _exchange(backend, group)


def _pipes(stack: ExitStack) -> Callable[[], None]:
    ends: list[Any] = []
    for _ in range(WORKERS):
        mine, other = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(other,))
        process.start()
        other.close()
        stack.callback(process.join)
        ends.append(stack.enter_context(mine))

    def exchange(array: NDArray[np.float64]) -> None:
        for end in ends:
            end.send(array)
        for end in ends:
            end.recv()
        ends[0].send(None)
        ends[0].recv()

    for end in ends:
        end.send(np.zeros(1))
        end.recv()
    return lambda: exchange(block())


def serve(connection: Connection) -> None:
    """Answer an array with its last number, and None with an array."""
    mover = Mover()
    while True:
        try:
            array = connection.recv()
        except EOFError:
            return
        connection.send(mover.give() if array is None else mover.look(array))
