"""The driver's side of a worker: its process, the calls that wait, and how it is built again."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any

from rlbook.backends import (
    Backend,
    WorkerLost,
    threads,
)
from rlbook.backends.interrupts import uninterrupted
from rlbook.backends.located import SEGMENT_BYTES, Located, look_at, remove_all_of
from rlbook.backends.multiprocessing.child import (
    BUILD,
    CALL,
    LET_GO,
    REPLAY,
    RESTORE,
    SNAPSHOT,
    Kept,
)
from rlbook.backends.multiprocessing.segments import Segment, SegmentRef, Store
from rlbook.backends.recovery import Recovery, lost_call
from rlbook.backends.wire import (
    Outcome,
    name_unsendable,
    pack,
    pickled,
    pieces,
    settle,
    unpack,
    unpack_outcome,
)

# One call is sent before the one ahead of it is done, so that the worker goes on without us. Not
# more: those can still be cancelled, and a pipe that is full would make `submit` wait.
SENT_AT_ONCE = 2

# Seconds after which one looks again whether another thread has taken one's answer off the pipe.
GLANCE = 0.01

# A journal that holds more than this, and twice as much as a snapshot, is replaced by one. It is
# little, since a segment that the journal holds cannot be used again.
JOURNAL_BYTES = 64 * 2**20

# Seconds that a process has to end by itself.
PATIENCE = 2.0

START_CHILD = "import sys; from rlbook.backends.multiprocessing import child; child.main(sys.argv)"


class Call:
    """A message to a worker, and who waits for its answer."""

    def __init__(self, kind: bytes, message: bytes, segments: Sequence[Segment] = ()) -> None:
        self.kind = kind
        self.method = ""
        self.begun = False
        self.may_be_revoked = False  # if it has not begun
        self.message = message
        self.segments = segments  # that the message names; held while it may be sent again
        self.outcome: Outcome | None = None
        self.future: Future[Any] | None = None  # fulfilled too, if there is one

    def begins(self) -> bool:
        """Whether it was not cancelled; from now on it cannot be."""
        if not self.begun:  # otherwise it begins once more, after a restart
            self.begun = self.future is None or self.future.set_running_or_notify_cancel()
        return self.begun

    def answer(self, outcome: Outcome) -> None:
        """Give the outcome to whoever waits."""
        self.outcome = outcome
        settle(self.future, outcome)

    def without_outcome(self) -> Call:
        """The message alone, for the journal: what came of it may be large."""
        return Call(self.kind, self.message, self.segments)

    def drop(self) -> None:
        """It will not be sent again."""
        for segment in self.segments:
            segment.release_soon()
        self.segments = ()


def _again(call: Call) -> Call:
    """A call of the journal, to be repeated; the journal still holds its segments."""
    return Call(REPLAY, call.message[:-1] + REPLAY, call.segments)


class Worker:
    """A worker's process, the pipe to it, and all that it takes to start another like it."""

    def __init__(
        self,
        backend: Backend,
        store: Store,
        recovery: Recovery,
        worker_class: Callable[..., Any],
        index: int,
        args: tuple[Any, ...],
        resources: dict[str, float],
    ) -> None:
        self._backend = weakref.ref(backend)  # which holds groups, and so must not be held here
        self._store = store
        self._recovery = recovery
        self._index = index
        self._environment = threads(resources["threads"]) | _gpus(index, resources.get("gpus", 0))
        self.restarts = 0
        self._lock = threading.RLock()
        self._waiting: deque[Call] = deque()  # not sent yet
        self._sent: deque[Call] = deque()  # sent, no answer yet
        self._done: list[Call] = []  # answered since the snapshot
        self._journal_bytes = 0  # what those hold,
        self._journal_paths: set[str] = set()  # in these segments, among others
        self._snapshot_bytes = 0
        self._asked = False  # for a snapshot
        self._closed = False
        self._lost: WorkerLost | None = None
        self._lent: deque[Segment] = deque()  # ours that the worker looks at, once for each time
        self._let_go: deque[str] = deque()  # the worker's that we looked at
        shipped, self._held = self._shipped(args)
        try:
            self._blueprint = pack((worker_class, index, shipped))
        except Exception as error:
            raise name_unsendable(args, error) from error
        self._origin = self._message(BUILD, (self._blueprint, store.directories))
        self._reading = threading.Lock()  # held by whoever takes answers off the pipe
        self._background: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._start_process()

    def build(self) -> Future[Any]:
        """Run the constructor."""
        future = self._origin.future = Future()
        self._enqueue(self._origin)
        self.await_in_background(self._origin)
        return future

    def send(
        self,
        method: str,
        args: tuple[Any, ...],
        keep: bool = False,
        may_be_revoked: bool = False,
        future: Future[Any] | None = None,
    ) -> Call:
        """Send a call, or have it sent when the pipe has room.

        Args:
            may_be_revoked: it is not sent before the worker is idle, so that it begins when sent.
        """
        shipped, held = self._shipped(args)
        try:
            call = self._message(CALL, (method, shipped, keep), held)
        except Exception as error:
            for segment in held:
                segment.release()
            raise name_unsendable(args, error) from error
        call.method, call.future, call.may_be_revoked = method, future, may_be_revoked
        self._enqueue(call)
        return call

    def revoke(self, call: Call) -> None:
        """Take back a call that has not begun."""
        with uninterrupted(), self._lock:
            if call.begun or call not in self._waiting:
                return
            self._waiting.remove(call)
            call.drop()
            self._send_what_fits()
        call.answer(Outcome(error=CancelledError()))

    def _shipped(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Segment]]:
        """The arguments with the place of each Ref's value, and the segments, which are held."""
        segments = []
        for arg in args:
            if isinstance(arg, SegmentRef):
                backend = self._backend()
                if arg.backend is not backend:
                    raise ValueError(f"a Ref must be of {backend!r}, got one of {arg.backend!r}")
                arg.segment.hold()
                segments.append(arg.segment)
        shipped = (arg.segment.located if isinstance(arg, SegmentRef) else arg for arg in args)
        return tuple(shipped), segments

    def _message(self, kind: bytes, content: Any, held: Sequence[Segment] = ()) -> Call:
        """A message with this content, which lies in a segment of its own if it is large."""
        stream, buffers = pickled(content)
        parts = pieces(stream, buffers)
        if sum(map(len, parts)) < SEGMENT_BYTES:
            return Call(kind, b"".join(parts) + kind, held)
        segment = self._store.pool.write(parts)
        return Call(kind, pack(segment.located) + kind, [segment, *held])

    def await_answer(self, call: Call, deadline: float = inf) -> None:
        """Take answers off the pipe until that of `call` is among them, or time is up."""
        while call.outcome is None:
            left = max(0.0, deadline - monotonic())
            with uninterrupted() as longest:
                # Another thread may be reading, and take this answer too.
                if self._reading.acquire(timeout=min(left, GLANCE)):
                    try:
                        if call.outcome is None:
                            self._take_answer(min(left, longest))
                    finally:
                        self._reading.release()
            if left == 0:
                return

    def await_in_background(self, call: Call) -> None:
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
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._abandon(RuntimeError(f"worker {self._index} was closed"))
        self._background.put(None)

    def _abandon(self, error: Exception) -> None:
        """There will be no answer to those who wait."""
        with self._lock:
            abandoned = [*self._sent, *self._waiting]
            self._sent.clear()
            self._waiting.clear()
        for call in abandoned:
            call.answer(Outcome(error=error))
            if call.kind == CALL:
                call.drop()

    def works_here(self) -> bool:
        """Whether this is the thread that serves the worker's futures."""
        return self._thread is threading.current_thread()

    def reap(self, patience: float = PATIENCE) -> None:
        """Have the process and the thread end, and give back the pipe."""
        self._end_of_process(patience)
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(PATIENCE)
        with self._lock:
            self._close_pipe()
            self._forget_process()
            for call in [self._origin, *self._done]:
                call.drop()
            self._done.clear()
            for segment in self._held:
                segment.release_soon()
            self._held = []

    def _end_of_process(self, patience: float = PATIENCE) -> int | None:
        """Wait for the process to end, and end it if it does not. Its exit status."""
        for end in (self._process.terminate, self._process.kill, lambda: None):
            try:
                return self._process.wait(patience)
            except subprocess.TimeoutExpired:
                end()
                patience = PATIENCE
        return None

    def _start_process(self) -> None:
        self._socket, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, sys.path))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START_CHILD, str(theirs.fileno())],
                env={**os.environ, **self._environment, "PYTHONPATH": path},
                stdin=subprocess.PIPE,  # nothing comes, but it ends when this process does
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C is for the driver alone
            )
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._connection = Connection(os.dup(self._socket.fileno()))
        self._poll = select.poll()
        self._poll.register(self._connection.fileno(), select.POLLIN)
        # Readable when the process has ended: a child of its own may keep the pipe open.
        self._end = -1
        with contextlib.suppress(AttributeError, OSError):  # macOS, old kernels
            self._end = os.pidfd_open(self._process.pid)
            self._poll.register(self._end, select.POLLIN)

    def _close_pipe(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.close()
            self._socket.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._end >= 0:
            os.close(self._end)
            self._end = -1

    def _enqueue(self, call: Call) -> None:
        with uninterrupted(), self._lock:
            if self._lost is not None or self._closed:
                call.drop()
                raise self._lost or RuntimeError(f"worker {self._index} is closed")
            self._waiting.append(call)
            self._send_what_fits()

    def _send_what_fits(self) -> None:
        while self._waiting and len(self._sent) < self._sent_before(self._waiting[0]):
            call = self._waiting.popleft()
            if not call.begins():
                call.drop()
                call.answer(Outcome(error=CancelledError()))
                continue
            self._sent.append(call)
            self._send(call)

    def _sent_before(self, call: Call) -> int:
        """How many calls may be under way when this one is sent, and one more."""
        return 1 if call.may_be_revoked and not call.begun else SENT_AT_ONCE

    def _send(self, call: Call) -> None:
        paths = tuple(self._let_go.popleft() for _ in range(len(self._let_go)))
        for segment in call.segments:
            segment.hold()
            self._lent.append(segment)
        # If the process is dead, whoever waits for an answer learns of it, and sends again.
        with contextlib.suppress(OSError):
            if paths:
                self._connection.send_bytes(pack(paths) + LET_GO)
            self._connection.send_bytes(call.message)

    def _take_answer(self, longest: float) -> None:
        """Wait for an answer, or the death of the process, and deal with it."""
        try:
            ready = self._poll.poll(None if longest == inf else longest * 1000)
            if not ready:
                return
            if len(ready) == 1 and ready[0][0] == self._end:
                raise EOFError
            message = self._connection.recv_bytes()
        except (EOFError, OSError):
            self._recover()
        else:
            if message[-1:] == LET_GO:
                self._take_back(unpack(message))
            else:
                self._settle(message)

    def _take_back(self, paths: Sequence[str]) -> None:
        """The worker has let go of segments that it was lent."""
        with self._lock:
            for path in paths:
                for segment in self._lent:
                    if segment.path == path:
                        self._lent.remove(segment)
                        segment.release()
                        break

    def _received(self, message: bytes) -> Any:
        value = unpack(message)
        return look_at(value, self._let_go.append) if type(value) is Located else value

    def _settle(self, message: bytes) -> None:
        outcome = unpack_outcome(message, self._received)
        with self._lock:
            if self._closed:
                return
            call = self._sent.popleft()
            again = call.kind == RESTORE or call.outcome is not None
            if call is self._origin and again and outcome.error is not None:
                self._give_up(f"could not be built again: {outcome.error!r}", outcome.error)
                return
            if type(outcome.value) is Kept:
                outcome = self._adopted(outcome.value.located)
            if call.kind == CALL:
                self._note(call)
                self._ask_for_snapshot()
            elif call.kind == SNAPSHOT:
                self._keep_snapshot(outcome)
            self._send_what_fits()
        call.answer(outcome)

    def _adopted(self, located: Located) -> Outcome:
        """A Ref of a value that the worker left to us."""
        backend, segment = self._backend(), self._store.pool.adopt(located)
        assert backend is not None  # the group that the call was made on holds it
        return Outcome(SegmentRef(backend, segment))

    def _note(self, call: Call) -> None:
        """Put a call that was answered into the journal, if there is one."""
        if not self._recovery.replays:
            call.drop()
            return
        self._done.append(call.without_outcome())
        self._journal_bytes += len(call.message)
        for segment in call.segments:
            if segment.path not in self._journal_paths:
                self._journal_paths.add(segment.path)
                self._journal_bytes += segment.nbytes

    def _ask_for_snapshot(self) -> None:
        """When there is much to repeat, or to keep for the case that it must be repeated."""
        much = max(JOURNAL_BYTES, 2 * self._snapshot_bytes)
        due = len(self._done) >= self._recovery.snapshot_every or self._journal_bytes > much
        if due and not self._asked:
            self._asked = True
            self._waiting.appendleft(Call(SNAPSHOT, pack(()) + SNAPSHOT))

    def _keep_snapshot(self, outcome: Outcome) -> None:
        if isinstance(outcome.error, OSError):  # no room for it: perhaps there is later
            self._asked = False
            self._store.pool.trim()
            return
        if outcome.error is not None:  # nor will it be asked for again
            warnings.warn(
                f"worker {self._index} cannot be pickled ({outcome.error}): after a crash, all its "
                "calls would be repeated from the first",
                stacklevel=2,
            )
            return
        content = (self._blueprint, self._store.directories, outcome.value)
        try:
            origin = self._message(RESTORE, content)
        except OSError:
            self._asked = False
            return
        # Answers come in the order of the calls, so all that is done is part of the snapshot.
        for call in [self._origin, *self._done]:
            call.drop()
        self._origin = origin
        self._done.clear()
        self._asked, self._journal_bytes = False, 0
        self._journal_paths.clear()
        self._snapshot_bytes = outcome.value.nbytes

    def _recover(self) -> None:
        """Start the worker's process again, and have the unanswered calls sent to it."""
        lost = None
        with self._lock:
            if self._closed:
                return
            status = self._end_of_process()
            self._forget_process()
            self._close_pipe()
            if self.restarts == self._recovery.max_restarts:
                how = f"signal {-status}" if status and status < 0 else f"exit status {status}"
                self._give_up(
                    f"died too often; the last time by {how}. "
                    "Its calls can be repeated with a higher max_restarts"
                )
                return
            self.restarts += 1
            try:
                self._start_process()
            except OSError as error:
                self._give_up(f"could not be started again: {error}", error)
                return
            unanswered = [*self._sent, *self._waiting]
            if any(call.kind == SNAPSHOT for call in unanswered):
                self._asked = False
            calls = [call for call in unanswered if call.kind == CALL]
            if not self._recovery.replays and self._sent and self._sent[0].kind == CALL:
                lost = calls.pop(0)  # the worker died in it
            self._sent.clear()
            self._waiting = deque([self._origin, *map(_again, self._done), *calls])
            self._send_what_fits()
        if lost is not None:
            lost.drop()
            lost.answer(Outcome(error=self._lost_call(lost)))

    def _lost_call(self, call: Call) -> WorkerLost:
        limit = self._recovery.max_restarts
        return lost_call(self._index, call.method, self.restarts, limit)

    def _forget_process(self) -> None:
        """What was lent to a dead process is free, and what it made is nobody's."""
        while self._lent:
            self._lent.popleft().release_soon()
        self._let_go.clear()
        remove_all_of(self._store.directories, str(self._process.pid))

    def _give_up(self, why: str, cause: BaseException | None = None) -> None:
        self._lost = WorkerLost(f"worker {self._index} {why}")
        self._lost.__cause__ = cause
        self._abandon(self._lost)


def _gpus(index: int, share: float) -> dict[str, str]:
    """Return the variable that shows a worker its GPUs, of which each worker gets `share`.

    Raises:
        ValueError: there are fewer.
    """
    if not share:
        return {}
    whole = max(1, int(share))
    first = int(index * share) if share < 1 else index * whole
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = seen.split(",") if seen else [str(i) for i in range(_number_of_gpus())]
    if first + whole > len(devices):
        raise ValueError(
            f"resources['gpus'] must be at most {len(devices)} for all workers together on this "
            f"machine, got {share} for worker {index}"
        )
    return {"CUDA_VISIBLE_DEVICES": ",".join(devices[first : first + whole])}


def _number_of_gpus() -> int:
    listed = Path("/proc/driver/nvidia/gpus")
    return len(list(listed.iterdir())) if listed.is_dir() else 0
