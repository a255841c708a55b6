"""The agent around a network: it sends workers out to act and learns from what they bring.

What `DQN` and every later algorithm with a network have in common. An algorithm says what it has
(`build`), how much it explores (`explore`), what it makes of the steps that come back
(`postprocess`), which way its loss falls (`gradients`), and how to go there (`apply`). How the work
flows between these is a pattern of `rlbook.patterns`, and where it runs is a backend; neither knows
what the algorithm is.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rlbook import backends, patterns, schedules
from rlbook.agent import Agent, Arrays
from rlbook.arguments import check_flag, check_number, check_whole
from rlbook.data.rollout import Rollout
from rlbook.envs.atari import Atari
from rlbook.envs.making import EnvSource
from rlbook.envs.observations import observations_of
from rlbook.gradients import Gradients
from rlbook.history import Stopwatch
from rlbook.nn.threads import one_thread
from rlbook.patterns.rollout_worker import Policy, RolloutWorker
from rlbook.schedules import Schedule
from rlbook_envs.streams import POLICY, stream_key

NUM_ENVS = 8  # by default
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class DeepHyperparameters:
    """What every agent with a network can be told beside the environment and where to run.

    Attributes:
        learning_rate: step size of Adam, or a schedule of steps (Kingma and Ba, 2015: 0.001).
        adam_epsilon: what Adam adds to its denominators (1e-8 there; 1.5e-4 in Rainbow).
        gamma: discount γ per step, in [0, 1].
        hidden: units of each hidden layer, from the input on.
        channels: of each 3 x 3 convolution over a board; () for none, and a board is laid flat.
            (Frames have the convolutions of the Atari papers, unless `channels` is empty.)
        max_grad_norm: length that a gradient has at most, from 1e-12.
        rollout_steps: steps that each environment takes before what it did is learned from.
        gradient_parts: into how many parts a batch is cut, whose gradients are added up. More than
            one is for `data_parallel=True`, or to be compared with it.
        push_every: updates after which workers get new weights, with `asynchronous=True`.
    """

    learning_rate: float | Schedule = 1e-3
    adam_epsilon: float = 1e-8
    gamma: float = 0.99
    hidden: tuple[int, ...] = (128, 128)
    channels: tuple[int, ...] = (32, 32)
    max_grad_norm: float = 10.0
    rollout_steps: int = 8
    gradient_parts: int = 1
    push_every: int = 10

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            if isinstance(value, np.generic):  # which no file of ours holds
                self._set(name, value.item())
        if self.learning_rate == 0:
            raise ValueError("learning_rate=0 is not allowed: nothing would be learned")
        self._set("learning_rate", schedules.check("learning_rate", self.learning_rate, 0, 1e3))
        for name in ("adam_epsilon", "max_grad_norm"):
            self._set(name, check_number(name, getattr(self, name), 1e-12, 1e12))
        self._set("gamma", check_number("gamma", self.gamma, 0, 1))
        for name in ("rollout_steps", "gradient_parts", "push_every"):
            check_whole(name, getattr(self, name), 1)
        for name in ("hidden", "channels"):
            widths = getattr(self, name)
            if not isinstance(widths, (tuple, list)) or not (widths or name == "channels"):
                raise ValueError(f"{name}={widths!r} is not allowed: a tuple such as (64, 64)")
            for i, width in enumerate(widths):
                check_whole(f"{name}[{i}]", width, 1)
            self._set(name, tuple(map(int, widths)))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


class DeepAgent(Agent):
    """An agent with a network, on any backend.

    The numbers depend on `seed`, `num_envs` and the hyperparameters, but not on the backend, on the
    number of workers, or on whether one of them died on the way (on CPUs of one model, with the
    pinned packages), unless it is asynchronous.

    A step is a row of a vector environment, as Gymnasium counts: to begin an episode takes one.

    Args:
        env: a Gymnasium id, an environment made by `gymnasium.make`, or a function that makes one.
            Actions must be `Discrete`. Worlds of `rlbook_envs` run compiled, and `"ALE/…"` is an
            Atari game as `rlbook.envs.atari` makes it.
        seed: of everything random, a whole number from 0.
        num_envs: environments that are played side by side.
        backend: `"local"`, `"multiprocessing"`, `"ray"`, `"spark"`, or a `Backend`.
        workers: how many workers share the environments.
        device: where the network learns: `"cpu"`, `"cuda"`, or `"auto"`, a GPU for pictures, if
            there is one. Vectors are faster without.
        asynchronous: every worker goes on acting while one learns from what has arrived; then the
            numbers depend on who was first. See `rlbook.patterns.asynchronous`.
        data_parallel: workers compute the gradients, too, each of some of `gradient_parts`. See
            `rlbook.patterns.data_parallel`.
        hyperparameters: see `Hyperparameters` in the agent's module.

    Attributes:
        behaviour_policy: what acts, here and in workers.
        loss: what holds the network and says which way to go.
        optimiser: what goes there.
        replay: the memory of those who have one, or None.

    Raises:
        ValueError: an argument is out of range, or the environment's spaces do not fit.
        TypeError: there is no such hyperparameter.
        MemoryError: the replay memory would not fit.
    """

    Hyperparameters: ClassVar[type[DeepHyperparameters]]
    SAVED = (*Agent.SAVED, "data_parallel")
    behaviour_policy: Policy
    replay: Any = None
    _told_of_lost = False  # that its environments can't be brought back to where they stood

    def __init__(
        self,
        env: EnvSource,
        *,
        seed: int = 0,
        num_envs: int = NUM_ENVS,
        backend: str | backends.Backend = "local",
        workers: int = 1,
        device: str = "auto",
        asynchronous: bool = False,
        data_parallel: bool = False,
        **hyperparameters: Any,
    ) -> None:
        check_flag("asynchronous", asynchronous)
        check_flag("data_parallel", data_parallel)
        super().__init__(env, seed, num_envs, workers, asynchronous, hyperparameters)
        self.data_parallel = bool(data_parallel)
        self.learn_by = patterns.get(asynchronous, data_parallel)
        if data_parallel and self.settings.gradient_parts < workers:
            raise ValueError(
                f"gradient_parts={self.settings.gradient_parts} is not allowed with "
                f"data_parallel=True: at least one for each of {workers} workers"
            )
        if isinstance(env, str) and env.startswith("ALE/"):
            self.make_env = Atari(env)
        made = self.make_env()
        self.observations = observations_of(made)
        self.num_actions = discrete_actions(made, type(self).__name__)
        made.close()
        pictures = len(self.observations.shape) > 1 and len(self.settings.channels) > 0
        self.device = torch_device(device, pictures)
        self.backend = backends.get(backend)
        self.loss = self.build()
        self.optimiser = self.loss.network.optimiser(self.settings.adam_epsilon)

    # What an algorithm says.

    @abstractmethod
    def build(self) -> Any:
        """Make the loss, the behaviour policy, and whatever else the algorithm has.

        On the CPU, the policy acts with the loss's own network; workers are sent copies.

        The loss has the `network` that learns; `updates`, how many there were; `parameters()` and
        `set_parameters()`, all that training changes in it; and `gradients(batch, size)`.
        """

    @abstractmethod
    def explore(self, timesteps: NDArray[np.int64]) -> NDArray[np.float64]:
        """How much to explore at each of these steps; the policy knows what that means."""

    @abstractmethod
    def postprocess(self, rollout: Rollout, numbers: list[int]) -> Iterator[Any]:
        """Take in the steps of these environments, and give the batches to learn from then.

        What is taken in is taken in at once; batches are made when they are asked for.
        """

    @abstractmethod
    def gradients(self, batch: Any) -> Gradients:
        """Which way the loss of this batch rises."""

    @abstractmethod
    def apply(self, gradients: Gradients, batch: Any) -> None:
        """Go the other way."""

    # What follows for all of them.

    def _learn(self, steps: int, watch: Stopwatch, after_round: Callable[[int], None]) -> None:
        with one_thread():
            self.learn_by(self, steps, watch, after_round)

    def get_weights(self) -> NDArray[np.float32]:
        """What the policy acts with, (P,) float32."""
        return self.loss.network.get_weights()  # type: ignore[no-any-return]

    def descend(self, gradient: Any) -> None:
        """One step of the optimiser, against this gradient (P,)."""
        rate = schedules.values(self.settings.learning_rate, np.array([self.timesteps]))
        self.optimiser.step(gradient, float(rate[0]), self.settings.max_grad_norm)

    def launch(self) -> tuple[backends.Group, list[list[int]]]:
        """Workers that share the environments, and the numbers that each has."""
        shares = self.shares()
        group = self.backend.launch(
            RolloutWorker, self.workers, shares, self.make_env, self.seed, self.observations,
            self.behaviour_policy, self._states,
        )  # fmt: skip
        return group, shares

    def exploration(self, steps: int) -> NDArray[np.float64]:
        """How much each environment explores in its next steps: (steps, num_envs)."""
        coming = self.timesteps + np.arange(steps * self.num_envs)
        return self.explore(coming).reshape(steps, self.num_envs)

    def begun_anew(self, rollout: Rollout, numbers: list[int]) -> list[int]:
        """Of these environments, those that left an episode unasked since they were heard of last.

        Atari games do wherever they must be built again; others where playing their episode again
        led elsewhere, so that the first observation is not the one that was the newest.
        """
        anew, lost = [], False
        for number, state, first in zip(numbers, rollout.states, rollout.obs[:, 0], strict=True):
            before = self._states[number]
            if before is None:
                continue
            if before["obs"] is None:
                left = before["env"]["born"] != state["env"]["born"]
            else:
                left = before["obs"] != first.tolist()
                lost = lost or left
            if left:
                anew.append(number)
        if lost and not self._told_of_lost:
            self._told_of_lost = True
            warnings.warn(
                f"the environment {self.env_id or self.make_env} cannot be brought back to where "
                "it stood, so it begins a new episode in every learn() after the first, after "
                "load(), and where a worker is built again, which on Spark is in every round; "
                "with other workers or another backend the numbers may differ",
                stacklevel=2,
            )
        return anew

    def record(self, rollout: Rollout, numbers: list[int]) -> None:
        """Note what these environments did, and where they stand now."""
        steps, row = rollout.episodes[:, 0], np.searchsorted(numbers, rollout.episodes[:, 1])
        when = self.timesteps + (steps * len(numbers) + row + 1).astype(np.int64)
        self.history.add_episodes(
            when, rollout.episodes[:, 2].copy(), rollout.episodes[:, 3].astype(np.int64)
        )
        self.timesteps += rollout.rewards.size
        for number, state in zip(numbers, rollout.states, strict=True):
            self._states[number] = state

    def predict(self, obs: Any, deterministic: bool = True) -> Any:
        """The greedy action for one observation, or for a batch of them.

        Args:
            obs: an observation, or an array of them along a new first axis.
            deterministic: take the best action; otherwise explore as in training.

        Returns:
            An int, or an int64 array of (batch,).

        Raises:
            ValueError: the observation has another shape than this environment's.
        """
        batch, single = self.observations.batch_of(obs)
        explore = np.zeros(len(batch))
        if not deterministic:
            explore[:] = self.explore(np.array([max(self.timesteps - 1, 0)]))[0]
        keys = stream_key(self.seed, POLICY, self.num_envs) + np.arange(len(batch), dtype=np.uint64)
        if self.device != "cpu":  # else the policy has the very network that learns
            self.behaviour_policy.set_weights(self.get_weights())
        with one_thread():
            clocks = np.full(len(batch), self._predictions)
            actions = self.behaviour_policy.act(batch, keys, clocks, explore)
        self._predictions += not deterministic
        return int(actions[0]) if single else actions

    def _to_arrays(self) -> Arrays:
        learned = {**self.loss.parameters()._asdict(), **self.optimiser.to_arrays()}
        memory = {} if self.replay is None else self.replay.to_arrays()
        return {**{name: np.asarray(value) for name, value in learned.items()}, **memory}

    def _take(self, learned: Arrays) -> None:
        try:
            parameters = self.loss.parameters()
            found = {name: learned[name] for name in parameters._fields}
            for name, values in found.items():
                if not np.isfinite(values).all():
                    raise ValueError(f"{name} holds numbers that are not finite")
            self.loss.set_parameters(parameters._replace(**found))
            self.optimiser.load_arrays(learned)
            if self.replay is not None:
                self.replay.load_arrays(learned)
        except ValueError as error:
            raise ValueError(f"does not fit this environment: {error}") from error


def torch_device(device: str, pictures: bool) -> str:
    """What `device=` means here: `"auto"` is a GPU for pictures, if torch finds one."""
    if device not in DEVICES:
        allowed = ", ".join(map(repr, DEVICES))
        raise ValueError(f"device={device!r} is not allowed: {allowed}")
    if device == "cpu" or (device == "auto" and not pictures):
        return "cpu"
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda' is not allowed here: torch finds no GPU")
    return "cuda" if torch.cuda.is_available() else "cpu"


def discrete_actions(env: gymnasium.Env[Any, Any], algorithm: str) -> int:
    """How many actions there are.

    Raises:
        ValueError: they are not `Discrete`, from 0.
    """
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Discrete) or space.start != 0:
        raise ValueError(
            f"{algorithm} needs Discrete actions 0 to n-1, but this environment has {space}"
        )
    return int(space.n)
