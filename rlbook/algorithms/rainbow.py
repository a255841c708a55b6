"""Rainbow, six additions to deep Q-learning: chapter 07 of the book.

Hessel et al., "Rainbow: combining improvements in deep reinforcement learning", AAAI 2018. Each
addition can be turned on and off alone, so this module also holds double DQN, dueling DQN, C51 and
the others:

* `double`: van Hasselt, Guez and Silver, "Deep reinforcement learning with double Q-learning", 2016
* `prioritized`: Schaul et al., "Prioritized experience replay", 2016
* `dueling`: Wang et al., "Dueling network architectures for deep reinforcement learning", 2016
* `n_step`: Sutton and Barto, 2018, equation 7.1
* `distributional`: Bellemare, Dabney and Munos, "A distributional perspective on reinforcement
  learning", 2017
* `noisy`: Fortunato et al., "Noisy networks for exploration", 2018
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook import schedules
from rlbook.algorithm import Decision, Gradients, Problem, RandomStreams
from rlbook.algorithms import dqn
from rlbook.arguments import check_flag, check_number, check_whole
from rlbook.data.replay import Batch, Replay
from rlbook.deep_agent import DeepAgent
from rlbook.nn.q_network import q_network
from rlbook.ops.distributional import (
    action_values,
    cross_entropy_gradient,
    divergence,
    project_distribution,
    softmax,
    warn_if_beyond,
)
from rlbook.ops.sampling import explore_uniformly, factorised_noise
from rlbook.ops.value_learning import huber_gradient, take
from rlbook.schedules import Linear, Schedule
from rlbook_envs.streams import POLICY, stream_key

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Hyperparameters(dqn.Hyperparameters):
    """Hyperparameters of `Rainbow`, in addition to those of `DQN`.

    Attributes:
        double: the network chooses the next action, and the target network values it.
        prioritized: sample transitions with a large error more often.
        dueling: separate heads for the state's value and the actions' advantages.
        n_step: rewards added up before bootstrapping.
        distributional: learn the distribution of returns on `num_atoms` atoms.
        noisy: explore by noise in the weights, and not by `epsilon`.
        alpha: how much priorities count, in [0, 1] (Schaul et al.: 0.6; Rainbow: 0.5).
        beta: how much of that importance weights undo, in [0, 1], or a schedule (0.4 to 1).
        num_atoms: atoms of a distribution (51), from `v_min` to `v_max` (-10 to 10, for Atari).
        v_min: the lowest return that a distribution covers: set both to returns of your world.
        v_max: the highest.
    """

    double: bool = True
    prioritized: bool = True
    dueling: bool = True
    n_step: int = 3
    distributional: bool = True
    noisy: bool = True
    alpha: float = 0.5
    beta: float | Schedule = Linear(0.4, 1.0, steps=100_000)
    num_atoms: int = 51
    v_min: float = -10.0
    v_max: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("double", "prioritized", "dueling", "distributional", "noisy"):
            check_flag(name, getattr(self, name))
        self._set("beta", schedules.check("beta", self.beta, 0, 1))
        self._set("alpha", check_number("alpha", self.alpha, 0, 1))
        check_whole("num_atoms", self.num_atoms, 2)
        self._set("v_min", check_number("v_min", self.v_min, -1e9, 1e9))
        self._set("v_max", check_number("v_max", self.v_max, self.v_min, 1e9))
        if np.float32(self.v_min) == np.float32(self.v_max):
            raise ValueError(f"v_max must be above v_min={self.v_min}, got {self.v_max}")
        if self.prioritized and self.replay_order == "latest":
            raise ValueError("replay_order must be 'random' with prioritized=True, got 'latest'")

    def support(self) -> Floats:
        """Return the atoms of a distribution of returns, (K,); (0,) where values are learned."""
        atoms = np.linspace(self.v_min, self.v_max, self.num_atoms, dtype=np.float32)
        return atoms[: self.num_atoms * self.distributional]


class RainbowLearning(dqn.DeepQLearning):
    """Deep Q-learning with any of the six additions."""

    def __init__(self, problem: Problem, settings: Any) -> None:
        self.support = settings.support()
        super().__init__(problem, settings)
        self.noise_keys = [stream_key(problem.seed, POLICY, 2**32 + i) for i in range(3)]

    def make_network(self) -> Any:
        """Return a network of action values, (B, A), or of logits of distributions, (B, A, K)."""
        problem, settings = self.problem, self.settings
        return q_network(
            problem.observations, problem.actions.n, settings.hidden, settings.channels,
            dueling=settings.dueling, noisy=settings.noisy, num_atoms=len(self.support),
            seed=problem.seed, device=problem.device,
        )  # fmt: skip

    @cached_property
    def replay(self) -> Replay:  # type: ignore[override]
        """The replay buffer."""
        problem, settings = self.problem, self.settings
        return Replay(
            settings.replay_capacity, problem.num_envs, problem.observations.frame_shape,
            problem.observations.dtype, n_step=settings.n_step, gamma=settings.gamma,
            order=settings.replay_order, stack=problem.observations.stack, seed=problem.seed,
            prioritized=settings.prioritized, alpha=settings.alpha,
        )  # fmt: skip

    def exploration(self, timesteps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return ε at each of these steps; 1 for a noisy network, which explores by its noise."""
        return np.ones(timesteps.shape) if self.settings.noisy else super().exploration(timesteps)

    def act(self, obs: Any, memory: Any, random: RandomStreams, exploration: Any) -> Decision:
        """Take the action of the highest value, by a noisy network or with probability 1 - ε."""
        noise, size = None, self.network.noise_size
        if size and exploration.any():
            noise = factorised_noise(random.keys, random.counters, size)
        values = action_values(self.network(obs, noise), self.support)
        actions = values.argmax(axis=1)
        if not size:
            explore_uniformly(actions, values.shape[1], exploration, random.keys, random.counters)
        return Decision(actions)

    def sample(self) -> Batch:
        """Return a batch of transitions with their importance weights."""
        beta = schedules.values(self.settings.beta, np.array([self.timesteps]))[0]
        return self.replay.sample(self.settings.batch_size, float(beta))

    def targets(self, batch: Batch) -> Floats:
        """Return what the network should say of each transition: (B,), or distributions (B, K)."""
        _, target_noise, choosing_noise = self._noises()
        next_out = self.target_network(batch.next_obs, target_noise)
        choosing = next_out
        if self.settings.double:
            choosing = self.network(batch.next_obs, choosing_noise)
        best = action_values(choosing, self.support).argmax(axis=1)
        next_out = take(next_out, best)
        if not len(self.support):
            return batch.returns + batch.discounts * next_out  # type: ignore[no-any-return]
        probabilities = softmax(next_out)
        warn_if_beyond(self.support, batch.returns, batch.discounts, probabilities)
        return project_distribution(self.support, batch.returns, batch.discounts, probabilities)

    def gradients(self, batch: Batch) -> Gradients:
        """Return the gradient of the mean loss: Huber's of TD errors, or the cross-entropy."""
        out, backward = self.network.vjp(batch.obs, self._noises()[0])
        targets, predicted = self.targets(batch), take(out, batch.actions)
        weights = batch.weights / np.float32(len(out))
        gradient = np.zeros_like(out)  # of the loss, with respect to what the network says
        chosen = np.arange(len(out)), batch.actions
        if len(self.support):
            errors = divergence(targets, predicted)
            gradient[chosen] = cross_entropy_gradient(targets, predicted) * weights[:, None]
        else:
            errors = targets - predicted
            gradient[chosen] = -huber_gradient(errors) * weights
        metrics = {"td_error": float(np.abs(errors).mean())}
        return Gradients(backward(gradient), metrics, (batch.rows, errors))

    def apply(self, gradients: Gradients) -> None:
        """Take one optimiser step, and give the batch its new priorities."""
        super().apply(gradients)
        if gradients.priorities is not None:
            self.replay.update_priorities(*gradients.priorities)

    def _noises(self) -> list[Any]:
        """Return noise for the network, the target network, and the choice of actions."""
        size = self.network.noise_size
        if not size:
            return [None] * 3
        keys, counters = np.array(self.noise_keys), np.full(3, self.updates)
        return np.split(factorised_noise(keys, counters, size), 3)


class Rainbow(DeepAgent):
    """Rainbow, any of whose six additions can be turned off. See `DeepAgent` for everything else.

    Set `v_min` and `v_max` to returns that are possible in your environment.

    >>> agent = Rainbow("CartPole-v1", v_min=0, v_max=100, noisy=False)
    >>> agent.settings.double, agent.settings.noisy
    (True, False)
    """

    Hyperparameters = Hyperparameters
    Algorithm = RainbowLearning
