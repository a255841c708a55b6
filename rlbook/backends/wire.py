"""The wire format: values as bytes, and calls whose outcome is a value.

Engines share these functions. A call is packed in the driver, unpacked and attempted in the worker,
and its outcome is packed there and unpacked in the driver. A worker's snapshot is made by `freeze`.
"""

from __future__ import annotations

import inspect
import io
import pickle
import struct
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from rlbook.backends import Ref


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
    """A worker's snapshot. Its arrays lie within, so that after `thaw` they can be written to.

    A worker whose `get_state` returns None has no state: its snapshot is always the same.
    """
    if hasattr(worker, "get_state") and hasattr(worker, "set_state"):
        return cloudpickle.dumps((False, worker.get_state()), protocol=5)
    return cloudpickle.dumps((True, worker), protocol=5)


def thaw(snapshot: bytes, build: Callable[[], Any]) -> Any:
    """The worker again. `build` constructs one, for those that have `set_state`."""
    whole, state = pickle.loads(snapshot)
    if whole:
        return state
    worker = build()
    if state is not None:
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
