"""Large values in memory that the processes of one machine share.

A large array that goes through a pipe is copied into a pickle, into the kernel, out of it, and out
of the pickle. Here the sender copies it once, into a *segment*: a file that lies in memory, which
the receiver maps and looks at. What costs most is then fresh memory, since the kernel clears every
page before it gives it away; so a segment that nobody looks at any more is used again.

Who made a segment owns it. Whoever was told of it says so when it has let go (see `look_at`).
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import tempfile
import threading
import weakref
from collections import deque
from typing import Any

from rlbook.backends import Backend, Ref
from rlbook.backends.located import FULL, Located, no_room
from rlbook.backends.processes import own_directory
from rlbook.backends.wire import pickled, pieces

# How much an owner keeps for later use.
SPARE_BYTES = 512 * 2**20


class Segment:
    """A file in memory, as its owner sees it, and how many still need what is in it."""

    def __init__(self, pool: Pool, path: str, size: int) -> None:
        self.path = path
        self.size = size
        self.nbytes = 0  # that are in use
        self._pool = pool
        self.holders = 0
        self.adopted = False  # made by another owner
        self._map: mmap.mmap | None = None

    @property
    def located(self) -> Located:
        """What to tell others."""
        return Located(self.path, self.nbytes)

    def write(self, parts: list[bytes | memoryview], nbytes: int) -> None:
        """Copy the parts into it, one after the other."""
        if self._map is None:
            with open(self.path, "r+b") as file:
                self._map = mmap.mmap(file.fileno(), self.size)
        position = 0
        with memoryview(self._map) as view:
            for part in parts:
                view[position : position + len(part)] = part
                position += len(part)
        self.nbytes = nbytes

    def hold(self) -> None:
        """One more needs it."""
        with self._pool.lock:
            self.holders += 1

    def release(self) -> None:
        """One less needs it; after the last, it may be used again."""
        with self._pool.lock:
            self._pool.one_less(self)

    def release_soon(self) -> None:
        """The same for finalisers, which may run in the midst of anything and must not lock."""
        self._pool.dropped.append(self)

    def forget(self) -> None:
        """Unmap it here. Those who look at it may go on."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def remove(self) -> None:
        """Unmap it, and delete the file. Those who look at it may go on."""
        self.forget()
        with contextlib.suppress(OSError):
            os.unlink(self.path)


class Pool:
    """The segments of one owner.

    Args:
        directories: where to make them; the second if the first is full, and so on.
        name: no two owners have the same.
    """

    def __init__(self, directories: list[str], name: str) -> None:
        self.lock = threading.Lock()
        self.dropped: deque[Segment] = deque()  # to be released
        self._directories = directories
        self._name = name
        self._numbers = itertools.count()
        self._spare: list[Segment] = []  # the last one was in use most recently

    def store(self, value: Any) -> Segment:
        """A segment that holds the packed value, held once.

        Raises:
            OSError: there is no room, neither in memory nor on disk.
        """
        stream, buffers = pickled(value)
        return self.write(pieces(stream, buffers))

    def write(self, parts: list[bytes | memoryview]) -> Segment:
        """A segment that holds these bytes, held once."""
        nbytes = sum(map(len, parts))
        segment = self._take(nbytes)
        segment.write(parts, nbytes)
        segment.hold()
        return segment

    def adopt(self, located: Located) -> Segment:
        """Own what another owner wrote and gives away; held once."""
        size = os.stat(located.path).st_size
        path = os.path.join(os.path.dirname(located.path), self._new_name())
        os.rename(located.path, path)
        segment = Segment(self, path, size)
        segment.nbytes = located.nbytes
        segment.adopted = True
        segment.hold()
        return segment

    def one_less(self, segment: Segment) -> None:
        """Count, and keep it for later use if nobody needs it. The lock is held.

        One that was adopted is not kept: its maker will make more, and they would add up.
        """
        segment.holders -= 1
        if segment.holders == 0 and segment.adopted:
            segment.remove()
        elif segment.holders == 0:
            self._spare.append(segment)
            while sum(each.size for each in self._spare) > SPARE_BYTES:
                self._spare.pop(0).remove()

    def _count_dropped(self) -> None:
        while self.dropped:
            self.one_less(self.dropped.popleft())

    def trim(self) -> bool:
        """Delete what is kept for later use, since memory is short. Whether there was any."""
        with self.lock:
            self._count_dropped()
            spare, self._spare = self._spare, []
        for segment in spare:
            segment.remove()
        return bool(spare)

    def _take(self, nbytes: int) -> Segment:
        with self.lock:
            self._count_dropped()
            fitting = [each for each in self._spare if nbytes <= each.size <= 4 * nbytes + 2**20]
            if fitting:
                best = min(fitting, key=lambda each: each.size)
                self._spare.remove(best)
                return best
        return self._make(nbytes)

    def _make(self, nbytes: int) -> Segment:
        size = -(-max(nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        for directory in self._directories:
            path = os.path.join(directory, self._new_name())
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                # Reserved now: a write to a mapped page that cannot be had kills the process.
                _reserve(descriptor, size)
                return Segment(self, path, size)
            except OSError as error:
                os.unlink(path)
                if error.errno not in FULL:
                    raise
            finally:
                os.close(descriptor)
        if self.trim():
            return self._make(nbytes)
        raise no_room(nbytes, self._directories)

    def _new_name(self) -> str:
        return f"{self._name}-{next(self._numbers)}"


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        os.ftruncate(descriptor, size)


class Store:
    """The driver's segments and the directories for all segments, which are made when needed."""

    def __init__(self) -> None:
        self._closed = False
        self._owned: list[tempfile.TemporaryDirectory[str]] = []
        self._pool: Pool | None = None

    @property
    def directories(self) -> list[str]:
        """Where segments lie: in memory where there is some, and else on disk."""
        if not self._owned and not self._closed:
            self._owned = [own_directory("/dev/shm")] if os.access("/dev/shm", os.W_OK) else []
            self._owned.append(own_directory())
        return [each.name for each in self._owned]

    @property
    def pool(self) -> Pool:
        """The driver's own segments."""
        if self._pool is None:
            self._pool = Pool(self.directories, str(os.getpid()))
        return self._pool

    def trim(self) -> None:
        """Delete the segments that are kept for later use."""
        if self._pool is not None:
            self._pool.trim()

    def close(self) -> None:
        """Remove the directories with everything in them."""
        self._closed = True
        self._pool = None
        for directory in self._owned:
            directory.cleanup()
        self._owned = []


class SegmentRef(Ref):
    """A value in a segment, which is used again when nobody holds this any more."""

    def __init__(self, backend: Backend, segment: Segment) -> None:
        super().__init__(backend)
        self.segment = segment
        weakref.finalize(self, segment.release_soon).atexit = False
