"""The base class of agents with a table: it distributes the learning and combines the results.

`QLearning`, `Sarsa` and `MonteCarlo` are subclasses, each of which chooses the `Method` that its
workers run. This module has what they share, and `rlbook.agent` has what all agents share.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlbook import backends, schedules
from rlbook.agent import Agent, Arrays
from rlbook.arguments import check_choice, check_number, check_whole
from rlbook.envs.making import EnvSource
from rlbook.envs.numbering import numbered_spaces
from rlbook.schedules import Schedule
from rlbook.tabular.learner import Learned, Work
from rlbook.tabular.loop import Method
from rlbook.tabular.policies import Table, epsilon_greedy
from rlbook.tabular.value_table import MOST_DENSE
from rlbook_envs.streams import POLICY, stream_key

TABLES = ("auto", "dense", "hash")


@dataclass(frozen=True)
class TableHyperparameters:
    """Hyperparameters shared by all agents with a table.

    Attributes:
        learning_rate: step size α, in (0, 1], or a schedule of `rlbook.schedules`. With a larger
            step size, the agent forgets faster (Sutton and Barto, 2018, equation 2.5).
        gamma: discount γ per step, in [0, 1]. Use 1 only if every episode ends.
        epsilon: probability of a random action, in [0, 1], or a schedule (Sutton and Barto, section
            2.2; most of their examples use 0.1).
        initial_value: initial value of every entry of the table, in units of return. A value above
            the optimal ones makes the agent explore (Sutton and Barto, section 2.6).
        sync_every: number of steps that each environment takes on its own copy of the table before
            the copies are merged. It has no effect on the result with one environment.
        table: `"dense"` for a row for every state; `"hash"` for a row for every visited state;
            `"auto"` for a dense table up to a million states.
    """

    learning_rate: float | Schedule | None = 0.05
    gamma: float = 0.99
    epsilon: float | Schedule = 0.2
    initial_value: float = 0.0
    sync_every: int = 10_000
    table: str = "auto"

    def __post_init__(self) -> None:
        if self.learning_rate is not None:
            self._check_learning_rate()
        self._set("epsilon", schedules.check("epsilon", self.epsilon, 0, 1))
        for name, least, most in (("gamma", 0, 1), ("initial_value", -np.inf, np.inf)):
            self._set(name, check_number(name, getattr(self, name), least, most))
        check_whole("sync_every", self.sync_every, 1)
        self._set("sync_every", int(self.sync_every))
        check_choice("table", self.table, TABLES)

    def _check_learning_rate(self) -> None:
        if self.learning_rate == 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate!r}")
        rate = schedules.check("learning_rate", self.learning_rate, 0, 1)
        self._set("learning_rate", rate)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # also in a frozen dataclass


class TableAgent(Agent):
    """An agent with a table of action values, which computes the same numbers on every backend.

    Every environment has its own random streams and learns on its own copy of the table. After each
    round the copies are merged, in the order of the environments. Therefore the result depends on
    `seed`, `num_envs` and the hyperparameters, but not on the backend, the number of workers, or
    the death of a worker during the run (on one model of CPU, with the pinned packages).

    Args:
        env: a Gymnasium id, an environment made by `gymnasium.make`, or a function that makes one.
            Actions must be `Discrete`, and observations `Discrete`, `MultiDiscrete`, or a `Tuple`
            of `Discrete`. Worlds of `rlbook_envs` run compiled.
        seed: seed of all random streams, a whole number of at least 0.
        num_envs: number of environments in which the agent learns.
        backend: `"local"`, `"multiprocessing"`, `"ray"`, `"spark"`, or a `Backend`.
        workers: number of workers among which the environments are divided.
        pattern: `"averaged_tables"`, or `"shared_table"`, with which one more worker holds a table
            that all learners update, and no learner waits for the others. A shared table is faster
            if workers differ in speed, but then the numbers depend on the order of their updates.
        resources: the resources of each worker; see `Backend.launch`.
        hyperparameters: see `Hyperparameters` in the agent's module.

    Attributes:
        timesteps: number of steps taken so far, summed over all environments.
        history: the `History` of all calls of `learn`.
        states: (S,) int64, the state of each row of `q`; None if row i is for state i.

    Raises:
        ValueError: an argument is out of range, or no table fits the environment's spaces.
        TypeError: a hyperparameter does not exist.
    """

    Hyperparameters: ClassVar[type[TableHyperparameters]]
    PATTERNS = ("averaged_tables", "shared_table")

    def __init__(
        self,
        env: EnvSource,
        *,
        seed: int = 0,
        num_envs: int = 1,
        backend: str | backends.Backend = "local",
        workers: int = 1,
        pattern: str = "averaged_tables",
        resources: Mapping[str, float] | None = None,
        **hyperparameters: Any,
    ) -> None:
        super().__init__(env, seed, num_envs, pattern, workers, hyperparameters)
        made = self.make_env()
        try:
            observations, actions = numbered_spaces(made, type(self).__name__)
        finally:
            made.close()
        self._number, self.num_states, self.num_actions = (
            observations.number,
            observations.size,
            actions,
        )
        hashed = self.settings.table == "hash" or (
            self.settings.table == "auto" and self.num_states > MOST_DENSE
        )
        self.states: NDArray[np.int64] | None = np.zeros(0, np.int64) if hashed else None
        shape = (0 if hashed else self.num_states, *self._row_shape())
        self._table: Table = np.full(shape, self.settings.initial_value)
        self._counts = np.zeros(shape, np.int64)
        if pattern == "shared_table":
            self._check_that_the_table_can_be_shared()
        self._open(backend, resources)

    @abstractmethod
    def _method(self) -> Method:
        """Return the method that the workers run."""

    def _row_shape(self) -> tuple[int, ...]:
        """Return the shape of the table's entries for each state."""
        return (self.num_actions,)

    @property
    def q(self) -> Table:
        """The action values, (S, A) float64."""
        return self._table

    def group(self, worker_class: Callable[..., Any]) -> Any:
        """Return the workers of this class that share the environments; see `Workers`."""

        def arguments() -> tuple[Any, ...]:
            method, shares = self._method(), self.shares()
            return shares, self.make_env, self.seed, method, self.settings, self._states

        return self._workers.group(worker_class, self.workers, arguments)

    def table_holder(self, worker_class: Callable[..., Any]) -> Any:
        """Return the one worker that holds the table which the others share."""
        return self._workers.group(worker_class, 1, lambda: (self._table, self._counts))

    def work(self, steps: int) -> Work:
        """Return the input of a worker for a round of `steps` steps in each environment."""
        counts = self._counts if self.settings.learning_rate is None else None
        return Work(self._table, self.states, counts, self.timesteps, steps)

    def take_table(
        self, q: Table, visits: NDArray[np.int64], states: NDArray[np.int64] | None
    ) -> None:
        """Replace the table by one in which `visits` more updates were made."""
        counts = visits.copy()
        counts[: len(self._counts)] += self._counts
        self._table, self._counts, self.states = q, counts, states

    def note_states(self, numbers: Iterable[int], states: Iterable[Any]) -> None:
        """Store the states of these environments, so that other workers can continue from them."""
        for number, state in zip(numbers, states, strict=True):
            self._states[number] = state

    def record(self, learned: list[Learned], numbers: list[int], steps: int) -> None:
        """Add the episodes of a round to the history, in the order in which they ended."""
        # The environments take turns: environment i takes its step t as step t * num_envs + i.
        when = np.concatenate(
            [each.ended_at * len(numbers) + i + 1 for i, each in enumerate(learned)]
        )
        order = np.argsort(when)
        self.history.add_episodes(
            self.timesteps + when[order],
            np.concatenate([each.returns for each in learned])[order],
            np.concatenate([each.lengths for each in learned])[order],
        )
        taken = steps * len(numbers)
        self.timesteps += taken
        mean_td_error = sum(each.td_error for each in learned) / taken
        self.history.add_metrics(timesteps=self.timesteps, td_error=mean_td_error)

    def predict(self, obs: Any, deterministic: bool = True) -> Any:
        """Return the action for one observation, or for an array of observations.

        In a state that was never visited, all actions have the value `initial_value`, so the first
        action is the greedy one.

        Args:
            obs: an observation, or an array of observations of any shape if they are numbers.
            deterministic: whether to act greedily, choosing the first of equally good actions;
                otherwise the action is ε-greedy, as in training.

        Returns:
            An int, or an int64 array of the shape of `obs`.

        Raises:
            ValueError: an observation is not in the environment's observation space.
        """
        if self._number is not None and not self._number.allows(obs):
            raise ValueError(f"obs must have parts below {self._number.sizes}, got {obs!r}")
        asked = np.asarray(obs if self._number is None else self._number(obs))
        if asked.dtype.kind not in "iu" or np.any((asked < 0) | (asked >= self.num_states)):
            raise ValueError(
                f"obs must be whole numbers from 0 to {self.num_states - 1}, got {obs!r}"
            )
        rows = self.action_values(asked)
        actions = rows.argmax(axis=-1)
        if not deterministic:
            key = stream_key(self.seed, POLICY, self.num_envs)
            now = np.array([max(self.timesteps - 1, 0)])
            epsilon = float(schedules.values(self.settings.epsilon, now)[0])
            chosen = [
                epsilon_greedy(row[None], 0, epsilon, key, counter)
                for counter, row in enumerate(rows.reshape(-1, self.num_actions), self._predictions)
            ]
            self._predictions += asked.size
            actions = np.array(chosen, np.int64).reshape(asked.shape)
        return int(actions) if asked.ndim == 0 else actions

    def action_values(self, states: Any) -> Table:
        """Return the action values of numbered states, float64 of shape (*states.shape, A)."""
        states = np.asarray(states)
        if self.states is None:
            return self.q[states]
        order = self._order()
        found = np.minimum(np.searchsorted(self.states, states, sorter=order), len(order) - 1)
        values = np.full((*states.shape, self.num_actions), self.settings.initial_value)
        if len(order):
            rows = order[found]
            known = self.states[rows] == states
            values[known] = self.q[rows[known]]
        return values

    def _order(self) -> NDArray[np.int64]:
        """Return the indices that sort `states`, computed once for each new array of states."""
        if getattr(self, "_sorted_states", None) is not self.states:
            self._sorted_states, self._sorting = self.states, np.argsort(self.states)  # type: ignore[arg-type]
        return self._sorting

    def _to_arrays(self) -> Arrays:
        arrays = {"q": self._table, "counts": self._counts}
        return arrays if self.states is None else {**arrays, "states": self.states}

    @classmethod
    def _parse(cls, arrays: Arrays) -> tuple[Table, NDArray[np.int64], Any]:
        table, counts = arrays["q"].astype(np.float64), arrays["counts"].astype(np.int64)
        if table.shape != counts.shape:
            raise ValueError(f"counts must have shape {table.shape}, got {counts.shape}")
        return table, counts, arrays.get("states")

    def _take(self, learned: tuple[Table, NDArray[np.int64], Any]) -> None:
        table, counts, met = learned
        fits = (met is None) == (self.states is None) and table.shape[1:] == self._table.shape[1:]
        if not fits or len(table) != (self.num_states if met is None else len(met)):
            raise ValueError(f"holds a table of another environment: {table.shape}")
        self._table, self._counts, self.states = table, counts, met

    def _check_that_the_table_can_be_shared(self) -> None:
        """Raise a ValueError if learners cannot share one table."""
        if self.states is not None:
            raise ValueError("table must be 'dense' with pattern='shared_table', got a hash table")
        if not isinstance(self.settings.learning_rate, float):
            raise ValueError(
                "learning_rate must be a constant with pattern='shared_table', got "
                f"{self.settings.learning_rate}"
            )
        if self._method().remembers:
            raise ValueError(
                "pattern must be 'averaged_tables' for this method, got 'shared_table', which "
                "needs a one-step method"
            )
