"""Asynchronous actors, one learner: nobody waits for the slowest worker.

    worker 1  act ──┐ act ────┐ act ──┐
    worker 2  act ──────┐ act ┼─┐ act ┼───
                    ▼   ▼     ▼ ▼     ▼
    learner         learn, learn, learn, …   and now and then new weights for all

A worker is given its next round before the learner has learned from its last one. So it acts with
weights that are a few updates old, which matters little to an algorithm that learns from a replay
buffer; and the numbers depend on which worker was faster. `Local(schedule=…)` makes that order a
function of a seed. In the history, `waiting` is the learner's; workers act meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from rlbook.backends import DEFAULT_TIMEOUT
from rlbook.history import Stopwatch
from rlbook.nn.threads import one_thread
from rlbook.patterns.synchronous import learn_from


@one_thread()
def learn(agent: Any, steps: int, watch: Stopwatch, after_round: Callable[[int], None]) -> None:
    """Let every environment take `steps` steps, each worker at its own pace."""
    group, algorithm = agent.rollout_workers(), agent.algorithm
    left = [steps] * len(group)
    weights, pushed_at = agent.backend.put(algorithm.get_weights()), algorithm.updates
    running: dict[Future[Any], int] = {}

    def send(worker: int) -> None:
        length = min(left[worker], agent.settings.rollout_steps)
        if length:
            left[worker] -= length
            exploration = agent.exploration(length)
            running[group.submit(worker, "rollout", weights, length, exploration)] = worker

    for worker in range(len(group)):
        send(worker)
    while running:
        done, _ = wait(running, DEFAULT_TIMEOUT, FIRST_COMPLETED)
        if not done:
            raise TimeoutError(f"no worker has answered 'rollout' within {DEFAULT_TIMEOUT} s")
        watch.lap("waiting")
        for future in sorted(done, key=running.__getitem__):
            worker, rollout = running.pop(future), future.result()
            send(worker)
            watch.lap("communicating")
            learn_from(agent, rollout)
            if algorithm.updates - pushed_at >= agent.settings.push_every:
                weights, pushed_at = agent.backend.put(algorithm.get_weights()), algorithm.updates
            watch.lap("learning")
            after_round(rollout.rewards.size)
