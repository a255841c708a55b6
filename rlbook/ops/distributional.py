"""Categorical distributions of returns, for distributional agents (chapter 07 of the book).

A distribution consists of K probabilities, one for each of K equally spaced returns, which are
called its atoms; C51 has 51. See Bellemare, Dabney and Munos, "A distributional perspective on
reinforcement learning", ICML 2017.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile

Floats = NDArray[np.float32]


def softmax(logits: Floats) -> Floats:
    """Return the softmax of logits along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def action_values(out: Floats, support: Floats) -> Floats:
    """Return the action values (B, A) that the outputs of a network stand for.

    Args:
        out: action values (B, A), which are returned unchanged, or the logits of distributions of
            returns (B, A, K), of which the means are returned.
        support: (K,), the atoms of the distributions; (0,) if `out` holds action values.
    """
    return softmax(out) @ support if len(support) else out


def project_distribution(
    support: Floats, returns: Floats, discounts: Floats, probabilities: Floats
) -> Floats:
    """Return the distribution of G + discount * Z, projected onto the atoms of Z.

    Each atom moves to G + discount * atom, clipped to the outermost atoms, and its probability is
    divided between the two nearest atoms in proportion to their closeness. This is algorithm 1 of
    the paper, except that an atom that lands exactly on another one keeps its probability, which
    the algorithm as printed loses.

    Args:
        support: (K,) float32, the atoms, equally spaced and rising.
        returns: (B,) float32, G.
        discounts: (B,) float32.
        probabilities: (B, K) float32, the probabilities of the atoms under Z.

    Returns:
        (B, K) float32; each row has the same sum as the row of `probabilities`.

    Raises:
        ValueError: the shapes do not fit, a return, a discount or an atom is not finite, or the
            atoms do not rise.

    >>> support, sure = np.float32([0, 1, 2]), np.float32([[0, 1, 0]])
    >>> project_distribution(support, np.float32([0.75]), np.float32([0.5]), sure)
    array([[0.  , 0.75, 0.25]], dtype=float32)
    """
    if probabilities.shape != (len(returns), len(support)) or discounts.shape != returns.shape:
        found = f"{support.shape}, {returns.shape}, {discounts.shape} and {probabilities.shape}"
        raise ValueError(f"shapes must be (K,), (B,), (B,) and (B, K), got {found}")
    if not (np.isfinite(returns).all() and np.isfinite(discounts).all()):
        raise ValueError("returns and discounts must be finite, got NaN or infinity")
    if len(support) < 2 or not np.isfinite(support).all() or not support[0] < support[-1]:
        raise ValueError(f"support must be at least two finite, rising atoms, got {support}")
    return _compiled()(support, returns, discounts, probabilities)  # type: ignore[no-any-return]


def warn_if_beyond(
    support: Floats, returns: Floats, discounts: Floats, probabilities: Floats
) -> None:
    """Warn if most mean returns of a batch lie outside the range of the atoms.

    Such targets are clipped to the outermost atom, after which they can't be told apart. The
    arguments are those of `project_distribution`.
    """
    means = returns + discounts * (probabilities @ support)
    margin = (support[1] - support[0]) / 2
    beyond = (means < support[0] - margin) | (means > support[-1] + margin)
    if beyond.mean() > 0.5:
        warnings.warn(
            f"most returns lie beyond v_min={support[0]} and v_max={support[-1]}: set them to the "
            "smallest and largest return of this environment",
            stacklevel=2,
        )


def _project(support, returns, discounts, probabilities):  # type: ignore[no-untyped-def]
    projected = np.zeros_like(probabilities)
    lowest, most = support[0], len(support) - 1
    spacing = (support[most] - lowest) / most
    for row in range(len(returns)):
        for atom in range(len(support)):
            moved = returns[row] + discounts[row] * support[atom]
            place = min(max((moved - lowest) / spacing, 0.0), most)
            below = min(int(place), most - 1)
            above = place - below  # the fraction that goes to the atom above
            projected[row, below] += (1 - above) * probabilities[row, atom]
            projected[row, below + 1] += above * probabilities[row, atom]
    return projected


@cache
def _compiled() -> Any:
    return compile(_project)


def cross_entropy_loss(targets: Any, logits: Any) -> Any:
    """Return the cross-entropy of predicted distributions, (B,), for torch's tensors.

    Bellemare, Dabney and Munos (2017), algorithm 1.

    Args:
        targets: (B, K), probabilities.
        logits: (B, K), of the prediction.
    """
    return -(targets * logits.log_softmax(dim=-1)).sum(dim=-1)


def cross_entropy_gradient(targets: Floats, logits: Floats) -> Floats:
    """Return the gradient of `cross_entropy_loss` with respect to the logits, (B, K)."""
    return softmax(logits) - targets


def divergence(targets: Floats, logits: Floats) -> Floats:
    """Return the Kullback-Leibler divergence of predictions from their targets, (B,).

    It is the cross-entropy minus the entropy of the target, which no prediction can avoid. Rainbow
    uses it as the priority of a transition (Hessel et al., 2018, "The integrated agent").

    Args:
        targets: (B, K), probabilities.
        logits: (B, K), of the prediction.
    """
    predicted, small = softmax(logits), np.float32(1e-30)
    logs = np.log(np.maximum(targets, small)) - np.log(np.maximum(predicted, small))
    return np.maximum((targets * logs).sum(axis=1), 0)  # type: ignore[no-any-return]
