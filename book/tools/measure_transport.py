"""How long arrays take from one worker to another, measured once and stored for chapter 05.

``python book/tools/measure_transport.py`` moves arrays of up to 1 GB between workers, on each
engine and by each route, and writes the seconds to ``book/data/transport.json``. Each engine runs
in a process of its own, so that an engine that runs out of memory takes nothing else with it; a
size that an engine could not carry is stored as such. The script needs about 8 GB of memory and a
quiet machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import stored

COMMAND = "python book/tools/measure_transport.py"
RESULTS = stored.BOOK / "data" / "transport.json"

ENGINES = ("multiprocessing", "ray", "spark")
ROUTES = ("argument", "put, first call", "put, next call", "result", "keep")
SIZES = tuple(2**power for power in (10, 14, 18, 22, 26, 28, 30))  # bytes
REPEATS = 3


# --- what is measured ---------------------------------------------------------------------------


class Carrier:
    """A worker that gives arrays and looks at those it is given."""

    def __init__(self, index: int) -> None:
        self.array: Any = None

    def give(self, nbytes: int) -> Any:
        """An array of so many bytes; made once, if this object lives on between calls."""
        if self.array is None or self.array.nbytes != nbytes:
            self.array = np.ones(nbytes // 8)
        return self.array

    def look(self, array: Any) -> float:
        """Its last number."""
        return float(array[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {"array": None}  # else Spark would carry it to and fro as part of the state


def seconds_of(backend: Any, group: Any, route: str, nbytes: int) -> float:
    """How long an array of so many bytes takes to a worker that looks at it, or back from one.

    `keep` counts both calls: the one in which a worker leaves the array where it made it, and the
    one in which the other worker is given it.
    """
    array = np.ones(nbytes // 8)
    value = backend.put(array) if route == "put, next call" else array
    if value is not array:
        group.submit(1, "look", value).result()
    start = time.perf_counter()
    if route == "result":
        group.submit(0, "give", nbytes).result()
        return time.perf_counter() - start
    if route == "put, first call":
        value = backend.put(array)
    elif route == "keep":
        value = group.submit(0, "give", nbytes, keep=True).result()
    group.submit(1, "look", value).result()
    return time.perf_counter() - start


def carry(engine: str) -> None:
    """Measure one engine, and print a line of JSON for each size and route."""
    from rlbook import backends

    with backends.get(engine) as backend:
        group = backend.launch(Carrier, 2)
        group.call("give", 8)
        for nbytes in SIZES:
            for route in ROUTES:
                line: dict[str, Any] = {"route": route, "size": nbytes}
                try:
                    times = [seconds_of(backend, group, route, nbytes) for _ in range(REPEATS)]
                    line["seconds"] = min(times)
                except Exception as error:
                    line["refused"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                print(json.dumps(line), flush=True)


def packing() -> dict[str, list[float]]:
    """What it takes to make bytes of an array, and an array of those bytes."""
    from rlbook.backends.wire import pack, unpack

    found: dict[str, list[float]] = {"serialise": [], "deserialise": []}
    for nbytes in SIZES:
        array = np.ones(nbytes // 8)
        blob = pack(array)
        halves = {"serialise": partial(pack, array), "deserialise": partial(unpack, blob)}
        for name, function in halves.items():
            found[name].append(min(_clock(function) for _ in range(REPEATS)))
    return found


def _clock(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# --- results ------------------------------------------------------------------------------------


def measure(engine: str, limit: float) -> Iterator[dict[str, Any]]:
    """The lines of `carry`, run in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--engine", engine],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    timer = threading.Timer(limit, process.kill)
    timer.start()
    assert process.stdout is not None
    try:
        for line in process.stdout:
            yield json.loads(line)
    finally:
        timer.cancel()
        process.wait()


def collect(limit: float) -> dict[str, Any]:
    """All engines, one after the other."""
    results: dict[str, Any] = {
        **stored.origin(COMMAND),
        "sizes": list(SIZES),
        "seconds": {},
        "refused": {},
        **packing(),
    }
    for engine in ENGINES:
        lines = {(line["route"], line["size"]): line for line in measure(engine, limit)}
        results["seconds"][engine] = {route: [] for route in ROUTES}
        for route in ROUTES:
            for nbytes in SIZES:
                line = lines.get((route, nbytes), {"refused": "the engine was gone by then"})
                results["seconds"][engine][route].append(line.get("seconds"))
                if "refused" in line:
                    results["refused"][f"{engine}, {route}, {nbytes}"] = line["refused"]
        print(f"{engine}: {len(lines)} of {len(ROUTES) * len(SIZES)} measured", flush=True)
    return results


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Measure, and write book/data/transport.json.")
    parser.add_argument("--engine", choices=ENGINES, help="only print what this one takes")
    parser.add_argument(
        "--limit", type=float, default=600, metavar="S", help="seconds for an engine (%(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.engine:
        carry(options.engine)
        return 0
    stored.save(collect(options.limit), RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
