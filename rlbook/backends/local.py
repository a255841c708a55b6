"""Workers in this very process: no start-up, no speed-up, and the easiest place to debug.

Arguments and results are packed and unpacked all the same. What works here works everywhere, and
what would not travel fails here first.

Asynchronous code is hard to test, since it is never the same twice. Here it can be: with a
`schedule` calls are done in an order that looks as wild as a cluster's and comes from a seed, and
with `faults` workers die on the way.
"""

from __future__ import annotations

import itertools
import random
import threading
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    MAX_PENDING,
    Backend,
    CallFuture,
    Group,
    Outcome,
    Ref,
    Tasks,
    WorkerLost,
    attempt,
    check_resources,
    check_workers,
    freeze,
    gather,
    late,
    pack,
    pack_outcome,
    settle,
    thaw,
    unpack,
    unpack_outcome,
)
from rlbook.backends.schedule import Line, Schedule, ScheduledFuture

# A chance, or for some workers the number of a call, from 1, in which it dies.
Faults: TypeAlias = float | Collection[tuple[int, int]]

# When a worker dies: before it does what it is asked, or before it can say that it has.
BEFORE, AFTER = "before", "after"

# How many workers share the items of `run` where calls have a schedule or faults.
TASK_WORKERS = 4


class Local(Backend):
    """Runs every call at once, in the calling thread; unless there is a schedule.

    With a schedule `submit` gives a Future that is not done, and nothing happens until somebody
    waits: by `result` or `exception`, by `concurrent.futures.wait` or `as_completed`, or by asking
    `done` again and again, each time for one more call. Then calls are done one after the other, in
    the thread that waits and in an order that only the seed decides, until what is waited for is.

    >>> from concurrent.futures import as_completed
    >>> class Worker:
    ...     def __init__(self, index):
    ...         self.index = index
    ...     def name(self):
    ...         return self.index
    >>> with Local(schedule=7) as backend:
    ...     group = backend.launch(Worker, 4)
    ...     futures = [group.submit(i, "name") for i in range(4)]
    ...     [future.result() for future in as_completed(futures)]
    [1, 2, 0, 3]

    Timeouts are then in virtual seconds. A call takes 0.001 to 1 of them, and as many again when
    its worker died in it. So timeouts can be tested too, and repeat; only `as_completed` reads the
    clock first, and may be off by what time its caller took.

    Args:
        schedule: the seed of the order in which calls are done; None: at once.
        faults: the chance, from 0 to below 1, that a worker dies in a call: half of them before
            they have done it, half after, and before their answer counts. Or pairs (worker, n):
            each group's worker of that index dies after it has done its n-th call, from 1, where
            a call that is tried twice counts twice.
        max_restarts: how often a worker that died is built again before `WorkerLost`.
        snapshot_every: a worker's snapshot is taken after this many calls, so that a restart
            repeats at most these. Without faults there are none.
        max_pending: how many calls to a worker may wait for an answer before `submit` waits too.

    Raises:
        ValueError: one of these is out of range.
    """

    name = "local"
    parallel = False

    def __init__(
        self,
        schedule: int | None = None,
        faults: Faults = 0.0,
        max_restarts: int = 3,
        snapshot_every: int = 64,
        max_pending: int = MAX_PENDING,
    ) -> None:
        if schedule is not None:
            _check_whole("schedule", schedule, 0)
        for name, value, least in (
            ("max_restarts", max_restarts, 0),
            ("snapshot_every", snapshot_every, 1),
            ("max_pending", max_pending, 1),
        ):
            _check_whole(name, value, least)
        self.faults = _checked_faults(faults)
        super().__init__()
        self.schedule = None if schedule is None else Schedule(schedule)
        self.seed = schedule or 0  # of the deaths
        self.max_restarts = max_restarts
        self.snapshot_every = snapshot_every
        self.max_pending = max_pending
        self._groups: weakref.WeakSet[LocalGroup] = weakref.WeakSet()
        self._numbers = itertools.count()
        self._tasks: LocalGroup | None = None

    def launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        *args: Any,
        resources: Mapping[str, float] | None = None,
    ) -> LocalGroup:
        check_workers(n)
        check_resources(resources)  # there are only this process's
        number, shipped = next(self._numbers), ship(args)
        workers = [
            self._new_worker(number, index, partial(_build, worker_class, index, shipped))
            for index in range(n)
        ]
        if self.schedule is None:
            group = LocalGroup(self, workers)
        else:
            group = ScheduledGroup(self, workers, self.schedule)
        self._groups.add(group)
        return group

    def _new_worker(self, group: int, index: int, build: Callable[[], Any]) -> LocalWorker:
        if not self.faults:
            return LocalWorker(build)
        deaths = _deaths(self.faults, index, f"{self.seed} {group} {index}")
        return MortalWorker(build, index, deaths, self.max_restarts, self.snapshot_every)

    def put(self, value: Any) -> Ref:
        return LocalRef(self, pack(value))

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        if self.schedule is None and not self.faults:
            return [unpack(pack(function(*received(ship((item,)))))) for item in items]
        if self._tasks is None:
            self._tasks = self.launch(Tasks, TASK_WORKERS)
        tasks, code = self._tasks, pack(function)
        futures = [tasks.submit(i % len(tasks), "run", code, item) for i, item in enumerate(items)]
        return tasks.gather(futures, getattr(function, "__name__", "function"), timeout)

    def close(self) -> None:
        for group in list(self._groups):
            group.close()
        self._tasks = None


class LocalRef(Ref):
    """Holds the value, packed: what one worker does to it, no other sees."""

    def __init__(self, backend: Local, packed: bytes) -> None:
        super().__init__(backend)
        self.packed = packed


class LocalGroup(Group):
    """The workers, in a list."""

    def __init__(self, backend: Local, workers: Sequence[LocalWorker]) -> None:
        super().__init__(len(workers), backend.max_pending)
        self.backend = backend
        self.workers = workers

    def _submit(
        self, index: int, method: str, args: tuple[Any, ...], keep: bool, future: CallFuture
    ) -> None:
        worker, shipped = self._worker(index), ship(args)
        future.set_running_or_notify_cancel()
        outcome = None
        while outcome is None:
            outcome = self._perform(worker, method, shipped, keep)
        settle(future, outcome)

    def _worker(self, index: int) -> LocalWorker:
        if not self.workers:
            raise RuntimeError(f"worker {index} is closed")
        return self.workers[index]

    def _perform(
        self, worker: LocalWorker, method: str, shipped: tuple[Any, ...], keep: bool
    ) -> Outcome | None:
        """Try a call. None: the worker died; the call is to be tried again."""
        outcome = worker.perform(method, shipped)
        if keep and outcome is not None and outcome.error is None:
            return Outcome(LocalRef(self.backend, pack(outcome.value)))
        return outcome

    def gather(self, futures: Sequence[Any], what: str, timeout: float) -> list[Any]:
        """The futures' results in order; see `rlbook.backends.gather`."""
        return gather(futures, what, timeout)

    def close(self) -> None:
        self.workers = ()


class ScheduledGroup(LocalGroup):
    """The workers, and the calls that wait for them."""

    def __init__(self, backend: Local, workers: Sequence[LocalWorker], schedule: Schedule) -> None:
        super().__init__(backend, workers)
        self.schedule = schedule
        self._lines = [Line() for _ in workers]

    def map(
        self, method: str, arguments: Sequence[tuple[Any, ...]], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_arguments(arguments)
        futures = [self.submit(i, method, *args) for i, args in enumerate(arguments)]
        return self.gather(futures, method, timeout)

    def gather(self, futures: Sequence[Any], what: str, timeout: float) -> list[Any]:
        """The same, where time is virtual."""
        deadline = self.schedule.deadline(timeout)
        for index, future in enumerate(futures):
            if not self.schedule.advance(future.is_over, deadline):
                for waiting in futures[index:]:
                    waiting.cancel()
                raise late(index, what, timeout)
        return [future.result() for future in futures]

    def _await_room(self, room: threading.BoundedSemaphore) -> bool:
        deadline = self.schedule.deadline(DEFAULT_TIMEOUT)
        return self.schedule.advance(lambda: room.acquire(blocking=False), deadline)

    def _new_future(self) -> ScheduledFuture:
        return self.schedule.new_future()

    def _submit(
        self, index: int, method: str, args: tuple[Any, ...], keep: bool, future: CallFuture
    ) -> None:
        perform = partial(self._perform, self._worker(index), method, ship(args), keep)
        self.schedule.add(self._lines[index], future, perform)

    def close(self) -> None:
        super().close()
        for index, line in enumerate(self._lines):
            self.schedule.abandon(line, RuntimeError(f"worker {index} was closed"))


class LocalWorker:
    """A worker's object, and what it takes to call it.

    Args:
        build: makes the object.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._object = build()

    def perform(self, method: str, shipped: tuple[Any, ...]) -> Outcome | None:
        """Call a method. None: the worker died; the call is to be tried again."""
        return unpack_outcome(pack_outcome(attempt(self._call, method, shipped)))

    def _call(self, method: str, shipped: tuple[Any, ...]) -> Any:
        return getattr(self._object, method)(*received(shipped))


class MortalWorker(LocalWorker):
    """A worker that dies now and then, and is brought back to where it was.

    Args:
        build: makes the object.
        index: of the worker in its group.
        deaths: for every try at a call, whether and when it dies.
        max_restarts: how often it is brought back.
        snapshot_every: so many calls at most are repeated then.
    """

    def __init__(
        self,
        build: Callable[[], Any],
        index: int,
        deaths: Iterator[str | None],
        max_restarts: int,
        snapshot_every: int,
    ) -> None:
        super().__init__(build)
        self._index = index
        self._deaths = deaths
        self._restarts_left = max_restarts
        self._snapshot_every = snapshot_every
        self._restore = build  # as it was before what is in the journal
        self._journal: list[tuple[str, tuple[Any, ...]]] = []
        self._can_be_saved = True
        self._lost: WorkerLost | None = None

    def perform(self, method: str, shipped: tuple[Any, ...]) -> Outcome | None:
        if self._lost is not None:
            return Outcome(error=self._lost)
        death = next(self._deaths)
        outcome = None if death == BEFORE else super().perform(method, shipped)
        if death is not None:
            return self._die(method)
        self._journal.append((method, shipped))
        if len(self._journal) >= self._snapshot_every and self._can_be_saved:
            self._save()
        return outcome

    def _save(self) -> None:
        try:
            snapshot = freeze(self._object)
        except Exception as error:
            self._can_be_saved = False
            warnings.warn(
                f"worker {self._index} cannot be pickled ({error}): after a death, all its calls "
                "are repeated from the first",
                stacklevel=2,
            )
            return
        self._restore = partial(thaw, snapshot, self._build)
        self._journal.clear()

    def _die(self, method: str) -> Outcome | None:
        """Lose the object, and have one like it; or, if that was too often, say so."""
        self._object = None
        if self._restarts_left == 0:
            self._lost = WorkerLost(
                f"worker {self._index} died too often; the last time in {method}(), by faults=. "
                "Its calls can be repeated with a higher max_restarts"
            )
            return Outcome(error=self._lost)
        self._restarts_left -= 1
        self._object = self._restore()
        for earlier, shipped in self._journal:
            super().perform(earlier, shipped)
        return None


def _deaths(faults: Faults, index: int, seed: str) -> Iterator[str | None]:
    """For each try at a call of worker `index`, whether and when it dies."""
    chance = random.Random(seed)
    for n in itertools.count(1):
        if not isinstance(faults, float):
            yield AFTER if (index, n) in faults else None
        elif chance.random() < faults:
            yield chance.choice((BEFORE, AFTER))
        else:
            yield None


def _build(worker_class: Callable[..., Any], index: int, shipped: tuple[Any, ...]) -> Any:
    return worker_class(index, *received(shipped))


def ship(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as they are now, whatever their owner does to them later."""
    return tuple(arg if isinstance(arg, LocalRef) else pack(arg) for arg in args)


def received(shipped: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as a worker in another process would get them."""
    return tuple(unpack(arg.packed if isinstance(arg, LocalRef) else arg) for arg in shipped)


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} is not allowed: a whole number, at least {least}")


def _checked_faults(faults: Any) -> Faults:
    """The chance as a float, or the pairs as a set; or raise the ValueError of `Local`."""
    if isinstance(faults, int | float) and not isinstance(faults, bool) and 0 <= faults < 1:
        return float(faults)
    if isinstance(faults, Collection) and all(map(_is_place, faults)):
        return frozenset(faults)
    raise ValueError(
        f"faults={faults!r} is not allowed: a number from 0 to below 1, or pairs (worker, n) with "
        "worker from 0 and n from 1"
    )


def _is_place(pair: Any) -> bool:
    whole = isinstance(pair, tuple) and len(pair) == 2 and all(type(part) is int for part in pair)
    return whole and pair[0] >= 0 and pair[1] >= 1
