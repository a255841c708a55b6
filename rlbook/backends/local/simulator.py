"""Simulated time and simulated deaths: asynchronous programs that repeat to the last bit.

With a schedule, calls end in an order that only a seed decides. With faults, workers die in
calls that a seed or a list chooses, and are built again as on an engine with processes.
"""

from __future__ import annotations

import itertools
import random
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from rlbook.backends import DEFAULT_TIMEOUT, Backend, CallFuture, WorkerLost
from rlbook.backends.local.group import LocalGroup, LocalWorker, ship
from rlbook.backends.local.schedule import Line, Schedule, ScheduledFuture
from rlbook.backends.recovery import Recovery, lost_call
from rlbook.backends.waiting import late
from rlbook.backends.wire import Outcome, freeze, thaw

# The probability of a death in each call, or pairs of a worker and the call in which it dies.
Faults: TypeAlias = float | Collection[tuple[int, int]]

# When a worker dies: before it does what it is asked, or before it can say that it has.
BEFORE, AFTER = "before", "after"


class ScheduledGroup(LocalGroup):
    """The workers, and the calls that wait for them."""

    def __init__(
        self,
        backend: Backend,
        workers: Sequence[LocalWorker],
        max_pending: int,
        schedule: Schedule,
    ) -> None:
        super().__init__(backend, workers, max_pending)
        self.schedule = schedule
        self._lines = [Line() for _ in workers]

    def gather(self, futures: Sequence[Any], what: str, timeout: float) -> list[Any]:
        """As every Group's, in virtual time."""
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


class MortalWorker(LocalWorker):
    """A worker that dies now and then, and is built again.

    Args:
        build: makes the object.
        index: of the worker in its group.
        deaths: for every try at a call, whether and when it dies.
        recovery: how it is built again, and how often.
    """

    def __init__(
        self,
        build: Callable[[], Any],
        index: int,
        deaths: Iterator[str | None],
        recovery: Recovery,
    ) -> None:
        super().__init__(build)
        self._index = index
        self._deaths = deaths
        self._recovery = recovery
        self._restore = build  # the object as it was before the calls in the journal
        self._journal: list[tuple[str, tuple[Any, ...]]] = []
        self._can_be_saved = recovery.replays
        self._lost: WorkerLost | None = None

    def perform(self, method: str, shipped: tuple[Any, ...]) -> Outcome | None:
        if self._lost is not None:
            return Outcome(error=self._lost)
        death = next(self._deaths)
        outcome = None if death == BEFORE else super().perform(method, shipped)
        if death is not None:
            return self._die(method)
        if self._recovery.replays:
            self._note(method, shipped)
        return outcome

    def _note(self, method: str, shipped: tuple[Any, ...]) -> None:
        """Put a call into the journal, or take a snapshot in place of the journal."""
        self._journal.append((method, shipped))
        if len(self._journal) >= self._recovery.snapshot_every and self._can_be_saved:
            self._save()

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
        """Lose the object and build another. None: the call is to be tried again."""
        self._object = None
        if self.restarts == self._recovery.max_restarts:
            self._lost = WorkerLost(
                f"worker {self._index} died too often; the last time in {method}(), by faults=. "
                "Its calls can be repeated with a higher max_restarts"
            )
            return Outcome(error=self._lost)
        self.restarts += 1
        self._object = self._restore()
        if not self._recovery.replays:
            limit = self._recovery.max_restarts
            return Outcome(error=lost_call(self._index, method, self.restarts, limit))
        for earlier, shipped in self._journal:
            super().perform(earlier, shipped)
        return None


def deaths_of(faults: Faults, index: int, seed: str) -> Iterator[str | None]:
    """For each try at a call of worker `index`, whether and when it dies."""
    generator = random.Random(seed)
    for n in itertools.count(1):
        if not isinstance(faults, float):
            yield AFTER if (index, n) in faults else None
        elif generator.random() < faults:
            yield generator.choice((BEFORE, AFTER))
        else:
            yield None


def checked_faults(faults: Any) -> Faults:
    """Return the probability as a float or the pairs as a set, or raise `Local`'s ValueError."""
    if isinstance(faults, int | float) and not isinstance(faults, bool) and 0 <= faults < 1:
        return float(faults)
    if isinstance(faults, Collection) and all(map(_is_place, faults)):
        return frozenset(faults)
    raise ValueError(
        "faults must be a number from 0 to below 1, or pairs (worker, n) with worker from 0 and n "
        f"from 1, got {faults!r}"
    )


def _is_place(pair: Any) -> bool:
    whole = isinstance(pair, tuple) and len(pair) == 2 and all(type(part) is int for part in pair)
    return whole and pair[0] >= 0 and pair[1] >= 1
