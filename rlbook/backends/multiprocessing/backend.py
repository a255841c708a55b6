"""Workers in processes of their own on this machine, each at the end of a pipe.

Every worker has a process and, in the driver, a `Worker` object: calls go down the pipe in order,
and answers come back in the same order. The thread that waits for an answer takes it off the pipe.
In `call` and `map` this is the caller's own thread, because waking a second one would take longer
than a short call; for the futures of `submit` it is a thread in the background. When the process
dies, the waiting thread sees the end of the pipe, starts another process, restores the worker's
state, and sends again every call that has no answer yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    MAX_PENDING,
    Backend,
    CallFuture,
    Group,
    WorkerLost,
    check_options,
)
from rlbook.backends.closing import Closer
from rlbook.backends.multiprocessing.segments import SegmentRef, Store
from rlbook.backends.multiprocessing.worker import PATIENCE, Call, Worker
from rlbook.backends.recovery import Recovery
from rlbook.backends.tasks import Tasks
from rlbook.backends.waiting import gather, late
from rlbook.backends.wire import (
    Outcome,
    pack,
    settle,
)


class Multiprocessing(Backend):
    """One process for each worker.

    Args:
        max_restarts: restarts of a worker before `WorkerLost`.
        snapshot_every: calls between snapshots of a worker, which are the most that a restart
            repeats. A snapshot is taken earlier if the arguments of the calls since the last one
            take much memory.
        max_pending: calls to a worker without an answer before `submit` waits.
    """

    name = "multiprocessing"

    def __init__(
        self, max_restarts: int = 3, snapshot_every: int = 64, max_pending: int = MAX_PENDING
    ) -> None:
        if os.name != "posix":
            raise RuntimeError(
                f"the operating system must be Linux, macOS or WSL for processes, got {os.name}"
            )
        check_options(max_restarts, snapshot_every, max_pending)
        super().__init__()
        self.max_restarts = max_restarts
        self.snapshot_every = snapshot_every
        self.max_pending = max_pending
        self._tasks: Group | None = None
        self._store = Store()
        self._closer = self.new_closer(self._store.close)

    @property
    def directories(self) -> list[str]:
        """Where segments lie: in memory where there is some, and else on disk."""
        return self._store.directories

    def _launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        args: tuple[Any, ...],
        resources: dict[str, float],
        recovery: str,
    ) -> MultiprocessingGroup:
        how = Recovery(recovery, self.max_restarts, self.snapshot_every)
        return MultiprocessingGroup(self, self._store, worker_class, n, args, resources, how)

    def put(self, value: Any) -> SegmentRef:
        self.check_open()
        return SegmentRef(self, self._store.pool.store(value))

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_open()
        if self._tasks is None:
            self._tasks = self.launch(Tasks, os.cpu_count() or 1)
        tasks, code = self._tasks, pack(function)
        futures = [tasks.submit(i % len(tasks), "run", code, item) for i, item in enumerate(items)]
        try:
            return gather(futures, getattr(function, "__name__", "function"), timeout)
        except TimeoutError:
            self._tasks = None  # the next run must not wait for these
            tasks.close()
            raise

    def _close(self) -> None:
        self._tasks = None
        self._closer.close()


class MultiprocessingGroup(Group):
    """Workers, each in a process."""

    def __init__(
        self,
        backend: Multiprocessing,
        store: Store,
        worker_class: Callable[..., Any],
        size: int,
        args: tuple[Any, ...],
        resources: dict[str, float],
        recovery: Recovery,
    ) -> None:
        super().__init__(size, backend.max_pending)
        self._backend = backend  # whose directories the workers use
        self._workers: list[Worker] = []
        self._closer = Closer(self, end, self._workers, store)
        try:
            for index in range(size):
                worker = Worker(backend, store, recovery, worker_class, index, args, resources)
                self._workers.append(worker)
            gather([worker.build() for worker in self._workers], "__init__", DEFAULT_TIMEOUT)
        except BaseException:
            self.close()
            raise

    @property
    def restarts(self) -> int:
        return sum(worker.restarts for worker in self._workers)

    def map(
        self, method: str, arguments: Sequence[tuple[Any, ...]], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_arguments(arguments)
        deadline = monotonic() + timeout
        calls: list[Call] = []
        try:
            for worker, args in zip(self._workers, arguments, strict=True):
                calls.append(worker.send(method, args, may_be_revoked=True))
            for index, call in enumerate(calls):
                self._workers[index].await_answer(call, deadline)
                if call.outcome is None:
                    raise late(index, method, timeout)
        except BaseException:
            for worker, call in zip(self._workers, calls, strict=False):
                worker.revoke(call)
            raise
        return [call.outcome.unwrap() for call in calls if call.outcome]

    def _submit(
        self, index: int, method: str, args: tuple[Any, ...], keep: bool, future: CallFuture
    ) -> None:
        worker = self._workers[index]
        try:
            worker.await_in_background(worker.send(method, args, keep, future=future))
        except WorkerLost as lost:  # it was given up before: the Future says so, as if it were now
            settle(future, Outcome(error=lost))

    def close(self) -> None:
        # A callback may close the group in a thread that ends with it, and so must not wait for it.
        self._closer.close(wait=not any(worker.works_here() for worker in self._workers))


def end(workers: Sequence[Worker], store: Store) -> None:
    """End the workers' processes and threads, and delete the segments that they needed."""
    for worker in workers:
        worker.hang_up()
    deadline = monotonic() + PATIENCE
    for worker in workers:
        worker.reap(max(0.0, deadline - monotonic()))
    store.trim()
