"""Asynchronous tabular learning: learners share one table, and none waits for another.

One worker holds the table. Each learner fetches it, learns on a copy for some steps, and reports
its updates. The holder applies these updates, although other learners have changed the table in the
meantime.

Every update moves an entry q to (1 - α) q + α target. Therefore v updates of the same entry
together move it to (1 - α)^v q + b, where b depends on the targets. A learner computes b from the
first and the last value of the entry in its copy, and reports (v, b). When the holder applies them
to the shared entry, the result is the same as if the updates had been made there. Adding up the
differences of the learners would count updates twice: if two learners had moved an entry all the
way to the same target, their sum would overshoot it by the same distance.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook.backends import DEFAULT_TIMEOUT
from rlbook.history import Stopwatch
from rlbook.tabular.learner import Learned, Learner, Work
from rlbook.tabular.policies import Table


class Contribution(NamedTuple):
    """The effect of v updates on each entry: q becomes kept * q + added."""

    kept: Table  # (S, A), (1 - α)^v
    added: Table  # (S, A), b, which is 0 for entries without updates
    visits: NDArray[np.int64]  # (S, A), v


def contribution(before: Table, learned: Learned, learning_rate: float) -> Contribution:
    """Return the effect that the updates of one environment would have on any table.

    Args:
        before: (S, A) float64, the table at the start of the round.
        learned: the result of the round.
        learning_rate: α, which is the same for all updates.
    """
    kept = np.power(1.0 - learning_rate, learned.visits)
    added = np.where(learned.visits > 0, learned.q - kept * before, 0.0)
    return Contribution(kept, added, learned.visits)


class SharedTable:
    """The worker that holds the table."""

    def __init__(self, index: int, q: Table, visits: NDArray[np.int64]) -> None:
        self.q, self.visits = np.array(q), np.array(visits)

    def take_in(self, contributions: list[Contribution]) -> tuple[Table, NDArray[np.int64]]:
        """Apply a learner's updates, and return the table and the update count of each entry."""
        for each in contributions:
            self.q = each.kept * self.q + each.added
            self.visits = self.visits + each.visits
        return self.q, self.visits


class SharingLearner(Learner):
    """A worker that reports the effect of its updates in addition to its copy of the table."""

    def learn(self, work: Work) -> Any:
        """Return each environment's contribution, followed by the results of `Learner.learn`."""
        learned, states, seconds = super().learn(work)
        rate = self.places[0].settings.learning_rate
        contributions = [contribution(work.q, each, rate) for each in learned]
        return contributions, learned, states, seconds


def learn(agent: Any, steps: int, watch: Stopwatch, after_round: Callable[[int], None]) -> None:
    """Run `steps` steps in each environment, in workers that do not wait for one another.

    If the call is interrupted, unfinished rounds do not count.

    Raises:
        TimeoutError: no worker answered within the backends' `DEFAULT_TIMEOUT`.
    """
    holder, learners = agent.table_holder(SharedTable), agent.group(SharingLearner)
    _Conversation(agent, holder, learners, steps, watch, after_round).go_on()


class _Conversation:
    """The requests to the workers that are open, and the reactions to their answers."""

    def __init__(
        self,
        agent: Any,
        holder: Any,
        learners: Any,
        steps: int,
        watch: Stopwatch,
        after_round: Callable[[int], None],
    ) -> None:
        self.agent, self.holder, self.learners = agent, holder, learners
        self.watch, self.after_round = watch, after_round
        shares = np.array_split(np.arange(agent.num_envs), agent.workers)
        self.numbers = [share.tolist() for share in shares]
        self.left = [steps] * agent.workers
        # For each open request, the function that handles its answer.
        self.open: dict[Future[Any], Callable[[Any], None]] = {}

    def go_on(self) -> None:
        """Send a request to every learner, and continue until all have taken their steps."""
        for i in range(len(self.left)):
            self.ask_learner(i)
        while self.open:
            done, _ = wait(self.open, timeout=DEFAULT_TIMEOUT, return_when=FIRST_COMPLETED)
            self.watch.lap("waiting")
            if not done:
                raise TimeoutError(f"no worker answered in {DEFAULT_TIMEOUT:.0f} s")
            # Answers are handled in the order of the requests, in which the holder applied updates.
            for future in [asked for asked in self.open if asked in done]:
                self.open.pop(future)(future.result())

    def ask_learner(self, i: int) -> None:
        steps = min(self.left[i], self.agent.settings.sync_every)
        if steps:
            self.left[i] -= steps
            future = self.learners.submit(i, "learn", self.agent.work(steps))
            self.open[future] = lambda answer: self.tell_holder(i, steps, answer)

    def tell_holder(self, i: int, steps: int, answer: Any) -> None:
        contributions, learned, states, _ = answer
        future = self.holder.submit(0, "take_in", contributions)
        self.open[future] = lambda table: self.take_up(i, steps, learned, states, table)

    def take_up(
        self, i: int, steps: int, learned: list[Learned], states: list[Any], table: Any
    ) -> None:
        """Store the results of a round: the table, the episodes, and the environments' states."""
        agent, numbers = self.agent, self.numbers[i]
        q, visits = table
        if visits.sum() > agent._counts.sum():  # otherwise a newer table has been stored already
            agent.take_table(q, visits - agent._counts, None)
        agent.note_states(numbers, states)
        agent.record(learned, numbers, steps)
        self.ask_learner(i)  # first of all, so that the learner does not wait
        self.watch.lap("communicating")
        self.after_round(steps * len(numbers))
