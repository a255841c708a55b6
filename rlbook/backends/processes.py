"""What an engine's processes need: environment variables, and a directory for their files."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path


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
