"""Where the driver leaves values for Spark's tasks, and keeps those that tasks have left."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections import deque
from typing import Any

from rlbook.backends import Backend, Ref
from rlbook.backends.located import Located
from rlbook.backends.spark.tasks import Parcel, parcel
from rlbook.backends.wire import pickled, pieces


class Shipment:
    """A parcel as the driver holds it. What it takes elsewhere goes when nobody holds this.

    Args:
        parcel: what it is.
        unused: where to note a broadcast that goes: Spark cannot be told by a finaliser, which may
            run in the midst of a talk with Spark.
    """

    def __init__(self, parcel: Parcel, unused: deque[Any]) -> None:
        self.parcel = parcel
        if isinstance(parcel, Located):
            weakref.finalize(self, _remove, parcel.path).atexit = False
        elif not isinstance(parcel, bytes):
            weakref.finalize(self, unused.append, parcel).atexit = False


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


class Store:
    """Values in files, where all of Spark is on this machine, and else in broadcast variables.

    Args:
        context: the SparkContext.
        directories: where files may lie, the first choice first; none on a cluster.
    """

    def __init__(self, context: Any, directories: list[str]) -> None:
        self.context = context
        self.directories = directories
        self._unused: deque[Any] = deque()

    def ship(self, value: Any, shared: bool = False) -> Shipment:
        """A value for tasks; `shared` if it is for many."""
        parts = pieces(*pickled(value))
        if shared and not self.directories:
            return self.shipment(self._broadcast(b"".join(parts)))
        return self.shipment(parcel(self.directories, "driver", parts))

    def shipment(self, parcel: Parcel) -> Shipment:
        """A parcel that tasks made, to be looked after."""
        return Shipment(parcel, self._unused)

    def adopt(self, parcel: Parcel) -> Shipment:
        """A value that a task made, for others to have. On a cluster it becomes a broadcast."""
        if isinstance(parcel, bytes):
            return self.shipment(self._broadcast(parcel))
        return self.shipment(parcel)

    def close(self) -> None:
        """Destroy the broadcasts that nobody holds any more."""
        while self._unused:
            self._unused.popleft().destroy()

    def _broadcast(self, content: bytes) -> Any:
        self.close()
        return self.context.broadcast(content)


class SparkRef(Ref):
    """A value in a file, or, on a cluster, in a broadcast variable."""

    def __init__(self, backend: Backend, shipment: Shipment) -> None:
        super().__init__(backend)
        self.shipment = shipment
