"""How work flows between those who act and those who learn.

A pattern knows neither what the algorithm is nor where it runs. It is a function

    learn(agent, steps, watch, after_round)

that lets every environment take `steps` steps. Of the agent it uses what every `DeepAgent` has:
`launch`, `exploration`, `get_weights`, `postprocess`, `record`, `gradients` and `apply`, and its
`backend`, `settings`, `loss` and `history`.

* `synchronous`: all workers act, all wait, then one learns.
* `data_parallel`: the same, but a batch's gradients are computed in parts, by workers.
* `asynchronous`: every worker goes on acting while one learns from what has arrived.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable


def get(asynchronous: bool, data_parallel: bool) -> Callable[..., None]:
    """The `learn` of a pattern.

    Raises:
        ValueError: there is none that is both.
    """
    if asynchronous and data_parallel:
        raise ValueError("asynchronous=True is not allowed with data_parallel=True")
    name = "asynchronous" if asynchronous else "data_parallel" if data_parallel else "synchronous"
    found: Callable[..., None] = importlib.import_module(f"rlbook.patterns.{name}").learn
    return found
