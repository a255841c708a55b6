"""The protocol of an algorithm that learns with a network: what it is asked to do, and by whom.

An algorithm says how to act, what to learn from, and which way its loss falls. It knows nothing of
workers: a *pattern* of `rlbook.patterns` decides where and when its methods are called, and a
*backend* runs them. One object does everything, so a pattern may use it in the driver, in a worker,
or in both:

    act(obs, memory, random, exploration) -> Decision     choose actions
    batches(rollout)                      -> Batch, ...   take in experience; what to learn from now
    gradients(batch)                      -> Gradients    of the loss, with respect to the weights
    apply(gradients)                                      one step of the optimiser
    get_weights(), set_weights(weights)                   what acting needs
    get_parameters(), set_parameters(parameters)          what computing gradients needs
    get_state(), set_state(state)                         what resuming bit for bit needs

`rlbook.algorithms.dqn` is a complete example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rlbook import schedules
from rlbook.data.rollout import Rollout
from rlbook.envs.actions import Actions
from rlbook.envs.observations import Observations

Arrays = dict[str, NDArray[Any]]
B = TypeVar("B", bound=tuple[Any, ...])


class Problem(NamedTuple):
    """What an algorithm must know of its environments and of the run.

    Attributes:
        observations: how observations are encoded for a network.
        actions: how actions are encoded.
        num_envs: environments in the whole run.
        seed: of everything random.
        device: where this copy of the algorithm computes, as torch names it.
        worker_device: where its copies in workers compute: `"cuda"` for workers that were given
            GPUs, and else `"cpu"`.
    """

    observations: Observations
    actions: Actions
    num_envs: int
    seed: int
    device: str = "cpu"
    worker_device: str = "cpu"


class RandomStreams(NamedTuple):
    """One random number stream for each environment, and the place that each has reached.

    Random numbers are a function of (key, counter), as `rlbook_envs.streams` explains, so an
    environment draws the same numbers whoever acts for it, and nothing has to be remembered.

    Attributes:
        keys: (N,) uint64.
        counters: (N,) int64, the steps that each environment has taken. They are advanced in place.
    """

    keys: NDArray[np.uint64]
    counters: NDArray[np.int64]


class Decision(NamedTuple):
    """What `Algorithm.act` chose for N observations.

    Attributes:
        actions: (N, *actions.shape), encoded as `Actions` describes.
        extras: name to (N, …), whatever learning needs to know about the choice later, such as
            log-probabilities or values. The rollout keeps them.
        memory: name to (N, …), the recurrent state after this step; None without one.
    """

    actions: NDArray[Any]
    extras: Arrays = {}
    memory: Arrays | None = None


class Gradients(NamedTuple):
    """The gradient of a loss on one batch, or on a part of one.

    Attributes:
        vector: (P,) float32, the gradient with respect to all weights: an array, or a tensor on a
            GPU.
        metrics: name to number, means over the batch; `History.metrics` records them.
        priorities: for prioritised replay, the rows that the batch came from, (B,) int64, and their
            TD errors, (B,) float32; else None.
    """

    vector: Any
    metrics: dict[str, float] = {}
    priorities: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None

    def as_arrays(self) -> Gradients:
        """The same gradients with the vector as a NumPy array, to be sent to another process."""
        on_gpu = not isinstance(self.vector, np.ndarray)
        return self._replace(vector=self.vector.cpu().numpy()) if on_gpu else self


class Algorithm(ABC):
    """Base class of algorithms with a network. Pickling one keeps what acting needs.

    Args:
        problem: the environments' spaces, and the seed.
        settings: hyperparameters, of the class `Hyperparameters` in the algorithm's module.

    Attributes:
        network: the network that learns.
        networks: by name, all networks that gradients depend on; `"weights"` is `network`.
        replay: the replay buffer, or None for algorithms that do not use one.
        timesteps: environment steps taken in so far.
        updates: optimiser steps so far.
    """

    ACTIONS: ClassVar[tuple[str, ...]] = ("discrete",)  # the kinds of `Actions` it can choose
    replay: Any = None

    def __init__(self, problem: Problem, settings: Any) -> None:
        self.problem, self.settings = problem, settings
        self.network = self.make_network()
        self.networks = {"weights": self.network}
        self.optimiser = self.network.optimiser(settings.adam_epsilon)
        self.timesteps = self.updates = 0

    @abstractmethod
    def make_network(self) -> Any:
        """Return a new `rlbook.nn.network.Network` with its initial weights."""

    @abstractmethod
    def act(
        self,
        obs: NDArray[Any],
        memory: Arrays | None,
        random: RandomStreams,
        exploration: NDArray[np.float64],
    ) -> Decision:
        """Choose an action for each of N observations.

        Args:
            obs: (N, *observations.shape).
            memory: the recurrent state, as `initial_memory` began it; None without one.
            random: where random numbers come from.
            exploration: (N,), how much to explore: 0 asks for the deterministic policy.
        """

    @abstractmethod
    def batches(self, rollout: Rollout) -> Iterator[Any]:
        """Take in a rollout at once, and return an iterator over the batches to learn from now.

        A batch is a NamedTuple of arrays whose first axis is the same.
        """

    @abstractmethod
    def gradients(self, batch: Any) -> Gradients:
        """Return the gradient of the mean loss of this batch."""

    def apply(self, gradients: Gradients) -> None:
        """Take one optimiser step against the gradient."""
        rate = schedules.values(self.settings.learning_rate, np.array([self.timesteps]))
        self.optimiser.step(gradients.vector, float(rate[0]), self.settings.max_grad_norm)
        self.updates += 1

    def exploration(self, timesteps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how much to explore at each of these steps: 1, unless an algorithm says more."""
        return np.ones(timesteps.shape)

    def initial_memory(self, number: int) -> Arrays | None:
        """Return the recurrent state at the beginning of `number` episodes; None without one."""
        return None

    def get_weights(self) -> NDArray[np.float32]:
        """Return the weights that acting needs, (P,) float32."""
        return self.network.get_weights()  # type: ignore[no-any-return]

    def set_weights(self, weights: NDArray[np.float32]) -> None:
        """Act with these weights from now on."""
        self.network.set_weights(weights)

    def get_parameters(self) -> Arrays:
        """Return everything but the batch that gradients depend on."""
        weights = {name: each.get_weights() for name, each in self.networks.items()}
        return {**weights, "updates": np.array(self.updates)}

    def set_parameters(self, parameters: Arrays) -> None:
        """Compute gradients with these from now on."""
        for name, network in self.networks.items():
            network.set_weights(parameters[name])
        self.updates = int(parameters["updates"])

    def get_state(self) -> Arrays:
        """Return everything that resuming needs; arrays are not copied."""
        learned = {**self.get_parameters(), **self.optimiser.to_arrays()}
        replay = {} if self.replay is None else self.replay.to_arrays()
        return {**learned, **replay, "algorithm_timesteps": np.array(self.timesteps)}

    def set_state(self, state: Arrays) -> None:
        """Go on from where `get_state` was called.

        Raises:
            KeyError: an array is missing.
            ValueError: an array does not fit, or holds numbers that are not finite.
        """
        for name in self.get_parameters():
            if not np.isfinite(state[name]).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        self.set_parameters(state)
        self.optimiser.load_arrays(state)
        if self.replay is not None:
            self.replay.load_arrays(state)
        self.timesteps = int(state["algorithm_timesteps"])

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self.problem, self.settings, self.get_weights())


def _rebuilt(kind: type[Algorithm], problem: Problem, settings: Any, weights: Any) -> Algorithm:
    algorithm = kind(problem._replace(device=problem.worker_device), settings)
    algorithm.set_weights(weights)
    return algorithm


# Gradients of a batch that is cut into parts. A sum of floating-point numbers depends on the order
# of its terms, so the parts are always the same and always added in the same order, whichever
# machine computed them.


def split(batch: B, parts: int) -> list[B]:
    """Cut a batch, a NamedTuple of arrays, into `parts` parts whose sizes differ by at most one."""
    edges = np.linspace(0, len(batch[0]), parts + 1).astype(int)
    return [type(batch)(*(column[a:b] for column in batch)) for a, b in pairwise(edges)]


def average(parts: Iterable[Gradients], sizes: Sequence[int]) -> Gradients:
    """Return the gradient of a batch, given those of its parts, in their order.

    Args:
        parts: one for each part.
        sizes: how many rows each part has.
    """
    shares = [size / sum(sizes) for size in sizes]
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    vector = sum(np.float32(share) * part.vector for share, part in zip(shares, parts, strict=True))
    metrics = {
        name: sum(share * part.metrics[name] for share, part in zip(shares, parts, strict=True))
        for name in parts[0].metrics
    }
    found = [part.priorities for part in parts if part.priorities is not None]
    priorities = None
    if found:
        rows, errors = zip(*found, strict=True)
        priorities = np.concatenate(rows), np.concatenate(errors)
    return Gradients(vector, metrics, priorities)
