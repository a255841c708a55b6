"""Checks of which backends can start on this machine."""

from __future__ import annotations

import importlib
from importlib import metadata, util
from time import perf_counter

from rlbook import backends
from rlbook.cli.output import first_line

# The package that a backend needs in addition to rlbook; the extra with the backend's name has it.
PACKAGES = {"ray": "ray", "spark": "pyspark"}


def about(name: str) -> str:
    """Return a description of a backend in one line."""
    return first_line(backends.BACKENDS[name][0])


def why_not(name: str) -> str | None:
    """Return why a backend can't start, or None if it can, without starting it."""
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
    """Return the package of a backend and its version; empty if it needs no package."""
    package = PACKAGES.get(name)
    return f"{package} {metadata.version(package)}" if package else ""


def runs_on(name: str) -> str:
    """Return what a backend runs on, as in " on Java 17 in …"; empty for most backends."""
    return f" on {java()}" if name == "spark" else ""


def java() -> str:
    """Return the Java that Spark would use, or raise a RuntimeError if there is none."""
    found: str = importlib.import_module(f"{backends.BACKENDS['spark'][0]}.java").check_java()
    return found


class Echo:
    """A worker for tests of a backend, which returns its argument."""

    def __init__(self, index: int) -> None:
        pass

    def echo(self, word: str) -> str:
        """Return the word."""
        return word


def start(name: str) -> float:
    """Start a backend, call one worker, close the backend, and return the seconds this took."""
    begin = perf_counter()
    with backends.get(name) as backend:
        group = backend.launch(Echo, 1)
        if group.call("echo", "hello") != ["hello"]:
            raise RuntimeError(f"the worker of {name} gave a wrong answer")
        group.close()
    return perf_counter() - begin
