"""Gradients that several machines compute: a batch cut into parts, and their sum.

A sum of floating-point numbers depends on the order of its terms. So the parts are always the same,
whoever computes them, and they are always added up in their own order.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

B = TypeVar("B", bound=tuple[Any, ...])


class Gradients(NamedTuple):
    """What a batch, or a part of it, says.

    Attributes:
        vector: (P,) float32, which way the loss rises: an array, or a tensor on a GPU.
        errors: (B,) float32, how far off each step was.
    """

    vector: Any
    errors: NDArray[np.float32]

    def as_arrays(self) -> Gradients:
        """Fit to travel."""
        on_gpu = not isinstance(self.vector, np.ndarray)
        return self._replace(vector=self.vector.cpu().numpy()) if on_gpu else self


def split(batch: B, parts: int) -> list[B]:
    """A batch, a named tuple of arrays that have one row for each step, in parts of equal size.

    Sizes that do not come out even differ by one.
    """
    edges = np.linspace(0, len(batch[0]), parts + 1).astype(int)
    return [type(batch)(*(column[a:b] for column in batch)) for a, b in pairwise(edges)]


def add_up(parts: Iterable[Gradients]) -> Gradients:
    """The gradients of a batch, from those of its parts in their order."""
    vectors, errors = zip(*parts, strict=True)
    total = vectors[0]
    for vector in vectors[1:]:
        total = total + vector
    return Gradients(total, np.concatenate(errors))
