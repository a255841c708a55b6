"""Data-parallel gradients: a batch is cut into parts, and each worker takes some of them.

    workers   act ───┐          ┌─ part 1, 2 ─┐
    workers   act ───┤          ├─ part 3, 4 ─┤
                     ▼          │             ▼
    learner          draw ──────┘             add up, apply

On Spark this is a map over the parts of a sample, and a sum in the driver. The parts are added up
in their order, which is the same wherever they were computed: so are the bits of the sum. Weights
go out and gradients come back with every update, so it pays where to compute them takes longer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rlbook.gradients import Gradients, add_up, split
from rlbook.history import Stopwatch
from rlbook.nn.threads import one_thread
from rlbook.patterns import synchronous


class GradientWorker:
    """Computes the gradients of parts of batches.

    Args:
        index: which worker this is.
        loss: what has `set_parameters` and `gradients`.
    """

    def __init__(self, index: int, loss: Any) -> None:
        self.loss = loss

    def gradients(self, parameters: Any, parts: list[Any], size: int) -> list[Gradients]:
        """The gradients of some parts of a batch of `size` steps, in order."""
        with one_thread():
            self.loss.set_parameters(parameters)
            # What was sent is read-only, which torch does not know: it is given copies.
            mine = [type(part)(*map(np.array, part)) for part in parts]
            return [self.loss.gradients(part, size).as_arrays() for part in mine]


def learn(agent: Any, steps: int, watch: Stopwatch, after_round: Callable[[int], None]) -> None:
    """Let every environment take `steps` steps, and learn with all workers after each round."""
    group = agent.backend.launch(GradientWorker, agent.workers, agent.loss)

    def gradients(batch: Any) -> Gradients:
        parameters, size = agent.backend.put(agent.loss.parameters()), len(batch[0])
        parts = split(batch, agent.settings.gradient_parts)
        shares = np.array_split(np.arange(len(parts)), agent.workers)
        work = [(parameters, [parts[i] for i in share], size) for share in shares]
        found = group.map("gradients", work)
        return add_up(each for some in found for each in some)

    try:
        synchronous.learn(agent, steps, watch, after_round, gradients)
    finally:
        group.close()
