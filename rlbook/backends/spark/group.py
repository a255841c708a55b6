"""A group of workers on Spark: who is where in the line, and what each worker is now."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from rlbook.backends import DEFAULT_TIMEOUT, Backend, CallFuture, Group
from rlbook.backends.located import remove_all_of
from rlbook.backends.slots import lift
from rlbook.backends.spark.jobs import Needs, Threads, collect, explain, new_job_id
from rlbook.backends.spark.store import Shipment, SparkRef, Store
from rlbook.backends.spark.tasks import Answer, Kept, Parcel, Surroundings, Task, do_call, opened
from rlbook.backends.waiting import gather
from rlbook.backends.wire import Outcome, attempt, name_unsendable, settle, unpack_outcome


class Batch:
    """The calls of one Spark job: those of a `map`, or the one of a `submit`."""

    def __init__(
        self,
        indices: Sequence[int],
        calls: list[Shipment],
        refs: list[list[SparkRef]],
        futures: list[Future[Any]],
        keep: bool,
    ) -> None:
        self.indices = indices
        self.calls = calls
        self.refs = refs  # their values stay while the job may need them
        self.futures = futures
        self.keep = keep
        self.job_id = new_job_id()
        self.begun = False
        self.over = threading.Event()


class GroupSettings(NamedTuple):
    """What a group gets from its backend; see the arguments of `Spark`."""

    store: Store
    threads: Threads
    max_pending: int
    max_state_bytes: int


class SparkGroup(Group):
    """Workers as values: `_states` has each one's snapshot.

    Each worker has a line of batches. A batch begins when it is first in line at all its workers.
    """

    def __init__(
        self,
        backend: Backend,
        settings: GroupSettings,
        size: int,
        worker_class: Callable[..., Any],
        args: tuple[Any, ...],
        needs: Needs,
    ) -> None:
        super().__init__(size, settings.max_pending)
        self._backend = backend
        self._settings = settings
        self._store = settings.store
        self._needs = needs
        lifted, self._blueprint_refs = lift(backend, args)
        try:
            self._blueprint = self._store.ship((worker_class, lifted), shared=True)
        except Exception as error:
            raise name_unsendable(args, error) from error
        self._states: list[Shipment | None] = [None] * size
        self._lines: list[deque[Batch]] = [deque() for _ in range(size)]
        self._lock = threading.RLock()
        self._closed = False
        self._restarts = 0

    @property
    def restarts(self) -> int:
        return self._restarts

    def build(self) -> None:
        """Run the constructors. What one raises, this raises."""
        self.map("__init__", [()] * self.size)

    def map(
        self, method: str, arguments: Sequence[tuple[Any, ...]], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_arguments(arguments)
        futures: list[Future[Any]] = [Future() for _ in arguments]
        batch = self._enqueue(range(self.size), method, arguments, futures)
        try:
            return gather(futures, method, timeout)
        except (TimeoutError, KeyboardInterrupt):
            self._cancel(batch)
            raise

    def _submit(
        self, index: int, method: str, args: tuple[Any, ...], keep: bool, future: CallFuture
    ) -> None:
        self._enqueue([index], method, [args], [future], keep)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            batches = {id(batch): batch for line in self._lines for batch in line}
            for line in self._lines:
                line.clear()
            self._states = [None] * self.size
        for batch in batches.values():
            self._cancel(batch)
            if not batch.begun:  # and never will: nobody else tells those who wait
                for future in batch.futures:
                    future.set_running_or_notify_cancel()

    def _enqueue(
        self,
        indices: Sequence[int],
        method: str,
        arguments: Sequence[tuple[Any, ...]],
        futures: list[Future[Any]],
        keep: bool = False,
    ) -> Batch:
        calls, refs = [], []
        for args in arguments:
            lifted, used = lift(self._backend, args)
            try:
                calls.append(self._store.ship((method, lifted)))
            except Exception as error:
                raise name_unsendable(args, error) from error
            refs.append(used)
        batch = Batch(indices, calls, refs, futures, keep)
        with self._lock:
            if self._closed:
                raise RuntimeError("the group was closed")
            for index in indices:
                self._lines[index].append(batch)
            self._begin(indices)
        return batch

    def _begin(self, indices: Iterable[int]) -> None:
        for batch in [self._lines[index][0] for index in indices if self._lines[index]]:
            first = all(self._lines[index][0] is batch for index in batch.indices)
            if first and not batch.begun:
                batch.begun = True
                self._settings.threads.run(self._execute, batch)

    def _execute(self, batch: Batch) -> None:
        """Run the job, keep the new states, let the next batches begin, and answer."""
        live = [i for i, f in enumerate(batch.futures) if f.set_running_or_notify_cancel()]
        error: Exception | None = None
        answers: list[Answer] = []
        try:
            answers = self._collect(batch, live)
        except Exception as failure:
            error = explain(failure, [batch.indices[i] for i in live])
            remove_all_of(self._store.directories, batch.job_id)
        restarts = sum(answer.restarts for answer in answers)
        states = [a.state if a.state is None else self._store.shipment(a.state) for a in answers]
        with self._lock:
            self._restarts += restarts
            if not self._closed:
                for i, state in zip(live, states, strict=False):
                    if state is not None:
                        self._states[batch.indices[i]] = state
                for index in batch.indices:
                    self._lines[index].popleft()
                self._begin(batch.indices)
        batch.over.set()
        for position, i in enumerate(live):
            outcome = Outcome(error=error) if error else self._received(answers[position].outcome)
            settle(batch.futures[i], outcome)

    def _collect(self, batch: Batch, live: list[int]) -> list[Answer]:
        if not live:
            return []
        refs = [*self._blueprint_refs, *(ref for refs in batch.refs for ref in refs)]
        around = Surroundings(
            batch.job_id,
            self._store.directories,
            self._settings.max_state_bytes,
            self._blueprint.parcel,
            versions(self._blueprint_refs),
            {ref.version: ref.shipment.parcel for ref in refs},
        )
        tasks = [self._task(batch, i) for i in live]
        job = partial(do_call, around)
        return collect(self._store.context, batch.job_id, self._needs, job, tasks, len(tasks))

    def _task(self, batch: Batch, i: int) -> Task:
        index = batch.indices[i]
        state, call = self._states[index], batch.calls[i].parcel
        return Task(index, state and state.parcel, call, versions(batch.refs[i]), batch.keep)

    def _received(self, parcel: Parcel) -> Outcome:
        """The outcome in a parcel, which takes no room any more."""
        shipment = self._store.shipment(parcel)
        outcome = unpack_outcome(shipment.parcel, opened)
        if isinstance(outcome.value, Kept):
            return attempt(self._adopted, outcome.value.parcel)
        return outcome

    def _adopted(self, parcel: Parcel) -> SparkRef:
        return SparkRef(self._backend, self._store.adopt(parcel))

    def _cancel(self, batch: Batch) -> None:
        """Have the batch end, also if Spark is only about to hear of it."""
        for future in batch.futures:
            future.cancel()
        if batch.begun and not batch.over.is_set():
            # Not in this thread, which may be in the middle of talking to Spark.
            self._settings.threads.run(self._cancel_until_over, batch)

    def _cancel_until_over(self, batch: Batch) -> None:
        while not batch.over.is_set():
            self._store.context.cancelJobGroup(batch.job_id)
            batch.over.wait(0.5)


def versions(refs: Sequence[SparkRef]) -> list[int]:
    """The numbers of the Refs, under which their values travel."""
    return [ref.version for ref in refs]
