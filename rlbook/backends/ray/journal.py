"""The side of a Ray worker that is in the driver, and that outlives the worker's actors.

An actor that dies is replaced by one that starts from the worker's last snapshot and is sent the
journal: all calls since then, in order. We do this ourselves because Ray's own restart forgets the
actor's state.
"""

from __future__ import annotations

import queue
import threading
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any, NamedTuple

from rlbook.backends import Backend, WorkerLost
from rlbook.backends.ray.host import ship
from rlbook.backends.ray.library import ray
from rlbook.backends.recovery import Recovery, lost_call
from rlbook.backends.wire import Outcome, settle

# The number of calls that are sent to an actor before it answers the first. The rest can be
# cancelled.
SEND_AHEAD = 8

# Seconds from one snapshot to the next, so that they take little time from very short calls.
SNAPSHOT_PAUSE = 0.25

# A journal that holds more than this, and twice as much as a snapshot, is replaced by one.
JOURNAL_BYTES = 256 * 2**20


class Message(NamedTuple):
    """A call as Ray's arguments, and how much memory each of these holds."""

    args: tuple[Any, ...]
    sizes: tuple[int, ...]


class Call:
    """A message to a worker, Ray's name for the answer, and the future that waits for it."""

    def __init__(
        self,
        kind: str,
        message: Message,
        method: str = "",
        future: Future[Any] | None = None,
        alone: bool = False,
    ) -> None:
        self.kind = kind  # a method of `Actor`
        self.message = message
        self.method = method  # of the worker
        self.alone = alone  # not sent before the worker is idle, so that it begins when sent
        self.future = future
        self.number = 0  # its place among the calls that were sent, from 1; 0 before
        self.reply: Any = None  # None before it is sent, and after it is done
        self.kept: Any = None  # Ray's name for the result, where that stays
        self.done = False


class Answer(NamedTuple):
    """What Ray has to say to something that was sent to an actor."""

    worker: Worker
    actor: Any
    call: Call
    purpose: str  # "call", "replay" or "snapshot"
    reply: Future[Any]


class Worker:
    """Its actor, and all that it takes to make another like it."""

    def __init__(
        self,
        backend: Backend,
        answered: queue.SimpleQueue[Answer | None],
        index: int,
        new_actor: Callable[[], Any],
        recovery: Recovery,
        max_pending: int,
    ) -> None:
        self.backend = backend
        self._answered = answered  # where to put what Ray answers
        self._recovery = recovery
        self._max_pending = max_pending
        self._index = index
        self._new_actor = new_actor
        self._lock = threading.RLock()
        self._actor = new_actor()
        self.restarts = 0
        self._origin: Message | None = None  # of the constructor
        self._waiting: deque[Call] = deque()  # not sent yet
        self._in_flight = 0
        self._sent = 0
        self._journal: deque[Call] = deque()  # all that was sent since the snapshot, in order
        self._journal_bytes = 0  # what those hold that are done,
        self._journal_holds: set[Any] = set()  # which is this, among others
        self._since = 0  # calls that were done since a snapshot was asked for,
        self._asked_at = -SNAPSHOT_PAUSE  # which was then
        self._asked: Call | None = None  # for a snapshot
        self._fresh: Any = None  # a snapshot that can't be used yet
        self._snapshot: Any = None
        self._lost: WorkerLost | None = None

    def __str__(self) -> str:
        return f"worker {self._index}"

    def send(self, call: Call) -> None:
        """Send a call to the actor, or have it sent when there is room; does not wait.

        A call that must wait has a future afterwards.
        """
        with self._lock:
            if self._lost is not None:
                raise self._lost
            if call.kind == "build":
                self._origin = call.message
            self._waiting.append(call)
            self._send_what_fits()
            if not call.number:
                call.future = call.future or Future()
                if len(self._waiting) > 2 * self._max_pending:
                    self._forget_cancelled()

    def follow(self, call: Call) -> Future[Any]:
        """A future of the call's result."""
        with self._lock:
            if call.future is None:
                call.future = Future()
                call.future.set_running_or_notify_cancel()  # what was sent cannot be taken back
                if self._lost is not None:
                    settle(call.future, Outcome(error=self._lost))
                else:
                    self._notify(call)
            return call.future

    def finish(self, call: Call) -> None:
        """The call was answered."""
        with self._lock:
            if call.done or self._lost is not None:
                return
            call.done = True
            call.reply = call.kept = None  # what came of it may be large
            self._in_flight -= 1
            if self._recovery.replays:
                self._note(call)
            else:
                self._journal.remove(call)
            self._send_what_fits()

    def _note(self, call: Call) -> None:
        """The journal has one more call that is done; perhaps it is time for a snapshot."""
        self._since += 1
        self._count(call)
        if self._fresh is not None:
            self._use_snapshot()
        self._ask_for_snapshot()

    def drop(self, call: Call) -> None:
        """The call could not be made: it is not a part of the worker's history."""
        with self._lock:
            if call in self._journal:
                self._journal.remove(call)
                call.done = True  # it needs no `finish`
                self._in_flight -= 1
                self._send_what_fits()

    def take_snapshot(self, asked: Call, outcome: Outcome) -> None:
        """The snapshot that was asked for is there."""
        with self._lock:
            if asked is not self._asked:
                return
            if outcome.error is None:
                self._fresh = outcome.value
                self._use_snapshot()
                return
        warnings.warn(  # nor will it be asked for again
            f"{self} cannot be pickled ({outcome.error}): after a crash, all its "
            "calls would be repeated from the first",
            stacklevel=2,
        )

    def recover(self, actor: Any, cause: Exception) -> None:
        """Replace the actor, unless that has been done, and send it what has no answer."""
        lost = None
        with self._lock:
            if self._lost is not None or actor is not self._actor:
                return
            if not ray.is_initialized():
                self.give_up(f"{self} is gone: Ray was shut down")
                return
            ray.kill(actor)  # if it only could not be reached: there must not be two
            if self.restarts == self._recovery.max_restarts:
                self.give_up(f"{self} died too often; the last time: {cause}")
                return
            self.restarts += 1
            self._asked = self._fresh = None
            self._actor = self._new_actor()
            if not self._recovery.replays:
                lost = self._build_afresh()
            elif self._snapshot is not None:
                self._restore()
            for call in self._journal:
                self._dispatch(call)
            self._send_what_fits()
        if lost is not None and lost.future is not None:
            settle(lost.future, Outcome(error=self._lost_call(lost)))

    def _build_afresh(self) -> Call | None:
        """Run the constructor again. The call that the worker has died in, if there was one.

        Calls are carried out in order, so this is the first one without an answer.
        """
        assert self._origin is not None
        first = self._journal[0] if self._journal else None
        if first is not None and first.kind == "build":
            return None  # it died while it was built, and nothing is lost
        call = Call("build", self._origin)
        self._listen(call, self._actor.build.remote(*self._origin.args), "replay")
        if first is not None:
            self._journal.popleft()
            first.done = True
            first.future = first.future or Future()
            self._in_flight -= 1
        return first

    def _lost_call(self, call: Call) -> WorkerLost:
        return lost_call(self._index, call.method, self.restarts, self._recovery.max_restarts)

    def give_up(self, reason: str) -> None:
        """Tell all who wait that the worker is no more."""
        with self._lock:
            if self._lost is not None:
                return
            self._lost = WorkerLost(reason)
            calls = [*self._journal, *self._waiting]
            self._journal.clear()
            self._waiting.clear()
        for call in calls:
            if call.number or call.future is None or call.future.set_running_or_notify_cancel():
                settle(call.future, Outcome(error=self._lost))

    def close(self) -> None:
        """End the actor."""
        with self._lock:
            if self._lost is None:
                self.give_up(f"{self} was closed")
                if ray.is_initialized():
                    ray.kill(self._actor)

    def _send_what_fits(self) -> None:
        while self._waiting and self._has_room(self._waiting[0]) and self._lost is None:
            call = self._waiting.popleft()
            if call.future is not None and not call.future.set_running_or_notify_cancel():
                continue  # it was cancelled
            self._sent += 1
            call.number = self._sent
            self._in_flight += 1
            self._journal.append(call)
            self._dispatch(call)

    def _has_room(self, call: Call) -> bool:
        """Whether a call may be sent now."""
        return self._in_flight < (1 if call.alone else SEND_AHEAD)

    def _dispatch(self, call: Call) -> None:
        """Send a call for the first time or, to a new actor, again."""
        if call.done:
            kind = call.kind if call.kind == "build" else "replay"
            self._listen(call, getattr(self._actor, kind).remote(*call.message.args), "replay")
            return
        if call.kind == "keep":
            method = self._actor.keep.options(num_returns=2)
            call.reply, call.kept = method.remote(*call.message.args)
        else:
            call.reply = getattr(self._actor, call.kind).remote(*call.message.args)
        if call.future is not None:
            self._notify(call)

    def _notify(self, call: Call) -> None:
        self._listen(call, call.reply, "call")

    def _listen(self, call: Call, reply: Any, purpose: str) -> None:
        """Have the backend's thread told of the answer. Ray's own thread must not do the work."""
        actor, put = self._actor, self._answered.put
        reply.future().add_done_callback(
            lambda answer: put(Answer(self, actor, call, purpose, answer))
        )

    def _restore(self) -> None:
        assert self._origin is not None
        call = Call("restore", self._origin)
        call.done = True
        snapshot = ray.put(ship(self._snapshot))
        self._listen(call, self._actor.restore.remote(snapshot, *self._origin.args), "replay")

    def _count(self, call: Call) -> None:
        """Add what a call that is done holds to what the journal holds."""
        for held, nbytes in zip(*call.message, strict=True):
            if isinstance(held, bytes):
                self._journal_bytes += nbytes
            elif held not in self._journal_holds:
                self._journal_holds.add(held)
                self._journal_bytes += nbytes

    def _ask_for_snapshot(self) -> None:
        """When there is much to repeat, or to keep for the case that it must be repeated."""
        much = max(JOURNAL_BYTES, 2 * len(self._snapshot if self._snapshot is not None else ()))
        many = self._since >= self._recovery.snapshot_every
        if self._asked is not None or not (many or self._journal_bytes > much):
            return
        if monotonic() - self._asked_at >= SNAPSHOT_PAUSE or self._journal_bytes > much:
            self._asked = Call("snapshot", Message((), ()))
            self._asked.number = self._sent
            self._since, self._asked_at = 0, monotonic()
            self._listen(self._asked, self._actor.snapshot.remote(), "snapshot")

    def _use_snapshot(self) -> None:
        """Forget the calls that are part of the snapshot, if all of them have their answers."""
        assert self._asked is not None
        last = self._asked.number
        if any(not call.done for call in self._journal if call.number <= last):
            return
        self._snapshot, self._fresh, self._asked = self._fresh, None, None
        self._journal = deque(call for call in self._journal if call.number > last)
        self._journal_bytes = 0
        self._journal_holds.clear()
        for call in self._journal:
            if call.done:
                self._count(call)

    def _forget_cancelled(self) -> None:
        self._waiting = deque(
            call for call in self._waiting if call.future is None or not call.future.cancelled()
        )
