"""The side of a Ray worker that is in Ray: it holds the worker, and answers with packed outcomes.

Values travel as `ship` leaves them, whichever way they go.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from rlbook.backends.slots import fill
from rlbook.backends.wire import (
    Outcome,
    attempt,
    freeze,
    joined,
    pack_outcome,
    pickled,
    thaw,
    unpack,
)

# Below this size Ray sends bytes along with the call. Above it, Ray stores the contents of arrays
# in shared memory once, and lets every process on the machine look at them.
STORE_BYTES = 100_000


class Host:
    """Holds a worker. A message is a packed call, and the values of the Refs in it."""

    def __init__(self) -> None:
        self.worker: Any = None

    def build(self, blueprint: Any, *values: Any) -> Any:
        """Make the worker."""

        def build() -> None:
            self.worker = construct(blueprint, values)

        return pack_outcome(attempt(build), ship)

    def restore(self, snapshot: Any, blueprint: Any, *values: Any) -> Any:
        """Make the worker from a snapshot."""

        def restore() -> None:
            self.worker = thaw(receive(snapshot), lambda: construct(blueprint, values))

        return pack_outcome(attempt(restore), ship)

    def call(self, blob: Any, *values: Any) -> Any:
        """Call a method of the worker."""
        return pack_outcome(attempt(self._call, blob, values), ship)

    def keep(self, blob: Any, *values: Any) -> Any:
        """The outcome, with the result's size in place of the result; and the result."""
        outcome = attempt(self._call, blob, values)
        try:
            kept = ship(outcome.value)
        except Exception:
            return pack_outcome(outcome, ship), None  # which says that it cannot be sent
        return pack_outcome(outcome._replace(value=size(kept)), ship), kept

    def replay(self, blob: Any, *values: Any) -> Any:
        """Call a method again whose outcome is known."""
        attempt(self._call, blob, values)
        return pack_outcome(Outcome(), ship)

    def snapshot(self) -> Any:
        """The worker's snapshot."""
        return pack_outcome(attempt(lambda: np.frombuffer(freeze(self.worker), np.uint8)), ship)

    def _call(self, blob: Any, values: tuple[Any, ...]) -> Any:
        method, args = receive(blob)
        return getattr(self.worker, method)(*fill(args, [receive(value) for value in values]))


def construct(blueprint: Any, values: tuple[Any, ...]) -> Any:
    """A new worker."""
    (worker_class, index), args = receive(blueprint)
    return worker_class(index, *fill(args, [receive(value) for value in values]))


def run(function: Any, item: Any) -> Any:
    """Call a function that needs no worker."""
    return pack_outcome(attempt(lambda: receive(function)(receive(item))), ship)


def ship(value: Any) -> Any:
    """Return the value in the form that Ray handles best: bytes, or a pickle and large arrays."""
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


def size(shipped: Any) -> int:
    """How many bytes it takes."""
    if isinstance(shipped, bytes):
        return len(shipped)
    stream, parts = shipped
    return len(stream) + sum(part.nbytes for part in parts)
