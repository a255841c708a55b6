"""Synchronous gather: all workers act, the learner waits for all of them, and then learns.

    workers   act ────┐ wait        act ────┐ wait
                      ▼                     ▼
    learner   wait    learn, learn    wait  learn, learn

Nobody ever acts with old weights, and nothing depends on who is faster. That is why the numbers are
the same on every engine. What it costs is that somebody always waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rlbook.backends.interrupts import uninterrupted
from rlbook.data.rollout import Rollout, gather
from rlbook.history import Stopwatch


def learn(
    agent: Any,
    steps: int,
    watch: Stopwatch,
    after_round: Callable[[int], None],
    gradients: Callable[[Any], Any] | None = None,
) -> None:
    """Let every environment take `steps` steps, and learn after each round.

    Args:
        gradients: computes a batch's gradients; by default, the agent.
    """
    gradients = gradients or agent.gradients
    group, _ = agent.launch()
    numbers = list(range(agent.num_envs))
    try:
        while steps:
            length = min(steps, agent.settings.rollout_steps)
            weights = agent.backend.put(agent.get_weights())
            rollouts = group.call("rollout", weights, length, agent.exploration(length))
            watch.lap_workers([each.seconds for each in rollouts], agent.backend.parallel)
            rollout = gather(rollouts)
            learn_from(agent, take_in(agent, rollout, numbers), gradients)
            watch.lap("learning")
            steps -= length
            after_round(length * agent.num_envs)
    finally:
        group.close()


def take_in(agent: Any, rollout: Rollout, numbers: list[int]) -> Iterator[Any]:
    """Remember what these environments did; the batches to learn from then.

    Ctrl-C finds it remembered whole, or not at all.
    """
    with uninterrupted():
        batches = agent.postprocess(rollout, numbers)
        agent.record(rollout, numbers)
        return batches  # type: ignore[no-any-return]


def learn_from(agent: Any, batches: Iterator[Any], gradients: Callable[[Any], Any]) -> None:
    """Take a step of the optimiser for each batch, and note the mean size of the errors."""
    errors = []
    with uninterrupted():
        batch = next(batches, None)
    while batch is not None:
        found = gradients(batch)
        errors.append(found.errors)
        with uninterrupted():
            agent.apply(found, batch)
            batch = next(batches, None)
    if errors:
        size = float(np.abs(np.concatenate(errors)).mean())
        agent.history.add_metrics(timesteps=agent.timesteps, td_error=size)
