"""Time that passes only while somebody waits: asynchronous calls in an order that a seed decides.

Nothing here runs in the background. A call waits in its worker's line; when its turn comes, it is
given a moment in *virtual time* at which it will be done. Whoever waits for a Future makes the time
pass: calls are carried out one after the other, in the waiting thread, the earliest first, until
what is waited for has happened. So a program that does the same sees the same, to the last bit.

The delays are not kind. Most calls take a millisecond or two, some a hundred times as long; now and
then a worker is slow for a while; and what ends in the same millisecond ends in random order.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from math import inf
from typing import Any, NamedTuple

from rlbook.backends import CallFuture
from rlbook.backends.wire import Outcome

# In a virtual second. A delay is a whole number of ticks, so that calls often end at the same time.
TICKS = 1000
LONGEST = 1000

# How often a worker's pace may change, how often it is slow then, and how much longer calls take.
CHANGE, SLOW, SLOWER = 0.1, 0.3, 30


class Line:
    """The calls to one worker: the first is under way, the others wait."""

    def __init__(self) -> None:
        self.calls: deque[_Call] = deque()
        self.slow = False


class _Call(NamedTuple):
    future: Future[Any]
    perform: Callable[[], Outcome | None]  # None: it must be tried again


class Schedule:
    """Virtual time, and the calls that will be done in it.

    Args:
        seed: of all delays.
    """

    def __init__(self, seed: int) -> None:
        self._ticks = 0
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self._lock = threading.RLock()  # a callback may submit, and wait
        # When a line's first call is done, in ticks; a random number, and one that differs always.
        self._under_way: list[tuple[int, float, int, Line]] = []

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self._ticks / TICKS

    def new_future(self) -> ScheduledFuture:
        """A Future whose `result` makes the time pass."""
        return ScheduledFuture(self, next(self._numbers))

    def add(self, line: Line, future: Future[Any], perform: Callable[[], Outcome | None]) -> None:
        """Put a call at the end of a line."""
        with self._lock:
            line.calls.append(_Call(future, perform))
            if len(line.calls) == 1:
                self._begin_next(line)

    def abandon(self, line: Line, error: Exception) -> None:
        """Fail all calls in a line."""
        with self._lock:
            calls = list(line.calls)
            line.calls.clear()
            self._under_way = [entry for entry in self._under_way if entry[-1] is not line]
            heapq.heapify(self._under_way)
        for future, _ in calls:
            if future.running() or future.set_running_or_notify_cancel():
                future.set_exception(error)

    def deadline(self, timeout: float | None) -> float:
        """The tick at which a wait ends that begins now.

        Every wait takes at least one: for whoever asks again and again, time must pass.
        """
        return inf if timeout is None else self._ticks + max(round(timeout * TICKS), 1)

    def advance(self, until: Callable[[], bool], deadline: float = inf) -> bool:
        """Make time pass until something is so. False: it is not so at the deadline, or ever."""
        while not until():
            if not self.step(deadline):
                return until()  # it may be so by another thread's doing
        return True

    def step(self, deadline: float = inf) -> bool:
        """Let the next call be done, or die. False: none will be by the deadline, which is now."""
        with self._lock:
            if not self._under_way or self._under_way[0][0] > deadline:
                if deadline < inf:
                    self._ticks = max(self._ticks, int(deadline))
                return False
            self._ticks, _, _, line = heapq.heappop(self._under_way)
            self._perform_first(line)
            return True

    @property
    def idle(self) -> bool:
        """Whether no call is left."""
        return not self._under_way

    def _perform_first(self, line: Line) -> None:
        future, perform = line.calls[0]
        outcome: Outcome | None = Outcome(error=RuntimeError("the call was interrupted"))
        try:
            outcome = perform()
        finally:
            if outcome is None:
                self._begin(line)
            else:
                # First the line goes on, so that a callback of the future may wait for the next.
                line.calls.popleft()
                self._begin_next(line)
                _fulfil(future, outcome)

    def _begin_next(self, line: Line) -> None:
        while line.calls:
            if line.calls[0].future.set_running_or_notify_cancel():
                self._begin(line)
                return
            line.calls.popleft()

    def _begin(self, line: Line) -> None:
        done_at = self._ticks + self._delay(line)
        entry = (done_at, self._chance.random(), next(self._numbers), line)
        heapq.heappush(self._under_way, entry)

    def _delay(self, line: Line) -> int:
        """How many ticks a line's next call takes.

        Pareto's distribution with exponent 1: half of the calls take two ticks or more, one in a
        hundred takes a hundred; and all of that times `SLOWER` while the worker is slow.
        """
        if self._chance.random() < CHANGE:
            line.slow = self._chance.random() < SLOW
        ticks = (SLOWER if line.slow else 1) / (1.0 - self._chance.random())
        return min(int(ticks), LONGEST)


def _fulfil(future: Future[Any], outcome: Outcome) -> None:
    """As `settle`, which asks whether the future is done: here, to ask makes the time pass."""
    try:
        value = outcome.unwrap()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(value)


class ScheduledFuture(CallFuture):
    """A Future for which whoever waits makes the time pass. Timeouts are in virtual seconds."""

    def __init__(self, schedule: Schedule, number: int) -> None:
        super().__init__()
        self._schedule = schedule
        self._number = number
        self._waiters = _Waiters(schedule)

    # `wait` and `as_completed` go through sets. By default an object's hash is its place in memory,
    # and so a set's order is another in each run.
    def __hash__(self) -> int:
        return self._number

    def is_over(self) -> bool:
        """What `done` says, and no time passes."""
        return super().done()

    def done(self) -> bool:
        """Whether it is. If it is not, the next call of all will be: so polling ends, too."""
        if not self.is_over():
            self._schedule.step()
        return self.is_over()

    def result(self, timeout: float | None = None) -> Any:
        self._await(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._await(timeout)
        return super().exception(0)

    def _await(self, timeout: float | None) -> None:
        self._schedule.advance(self.is_over, self._schedule.deadline(timeout))


class _Waiters(list[Any]):
    """Those who wait for a future by the functions `wait` and `as_completed`.

    These put an object with an attribute `event` into the list `future._waiters`, and call
    `event.wait`. Both names are private to the standard library; they have been the same since
    Python 3.2, and a test says so if they change.
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule

    def append(self, waiter: Any) -> None:
        if not isinstance(waiter.event, _Event):
            waiter.event = _Event(self._schedule)
        elif waiter.event.schedule is not self._schedule:
            raise ValueError(
                "futures in one wait must be of one schedule, got those of two schedules"
            )
        super().append(waiter)


class _Event(threading.Event):
    """Makes the time pass until it is set."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self._deadline: float | None = None
        self._late = False

    def wait(self, timeout: float | None = None) -> bool:
        """As every Event's.

        Raises:
            TimeoutError: a wait before this one ended without success. So only `as_completed` asks,
                which would go on until time is up by the clock.
        """
        if self._late:
            raise TimeoutError("futures unfinished")
        if self._deadline is None:
            self._deadline = self.schedule.deadline(timeout)
        happened = self.schedule.advance(self.is_set, self._deadline)
        if not happened and self.schedule.idle:  # somebody else's futures are among those
            happened = super().wait(timeout)
        self._late = not happened
        return happened
