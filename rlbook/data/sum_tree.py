"""A sum tree: a million weights, and one of them found in proportion to its weight at once.

The weights are the leaves. Every node above holds the sum of its children, and the root the sum of
all. To find the leaf at some mass, counted from the left, walk down from the root: pass by the
children that lie wholly before it, and enter the next. To change a leaf, add up its parent's
children anew, then the grandparent's. No sum is ever changed by a difference, so rounding errors do
not pile up.

Schaul et al., "Prioritized experience replay" (ICLR 2016, appendix B.2.1), have two children to a
node. Here there are eight. They lie side by side, and a processor fetches eight numbers from memory
as fast as one: of a million weights each is then seven fetches away instead of twenty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile

FAN_OUT = 8
CACHE_LINE = 64  # bytes that a processor fetches at once: eight float64
BELOW_ONE = 1 - 2.0**-53  # the largest float64 that is

Weights = NDArray[np.float64]
Numbers = NDArray[np.int64]


class SumTree:
    """Non-negative weights, all 0 at first, with their sums.

    Args:
        size: how many weights, from 1.

    >>> tree = SumTree(4)
    >>> tree.update(np.array([0, 1, 3]), np.array([1.0, 2.0, 5.0]))
    >>> tree.total
    8.0
    >>> tree.find(np.array([0.5, 1.5, 3.0]))  # leaf 2 weighs nothing and is not found
    array([0, 1, 3])
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # Row by row the children of one node: the root's, then those of its children, and so on.
        self._starts = _level_starts(size)
        self._nodes = _aligned(self._starts[-1])

    @property
    def weights(self) -> Weights:
        """(size,) float64, the leaves; to look at, not to change."""
        return self._nodes[self._starts[-2] :].reshape(-1)[: self._size]

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(np.cumsum(self._nodes[0])[-1])

    @property
    def nbytes(self) -> int:
        """What the tree occupies, in bytes."""
        return tree_bytes(self._size)

    def update(self, leaves: Numbers, weights: Weights) -> None:
        """Set the weights of some leaves; where one is named twice, the later weight counts.

        Args:
            leaves: (B,) int64, from 0 to size - 1; unchecked. Fastest in ascending order.
            weights: (B,) float64, at least 0.
        """
        _update(self._nodes, self._starts, leaves, weights)

    def find(self, masses: Weights) -> Numbers:
        """The leaf at each mass: the first whose weight, with all before it, exceeds the mass.

        Args:
            masses: (B,) float64, from 0 to `total`, which is more than 0.

        Returns:
            (B,) int64; never a leaf whose weight is 0, whatever is lost to rounding.
        """
        return _find(self._nodes, self._starts, masses)  # type: ignore[no-any-return]

    def set_weights(self, weights: Weights) -> None:
        """Set all of the weights, in the order of the leaves: (size,) float64, at least 0."""
        self.update(np.arange(self._size), weights)


def tree_bytes(size: int) -> int:
    """What a tree of so many weights occupies, in bytes."""
    return int(_level_starts(size)[-1] * FAN_OUT * 8) + CACHE_LINE


def _level_starts(size: int) -> Numbers:
    """The first row of each level, from the root's children down, and the number of all rows."""
    rows = [-(-size // FAN_OUT)]
    while rows[0] > 1:
        rows.insert(0, -(-rows[0] // FAN_OUT))
    return np.cumsum([0, *rows])


def _aligned(rows: int) -> Weights:
    """Zeros, (rows, FAN_OUT) float64, each row in one line of the processor's cache."""
    room = np.zeros(rows * FAN_OUT + CACHE_LINE // 8)
    first = -room.ctypes.data % CACHE_LINE // 8
    return room[first : first + rows * FAN_OUT].reshape(rows, FAN_OUT)


@compile
def _update(nodes, starts, leaves, weights):  # type: ignore[no-untyped-def]
    changed, values, count = leaves.copy(), weights.copy(), len(leaves)
    for level in range(len(starts) - 2, -1, -1):
        for i in range(count):
            nodes[starts[level] + changed[i] // FAN_OUT, changed[i] % FAN_OUT] = values[i]
        # What changed is now their parents. Of neighbours with the same parent one is enough.
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
    sums = np.zeros(FAN_OUT + 1)  # of no child, the first, the first two, …
    total = 0.0
    for child in range(FAN_OUT):
        total += nodes[0, child]
    found, left = np.zeros(len(masses), np.int64), np.minimum(masses, total * BELOW_ONE)
    # All go down one level together, and nothing branches: while the processor waits for the
    # children of one, it works on others.
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
