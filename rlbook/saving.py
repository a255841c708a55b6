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

FORMAT = "rlbook model 2"


def save(
    path: str | os.PathLike[str], kind: str, header: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    """Write a model file, all of it or nothing.

    Args:
        kind: the name of the algorithm.
        header: whatever JSON can hold; arrays and bytes within it are stored as arrays.
        arrays: NumPy arrays by name; no object arrays.
    """
    contents = dict(arrays)
    text = json.dumps(_without_arrays({"format": FORMAT, "kind": kind, **header}, contents))
    for name, array in contents.items():
        if array.dtype.hasobject:  # NumPy would write a pickle
            raise ValueError(f"array {name!r} holds Python objects, which no model file may")
    with atomic_write(path) as file:
        np.savez(file, header=np.array(text), **contents)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The header, as it was given to `save`, and the arrays of a model file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no model file, or one of another algorithm.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = _with_arrays(json.loads(str(arrays.pop("header"))), arrays)
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


# Where an array or bytes stand in a header, JSON holds the name of an array of the file.
IN_HEADER = "header/"


def _without_arrays(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return a header that JSON can hold; its arrays and bytes are added to `arrays`."""
    if isinstance(value, dict):
        return {name: _without_arrays(each, arrays) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(each, arrays) for each in value]
    if isinstance(value, bytes | np.ndarray):
        name = f"{IN_HEADER}{len(arrays)}"
        kind = "bytes" if isinstance(value, bytes) else "array"
        arrays[name] = np.frombuffer(value, np.uint8) if kind == "bytes" else np.asarray(value)
        return {kind: name}
    return value.item() if isinstance(value, np.generic) else value


def _with_arrays(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Undo `_without_arrays`, and take the header's arrays out of `arrays`."""
    if isinstance(value, list):
        return [_with_arrays(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        kind, name = next(iter(value.items()))
        if kind in ("array", "bytes") and str(name).startswith(IN_HEADER):
            found = arrays.pop(name)
            return found if kind == "array" else found.astype(np.uint8).tobytes()
    return {name: _with_arrays(each, arrays) for name, each in value.items()}


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
