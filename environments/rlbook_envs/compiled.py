"""Compilation of rules with Numba, with a cache on disk that notices when a rule changes.

Numba can cache machine code on disk, but it checks for changes only in the file that defines the
compiled function. A training loop calls rules from other files, so it would go on using the old
rules after an edit. `compile` therefore stores the machine code under a hash of every source file
that the function depends on, so that the next run after an edit compiles the new rule.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import numba
import numpy as np
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])


def rule(function: F) -> F:
    """Mark a function as a rule, which compiled code may call.

    Called from Python, a rule remains an ordinary function. Compiled code inlines it, so that a
    loop over rows can process several rows at once.

    >>> @rule
    ... def double(x):
    ...     return 2 * x
    >>> double(3)
    6
    """
    function.is_rule = True  # type: ignore[attr-defined]
    _known_rules.add(function)
    return register_jitable(forceinline=True)(function)  # type: ignore[no-any-return]


# Numba identifies a rule by its function object. A rule from a notebook that was sent to a worker
# is a new object there, which carries the mark but is not registered with Numba yet.
_known_rules: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()


def _make_known(function: Callable[..., Any]) -> None:
    for each in _reachable(function, set()):
        if getattr(each, "is_rule", False) and each not in _known_rules:
            rule(each)


def compile(function: Callable[..., Any], *others: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function`, and the rules that it calls, to machine code.

    The machine code is cached below `RLBOOK_CACHE_DIR` (by default in the user's cache directory,
    usually `~/.cache/rlbook`), under a hash of the sources. It is kept only in memory if there is
    no source file, as for a rule defined in a notebook cell, or if the directory can't be written.

    Args:
        function: the function to compile.
        others: functions whose sources are also part of the hash, because they share arguments of
            a class that one of their modules defines, such as the parameters of a world. Cached
            machine code refers to these classes, so a program in which they can't be imported must
            not find it.
    """
    _make_known(function)
    stamped = _stamped_source(function, others)
    if stamped is None:
        return numba.njit(error_model="numpy")(function)  # type: ignore[no-any-return]
    # Numba puts its cache next to the file that the code object names.
    twin = FunctionType(
        function.__code__.replace(co_filename=str(stamped)),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    twin.__qualname__ = function.__qualname__
    return numba.njit(error_model="numpy", cache=True)(twin)  # type: ignore[no-any-return]


def cache_directory() -> Path:
    """Return the directory in which machine code is cached between runs."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "rlbook"
    return Path(os.environ.get("RLBOOK_CACHE_DIR", default)) / "compiled"


def _stamped_source(
    function: Callable[..., Any], others: tuple[Callable[..., Any], ...]
) -> Path | None:
    """Return a copy of the function's file, in a directory named by the hash of all its sources."""
    digest = hashlib.sha256()
    try:
        parts = [part for each in (function, *others) for part in _ingredients(each)]
        for part in sorted(set(parts)):
            digest.update(part)
        source = Path(inspect.getfile(function))
        directory = cache_directory() / digest.hexdigest()[:32]
        directory.mkdir(parents=True, exist_ok=True)
        stamped = directory / source.name
        if not stamped.exists():
            _write_atomically(stamped, source.read_bytes())
        return stamped
    except (OSError, TypeError):
        return None


def _reachable(function: Callable[..., Any], seen: set[Any]) -> Iterator[Callable[..., Any]]:
    """Yield a function and every function that it calls, directly or indirectly."""
    function = getattr(function, "py_func", function)  # the Python function behind a compiled one
    if function in seen:
        return
    seen.add(function)
    yield function
    for value in _named(function):
        if isinstance(value, FunctionType) or hasattr(value, "py_func"):
            yield from _reachable(value, seen)


def _ingredients(function: Callable[..., Any]) -> Iterator[bytes]:
    """Yield the sources of a function and of all functions it calls, and their global constants."""
    for each in _reachable(function, set()):
        yield each.__module__.encode()  # cached machine code imports the module of its source
        yield Path(inspect.getfile(each)).read_bytes()
        for value in _named(each):
            if isinstance(value, np.ndarray):
                yield f"{value.dtype} {value.shape} {value.tolist()}".encode()
            elif isinstance(value, (bool, int, float, str, tuple)):
                yield repr(value).encode()


def _named(function: Callable[..., Any]) -> Iterator[Any]:
    """Yield the values of the global names in a function, including those like `module.name`."""
    yield from (cell.cell_contents for cell in function.__closure__ or ())
    names = sorted(_names_in(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if not isinstance(value, ModuleType):
            yield value
        elif value.__name__.split(".")[0] not in ("math", "numba", "numpy"):
            yield from (getattr(value, attribute, None) for attribute in names)


def _names_in(code: CodeType) -> set[str]:
    """Return the global names and attributes in a function and in its nested functions."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names_in, inner))


def _write_atomically(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
