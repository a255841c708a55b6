"""The worker that every pattern launches: it acts in some of the environments."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook.algorithm import Algorithm, Arrays, Decision, RandomStreams
from rlbook.data.rollout import Rollout
from rlbook.envs.vector import make_envs
from rlbook.nn.threads import one_thread
from rlbook_envs.compiled import compile
from rlbook_envs.streams import POLICY, stream_key

# How many environments act at a time. A matrix product may round a row differently when the matrix
# has more or fewer rows, so there are always as many, however the environments are shared out.
CHUNK = 8

LARGEST = np.finfo(np.float32).max  # the largest number that a replay buffer can store


class RolloutWorker:
    """Some of the environments of a run, and a copy of the algorithm that acts in them.

    Args:
        index: which worker this is.
        shares: for each worker, the numbers of its environments.
        make_env: makes an environment.
        algorithm: what acts.
        states: for each environment of the run, the state in which an earlier worker left it, or
            None.
    """

    def __init__(
        self,
        index: int,
        shares: list[list[int]],
        make_env: Callable[[], Any],
        algorithm: Algorithm,
        states: list[Any],
    ) -> None:
        problem = algorithm.problem
        self.algorithm, self.observations = algorithm, problem.observations
        self.numbers = np.array(shares[index])
        num = len(self.numbers)
        self.envs = make_envs(make_env, problem.actions, problem.seed, shares[index])
        keys = [stream_key(problem.seed, POLICY, number) for number in shares[index]]
        self.random = RandomStreams(np.array(keys, np.uint64), np.zeros(num, np.int64))
        self.chunks = Chunks(self.numbers, algorithm)
        self.memory = algorithm.initial_memory(num)
        self.obs = np.zeros((num, *self.observations.shape), self.observations.dtype)
        self.ended = np.zeros(num, np.bool_)  # whether the newest row ended an episode
        self.returns, self.lengths = np.zeros(num), np.zeros(num)
        self.obs[:] = self.observations.encode_all(self.envs.reset())
        self._check("observation", self.obs)
        self.set_states([states[number] for number in shares[index]])

    @one_thread()
    def rollout(self, weights: Any, steps: int, exploration: NDArray[np.float64]) -> Rollout:
        """Take `steps` steps in each environment.

        Args:
            weights: of the algorithm; None to act with those that it has.
            exploration: (steps, environments of all workers).

        Raises:
            ValueError: an environment returned a reward or an observation that is not finite.
        """
        if weights is not None:
            self.algorithm.set_weights(weights)
        num, actions_of = len(self.numbers), self.algorithm.problem.actions
        exploration = exploration[:, self.numbers]
        obs = np.empty((num, steps, *self.obs.shape[1:]), self.obs.dtype)
        actions = np.empty((num, steps, *actions_of.shape), actions_of.dtype)
        rewards = np.empty((num, steps))
        terminated, truncated, valid = np.empty((3, num, steps), np.bool_)
        extras: Arrays = {}
        memory = self.memory and {name: each.copy() for name, each in self.memory.items()}
        ended = self.ended.copy()
        acting, start = 0.0, perf_counter()
        for t in range(steps):
            obs[:, t], valid[:, t] = self.obs, ~ended
            before = perf_counter()
            decision = self.chunks.act(self.obs, self.memory, self.random, exploration[t])
            acting += perf_counter() - before
            actions[:, t] = decision.actions
            for name, values in decision.extras.items():
                if t == 0:
                    extras[name] = np.empty((num, steps, *values.shape[1:]), values.dtype)
                extras[name][:, t] = values
            seen, rewards[:, t], terminated[:, t], truncated[:, t] = self.envs.step(actions[:, t])
            self.obs[:] = self.observations.encode_all(seen)
            self._check("reward", rewards[:, t])
            self._check("observation", self.obs)
            self._remember(decision, begun=ended)
            self.random.counters[:] += 1
            ended = terminated[:, t] | truncated[:, t]
        episodes = _episodes(
            rewards, terminated | truncated, self.ended, self.returns, self.lengths
        )
        episodes[:, 1] = self.numbers[episodes[:, 1].astype(np.int64)]
        return Rollout(
            obs, actions, rewards, terminated, truncated, valid, self.obs.copy(), extras, memory,
            self.numbers, np.zeros(num, np.bool_), episodes,
            [self._get_state(row) for row in range(num)],
            {"acting": acting, "environment": perf_counter() - start - acting},
        )  # fmt: skip

    def get_states(self) -> list[Any]:
        """Return, for each environment, everything that is needed to go on, here or elsewhere."""
        return [
            {**self._get_state(row), "obs": self.obs[row].copy()}
            for row in range(len(self.numbers))
        ]

    def _get_state(self, row: int) -> dict[str, Any]:
        return {
            "env": self.envs.get_row(row),
            "ended": bool(self.ended[row]),
            "counter": int(self.random.counters[row]),
            "episode": [float(self.returns[row]), int(self.lengths[row])],
            "memory": self.memory
            and {name: each[row].copy() for name, each in self.memory.items()},
        }

    def set_states(self, states: list[Any]) -> None:
        """Go on from what `get_states` returned; from the start where a state is None."""
        for row, state in enumerate(states):
            if state is None:
                continue
            self.random.counters[row] = state["counter"]
            if self.envs.restorable:
                self._go_on(row, state)
        if any(state is not None for state in states) and not self.envs.restorable:
            self.obs[:] = self.observations.encode_all(self.envs.begin_anew(self.random.counters))
            self.ended[:], self.returns[:], self.lengths[:] = False, 0.0, 0.0
            self.memory = self.algorithm.initial_memory(len(states))

    # The backends' names for a snapshot of a worker.
    get_state, set_state = get_states, set_states

    def _go_on(self, row: int, state: dict[str, Any]) -> None:
        """Bring an environment back to where it stood; begin an episode if it ends up elsewhere.

        Without that check, the replay buffer would hold a transition that never happened.
        """
        then = state["obs"]

        def as_then(obs: Any) -> bool:
            return np.array_equal(self.observations.encode_all([obs])[0], then)

        if self.envs.set_row(row, state["env"], as_then):
            self.obs[row], self.ended[row] = then, state["ended"]
            self.returns[row], self.lengths[row] = state["episode"]
            if self.memory is not None:
                for name, values in state["memory"].items():
                    self.memory[name][row] = values
        else:
            self.obs[row] = self.observations.encode_all([self.envs.begin(row)])[0]
            self.ended[row], self.returns[row], self.lengths[row] = False, 0.0, 0.0
            for name, values in (self.algorithm.initial_memory(1) or {}).items():
                self.memory[name][row] = values[0]  # type: ignore[index]

    def _remember(self, decision: Decision, begun: NDArray[np.bool_]) -> None:
        """Carry the recurrent state on, and reset it where this step began an episode."""
        if decision.memory is None:
            return
        fresh = self.algorithm.initial_memory(len(begun))
        assert fresh is not None, "an algorithm that returns a memory has an initial one"
        for name, values in decision.memory.items():
            mask = begun.reshape(-1, *[1] * (values.ndim - 1))
            fresh[name] = np.where(mask, fresh[name], values)
        self.memory = fresh

    def _check(self, what: str, values: NDArray[Any]) -> None:
        fine = np.abs(values) <= LARGEST if values.dtype.kind == "f" else np.True_
        if not fine.all():  # NaN is not fine either
            row = int(np.argwhere(~fine)[0, 0])
            raise ValueError(
                f"environment {self.numbers[row]} returned the {what} {values[row]} in its step "
                f"{self.random.counters[row]}: rewards and observations must be finite"
            )


class Chunks:
    """Lets an algorithm act for `CHUNK` environments at a time, each always in the same place.

    Where a worker has only some of the environments of a chunk, the places of the others are
    filled with zeros.
    """

    def __init__(self, numbers: NDArray[np.int64], algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self.size = min(algorithm.problem.num_envs, CHUNK)
        first = numbers[0] // self.size
        self.places = numbers - first * self.size
        self.count = int(numbers[-1] // self.size - first) + 1
        self.rows = self.count * self.size
        self.full = len(numbers) == self.rows

    def act(
        self,
        obs: NDArray[Any],
        memory: Arrays | None,
        random: RandomStreams,
        exploration: NDArray[np.float64],
    ) -> Decision:
        """Return a `Decision` for each row of `obs`. See `Algorithm.act`."""
        if self.full and self.count == 1:
            return self.algorithm.act(obs, memory, random, exploration)
        if not self.full:
            obs, exploration = self._spread(obs), self._spread(exploration)
            random = RandomStreams(*map(self._spread, random))
            memory = memory and {name: self._spread(each) for name, each in memory.items()}
        decisions = []
        for i in range(self.count):
            part = slice(i * self.size, (i + 1) * self.size)
            decisions.append(
                self.algorithm.act(
                    obs[part],
                    memory and {name: each[part] for name, each in memory.items()},
                    RandomStreams(random.keys[part], random.counters[part]),
                    exploration[part],
                )
            )
        return Decision(
            self._joined([each.actions for each in decisions]),
            self._joined_by_name([each.extras for each in decisions]),
            self._joined_by_name([each.memory for each in decisions])
            if decisions[0].memory is not None
            else None,
        )

    def _spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Put each environment's row in its place."""
        found = np.zeros((self.rows, *values.shape[1:]), values.dtype)
        found[self.places] = values
        return found

    def _joined(self, parts: list[NDArray[Any]]) -> NDArray[Any]:
        found = np.concatenate(parts)
        return found if self.full else found[self.places]

    def _joined_by_name(self, parts: list[Any]) -> Arrays:
        return {name: self._joined([part[name] for part in parts]) for name in parts[0]}


def _count_episodes(rewards, ended, was_ended, returns, lengths, found):  # type: ignore[no-untyped-def]
    count = 0
    for t in range(rewards.shape[1]):
        for row in range(len(rewards)):
            if was_ended[row]:  # this step began an episode
                was_ended[row], returns[row], lengths[row] = False, 0.0, 0.0
                continue
            returns[row] += rewards[row, t]
            lengths[row] += 1
            if ended[row, t]:
                was_ended[row] = True
                found[count, 0], found[count, 1] = t, row
                found[count, 2], found[count, 3] = returns[row], lengths[row]
                count += 1
    return count


def _episodes(rewards: Any, ended: Any, *carried: Any) -> NDArray[np.float64]:
    """Return the rows of `Rollout.episodes`; `carried` says where each episode stands."""
    found = np.empty((int(ended.sum()), 4))
    _compiled_count()(rewards, ended, *carried, found)
    return found


@cache
def _compiled_count() -> Callable[..., int]:
    return compile(_count_episodes)
