"""How much memory each chapter needs, and whether it fits on mybinder.org.

``python book/tools/measure_memory.py`` runs every chapter in a fresh kernel, as build.py does, and
adds up the memory of the kernel and of all that it starts: worker processes, Ray's daemons, Spark's
Java. What is added is each process's proportional set size (PSS), in which a page that several
processes share counts once. The largest sum of a run goes to ``book/data/memory.json``, and the
table of ``binder/README.md`` is written from that file. It needs Linux.

A page of a library's file that a process outside the chapter has open too is counted in part only,
and a peak that lasts less than a fifth of a second can be missed: measure on a quiet machine, and
leave room.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import build

COMMAND = "python book/tools/measure_memory.py"
RESULTS = build.BOOK / "data" / "memory.json"
PAGE = build.ROOT / "binder" / "README.md"
TABLE = re.compile(r"(?<=<!-- memory: begin -->\n).*?(?=<!-- memory: end -->)", re.DOTALL)

PROC = Path("/proc")
MARK = "RLBOOK_MEASURE"  # the environment variable that everything a chapter starts inherits
INTERVAL = 0.2  # seconds between two samples

MB = 1024 * 1024  # as Binder counts: its 2 GB are 2048 of these
LIMIT_MB = 2048
ROOM = 0.1  # of the limit: Ray stops workers when less than 5 % is left


# --- the processes ------------------------------------------------------------------------------


class Family:
    """The processes that carry a mark in their environment, and all that these start.

    The mark finds a daemon that has left its parent. Descent finds a program that has written over
    its environment, as Ray's workers do to show a title. Who was seen once stays in, so that a
    process that did both is not lost.
    """

    def __init__(self, mark: str) -> None:
        self.mark = f"{MARK}={mark}".encode()
        self.seen: set[tuple[int, int]] = set()

    def members(self) -> set[int]:
        """The process numbers of those that live now."""
        processes = running_processes()
        found = {
            pid
            for pid, (_, started) in processes.items()
            if (pid, started) in self.seen or self.mark in read(pid, "environ").split(b"\0")
        }
        while born := {
            pid for pid, (parent, _) in processes.items() if parent in found and pid not in found
        }:
            found |= born
        self.seen = {(pid, processes[pid][1]) for pid in found}
        return found

    def memory(self) -> int:
        """The sum of all members' PSS, in bytes."""
        return sum(proportional_set_size(pid) for pid in self.members())


def running_processes() -> dict[int, tuple[int, int]]:
    """The parent and the start time, in clock ticks, of every process of this machine."""
    processes = {}
    for folder in PROC.iterdir():
        if folder.name.isdecimal() and (stat := read(int(folder.name), "stat")):
            # The second field is the program's name in brackets, which may hold anything.
            fields = stat.rpartition(b")")[2].split()
            processes[int(folder.name)] = (int(fields[1]), int(fields[19]))
    return processes


def proportional_set_size(pid: int) -> int:
    """A process's private memory and its share of what others use with it, in bytes."""
    found = re.search(rb"^Pss:\s+(\d+) kB", read(pid, "smaps_rollup"), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def read(pid: int, name: str) -> bytes:
    """What /proc says of a process; nothing if it has ended or is another user's."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


# --- measuring ----------------------------------------------------------------------------------


class Peak:
    """The largest sum so far, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    @property
    def megabytes(self) -> int:
        return round(self.bytes / MB)


@contextmanager
def watching() -> Iterator[Peak]:
    """Watch all that is started inside the ``with`` block, from its start to the block's end."""
    mark = uuid.uuid4().hex
    family, peak, done = Family(mark), Peak(), Event()

    def sample() -> None:
        while not done.wait(INTERVAL):
            peak.bytes = max(peak.bytes, family.memory())

    os.environ[MARK] = mark
    with ThreadPoolExecutor(1) as pool:
        sampling = pool.submit(sample)
        try:
            yield peak
        finally:
            del os.environ[MARK]
            done.set()
        sampling.result()  # an error in the sampling is an error of the measurement


def measure_notebook(path: Path, timeout: int) -> tuple[int, str]:
    """The peak of one notebook's run, in MB, and why it failed: empty if it did not."""
    with watching() as peak:
        run = build.run_notebook(path, timeout)
    return peak.megabytes, run.failure


def measure_jupyterlab(timeout: float = 60) -> int:
    """The peak, in MB, of a JupyterLab that has served its page: on Binder it runs too."""
    token = secrets.token_hex()
    with tempfile.TemporaryDirectory() as folder:
        options = ["--no-browser", "--allow-root", "--port=0", f"--IdentityProvider.token={token}"]
        with watching() as peak:
            server = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={folder}"],
                env={**os.environ, "JUPYTER_RUNTIME_DIR": folder},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                wait_for_page(Path(folder) / f"jpserver-{server.pid}.json", token, timeout)
                time.sleep(5 * INTERVAL)
            finally:
                server.terminate()
                server.wait()
    return peak.megabytes


def wait_for_page(server_file: Path, token: str, timeout: float) -> None:
    """Wait until the server has written where it listens, and has answered there."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            address = json.loads(server_file.read_text(encoding="utf-8"))["url"]
            urllib.request.urlopen(f"{address}lab?token={token}", timeout=timeout).close()
            return
        except (FileNotFoundError, json.JSONDecodeError, urllib.error.URLError):
            time.sleep(INTERVAL)
    raise TimeoutError(f"JupyterLab did not answer within {timeout} s")


# --- results ------------------------------------------------------------------------------------


def record(peak_mb: int) -> dict[str, Any]:
    """A measurement, and what one needs to know to judge it."""
    return {
        "peak_mb": peak_mb,
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def load_results(path: Path = RESULTS) -> dict[str, Any]:
    if not path.exists():
        return {"command": COMMAND, "jupyterlab": {}, "chapters": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def save_results(results: dict[str, Any], path: Path = RESULTS) -> None:
    """Write them in the chapters' order, without those of chapters that are gone."""
    names = [chapter.stem for chapter in build.chapter_paths()]
    measured = results["chapters"]
    results["chapters"] = {name: measured[name] for name in names if name in measured}
    replace(path, json.dumps(results, indent=2) + "\n")


def replace(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


# --- the table ----------------------------------------------------------------------------------


def verdict(total_mb: int) -> str:
    """Whether a chapter and JupyterLab together fit."""
    if total_mb <= (1 - ROOM) * LIMIT_MB:
        return "yes"
    return "barely" if total_mb <= LIMIT_MB else "no"


def table(results: dict[str, Any]) -> str:
    """The chapters that were measured, as Markdown."""
    server = results["jupyterlab"]["peak_mb"]
    lines = [
        "| chapter | at its peak, MB | with JupyterLab, MB | fits |",
        "| --- | ---: | ---: | --- |",
    ]
    for name, found in results["chapters"].items():
        peak = found["peak_mb"]
        link = f"[`{name}`](../book/{name}.ipynb)"
        lines.append(f"| {link} | {peak} | {peak + server} | {verdict(peak + server)} |")
    return "\n".join(lines) + "\n"


def save_table(results: dict[str, Any], page: Path = PAGE) -> None:
    """Write the table between the page's two markers."""
    text, number = TABLE.subn(lambda _: table(results), page.read_text(encoding="utf-8"))
    if number != 1:
        raise ValueError(f"{page.name} has {number} places for the table: exactly one is allowed")
    replace(page, text)


# --- the command --------------------------------------------------------------------------------


def measure(paths: list[Path], timeout: int) -> bool:
    """Measure JupyterLab and each chapter, and save after each; True if all of them passed."""
    results = load_results()
    passed = True
    server_mb = measure_jupyterlab()
    results["jupyterlab"] = record(server_mb)
    print(f"{'JupyterLab':<34} {server_mb:6} MB", flush=True)
    save_results(results)
    for path in paths:
        print(f"{build.name_of(path):<34} ", end="", flush=True)
        peak_mb, failure = measure_notebook(path, timeout)
        passed = passed and not failure
        if failure:
            print(failure, flush=True)
            continue
        results["chapters"][path.stem] = record(peak_mb)
        save_results(results)
        print(f"{peak_mb:6} MB  fits: {verdict(peak_mb + server_mb)}", flush=True)
    save_table(results)
    return passed


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure each chapter's memory; results go to book/data/ and binder/README.md."
    )
    parser.add_argument(
        "--only", metavar="NAME", default="", help="only chapters whose name begins so: 03"
    )
    parser.add_argument(
        "--timeout",
        type=int,
        default=300,
        metavar="S",
        help="seconds that one cell may take (%(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if sys.platform != "linux":
        print("error: measuring needs Linux, which tells each process's memory", file=sys.stderr)
        return 2
    paths = build.select(build.chapter_paths(), options.only)
    if not paths:
        print(f"error: no chapter's name begins with {options.only!r}", file=sys.stderr)
        return 2
    return 0 if measure(paths, options.timeout) else 1


if __name__ == "__main__":
    sys.exit(main())
