"""Where workers run: in this process, in processes of their own, on Ray or on Spark.

A backend runs a *group* of *workers*. A worker is an ordinary Python object with state and methods.
This file is the contract: it has everything that a user of backends sees.

>>> class Counter:
...     def __init__(self, index, start):
...         self.total = start + index
...     def add(self, amount):
...         self.total += amount
...         return self.total
>>> with get("local") as backend:
...     group = backend.launch(Counter, 2, 10)      # Counter(0, 10) and Counter(1, 10)
...     group.call("add", 1)                        # every worker, same arguments
...     group.map("add", [(5,), (7,)])              # every worker, its own arguments
...     group.submit(1, "add", 2).result()          # one worker; a Future at once
...     kept = group.submit(1, "add", 0, keep=True)  # a Future of a Ref: the value stays there
...     group.submit(0, "add", kept.result()).result()
[11, 12]
[16, 19]
21
37

The rules below are the same on every backend, and `tests/backends` checks them on each.

Calls:

* Calls to one worker run one at a time, in the order in which they were made. When `max_pending`
  calls to a worker have no answer yet, `submit` waits until one has, so that a fast caller cannot
  fill the memory.
* A call has *begun* when it was given to a worker that had nothing else to do. One that has not
  begun can be cancelled through its Future.
* Every wait of a group or a backend ends with a `TimeoutError` after `timeout` seconds
  (`DEFAULT_TIMEOUT` by default). A call of `call` or `map` that has not begun by then never runs.
  One that has begun goes on and counts, except on Spark, which cancels it. A Future's own
  `result()` waits as long as its caller says, and cancels nothing.
* A worker's exception is raised where its result is asked for, with its type and message, and with
  the worker's traceback as its cause. The worker lives on.

Values:

* Arguments and results are values: a worker shares nothing with its caller. NumPy arrays arrive
  read-only, so that an engine may hand them over without copying; copy an array to change it.
* A value that was `put`, or kept where it was made (`keep=True`), is a `Ref`, and may stand for an
  argument. It lives until nobody holds it and no restart needs it. Refs are numbered, and a Future
  says in `versions` which ones its call was given, so that a result tells which weights it was made
  with.

Deaths:

* With `recovery="replay"`, a worker whose process has died is built again from its last snapshot
  and the calls since then, and the call that it died in is run again. So each call counts exactly
  once.
* With `recovery="fresh"`, the worker is built again from its constructor. The call that it died in
  fails with `WorkerRestarted`, and calls that had not begun run on the new worker. (Ray does not
  tell which call that was; it is taken to be the earliest one without an answer.) There are no
  snapshots and no journal of calls. This is for workers whose state may be lost, such as replay
  shards and the actors of Ape-X.
* `group.restarts` counts restarts. A worker that dies again after `max_restarts` of them is given
  up, and whoever waits for it gets `WorkerLost`.
* A snapshot is the worker's pickle or, if the worker has the methods `get_state` and `set_state`,
  what `get_state()` returns, which a newly constructed worker is then given. A worker whose
  `get_state()` returns None has no state, and `set_state` is not called.
* On Spark a worker is a value, which travels to each call and does not die with a process. So Spark
  offers `"replay"` alone; the class attribute `recoveries` says what a backend offers.

Resources:

* A worker computes with one thread unless `resources={"threads": …}` says otherwise.
* A worker that was given GPUs sees these, in `CUDA_VISIBLE_DEVICES`. `Local` has one process, with
  whatever that process sees.

Ends:

* Closing a group ends its workers and returns everything that they have taken: processes, threads,
  descriptors, and files. Calls that have no answer are cancelled or get a `RuntimeError`, and so
  does a later `submit`. Refs live on. Closing a backend closes its groups, and later uses get a
  `RuntimeError`.
* The same happens when a group or a backend is garbage-collected. A call without an answer keeps
  its group alive.
* `close` may be called twice, by any thread, by a callback and by a finalizer.
* All backends of a process share one Ray and one Spark. One that was started by name (`get("ray")`,
  as agents do) runs until the program ends, because starting it takes seconds. One that was started
  with options of its own ends when the last open backend that uses it is closed; and an engine that
  nobody uses makes room when a backend asks for another address or other options.

To add an engine, write a `Backend` and a `Group`, name the backend in `BACKENDS`, and run the tests
on it: `tests/backends -k "[name or name]"`, then `tests/test_promise.py`. Options for the tests are
in `tests/conftest.py`. What one needs to know:

* `name` is the key in `BACKENDS`, and the class's name in lower case. A constructor takes
  `max_pending` and calls `super().__init__()` first; it ends with `new_closer`, which gives back
  what the backend has taken.
* `_submit` has packed the arguments when it returns, and does not wait for the worker. Just before
  the call begins, the engine asks `future.set_running_or_notify_cancel()` and drops the call on
  False.
* A call takes three steps (see `rlbook.backends.wire`): `pack` the arguments, with something in
  place of each Ref; in the worker, `pack_outcome(attempt(...))`; in the driver,
  `settle(future, unpack_outcome(...))`. Anything raised that is no `Exception` is the worker's
  death.
* An argument of `launch` may be a Ref. A Ref of another backend is a `ValueError`. Each call gets a
  new copy of the value, so one call does not see what another did to it.
* An engine's own threads must be daemons; otherwise the program would never end.
* Where workers have no process of their own (`has_processes` is False), the rules on deaths,
  snapshots and threads do not apply.
"""

from __future__ import annotations

import atexit
import importlib
import itertools
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Self

from rlbook.backends import closing
from rlbook.backends.closing import Closer
from rlbook.backends.waiting import gather

# Seconds that a wait lasts at most, unless told otherwise.
DEFAULT_TIMEOUT = 600.0

# How many calls to one worker may wait for an answer before `submit` waits too.
MAX_PENDING = 1024

# What `launch(resources=…)` understands.
RESOURCES = {
    "threads": "threads for numerical libraries, a whole number from 1",
    "cpus": "processors that Ray or a Spark cluster sets aside for each worker",
    "gpus": "GPUs that each worker sees; below 1, several workers share one",
}

# What `launch(recovery=…)` understands.
RECOVERIES = {
    "replay": "the state is computed again from a snapshot and the calls since; each counts once",
    "fresh": "the worker is built again from its constructor; its state and the call are lost",
}

# name: (module, class)
BACKENDS = {
    "local": ("rlbook.backends.local", "Local"),
    "multiprocessing": ("rlbook.backends.multiprocessing", "Multiprocessing"),
    "ray": ("rlbook.backends.ray", "Ray"),
    "spark": ("rlbook.backends.spark", "Spark"),
}


def threads(number: float) -> dict[str, str]:
    """Return the environment variables that limit the threads of numerical libraries.

    A worker has one, unless told otherwise: several that use all cores each would only get in one
    another's way.
    """
    libraries = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM", "NUMBA_NUM")
    return {f"{library}_THREADS": str(int(number)) for library in libraries}


ONE_THREAD = threads(1)


def get(backend: str | Backend = "local", **options: Any) -> Backend:
    """A backend by name, or the one given.

    Args:
        backend: `"local"`, `"multiprocessing"`, `"ray"`, `"spark"`, or a `Backend`, which is
            returned as it is.
        options: passed on to the backend's constructor.

    Raises:
        ValueError: there is no backend of that name.
        ModuleNotFoundError: the backend's package is not installed; the message has the command
            that installs it.
    """
    if isinstance(backend, Backend):
        return backend
    if backend not in BACKENDS:
        allowed = ", ".join(map(repr, BACKENDS))
        raise ValueError(f"backend must be {allowed}, or a Backend, got {backend!r}")
    module, name = BACKENDS[backend]
    made: Backend = getattr(importlib.import_module(module), name)(**options)
    if not options:
        made.keep_engine()
    return made


class WorkerLost(RuntimeError):
    """A worker's process died more often than `max_restarts` allows."""


class WorkerRestarted(WorkerLost):
    """A worker died in this call and was built again from its constructor (`recovery="fresh"`).

    The call and the worker's state are lost. Later calls run on the new worker.
    """


class Ref:
    """A value that was shipped once, by `Backend.put`. A call given a Ref receives the value.

    It may stand for any argument of a call (not inside a list or dict), and lives until nobody
    holds it.

    Attributes:
        version: the first Ref of a backend has 1, the next 2, and so on.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.version = backend.next_version()

    def __reduce__(self) -> Any:
        raise TypeError("a Ref can only be an argument of a call, not a part of one")


class CallFuture(Future[Any]):
    """The standard library's Future, which also knows what its call was given.

    Attributes:
        versions: of the Refs among the arguments, in their order.
    """

    versions: tuple[int, ...] = ()
    group: Group | None = None  # held until the call has its answer


class Group(ABC):
    """Workers that were launched together. `len(group)` is how many."""

    def __init__(self, size: int, max_pending: int = MAX_PENDING) -> None:
        self.size = size
        self.max_pending = max_pending
        self._room = [threading.BoundedSemaphore(max_pending) for _ in range(size)]

    def __len__(self) -> int:
        return self.size

    def call(self, method: str, *args: Any, timeout: float = DEFAULT_TIMEOUT) -> list[Any]:
        """Call a method of every worker with the same arguments; results in worker order."""
        return self.map(method, [args] * self.size, timeout=timeout)

    def map(
        self, method: str, arguments: Sequence[tuple[Any, ...]], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        """Call a method of every worker, each with its own tuple of arguments; in worker order.

        Raises:
            ValueError: there is not exactly one tuple for each worker.
            TimeoutError: a worker had not answered after `timeout` seconds; it is named.
        """
        self.check_arguments(arguments)
        futures = [self.submit(i, method, *args) for i, args in enumerate(arguments)]
        return self.gather(futures, method, timeout)

    def gather(self, futures: Sequence[CallFuture], what: str, timeout: float) -> list[Any]:
        """The results of futures, in order; see `rlbook.backends.waiting.gather`."""
        return gather(futures, what, timeout)

    @property
    def restarts(self) -> int:
        """How often workers of this group have died and been built again, all together."""
        return 0

    def submit(self, index: int, method: str, *args: Any, keep: bool = False) -> CallFuture:
        """Call a method of one worker; a Future at once.

        Args:
            keep: the Future is of a Ref: the result stays where it was made, and any worker of this
                backend may be given it without its passing through here.

        Raises:
            IndexError: there is no worker of that index.
            TimeoutError: the worker had `max_pending` calls to answer, and answered none of them
                for `DEFAULT_TIMEOUT` seconds.
        """
        self.check_index(index)
        room = self._room[index]
        if not (room.acquire(blocking=False) or self._await_room(room)):
            raise TimeoutError(
                f"worker {index} has {self.max_pending} calls to answer, and answered none for "
                f"{DEFAULT_TIMEOUT:g} seconds"
            )
        future = self._new_future()
        future.versions = tuple(arg.version for arg in args if isinstance(arg, Ref))
        future.group = self
        future.add_done_callback(partial(_answered, room))
        try:
            self._submit(index, method, args, keep, future)
        except BaseException:
            future.cancel()
            raise
        return future

    def _await_room(self, room: threading.BoundedSemaphore) -> bool:
        """Wait until a worker with `max_pending` calls has answered one. False: it did not."""
        return room.acquire(timeout=DEFAULT_TIMEOUT)

    def _new_future(self) -> CallFuture:
        """What `submit` returns."""
        return CallFuture()

    @abstractmethod
    def _submit(
        self, index: int, method: str, args: tuple[Any, ...], keep: bool, future: CallFuture
    ) -> None:
        """Begin what `submit` promises; `future` is the one that it returns."""

    @abstractmethod
    def close(self) -> None:
        """End the workers. May be called twice."""

    def check_arguments(self, arguments: Sequence[tuple[Any, ...]]) -> None:
        """Raise the ValueError of `map`."""
        if len(arguments) != self.size:
            raise ValueError(
                f"arguments must be {self.size} tuples, one for each worker, got {len(arguments)}"
            )

    def check_index(self, index: int) -> None:
        """Raise the IndexError of `submit`."""
        if not 0 <= index < self.size:
            raise IndexError(f"index must be from 0 to {self.size - 1}, got {index}")


def _answered(room: threading.BoundedSemaphore, future: Future[Any]) -> None:
    """There is room for another call, and the group need not be held for this one."""
    assert isinstance(future, CallFuture)
    future.group = None
    room.release()


class Backend(ABC):
    """A place where workers run. Also a context manager, which closes it at the end.

    Attributes:
        name: the key in `BACKENDS`.
        parallel: whether workers compute at the same time.
        has_processes: whether workers live in processes of their own, which can die.
        recoveries: those of `RECOVERIES` that `launch` accepts.
    """

    name: str
    parallel = True
    has_processes = True
    recoveries: frozenset[str] = frozenset(RECOVERIES)

    def __init__(self) -> None:
        self._versions = itertools.count(1)
        self._groups: weakref.WeakSet[Group] = weakref.WeakSet()
        self._closed = False

    def next_version(self) -> int:
        """The number of the next Ref."""
        return next(self._versions)

    def launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        *args: Any,
        resources: Mapping[str, float] | None = None,
        recovery: str = "replay",
    ) -> Group:
        """Build `worker_class(index, *args)` for index 0 … n-1, each where it will live.

        Args:
            resources: what each worker gets, by the names in `RESOURCES`.
            recovery: what happens when a worker dies, by the names in `RECOVERIES`.

        Raises:
            ValueError: n is below 1, a resource is not one of those or cannot be had, or this
                backend has no such recovery.
            Exception: what a constructor raised.
        """
        self.check_open()
        check_workers(n)
        self.check_recovery(recovery)
        group = self._launch(worker_class, n, args, check_resources(resources), recovery)
        self._groups.add(group)
        return group

    @abstractmethod
    def _launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        args: tuple[Any, ...],
        resources: dict[str, float],
        recovery: str,
    ) -> Group:
        """Do what `launch` promises; its arguments have been checked."""

    @abstractmethod
    def put(self, value: Any) -> Ref:
        """Ship a large value once, to be an argument of many calls."""

    @abstractmethod
    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        """`[function(item) for item in items]`, for whoever needs no state between calls."""

    def close(self) -> None:
        """End all groups and give back all that the backend has taken. May be called twice."""
        if self._closed:
            return
        self._closed = True
        _open_backends.discard(self)
        for group in list(self._groups):
            group.close()
        self._close()

    def new_closer(self, function: Callable[..., Any], *args: Any) -> Closer:
        """What gives back all that the backend itself has taken, at the end of the program at last.

        Args:
            function: see `Closer`; called when the backend is closed or nobody holds it any more.
        """
        _open_backends.add(self)
        return Closer(self, function, *args)

    @abstractmethod
    def _close(self) -> None:
        """Give back what the backend itself has taken; its groups are closed already."""

    def keep_engine(self) -> None:
        """Let the engine that this backend has started run until the program ends.

        For a backend that starts none, this does nothing.
        """
        return

    def check_open(self) -> None:
        """Raise a RuntimeError if the backend was closed."""
        if self._closed:
            raise RuntimeError(f"the {self.name} backend must be open, got one that was closed")

    def check_recovery(self, recovery: str) -> None:
        """Raise the ValueError of `launch`."""
        if recovery not in RECOVERIES:
            allowed = " or ".join(map(repr, RECOVERIES))
            raise ValueError(f"recovery must be {allowed}, got {recovery!r}")
        if recovery not in self.recoveries:
            allowed = " or ".join(map(repr, sorted(self.recoveries)))
            raise ValueError(
                f"recovery must be {allowed} on the {self.name} backend, got {recovery!r}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# Those that must be closed before the program ends.
_open_backends: weakref.WeakSet[Backend] = weakref.WeakSet()


@atexit.register
def close_all() -> None:
    """Close all backends that are open, and wait until everything has been given back."""
    for backend in list(_open_backends):
        backend.close()
    closing.finish()


def check_workers(n: int) -> None:
    """Raise the ValueError of `Backend.launch`."""
    check_whole("n", n, 1)


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise a ValueError if an argument is not a whole number, or too small."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")


def check_options(max_restarts: int, snapshot_every: int, max_pending: int) -> None:
    """Raise a ValueError if one of the options that most backends have is out of range."""
    check_whole("max_restarts", max_restarts, 0)
    check_whole("snapshot_every", snapshot_every, 1)
    check_whole("max_pending", max_pending, 1)


def check_resources(resources: Mapping[str, float] | None) -> dict[str, float]:
    """The resources, with one thread if none were asked for; or raise `launch`'s ValueError."""
    given = {"threads": 1, **(resources or {})}
    for name, amount in given.items():
        if name not in RESOURCES:
            raise ValueError(f"resources must be among {', '.join(RESOURCES)}, got {name!r}")
        number = isinstance(amount, int | float) and not isinstance(amount, bool)
        whole = name == "threads"
        if not number or not amount >= whole or (whole and amount != int(amount)):
            allowed = "a whole number from 1" if whole else "a number from 0"
            raise ValueError(f"resources[{name!r}] must be {allowed}, got {amount!r}")
    return given


def missing_package(package: str, extra: str) -> ModuleNotFoundError:
    """The error of a backend whose package is not installed."""
    return ModuleNotFoundError(
        f"the {extra!r} backend needs the package {package}: pip install 'rlbook[{extra}]'"
    )
