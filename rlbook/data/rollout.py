"""Rollouts: steps of several environments side by side, by a policy that stays the same meanwhile.

The worker that every deep algorithm launches, on any backend. It holds some of the environments,
each with random streams of its own, and brings back arrays with an axis for the environments and
one for time.

How an episode ends, as in Gymnasium's vector environments: the row after a step that terminated or
was truncated holds the last observation of the old episode. Its action is ignored, its reward is 0,
and what follows is the first observation of a new episode. So each observation is there once, the
true last one included, and `reset_rows` says which rows nobody must learn from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rollout(NamedTuple):
    """What N environments did in T steps.

    Attributes:
        obs: (N, T, …), what each action was chosen for.
        actions: (N, T) int64.
        rewards: (N, T) float64.
        terminated: (N, T) bool.
        truncated: (N, T) bool.
        episodes: (E, 4) float64, of each episode that ended: at which step of these, from 0; in
            which environment; its return; its length.
        states: for each environment, all that is needed to go on from here, in plain numbers.
        seconds: spent `acting`, which is choosing actions, and in the `environment`.
    """

    obs: NDArray[Any]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    episodes: NDArray[np.float64]
    states: list[Any]
    seconds: dict[str, float]


def gather(rollouts: list[Rollout]) -> Rollout:
    """One rollout from those of several workers, whose environments follow one another."""
    if len(rollouts) == 1:
        return rollouts[0]
    episodes = np.concatenate([each.episodes for each in rollouts])
    order = np.lexsort((episodes[:, 1], episodes[:, 0]))
    busy = [each.seconds for each in rollouts]
    seconds = {name: sum(each[name] for each in busy) for name in busy[0]}
    states = [state for each in rollouts for state in each.states]
    columns = [np.concatenate(c) for c in zip(*(each[:5] for each in rollouts), strict=True)]
    return Rollout._make([*columns, episodes[order], states, seconds])


# --- environments -------------------------------------------------------------------------------
