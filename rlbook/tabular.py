"""What tabular methods share: how to behave, the loop, the worker that runs it, the average.

Read in this order: the behaviour policy; the loop of act, step and learn; what a method must say to
be run by it; the worker, which runs the loop in its environments; and how several copies of a table
become one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook import schedules
from rlbook.environment import Interface, interface
from rlbook.value_table import Rows, locate, make_rows, row_rules
from rlbook_envs.chance import ENVIRONMENT, POLICY, random_bits, reset_key, stream_key, uniform
from rlbook_envs.compiled import compile, rule

Table = NDArray[np.float64]
Rule = Callable[..., Any]


@rule
def epsilon_greedy(q: Table, obs: int, epsilon: float, key: np.uint64, clock: int) -> int:
    """Usually the best action, one of them at random where several are; any with probability ε.

    Args:
        q: (S, A) float64.
        epsilon: the probability of a uniformly random action.
        key: of the stream of random numbers; `clock` says which one to use.
    """
    bits = random_bits(key, clock)
    row = q[obs]
    if uniform(bits) < epsilon:
        return int(uniform(random_bits(bits, 0)) * len(row))
    best, ties = 0, 1
    for action in range(1, len(row)):
        if row[action] > row[best]:
            best, ties = action, 1
        elif row[action] == row[best]:
            ties += 1
    if ties == 1:
        return best
    skip = int(uniform(random_bits(bits, 1)) * ties)
    for action in range(best, len(row)):
        if row[action] == row[best]:
            if skip == 0:
                return action
            skip -= 1
    return best


def epsilon_greedy_probabilities(q_row: NDArray[np.float64], epsilon: float) -> Table:
    """The probability π(a|s) of each action under `epsilon_greedy`.

    >>> epsilon_greedy_probabilities(np.array([0.0, 2.0, 2.0, 1.0]), 0.2)
    array([0.05, 0.45, 0.45, 0.05])
    """
    best = q_row == q_row.max()
    return epsilon / len(q_row) + (1 - epsilon) * best / best.sum()


class Memory(NamedTuple):
    """Steps of this episode that a method has yet to learn from, or goes on learning from."""

    rows: NDArray[np.int64]  # (room,), where the agent was
    actions: NDArray[np.int64]  # (room,), what it did
    numbers: NDArray[np.float64]  # (room,), the reward it received, or how eligible the pair is
    length: NDArray[np.int64]  # (1,), how many steps there are


class Position(NamedTuple):
    """Where one environment's interaction stands between two calls of the loop."""

    obs: int = -1  # what to act on next; -1: reset first
    action: int = -1  # what to do about it; -1: not chosen yet
    clock: int = 0  # steps taken so far: the counter of the random streams
    episode_return: float = 0.0
    episode_length: int = 0


def make_loop(
    chance: Rule,
    reset: Rule,
    step: Rule,
    out_of_time: Rule,
    act: Rule,
    learn: Rule,
    on_policy: bool = False,
) -> Callable[..., tuple[Any, ...]]:
    """The loop of act, step and learn around these rules, in Python or ready to be compiled.

    An on-policy method learns from the action that comes next, so that is chosen first.
    """

    def loop(  # type: ignore[no-untyped-def]
        env, limit, env_key, policy_key, obs, action, clock, episode_return, episode_length,
        q, visits, memory, ended_at, returns, lengths, epsilon, learning_rate, gamma,
    ):  # fmt: skip
        episodes, error = 0, 0.0
        if obs < 0:
            obs = reset(env, reset_key(env_key, clock))
        for t in range(len(ended_at)):
            if action < 0:
                action = act(q, obs, epsilon[t], policy_key, clock)
            next_obs, reward, terminated = step(env, obs, action, chance(env_key, clock))
            clock += 1
            episode_return += reward
            episode_length += 1
            ended = terminated or out_of_time(env, episode_length, limit)
            next_action = -1
            if on_policy:
                next_action = act(q, next_obs, epsilon[t], policy_key, clock)
            error += abs(
                learn(
                    q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
                    ended, epsilon[t], learning_rate[t], gamma, policy_key, clock,
                )
            )  # fmt: skip
            obs, action = next_obs, next_action
            if ended:
                ended_at[episodes] = t
                returns[episodes], lengths[episodes] = episode_return, episode_length
                episodes += 1
                episode_return, episode_length = 0.0, 0
                obs, action = reset(env, reset_key(env_key, clock)), -1
        return obs, action, clock, episode_return, episode_length, episodes, error

    return loop


class Method(NamedTuple):
    """What the loop needs to know of a method. All of it can travel to another process.

    Attributes:
        act: the behaviour policy, called as `epsilon_greedy` is.
        make_learn: from the functions in `parts`, makes `learn(q, visits, memory, obs, action,
            reward, next_obs, next_action, terminated, ended, epsilon, learning_rate, gamma,
            policy_key, clock)`, which changes q, counts its updates in visits, and returns the TD
            error.
        parts: the update rule, and whatever else it is made from.
        on_policy: whether `learn` needs next_action.
        remembers: how many steps `Memory` needs room for; -1 for a whole episode.
    """

    act: Rule
    make_learn: Callable[..., Rule]
    parts: tuple[Any, ...]
    on_policy: bool = False
    remembers: int = 0


@cache
def one_step(update: Rule) -> Rule:
    """Learn from every step at once: `learn` for off-policy rules such as `q_learning_update`."""

    @rule
    def learn(  # type: ignore[no-untyped-def]
        q, visits, memory, obs, action, reward, next_obs, next_action, terminated,
        ended, epsilon, learning_rate, gamma, policy_key, clock,
    ):  # fmt: skip
        visits[obs, action] += 1
        return update(q, obs, action, reward, next_obs, terminated, learning_rate, gamma)

    return learn


def _loop_of(rules: tuple[Rule, ...], act: Rule, learn: Rule, on_policy: bool) -> Rule:
    chance, reset, step, out_of_time = rules
    return make_loop(chance, reset, step, out_of_time, act, learn, on_policy)


@cache
def compiled_loop(method: Method, *rules: Rule) -> Rule:
    """The loop as machine code, for a world whose rules can be compiled."""
    learn = method.make_learn(*method.parts)
    return compile(_loop_of(rules, method.act, learn, method.on_policy))


@cache
def python_loop(method: Method, *rules: Rule) -> Rule:
    """The loop as Python's, for an ordinary environment; what it does to the table is compiled."""
    act = compile(method.act)
    if method.remembers:
        learn = compile(method.make_learn(*method.parts))
    else:
        learn = method.make_learn(*map(compile, method.parts))
    return _loop_of(rules, act, learn, method.on_policy)


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
        self.remembered: tuple[list[int], list[int], list[float]] = ([], [], [])
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
        memory.rows[:count] = [table.row(state) for state in rows]
        memory.actions[:count], memory.numbers[:count] = actions, numbers
        return memory

    def _remember(self, memory: Memory, table: _Copy) -> None:
        now = slice(int(memory.length[0]))
        states = [table.state(row) for row in memory.rows[now].tolist()]
        self.remembered = (states, memory.actions[now].tolist(), memory.numbers[now].tolist())

    def get_state(self) -> dict[str, Any]:
        obs, action, clock, episode_return, episode_length = self.position
        return {
            "position": [
                int(obs),
                int(action),
                int(clock),
                float(episode_return),
                int(episode_length),
            ],
            "memory": [list(column) for column in self.remembered],
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


def average_tables(
    q: Table,
    tables: NDArray[np.float64],
    visits: NDArray[np.int64],
    counts: NDArray[np.int64] | None = None,
) -> Table:
    """One table from several: the mean of each entry, weighted by how often each copy updated it.

    Args:
        q: (S, A), what the copies started from; entries that none of them updated stay so.
        tables: (N, S, A), the copies.
        visits: (N, S, A), the number of updates of each entry of each copy.
        counts: (S, A), if the entries are sample means: how many samples q is the mean of. Then the
            result is the mean of all samples, old and new.
    """
    totals = visits.sum(axis=0)
    if counts is not None:
        mean = q.copy()
        for table, count in zip(tables, visits, strict=True):
            # A copy moved from q to the mean of its samples and q's: undo the division.
            mean += (table - q) * ((counts + count) / np.maximum(counts + totals, 1))
        return mean
    mean = np.where(totals > 0, 0.0, q)
    for table, count in zip(tables, visits, strict=True):  # always in this order: sums round
        mean += table * (count / np.maximum(totals, 1))
    return mean


class Merged(NamedTuple):
    """The table after a round, and how many updates each entry had in it."""

    q: Table
    states: NDArray[np.int64] | None
    visits: NDArray[np.int64]


def merge(work: Work, learned: list[Learned], initial_value: float) -> Merged:
    """End a round: one table from those that the environments bring back, in their order."""
    states = work.states
    if states is None:
        tables = np.stack([each.q for each in learned])
        visits = np.stack([each.visits for each in learned])
        q, counts = work.q, work.counts
    else:
        states, places = _union(states, [each.states for each in learned])  # type: ignore[misc]
        shape = (len(states), *work.q.shape[1:])
        tables = np.full((len(learned), *shape), initial_value)
        visits = np.zeros((len(learned), *shape), np.int64)
        for i, (each, place) in enumerate(zip(learned, places, strict=True)):
            tables[i, place], visits[i, place] = each.q, each.visits
        q, old = np.full(shape, initial_value), len(work.q)
        q[:old] = work.q
        counts = None
        if work.counts is not None:
            counts = np.zeros(shape, np.int64)
            counts[:old] = work.counts
    return Merged(average_tables(q, tables, visits, counts), states, visits.sum(axis=0))


def _union(
    old: NDArray[np.int64], met: list[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """All states in the order in which they were met, and the rows of each copy's states in it."""
    row_of = {state: row for row, state in enumerate(old.tolist())}
    places = []
    for states in met:
        new = states[len(old) :].tolist()  # each copy has the old ones first
        rows = [row_of.setdefault(state, len(row_of)) for state in new]
        places.append(np.concatenate([np.arange(len(old)), np.array(rows, np.int64)]))
    return np.array(list(row_of), np.int64), places
