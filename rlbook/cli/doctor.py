"""`rlbook doctor`: is everything here that rlbook needs, and if not, what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from rlbook import backends
from rlbook.cli import engines
from rlbook.cli.output import AsJson, console, print_json, waiting
from rlbook.cli.requirements import allows, package_of, requirements

GIB = 2**30

# state: the mark in front, and its colour
MARKS = {"good": ("✓", "green"), "optional": ("–", "yellow"), "broken": ("✗", "red")}


NAME_WIDTH = len("backend multiprocessing")


class Finding(NamedTuple):
    """What the doctor says of one thing.

    Attributes:
        state: "good"; "broken", where something needed is; or "optional", where something is
            missing that most can do without.
    """

    name: str
    state: str
    found: str
    advice: str = ""


def doctor(
    start: Annotated[
        bool,
        typer.Option("--start", metavar="", help="Really start each backend, and take the time."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that all is here that rlbook needs, and say what to do where it is not.

    The exit code is 1 where something needed is broken.
    """
    findings = []
    for finding in examine(start):
        findings.append(finding)
        if not as_json:
            _print(finding)
    well = all(finding.state != "broken" for finding in findings)
    if as_json:
        print_json({"ok": well, "findings": [finding._asdict() for finding in findings]})
    raise typer.Exit(0 if well else 1)


def examine(start: bool) -> Iterator[Finding]:
    """All findings, one after the other."""
    for name, lines in requirements().items():
        yield python(lines[0]) if name == "python" else packages(name, lines)
    yield Finding("processors", "good", f"{processors()}")
    memory = total_memory()
    if memory is not None:
        yield Finding("memory", "good", f"{memory / GIB:.1f} GiB")
    if sys.platform == "linux":
        yield shared_memory(Path("/dev/shm"))
    yield cache()
    for name in backends.BACKENDS:
        yield backend(name, start)


def python(requirement: str) -> Finding:
    """The interpreter that runs this."""
    version = platform.python_version()
    if allows(requirement, version):
        return Finding("python", "good", version)
    return Finding("python", "broken", version, f"rlbook needs {requirement}")


def packages(extra: str, lines: list[str]) -> Finding:
    """The packages of the core or of an extra, and whether their versions are in range."""
    found, wrong = [], []
    for line in lines:
        package = package_of(line)
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            found.append(f"{package} missing")
            wrong.append(line)
            continue
        found.append(f"{package} {version}")
        if not allows(line, version):
            wrong.append(line)
    if not wrong:
        return Finding(extra, "good", ", ".join(found))
    install = "pip install " + " ".join(f"'{line}'" for line in wrong)
    return Finding(extra, "broken" if extra == "core" else "optional", ", ".join(found), install)


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory() -> int | None:
    """Bytes of the machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def shared_memory(path: Path) -> Finding:
    """Where processes hand one another large arrays."""
    if not os.access(path, os.W_OK):
        advice = "large arrays will go through files on the disk, which is slower"
        return Finding("shared memory", "optional", f"{path} cannot be written", advice)
    free = shutil.disk_usage(path).free
    found = f"{free / GIB:.1f} GiB free in {path}"
    if free < GIB:
        advice = "Ray needs more for large arrays: in Docker, start with --shm-size=2g"
        return Finding("shared memory", "optional", found, advice)
    return Finding("shared memory", "good", found)


def cache() -> Finding:
    """Where compiled code is kept from one run to the next."""
    from rlbook_envs.compiled import cache_directory

    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return Finding("cache", "good", str(directory))
    except OSError as error:
        advice = "every run will compile anew: set RLBOOK_CACHE_DIR to a folder that can be written"
        return Finding("cache", "broken", f"{directory}: {error.strerror}", advice)


def backend(name: str, start: bool) -> Finding:
    """Whether a backend can start, or does."""
    label = f"backend {name}"
    reason = engines.why_not(name)
    if reason is not None:
        said, _, advice = reason.partition(": ")
        return Finding(label, "optional" if name in engines.PACKAGES else "broken", said, advice)
    if not start:
        return Finding(label, "good", f"can start{engines.runs_on(name)}")
    try:
        with waiting(f"starting {name} …"):
            seconds = engines.start(name)
    except Exception as error:  # whatever an engine may raise is what we are here to tell
        return Finding(label, "broken", "did not start", f"{type(error).__name__}: {error}")
    found = f"started{engines.runs_on(name)}, and answered a call, in {seconds:.1f} s"
    return Finding(label, "good", found)


def _print(finding: Finding) -> None:
    from rich.table import Table

    mark, colour = MARKS[finding.state]
    screen, row = console(), Table.grid(padding=(0, 1))
    row.add_column(style=colour)
    row.add_column(width=NAME_WIDTH)
    row.add_row(mark, finding.name, finding.found)
    screen.print(row, soft_wrap=False)
    if finding.advice:
        screen.print(" " * (NAME_WIDTH + 3) + finding.advice, style=colour)
