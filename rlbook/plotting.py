"""Plots of learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
from rlbook.history import History


def plot(history: History, ax: Axes | None = None, window: int | None = None) -> Axes:
    """Plot a learning curve: a moving average of the episodes' returns against environment steps.

    Args:
        history: the history that `learn` returned.
        ax: Matplotlib axes to draw on; by default, new ones are made.
        window: length of the moving average, in episodes; by default, a twentieth of the episodes.

    Returns:
        The axes.

    Raises:
        ValueError: no episode has ended yet, or `window` is below 1.
    """
    import matplotlib.pyplot as plt

    if not len(history):
        raise ValueError(
            "history must contain an episode that has ended, got none: train for more steps first"
        )
    if window is None:
        window = max(1, len(history) // 20)
    if window < 1:
        raise ValueError(f"window must be at least 1 episode, got {window}")
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
