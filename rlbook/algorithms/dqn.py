"""Deep Q-learning: chapter 06 of the book.

Mnih et al., "Human-level control through deep reinforcement learning", Nature 2015.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlbook import schedules
from rlbook.algorithm import Algorithm, Decision, Gradients, Problem, RandomStreams
from rlbook.arguments import check_choice, check_number, check_whole
from rlbook.data.replay import ORDERS, Batch, Replay
from rlbook.data.rollout import Rollout
from rlbook.deep_agent import DeepAgent, DeepHyperparameters
from rlbook.nn.q_network import q_network
from rlbook.ops.sampling import explore_uniformly
from rlbook.ops.value_learning import huber_gradient, q_learning_targets, take
from rlbook.schedules import Linear, Schedule


@dataclass(frozen=True)
class Hyperparameters(DeepHyperparameters):
    """Hyperparameters of `DQN`, in addition to those of `DeepHyperparameters`.

    Attributes:
        epsilon: probability of a random action, or a schedule (1 to 0.1 in Mnih et al., 2015).
        batch_size: transitions sampled for each update (32 there).
        replay_capacity: replay buffer size in transitions (1,000,000 there); at least two batches.
        replay_order: `"random"`, or `"latest"` for the newest transitions, which is no replay.
        learning_starts: steps before the first update (50,000 there).
        steps_per_update: steps, in all environments together, for each update (4 there).
        target_every: updates between copies to the target network (10,000 there).
        n_step: rewards added up before bootstrapping (1 there, 3 in Rainbow).
    """

    epsilon: float | Schedule = Linear(1.0, 0.05, steps=5_000)
    batch_size: int = 64
    replay_capacity: int = 100_000
    replay_order: str = "random"
    learning_starts: int = 1_000
    steps_per_update: float = 2.0
    target_every: int = 100
    n_step: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("epsilon", schedules.check("epsilon", self.epsilon, 0, 1))
        for name, least in {"batch_size": 1, "target_every": 1, "learning_starts": 0}.items():
            check_whole(name, getattr(self, name), least)
        check_whole("replay_capacity", self.replay_capacity, 2 * self.batch_size)
        check_whole("n_step", self.n_step, 1, self.replay_capacity)
        check_whole("gradient_parts", self.gradient_parts, 1, self.batch_size)
        rate = check_number("steps_per_update", self.steps_per_update, 1e-3, 1e6)
        self._set("steps_per_update", rate)
        check_choice("replay_order", self.replay_order, ORDERS)


class DeepQLearning(Algorithm):
    """Q-learning with a network, a replay buffer and a target network (algorithm 1)."""

    def __init__(self, problem: Problem, settings: Any) -> None:
        super().__init__(problem, settings)
        self.target_network = self.networks["target"] = self.make_network()

    def make_network(self) -> Any:
        """Return a network of action values, (B, …) to (B, A)."""
        problem, settings = self.problem, self.settings
        return q_network(
            problem.observations, problem.actions.n, settings.hidden, settings.channels,
            seed=problem.seed, device=problem.device,
        )  # fmt: skip

    @cached_property
    def replay(self) -> Replay:  # type: ignore[override]
        """The replay buffer; a copy of the algorithm that only acts never makes one."""
        problem, settings = self.problem, self.settings
        return Replay(
            settings.replay_capacity, problem.num_envs, problem.observations.frame_shape,
            problem.observations.dtype, n_step=settings.n_step, gamma=settings.gamma,
            order=settings.replay_order, stack=problem.observations.stack, seed=problem.seed,
        )  # fmt: skip

    def exploration(self, timesteps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return ε at each of these steps."""
        return schedules.values(self.settings.epsilon, timesteps)

    def act(self, obs: Any, memory: Any, random: RandomStreams, exploration: Any) -> Decision:
        """Take the action of the highest value, or a random one with probability ε."""
        values = self.network(obs)
        actions = values.argmax(axis=1)
        explore_uniformly(actions, values.shape[1], exploration, random.keys, random.counters)
        return Decision(actions)

    def batches(self, rollout: Rollout) -> Iterator[Batch]:
        """Store the rollout, and sample the batches that are due after it."""
        self.replay.cut(rollout.envs[rollout.interrupted])
        obs = self.problem.observations.newest(rollout.obs)
        self.replay.add(obs, *rollout[1:5], rollout.envs)
        self.timesteps += rollout.rewards.size
        return self._due_batches()

    def _due_batches(self) -> Iterator[Batch]:
        settings = self.settings
        due = (self.timesteps - settings.learning_starts) // settings.steps_per_update
        while self.updates < due and len(self.replay) >= settings.batch_size:
            yield self.sample()

    def sample(self) -> Batch:
        """Return a batch of transitions."""
        return self.replay.sample(self.settings.batch_size)

    def targets(self, batch: Batch) -> NDArray[np.float32]:
        """Return what Q(s, a) should be for each transition, (B,)."""
        next_values = self.target_network(batch.next_obs)
        return q_learning_targets(batch.returns, batch.discounts, next_values)

    def gradients(self, batch: Batch) -> Gradients:
        """Return the gradient of the mean Huber loss of the TD errors."""
        values, backward = self.network.vjp(batch.obs)
        td_errors = self.targets(batch) - take(values, batch.actions)
        gradient = np.zeros_like(values)  # of the loss, with respect to the action values
        chosen = np.arange(len(values)), batch.actions
        gradient[chosen] = -huber_gradient(td_errors) / np.float32(len(values))
        return Gradients(backward(gradient), {"td_error": float(np.abs(td_errors).mean())})

    def apply(self, gradients: Gradients) -> None:
        """Take one optimiser step, and copy the weights to the target network when it is time."""
        super().apply(gradients)
        if self.updates % self.settings.target_every == 0:
            self.target_network.set_weights(self.network.get_weights())


class DQN(DeepAgent):
    """Deep Q-learning. See `DeepAgent` for everything else.

    >>> agent = DQN("CartPole-v1", seed=1)
    >>> history = agent.learn(2_000)
    >>> agent.predict(np.zeros(4)) in (0, 1)
    True
    """

    Hyperparameters = Hyperparameters
    Algorithm = DeepQLearning
