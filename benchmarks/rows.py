"""The rows by name. `python -m benchmarks.rows NAME FILE [--quick]` measures one of them.

`python -m benchmarks` runs every name in a process of its own: none inherits another's threads,
memory or Java, and one that hangs or dies takes no other with it.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import Row


class Subject(NamedTuple):
    """A function that measures, found by name so that nothing is imported that is not asked for."""

    module: str
    function: str
    about: str


ROWS = {
    "q_learning": Subject("q_learning", "compiled", "compiled Q-learning against a Python loop"),
    "q_learning_python": Subject(
        "q_learning", "python", "Q-learning in an ordinary environment against a Python loop"
    ),
    "tabular": Subject(
        "tabular", "methods", "every tabular method compiled against the same run by Python"
    ),
    "call_multiprocessing": Subject(
        "backends", "call_multiprocessing", "a no-op call against an echo through a bare pipe"
    ),
    "call_ray": Subject("backends", "call_ray", "a no-op call against a bare Ray actor's"),
    "call_spark": Subject("backends", "call_spark", "a no-op call against an empty Spark job"),
    "import": Subject("start_up", "imports", "import rlbook against import numpy"),
    "start": Subject("start_up", "engines", "start, one call and end, against the bare engines"),
    "worlds": Subject("worlds", "vectors", "1024 environments against EnvPool and Gymnasium"),
    "snake": Subject("worlds", "snake", "1024 Snakes against the same rules run by Python"),
    "workers": Subject("workers", "workers", "two workers against one, on each backend"),
    "dear_workers": Subject(
        "workers", "dear", "two workers against one where a step costs a millisecond"
    ),
    "arrays_multiprocessing": Subject(
        "transport", "multiprocessing_", "100 MB to two workers and back, against pickling pipes"
    ),
    "arrays_ray": Subject("transport", "ray", "the same against bare ray.put and ray.get"),
    "arrays_spark": Subject("transport", "spark", "the same against a bare broadcast and collect"),
    "replay_prioritized": Subject(
        "replay", "prioritized", "sampling and updating against cpprb and Tianshou"
    ),
    "replay_uniform": Subject("replay", "uniform", "sampling against stable-baselines3"),
    "replay_memory": Subject("replay", "memory", "what a million stacks of frames occupy"),
    "replay_adding": Subject("replay", "adding", "adding transitions against cpprb"),
    "dqn": Subject("dqn", "cart_pole", "DQN on CartPole-v1 against stable-baselines3's"),
    "dqn_same": Subject("dqn", "same_hyperparameters", "the same, with the same hyperparameters"),
    "dqn_snake": Subject("games", "snake", "DQN on Snake from the board, ten minutes"),
    "dqn_flappy": Subject("games", "flappy_bird", "DQN on Flappy Bird, five minutes"),
    "dqn_gpu": Subject("gpu", "snake", "an update on a GPU, where there is one, against the CPU"),
    "memory": Subject("backends", "memory", "an idle worker against an idle process of its engine"),
}


def measure(name: str, quick: bool) -> list[Row]:
    """Measure the rows of this name."""
    subject = ROWS[name]
    module = importlib.import_module(f"benchmarks.{subject.module}")
    rows: list[Row] = getattr(module, subject.function)(quick)
    return rows


def as_plain(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    plain = asdict(row)
    plain["figures"] = {unit: spread._asdict() for unit, spread in row.figures.items()}
    plain["target"] = str(row.target) if row.target else None
    return plain | {"shown": {unit: str(spread) for unit, spread in row.figures.items()}}


if __name__ == "__main__":
    rows = measure(sys.argv[1], "--quick" in sys.argv[3:])
    Path(sys.argv[2]).write_text(json.dumps([as_plain(row) for row in rows]))
