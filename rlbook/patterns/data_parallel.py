"""Data-parallel gradients: a batch is cut into parts, and each worker takes some of them.

    workers   act ───┐          ┌─ part 1, 2 ─┐
    workers   act ───┤          ├─ part 3, 4 ─┤
                     ▼          │             ▼
    learner          sample ────┘             average, apply

On Spark this is a map over the parts of a batch, and a sum in the driver. The parts are averaged in
their own order, which is the same wherever they were computed, and so are the bits of the result.
Parameters go out and gradients come back with every update, so this pattern pays off when computing
a gradient takes longer than that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rlbook.algorithm import Algorithm, Gradients, average, split
from rlbook.history import Stopwatch
from rlbook.nn.threads import one_thread
from rlbook.patterns import synchronous


class GradientWorker:
    """Computes the gradients of parts of batches.

    Every call brings the parameters along, so the worker has no state that anything depends on.

    Args:
        index: which worker this is.
        algorithm: the algorithm, of which each worker has a copy.
    """

    def __init__(self, index: int, algorithm: Algorithm) -> None:
        self.algorithm = algorithm

    @one_thread()
    def gradients(self, parameters: Any, parts: list[Any]) -> list[Gradients]:
        """Return the gradients of some parts of a batch, in their order."""
        self.algorithm.set_parameters(parameters)
        # What was sent is read-only, which torch does not know: it is given copies.
        mine = [type(part)(*map(np.array, part)) for part in parts]
        return [self.algorithm.gradients(part).as_arrays() for part in mine]

    def get_state(self) -> None:
        """Return nothing, because a new worker is as good as this one."""

    def set_state(self, state: None) -> None:
        """Do nothing."""


def learn(agent: Any, steps: int, watch: Stopwatch, after_round: Callable[[int], None]) -> None:
    """Let every environment take `steps` steps, and learn with all workers after each round."""
    group = agent.group(GradientWorker, lambda: (agent.algorithm,))

    def gradients(batch: Any) -> Gradients:
        parameters = agent.backend.put(agent.algorithm.get_parameters())
        parts = split(batch, agent.settings.gradient_parts)
        shares = np.array_split(np.arange(len(parts)), agent.workers)
        found = group.map(
            "gradients", [(parameters, [parts[i] for i in share]) for share in shares]
        )
        sizes = [len(part[0]) for part in parts]
        return average((each for some in found for each in some), sizes)

    synchronous.learn(agent, steps, watch, after_round, gradients)
