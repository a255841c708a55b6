"""Patterns: how work flows between the workers that act and the learner.

A pattern knows neither the algorithm nor the backend. Each is a module with one function

    learn(agent, steps, watch, after_round)

that lets every environment take `steps` steps. Agents with a network learn by

* `"synchronous"`: all workers act, the learner waits for all of them, and then it learns.
* `"data_parallel"`: the same, but workers also compute the gradients, each of a part of the batch.
* `"asynchronous_actors"`: workers go on acting while one learner learns from what has arrived.

Agents with a table learn by

* `"averaged_tables"`: each environment learns on a copy of the table, and the copies are averaged.
* `"shared_table"`: all learn on one table, which another worker holds.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from rlbook.arguments import check_choice

NAMES = (
    "synchronous", "data_parallel", "asynchronous_actors", "averaged_tables", "shared_table",
)  # fmt: skip


def get(pattern: Any, allowed: Sequence[str] = NAMES) -> Callable[..., None]:
    """Return the function `learn` of a pattern.

    Raises:
        ValueError: the pattern is not among the allowed ones.
    """
    check_choice("pattern", pattern, allowed)
    found: Callable[..., None] = importlib.import_module(f"rlbook.patterns.{pattern}").learn
    return found
