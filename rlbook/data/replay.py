"""Replay buffer: it keeps transitions so that an agent can learn from them more than once.

`rlbook.data.rings` stores each observation once and reads transitions from the stored rows. This
module chooses which transitions are sampled: uniformly random ones, the newest ones, or random ones
in proportion to their priorities (Schaul et al., "Prioritized experience replay", ICLR 2016).
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from rlbook.arguments import check_choice, check_flag, check_number, check_whole
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
SMALLEST_ERROR = 1e-6  # ε; without it, a transition whose error is 0 would never be drawn again
KINDS = {np.integer: "whole numbers", np.number: "numbers", np.bool_: "booleans"}


class Batch(NamedTuple):
    """A batch of B transitions, each over at most n steps."""

    obs: NDArray[Any]  # (B, *shape), or (B, stack, *shape), oldest first; dtype as stored
    actions: NDArray[Any]  # (B, *action_shape), dtype as stored
    returns: Floats  # (B,) float32, the discounted sum of the rewards over these steps
    discounts: Floats  # (B,) float32, discount of next_obs's value, gamma ** k * (1 - terminated)
    next_obs: NDArray[Any]  # as obs, k steps later; k is n, or less if the episode ended sooner
    weights: Floats  # (B,) float32, importance weights; 1 if sampling is uniform
    rows: Numbers  # (B,) int64, the names of the sampled rows, for `Replay.update_priorities`


def priorities(td_errors: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """Return the priorities (|error| + ε) ** alpha of transitions with these TD errors.

    This is the proportional variant of Schaul et al. (2016), section 3.3.

    >>> priorities([-4.0, 0.25], 0.5).round(3)
    array([2. , 0.5])
    """
    return (np.abs(np.asarray(td_errors, np.float64)) + SMALLEST_ERROR) ** alpha


def importance_weights(probabilities: NDArray[np.float64], size: int, beta: float) -> Floats:
    """Return the importance weights of a batch that was sampled with these probabilities.

    A weight is (size * probability) ** -beta, divided by the largest weight of the batch (Schaul et
    al., 2016, section 3.4). Transitions that are drawn more often get smaller weights.

    Args:
        probabilities: (B,) float64, the probability with which each transition was drawn.
        size: number of transitions that could have been drawn.
        beta: exponent of the correction, from 0 (no correction, all weights are 1) to 1 (full
            correction of the bias).

    Returns:
        (B,) float32, the largest of which is 1.

    >>> importance_weights(np.array([0.1, 0.2, 0.4]), 10, 1.0)
    array([1.  , 0.5 , 0.25], dtype=float32)
    """
    weights = (size * probabilities) ** -beta
    return (weights / weights.max()).astype(np.float32)  # type: ignore[no-any-return]


@compile
def stratified(total, batch_size, key, draws):  # type: ignore[no-untyped-def]
    """Return one random point from each of `batch_size` equal parts of the range 0 to `total`."""
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
    """Return the memory that a `Replay` with these arguments needs, in bytes.

    >>> bytes_needed(1_000_000, 8, (84, 84), np.uint8, stack=4) / 1e9  # GB
    7.072226432
    """
    rows = num_envs * ring_length(capacity, num_envs, n_step, stack)
    each = math.prod(obs_shape) * np.dtype(obs_dtype).itemsize + ROW.itemsize
    each += math.prod(action_shape) * np.dtype(action_dtype).itemsize
    return rows * each + num_envs * 16 + (tree_bytes(rows) if prioritized else 0)


class Replay:
    """Replay buffer for several environments, in which new transitions overwrite the oldest.

    Args:
        capacity: replay buffer size (transitions), at least 1. The row that follows the end of an
            episode takes the space of a transition.
        num_envs: number of environments, each of which has its own ring.
        obs_shape: shape of an observation, or of one frame if frames are stacked.
        obs_dtype: dtype of an observation.
        action_shape: shape of an action; () for `Discrete`.
        action_dtype: dtype of an action; it must be able to represent every action that is added.
        n_step: number of rewards that are summed before bootstrapping, at least 1 (Sutton and
            Barto, 2018, equation 7.1). There are fewer if the episode ends sooner.
        gamma: discount per step, from 0 to 1.
        order: "random" samples with replacement; "latest" takes the newest transitions, without
            randomness.
        prioritized: whether to sample in proportion to priorities instead of uniformly.
        alpha: exponent of the priorities, from 0 (uniform sampling) to 1; Schaul et al. use 0.6.
        stack: number of frames in an observation. Each frame is stored only once.
        seed: seed of the random stream for sampling, a non-negative integer.

    Raises:
        ValueError: an argument is out of range.
        MemoryError: there is not enough free memory.

    >>> replay = Replay(100, 1, (2,), np.float32)
    >>> obs = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    >>> replay.add(obs, [[0, 1, 0]], [[0.0, 5.0, 0.0]], [[False, True, False]], [[False] * 3])
    >>> len(replay)  # the third row only holds the final observation of the episode
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
        check_choice("order", order, ORDERS)
        if prioritized and order == "latest":
            raise ValueError("order must be 'random' with prioritized=True, got 'latest'")
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
        """Return the number of transitions that can be sampled."""
        return self._size

    @property
    def nbytes(self) -> int:
        """Memory that the buffer uses, in bytes; `bytes_needed` gives this number in advance."""
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
        """Store T rows of each of N environments.

        The rows include the one after the end of each episode, whose action was ignored.

        Args:
            obs: (N, T, *obs_shape), the observations on which the actions are based; only the
                newest frame of each if frames are stacked.
            actions: (N, T, *action_shape), whole numbers if `action_dtype` is an integer dtype.
            rewards: (N, T).
            terminated: (N, T) bool.
            truncated: (N, T) bool. A step that is both terminated and truncated counts as
                terminated.
            envs: the environments of these rows, as a slice or as N different numbers.

        Raises:
            ValueError: a shape or a dtype is wrong, or an environment does not exist.
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
        """End the current episodes of environments that have to begin new ones.

        Args:
            envs: the environments, as a slice or as different numbers.
        """
        self._note(*cut(self._rings, self._chosen(envs)))

    def _note(self, changed: Numbers, ready: NDArray[Any]) -> None:
        """Update the size and the priorities for places that gained or lost a transition."""
        self._size += 2 * int(ready.sum()) - len(ready)
        if self._tree:
            self._tree.update(changed, np.where(ready, self._max_priority, 0.0))

    def sample(self, batch_size: int, beta: float = 1.0) -> Batch:
        """Return a batch of transitions.

        Args:
            batch_size: number of transitions, at most `len(self)`.
            beta: exponent of the importance weights, from 0 (no correction) to 1 (full correction).
                Schaul et al. increase it from 0.4 to 1. It has no effect without priorities.

        Raises:
            ValueError: an argument is out of range.
        """
        check_whole("batch_size", batch_size, 1)
        if batch_size > len(self):
            allowed = f"at most {len(self)}, the number of transitions that can be sampled"
            raise ValueError(f"batch_size must be {allowed}, got {batch_size}")
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
        """Set the priorities of sampled transitions from their newest TD errors.

        Rows that have been overwritten since they were sampled are ignored. Without priorities
        nothing changes.

        Args:
            rows: (B,) int64, the `rows` of a `Batch`.
            td_errors: (B,), positive or negative.

        Raises:
            ValueError: a TD error is not finite, or `rows` and `td_errors` differ in shape.
        """
        errors = np.asarray(td_errors, np.float64)
        if errors.shape != np.shape(rows):
            allowed = f"have shape {np.shape(rows)}, as rows has"
            raise ValueError(f"td_errors must {allowed}, got {errors.shape}")
        if not np.isfinite(errors).all():
            first = np.flatnonzero(~np.isfinite(errors))[0]
            raise ValueError(f"td_errors[{first}] must be a finite number, got {errors[first]}")
        if self._tree:
            places = places_of(self._rings, np.asarray(rows, np.int64))
            kept = places >= 0
            new = priorities(errors[kept], self.alpha)
            self._tree.update(places[kept], new)
            self._max_priority = max(self._max_priority, float(new.max(initial=0.0)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that resuming bit for bit needs, by name; the arrays are not copies."""
        rings = {f"replay_{name}": array for name, array in self._rings._asdict().items()}
        stream = {"replay_key": np.array(self._key), "replay_draws": np.array(self._draws)}
        contents = {"replay_obs": self._obs, "replay_actions": self._actions}
        arrays = {**contents, **rings, **stream}
        if self._tree:
            arrays["replay_priorities"] = self._tree.weights
            arrays["replay_max_priority"] = np.array(self._max_priority)
        return arrays

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore the state that `to_arrays` returned for a buffer with the same arguments.

        Raises:
            ValueError: an array is missing, has another shape or dtype, or holds impossible values.
                The buffer is then unchanged.
        """
        for name, mine in self.to_arrays().items():
            other = arrays.get(name)
            if other is None:
                raise ValueError(f"arrays must have {name!r} for the replay buffer, got none")
            if (other.shape, other.dtype) != (mine.shape, mine.dtype):
                found, expected = f"{other.dtype} {other.shape}", f"{mine.dtype} {mine.shape}"
                raise ValueError(f"array {name!r} must be {expected}, got {found}")
        rings = Rings(*(arrays[f"replay_{name}"] for name in Rings._fields))
        wrong = contradiction(rings, self.n_step)
        if self._tree and not wrong:
            fit = _fit(arrays["replay_priorities"], rings.rows["ready"].ravel())
            largest = 0 < arrays["replay_max_priority"] < np.inf
            wrong = None if fit and largest else "impossible priorities"
        if wrong:
            raise ValueError(f"the replay buffer is damaged: it holds {wrong}")
        for mine, other in zip(self._rings, rings, strict=True):
            mine[:] = other
        self._obs[:], self._actions[:] = arrays["replay_obs"], arrays["replay_actions"]
        self._size = int(rings.rows["ready"].sum())
        self._key, self._draws = np.uint64(arrays["replay_key"]), int(arrays["replay_draws"])
        if self._tree:
            self._tree.set_weights(arrays["replay_priorities"])
            self._max_priority = float(arrays["replay_max_priority"])

    def _places(self, batch_size: int) -> Numbers:
        """Return the places where the transitions of the next batch begin."""
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
            allowed = f"a slice or different numbers from 0 to {self.num_envs - 1}"
            raise ValueError(f"envs must be {allowed}, got {envs!r}")
        return chosen.astype(np.int64)

    def _checked_obs(self, given: ArrayLike, num_envs: int) -> NDArray[Any]:
        obs = np.asarray(given)
        if obs.ndim < 2 or obs.shape[0] != num_envs or obs.shape[2:] != self.obs_shape:
            expected = ", ".join(map(str, (num_envs, "T", *self.obs_shape)))
            raise ValueError(f"obs must have shape ({expected}), got {obs.shape}")
        if obs.dtype != self.obs_dtype:
            raise ValueError(f"obs must have dtype {self.obs_dtype}, got {obs.dtype}")
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
                f"capacity must be at most {fitting} to fit into {free / 1e9:.1f} GB of free "
                f"memory, got {self.capacity}, which needs {needed(self.capacity) / 1e9:.1f} GB"
            )


def free_memory() -> int | None:
    """Return the free memory in bytes, or None on systems other than Linux, where it is unknown.

    The result never exceeds the memory limit of a container. On Binder, for example, the limit is
    far below the machine's memory.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):  # there is no limit file, or it says "max"
        free.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(free, default=None)


def _checked(name: str, given: ArrayLike, shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    array = np.asarray(given)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} to match obs, got {array.shape}")
    if not np.issubdtype(array.dtype, kind):
        raise ValueError(f"{name} must be {KINDS[kind]}, got dtype {array.dtype}")
    return array


def _fit(weights: NDArray[np.float64], ready: NDArray[np.bool_]) -> bool:
    """Return whether exactly the transitions that can be sampled have positive priorities."""
    return bool(np.isfinite(weights).all() and np.array_equal(weights > 0, ready))
