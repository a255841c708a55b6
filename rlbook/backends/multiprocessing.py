"""Workers in processes of their own on this machine, each at the end of a pipe.

Every worker has a process and, in the driver, a `_Worker` that feeds it: calls go down the pipe in
order, answers come back in that order. Whoever waits for an answer takes it off the pipe: the
caller itself in `call` and `map` (waking a second thread would take longer than the call), and a
thread in the background for the futures of `submit`. When the process dies, the one who waits
sees the pipe end, starts another process, brings it to where the old one was, and sends again
whatever has no answer yet.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    ONE_THREAD,
    Backend,
    Group,
    Outcome,
    Ref,
    WorkerLost,
    check_workers,
    gather,
    late,
    pack,
    settle,
    unpack,
    unpack_outcome,
)
from rlbook.backends.child import BUILD, CALL, REPLAY, RESTORE, SNAPSHOT, Shipped

# A call is sent before the one ahead of it is done only while the pipe's buffer surely holds both:
# otherwise `submit` would wait for the worker.
SEND_AHEAD_BYTES = 32 * 1024

START_CHILD = "import sys; from rlbook.backends.child import main; main(int(sys.argv[1]))"


class Multiprocessing(Backend):
    """One process for each worker.

    Args:
        max_restarts: how often a worker whose process died is built again before `WorkerLost`.
        snapshot_every: a worker's pickle is fetched after this many calls, so that a restart
            repeats at most these.
    """

    name = "multiprocessing"

    def __init__(self, max_restarts: int = 3, snapshot_every: int = 64) -> None:
        if os.name != "posix":
            raise RuntimeError("backend='multiprocessing' needs Linux, macOS or WSL")
        super().__init__()
        self.max_restarts = max_restarts
        self.snapshot_every = snapshot_every
        self._groups: weakref.WeakSet[MultiprocessingGroup] = weakref.WeakSet()
        self._tasks: MultiprocessingGroup | None = None
        self._directory: Path | None = None
        self._shipped = 0

    def launch(self, worker_class: Callable[..., Any], n: int, *args: Any) -> MultiprocessingGroup:
        check_workers(n)
        group = MultiprocessingGroup(self, worker_class, n, args)
        self._groups.add(group)
        return group

    def put(self, value: Any) -> FileRef:
        if self._directory is None:
            # Shared memory where there is some: a file that never touches a disk.
            memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            self._directory = Path(tempfile.mkdtemp(prefix=f"rlbook-{os.getpid()}-", dir=memory))
        self._shipped += 1
        path = self._directory / str(self._shipped)
        path.write_bytes(pack(value))
        return FileRef(self, path)

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        if self._tasks is None:
            self._tasks = self.launch(_Tasks, os.cpu_count() or 1)
        tasks, code = self._tasks, pack(function)
        futures = [tasks.submit(i % len(tasks), "run", code, item) for i, item in enumerate(items)]
        return gather(futures, getattr(function, "__name__", "function"), timeout)

    def close(self) -> None:
        for group in list(self._groups):
            group.close()
        self._tasks = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


class _Tasks:
    """The worker behind `run`."""

    def __init__(self, index: int) -> None:
        pass

    def run(self, code: bytes, item: Any) -> Any:
        return unpack(code)(item)


class FileRef(Ref):
    """A value in a file, which goes when nobody holds this any more."""

    def __init__(self, backend: Multiprocessing, path: Path) -> None:
        super().__init__(backend)
        self.path = path
        weakref.finalize(self, _remove, path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


class MultiprocessingGroup(Group):
    """Workers, each in a process."""

    def __init__(
        self,
        backend: Multiprocessing,
        worker_class: Callable[..., Any],
        size: int,
        args: tuple[Any, ...],
    ) -> None:
        super().__init__(size)
        self._workers = [_Worker(backend, worker_class, i, args) for i in range(size)]
        try:
            gather([worker.build() for worker in self._workers], "__init__", DEFAULT_TIMEOUT)
        except BaseException:
            self.close()
            raise

    def map(
        self, method: str, arguments: Sequence[tuple[Any, ...]], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_arguments(arguments)
        deadline = monotonic() + timeout
        pairs = list(zip(self._workers, arguments, strict=True))
        calls = [worker.send(method, args) for worker, args in pairs]
        for index, (worker, call) in enumerate(zip(self._workers, calls, strict=True)):
            worker.await_answer(call, deadline)
            if call.outcome is None:
                raise late(index, method, timeout)
        return [call.outcome.unwrap() for call in calls if call.outcome]

    def submit(self, index: int, method: str, *args: Any) -> Future[Any]:
        self.check_index(index)
        worker = self._workers[index]
        future: Future[Any] = Future()
        try:
            worker.await_in_background(worker.send(method, args, future))
        except WorkerLost as lost:  # it was given up before: the Future says so, as if it were now
            future.set_exception(lost)
        return future

    def close(self) -> None:
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            worker.reap()


class _Call:
    """A message to a worker, and who waits for its answer."""

    def __init__(self, kind: str, *content: Any, holds: tuple[Any, ...] = ()) -> None:
        self.kind = kind
        self.content = content
        self.message = pack((kind, *content))
        self.holds = holds  # the Refs in it: their files stay while the call may be sent again
        self.outcome: Outcome | None = None
        self.future: Future[Any] | None = None  # fulfilled too, if there is one

    def answer(self, outcome: Outcome) -> None:
        """Give the outcome to whoever waits."""
        self.outcome = outcome
        settle(self.future, outcome)


class _Worker:
    """The driver's side of one worker."""

    def __init__(
        self,
        backend: Multiprocessing,
        worker_class: Callable[..., Any],
        index: int,
        args: tuple[Any, ...],
    ) -> None:
        self._index = index
        self._restarts_left = backend.max_restarts
        self._snapshot_every = backend.snapshot_every
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()  # not sent yet
        self._sent: deque[_Call] = deque()  # sent, no answer yet
        self._done: list[tuple[Any, ...]] = []  # contents of calls answered since the snapshot
        self._closed = False
        self._lost: WorkerLost | None = None
        blueprint = pack((worker_class, index, tuple(map(_shippable, args))))
        self._origin = _Call(BUILD, blueprint, holds=args)
        self._reading = threading.Lock()  # held by whoever takes answers off the pipe
        self._background: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._start_process()

    def build(self) -> Future[Any]:
        """Run the constructor."""
        future = self._origin.future = Future()
        self._enqueue(self._origin)
        self.await_in_background(self._origin)
        return future

    def send(self, method: str, args: tuple[Any, ...], future: Future[Any] | None = None) -> _Call:
        """Send a call, or have it sent when the pipe has room."""
        call = _Call(CALL, method, tuple(map(_shippable, args)), holds=args)
        call.future = future
        self._enqueue(call)
        return call

    def await_answer(self, call: _Call, deadline: float = inf) -> None:
        """Take answers off the pipe until that of `call` is among them, or time is up."""
        while call.outcome is None:
            patience = min(max(0.0, deadline - monotonic()), threading.TIMEOUT_MAX)
            if not self._reading.acquire(timeout=patience):
                return
            try:
                if call.outcome is None and not self._take_answer(deadline):
                    return
            finally:
                self._reading.release()

    def await_in_background(self, call: _Call) -> None:
        """Have a thread do so."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve_futures, daemon=True)
            self._thread.start()
        self._background.put(call)

    def _serve_futures(self) -> None:
        while (call := self._background.get()) is not None:
            self.await_answer(call)

    def hang_up(self) -> None:
        """Tell the process to end, and fail whatever still waits."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            abandoned = [*self._sent, *self._waiting]
            self._sent.clear()
            self._waiting.clear()
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        for call in abandoned:
            call.answer(Outcome(error=RuntimeError(f"worker {self._index} was closed")))
        self._background.put(None)

    def reap(self, patience: float = 2.0) -> None:
        """Have the process and the thread end, and give back the pipe."""
        self._end_of_process(patience)
        if self._thread is not None:
            self._thread.join(patience)
        with contextlib.suppress(OSError):
            self._connection.close()
            self._socket.close()

    def _end_of_process(self, patience: float = 2.0) -> int | None:
        """Wait for the process to end, and end it if it does not. Its exit status."""
        for end in (self._process.terminate, self._process.kill, lambda: None):
            try:
                return self._process.wait(patience)
            except subprocess.TimeoutExpired:
                end()
        return None

    def _start_process(self) -> None:
        self._socket, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, sys.path))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START_CHILD, str(theirs.fileno())],
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._connection = Connection(os.dup(self._socket.fileno()))
        self._poll = select.poll()
        self._poll.register(self._connection.fileno(), select.POLLIN)

    def _enqueue(self, call: _Call) -> None:
        with self._lock:
            if self._lost is not None:
                raise self._lost
            if self._closed:
                raise RuntimeError(f"worker {self._index} is closed")
            self._waiting.append(call)
            self._send_what_fits()

    def _send_what_fits(self) -> None:
        while self._waiting:
            call = self._waiting[0]
            ahead = sum(len(sent.message) for sent in self._sent)
            if self._sent and ahead + len(call.message) > SEND_AHEAD_BYTES:
                return
            self._waiting.popleft()
            if call.future is not None and not call.future.set_running_or_notify_cancel():
                call.answer(Outcome(error=CancelledError()))
                continue
            self._sent.append(call)
            self._send(call.message)

    def _send(self, message: bytes) -> None:
        # If the process is dead, whoever waits for an answer learns of it, and sends again.
        with contextlib.suppress(OSError):
            self._connection.send_bytes(message)

    def _take_answer(self, deadline: float) -> bool:
        """Wait for an answer, or the death of the process, and deal with it. False: time is up."""
        wait = None if deadline == inf else max(0.0, deadline - monotonic()) * 1000
        try:
            if not self._poll.poll(wait):
                return False
            message = self._connection.recv_bytes()
        except (EOFError, OSError):
            self._recover()
        else:
            self._settle(message)
        return True

    def _settle(self, message: bytes) -> None:
        with self._lock:
            if self._closed:
                return
            call = self._sent.popleft()
            if call.kind == CALL:
                self._done.append((*call.content, call.holds))
                if len(self._done) == self._snapshot_every:
                    self._waiting.appendleft(_Call(SNAPSHOT))
            self._send_what_fits()
        outcome = unpack_outcome(message)
        if call.kind == SNAPSHOT:
            self._keep_snapshot(outcome)
        call.answer(outcome)

    def _keep_snapshot(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            warnings.warn(
                f"worker {self._index} cannot be pickled ({outcome.error}): after a crash, all its "
                "calls would be repeated from the first",
                stacklevel=2,
            )
            return
        with self._lock:
            # Answers come in the order of the calls, so all that is done is part of the snapshot.
            self._origin = _Call(RESTORE, outcome.value)
            self._done.clear()

    def _recover(self) -> None:
        """Start the worker's process again and bring it to where it was."""
        with self._lock:
            if self._closed:
                return
            status = self._end_of_process()
            if self._restarts_left == 0:
                self._give_up(status)
                return
            self._restarts_left -= 1
            self._connection.close()
            self._socket.close()
            self._start_process()
            self._sent = deque(call for call in self._sent if call.kind not in (BUILD, RESTORE))
            self._sent.appendleft(self._origin)
            self._send(self._origin.message)
            for method, args, _ in self._done:
                self._send(pack((REPLAY, method, args)))
            for call in list(self._sent)[1:]:
                self._send(call.message)

    def _give_up(self, status: int | None) -> None:
        how = f"signal {-status}" if status and status < 0 else f"exit status {status}"
        self._lost = WorkerLost(
            f"worker {self._index} died too often; the last time by {how}. "
            "Its calls can be repeated with a higher max_restarts"
        )
        for call in [*self._sent, *self._waiting]:
            call.answer(Outcome(error=self._lost))
        self._sent.clear()
        self._waiting.clear()


def _shippable(argument: Any) -> Any:
    if isinstance(argument, FileRef):
        return Shipped(str(argument.path))
    return argument
