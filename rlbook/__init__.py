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
    "DQN": "rlbook.dqn",
    "Evaluation": "rlbook.evaluation",
    "History": "rlbook.history",
    "MonteCarlo": "rlbook.monte_carlo",
    "QLearning": "rlbook.q_learning",
    "Rainbow": "rlbook.rainbow",
    "Sarsa": "rlbook.sarsa",
    "evaluate": "rlbook.evaluation",
    "film": "rlbook.filming",
    "plot": "rlbook.history",
}
# What the command line and `--algo` call each agent.
ALGORITHMS = {
    "monte_carlo": "MonteCarlo",
    "sarsa": "Sarsa",
    "q_learning": "QLearning",
    "dqn": "DQN",
    "rainbow": "Rainbow",
}
_MODULES = (
    "backends",
    "check",
    "comparison",
    "dqn",
    "dynamic_programming",
    "monte_carlo",
    "networks",
    "patterns",
    "q_learning",
    "replay",
    "returns",
    "rollout",
    "sarsa",
    "schedules",
    "temporal_difference",
)

if TYPE_CHECKING:
    from rlbook import backends as backends
    from rlbook import check as check
    from rlbook import comparison as comparison
    from rlbook import dqn as dqn
    from rlbook import dynamic_programming as dynamic_programming
    from rlbook import monte_carlo as monte_carlo
    from rlbook import networks as networks
    from rlbook import patterns as patterns
    from rlbook import q_learning as q_learning
    from rlbook import replay as replay
    from rlbook import returns as returns
    from rlbook import rollout as rollout
    from rlbook import sarsa as sarsa
    from rlbook import schedules as schedules
    from rlbook import temporal_difference as temporal_difference
    from rlbook.dqn import DQN as DQN
    from rlbook.evaluation import Evaluation as Evaluation
    from rlbook.evaluation import evaluate as evaluate
    from rlbook.filming import film as film
    from rlbook.history import History as History
    from rlbook.history import plot as plot
    from rlbook.monte_carlo import MonteCarlo as MonteCarlo
    from rlbook.q_learning import QLearning as QLearning
    from rlbook.rainbow import Rainbow as Rainbow
    from rlbook.sarsa import Sarsa as Sarsa


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"rlbook.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rlbook' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_HOMES, *_MODULES, "__version__"])
