"""One clear line for an argument that is out of range."""

from __future__ import annotations

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
