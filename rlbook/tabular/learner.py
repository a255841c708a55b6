"""The worker that runs a tabular training loop in its environments."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook import schedules
from rlbook.tabular.interface import Interface, interface
from rlbook.tabular.loop import (
    Memory,
    Method,
    Position,
    Rule,
    compiled_loop,
    python_loop,
)
from rlbook.tabular.policies import Table
from rlbook.tabular.value_table import (
    Rows,
    locate,
    make_rows,
    row_rules,
)
from rlbook_envs.streams import (
    ENVIRONMENT,
    POLICY,
    stream_key,
)


class Work(NamedTuple):
    """What the driver asks of every environment for a round."""

    q: Table  # (S, A), where the round begins; (S, 2, A) for two tables
    states: NDArray[np.int64] | None  # (S,), which state has which row; None: all, in order
    counts: NDArray[np.int64] | None  # as q: updates so far, if the method needs to know
    timesteps: int  # of the run before this round
    steps: int  # to take


class Learned(NamedTuple):
    """What one environment brings back from a round, in which E of its episodes ended."""

    q: Table  # (S', A), the table as this environment would have it
    states: NDArray[np.int64] | None  # (S',), those that it was given, and then those it met
    visits: NDArray[np.int64]  # (S', A), how often each entry was updated
    ended_at: NDArray[np.int64]  # (E,), the step of the round at which each episode ended, from 0
    returns: NDArray[np.float64]  # (E,)
    lengths: NDArray[np.int64]  # (E,)
    td_error: float  # sum of |δ|


class Learner:
    """A worker: some of the environments, each with random streams of its own.

    Args:
        index: which worker this is.
        shares: for each worker, the numbers of its environments.
        make_env: makes an environment.
        seed: of the run.
        method: what to do with each step.
        settings: the hyperparameters, of which it needs `epsilon`, `learning_rate`, `gamma` and
            `initial_value`.
        states: for each environment, the state in which `learn` left it, or None to begin.
    """

    def __init__(
        self,
        index: int,
        shares: list[list[int]],
        make_env: Callable[[], Any],
        seed: int,
        method: Method,
        settings: Any,
        states: list[Any],
    ) -> None:
        numbers = [number for share in shares for number in share]
        self.places = [
            _Place(make_env, seed, number, method, settings, len(numbers), states[number])
            for number in shares[index]
        ]

    def learn(self, work: Work) -> tuple[list[Learned], list[Any], float]:
        """Go through a round in each environment, each on its own copy of the table.

        Returns:
            What each environment learned, where it now stands (plain numbers), the seconds taken.
        """
        start = perf_counter()
        learned = [place.learn(work) for place in self.places]
        states = [place.get_state() for place in self.places]
        return learned, states, perf_counter() - start


class _Place:
    """One environment, its random streams, and how far it has come."""

    def __init__(
        self,
        make_env: Callable[[], Any],
        seed: int,
        number: int,
        method: Method,
        settings: Any,
        num_envs: int,
        state: Any,
    ) -> None:
        self.number, self.num_envs = number, num_envs
        self.method, self.settings = method, settings
        self.env_key = stream_key(seed, ENVIRONMENT, number)
        self.policy_key = stream_key(seed, POLICY, number)
        self.interface = interface(make_env, int(self.env_key))
        # Between rounds, what is remembered speaks of states; during one, of rows.
        self.position = Position()
        self.remembered = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        if state is not None:
            self.position = Position(*state["position"])
            self.remembered = state["memory"]
            self.interface.set_state(state["env"])

    def learn(self, work: Work) -> Learned:
        table = _Copy(work, self.interface, self.settings.initial_value)
        memory = self._memory(work.steps, table)
        visits = table.counts.copy()
        position = self.position._replace(obs=table.row(self.position.obs))
        ended_at, lengths = np.empty(work.steps, np.int64), np.empty(work.steps, np.int64)
        returns = np.empty(work.steps, np.float64)
        *position, episodes, td_error = table.loop(self.method)(
            table.env, self.interface.limit, self.env_key, self.policy_key, *position,
            table.q, visits, memory, ended_at, returns, lengths, *self._schedules(work),
        )  # fmt: skip
        self.position = Position(*position)
        self.position = self.position._replace(obs=table.state(self.position.obs))
        self._remember(memory, table)
        rows, ended = slice(table.num_rows()), slice(episodes)
        return Learned(
            table.q[rows],
            table.states(),
            (visits - table.counts)[rows],
            ended_at[ended].copy(),
            returns[ended].copy(),
            lengths[ended].copy(),
            td_error,
        )

    def _schedules(self, work: Work) -> tuple[Any, ...]:
        """ε and the learning rate at each step, and the discount, which stays."""
        # The environments step side by side: this one's step t is step t * num_envs + number.
        timesteps = work.timesteps + np.arange(work.steps) * self.num_envs + self.number
        rate = self.settings.learning_rate
        return (
            schedules.values(self.settings.epsilon, timesteps),
            schedules.values(0.0 if rate is None else rate, timesteps),
            self.settings.gamma,
        )

    def _memory(self, steps: int, table: _Copy) -> Memory:
        rows, actions, numbers = self.remembered
        count = len(rows)
        room = count + steps if self.method.remembers < 0 else self.method.remembers
        memory = Memory(
            np.zeros(room, np.int64), np.zeros(room, np.int64), np.zeros(room), np.array([count])
        )
        memory.rows[:count] = [table.row(int(state)) for state in rows]
        memory.actions[:count], memory.numbers[:count] = actions, numbers
        return memory

    def _remember(self, memory: Memory, table: _Copy) -> None:
        now = slice(int(memory.length[0]))
        states = np.array([table.state(row) for row in memory.rows[now]], np.int64)
        self.remembered = (states, memory.actions[now].copy(), memory.numbers[now].copy())

    def get_state(self) -> dict[str, Any]:
        obs, action, counter, episode_return, episode_length = self.position
        return {
            "position": [
                int(obs),
                int(action),
                int(counter),
                float(episode_return),
                int(episode_length),
            ],
            "memory": list(self.remembered),
            "env": self.interface.get_state(),
        }


class _Copy:
    """One environment's copy of the table during a round, whichever kind of table it is."""

    def __init__(self, work: Work, face: Interface, initial_value: float) -> None:
        self.compiled, self.rules, self.env = face.compiled, face.rules, face.env
        self.rows: Rows | None = None
        if work.states is None:
            self.q = work.q.copy()
        else:  # a step meets at most two states: where it leads, and where the next episode begins
            room = 2 * work.steps + 2
            self.rows = make_rows(work.states, room)
            self.env = (face.env, self.rows)
            self.rules = row_rules(*face.rules, face.compiled)
            new = np.full((room, *work.q.shape[1:]), initial_value)
            self.q = np.concatenate([work.q, new])
        self.counts = np.zeros(self.q.shape, np.int64)
        if work.counts is not None:
            self.counts[: len(work.counts)] = work.counts

    def loop(self, method: Method) -> Rule:
        return (compiled_loop if self.compiled else python_loop)(method, *self.rules)

    def num_rows(self) -> int:
        return len(self.q) if self.rows is None else int(self.rows.taken[0])

    def states(self) -> NDArray[np.int64] | None:
        return None if self.rows is None else self.rows.states[: self.num_rows()].copy()

    def row(self, state: int) -> int:
        return state if self.rows is None or state < 0 else locate(self.rows, state)

    def state(self, row: int) -> int:
        return int(row if self.rows is None or row < 0 else self.rows.states[row])
