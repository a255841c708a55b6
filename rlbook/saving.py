"""Model files: they contain NumPy arrays and JSON but no code, so loading one is safe."""

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
    """Write a model file; an interrupted call leaves no incomplete file.

    Args:
        kind: the name of the algorithm.
        header: values that JSON can represent; arrays and bytes among them become arrays.
        arrays: NumPy arrays by name; no object arrays.
    """
    contents = dict(arrays)
    text = json.dumps(_without_arrays({"format": FORMAT, "kind": kind, **header}, contents))
    for name, array in contents.items():
        if array.dtype.hasobject:  # NumPy would write a pickle
            raise ValueError(f"array {name!r} must hold numbers or text, got Python objects")
    with atomic_write(path) as file:
        np.savez(file, header=np.array(text), **contents)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the header and the arrays of a model file, as they were given to `save`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, is not a model file, or is one of another algorithm.
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
    except Exception as error:  # for damaged archives, NumPy and zipfile raise all kinds of errors
        raise damaged(path) from error
    if found != kind:
        raise ValueError(f"{path} holds a {found} agent: load it with {found}.load")
    return header, arrays


# In place of an array or bytes in a header, JSON holds the name of an array of the file.
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
    """Undo `_without_arrays`, and remove the header's arrays from `arrays`."""
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
    """Return the error for a file that can't be read as a model file."""
    return ValueError(f"{path} is damaged, or no model file of rlbook")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that appears under its name only when it is complete."""
    target = Path(path)
    # Files made by `tempfile` would not be readable by other users.
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
