"""Rainbow, six tricks on top of deep Q-learning: chapter 07 of the book.

Hessel et al., "Rainbow: combining improvements in deep reinforcement learning", AAAI 2018. All that
the tricks do is in `rlbook.algorithms.dqn`, where each of them can be had alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlbook.algorithms import dqn


@dataclass(frozen=True)
class Hyperparameters(dqn.Hyperparameters):
    """Those of `DQN`, with every trick in use.

    Attributes:
        alpha: how much priorities count, in [0, 1] (0.5 in the paper).
    """

    double: bool = True
    prioritized: bool = True
    dueling: bool = True
    n_step: int = 3
    distributional: bool = True
    noisy: bool = True
    alpha: float = 0.5


class Rainbow(dqn.DQN):
    """`DQN` with all six tricks, each of which can be turned off again.

    Set `v_min` and `v_max` to returns that the world can give.

    >>> agent = Rainbow("CartPole-v1", v_min=0, v_max=100, noisy=False)
    >>> agent.settings.double, agent.settings.noisy
    (True, False)
    """

    Hyperparameters = Hyperparameters
