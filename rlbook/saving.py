"""Model files: NumPy arrays and JSON, and no code, so that a stranger's file can do no harm."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

FORMAT = "rlbook model 1"


def save(
    path: str | os.PathLike[str], kind: str, header: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    """Write a model file, all of it or nothing.

    Args:
        kind: the name of the algorithm.
        header: whatever JSON can hold.
        arrays: NumPy arrays by name; no object arrays.
    """
    text = json.dumps({"format": FORMAT, "kind": kind, **header})
    for name, array in arrays.items():
        if array.dtype.hasobject:  # NumPy would write a pickle
            raise ValueError(f"array {name!r} holds Python objects, which no model file may")
    with atomic_write(path) as file:
        np.savez(file, header=np.array(text), **arrays)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The header, as it was given to `save`, and the arrays of a model file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no model file, or one of another algorithm.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
        if header.pop("format") != FORMAT:
            raise KeyError("format")
        found = header.pop("kind")
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # damaged archives make NumPy and zipfile raise almost anything
        raise damaged(path) from error
    if found != kind:
        raise ValueError(f"{path} holds a {found} agent: load it with {found}.load")
    return header, arrays


def damaged(path: str | os.PathLike[str]) -> ValueError:
    """The error of a file from which nothing sensible can be read."""
    return ValueError(f"{path} is damaged, or no model file of rlbook")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that appears under its name only when it is complete."""
    target = Path(path)
    # Not made by `tempfile`, whose files nobody else may read.
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
