"""Synchronous: all workers act, the learner waits for all of them, and then it learns.

    workers   act ────┐ wait        act ────┐ wait
                      ▼                     ▼
    learner   wait    learn, learn    wait  learn, learn

Nobody ever acts with old weights, and nothing depends on which worker is faster. Therefore the
numbers are the same on every backend. The price is that somebody is always waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rlbook.algorithm import Gradients, average, split
from rlbook.backends.interrupts import uninterrupted
from rlbook.data.rollout import Rollout, gather
from rlbook.history import Stopwatch
from rlbook.nn.threads import one_thread


@one_thread()
def learn(
    agent: Any,
    steps: int,
    watch: Stopwatch,
    after_round: Callable[[int], None],
    gradients: Callable[[Any], Gradients] | None = None,
) -> None:
    """Let every environment take `steps` steps, and learn after each round.

    Args:
        agent: a `rlbook.deep_agent.DeepAgent`.
        steps: in each environment.
        watch: notes where the time goes.
        after_round: called with the number of steps of each round.
        gradients: computes the gradient of a batch; by default, the agent's algorithm does.
    """
    group = agent.rollout_workers()
    while steps:
        length = min(steps, agent.settings.rollout_steps)
        weights = agent.backend.put(agent.algorithm.get_weights())
        rollouts = group.call("rollout", weights, length, agent.exploration(length))
        watch.lap_workers([each.seconds for each in rollouts], agent.backend.parallel)
        learn_from(agent, gather(rollouts), gradients)
        watch.lap("learning")
        steps -= length
        after_round(length * agent.num_envs)


def learn_from(
    agent: Any, rollout: Rollout, gradients: Callable[[Any], Gradients] | None = None
) -> None:
    """Take in a rollout, take an optimiser step for each batch, and note the mean metrics."""
    algorithm, found = agent.algorithm, []
    gradients = gradients or gradients_in_parts(algorithm, agent.settings.gradient_parts)
    batches = take_in(agent, rollout)
    with uninterrupted():
        batch = next(batches, None)
    while batch is not None:
        gradient = gradients(batch)
        found.append(gradient.metrics)
        with uninterrupted():
            algorithm.apply(gradient)
            batch = next(batches, None)
    if found:
        means = {name: sum(each[name] for each in found) / len(found) for name in found[0]}
        agent.history.add_metrics(timesteps=agent.timesteps, **means)


def take_in(agent: Any, rollout: Rollout) -> Iterator[Any]:
    """Give a rollout to the algorithm and note what happened in it; return its batches.

    After Ctrl-C, the whole rollout has been taken in, or nothing of it.
    """
    with uninterrupted():
        rollout = agent.mark_interrupted(rollout)
        batches = agent.algorithm.batches(rollout)
        agent.record(rollout)
        return batches  # type: ignore[no-any-return]


def gradients_in_parts(algorithm: Any, parts: int) -> Callable[[Any], Gradients]:
    """Return what computes a batch's gradient as the average over its parts."""
    if parts == 1:
        return algorithm.gradients  # type: ignore[no-any-return]

    def gradients(batch: Any) -> Gradients:
        pieces = split(batch, parts)
        return average(map(algorithm.gradients, pieces), [len(piece[0]) for piece in pieces])

    return gradients
