"""What Ray and Spark have in common.

Values that were `put` travel apart from the call they are in: the engine ships them its own way,
and in the call stands a `Slot` until the worker has both. And the engines' own processes get an
environment, and a directory for their files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlbook.backends import Backend, Ref


class Slot(NamedTuple):
    """Stands for the value of a Ref."""

    position: int


def lift(backend: Backend, args: Sequence[Any]) -> tuple[tuple[Any, ...], list[Any]]:
    """The arguments with a slot for each Ref, and the Refs.

    Raises:
        ValueError: a Ref is another backend's.
    """
    refs: list[Any] = []
    lifted: list[Any] = []
    for arg in args:
        if isinstance(arg, Ref):
            if arg.backend is not backend:
                raise ValueError(f"a Ref of {arg.backend!r} in a call on {backend!r}")
            lifted.append(Slot(len(refs)))
            refs.append(arg)
        else:
            lifted.append(arg)
    return tuple(lifted), refs


def fill(args: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """The arguments with each slot's value in its place."""
    return [values[arg.position] if isinstance(arg, Slot) else arg for arg in args]


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def announce(engine: str, seconds: float) -> None:
    """Say how long an engine's start took, if a terminal watches and it was felt."""
    if seconds > 1 and sys.stderr.isatty():
        print(f"{engine} is up after {seconds:.1f} s", file=sys.stderr)


def own_directory(parent: str | None = None) -> tempfile.TemporaryDirectory[str]:
    """A temporary directory of this process. Removes those of processes that were killed."""
    # A machine's number, as processes of different containers may have the same /tmp.
    start = f"rlbook-{zlib.crc32(socket.gethostname().encode()) & 0xFFFF:04x}-"
    for old in Path(parent or tempfile.gettempdir()).glob(f"{start}*-*"):
        with contextlib.suppress(ValueError):
            if not _runs(int(old.name.removeprefix(start).split("-")[0])):
                shutil.rmtree(old, ignore_errors=True)
    return tempfile.TemporaryDirectory(
        prefix=f"{start}{os.getpid()}-", dir=parent, ignore_cleanup_errors=True
    )


def _runs(process: int) -> bool:
    if os.name != "posix":  # where a signal of 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
