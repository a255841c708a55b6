"""`rlbook doctor`: check that everything that rlbook needs is there, and give advice if not."""

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

# For each state, the mark at the beginning of the line, and its colour.
MARKS = {"good": ("✓", "green"), "optional": ("–", "yellow"), "broken": ("✗", "red")}

NAME_WIDTH = len("backend multiprocessing")


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        name: the thing that was checked.
        state: "good"; "broken" if something necessary does not work; or "optional" if something is
            missing that most users do not need.
        found: the result in words.
        advice: what to do about it.
    """

    name: str
    state: str
    found: str
    advice: str = ""


def doctor(
    start: Annotated[
        bool,
        typer.Option(
            "--start", metavar="", help="Also start each backend and measure how long it takes."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the installation, and give advice if something is missing.

    The exit code is 1 if something necessary is broken.
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
    """Yield the findings, one after the other."""
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
    """Check the version of the Python interpreter."""
    version = platform.python_version()
    if allows(requirement, version):
        return Finding("python", "good", version)
    return Finding("python", "broken", version, f"rlbook needs {requirement}")


def packages(extra: str, lines: list[str]) -> Finding:
    """Check that the packages of an extra are installed, in versions that rlbook supports."""
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
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory() -> int | None:
    """Return the size of the machine's memory in bytes, or None if it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def shared_memory(path: Path) -> Finding:
    """Check the directory through which processes share large arrays."""
    if not os.access(path, os.W_OK):
        advice = "large arrays will be shared through files on disk, which is slower"
        return Finding("shared memory", "optional", f"{path} is not writable", advice)
    free = shutil.disk_usage(path).free
    found = f"{free / GIB:.1f} GiB free in {path}"
    if free < GIB:
        advice = "Ray needs more for large arrays: in Docker, use --shm-size=2g"
        return Finding("shared memory", "optional", found, advice)
    return Finding("shared memory", "good", found)


def cache() -> Finding:
    """Check the directory in which compiled code is cached between runs."""
    from rlbook_envs.compiled import cache_directory

    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return Finding("cache", "good", str(directory))
    except OSError as error:
        advice = "every run will compile again: set RLBOOK_CACHE_DIR to a writable folder"
        return Finding("cache", "broken", f"{directory}: {error.strerror}", advice)


def backend(name: str, start: bool) -> Finding:
    """Check whether a backend can start, or start it if `start` is True."""
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
    except Exception as error:  # an engine may raise anything, and the user wants to know
        return Finding(label, "broken", "did not start", f"{type(error).__name__}: {error}")
    found = f"started{engines.runs_on(name)} and answered a call in {seconds:.1f} s"
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
