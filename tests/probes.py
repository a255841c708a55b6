"""Environments so small that one knows what must be learned in them."""

from collections.abc import Callable
from typing import Any

import gymnasium


class Probe(gymnasium.Env):
    """Plays `rule(state, action) -> next state, reward, terminated`.

    Args:
        rule: what happens.
        states: how many there are.
        starts: an episode begins in one of the first so many, at random.
    """

    def __init__(self, rule: Callable[..., Any], states: int = 1, starts: int = 1) -> None:
        self.rule, self.starts, self.state = rule, starts, 0
        self.observation_space = gymnasium.spaces.Discrete(states)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(self.starts))
        return self.state, {}

    def step(self, action):
        self.state, reward, terminated = self.rule(self.state, action)
        return self.state, reward, terminated, False, {}


def cut_short(rule: Callable[..., Any], limit: int) -> Callable[[], gymnasium.Env]:
    """Makes a one-state probe whose episodes are truncated after `limit` steps."""
    return lambda: gymnasium.wrappers.TimeLimit(Probe(rule), limit)
