"""Rollouts: steps of several environments side by side, by a policy that stays the same meanwhile.

The worker that every deep algorithm launches, on any backend. It holds some of the environments,
each with random streams of its own, and brings back arrays with an axis for the environments and
one for time.

How an episode ends, as in Gymnasium's vector environments: the row after a step that terminated or
was truncated holds the last observation of the old episode. Its action is ignored, its reward is 0,
and what follows is the first observation of a new episode. So each observation is there once, the
true last one included, and `reset_rows` says which rows nobody must learn from.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rlbook.environment import NO_LIMIT, Episodes, compiled_world
from rlbook.networks import one_thread
from rlbook.observations import Observations
from rlbook_envs.chance import ENVIRONMENT, POLICY, stream_key
from rlbook_envs.compiled import compile

# How many environments act at a time. A product of matrices may round a row differently when more
# or fewer rows are beside it, so there are always as many, whichever worker has them.
CHUNK = 8

LARGEST = np.finfo(np.float32).max  # what a memory can hold


class Rollout(NamedTuple):
    """What N environments did in T steps.

    Attributes:
        obs: (N, T, …), what each action was chosen for.
        actions: (N, T) int64.
        rewards: (N, T) float64.
        terminated: (N, T) bool.
        truncated: (N, T) bool.
        episodes: (E, 4) float64, of each episode that ended: at which step of these, from 0; in
            which environment; its return; its length.
        states: for each environment, all that is needed to go on from here, in plain numbers.
        seconds: spent `acting`, which is choosing actions, and in the `environment`.
    """

    obs: NDArray[Any]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    episodes: NDArray[np.float64]
    states: list[Any]
    seconds: dict[str, float]


def gather(rollouts: list[Rollout]) -> Rollout:
    """One rollout from those of several workers, whose environments follow one another."""
    if len(rollouts) == 1:
        return rollouts[0]
    episodes = np.concatenate([each.episodes for each in rollouts])
    order = np.lexsort((episodes[:, 1], episodes[:, 0]))
    busy = [each.seconds for each in rollouts]
    seconds = {name: sum(each[name] for each in busy) for name in busy[0]}
    states = [state for each in rollouts for state in each.states]
    columns = [np.concatenate(c) for c in zip(*(each[:5] for each in rollouts), strict=True)]
    return Rollout._make([*columns, episodes[order], states, seconds])


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


# --- environments -------------------------------------------------------------------------------


def make_envs(make_env: Callable[[], Any], seed: int, numbers: list[int]) -> Any:
    """The environments of these numbers: one compiled batch of a world, or one after the other.

    Raises:
        ValueError: `make_env` gives the same environment again.
    """
    seeds = [int(stream_key(seed, ENVIRONMENT, number)) for number in numbers]
    if hasattr(make_env, "batch"):
        return make_env.batch(seeds)
    env = make_env()
    found = compiled_world(env)
    env.close()
    if found is None:
        return EnvList(make_env, [seed % 2**31 for seed in seeds])  # as old generators want them
    return WorldBatch(*found, seeds)


class EnvList:
    """Ordinary environments, stepped one after the other, and closed when nobody has them any more.

    Raises:
        ValueError: `make_env` gives the same environment again.
    """

    restorable = True  # as far as playing an episode again leads where it had led; see `set_row`

    def __init__(self, make_env: Callable[[], Any], seeds: list[int]) -> None:
        self.envs = [Episodes(make_env, seed) for seed in seeds]
        if len({id(each.env.unwrapped) for each in self.envs}) < len(seeds):
            raise ValueError(
                f"env={make_env!r} is not allowed: it must make a new environment whenever it is "
                "called, and gave the same one again"
            )
        # Backends drop workers without a word, and at the latest when the interpreter ends.
        weakref.finalize(self, _close_all, [each.env for each in self.envs])
        self.ended = [False] * len(seeds)

    def reset(self) -> list[Any]:
        """Begin an episode in each; the first observations."""
        return [env.reset() for env in self.envs]

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        """One step of each: observations, rewards, terminated, truncated.

        Of an environment whose episode had ended, it is the beginning of a new one.
        """
        steps = [self._step_one(i, action) for i, action in enumerate(actions.tolist())]
        return tuple(zip(*steps, strict=True))

    def _step_one(self, i: int, action: int) -> tuple[Any, ...]:
        env = self.envs[i]
        if self.ended[i]:
            self.ended[i] = False
            return env.reset(), 0.0, False, False
        obs, reward, terminated, truncated, _ = env.step(action)
        env.actions.append(action)
        self.ended[i] = terminated or truncated
        return obs, reward, terminated, truncated

    def get_row(self, row: int) -> Any:
        """All that `set_row` needs, in plain numbers."""
        return {"episode": self.envs[row].get_state(), "ended": bool(self.ended[row])}

    def set_row(self, row: int, saved: Any, as_then: Callable[[Any], bool]) -> bool:
        """Play again what had been played when `get_row` was called.

        Args:
            as_then: whether an observation is the one that was newest then.

        Returns:
            Whether to go on from there. False: it led elsewhere, so an episode must `begin`.
        """
        self.ended[row] = saved["ended"]
        try:
            obs, ended = self.envs[row].set_state(saved["episode"])
            there = ended == saved["ended"] and as_then(obs)
        except Exception:  # whatever an environment raises where it is not what it was
            there = False
        return there or saved["ended"]  # after an end, an episode begins in any case

    def begin(self, row: int) -> Any:
        """Begin an episode in one of them, wherever it is; the first observation."""
        self.ended[row] = False
        return self.envs[row].reset()


def _close_all(envs: list[Any]) -> None:
    for env in envs:
        with contextlib.suppress(Exception):  # nobody is there to be told
            env.close()


class WorldBatch:
    """A compiled world in several rows, stepped by one compiled call."""

    restorable = True

    def __init__(self, world: Any, limit: int, seeds: list[int]) -> None:
        from rlbook_envs.world import WorldVectorEnv

        self.seeds = seeds
        most = None if limit == NO_LIMIT else limit
        self.envs = WorldVectorEnv(world, len(seeds), max_episode_steps=most, copy=False)

    def reset(self) -> NDArray[Any]:
        """Begin an episode in each row; the first observations."""
        return self.envs.reset(seed=self.seeds)[0]

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        """One step of each row; observations, rewards, terminated, truncated."""
        return self.envs.step(actions)[:4]

    def get_row(self, row: int) -> Any:
        """All that `set_row` needs, in plain numbers."""
        return self.envs.get_row(row)

    def set_row(self, row: int, saved: Any, as_then: Callable[[Any], bool]) -> bool:
        """Go on from where `get_row` was called, as our worlds always can."""
        self.envs.set_row(row, saved)
        return True


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
