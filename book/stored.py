"""Results that a chapter draws and that take too long for it to measure.

Each is a file in ``book/data``, with the command that made it and a hash of the code that it came
from; a test fails when that code has changed since.
"""

from __future__ import annotations

import ast
import datetime
import hashlib
import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BOOK = Path(__file__).resolve().parent


def code_hash(paths: Iterable[Path]) -> str:
    """Of the code in these files; comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and _is_text(body[0]):
                body[0] = ast.Pass()
        digest.update(f"{path.name}\n{ast.unparse(tree)}\n".encode())
    return digest.hexdigest()[:16]


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def origin(command: str, paths: Iterable[Path]) -> dict[str, Any]:
    """Where results come from: what made them, of what code, when, and on what machine."""
    return {
        "command": command,
        "code": code_hash(paths),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def save(results: dict[str, Any], path: Path) -> None:
    """Write them, all or nothing. Rows of numbers stay on one line each."""
    part = path.with_suffix(".part")
    part.write_text(_text(results) + "\n", encoding="utf-8")
    os.replace(part, path)


def load(path: Path) -> dict[str, Any]:
    """What was stored."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _text(value: Any, indent: str = "") -> str:
    if isinstance(value, dict) and value:
        inner = indent + " "
        items = (f"{inner}{json.dumps(key)}: {_text(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    return json.dumps(value)
