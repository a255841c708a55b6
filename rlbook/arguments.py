"""Checks of arguments that say in one clear line what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import fields
from numbers import Real
from typing import Any

import numpy as np


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise a ValueError unless `value` is a whole number from `least` to `most`.

    Without `most`, there is no upper limit.

    >>> check_whole("workers", 0, 1)
    Traceback (most recent call last):
    ValueError: workers must be a whole number of at least 1, got 0
    >>> check_whole("workers", 9, 1, 8)
    Traceback (most recent call last):
    ValueError: workers must be a whole number from 1 to 8, got 9
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {limits}, got {value!r}")


def check_number(name: str, value: Any, least: float, most: float) -> float:
    """Return `value` as a float.

    Raises:
        ValueError: `value` is not a finite number from `least` to `most`.

    >>> check_number("epsilon", -1, 0, 1)
    Traceback (most recent call last):
    ValueError: epsilon must be a number from 0 to 1, got -1
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or not least <= value <= most:
        limited = np.isfinite([least, most]).all()
        allowed = f"a number from {least} to {most}" if limited else "a finite number"
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return float(value)


def check_flag(name: str, value: Any) -> None:
    """Raise a ValueError unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


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
        raise ValueError(f"{name} must be a number or a schedule, got None")


def check_names(what: str, given: dict[str, Any], known: Any) -> None:
    """Raise a TypeError for a keyword argument that is not a field of the dataclass `known`.

    The message suggests the field with the most similar name, or lists all fields if none is
    similar.

    Args:
        what: whose arguments they are, such as "DQN"; the message begins with it.
        given: keyword arguments by name.
        known: a dataclass, the fields of which are the valid arguments.
    """
    names = [field.name for field in fields(known)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}"
            raise TypeError(f"{what} has no argument {name!r}: {hint}")
