"""Slots for values that travel apart from the call they belong to.

Ray and Spark ship what was `put` in their own way. In the call a `Slot` stands for such a value
until the worker has both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rlbook.backends import Backend, Ref


class Slot(NamedTuple):
    """Stands for the value of a Ref."""

    position: int


def lift(backend: Backend, args: Sequence[Any]) -> tuple[tuple[Any, ...], list[Any]]:
    """The arguments with a slot for each Ref, and the Refs.

    Raises:
        ValueError: a Ref is another backend's.
    """
    refs: list[Any] = []
    lifted: list[Any] = []
    for arg in args:
        if isinstance(arg, Ref):
            if arg.backend is not backend:
                raise ValueError(f"a Ref must be of {backend!r}, got one of {arg.backend!r}")
            lifted.append(Slot(len(refs)))
            refs.append(arg)
        else:
            lifted.append(arg)
    return tuple(lifted), refs


def fill(args: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """The arguments with each slot's value in its place."""
    return [values[arg.position] if isinstance(arg, Slot) else arg for arg in args]
