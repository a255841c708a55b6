"""Evaluation of an agent over whole episodes, with random numbers it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlbook.arguments import check_whole
from rlbook.envs.making import EnvSource, env_maker


class Agent(Protocol):
    """The interface that `evaluate` needs."""

    make_env: Any

    def predict(self, obs: Any, deterministic: bool = True) -> Any:
        """Return an action for an observation."""


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of the episodes of an evaluation.

    Attributes:
        returns: (episodes,) float64, undiscounted.
        lengths: (episodes,) int64, in steps.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Return the mean of the returns."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Return the standard deviation of the returns."""
        return float(self.returns.std())

    def __repr__(self) -> str:
        return f"Evaluation(mean={self.mean:.3f}, std={self.std:.3f}, episodes={len(self.returns)})"


def evaluate(
    agent: Agent,
    episodes: int = 100,
    seed: int = 0,
    *,
    env: EnvSource | None = None,
    deterministic: bool = True,
) -> Evaluation:
    """Return the returns and lengths of episodes that an agent plays without learning.

    Args:
        agent: any object with a `predict` method.
        episodes: number of episodes.
        seed: seed of the environment, passed to its first reset.
        env: an environment to use in place of the agent's own.
        deterministic: whether to act greedily; otherwise the agent explores as in training.

    Raises:
        ValueError: `episodes` is below 1.
    """
    check_whole("episodes", episodes, 1)
    world = (agent.make_env if env is None else env_maker(env))()
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    try:
        for episode in range(episodes):
            obs, _ = world.reset(seed=seed if episode == 0 else None)
            ended = False
            while not ended:
                action = agent.predict(obs, deterministic=deterministic)
                obs, reward, terminated, truncated, _ = world.step(action)
                returns[episode] += float(reward)
                lengths[episode] += 1
                ended = terminated or truncated
    finally:
        world.close()
    return Evaluation(returns, lengths)
