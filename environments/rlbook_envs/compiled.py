"""Compiling rules with Numba, and keeping what was compiled until a rule changes.

Numba can keep machine code on disk, but looks only at the one file that holds the compiled
function. A training loop calls rules from other files, so it would go on with old rules after you
have edited them. `compile` therefore files the machine code under a hash of every source file that
the function draws on: edit a rule, and the next run sees the new one.
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
    """Mark a function that compiled code may call; from Python it stays the function it is.

    Compiled code takes it in line, so that a loop over rows may do several of them at once.

    >>> @rule
    ... def double(x):
    ...     return 2 * x
    >>> double(3)
    6
    """
    function.is_rule = True  # type: ignore[attr-defined]
    _known_rules.add(function)
    return register_jitable(forceinline=True)(function)  # type: ignore[no-any-return]


# Numba knows a rule as an object. One that was typed into a notebook and has travelled to a worker
# is another object there, with the same mark.
_known_rules: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()


def _make_known(function: Callable[..., Any]) -> None:
    for each in _reachable(function, set()):
        if getattr(each, "is_rule", False) and each not in _known_rules:
            rule(each)


def compile(function: Callable[..., Any], *others: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function`, and the rules that it calls, to machine code.

    Args:
        others: functions with which it shares arguments of a class of their own, as a world's rules
            do its parameters. Machine code is filed with the classes that it was made for, so it
            must not be found by those who cannot import them.

    The machine code is kept below `RLBOOK_CACHE_DIR` (by default in your cache directory, usually
    `~/.cache/rlbook`), under a hash of the sources. Where there is no file to hash, as for a rule
    typed into a notebook cell, or nowhere to write, it is kept in memory alone.
    """
    _make_known(function)
    stamped = _stamped_source(function, others)
    if stamped is None:
        return numba.njit(error_model="numpy")(function)  # type: ignore[no-any-return]
    # Numba looks for its cache beside the file that a function says it came from.
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
    """Where machine code is kept between runs."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "rlbook"
    return Path(os.environ.get("RLBOOK_CACHE_DIR", default)) / "compiled"


def _stamped_source(
    function: Callable[..., Any], others: tuple[Callable[..., Any], ...]
) -> Path | None:
    """A copy of the function's file, in a directory named by all the sources it draws on."""
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
    """A function and everything it calls."""
    function = getattr(function, "py_func", function)  # of a function that is compiled already
    if function in seen:
        return
    seen.add(function)
    yield function
    for value in _named(function):
        if isinstance(value, FunctionType) or hasattr(value, "py_func"):
            yield from _reachable(value, seen)


def _ingredients(function: Callable[..., Any]) -> Iterator[bytes]:
    """The sources of a function and of everything it calls, and the constants that they name."""
    for each in _reachable(function, set()):
        yield each.__module__.encode()  # machine code imports the module that it was made from
        yield Path(inspect.getfile(each)).read_bytes()
        for value in _named(each):
            if isinstance(value, np.ndarray):
                yield f"{value.dtype} {value.shape} {value.tolist()}".encode()
            elif isinstance(value, (bool, int, float, str, tuple)):
                yield repr(value).encode()


def _named(function: Callable[..., Any]) -> Iterator[Any]:
    """What the names in a function stand for, `module.name` among them."""
    yield from (cell.cell_contents for cell in function.__closure__ or ())
    names = sorted(_names_in(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if not isinstance(value, ModuleType):
            yield value
        elif value.__name__.split(".")[0] not in ("math", "numba", "numpy"):
            yield from (getattr(value, attribute, None) for attribute in names)


def _names_in(code: CodeType) -> set[str]:
    """The global names and attributes in a function, and in the functions written inside it."""
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
