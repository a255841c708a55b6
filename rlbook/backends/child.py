"""What runs in a worker's process: `main`, with the number of its end of the pipe.

The process reads messages from its pipe one after the other and answers each, until the pipe is
closed. It starts as a fresh interpreter that never runs the driver's script, so a script needs no
`if __name__ == "__main__"` and a notebook works as well.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import threading
import time
from collections import OrderedDict
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import cloudpickle

from rlbook.backends import attempt, pack_outcome, unpack

# What the driver asks: make the worker, call it, call it again after a restart (nobody waits for
# the answer any more), send its pickle.
BUILD, RESTORE, CALL, REPLAY, SNAPSHOT = "build", "restore", "call", "replay", "snapshot"


class Shipped(NamedTuple):
    """Stands for an argument that lies in a file: the worker gets the value instead."""

    path: str


def main(descriptor: int) -> None:
    """Serve the worker at the other end of the pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    connection = Connection(descriptor)
    values = _Values()
    worker = None
    while True:
        try:
            kind, *content = unpack(connection.recv_bytes())
        except (EOFError, OSError):
            return
        if kind == BUILD:
            outcome = attempt(_build, content[0], values)
            worker, outcome = outcome.value, outcome._replace(value=None)
        elif kind == RESTORE:
            outcome = attempt(pickle.loads, content[0])
            worker, outcome = outcome.value, outcome._replace(value=None)
        elif kind == SNAPSHOT:
            # The arrays within the pickle, so that the worker can write to them again.
            outcome = attempt(cloudpickle.dumps, worker, 5)
        else:
            method, args = content
            outcome = attempt(_call, worker, method, args, values)
        if kind != REPLAY:
            try:
                connection.send_bytes(pack_outcome(outcome))
            except OSError:  # the driver closed its end
                return


def _build(blueprint: bytes, values: _Values) -> Any:
    worker_class, index, args = unpack(blueprint)
    return worker_class(index, *values.of(args))


def _call(worker: Any, method: str, args: tuple[Any, ...], values: _Values) -> Any:
    return getattr(worker, method)(*values.of(args))


class _Values:
    """The values of `Shipped` arguments; the last few stay mapped, as they come again and again."""

    def __init__(self, keep: int = 4) -> None:
        self._keep = keep
        self._loaded: OrderedDict[str, Any] = OrderedDict()

    def of(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self._load(a.path) if isinstance(a, Shipped) else a for a in args)

    def _load(self, path: str) -> Any:
        if path not in self._loaded:
            self._loaded[path] = unpack(mapped(path))
            while len(self._loaded) > self._keep:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(path)
        return self._loaded[path]


def mapped(path: str) -> memoryview:
    """A file's contents without reading them: all processes see the same memory."""
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _die_with(parent: int) -> None:
    """End this process soon after its driver, even in the middle of a long call."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
