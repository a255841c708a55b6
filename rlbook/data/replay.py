"""Replay buffer: transitions are kept, so that the agent can learn from them more than once.

`rlbook.data.rings` stores the rows, each observation once, and reads transitions from them. This
module chooses which transitions are sampled: uniformly at random, the newest, or in proportion to
their priorities (Schaul et al., "Prioritized experience replay", ICLR 2016).
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from rlbook.arguments import check_flag, check_number, check_whole
from rlbook.data.rings import (
    ROW,
    Rings,
    append,
    contradiction,
    cut,
    draw,
    empty_rings,
    frames,
    newest,
    places_of,
    ring_length,
    windows,
)
from rlbook.data.sum_tree import SumTree, tree_bytes
from rlbook_envs.compiled import compile
from rlbook_envs.streams import (
    REPLAY,
    random_bits,
    stream_key,
    uniform,
)

Numbers = NDArray[np.int64]
Floats = NDArray[np.float32]

ORDERS = ("random", "latest")
SMALLEST_ERROR = 1e-6  # else a transition whose error is 0 would never be drawn again
KINDS = {np.integer: "whole numbers", np.number: "numbers", np.bool_: "True or False"}


class Batch(NamedTuple):
    """B transitions, each over up to n steps."""

    obs: NDArray[Any]  # (B, *shape), or (B, stack, *shape), oldest first; dtype as stored
    actions: NDArray[Any]  # (B, *action_shape), dtype as stored
    returns: Floats  # (B,) float32, the discounted sum of the rewards on the way
    discounts: Floats  # (B,) float32, of the value of next_obs: gamma ** k * (1 - terminated)
    next_obs: NDArray[Any]  # as obs, k steps later; k is n, or less if the episode ended before
    weights: Floats  # (B,) float32, importance weights; 1 where all are drawn alike
    rows: Numbers  # (B,) int64, the names of these rows, for `Replay.update_priorities`


def priorities(td_errors: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """p ** alpha of transitions with these TD errors, p being |error| + ε.

    Schaul et al. (2016), section 3.3, proportional variant.

    >>> priorities([-4.0, 0.25], 0.5).round(3)
    array([2. , 0.5])
    """
    return (np.abs(np.asarray(td_errors, np.float64)) + SMALLEST_ERROR) ** alpha


def importance_weights(probabilities: NDArray[np.float64], size: int, beta: float) -> Floats:
    """How much each transition of a batch should count, as those drawn more often count less.

    (size * probability) ** -beta, over the largest of the batch (Schaul et al., 2016, section 3.4).

    Args:
        probabilities: (B,) float64, with which each was drawn.
        size: how many could have been drawn.
        beta: from 0, which makes all 1, to 1, which takes all of the bias away.

    Returns:
        (B,) float32, the largest 1.

    >>> importance_weights(np.array([0.1, 0.2, 0.4]), 10, 1.0)
    array([1.  , 0.5 , 0.25], dtype=float32)
    """
    weights = (size * probabilities) ** -beta
    return (weights / weights.max()).astype(np.float32)  # type: ignore[no-any-return]


@compile
def stratified(total, batch_size, key, draws):  # type: ignore[no-untyped-def]
    """One random point in each of `batch_size` equal parts of the range from 0 to `total`."""
    points = np.empty(batch_size)
    for i in range(batch_size):
        points[i] = (i + uniform(random_bits(key, draws + i))) * (total / batch_size)
    return points


def bytes_needed(
    capacity: int,
    num_envs: int,
    obs_shape: tuple[int, ...],
    obs_dtype: DTypeLike,
    *,
    action_shape: tuple[int, ...] = (),
    action_dtype: DTypeLike = np.int64,
    n_step: int = 1,
    prioritized: bool = False,
    stack: int = 1,
) -> int:
    """What a `Replay` with these arguments will occupy, in bytes.

    >>> bytes_needed(1_000_000, 8, (84, 84), np.uint8, stack=4) / 1e9  # GB
    7.072226432
    """
    rows = num_envs * ring_length(capacity, num_envs, n_step, stack)
    each = math.prod(obs_shape) * np.dtype(obs_dtype).itemsize + ROW.itemsize
    each += math.prod(action_shape) * np.dtype(action_dtype).itemsize
    return rows * each + num_envs * 16 + (tree_bytes(rows) if prioritized else 0)


class Replay:
    """Transitions of several environments, the oldest of which make way for new ones.

    Args:
        capacity: transitions that it can hold, from 1. Rows after an end take room too.
        num_envs: how many environments, each with a ring of its own.
        obs_shape: of one observation; of one frame if they are stacked.
        obs_dtype: of one observation.
        action_shape: of one action; () for `Discrete`.
        action_dtype: of its numbers; any that can hold the actions that are added.
        n_step: rewards that are added up before bootstrapping, from 1 (Sutton and Barto, 2018,
            equation 7.1). Fewer where the episode ends before.
        gamma: the discount of rewards that come a step later, from 0 to 1.
        order: "random" draws with replacement; "latest" takes the newest transitions, by no chance.
        prioritized: draw in proportion to priority, rather than all alike.
        alpha: how much priorities count, from 0, not at all, to 1 (Schaul et al.: 0.6).
        stack: an observation is the newest so many frames. Only one of them is stored.
        seed: of the draws, a non-negative integer.

    Raises:
        ValueError: an argument is out of range.
        MemoryError: the machine has not enough memory free.

    >>> replay = Replay(100, 1, (2,), np.float32)
    >>> obs = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    >>> replay.add(obs, [[0, 1, 0]], [[0.0, 5.0, 0.0]], [[False, True, False]], [[False] * 3])
    >>> len(replay)  # the third row is no transition, but where the second one led
    2
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        obs_shape: tuple[int, ...],
        obs_dtype: DTypeLike,
        *,
        action_shape: tuple[int, ...] = (),
        action_dtype: DTypeLike = np.int64,
        n_step: int = 1,
        gamma: float = 0.99,
        order: str = "random",
        prioritized: bool = False,
        alpha: float = 0.6,
        stack: int = 1,
        seed: int = 0,
    ) -> None:
        counted = {"capacity": capacity, "num_envs": num_envs, "n_step": n_step, "stack": stack}
        for name, value in counted.items():
            check_whole(name, value, 1)
        check_whole("seed", seed, 0)
        check_flag("prioritized", prioritized)
        if order not in ORDERS:
            raise ValueError(f"order={order!r} is not allowed: {' or '.join(map(repr, ORDERS))}")
        if prioritized and order == "latest":
            raise ValueError("prioritized=True is not allowed with order='latest': none are drawn")
        self.capacity, self.num_envs, self.n_step, self.stack = capacity, num_envs, n_step, stack
        self.gamma = check_number("gamma", gamma, 0, 1)
        self.alpha = check_number("alpha", alpha, 0, 1)
        self.order, self.prioritized = order, prioritized
        self.obs_shape, self.obs_dtype = tuple(obs_shape), np.dtype(obs_dtype)
        self.action_shape, self.action_dtype = tuple(action_shape), np.dtype(action_dtype)
        self._check_memory()

        length = ring_length(capacity, num_envs, n_step, stack)
        self._obs = np.zeros((num_envs * length, *self.obs_shape), self.obs_dtype)
        self._actions = np.zeros((num_envs * length, *self.action_shape), self.action_dtype)
        self._rings = empty_rings(num_envs, length)
        self._tree = SumTree(num_envs * length) if prioritized else None
        self._max_priority = 1.0
        self._key, self._draws = stream_key(seed, REPLAY, 0), 0
        self._size = 0

    def __len__(self) -> int:
        """How many transitions can be sampled."""
        return self._size

    @property
    def nbytes(self) -> int:
        """What it occupies, in bytes; `bytes_needed` tells it in advance."""
        arrays = [self._obs, self._actions, *self._rings]
        return sum(a.nbytes for a in arrays) + (self._tree.nbytes if self._tree else 0)

    def add(
        self,
        obs: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        terminated: ArrayLike,
        truncated: ArrayLike,
        envs: slice | ArrayLike = slice(None),
    ) -> None:
        """Store T more rows of N environments, the ignored ones after an end among them.

        Args:
            obs: (N, T, *obs_shape), what was acted on; the newest frame alone if they are stacked.
            actions: (N, T, *action_shape), whole numbers where they are stored as such.
            rewards: (N, T).
            terminated: (N, T) bool.
            truncated: (N, T) bool. What is both terminated and truncated is terminated.
            envs: which environments these are: a slice, or N different numbers.

        Raises:
            ValueError: wrong shapes, a wrong dtype, or no such environment.
        """
        chosen = self._chosen(envs)
        obs = self._checked_obs(obs, len(chosen))
        steps = obs.shape[:2]
        kind = np.integer if self.action_dtype.kind in "iu" else np.number
        chosen_actions = _checked("actions", actions, (*steps, *self.action_shape), kind)
        columns = (
            _checked("rewards", rewards, steps, np.number).astype(np.float32, copy=False),
            _checked("terminated", terminated, steps, np.bool_),
            _checked("truncated", truncated, steps, np.bool_),
        )
        length = self._rings.rows.shape[1]
        slots = (self._rings.counts[chosen, None] + np.arange(steps[1])) % length
        places = chosen[:, None] * length + slots
        self._obs[places], self._actions[places] = obs, chosen_actions
        self._note(*append(self._rings, chosen, *columns, self.n_step, self.stack))

    def cut(self, envs: slice | ArrayLike = slice(None)) -> None:
        """End episodes where they stand, because these environments have begun new ones unasked.

        Args:
            envs: which environments: a slice, or different numbers.
        """
        self._note(*cut(self._rings, self._chosen(envs)))

    def _note(self, changed: Numbers, ready: NDArray[Any]) -> None:
        """Count, and give priorities to, places where a transition is now, or is no more."""
        self._size += 2 * int(ready.sum()) - len(ready)
        if self._tree:
            self._tree.update(changed, np.where(ready, self._max_priority, 0.0))

    def sample(self, batch_size: int, beta: float = 1.0) -> Batch:
        """A batch of transitions.

        Args:
            batch_size: how many, at most `len(self)`.
            beta: how much importance weights make up for priorities, from 0, not at all, to 1,
                wholly. Schaul et al. raise it from 0.4 to 1. Used with priorities only.

        Raises:
            ValueError: an argument is out of range.
        """
        check_whole("batch_size", batch_size, 1)
        if batch_size > len(self):
            allowed = f"{len(self)} transitions can be sampled"
            raise ValueError(f"batch_size={batch_size} is not allowed: {allowed}")
        check_number("beta", beta, 0, 1)
        places = self._places(batch_size)
        found = windows(self._rings, places, self.n_step, self.gamma)
        returns, discounts, next_places, rows = found
        actions = np.take(self._actions, places, axis=0)
        obs, next_obs = self._observations(places), self._observations(next_places)
        if self._tree:
            probabilities = self._tree.weights[places] / self._tree.total
            weights = importance_weights(probabilities, len(self), beta)
        else:
            weights = np.ones(batch_size, np.float32)
        return Batch(obs, actions, returns, discounts, next_obs, weights, rows)

    def update_priorities(self, rows: Numbers, td_errors: ArrayLike) -> None:
        """Give transitions the priority that their newest TD errors call for.

        Rows that have been overwritten since they were sampled are left out. Without priorities
        nothing changes.

        Args:
            rows: (B,) int64, from `Batch.rows`.
            td_errors: (B,), of either sign.

        Raises:
            ValueError: an error is not finite, or their number is not that of the rows.
        """
        errors = np.asarray(td_errors, np.float64)
        if errors.shape != np.shape(rows):
            raise ValueError(f"td_errors of shape {errors.shape} is not allowed: {np.shape(rows)}")
        if not np.isfinite(errors).all():
            first = np.flatnonzero(~np.isfinite(errors))[0]
            raise ValueError(f"td_errors[{first}]={errors[first]} is not allowed: a finite number")
        if self._tree:
            places = places_of(self._rings, np.asarray(rows, np.int64))
            kept = places >= 0
            new = priorities(errors[kept], self.alpha)
            self._tree.update(places[kept], new)
            self._max_priority = max(self._max_priority, float(new.max(initial=0.0)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that is needed to go on bit for bit, by name; not copied, so save it at once."""
        rings = {f"replay_{name}": array for name, array in self._rings._asdict().items()}
        chance = {"replay_key": np.array(self._key), "replay_draws": np.array(self._draws)}
        contents = {"replay_obs": self._obs, "replay_actions": self._actions}
        arrays = {**contents, **rings, **chance}
        if self._tree:
            arrays["replay_priorities"] = self._tree.weights
            arrays["replay_max_priority"] = np.array(self._max_priority)
        return arrays

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take up what `to_arrays` of a replay with the same arguments gave.

        Raises:
            ValueError: an array is missing, has another shape or dtype, or holds what cannot be;
                nothing has changed then.
        """
        for name, mine in self.to_arrays().items():
            other = arrays.get(name)
            if other is None:
                raise ValueError(f"array {name!r} of the replay memory is missing")
            if (other.shape, other.dtype) != (mine.shape, mine.dtype):
                found, expected = f"{other.dtype} {other.shape}", f"{mine.dtype} {mine.shape}"
                raise ValueError(f"array {name!r} is {found} and should be {expected}")
        rings = Rings(*(arrays[f"replay_{name}"] for name in Rings._fields))
        wrong = contradiction(rings, self.n_step)
        if self._tree and not wrong:
            fit = _fit(arrays["replay_priorities"], rings.rows["ready"].ravel())
            largest = 0 < arrays["replay_max_priority"] < np.inf
            wrong = None if fit and largest else "priorities that are none"
        if wrong:
            raise ValueError(f"the replay memory is damaged: it holds {wrong}")
        for mine, other in zip(self._rings, rings, strict=True):
            mine[:] = other
        self._obs[:], self._actions[:] = arrays["replay_obs"], arrays["replay_actions"]
        self._size = int(rings.rows["ready"].sum())
        self._key, self._draws = np.uint64(arrays["replay_key"]), int(arrays["replay_draws"])
        if self._tree:
            self._tree.set_weights(arrays["replay_priorities"])
            self._max_priority = float(arrays["replay_max_priority"])

    def _places(self, batch_size: int) -> Numbers:
        """Where the transitions of the next batch begin."""
        if self._tree:
            points = stratified(self._tree.total, batch_size, self._key, self._draws)
            self._draws += batch_size
            return self._tree.find(points)
        if self.order == "latest":
            return newest(self._rings, batch_size)  # type: ignore[no-any-return]
        places, self._draws = draw(self._rings, batch_size, self._key, self._draws)
        return places  # type: ignore[no-any-return]

    def _observations(self, places: Numbers) -> NDArray[Any]:
        if self.stack > 1:
            places = frames(self._rings, places, self.stack)
        return np.take(self._obs, places, axis=0)

    def _chosen(self, envs: slice | ArrayLike) -> Numbers:
        every = np.arange(self.num_envs)
        chosen = every[envs] if isinstance(envs, slice) else np.atleast_1d(envs)
        if not len(chosen):
            return np.zeros(0, np.int64)
        known = np.issubdtype(chosen.dtype, np.integer) and np.isin(chosen, every).all()
        if not known or len(np.unique(chosen)) < len(chosen):
            allowed = f"different numbers, from 0 to {self.num_envs - 1}"
            raise ValueError(f"envs={envs!r} is not allowed: {allowed}")
        return chosen.astype(np.int64)

    def _checked_obs(self, given: ArrayLike, num_envs: int) -> NDArray[Any]:
        obs = np.asarray(given)
        if obs.ndim < 2 or obs.shape[0] != num_envs or obs.shape[2:] != self.obs_shape:
            expected = ", ".join(map(str, (num_envs, "T", *self.obs_shape)))
            raise ValueError(f"obs of shape {obs.shape} is not allowed: ({expected})")
        if obs.dtype != self.obs_dtype:
            raise ValueError(f"obs of dtype {obs.dtype} is not allowed: {self.obs_dtype}")
        return obs

    def _check_memory(self) -> None:
        def needed(capacity: int) -> int:
            return bytes_needed(
                capacity,
                self.num_envs,
                self.obs_shape,
                self.obs_dtype,
                action_shape=self.action_shape,
                action_dtype=self.action_dtype,
                n_step=self.n_step,
                prioritized=self.prioritized,
                stack=self.stack,
            )

        free = free_memory()
        if free is not None and needed(self.capacity) > free:
            fitting = bisect(range(1, self.capacity), free, key=needed)
            raise MemoryError(
                f"capacity={self.capacity} needs {needed(self.capacity) / 1e9:.1f} GB of memory, "
                f"and {free / 1e9:.1f} GB are free: at most {fitting} would fit"
            )


def free_memory() -> int | None:
    """Bytes of memory that are free; None where the system does not tell, as only Linux does.

    Never more than a container may have in all: on Binder that is far less than the machine has.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):  # there is no limit, or it is "max"
        free.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(free, default=None)


def _checked(name: str, given: ArrayLike, shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    array = np.asarray(given)
    if array.shape != shape:
        raise ValueError(f"{name} of shape {array.shape} is not allowed: {shape}, as obs begins")
    if not np.issubdtype(array.dtype, kind):
        raise ValueError(f"{name} of dtype {array.dtype} is not allowed: {KINDS[kind]}")
    return array


def _fit(weights: NDArray[np.float64], ready: NDArray[np.bool_]) -> bool:
    """Whether these are priorities of what can be sampled, and of nothing else."""
    return bool(np.isfinite(weights).all() and np.array_equal(weights > 0, ready))
