"""What runs in a worker's process: `main`, with the number of its end of the pipe.

The process reads messages from its pipe one after the other and answers each, until the pipe is
closed. It starts as a fresh interpreter that never runs the driver's script, so a script needs no
`if __name__ == "__main__"` and a notebook works as well.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from rlbook.backends.located import SEGMENT_BYTES, Located, look_at
from rlbook.backends.multiprocessing.segments import Pool, Segment
from rlbook.backends.wire import (
    Outcome,
    attempt,
    freeze,
    pack,
    pack_outcome,
    pickled,
    pieces,
    thaw,
    unpack,
)

# What the driver asks, in a message's last byte: make the worker; make it from a snapshot; call it;
# call it again after a restart, when nobody waits for the answer any more; send a snapshot. And
# what either side says: that it has let go of the other's segments, which needs no answer.
BUILD, RESTORE, CALL, REPLAY, SNAPSHOT, LET_GO = b"B", b"R", b"C", b"P", b"S", b"L"


class Kept(NamedTuple):
    """Stands for a result that stays where it was made."""

    located: Located


def main(arguments: Sequence[str]) -> None:
    """Serve the worker at the other end of the pipe until it is closed.

    Args:
        arguments: the program's name, and the number of this process's end of the pipe.
    """
    descriptor = int(arguments[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    os.set_inheritable(descriptor, False)  # what the worker starts must not keep the pipe open
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    _die_at_the_end_of_stdin()
    child = _Child(Connection(descriptor))
    while child.serve_one():
        pass


class _Child:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._worker: Any = None
        self._blueprint: Any = None
        self._pool: Pool | None = None
        self._lent: dict[str, deque[Segment]] = {}  # ours that the driver looks at
        self._let_go: deque[str] = deque()  # the driver's that we looked at

    def serve_one(self) -> bool:
        """Deal with one message. False: there will be no more."""
        try:
            message = self._connection.recv_bytes()
        except (EOFError, OSError):
            return False
        kind = message[-1:]
        if kind == LET_GO:
            self._take_back(unpack(message))
            return True
        outcome = attempt(self._act, kind, message)
        del message
        if kind == REPLAY:
            outcome = Outcome()
        try:
            self._answer(pack_outcome(outcome, self._sealed))
        except OSError:  # the driver closed its end
            return False
        return True

    def _take_back(self, paths: Sequence[str]) -> None:
        for path in paths:
            lent = self._lent.get(path)
            if lent is None:  # the process before this one lent it
                continue
            lent.popleft().release()
            if not lent:
                del self._lent[path]

    def _act(self, kind: bytes, message: bytes) -> Any:
        content = self.received(unpack(message))
        if kind == BUILD:
            self._blueprint, directories = content
            self._pool = Pool(directories, str(os.getpid()))
            self._worker = self._build()
        elif kind == RESTORE:
            self._blueprint, directories, snapshot = content
            self._pool = Pool(directories, str(os.getpid()))
            self._worker = thaw(snapshot, self._build)
        elif kind == SNAPSHOT:
            return np.frombuffer(freeze(self._worker), np.uint8)
        else:
            method, args, keep = content
            result = getattr(self._worker, method)(*map(self.received, args))
            return self._keep(result) if keep and kind == CALL else result
        return None

    def _build(self) -> Any:
        worker_class, index, args = unpack(self._blueprint)
        return worker_class(index, *map(self.received, args))

    def received(self, value: Any) -> Any:
        """What the driver sent, also if it lies in a segment."""
        return look_at(value, self._let_go.append) if type(value) is Located else value

    def _sealed(self, value: Any) -> bytes:
        """An answer as bytes; if it is large, it is left in a segment."""
        stream, buffers = pickled(value)
        parts = pieces(stream, buffers)
        if self._pool is None or sum(map(len, parts)) < SEGMENT_BYTES:
            return b"".join(parts)
        segment = self._pool.write(parts)
        self._lent.setdefault(segment.path, deque()).append(segment)
        return pack(segment.located)

    def _keep(self, value: Any) -> Kept:
        """Leave the result in a segment that the driver owns from now on."""
        assert self._pool is not None
        segment = self._pool.store(value)
        segment.forget()
        return Kept(segment.located)

    def _answer(self, message: bytes) -> None:
        paths = _all_of(self._let_go)
        if paths:
            self._connection.send_bytes(pack(paths) + LET_GO)
        self._connection.send_bytes(message + CALL)


def _all_of(line: deque[Any]) -> Sequence[Any]:
    """What is in a line that others may lengthen meanwhile; it is taken out."""
    return tuple(line.popleft() for _ in range(len(line)))


def _die_with(parent: int) -> None:
    """End this process soon after its driver, even in the middle of a long call."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _die_at_the_end_of_stdin() -> None:
    """The same at once, and also while C code keeps every thread of Python's waiting.

    The driver holds the other end of the pipe that is our stdin, and the kernel tells of its end by
    a signal, which ends a process that does not handle it.
    """
    import fcntl  # which Windows lacks, where nobody gets here

    lifeline = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
