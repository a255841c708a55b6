"""Model files: NumPy arrays and JSON, and no code, so that a stranger's file can do no harm."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zipfile
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
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, header=np.array(text), **arrays)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The header and the arrays of a model file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no model file, or one of another algorithm.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
        if header.pop("format") != FORMAT:
            raise KeyError("format")
    except (ValueError, KeyError, EOFError, OSError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is damaged, or no model file of rlbook") from error
    if header["kind"] != kind:
        raise ValueError(
            f"{path} holds a {header['kind']} agent: load it with {header['kind']}.load"
        )
    return header, arrays


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that appears under its name only when it is complete."""
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
