"""Workers in this process: their objects, and the calls to them, which are done at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rlbook.backends import Backend, CallFuture, Group, Ref
from rlbook.backends.wire import (
    Outcome,
    attempt,
    pack,
    pack_outcome,
    settle,
    unpack,
    unpack_outcome,
)


class LocalRef(Ref):
    """Holds the value, packed: what one worker does to it, no other sees."""

    def __init__(self, backend: Backend, packed: bytes) -> None:
        super().__init__(backend)
        self.packed = packed


class LocalGroup(Group):
    """The workers, in a list."""

    def __init__(self, backend: Backend, workers: Sequence[LocalWorker], max_pending: int) -> None:
        super().__init__(len(workers), max_pending)
        self.backend = backend
        self.workers = workers
        self._earlier_restarts = 0  # of workers that were closed

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

    @property
    def restarts(self) -> int:
        return self._earlier_restarts + sum(worker.restarts for worker in self.workers)

    def close(self) -> None:
        self._earlier_restarts = self.restarts
        self.workers = ()


class LocalWorker:
    """A worker's object, and what it takes to call it.

    Args:
        build: makes the object.
    """

    restarts = 0

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._object = build()

    def perform(self, method: str, shipped: tuple[Any, ...]) -> Outcome | None:
        """Call a method. None: the worker died; the call is to be tried again."""
        return unpack_outcome(pack_outcome(attempt(self._call, method, shipped)))

    def _call(self, method: str, shipped: tuple[Any, ...]) -> Any:
        return getattr(self._object, method)(*received(shipped))


def ship(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as they are now, whatever their owner does to them later."""
    return tuple(arg if isinstance(arg, LocalRef) else pack(arg) for arg in args)


def received(shipped: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as a worker in another process would get them."""
    return tuple(unpack(arg.packed if isinstance(arg, LocalRef) else arg) for arg in shipped)
