"""Where workers run: in this process, in processes of their own, on Ray or on Spark.

A backend runs a *group* of *workers*. A worker is an ordinary Python object with state and methods.
Whoever uses a backend sees only what is in this file:

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

The rules, which are the same everywhere, and which `tests/backends` holds every backend to:

* Calls to one worker run one at a time, in the order in which they were made. One that has not
  begun can be cancelled by its Future. When `max_pending` calls to a worker have no answer yet,
  `submit` waits until one has: whoever submits faster than workers work cannot fill the memory.
* Arguments and results are values: nothing that a worker keeps is shared with its caller. NumPy
  arrays arrive read-only, so that an engine may hand them over without copying; copy to change.
* A worker's exception is raised where its result is asked for, with its type and message, and with
  the worker's own traceback as its cause. The worker lives on.
* What was `put`, or kept where it was made (`keep=True`), is a `Ref`, and may stand for an
  argument. It lives until nobody holds it and no restart needs it. Refs are numbered, and a Future
  says in `versions` which its call was given: so a result tells which weights it was made with.
* A worker whose process dies is built again from its last snapshot and the calls since then; the
  call that it died in is run again. So each call counts exactly once. A worker that has died
  `max_restarts` times is given up, and all who wait for it get `WorkerLost`.
* A snapshot is the worker's pickle; or, if it has the methods `get_state` and `set_state`, what
  `get_state()` returns, which a newly constructed worker is then given.
* A worker computes with one thread, unless `resources={"threads": …}` says otherwise.
* Every wait of a group or a backend ends: after `timeout` seconds (`DEFAULT_TIMEOUT`, unless told)
  comes a `TimeoutError`. Calls that have begun go on, and count, though on Spark they do not; those
  that have not are cancelled. A Future's own `result()` waits as long as it is told to.

To add an engine, write a `Backend` and a `Group`, name it in `BACKENDS`, and run the tests on it:
`tests/backends/test_contract.py -k "[name or name]"`, then `tests/test_promise.py`. Options for
them are in `tests/conftest.py`. What whoever did it had to know:

* `name` is the key in `BACKENDS`, and the class's name in lower case. The module must not be named
  after anything in this file, whose place it would take. Constructors take `max_pending`, and call
  `super().__init__()` first, as those of groups do: order, versions and the end come from there.
* `_submit` has packed the arguments when it returns, and does not wait for the worker. Just before
  the call begins, the engine asks `future.set_running_or_notify_cancel()`, and drops it on False.
* One call is: `pack` the arguments, with something in place of each Ref; in the worker
  `pack_outcome(attempt(...))`; here `settle(future, unpack_outcome(...))`. Whatever is no
  `Exception` counts as the worker's death.
* An argument of `launch` may be a Ref. A Ref of another backend is a `ValueError`. Each call gets
  the value anew: what a worker does to it, the next call does not see.
* When a group is closed, calls that are not done are cancelled or get a `RuntimeError`; so does a
  later `submit`. Refs live on. An engine's own threads must be daemons, or the program never ends.
* Where workers have no process of their own, the rules on deaths, snapshots and threads are empty:
  check `resources` with `check_resources`, and do no more.
"""

from __future__ import annotations

import atexit
import importlib
import inspect
import io
import itertools
import pickle
import struct
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

import cloudpickle
import numpy as np

# Seconds that a wait lasts at most, unless told otherwise.
DEFAULT_TIMEOUT = 600.0

# How many calls to one worker may wait for an answer before `submit` waits too.
MAX_PENDING = 1024

# What `launch(resources=…)` understands.
RESOURCES = {
    "threads": "threads for numerical libraries; a whole number from 1",
    "cpus": "processors that the engine sets aside for each worker; from 0",
    "gpus": "the same for GPUs; below 1, workers share one",
}

# name: (module, class)
BACKENDS = {
    "local": ("rlbook.backends.local", "Local"),
    "multiprocessing": ("rlbook.backends.multiprocessing", "Multiprocessing"),
    "ray": ("rlbook.backends.ray", "Ray"),
    "spark": ("rlbook.backends.spark", "Spark"),
}


def threads(number: float) -> dict[str, str]:
    """Environment variables that give numerical libraries so many threads (torch heeds OMP's).

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
        raise ValueError(f"backend={backend!r} is not allowed: {allowed}, or a Backend")
    module, name = BACKENDS[backend]
    made: Backend = getattr(importlib.import_module(module), name)(**options)
    return made


class WorkerLost(RuntimeError):
    """A worker's process died more often than `max_restarts` allows."""


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
        return gather(futures, method, timeout)

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
        future.add_done_callback(lambda _: room.release())
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
            raise ValueError(f"{len(arguments)} argument tuples for {self.size} workers")

    def check_index(self, index: int) -> None:
        """Raise the IndexError of `submit`."""
        if not 0 <= index < self.size:
            raise IndexError(f"worker {index} of a group of {self.size}")


class Backend(ABC):
    """A place where workers run. Also a context manager, which closes it at the end."""

    name: str
    parallel = True  # whether workers compute at the same time

    def __init__(self) -> None:
        self._versions = itertools.count(1)
        _open_backends.add(self)

    def next_version(self) -> int:
        """The number of the next Ref."""
        return next(self._versions)

    @abstractmethod
    def launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        *args: Any,
        resources: Mapping[str, float] | None = None,
    ) -> Group:
        """Build `worker_class(index, *args)` for index 0 … n-1, each where it will live.

        Args:
            resources: what each worker gets, by the names in `RESOURCES`.

        Raises:
            ValueError: n is below 1, or a resource is not one of those, or cannot be had.
            Exception: what a constructor raised.
        """

    @abstractmethod
    def put(self, value: Any) -> Ref:
        """Ship a large value once, to be an argument of many calls."""

    @abstractmethod
    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        """`[function(item) for item in items]`, for whoever needs no state between calls."""

    @abstractmethod
    def close(self) -> None:
        """End all groups and give back all that the backend holds. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# Held until the program ends: an engine must not lose its files because an agent was forgotten.
_open_backends: set[Backend] = set()


@atexit.register
def _close_all() -> None:
    for backend in list(_open_backends):
        backend.close()


# What engines have in common: values as bytes, and calls whose outcome is a value.


class Tasks:
    """The worker behind `run`, for engines that have workers and no tasks."""

    def __init__(self, index: int) -> None:
        pass

    def run(self, code: bytes, item: Any) -> Any:
        """Call a function that was packed."""
        return unpack(code)(item)


def pack(value: Any) -> bytes:
    """A value as bytes, of which `unpack` makes the value again, in any process.

    Layout: the number of array buffers, the length of the pickle and of each buffer, the pickle,
    the buffers, each 64-byte aligned.
    """
    return joined(*pickled(value))


def pickled(value: Any) -> tuple[bytes, list[memoryview]]:
    """A value's pickle, and the contents of its arrays, not copied.

    The pickle is cloudpickle's, so that what a notebook cell defines can travel, unless the value
    is so plain that the standard library's, which is ten times faster, does as well.
    """
    if _is_plain(value):
        return pickle.dumps(value, protocol=5), []
    buffers: list[pickle.PickleBuffer] = []
    with io.BytesIO() as file:
        _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
        return file.getvalue(), [buffer.raw() for buffer in buffers]


def joined(stream: bytes, parts: list[memoryview]) -> bytes:
    """What `pickled` gave as one, in the layout of `pack`."""
    return b"".join(pieces(stream, parts))


def pieces(stream: bytes, parts: list[memoryview]) -> list[bytes | memoryview]:
    """What `joined` joins."""
    if not parts:
        return [_HEADER.pack(0, len(stream)), stream]
    lengths = struct.pack(f"<{len(parts)}Q", *(part.nbytes for part in parts))
    out: list[bytes | memoryview] = [_HEADER.pack(len(parts), len(stream)), lengths, stream]
    position = sum(map(len, out))
    for part in parts:
        padding = -position % 64
        out += [bytes(padding), part]
        position += padding + part.nbytes
    return out


class _Pickler(cloudpickle.Pickler):
    """Copies an array with gaps: NumPy would put it into the pickle, whence it comes writeable."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is np.ndarray and not value.flags.forc:
            return np.ascontiguousarray(value).__reduce_ex__(5)
        return super().reducer_override(value)


def unpack(blob: bytes | memoryview) -> Any:
    """The value that was packed. Its arrays are read-only views of `blob`."""
    count, length = _HEADER.unpack_from(blob)
    start = _HEADER.size + 8 * count
    view, end, buffers = memoryview(blob).toreadonly(), start + length, []
    for size in struct.unpack_from(f"<{count}Q", blob, _HEADER.size):
        end += -end % 64
        buffers.append(view[end : end + size])
        end += size
    return pickle.loads(view[start : start + length], buffers=buffers)


_HEADER = struct.Struct("<QQ")
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or (type(value) is tuple and all(map(_is_plain, value)))


def freeze(worker: Any) -> bytes:
    """A worker's snapshot. Its arrays lie within, so that after `thaw` they can be written to."""
    if hasattr(worker, "get_state") and hasattr(worker, "set_state"):
        return cloudpickle.dumps((False, worker.get_state()), protocol=5)
    return cloudpickle.dumps((True, worker), protocol=5)


def thaw(snapshot: bytes, build: Callable[[], Any]) -> Any:
    """The worker again. `build` constructs one, for those that have `set_state`."""
    whole, state = pickle.loads(snapshot)
    if whole:
        return state
    worker = build()
    worker.set_state(state)
    return worker


class Outcome(NamedTuple):
    """What became of a call: a value, or an exception with the traceback of where it was raised."""

    value: Any = None
    error: BaseException | None = None
    trace: str = ""

    def unwrap(self) -> Any:
        """The value, or raise the exception."""
        if self.error is None:
            return self.value
        raise self.error from RemoteTraceback(self.trace)


class RemoteTraceback(Exception):
    """Shows a worker's traceback as the cause of the exception that its caller gets."""

    def __str__(self) -> str:
        return f"\n\nin the worker:\n{self.args[0]}"


def attempt(function: Callable[..., Any], *args: Any) -> Outcome:
    """Call a function and catch what it raises."""
    try:
        return Outcome(function(*args))
    except Exception as error:
        return Outcome(error=error, trace=traceback.format_exc())


def pack_outcome(outcome: Outcome, pack: Callable[[Any], Any] = pack) -> Any:
    """The outcome as bytes; if it cannot be sent, an outcome that says so."""
    try:
        return pack(tuple(outcome))
    except Exception as error:
        what, value = "result", outcome.value
        if outcome.error is not None:
            what, value = "exception", outcome.error
        found: Exception = TypeError(f"a worker's {what}{unsendable(value)}: {error}")
        if isinstance(error, OSError):  # no room for it
            found = OSError(error.errno, f"a worker's {what} cannot be sent: {error.strerror}")
        return pack((None, found, outcome.trace or traceback.format_exc()))


def name_unsendable(args: Sequence[Any], error: Exception) -> Exception:
    """What to raise when a call's arguments cannot be packed: says which part of which of them.

    If all of them can, `error` had another reason, and is returned as it is.

    >>> import threading
    >>> print(name_unsendable([1, {"lock": threading.Lock()}], TypeError("no")))
    argument 2: ['lock'] of type _thread.lock cannot be sent: no
    """
    for number, arg in enumerate(args, 1):
        if not isinstance(arg, Ref) and attempt(pickled, arg).error is not None:
            return TypeError(f"argument {number}{unsendable(arg)}: {error}")
    return error


def unsendable(value: Any) -> str:
    """Says which part of a value, that cannot be pickled, is to blame."""
    path, part = _culprit(value, set())
    kind = type(part)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    return f"{path and ': '}{path.lstrip()} of type {name} cannot be sent"


def _culprit(value: Any, seen: set[int]) -> tuple[str, Any]:
    """The innermost part that cannot be pickled, and the way to it, such as `.model['lock']`."""
    seen.add(id(value))
    if isinstance(value, Ref):  # itself, and not what it consists of
        return "", value
    for name, part in attempt(_parts, value).value or ():
        if id(part) not in seen and attempt(pickled, part).error is not None:
            path, found = _culprit(part, seen)
            return name + path, found
    return "", value


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What a value consists of: items, attributes, the variables that a function uses."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, list | tuple | set):
        return [(f"[{i}]", part) for i, part in enumerate(value)]
    if inspect.isfunction(value):
        outer = zip(value.__code__.co_freevars, value.__closure__ or (), strict=False)
        cells = {name: cell.cell_contents for name, cell in outer}
        used = {name: value.__globals__.get(name) for name in value.__code__.co_names}
        return [(f" uses {name}", part) for name, part in (used | cells).items()]
    state = value.__getstate__()  # the attributes; or a pair of those and of what is in __slots__
    found = [each for each in (state if isinstance(state, tuple) else (state,)) if each]
    return [(f".{name}", part) for each in found for name, part in each.items()]


def unpack_outcome(blob: Any, unpack: Callable[[Any], Any] = unpack) -> Outcome:
    """The outcome that was packed; if it cannot be read here, an outcome that says so."""
    try:
        return Outcome(*unpack(blob))
    except Exception as error:
        return Outcome(error=error, trace=traceback.format_exc())


def settle(future: Future[Any] | None, outcome: Outcome) -> None:
    """Give the outcome to whoever waits for the future, if anybody still does."""
    if future is None or future.done():
        return
    try:
        future.set_result(outcome.unwrap())
    except Exception as error:
        future.set_exception(error)


def gather(futures: Sequence[Future[Any]], what: str, timeout: float) -> list[Any]:
    """The futures' results in order, all within `timeout` seconds.

    Raises:
        TimeoutError: naming the first that had no result.
    """
    deadline = monotonic() + timeout
    results = []
    for index, future in enumerate(futures):
        try:
            results.append(future.result(max(0.0, deadline - monotonic())))
        except FutureTimeout:
            if future.done():  # the call itself raised TimeoutError
                raise
            for waiting in futures[index:]:
                waiting.cancel()
            raise late(index, what, timeout) from None
    return results


def late(index: int, what: str, timeout: float) -> TimeoutError:
    """The error of a worker that has not answered in time."""
    return TimeoutError(
        f"worker {index} had not answered {what}() after {timeout:g} seconds; if it only needs "
        "more, pass a longer timeout, and if it hangs, close the backend, which ends it"
    )


def check_workers(n: int) -> None:
    """Raise the ValueError of `Backend.launch`."""
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n={n!r} is not allowed: at least 1 worker")


def check_resources(resources: Mapping[str, float] | None) -> dict[str, float]:
    """The resources, with one thread if none were asked for; or raise `launch`'s ValueError."""
    given = {"threads": 1, **(resources or {})}
    for name, amount in given.items():
        if name not in RESOURCES:
            raise ValueError(f"resources[{name!r}] is not allowed: {', '.join(RESOURCES)}")
        number = isinstance(amount, int | float) and not isinstance(amount, bool)
        whole = name == "threads"
        if not number or not amount >= whole or (whole and amount != int(amount)):
            raise ValueError(f"resources[{name!r}]={amount!r} is not allowed: {RESOURCES[name]}")
    return given


def missing_package(package: str, extra: str) -> ModuleNotFoundError:
    """The error of a backend whose package is not installed."""
    return ModuleNotFoundError(
        f"the {extra!r} backend needs the package {package}: pip install 'rlbook[{extra}]'"
    )
