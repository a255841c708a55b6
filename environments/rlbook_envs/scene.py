"""Anti-aliased drawings of discs, thick lines and rounded boxes, with NumPy alone.

Every shape is defined by the signed distance of a point from its edge. A pixel at least half a
pixel inside is painted fully, one at least half a pixel outside is not painted, and in between the
opacity is proportional to the distance, which smooths the edges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Point = tuple[float, float]
Array = NDArray[np.floating[Any]]


class Scene:
    """A picture to draw on.

    Positions are (x, y) in units that the caller chooses; y points down.

    Args:
        width: width of the picture in units.
        height: height of the picture in units.
        unit: pixels per unit.
        colour: background colour.
    """

    def __init__(self, width: float, height: float, unit: int, colour: Colour) -> None:
        self._unit = unit
        self._pixels = np.empty((round(height * unit), round(width * unit), 3), np.float32)
        self._pixels[:] = colour

    def disc(self, centre: Point, radius: float, colour: Colour, opacity: float = 1.0) -> None:
        """Draw a filled circle."""
        self.line(centre, centre, 2 * radius, colour, opacity)

    def line(
        self, start: Point, end: Point, thickness: float, colour: Colour, opacity: float = 1.0
    ) -> None:
        """Draw a thick line with round ends."""
        (x1, y1), (x2, y2) = start, end
        length = (x2 - x1) ** 2 + (y2 - y1) ** 2 or 1.0

        def distance(x: Array, y: Array) -> Array:
            along = np.clip(((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length, 0, 1)
            nearest = np.hypot(x - (x1 + along * (x2 - x1)), y - (y1 + along * (y2 - y1)))
            return np.asarray(nearest - thickness / 2)

        reach = thickness / 2
        low = (min(x1, x2) - reach, min(y1, y2) - reach)
        high = (max(x1, x2) + reach, max(y1, y2) + reach)
        self._paint(low, high, distance, colour, opacity)

    def box(
        self, low: Point, high: Point, colour: Colour, radius: float = 0.0, opacity: float = 1.0
    ) -> None:
        """Draw a filled box from its upper left to its lower right corner, with rounded corners."""
        centre = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2)
        half = ((high[0] - low[0]) / 2 - radius, (high[1] - low[1]) / 2 - radius)

        def distance(x: Array, y: Array) -> Array:
            right, down = np.abs(x - centre[0]) - half[0], np.abs(y - centre[1]) - half[1]
            outside = np.hypot(np.maximum(right, 0), np.maximum(down, 0))
            inside = np.minimum(np.maximum(right, down), 0)
            return np.asarray(outside + inside - radius)

        self._paint(low, high, distance, colour, opacity)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the finished picture, uint8 (height * unit, width * unit, 3)."""
        return (self._pixels + 0.5).astype(np.uint8)

    def _paint(
        self,
        low: Point,
        high: Point,
        distance: Callable[[Array, Array], Array],
        colour: Colour,
        opacity: float,
    ) -> None:
        height, width, _ = self._pixels.shape
        left, top = (max(int(part * self._unit) - 1, 0) for part in low)
        right = min(int(high[0] * self._unit) + 2, width)
        bottom = min(int(high[1] * self._unit) + 2, height)
        if left >= right or top >= bottom:
            return
        x = (np.arange(left, right, dtype=np.float32) + 0.5) / self._unit
        y = (np.arange(top, bottom, dtype=np.float32) + 0.5) / self._unit
        depth = 0.5 - distance(x[None, :], y[:, None]) * self._unit
        cover = opacity * np.clip(depth, 0, 1)[..., None]
        part = self._pixels[top:bottom, left:right]
        part += cover * (np.array(colour, np.float32) - part)
