"""Large values in files, which the processes of one machine share.

A message then holds the place of a value instead of the value. The files lie in memory if there is
room, and else on disk. Whoever reads such a value maps the file and copies nothing.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rlbook.backends.wire import unpack

# Smaller messages go through the pipe: to map a segment takes longer than to copy so little.
SEGMENT_BYTES = 64 * 1024

# What the system says when a directory has no room, and another may have.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Located(NamedTuple):
    """Stands for a packed value that lies in a segment."""

    path: str
    nbytes: int


def no_room(nbytes: int, directories: list[str]) -> OSError:
    """The error of a value that fits nowhere."""
    where = " nor in ".join(directories)
    return OSError(errno.ENOSPC, f"no room for {nbytes:,} bytes, in {where}")


def look_at(located: Located, let_go: Callable[[str], None]) -> Any:
    """The value that lies in a segment. Its arrays are read-only views of it.

    Args:
        let_go: called with the path when none of them is left; perhaps by another thread, and in
            the midst of anything.
    """
    with open(located.path, "rb") as file:
        options: dict[str, int] = {"access": mmap.ACCESS_READ}
        if hasattr(mmap, "MAP_POPULATE"):  # all pages at once, not each when it is touched
            options = {"flags": mmap.MAP_SHARED | mmap.MAP_POPULATE, "prot": mmap.PROT_READ}
        mapped = mmap.mmap(file.fileno(), located.nbytes, **options)
    weakref.finalize(mapped, let_go, located.path).atexit = False
    return unpack(memoryview(mapped))


def remove_all_of(directories: list[str], name: str) -> None:
    """Delete what a dead owner left."""
    for directory in directories:
        for path in Path(directory).glob(f"{name}-*"):
            with contextlib.suppress(OSError):
                path.unlink()
