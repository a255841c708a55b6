"""Workers on Spark, on this machine or on a cluster.

Spark has no actors: it runs pure functions of data on any machine, and again when a machine is
lost. So here a worker is a *value*. A call is a task that maps (worker, call) to (worker′,
outcome), and the driver keeps worker′ for the next call. After a loss there is nothing to rebuild,
and a task that runs twice counts once.

If all of Spark is on one machine (the masters `local` and `local-cluster`), large values lie in
files, in memory if there is room: workers, arguments, results, and values that were `put` or kept.
Only the names of these files pass through the driver. On a cluster, a worker passes through the
driver with each call; a value that was `put` or kept is a broadcast variable, so a result with
`keep=True` passes through the driver once. A worker whose state has not changed is not sent back.

Other ways were tried with workers of 1 MB, and all were slower: through the driver both ways; by a
broadcast on the way there; and, slowest, a chain of persisted RDDs with a checkpoint every ten
calls, since Spark must store and track every link.

A cache on a cluster's machines, keyed by (worker, version), would spare the way there, the lesser
half, and only where it has the worker. It cannot be asked first: Spark fetches a task's broadcasts
before its Python begins, needed or not, so to ask is one more job; and as Spark deals out tasks at
random, on two machines half the answers would be no.
"""

from __future__ import annotations

import atexit
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    MAX_PENDING,
    ONE_THREAD,
    Backend,
    check_options,
    check_whole,
    close_all,
    closing,
)
from rlbook.backends.processes import own_directory
from rlbook.backends.spark import engine
from rlbook.backends.spark.group import GroupSettings, SparkGroup
from rlbook.backends.spark.jobs import Needs, Threads, collect, needs, new_job_id
from rlbook.backends.spark.starting import on_one_machine
from rlbook.backends.spark.store import SparkRef, Store
from rlbook.backends.spark.tasks import Surroundings, do_item, opened
from rlbook.backends.wire import unpack_outcome

# What is registered last is called first: at exit backends are closed before Spark is stopped.
atexit.register(close_all)


class Spark(Backend):
    """A Spark task for each call.

    If a SparkContext is active, it is used; otherwise one is started on this machine, which all
    `Spark` backends of the process share. It is stopped when the last of them is closed, or at the
    end of the program if it was started by name (see `rlbook.backends.spark.engine`). With a
    context of your own, that context decides how often a task may die: `spark.task.maxFailures`, or
    m in the master `local[n,m]`. (In `local[n]` a task may not die at all.) The machines of a
    cluster need Python with NumPy, Gymnasium and cloudpickle, and Numba for the compiled worlds;
    rlbook itself is sent to them.

    If there are more workers than slots, they take turns, and a warning says so.

    Only `recovery="replay"` is offered: a worker is a value, so a task that is tried again starts
    from the worker as it was before the call, and nothing is lost.

    Args:
        spark: a SparkSession or SparkContext to use.
        master: where to start Spark; None is this machine, with a slot for each processor.
        max_restarts: tries of a call whose process died, after the first, before `WorkerLost`.
        max_state_bytes: largest pickle of a worker (bytes).
        max_pending: calls to a worker without an answer before `submit` waits.
    """

    name = "spark"
    recoveries = frozenset(("replay",))  # a worker is a value, which does not die with a process

    def __init__(
        self,
        spark: Any = None,
        master: str | None = None,
        max_restarts: int = 3,
        max_state_bytes: int = 64 * 2**20,
        max_pending: int = MAX_PENDING,
    ) -> None:
        check_options(max_restarts, 1, max_pending)
        check_whole("max_state_bytes", max_state_bytes, 1)
        super().__init__()
        self.max_state_bytes = max_state_bytes
        self.max_pending = max_pending
        self._warned = False
        self._engine = engine.use(self, spark, (master, max_restarts))
        self.context = self._engine.context
        self._directories: list[tempfile.TemporaryDirectory[str]] = []
        if on_one_machine(self.context.master):
            if os.access("/dev/shm", os.W_OK):
                self._directories.append(own_directory("/dev/shm"))
            self._directories.append(own_directory())
        # Where this machine's processes leave large values; on a cluster, nowhere.
        self.shared_directories = [each.name for each in self._directories]
        self._store = Store(self.context, self.shared_directories)
        self._threads = Threads()
        self._closer = self.new_closer(give_back, self._threads, self._store, self._directories)

    def _launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        args: tuple[Any, ...],
        resources: dict[str, float],
        recovery: str,
    ) -> SparkGroup:
        wanted = needs(self.context, resources)
        settings = GroupSettings(self._store, self._threads, self.max_pending, self.max_state_bytes)
        group = SparkGroup(self, settings, n, worker_class, args, wanted)
        try:
            group.build()
        except BaseException:
            group.close()
            raise
        slots = self.context.defaultParallelism
        if n > slots and not self._warned:
            self._warned = True
            message = f"{n} workers on a Spark of {slots} slots: they take turns"
            warnings.warn(message, UserWarning, stacklevel=3)
        return group

    def put(self, value: Any) -> SparkRef:
        self.check_open()
        return SparkRef(self, self._store.ship(value, shared=True))

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_open()
        shipped = [self._store.ship(item) for item in items]
        if not shipped:
            return []
        code, job_id = self._store.ship(function), new_job_id()
        around = Surroundings(job_id, self.shared_directories, 0, b"", [], {})
        task = partial(do_item, around, code.parcel)
        tasks = [each.parcel for each in shipped]
        slices = min(len(tasks), 4 * self.context.defaultParallelism)
        wanted = Needs(ONE_THREAD, None)
        answer = self._threads.run(collect, self.context, job_id, wanted, task, tasks, slices)
        try:
            parcels = answer.result(timeout)
        except (TimeoutError, KeyboardInterrupt) as error:
            if answer.done():
                raise
            self.context.cancelJobGroup(job_id)
            name = getattr(function, "__name__", "function")
            message = f"{name}() of {len(tasks)} items was not done after {timeout:g} seconds"
            raise (TimeoutError(message) if isinstance(error, TimeoutError) else error) from None
        answers = [self._store.shipment(each) for each in parcels]
        return [unpack_outcome(each.parcel, opened).unwrap() for each in answers]

    def keep_engine(self) -> None:
        self._engine.keep(self)

    def _close(self) -> None:
        self._closer.close()
        closing.run(self._engine.leave, self)


def give_back(
    threads: Threads, store: Store, directories: Sequence[tempfile.TemporaryDirectory[str]]
) -> None:
    """End a backend's threads, and remove what it has left for tasks."""
    threads.close()
    store.close()
    for directory in directories:
        directory.cleanup()
