"""Results that a chapter draws and that take too long for it to measure.

Each is a file in ``book/data``, with the command that made it and a *fingerprint* of the agents
that were measured: what they learn in their first few hundred steps. A test learns that much again
and compares. So code may be moved, renamed and explained better, but whoever changes what an agent
learns is told to measure again.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

BOOK = Path(__file__).resolve().parents[1]

# Processors may round differently, and a few hundred steps amplify that a little. An update that is
# wrong in any way moves the weights by about the learning rate, a thousandth, in each step.
TOLERANCE = 2e-5


def fingerprint(agent: Any, timesteps: int) -> list[float]:
    """Ten of an agent's weights after a few steps of learning, and the norm of all of them."""
    agent.learn(timesteps, progress=False)
    weights = np.asarray(agent.get_weights(), np.float64).ravel()
    sample = weights[np.linspace(0, len(weights) - 1, 10).astype(int)]
    return [round(float(value), 7) for value in (*sample, np.linalg.norm(weights))]


def agree(one: dict[str, list[float]], other: dict[str, list[float]]) -> bool:
    """Whether two sets of fingerprints are of agents that learn the same."""
    return one.keys() == other.keys() and all(
        np.allclose(one[name], other[name], rtol=TOLERANCE, atol=TOLERANCE) for name in one
    )


def origin(command: str) -> dict[str, Any]:
    """Where results come from: what made them, when, and on what machine."""
    return {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def save(results: dict[str, Any], path: Path) -> None:
    """Write them, all or nothing. Rows of numbers stay on one line each."""
    part = path.with_suffix(".part")
    part.write_text(_text(results) + "\n", encoding="utf-8")
    os.replace(part, path)


def load(path: Path) -> dict[str, Any]:
    """What was stored."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _text(value: Any, indent: str = "") -> str:
    if isinstance(value, dict) and value:
        inner = indent + " "
        items = (f"{inner}{json.dumps(key)}: {_text(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    return json.dumps(value)
