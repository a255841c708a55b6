"""Workers as Ray actors, on this machine or on a cluster.

`call` and `map` ask Ray for the answers themselves. For the futures of `submit`, Ray tells us when
an answer is there, and one thread fulfils them.

An actor that dies is replaced by one that starts from the worker's last snapshot and is sent the
log: all calls since then, in order. We do this ourselves because Ray's own restart forgets the
actor's state.
"""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import queue
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any

import cloudpickle
import numpy as np

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    ONE_THREAD,
    Backend,
    Group,
    Outcome,
    Ref,
    WorkerLost,
    _close_all,
    attempt,
    check_workers,
    gather,
    joined,
    late,
    missing_package,
    pack_outcome,
    pickled,
    settle,
    unpack,
    unpack_outcome,
)
from rlbook.backends.slots import environment, fill, lift, own_directory

# A worker's death is dealt with here. Ray would print a page about it, unless told so beforehand.
QUIET = {"RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed"}

try:
    with environment(**QUIET):
        import ray
        from ray import exceptions
except ImportError as error:
    raise missing_package("ray", "ray") from error

# What is registered last is called first: at exit we close before Ray shuts itself down.
atexit.register(_close_all)

# What Ray raises for the answer of an actor that is no more, or whose machine is not.
DEATHS = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)

# Below this size Ray sends bytes along with the call. Above it, Ray stores the contents of arrays
# once and lets every process on the machine look at them.
STORE_BYTES = 100_000


class Ray(Backend):
    """One Ray actor for each worker.

    Joins the Ray that this process is connected to, if it is, and else starts one; only what it
    started does it shut down.

    Args:
        address: of a cluster to connect to; None starts a Ray on this machine.
        max_restarts: how often a worker whose process died is built again before `WorkerLost`.
        snapshot_every: a worker's pickle is fetched after this many calls, so that a restart
            repeats at most these.
        init: passed on to `ray.init`.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        max_restarts: int = 3,
        snapshot_every: int = 64,
        **init: Any,
    ) -> None:
        super().__init__()
        self.max_restarts = max_restarts
        self.snapshot_every = snapshot_every
        self._groups: weakref.WeakSet[RayGroup] = weakref.WeakSet()
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self.answered: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._started = False
        if not ray.is_initialized():
            self._start(address, init)
            self._started = True
        # No processor is set aside for an actor: with one each, a group of more workers than
        # processors would wait for ever. And they spread, lest they all land on one machine.
        options = {"num_cpus": 0, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self.actor_class = ray.remote(Actor).options(**options)
        self._task = ray.remote(run_task).options(max_retries=max_restarts)
        threading.Thread(target=_fulfil, args=(self.answered,), daemon=True).start()

    def _start(self, address: str | None, init: dict[str, Any]) -> None:
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        settings["address"] = address or "local"  # None would also look for a cluster
        if address is None:
            # Not in $TMPDIR, where that is a long path: a socket's is limited to about 100 letters.
            self._directory = own_directory("/tmp" if os.path.isdir("/tmp") else None)
            settings |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            settings |= {"_temp_dir": self._directory.name}
        # Processes that Ray starts inherit this. An actor's `runtime_env` would do it too, but
        # takes three seconds more. (On a cluster that runs already, Ray itself sets OMP's.)
        with environment(**ONE_THREAD, RAY_USAGE_STATS_ENABLED="0"):
            ray.init(**settings | init)

    def launch(self, worker_class: Callable[..., Any], n: int, *args: Any) -> Group:
        check_workers(n)
        group = RayGroup(self, n)
        self._groups.add(group)
        try:
            group.build(worker_class, args)
        except BaseException:
            group.close()
            raise
        return group

    def put(self, value: Any) -> Ref:
        return RayRef(self, ray.put(ship(value)))

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        code = ray.put(ship(function))
        replies = [self._task.remote(code, ship(item)) for item in items]
        try:
            return [
                unpack_outcome(blob, receive).unwrap() for blob in ray.get(replies, timeout=timeout)
            ]
        except exceptions.GetTimeoutError:
            for reply in replies:
                ray.cancel(reply, force=True)
            index, name = _first_missing(replies), getattr(function, "__name__", "function")
            raise late(index, name, timeout) from None
        except DEATHS as error:
            raise WorkerLost(f"a task's process died too often: {error}") from None

    def close(self) -> None:
        for group in list(self._groups):
            group.close()
        self.answered.put(None)
        if self._started:
            self._started = False
            ray.shutdown()
        if self._directory is not None:
            self._directory.cleanup()


class RayRef(Ref):
    """A value in Ray's object store."""

    def __init__(self, backend: Ray, stored: Any) -> None:
        super().__init__(backend)
        self.stored = stored


class Actor:
    """What runs in Ray: holds the worker, and answers with packed outcomes."""

    def __init__(self, snapshot: Any = None) -> None:
        self.worker = None if snapshot is None else cloudpickle.loads(snapshot)

    def build(self, index: int, blob: Any, *values: Any) -> Any:
        """Make the worker."""
        return pack_outcome(attempt(self._build, index, blob, values), ship)

    def _build(self, index: int, blob: Any, values: tuple[Any, ...]) -> None:
        worker_class, args = receive(blob)
        self.worker = worker_class(index, *fill(args, [receive(value) for value in values]))

    def call(self, blob: Any, *values: Any) -> Any:
        """Call a method of the worker."""
        return pack_outcome(attempt(self._call, blob, values), ship)

    def _call(self, blob: Any, values: tuple[Any, ...]) -> Any:
        method, args = receive(blob)
        return getattr(self.worker, method)(*fill(args, [receive(value) for value in values]))

    def snapshot(self) -> Any:
        """The worker's pickle; its arrays within, so that they can be written to again."""
        return pack_outcome(attempt(_dump, self.worker), ship)


def _dump(worker: Any) -> Any:
    return np.frombuffer(cloudpickle.dumps(worker, protocol=5), np.uint8)


def run_task(code: Any, item: Any) -> Any:
    """What `Ray.run` runs in Ray."""
    return pack_outcome(attempt(lambda: receive(code)(receive(item))), ship)


class RayGroup(Group):
    """Workers, each in an actor."""

    def __init__(self, backend: Ray, size: int) -> None:
        super().__init__(size)
        self._backend = backend
        self._workers = [_Worker(backend, index) for index in range(size)]

    def build(self, worker_class: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Run the constructors."""
        blob, *stored = self._pack(worker_class, args)
        messages = [(index, blob, *stored) for index in range(self.size)]
        self._ask("build", messages, "__init__", DEFAULT_TIMEOUT)

    def call(self, method: str, *args: Any, timeout: float = DEFAULT_TIMEOUT) -> list[Any]:
        return self._ask("call", [self._pack(method, args)] * self.size, method, timeout)

    def map(
        self, method: str, arguments: Sequence[tuple[Any, ...]], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_arguments(arguments)
        messages = [self._pack(method, args) for args in arguments]
        return self._ask("call", messages, method, timeout)

    def submit(self, index: int, method: str, *args: Any) -> Future[Any]:
        self.check_index(index)
        worker = self._workers[index]
        try:
            return worker.follow(worker.send("call", self._pack(method, args)))
        except WorkerLost as lost:  # it was given up before: the Future says so, as if it were now
            future: Future[Any] = Future()
            future.set_exception(lost)
            return future

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def _pack(self, what: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """A call as Ray's arguments: the blob, and what was `put`, which Ray replaces by values."""
        lifted, refs = lift(self._backend, args)
        shipped = ship((what, lifted))
        if not isinstance(shipped, bytes):
            shipped = ray.put(shipped)  # once for all workers
        return (shipped, *(ref.stored for ref in refs))

    def _ask(
        self, kind: str, messages: list[tuple[Any, ...]], what: str, timeout: float
    ) -> list[Any]:
        """Send each worker its message and wait for the answers."""
        deadline = monotonic() + timeout
        pairs = list(zip(self._workers, messages, strict=True))
        calls = [worker.send(kind, message) for worker, message in pairs]
        replies = [call.reply for call in calls]
        try:
            return [
                unpack_outcome(blob, receive).unwrap() for blob in ray.get(replies, timeout=timeout)
            ]
        except exceptions.GetTimeoutError:
            raise late(_first_missing(replies), what, timeout) from None
        except DEATHS:
            # Futures know how to recover; see `_fulfil`.
            followed = zip(self._workers, calls, strict=True)
            futures = [worker.follow(call) for worker, call in followed]
            return gather(futures, what, max(0.0, deadline - monotonic()))


class _Call:
    """A message to a worker, Ray's name for the answer, and the future that waits for it."""

    def __init__(self, kind: str, message: tuple[Any, ...]) -> None:
        self.kind = kind
        self.message = message
        self.reply: Any = None
        self.future: Future[Any] | None = None


class _Worker:
    """The driver's side of a worker: its actor, and all that it takes to make another like it."""

    def __init__(self, backend: Ray, index: int) -> None:
        self._backend = backend
        self._index = index
        self._lock = threading.RLock()
        self._actor = backend.actor_class.remote()
        self._restarts = 0
        self._snapshot: Any = None
        self._log: list[_Call] = []  # since the snapshot, in order
        self._since = 0  # calls since a snapshot was asked for
        self._coming: tuple[Any, int] | None = None  # a snapshot, and how much of the log is in it
        self._lost: WorkerLost | None = None

    def send(self, kind: str, message: tuple[Any, ...]) -> _Call:
        """Send a call to the actor; does not wait."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            call = _Call(kind, message)
            self._log.append(call)
            self._dispatch(call)
            self._since += 1
            if self._coming is not None:
                self._keep_snapshot()
            elif self._since >= self._backend.snapshot_every:
                self._coming = (self._actor.snapshot.remote(), len(self._log))
                self._since = 0
            return call

    def follow(self, call: _Call) -> Future[Any]:
        """A future of the call's result."""
        with self._lock:
            call.future = Future()
            call.future.set_running_or_notify_cancel()  # what has been sent cannot be taken back
            if self._lost is None:
                self._notify(call)
            else:
                settle(call.future, Outcome(error=self._lost))
            return call.future

    def recover(self, actor: Any, cause: Exception) -> None:
        """Replace the actor, unless that has been done, by one with the same state."""
        with self._lock:
            if self._lost is not None or actor is not self._actor:
                return
            if not ray.is_initialized():
                self._give_up(f"worker {self._index} is gone: Ray was shut down")
                return
            ray.kill(actor)  # if it only could not be reached: there must not be two
            if self._coming is not None:
                self._keep_snapshot()
            if self._restarts == self._backend.max_restarts:
                self._give_up(f"worker {self._index} died too often; the last time: {cause}")
                return
            self._restarts += 1
            self._coming, self._since = None, len(self._log)
            self._actor = self._backend.actor_class.remote(self._snapshot)
            for call in self._log:
                self._dispatch(call)

    def close(self) -> None:
        """End the actor."""
        with self._lock:
            if self._lost is None:
                self._give_up(f"worker {self._index} was closed")
                if ray.is_initialized():
                    ray.kill(self._actor)

    def _dispatch(self, call: _Call) -> None:
        call.reply = getattr(self._actor, call.kind).remote(*call.message)
        if call.future is not None and not call.future.done():
            self._notify(call)

    def _notify(self, call: _Call) -> None:
        """Have `_fulfil` told when the answer is there. Ray's own thread must not do the work."""
        answer = (self, call, self._actor)
        put = self._backend.answered.put
        call.reply.future().add_done_callback(lambda reply: put((*answer, reply)))

    def _keep_snapshot(self) -> None:
        """Take the snapshot that was asked for, if it is there, and forget the calls in it."""
        assert self._coming is not None
        reply, length = self._coming
        if not ray.wait([reply], timeout=0)[0]:
            return
        self._coming = None
        try:
            self._snapshot = unpack_outcome(ray.get(reply), receive).unwrap()
        except DEATHS:
            return
        except Exception as error:
            warnings.warn(
                f"worker {self._index} cannot be pickled ({error}): after a crash, all its "
                "calls would be repeated from the first",
                stacklevel=2,
            )
            return
        del self._log[:length]

    def _give_up(self, reason: str) -> None:
        self._lost = WorkerLost(reason)
        for call in self._log:
            settle(call.future, Outcome(error=self._lost))
        self._log.clear()


_Answer = tuple[_Worker, _Call, Any, Future[Any]]


def _fulfil(answered: queue.SimpleQueue[_Answer | None]) -> None:
    """Settle calls as their answers come in. An answer that tells of a death starts a recovery."""
    while (answer := answered.get()) is not None:
        worker, call, actor, reply = answer
        try:
            outcome = unpack_outcome(reply.result(), receive)
        except DEATHS as error:
            worker.recover(actor, error)
        except Exception as error:
            settle(call.future, Outcome(error=error))
        else:
            settle(call.future, outcome)


def ship(value: Any) -> Any:
    """The value as what Ray handles best: bytes, or its pickle beside its large arrays."""
    stream, parts = pickled(value)
    if sum(part.nbytes for part in parts) < STORE_BYTES:
        return joined(stream, parts)
    return stream, [np.frombuffer(part, np.uint8) for part in parts]


def receive(shipped: Any) -> Any:
    """The value that was shipped. Its arrays are read-only, as are those that come from Ray."""
    if isinstance(shipped, bytes):
        return unpack(shipped)
    stream, parts = shipped
    return pickle.loads(stream, buffers=parts)


def _first_missing(replies: list[Any]) -> int:
    ready = set(ray.wait(replies, num_returns=len(replies), timeout=0)[0])
    return next((i for i, reply in enumerate(replies) if reply not in ready), 0)
