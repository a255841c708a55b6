"""rlbook: the library behind the book. Every algorithm is a module; start with `QLearning`.

>>> import rlbook
>>> agent = rlbook.QLearning("rlbook/FrozenLake-v0", seed=77, num_envs=4)
>>> history = agent.learn(100_000)
>>> evaluation = rlbook.evaluate(agent, episodes=100, seed=7)
"""

import importlib
from typing import TYPE_CHECKING, Any

import rlbook_envs  # noqa: F401  (registers the worlds, and is light)

__version__ = "0.1.0"

# What `rlbook` offers, and where it is: fetched at first use, so that the import stays light.
_HOMES = {
    "DQN": "rlbook.algorithms.dqn",
    "Evaluation": "rlbook.evaluation",
    "History": "rlbook.history",
    "MonteCarlo": "rlbook.algorithms.monte_carlo",
    "QLearning": "rlbook.algorithms.q_learning",
    "Rainbow": "rlbook.algorithms.rainbow",
    "Sarsa": "rlbook.algorithms.sarsa",
    "evaluate": "rlbook.evaluation",
    "film": "rlbook.filming",
    "plot": "rlbook.plotting",
}
# What the command line and `--algo` call each agent.
ALGORITHMS = {
    "monte_carlo": "MonteCarlo",
    "sarsa": "Sarsa",
    "q_learning": "QLearning",
    "dqn": "DQN",
    "rainbow": "Rainbow",
}
# Packages and modules that `rlbook.<name>` fetches at first use.
_MODULES = (
    "algorithms",
    "backends",
    "check",
    "comparison",
    "data",
    "envs",
    "nn",
    "ops",
    "patterns",
    "schedules",
    "tabular",
)

if TYPE_CHECKING:
    from rlbook import algorithms as algorithms
    from rlbook import backends as backends
    from rlbook import check as check
    from rlbook import comparison as comparison
    from rlbook import data as data
    from rlbook import envs as envs
    from rlbook import nn as nn
    from rlbook import ops as ops
    from rlbook import patterns as patterns
    from rlbook import schedules as schedules
    from rlbook import tabular as tabular
    from rlbook.algorithms.dqn import DQN as DQN
    from rlbook.algorithms.monte_carlo import MonteCarlo as MonteCarlo
    from rlbook.algorithms.q_learning import QLearning as QLearning
    from rlbook.algorithms.rainbow import Rainbow as Rainbow
    from rlbook.algorithms.sarsa import Sarsa as Sarsa
    from rlbook.evaluation import Evaluation as Evaluation
    from rlbook.evaluation import evaluate as evaluate
    from rlbook.filming import film as film
    from rlbook.history import History as History
    from rlbook.plotting import plot as plot


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"rlbook.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rlbook' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_HOMES, *_MODULES, "__version__"])
