"""Asynchronous actors, one learner: nobody waits for the slowest.

    worker 1  act ──┐ act ────┐ act ──┐
    worker 2  act ──────┐ act ┼─┐ act ┼───
                    ▼   ▼     ▼ ▼     ▼
    learner         learn, learn, learn, …   and now and then: new weights for all

A worker is given its next round before its last one is learned from. So it acts with weights that
are a few updates old, which a method that learns from a memory hardly notices; and what is learned
depends on who was first. `Local(schedule=…)` makes that order a function of a seed. In the history,
waiting is the learner's; workers act meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from rlbook.backends import DEFAULT_TIMEOUT
from rlbook.history import Stopwatch
from rlbook.patterns.synchronous import learn_from, take_in


def learn(agent: Any, steps: int, watch: Stopwatch, after_round: Callable[[int], None]) -> None:
    """Let every environment take `steps` steps, each worker at its own pace."""
    group, shares = agent.launch()
    left = [steps] * len(shares)
    weights, pushed_at = agent.backend.put(agent.get_weights()), agent.loss.updates
    running: dict[Future[Any], int] = {}

    def send(worker: int) -> None:
        length = min(left[worker], agent.settings.rollout_steps)
        if length:
            left[worker] -= length
            explore = agent.exploration(length)
            running[group.submit(worker, "rollout", weights, length, explore)] = worker

    try:
        for worker in range(len(shares)):
            send(worker)
        while running:
            done, _ = wait(running, DEFAULT_TIMEOUT, FIRST_COMPLETED)
            if not done:
                raise TimeoutError(f"no worker has answered 'rollout' within {DEFAULT_TIMEOUT} s")
            watch.lap("waiting")
            for future in sorted(done, key=running.__getitem__):
                worker = running.pop(future)
                rollout = future.result()
                batches = take_in(agent, rollout, shares[worker])
                send(worker)
                watch.lap("communicating")
                learn_from(agent, batches, agent.gradients)
                if agent.loss.updates - pushed_at >= agent.settings.push_every:
                    weights, pushed_at = agent.backend.put(agent.get_weights()), agent.loss.updates
                watch.lap("learning")
                after_round(rollout.rewards.size)
    finally:
        group.close()
