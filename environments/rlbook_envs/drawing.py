"""Anti-aliased drawings of ellipses and polygons on a grid of tiles, with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

# Shapes are drawn this many times larger and then averaged, which smooths their edges.
OVERSAMPLING = 3


class Canvas:
    """A grid of square tiles to draw on.

    Positions are (x, y) within a tile, from 0 to 1; y points down.

    Args:
        rows: number of rows of tiles.
        columns: number of columns of tiles.
        tile_size: side length of a tile in pixels.
    """

    def __init__(self, rows: int, columns: int, tile_size: int) -> None:
        self._side = tile_size * OVERSAMPLING
        self._pixels = np.zeros((rows * self._side, columns * self._side, 3), np.float32)
        middles = (np.arange(self._side, dtype=np.float32) + 0.5) / self._side
        self._x, self._y = middles[None, :], middles[:, None]

    def fill(self, row: int, column: int, colour: Colour) -> None:
        """Paint a whole tile."""
        self._tile(row, column)[:] = colour

    def ellipse(
        self,
        row: int,
        column: int,
        centre: tuple[float, float],
        radii: tuple[float, float],
        colour: Colour,
        opacity: float = 1.0,
    ) -> None:
        """Paint an ellipse, clipped to its tile."""
        x, y = (self._x - centre[0]) / radii[0], (self._y - centre[1]) / radii[1]
        self._blend(row, column, x**2 + y**2 <= 1, colour, opacity)

    def polygon(
        self,
        row: int,
        column: int,
        corners: Sequence[tuple[float, float]],
        colour: Colour,
        opacity: float = 1.0,
    ) -> None:
        """Paint a polygon, clipped to its tile.

        A pixel is inside if a horizontal ray from it crosses an odd number of edges.
        """
        inside = np.zeros((self._side, self._side), np.bool_)
        for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
            if y1 != y2:
                crosses = (y1 > self._y) != (y2 > self._y)
                inside ^= crosses & (self._x > x1 + (self._y - y1) * (x2 - x1) / (y2 - y1))
        self._blend(row, column, inside, colour, opacity)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the finished picture, uint8 (rows * tile_size, columns * tile_size, 3)."""
        height, width, _ = self._pixels.shape
        shape = (height // OVERSAMPLING, OVERSAMPLING, width // OVERSAMPLING, OVERSAMPLING, 3)
        return (self._pixels.reshape(shape).mean(axis=(1, 3)) + 0.5).astype(np.uint8)

    def _tile(self, row: int, column: int) -> NDArray[np.float32]:
        side = self._side
        return self._pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]

    def _blend(
        self, row: int, column: int, mask: NDArray[np.bool_], colour: Colour, opacity: float
    ) -> None:
        tile = self._tile(row, column)
        tile[mask] = (1 - opacity) * tile[mask] + opacity * np.array(colour, np.float32)
