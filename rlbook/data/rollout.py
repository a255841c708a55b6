"""Rollouts: what N environments did in T steps, as arrays with those two axes.

How an episode ends, as in Gymnasium's vector environments: the row after a step that terminated or
was truncated holds the last observation of the old episode. Its action is ignored, its reward is 0,
and the row that follows holds the first observation of a new episode. So each observation is there
exactly once, including the true last one of an episode, and the observation after row t is always
that of row t + 1. `valid` is False on those rows that only begin an episode, from which nothing can
be learned.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class Rollout(NamedTuple):
    """What N environments did in T steps.

    Attributes:
        obs: (N, T, …), the observation that each action was chosen for.
        actions: (N, T, …), encoded as `rlbook.envs.actions.Actions` describes.
        rewards: (N, T) float64.
        terminated: (N, T) bool.
        truncated: (N, T) bool.
        valid: (N, T) bool, False on rows that only begin an episode.
        last_obs: (N, …), the observation after the last row, for bootstrapping.
        extras: name to (N, T, …), what the algorithm noted when it chose each action.
        memory: name to (N, …), the recurrent state before the first row; None without one.
        envs: (N,) int64, which environments of the run these are.
        interrupted: (N,) bool, whether the first row does not follow the last one of the rollout
            before, because the environment could not be brought back and began a new episode.
        episodes: (E, 4) float64, one row for each episode that ended: the step at which it ended,
            from 0; its environment; its return; its length.
        states: for each environment, everything that is needed to go on from here, except for
            `last_obs`.
        seconds: spent `acting`, which is choosing actions, and in the `environment`.
    """

    obs: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    last_obs: NDArray[Any]
    extras: Arrays
    memory: Arrays | None
    envs: NDArray[np.int64]
    interrupted: NDArray[np.bool_]
    episodes: NDArray[np.float64]
    states: list[Any]
    seconds: dict[str, float]

    def next_obs(self) -> NDArray[Any]:
        """Return (N, T, …), the observation that followed each action."""
        return np.concatenate([self.obs[:, 1:], self.last_obs[:, None]], axis=1)


def gather(rollouts: list[Rollout]) -> Rollout:
    """Return one rollout made of those of several workers, in the order of their environments."""
    if len(rollouts) == 1:
        return rollouts[0]
    joined = {
        name: np.concatenate([getattr(each, name) for each in rollouts])
        for name in (*Rollout._fields[:7], "envs", "interrupted", "episodes")
    }
    episodes = joined["episodes"]
    joined["episodes"] = episodes[np.lexsort((episodes[:, 1], episodes[:, 0]))]
    memories = [each.memory for each in rollouts if each.memory is not None]
    return Rollout(
        **joined,
        extras=_joined([each.extras for each in rollouts]),
        memory=_joined(memories) if memories else None,
        states=[state for each in rollouts for state in each.states],
        seconds={
            name: sum(each.seconds[name] for each in rollouts) for name in rollouts[0].seconds
        },
    )


def _joined(parts: list[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
