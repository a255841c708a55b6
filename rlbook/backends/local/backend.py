"""Workers in this very process: no start-up, no speed-up, and the easiest place to debug.

Arguments and results are packed and unpacked as on every backend, so that a value that cannot be
sent to another process fails here, too.

Asynchronous code is hard to test because no two runs are the same. Here two runs can be the same:
with a `schedule`, calls end in an order as irregular as on a cluster, but drawn from a seed, and
with `faults`, workers die during the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    MAX_PENDING,
    Backend,
    Group,
    Ref,
    check_options,
    check_whole,
)
from rlbook.backends.local.group import LocalGroup, LocalRef, LocalWorker, received, ship
from rlbook.backends.local.schedule import Schedule
from rlbook.backends.local.simulator import (
    Faults,
    MortalWorker,
    ScheduledGroup,
    checked_faults,
    deaths_of,
)
from rlbook.backends.recovery import Recovery
from rlbook.backends.tasks import Tasks
from rlbook.backends.wire import pack, unpack

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
        faults: the probability, from 0 to below 1, that a worker dies in a call: half of them
            before they have done it, half after, and before their answer counts. Or pairs
            (worker, n): each group's worker of that index dies after it has done its n-th call,
            from 1, where a call that is tried twice counts twice.
        max_restarts: restarts of a worker before `WorkerLost`.
        snapshot_every: calls between snapshots of a worker, which are the most that a restart
            repeats. Without faults there are no snapshots.
        max_pending: calls to a worker without an answer before `submit` waits.

    Raises:
        ValueError: one of these is out of range.
    """

    name = "local"
    parallel = False
    has_processes = False

    def __init__(
        self,
        schedule: int | None = None,
        faults: Faults = 0.0,
        max_restarts: int = 3,
        snapshot_every: int = 64,
        max_pending: int = MAX_PENDING,
    ) -> None:
        if schedule is not None:
            check_whole("schedule", schedule, 0)
        check_options(max_restarts, snapshot_every, max_pending)
        self.faults = checked_faults(faults)
        super().__init__()
        self.schedule = None if schedule is None else Schedule(schedule)
        self.seed = schedule or 0  # of the deaths
        self.max_restarts = max_restarts
        self.snapshot_every = snapshot_every
        self.max_pending = max_pending
        self._numbers = itertools.count()
        self._tasks: Group | None = None

    def _launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        args: tuple[Any, ...],
        resources: dict[str, float],
        recovery: str,
    ) -> LocalGroup:
        # All workers share this process, whatever resources they ask for.
        number, shipped = next(self._numbers), ship(args)
        how = Recovery(recovery, self.max_restarts, self.snapshot_every)
        workers = [
            self._new_worker(number, index, partial(_build, worker_class, index, shipped), how)
            for index in range(n)
        ]
        if self.schedule is None:
            return LocalGroup(self, workers, self.max_pending)
        return ScheduledGroup(self, workers, self.max_pending, self.schedule)

    def _new_worker(
        self, group: int, index: int, build: Callable[[], Any], recovery: Recovery
    ) -> LocalWorker:
        if not self.faults:
            return LocalWorker(build)
        deaths = deaths_of(self.faults, index, f"{self.seed} {group} {index}")
        return MortalWorker(build, index, deaths, recovery)

    def put(self, value: Any) -> Ref:
        self.check_open()
        return LocalRef(self, pack(value))

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_open()
        if self.schedule is None and not self.faults:
            return [unpack(pack(function(*received(ship((item,)))))) for item in items]
        if self._tasks is None:
            self._tasks = self.launch(Tasks, TASK_WORKERS)
        tasks, code = self._tasks, pack(function)
        futures = [tasks.submit(i % len(tasks), "run", code, item) for i, item in enumerate(items)]
        return tasks.gather(futures, getattr(function, "__name__", "function"), timeout)

    def _close(self) -> None:
        self._tasks = None


def _build(worker_class: Callable[..., Any], index: int, shipped: tuple[Any, ...]) -> Any:
    return worker_class(index, *received(shipped))
