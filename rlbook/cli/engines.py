"""Which backends can start on this machine."""

from __future__ import annotations

import importlib
from importlib import metadata, util
from time import perf_counter

from rlbook import backends
from rlbook.cli.output import first_line

# What must be installed beside rlbook: the package, which is in the extra of the backend's name.
PACKAGES = {"ray": "ray", "spark": "pyspark"}


def about(name: str) -> str:
    """What its workers are, in one line."""
    return first_line(backends.BACKENDS[name][0])


def why_not(name: str) -> str | None:
    """Why a backend can't start; None if all that it needs is there. Starts nothing."""
    package = PACKAGES.get(name)
    if package is not None and util.find_spec(package) is None:
        return str(backends.missing_package(package, name))
    try:
        if package is None:
            backends.get(name).close()
        elif name == "spark":
            java()
    except (ImportError, RuntimeError) as error:
        return str(error)
    return None


def version(name: str) -> str:
    """The backend's package and its version; empty where it needs none."""
    package = PACKAGES.get(name)
    return f"{package} {metadata.version(package)}" if package else ""


def runs_on(name: str) -> str:
    """What an engine that can start will run on, as in " on Java 17 in …"; empty for most."""
    return f" on {java()}" if name == "spark" else ""


def java() -> str:
    """The Java that Spark would run on; a RuntimeError if there is none."""
    found: str = importlib.import_module(f"{backends.BACKENDS['spark'][0]}.java").check_java()
    return found


class Echo:
    """The worker of a trial: says what it is told."""

    def __init__(self, index: int) -> None:
        pass

    def echo(self, word: str) -> str:
        """The word."""
        return word


def start(name: str) -> float:
    """Start a backend, have one worker answer one call, and close it. The seconds that it took."""
    begin = perf_counter()
    with backends.get(name) as backend:
        group = backend.launch(Echo, 1)
        if group.call("echo", "hello") != ["hello"]:
            raise RuntimeError(f"the worker of {name} gave a wrong answer")
        group.close()
    return perf_counter() - begin
