"""What Ray and Spark have in common: values that were `put` travel apart from the call they are in.

The engine ships such a value its own way. In the call stands a `Slot`, until the worker has both.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
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
                raise ValueError(f"a Ref of {arg.backend!r} in a call on {backend!r}")
            lifted.append(Slot(len(refs)))
            refs.append(arg)
        else:
            lifted.append(arg)
    return tuple(lifted), refs


def fill(args: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """The arguments with each slot's value in its place."""
    return [values[arg.position] if isinstance(arg, Slot) else arg for arg in args]


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
