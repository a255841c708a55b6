"""Learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
from rlbook.history import (
    History,
)


def plot(history: History, ax: Axes | None = None, window: int | None = None) -> Axes:
    """The learning curve: the mean return of the last episodes, against steps taken.

    Args:
        history: what `learn` returned.
        ax: matplotlib axes to draw on; new ones by default.
        window: how many episodes the mean is over; a twentieth of them by default.

    Raises:
        ValueError: no episode has ended yet, or `window` is below 1.
    """
    import matplotlib.pyplot as plt

    if not len(history):
        raise ValueError("history has no episode that ended: learn for more steps first")
    if window is None:
        window = max(1, len(history) // 20)
    if window < 1:
        raise ValueError(f"window={window} is not allowed: at least 1 episode")
    window = min(window, len(history))
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    sums = np.cumsum(np.append(0.0, history.episode_returns))
    means = (sums[window:] - sums[:-window]) / window
    ax.plot(history.timesteps[window - 1 :], means)
    ax.set_xlabel("environment steps")
    ax.set_ylabel(f"return (mean of {window} episodes)")
    ax.grid(alpha=0.3)
    return ax
