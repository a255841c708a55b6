"""One clear line for an argument that is out of range."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import fields
from numbers import Real
from typing import Any

import numpy as np


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise a ValueError unless `value` is a whole number from `least` to `most`.

    >>> check_whole("workers", 0, 1)
    Traceback (most recent call last):
    ValueError: workers=0 is not allowed: a whole number, at least 1
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}={value!r} is not allowed: a whole number, {limits}")


def check_number(name: str, value: Any, least: float, most: float) -> float:
    """The value as a float; a ValueError unless it is a finite number from `least` to `most`.

    >>> check_number("epsilon", -1, 0, 1)
    Traceback (most recent call last):
    ValueError: epsilon=-1 is not allowed: a number from 0 to 1
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or not least <= value <= most:
        limited = np.isfinite([least, most]).all()
        allowed = f"a number from {least} to {most}" if limited else "a finite number"
        raise ValueError(f"{name}={value!r} is not allowed: {allowed}")
    return float(value)


def check_flag(name: str, value: Any) -> None:
    """Raise a ValueError unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r} is not allowed: True or False")


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise a ValueError unless `value` is one of the allowed names.

    >>> check_choice("replay_order", "newest", ("random", "latest"))
    Traceback (most recent call last):
    ValueError: replay_order must be one of 'random', 'latest', got 'newest'
    """
    if value not in allowed:
        names = ", ".join(map(repr, allowed))
        raise ValueError(f"{name} must be one of {names}, got {value!r}")


def check_needed(name: str, value: Any) -> None:
    """Raise a ValueError if `value` is None."""
    if value is None:
        raise ValueError(f"{name}=None is not allowed here: a number or a schedule")


def check_names(what: str, given: dict[str, Any], known: Any) -> None:
    """Raise a TypeError for a keyword argument that is no field of the dataclass `known`.

    The message suggests the name that comes nearest.
    """
    names = [field.name for field in fields(known)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
            raise TypeError(f"{what} has no argument {name!r}: {hint}")
