"""Averaged tables: each environment learns on a copy of the table, and the copies are averaged.

    workers   learn on copies ────┐ wait        learn on copies ────┐ wait
                                  ▼                                 ▼
    driver    wait                average       wait                average

The average is taken in the order of the environments, so the numbers are the same on every backend
and for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlbook.history import Stopwatch
from rlbook.tabular.averaging import merge
from rlbook.tabular.learner import Learner


def learn(agent: Any, steps: int, watch: Stopwatch, after_round: Callable[[int], None]) -> None:
    """Let every environment take `steps` steps, in rounds of `sync_every`.

    Args:
        agent: a `rlbook.tabular.agent.TableAgent`.
        steps: in each environment.
        watch: notes where the time goes.
        after_round: called with the number of steps of each round.
    """
    group = agent.group(Learner)
    while steps:
        length = min(steps, agent.settings.sync_every)
        work = agent.work(length)
        answers = group.call("learn", work)
        busy = [{"learning": seconds} for *_, seconds in answers]
        watch.lap_workers(busy, agent.backend.parallel)
        learned = [each for some, _, _ in answers for each in some]
        merged = merge(work, learned, agent.settings.initial_value)
        agent.take_table(merged.q, merged.visits, merged.states)
        states = [state for _, some, _ in answers for state in some]
        agent.note_states(range(agent.num_envs), states)
        agent.record(learned, list(range(agent.num_envs)), length)
        steps -= length
        watch.lap("learning")
        after_round(length * agent.num_envs)
