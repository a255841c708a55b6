"""Sum tree: a data structure for fast sampling in proportion to weights.

The weights are the leaves, and every other node holds the sum of its children, so the root holds
the sum of all weights. To find the leaf at a given cumulative weight, or mass, we walk down from
the root, and in each node skip the children whose sum lies before the mass. To change a leaf, we
recompute the sum of its parent from the children, then that of the grandparent, and so on. Because
no sum is updated by a difference, rounding errors do not accumulate.

In Schaul et al., "Prioritized experience replay" (ICLR 2016, appendix B.2.1), every node has two
children. Here it has eight, which are adjacent in memory. A processor fetches eight numbers as fast
as one, so finding one of a million weights takes seven fetches instead of twenty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile

FAN_OUT = 8
CACHE_LINE = 64  # bytes that a processor fetches at once: eight float64
BELOW_ONE = 1 - 2.0**-53  # the largest float64 below 1

Weights = NDArray[np.float64]
Numbers = NDArray[np.int64]


class SumTree:
    """Sum tree of non-negative weights, which are 0 at first.

    Args:
        size: number of weights, at least 1.

    >>> tree = SumTree(4)
    >>> tree.update(np.array([0, 1, 3]), np.array([1.0, 2.0, 5.0]))
    >>> tree.total
    8.0
    >>> tree.find(np.array([0.5, 1.5, 3.0]))  # leaf 2 has weight 0 and is never found
    array([0, 1, 3])
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # Each row has the children of one node: first the root's, then those of its children, …
        self._starts = _level_starts(size)
        self._nodes = _aligned(self._starts[-1])

    @property
    def weights(self) -> Weights:
        """The weights, (size,) float64, as a view that must not be changed."""
        return self._nodes[self._starts[-2] :].reshape(-1)[: self._size]

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(np.cumsum(self._nodes[0])[-1])

    @property
    def nbytes(self) -> int:
        """Memory that the tree uses, in bytes."""
        return tree_bytes(self._size)

    def update(self, leaves: Numbers, weights: Weights) -> None:
        """Set the weights of some leaves; if a leaf is given twice, its later weight counts.

        Args:
            leaves: (B,) int64, from 0 to size - 1, not checked. Ascending order is fastest.
            weights: (B,) float64, at least 0.
        """
        _update(self._nodes, self._starts, leaves, weights)

    def find(self, masses: Weights) -> Numbers:
        """Return the leaf at each mass: the first at which the cumulative weight exceeds it.

        Args:
            masses: (B,) float64, from 0 to `total`, which is more than 0.

        Returns:
            (B,) int64. Leaves with weight 0 are never found, in spite of rounding errors.
        """
        return _find(self._nodes, self._starts, masses)  # type: ignore[no-any-return]

    def set_weights(self, weights: Weights) -> None:
        """Set all weights, (size,) float64, at least 0, in the order of the leaves."""
        self.update(np.arange(self._size), weights)


def tree_bytes(size: int) -> int:
    """Return the memory that a tree with `size` weights uses, in bytes."""
    return int(_level_starts(size)[-1] * FAN_OUT * 8) + CACHE_LINE


def _level_starts(size: int) -> Numbers:
    """Return the first row of each level, from the top, and the total number of rows."""
    rows = [-(-size // FAN_OUT)]
    while rows[0] > 1:
        rows.insert(0, -(-rows[0] // FAN_OUT))
    return np.cumsum([0, *rows])


def _aligned(rows: int) -> Weights:
    """Return zeros, (rows, FAN_OUT) float64, in which each row is one cache line."""
    room = np.zeros(rows * FAN_OUT + CACHE_LINE // 8)
    first = -room.ctypes.data % CACHE_LINE // 8
    return room[first : first + rows * FAN_OUT].reshape(rows, FAN_OUT)


@compile
def _update(nodes, starts, leaves, weights):  # type: ignore[no-untyped-def]
    changed, values, count = leaves.copy(), weights.copy(), len(leaves)
    for level in range(len(starts) - 2, -1, -1):
        for i in range(count):
            nodes[starts[level] + changed[i] // FAN_OUT, changed[i] % FAN_OUT] = values[i]
        # Next, their parents change. Neighbours with the same parent need only one update.
        parents = 0
        for i in range(count):
            parent = changed[i] // FAN_OUT
            if parents == 0 or changed[parents - 1] != parent:
                changed[parents] = parent
                parents += 1
        count = parents
        for i in range(count):
            values[i] = 0.0
            for child in range(FAN_OUT):
                values[i] += nodes[starts[level] + changed[i], child]


@compile
def _find(nodes, starts, masses):  # type: ignore[no-untyped-def]
    sums = np.zeros(FAN_OUT + 1)  # the sums of the first 0, 1, 2, … children
    total = 0.0
    for child in range(FAN_OUT):
        total += nodes[0, child]
    found, left = np.zeros(len(masses), np.int64), np.minimum(masses, total * BELOW_ONE)
    # All searches descend one level together, without branches, so that the processor can work on
    # some of them while it waits for the children of others.
    for level in range(len(starts) - 1):
        for i in range(len(masses)):
            row, mass = starts[level] + found[i], left[i]
            reached, passed = 0.0, 0
            for child in range(FAN_OUT):
                reached += nodes[row, child]
                sums[child + 1] = reached
                passed += reached <= mass
            found[i] = found[i] * FAN_OUT + passed
            # Rounding must not leave a mass beyond the child that was entered.
            left[i] = min(mass - sums[passed], nodes[row, passed] * BELOW_ONE)
    return found
