"""The requirements of rlbook, and comparisons of versions with them."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import rlbook

# Extras that only developers of rlbook need, or that only combine other extras.
UNASKED = ("dev", "all")


def requirements() -> dict[str, list[str]]:
    """Return the requirements of each extra, such as `numpy>=2.0`.

    The key "core" has the requirements of rlbook itself, and "python" the versions of Python.

    Raises:
        FileNotFoundError: rlbook is neither installed nor run from a checkout.
    """
    pyproject = Path(rlbook.__file__).parents[1] / "pyproject.toml"
    if pyproject.exists():  # a checkout, whose installed metadata may be outdated
        project = tomllib.loads(pyproject.read_text())["project"]
        found = {"core": project["dependencies"], **project["optional-dependencies"]}
        python = project["requires-python"]
    else:
        found, python = _of_installed()
    return {"python": [f"python{python}"]} | {
        extra: lines for extra, lines in found.items() if extra not in UNASKED
    }


def _of_installed() -> tuple[dict[str, list[str]], str]:
    try:
        distribution = metadata.distribution("rlbook")
    except metadata.PackageNotFoundError:
        raise FileNotFoundError("rlbook is neither installed nor run from a checkout") from None
    found: dict[str, list[str]] = {}
    for line in distribution.requires or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == [\"'](\w+)", marker)
        found.setdefault(extra[1] if extra else "core", []).append(requirement.strip())
    return found, str(distribution.metadata["Requires-Python"])


def package_of(requirement: str) -> str:
    """Return the package in a requirement such as `numpy>=2.0`."""
    return re.split(r"[^\w.-]", requirement)[0]


def allows(requirement: str, version: str) -> bool:
    """Return whether a version satisfies a requirement, which may use only >= and <.

    >>> allows("numpy>=2.0", "2.4.6"), allows("python>=3.11,<3.14", "3.14.0")
    (True, False)
    """
    least = re.search(r">=\s*([\d.]+)", requirement)
    below = re.search(r"<\s*([\d.]+)", requirement)
    found = _parts(version)
    return (least is None or found >= _parts(least[1])) and (
        below is None or found < _parts(below[1])
    )


def _parts(version: str) -> tuple[int, ...]:
    """Return the four numbers of a version, as a tuple that compares like the version."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    return tuple((parts + [0] * 4)[:4])
