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
    """The input of a round of learning, the same for every environment."""

    q: Table  # (S, A), the table at the start of the round; (S, 2, A) for two tables
    states: NDArray[np.int64] | None  # (S,), the state of each row; None if row i is for state i
    counts: (
        NDArray[np.int64] | None
    )  # shaped like q: number of updates so far, if the method needs it
    timesteps: int  # steps of the run before this round
    steps: int  # steps to take in each environment


class Learned(NamedTuple):
    """The result of a round in one environment, in which E episodes ended."""

    q: Table  # (S', A), this environment's copy of the table after the round
    states: NDArray[np.int64] | None  # (S',), the given states, followed by newly visited ones
    visits: NDArray[np.int64]  # (S', A), number of updates of each entry
    ended_at: NDArray[np.int64]  # (E,), the step of the round at which each episode ended, from 0
    returns: NDArray[np.float64]  # (E,)
    lengths: NDArray[np.int64]  # (E,)
    td_error: float  # sum of |δ|


class Learner:
    """A worker that learns in some of the environments, each of which has its own random streams.

    Args:
        index: index of this worker.
        shares: numbers of the environments of each worker.
        make_env: a function that makes an environment.
        seed: seed of the run.
        method: the method of learning from each step.
        settings: the hyperparameters, of which the worker uses `epsilon`, `learning_rate`, `gamma`
            and `initial_value`.
        states: state of each environment after the last round; None before the first round.
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
        """Run a round in each environment, each with its own copy of the table.

        Returns:
            The result and the new state of each environment, and the seconds that the round took.
        """
        start = perf_counter()
        learned = [place.learn(work) for place in self.places]
        states = [place.get_state() for place in self.places]
        return learned, states, perf_counter() - start


class _Place:
    """One environment with its random streams and its position in the episode."""

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
        # Remembered steps refer to states between rounds, and to rows of the table during rounds.
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
        """Return ε and the learning rate at each step, and the constant discount."""
        # The environments take turns: step t of this one is step t * num_envs + number of the run.
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
    """One environment's copy of a dense or hashed table during a round."""

    def __init__(self, work: Work, face: Interface, initial_value: float) -> None:
        self.compiled, self.rules, self.env = face.compiled, face.rules, face.env
        self.rows: Rows | None = None
        if work.states is None:
            self.q = work.q.copy()
        else:  # a step reaches at most two new states: its next state, and the start of an episode
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
