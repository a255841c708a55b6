"""Deep Q-learning and the six tricks of Rainbow: chapters 06 and 07 of the book.

DQN (Mnih et al., "Human-level control through deep reinforcement learning", Nature, 2015) is
Q-learning whose table is a network. Two things keep that from falling apart: it learns from steps
drawn at random out of a memory, and towards targets from a copy of the network that stands still
for a while. Rainbow (Hessel et al., "Rainbow: combining improvements in deep reinforcement
learning", AAAI 2018) adds six tricks, each of which is a word here.

In this order: the targets; what can be chosen; the loss; and the agent, which remembers and learns.
How it acts is in `rlbook.nn.policies`, and all that is not of DQN alone in `rlbook.deep_agent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook import schedules
from rlbook.arguments import check_flag, check_number, check_whole
from rlbook.data.replay import ORDERS, Batch, Replay
from rlbook.data.rollout import Rollout
from rlbook.deep_agent import DeepAgent, DeepHyperparameters
from rlbook.gradients import Gradients, add_up, split
from rlbook.nn.network import Network
from rlbook.nn.policies import EpsilonGreedy
from rlbook.nn.q_network import needs_torch, q_network
from rlbook.ops.distributional import (
    action_values,
    cross_entropy_slopes,
    project_distribution,
    softmax,
    warn_if_beyond,
)
from rlbook.ops.sampling import factorised_noise
from rlbook.schedules import Linear, Schedule
from rlbook_envs.streams import POLICY, stream_key

Floats = NDArray[np.float32]

EPSILON = Linear(1.0, 0.05, steps=5_000)
BETA = Linear(0.4, 1.0, steps=100_000)

# --- targets ------------------------------------------------------------------------------------


def q_learning_targets(returns: Floats, discounts: Floats, next_values: Floats) -> Floats:
    """What Q(s, a) should be: G + discount * next value (Mnih et al., 2015, equation 2).

    Args:
        returns: (B,), the reward, or the discounted sum of n of them.
        discounts: (B,), gamma ** n * (1 - terminated).
        next_values: (B,), the value of the observation that these steps led to.
    """
    return returns + discounts * next_values


def chosen(out: Floats, actions: NDArray[np.int64]) -> Floats:
    """Of (B, A) values, or (B, A, K) logits, those of one action in each row: (B,) or (B, K).

    With `actions` that the same values find best, this is the maximum of DQN. With those that
    another network finds best, it is double Q-learning (van Hasselt, Guez and Silver, "Deep
    reinforcement learning with double Q-learning", AAAI 2016, equation 4).
    """
    return out[np.arange(len(out)), actions]  # type: ignore[no-any-return]


# --- what can be chosen -------------------------------------------------------------------------


@dataclass(frozen=True)
class Hyperparameters(DeepHyperparameters):
    """What `DQN` can be told, beside what `DeepHyperparameters` says.

    Attributes:
        epsilon: probability of a random action, in [0, 1], or a schedule (1 to 0.1 over the first
            million steps in Mnih et al., 2015).
        batch_size: steps drawn from the memory for each update (32 there).
        replay_capacity: steps that the memory holds (1,000,000 there); two batches at least, as
            every end of an episode takes the room of a step.
        replay_order: `"random"`, or `"latest"` for the newest steps, which is no replay at all.
        learning_starts: steps before the first update (50,000 there).
        steps_per_update: steps, in all environments together, for each update (4 there).
        target_every: updates after which the target network becomes a copy (10,000 there).
        double: the network picks the next action, and the target network says what it is worth.
        prioritized: draw steps with a large error more often (Schaul et al., 2016).
        dueling: separate heads for the state's value and the actions' advantages.
        n_step: rewards counted before bootstrapping (3 in Rainbow).
        distributional: learn the distribution of returns on `num_atoms` atoms.
        noisy: explore by noise in the weights, and not by `epsilon` (Fortunato et al., 2018).
        alpha: how much priorities count, in [0, 1] (Schaul et al.: 0.6; Rainbow: 0.5).
        beta: how much of that importance weights undo, in [0, 1], or a schedule (0.4 to 1).
        num_atoms: atoms of a distribution (51), from `v_min` to `v_max` (-10 to 10, for Atari).
        v_min: the lowest return that a distribution has: set both to what the world can give.
        v_max: the highest.
    """

    epsilon: float | Schedule = EPSILON
    batch_size: int = 64
    replay_capacity: int = 100_000
    replay_order: str = "random"
    learning_starts: int = 1_000
    steps_per_update: float = 2.0
    target_every: int = 100
    double: bool = False
    prioritized: bool = False
    dueling: bool = False
    n_step: int = 1
    distributional: bool = False
    noisy: bool = False
    alpha: float = 0.6
    beta: float | Schedule = BETA
    num_atoms: int = 51
    v_min: float = -10.0
    v_max: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "target_every"):
            check_whole(name, getattr(self, name), 1)
        check_whole("learning_starts", self.learning_starts, 0)
        check_whole("replay_capacity", self.replay_capacity, 2 * self.batch_size)
        check_whole("n_step", self.n_step, 1, self.replay_capacity)
        check_whole("num_atoms", self.num_atoms, 2)
        check_whole("gradient_parts", self.gradient_parts, 1, self.batch_size)
        for name in ("double", "prioritized", "dueling", "distributional", "noisy"):
            check_flag(name, getattr(self, name))
        for name in ("epsilon", "beta"):
            self._set(name, schedules.check(name, getattr(self, name), 0, 1))
        ranges = {"alpha": (0, 1), "steps_per_update": (1e-3, 1e6), "v_min": (-1e9, 1e9)}
        for name, limits in (ranges | {"v_max": (self.v_min, 1e9)}).items():
            self._set(name, check_number(name, getattr(self, name), *limits))
        if np.float32(self.v_min) == np.float32(self.v_max):
            raise ValueError(f"v_max={self.v_max} is not allowed: above v_min")
        if self.replay_order not in ORDERS:
            raise ValueError(f"replay_order={self.replay_order!r} is not allowed: {ORDERS}")
        if self.prioritized and self.replay_order == "latest":
            raise ValueError("replay_order='latest' is not allowed with prioritized=True")

    def support(self) -> Floats:
        """The atoms of a distribution of returns; none where values are learned as they are."""
        atoms = np.linspace(self.v_min, self.v_max, self.num_atoms, dtype=np.float32)
        return atoms[: self.num_atoms * self.distributional]


# --- the loss -----------------------------------------------------------------------------------


class Parameters(NamedTuple):
    """What gradients depend on beside the batch."""

    online: Floats  # (P,), the weights of the network
    target: Floats  # (P,), those of the target network
    updates: int  # made so far, which says what noise to use


class Loss:
    """The network, its target network, and how far the one is from what the other asks for.

    Args:
        network: what learns.
        target_network: another of its kind.
        support: the atoms of what they say, if those are distributions.
        double: whether the network picks the actions that the target network judges.
        seed: of noise.
    """

    def __init__(
        self, network: Network, target_network: Network, support: Floats, double: bool, seed: int
    ) -> None:
        self.network, self.target_network = network, target_network
        self.support, self.double = support, double
        self.noise_keys = np.array([stream_key(seed, POLICY, 2**32 + i) for i in range(3)])
        self.updates = 0

    def parameters(self) -> Parameters:
        """What another machine needs, to compute gradients as this one would."""
        online, target = self.network.get_weights(), self.target_network.get_weights()
        return Parameters(online, target, self.updates)

    def set_parameters(self, parameters: Parameters) -> None:
        """Take up what `parameters` said elsewhere."""
        self.network.set_weights(parameters.online)
        self.target_network.set_weights(parameters.target)
        self.updates = int(parameters.updates)

    def gradients(self, batch: Batch, size: int) -> Gradients:
        """Which way the mean loss of a batch of `size` steps rises, from this part of it.

        The loss is Huber's: half the square of an error up to 1, and linear from there. So its
        slope is the error, clipped (Mnih et al., 2015, "Methods"); or, of distributions, that of
        the cross-entropy. From the output back to the weights, the network knows the way.
        """
        noises = self._noises()
        target = self.targets(batch, *noises[1:])
        out, backward = self.network.vjp(batch.obs, noises[0])
        predicted, weights = chosen(out, batch.actions), batch.weights / np.float32(size)
        slopes = np.zeros_like(out)
        if len(self.support):
            each, errors = cross_entropy_slopes(target, predicted)
            slopes[np.arange(len(out)), batch.actions] = each * weights[:, None]
        else:
            errors = target - predicted
            slopes[np.arange(len(out)), batch.actions] = -errors.clip(-1, 1) * weights
        return Gradients(backward(slopes), errors)

    def targets(
        self, batch: Batch, noise: Floats | None = None, choosing_noise: Floats | None = None
    ) -> Floats:
        """What the network should say of each step: (B,), or distributions (B, K)."""
        following = self.target_network(batch.next_obs, noise)
        choosing = self.network(batch.next_obs, choosing_noise) if self.double else following
        best = action_values(choosing, self.support).argmax(axis=1)
        next_out, goal = chosen(following, best), (batch.returns, batch.discounts)
        if len(self.support):
            next_out = softmax(next_out)
            warn_if_beyond(self.support, *goal, next_out)
            return project_distribution(self.support, *goal, next_out)
        return q_learning_targets(*goal, next_out)

    def _noises(self) -> Sequence[Floats | None]:
        """For the network, the target network, and the choice of actions: each (1, noise_size)."""
        size = self.network.noise_size
        if not size:
            return [None] * 3
        return np.split(factorised_noise(self.noise_keys, np.full(3, self.updates), size), 3)


# --- the agent ----------------------------------------------------------------------------------


class DQN(DeepAgent):
    """Deep Q-learning, with any of Rainbow's tricks. See `DeepAgent` for everything else.

    >>> agent = DQN("CartPole-v1", seed=1)
    >>> history = agent.learn(2_000)
    >>> agent.predict(np.zeros(4)) in (0, 1)
    True
    """

    Hyperparameters = Hyperparameters
    replay: Replay

    def build(self) -> Loss:
        """Make the networks and the memory."""
        settings, observations = self.settings, self.observations
        heads = {"dueling": settings.dueling, "noisy": settings.noisy}
        self.support = settings.support()
        make_network = partial(
            q_network, observations, self.num_actions, settings.hidden, settings.channels, **heads,
            num_atoms=len(self.support), seed=self.seed,
            torch=needs_torch(observations, settings.channels, **heads, device=self.device),
        )  # fmt: skip
        self.replay = Replay(
            settings.replay_capacity, self.num_envs, observations.frame_shape, observations.dtype,
            n_step=settings.n_step, gamma=settings.gamma, order=settings.replay_order,
            prioritized=settings.prioritized, alpha=settings.alpha, stack=observations.stack,
            seed=self.seed,
        )  # fmt: skip
        network, target = make_network(device=self.device), make_network(device=self.device)
        acting = network if self.device == "cpu" else make_network()
        self.behaviour_policy = EpsilonGreedy(acting, self.support)
        return Loss(network, target, self.support, settings.double, self.seed)

    def explore(self, timesteps: NDArray[np.int64]) -> NDArray[np.float64]:
        """ε at each of these steps; of a noisy network 1, since its noise explores."""
        if self.settings.noisy:
            return np.ones(timesteps.shape)
        return schedules.values(self.settings.epsilon, timesteps)

    def postprocess(self, rollout: Rollout, numbers: list[int]) -> Iterator[Batch]:
        """Remember these steps of these environments; draw the batches that are due after them."""
        self.replay.cut(self.begun_anew(rollout, numbers))
        self.replay.add(self.observations.newest(rollout.obs), *rollout[1:5], numbers)
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        settings = self.settings
        due = (self.timesteps - settings.learning_starts) // settings.steps_per_update
        beta = float(schedules.values(settings.beta, np.array([self.timesteps]))[0])
        while self.loss.updates < due and len(self.replay) >= settings.batch_size:
            yield self.replay.sample(settings.batch_size, beta)

    def gradients(self, batch: Batch) -> Gradients:
        """Which way the loss of this batch rises: of its parts, one after the other."""
        parts, size = split(batch, self.settings.gradient_parts), len(batch.actions)
        return add_up(self.loss.gradients(part, size) for part in parts)

    def apply(self, gradients: Gradients, batch: Batch) -> None:
        """One step of the optimiser; then priorities, and the target network if it is time."""
        self.descend(gradients.vector)
        self.replay.update_priorities(batch.rows, gradients.errors)
        self.loss.updates += 1
        if self.loss.updates % self.settings.target_every == 0:
            self.loss.target_network.set_weights(self.loss.network.get_weights())
