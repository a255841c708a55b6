"""Learners that share one table, each at its own speed: asynchronous tabular learning.

One worker holds the table. Each learner fetches it, learns on a copy for a while, and reports what
it did; the table takes that in, whatever others have done to it meanwhile.

How can it? Every update moves an entry q to (1 - α) q + α target. Whatever the targets, v updates
of the same entry together move it to (1 - α)^v q + b for some b. A learner knows where its copy of
the entry began and where it ended, so it knows b, and reports (v, b). Applied to the shared entry,
that is what its updates would have done there. Nothing is lost, and nothing counts twice, as
happens when learners add up their differences: an entry that two of them have moved all the way to
the same target would overshoot it by as much again.
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
    """What v updates did to each entry: q became kept * q + added."""

    kept: Table  # (S, A), (1 - α)^v
    added: Table  # (S, A), 0 where nothing was updated
    visits: NDArray[np.int64]  # (S, A), v


def contribution(before: Table, learned: Learned, learning_rate: float) -> Contribution:
    """What an environment's updates would do to any table.

    Args:
        before: (S, A) float64, the table from which it began.
        learned: where it got to.
        learning_rate: α, the same at each update.
    """
    kept = np.power(1.0 - learning_rate, learned.visits)
    added = np.where(learned.visits > 0, learned.q - kept * before, 0.0)
    return Contribution(kept, added, learned.visits)


class SharedTable:
    """The worker that holds the table."""

    def __init__(self, index: int, q: Table, visits: NDArray[np.int64]) -> None:
        self.q, self.visits = np.array(q), np.array(visits)

    def take_in(self, contributions: list[Contribution]) -> tuple[Table, NDArray[np.int64]]:
        """Apply a learner's updates. The table as it is now, and how often each entry changed."""
        for each in contributions:
            self.q = each.kept * self.q + each.added
            self.visits = self.visits + each.visits
        return self.q, self.visits


class SharingLearner(Learner):
    """A worker that reports what its updates do to a table, rather than a table."""

    def learn(self, work: Work) -> Any:
        """As `Learner.learn`, and in addition the contribution of each environment."""
        learned, states, seconds = super().learn(work)
        rate = self.places[0].settings.learning_rate
        contributions = [contribution(work.q, each, rate) for each in learned]
        return contributions, learned, states, seconds


def learn(agent: Any, steps: int, watch: Stopwatch, after_round: Callable[[int], None]) -> None:
    """Have an agent's workers take `steps` steps in each environment, none waiting for another.

    A round that was under way when it is interrupted does not count.

    Raises:
        TimeoutError: no worker answered within the backends' `DEFAULT_TIMEOUT`.
    """
    holder, learners = agent.table_holder(SharedTable), agent.group(SharingLearner)
    _Conversation(agent, holder, learners, steps, watch, after_round).go_on()


class _Conversation:
    """Who was asked what, and what comes of the answers."""

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
        # Each open question: what to do with the answer, and which learner it is about.
        self.open: dict[Future[Any], Callable[[Any], None]] = {}

    def go_on(self) -> None:
        """Ask every learner, and go on until all have taken their steps."""
        for i in range(len(self.left)):
            self.ask_learner(i)
        while self.open:
            done, _ = wait(self.open, timeout=DEFAULT_TIMEOUT, return_when=FIRST_COMPLETED)
            self.watch.lap("waiting")
            if not done:
                raise TimeoutError(f"no worker answered in {DEFAULT_TIMEOUT:.0f} s")
            # In the order of asking, which is the holder's: an answer contains all before it.
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
        """A round counts: its table, its episodes, and where its environments now stand."""
        agent, numbers = self.agent, self.numbers[i]
        q, visits = table
        if visits.sum() > agent._counts.sum():  # else a later answer came before this one
            agent.take_table(q, visits - agent._counts, None)
        agent.note_states(numbers, states)
        agent.record(learned, numbers, steps)
        self.ask_learner(i)  # before anything else, so that it need not wait
        self.watch.lap("communicating")
        self.after_round(steps * len(numbers))
