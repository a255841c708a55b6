"""rlbook's own code as one file, for machines of a cluster where it is not installed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import zipfile
from pathlib import Path

PACKAGES = ("rlbook", "rlbook_envs")

# The earliest that a zip can hold: the same code gives the same file, whenever it was written.
NO_TIME = (1980, 1, 1, 0, 0, 0)


def package_zip(directory: str | os.PathLike[str]) -> str:
    """Write the packages rlbook and rlbook_envs as a zip from which Python can import them.

    The file is named after its contents, `rlbook-<hash>.zip`, and is written only if it is not
    there yet. Whoever finds it finds all of it, even while another process writes the same.

    Args:
        directory: where to; it must exist.

    Returns:
        The file's path.
    """
    files = {name: path.read_bytes() for name, path in _files()}
    content = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    path = Path(directory, f"rlbook-{content[:16]}.zip")
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=directory, suffix=".part", delete=False) as part:
            try:
                _write(part.name, files)
                os.replace(part.name, path)
            except BaseException:
                os.unlink(part.name)
                raise
    return str(path)


def _files() -> list[tuple[str, Path]]:
    """Each file's name within the zip, and where it is. What was compiled from it stays here."""
    found = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.submodule_search_locations, package
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.append((Path(package, path.relative_to(root)).as_posix(), path))
    return found


def _write(path: str, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, NO_TIME), content, zipfile.ZIP_DEFLATED)
