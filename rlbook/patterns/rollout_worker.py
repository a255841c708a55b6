"""The worker that acts in some of the environments."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlbook.data.rollout import Rollout
from rlbook.envs.observations import Observations
from rlbook.envs.vector import make_envs
from rlbook.nn.threads import one_thread
from rlbook_envs.compiled import compile
from rlbook_envs.streams import POLICY, stream_key

# How many environments act at a time. A product of matrices may round a row differently when more
# or fewer rows are beside it, so there are always as many, whichever worker has them.
CHUNK = 8


LARGEST = np.finfo(np.float32).max  # what a memory can hold


class Policy(Protocol):
    """What the worker needs of an algorithm. It travels to where the worker is."""

    def set_weights(self, weights: Any) -> None:
        """Act with these from now on."""

    def act(
        self,
        obs: NDArray[Any],
        keys: NDArray[np.uint64],
        clocks: NDArray[np.int64],
        explore: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """An action for each row of (N, …).

        Args:
            keys: (N,), of each environment's stream of random numbers.
            clocks: (N,), which of those to use. They go on in place: copy what you keep.
            explore: (N,), how much each environment shall explore, whatever that means here.
        """


class RolloutWorker:
    """Some of the environments, and the policy that acts in them.

    Args:
        index: which worker this is.
        shares: for each worker, the numbers of its environments.
        make_env: makes an environment.
        seed: of the run.
        observations: how they are stored.
        policy: what acts.
        states: for each environment, the state in which an earlier rollout left it, or None.
    """

    def __init__(
        self,
        index: int,
        shares: list[list[int]],
        make_env: Callable[[], Any],
        seed: int,
        observations: Observations,
        policy: Policy,
        states: list[Any],
    ) -> None:
        self.numbers = np.array(shares[index])
        self.observations, self.policy = observations, policy
        self.envs = make_envs(make_env, seed, shares[index])
        self.keys = np.array([stream_key(seed, POLICY, i) for i in shares[index]], np.uint64)
        self.chunks = Chunks(self.numbers, sum(map(len, shares)), observations)
        num = len(self.numbers)
        self.clocks = np.zeros(num, np.int64)
        self.obs = np.zeros((num, *observations.shape), observations.dtype)
        self.ended = np.zeros(num, np.bool_)
        self.returns, self.lengths = np.zeros(num), np.zeros(num)
        self.obs[:] = observations.encode_all(self.envs.reset())
        self._check("observation", self.obs)
        self.set_states([states[number] for number in shares[index]])

    @one_thread()
    def rollout(self, weights: Any, steps: int, explore: NDArray[np.float64]) -> Rollout:
        """Take so many steps in each environment.

        Args:
            weights: of the policy; None where it has none.
            explore: (steps, environments of all workers).

        Raises:
            ValueError: an environment gave a reward or an observation that is not finite.
        """
        if weights is not None:
            self.policy.set_weights(weights)
        num, explore = len(self.numbers), explore[:, self.numbers]
        obs = np.empty((num, steps, *self.obs.shape[1:]), self.obs.dtype)
        actions = np.empty((num, steps), np.int64)
        rewards = np.empty((num, steps))
        terminated, truncated = np.empty((2, num, steps), np.bool_)
        acting, start = 0.0, perf_counter()
        for t in range(steps):
            obs[:, t] = self.obs
            before = perf_counter()
            chosen = self.chunks.act(self.policy, self.obs, self.keys, self.clocks, explore[t])
            acting += perf_counter() - before
            seen, rewards[:, t], terminated[:, t], truncated[:, t] = self.envs.step(chosen)
            self.obs[:] = self.observations.encode_all(seen)
            self._check("reward", rewards[:, t])
            self._check("observation", self.obs)
            actions[:, t] = chosen
            self.clocks += 1
        episodes = _episodes(
            rewards, terminated | truncated, self.ended, self.returns, self.lengths
        )
        episodes[:, 1] = self.numbers[episodes[:, 1].astype(np.int64)]
        seconds = {"acting": acting, "environment": perf_counter() - start - acting}
        return Rollout(
            obs, actions, rewards, terminated, truncated, episodes, self.get_states(), seconds
        )

    def get_states(self) -> list[Any]:
        """For each environment, all that is needed to go on, here or elsewhere: plain numbers."""
        return [
            {
                "env": self.envs.get_row(row),
                "obs": self.obs[row].tolist() if self.envs.restorable else None,
                "ended": bool(self.ended[row]),
                "clock": int(self.clocks[row]),
                "episode": [float(self.returns[row]), int(self.lengths[row])],
            }
            for row in range(len(self.numbers))
        ]

    def set_states(self, states: list[Any]) -> None:
        """Go on from what `get_states` said; where that is None, or cannot be, from the start."""
        for row, state in enumerate(states):
            if state is None:
                continue
            self.clocks[row] = state["clock"]
            if self.envs.restorable:
                self._go_on(row, state)
        if any(states) and not self.envs.restorable:
            self.obs[:] = self.observations.encode_all(self.envs.begin_anew(self.clocks))
            self.ended[:], self.returns[:], self.lengths[:] = False, 0.0, 0.0

    def _go_on(self, row: int, state: dict[str, Any]) -> None:
        """Bring an environment back to where it stood, or begin an episode if it ends elsewhere.

        Nothing would say so otherwise, and the memory would hold a step that there never was.
        """
        then = np.array(state["obs"], self.obs.dtype)

        def as_then(obs: Any) -> bool:
            return np.array_equal(self.observations.encode_all([obs])[0], then)

        if self.envs.set_row(row, state["env"], as_then):
            self.obs[row], self.ended[row] = then, state["ended"]
            self.returns[row], self.lengths[row] = state["episode"]
        else:
            self.obs[row] = self.observations.encode_all([self.envs.begin(row)])[0]
            self.ended[row], self.returns[row], self.lengths[row] = False, 0.0, 0.0

    # The backends' names for a snapshot of a worker.
    get_state, set_state = get_states, set_states

    def _check(self, what: str, values: NDArray[Any]) -> None:
        fine = np.abs(values) <= LARGEST if values.dtype.kind == "f" else np.True_
        if not fine.all():  # NaN is not fine either
            row = int(np.argwhere(~fine)[0, 0])
            raise ValueError(
                f"environment {self.numbers[row]} gave the {what} {values[row]} "
                f"in its step {self.clocks[row]}: nothing can be learned from that"
            )


class Chunks:
    """Lets a policy act for `CHUNK` environments at a time, each of them always at its own place.

    A worker that has only some environments of a chunk leaves the others' places empty.
    """

    def __init__(
        self, numbers: NDArray[np.int64], num_envs: int, observations: Observations
    ) -> None:
        self.size = min(num_envs, CHUNK)
        first = numbers[0] // self.size
        self.places = numbers - first * self.size
        self.count = int(numbers[-1] // self.size - first) + 1
        self.full = len(numbers) == self.count * self.size
        rows = self.count * self.size
        self.obs = np.zeros((rows, *observations.shape), observations.dtype)
        self.keys, self.explore = np.zeros(rows, np.uint64), np.zeros(rows)
        self.clocks = np.zeros(rows, np.int64)

    def act(
        self,
        policy: Policy,
        obs: NDArray[Any],
        keys: NDArray[np.uint64],
        clocks: NDArray[np.int64],
        explore: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """An action for each row of `obs`."""
        if self.full and self.count == 1:
            return policy.act(obs, keys, clocks, explore)
        if not self.full:
            self.obs[self.places] = obs
            self.keys[self.places], self.explore[self.places] = keys, explore
            self.clocks[self.places] = clocks
            obs, keys, clocks, explore = self.obs, self.keys, self.clocks, self.explore
        parts = [slice(i * self.size, (i + 1) * self.size) for i in range(self.count)]
        actions = np.concatenate(
            [policy.act(obs[part], keys[part], clocks[part], explore[part]) for part in parts]
        )
        return actions if self.full else actions[self.places]


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
    """The rows of `Rollout.episodes`; `carried` is where each environment's episode stands."""
    found = np.empty((int(ended.sum()), 4))
    _compiled_count()(rewards, ended, *carried, found)
    return found


@cache
def _compiled_count() -> Callable[..., int]:
    return compile(_count_episodes)
