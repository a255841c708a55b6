"""`python -m benchmarks`: measure rows, print them, and keep what a whole run found."""

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
PACKAGES = ("numpy", "numba", "gymnasium", "cloudpickle", "ray", "pyspark", "envpool")
LONGEST = 600  # seconds that the rows of one name may take


def main() -> int:
    """Run what the command line asks for. 1 if something could not be measured."""
    asked = parse()
    if asked.list:
        for name, subject in ROWS.items():
            print(f"{name:<21} {subject.about}")
        return 0
    names = list(dict.fromkeys(asked.rows)) or list(ROWS)
    header, rows, failed = describe(), [], {}
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            rows += measure_apart(name, asked.quick)
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            failed[name] = str(error)
    found = {"header": header, "rows": rows, "failed": failed}
    print(as_text(found))
    whole = not asked.quick and not failed and set(names) == set(ROWS)
    keep(found, HERE if whole else HERE.parent / "build" / "benchmarks")
    return 1 if failed else 0


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
    load = os.getloadavg()[0]
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load before": f"{load:.1f} processes",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
    }


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
