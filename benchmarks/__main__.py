"""`python -m benchmarks`: measure rows, print them, and keep what was found."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.report import as_markdown, as_text
from benchmarks.rows import ROWS

HERE = Path(__file__).parent
PACKAGES = (
    "numpy", "numba", "gymnasium", "torch", "cloudpickle", "ray", "pyspark",
    "envpool", "cpprb", "tianshou", "stable-baselines3",
)  # fmt: skip
LONGEST = 1800  # seconds that the rows of one name may take


def main() -> int:
    """Run what the command line asks for. 1 if something could not be measured."""
    asked = parse()
    if asked.list:
        for name, subject in ROWS.items():
            print(f"{name:<21} {subject.about}")
        return 0
    names = list(dict.fromkeys(asked.rows)) or list(ROWS)
    found: dict[str, Any] = {"header": describe(), "rows": [], "failed": {}}
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        measured = {"name": name, "date": now(), "load before": round(os.getloadavg()[0], 1)}
        try:
            found["rows"] += [measured | row for row in measure_apart(name, asked.quick)]
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            found["failed"][name] = str(error)
    print(as_text(found))
    if asked.quick:
        keep(found, HERE.parent / "build" / "benchmarks")
    else:
        keep(merged(stored(), found), HERE)
    return 1 if found["failed"] else 0


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The rows of both, the new ones in place of the old ones of their name.

    Each row is measured in a process of its own, beside its peer, so they need not be of one run;
    but they must be of one machine with the same packages, or the old ones are left out.
    """
    where = ("processor", "cores", "system", "python", "packages")
    if any(old["header"].get(name) != new["header"][name] for name in where):
        old = {"rows": [], "failed": {}}
    again = {row["name"] for row in new["rows"]} | new["failed"].keys()
    rows = [row for row in old["rows"] if row["name"] not in again] + new["rows"]
    failed = {name: why for name, why in old["failed"].items() if name not in again}
    order = list(ROWS)
    return {
        "header": new["header"],
        "rows": sorted(
            (row for row in rows if row["name"] in ROWS), key=lambda row: order.index(row["name"])
        ),
        "failed": failed | new["failed"],
    }


def stored() -> dict[str, Any]:
    """What earlier runs found; nothing where there is no file, or one of another form."""
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads((HERE / "results.json").read_text())
        if all("name" in row for row in found["rows"]):
            return found
    return {"header": {}, "rows": [], "failed": {}}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="what to measure; by default all")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    parser.add_argument("--quick", action="store_true", help="few turns: shows that it works")
    asked = parser.parse_args()
    unknown = [name for name in asked.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    return asked


def measure_apart(name: str, quick: bool) -> list[dict[str, Any]]:
    """The rows of a name, measured in a process of its own.

    Raises:
        subprocess.SubprocessError: it failed, or took too long.
    """
    with tempfile.TemporaryDirectory() as directory:
        file, log = Path(directory, "rows.json"), Path(directory, "log")
        command = [sys.executable, "-m", "benchmarks.rows", name, str(file)]
        with log.open("wb") as output:
            status = run(command + ["--quick"] * quick, output)
        if status != 0 or not file.exists():
            said = log.read_text(errors="replace")
            print(said[-4000:], file=sys.stderr)
            last = said.strip().splitlines()[-1:] or ["no message"]
            raise subprocess.SubprocessError(f"exit status {status}: {last[0]}")
        found: list[dict[str, Any]] = json.loads(file.read_text())
        return found


def run(command: list[str], output: Any) -> int:
    """Run a command with a time limit; when that ends it, so does all it started."""
    process = subprocess.Popen(
        command, cwd=HERE.parent, stdout=output, stderr=output, start_new_session=True
    )
    try:
        return process.wait(LONGEST)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise subprocess.SubprocessError(f"not done after {LONGEST} seconds") from None
        raise


def describe() -> dict[str, Any]:
    """On what, and with what, this run measures."""
    return {
        "last run": now(),
        "its command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
    }


def now() -> str:
    """The time, to the minute."""
    return datetime.now(UTC).isoformat(timespec="minutes")


def processor() -> str:
    """The processor's model."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def installed(package: str) -> str:
    """The version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def keep(found: dict[str, Any], directory: Path) -> None:
    """Write what was found as JSON and as a page, each file whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("results.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n"),
        ("results.md", as_markdown(found)),
    ):
        with tempfile.NamedTemporaryFile("w", dir=directory, delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        os.replace(file.name, directory / name)
        print(f"wrote {os.path.relpath(directory / name)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
