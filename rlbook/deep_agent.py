"""The agent around an algorithm with a network.

`DQN` and every other agent with a network is a `DeepAgent` that names its `Algorithm`, whose
protocol is in `rlbook.algorithm`. This module connects the algorithm with the environments, the
workers, the history, and files. How work flows is a pattern of `rlbook.patterns`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlbook import algorithm as protocol
from rlbook import backends, schedules
from rlbook.agent import Agent, Arrays
from rlbook.arguments import check_number, check_whole
from rlbook.data.rollout import Rollout
from rlbook.envs.actions import actions_of
from rlbook.envs.atari import Atari
from rlbook.envs.making import EnvSource
from rlbook.envs.observations import observations_of
from rlbook.nn.threads import one_thread
from rlbook.patterns.rollout_worker import RolloutWorker
from rlbook.schedules import Schedule
from rlbook_envs.streams import POLICY, stream_key

NUM_ENVS = 8  # by default
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class DeepHyperparameters:
    """Hyperparameters shared by all agents with a neural network.

    Attributes:
        learning_rate: step size of Adam, or a schedule of steps (Kingma and Ba, 2015: 0.001).
        adam_epsilon: added to Adam's denominators (1e-8 there; 1.5e-4 in Rainbow).
        gamma: discount factor γ per step, in [0, 1].
        hidden: units of each hidden layer, from the input on.
        channels: of each 3 x 3 convolution over a board; () for none, and a board is flattened.
            (Frames have the convolutions of the Atari papers, unless `channels` is empty.)
        max_grad_norm: longest gradient that is applied; longer ones are shortened; from 1e-12.
        rollout_steps: steps that each environment takes between two visits of the learner.
        gradient_parts: parts into which a batch is cut, whose gradients are averaged. More than
            one is for `pattern="data_parallel"`, or to be compared with it.
        push_every: updates between two publications of weights, with
            `pattern="asynchronous_actors"`.
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
            raise ValueError("learning_rate must be above 0, got 0: nothing would be learned")
        self._set("learning_rate", schedules.check("learning_rate", self.learning_rate, 0, 1e3))
        for name in ("adam_epsilon", "max_grad_norm"):
            self._set(name, check_number(name, getattr(self, name), 1e-12, 1e12))
        self._set("gamma", check_number("gamma", self.gamma, 0, 1))
        for name in ("rollout_steps", "gradient_parts", "push_every"):
            check_whole(name, getattr(self, name), 1)
        for name in ("hidden", "channels"):
            widths = getattr(self, name)
            if not isinstance(widths, (tuple, list)) or not (widths or name == "channels"):
                raise ValueError(f"{name} must be a tuple such as (64, 64), got {widths!r}")
            for i, width in enumerate(widths):
                check_whole(f"{name}[{i}]", width, 1)
            self._set(name, tuple(map(int, widths)))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


class DeepAgent(Agent):
    """An agent with a network, on any backend.

    With a synchronous pattern, the numbers depend on `seed`, `num_envs` and the hyperparameters,
    but not on the backend, on the number of workers, or on whether a worker died on the way (on
    CPUs of one model, with the pinned packages).

    A step is a row of a vector environment, as Gymnasium counts: beginning an episode takes one.

    Args:
        env: a Gymnasium id, an environment made by `gymnasium.make`, or a function that makes one.
            Worlds of `rlbook_envs` run compiled, and `"ALE/…"` is an Atari game as
            `rlbook.envs.atari` makes it.
        seed: of everything random, a whole number from 0.
        num_envs: environments that are played side by side.
        backend: `"local"`, `"multiprocessing"`, `"ray"`, `"spark"`, or a `Backend`.
        workers: how many workers share the environments.
        device: where the network learns: `"cpu"`, `"cuda"`, or `"auto"`, a GPU for pictures, if
            there is one. Vectors are faster without.
        pattern: how work flows: `"synchronous"`, `"data_parallel"` or `"asynchronous_actors"`; see
            `rlbook.patterns`.
        resources: what each worker gets, such as `{"gpus": 0.5}`; see `Backend.launch`.
            A worker with a GPU acts on it.
        hyperparameters: see `Hyperparameters` in the agent's module.

    Attributes:
        algorithm: what acts, learns, and is saved.
        replay: the replay buffer, or None for algorithms that do not use one.

    Raises:
        ValueError: an argument is out of range, or the environment's spaces do not fit.
        TypeError: there is no such hyperparameter.
        MemoryError: the replay buffer would not fit.

    The methods `predict`, `learn`, `save`, `load`, and `close` are those of `rlbook.agent.Agent`.
    """

    Hyperparameters: ClassVar[type[DeepHyperparameters]]
    Algorithm: ClassVar[type[protocol.Algorithm]]
    PATTERNS = ("synchronous", "data_parallel", "asynchronous_actors")

    def __init__(
        self,
        env: EnvSource,
        *,
        seed: int = 0,
        num_envs: int = NUM_ENVS,
        backend: str | backends.Backend = "local",
        workers: int = 1,
        device: str = "auto",
        pattern: str = "synchronous",
        resources: Mapping[str, float] | None = None,
        **hyperparameters: Any,
    ) -> None:
        super().__init__(env, seed, num_envs, pattern, workers, hyperparameters)
        if pattern == "data_parallel" and self.settings.gradient_parts < workers:
            raise ValueError(
                f"gradient_parts must be at least 1 for each of {workers} workers with "
                f"pattern='data_parallel', got {self.settings.gradient_parts}"
            )
        if isinstance(env, str) and env.startswith("ALE/"):
            self.make_env = Atari(env)
        problem = self._problem(device, resources)
        self.observations, self.actions = problem.observations, problem.actions
        self.algorithm = self.Algorithm(problem, self.settings)
        self.replay: Any = getattr(self.algorithm, "replay", None)
        self._told_of_interruption = False
        self._open(backend, resources)

    def _problem(self, device: str, resources: Mapping[str, float] | None) -> protocol.Problem:
        """Look at one environment, and find where the network shall learn and where it acts."""
        env = self.make_env()
        try:
            observations, actions = observations_of(env), actions_of(env.action_space)
        finally:
            env.close()
        if actions.kind not in self.Algorithm.ACTIONS:
            kinds = " or ".join(self.Algorithm.ACTIONS)
            raise ValueError(
                f"action_space must be {kinds} for {type(self).__name__}, got {actions.space}"
            )
        pictures = len(observations.shape) > 1 and len(self.settings.channels) > 0
        where = torch_device(device, pictures)
        acting = where if (resources or {}).get("gpus") else "cpu"
        return protocol.Problem(observations, actions, self.num_envs, self.seed, where, acting)

    # What patterns ask for.

    def group(self, worker_class: Callable[..., Any], make_args: Callable[[], Any]) -> Any:
        """Return the agent's workers of this class, launching them at the first call."""
        return self._workers.group(worker_class, self.workers, make_args)

    def rollout_workers(self) -> Any:
        """Return the workers that share the environments."""
        return self.group(
            RolloutWorker, lambda: (self.shares(), self.make_env, self.algorithm, self._states)
        )

    def exploration(self, steps: int) -> NDArray[np.float64]:
        """Return how much each environment explores in its next steps, (steps, num_envs)."""
        coming = self.timesteps + np.arange(steps * self.num_envs)
        return self.algorithm.exploration(coming).reshape(steps, self.num_envs)

    def mark_interrupted(self, rollout: Rollout) -> Rollout:
        """Mark the environments that do not continue where their last rollout ended.

        Atari games cannot be continued in a new worker. Others are played again from the beginning
        of their episode, and may end up elsewhere: then the first observation is not the last one
        of the rollout before.
        """
        interrupted, lost = np.zeros(len(rollout.envs), np.bool_), False
        for i, number in enumerate(rollout.envs):
            before, now = self._states[number], rollout.states[i]
            if before is None:
                continue
            if "born" in now["env"]:
                interrupted[i] = before["env"]["born"] != now["env"]["born"]
            else:
                interrupted[i] = not np.array_equal(before["obs"], rollout.obs[i, 0])
                lost = lost or interrupted[i]
        if lost and not self._told_of_interruption:
            self._told_of_interruption = True
            warnings.warn(
                f"the environment {self.env_id or self.make_env} cannot be brought back to where "
                "it stood, so it begins a new episode after load() and wherever a worker is built "
                "again, which on Spark is in every round; with other workers or another backend "
                "the numbers may differ",
                stacklevel=2,
            )
        return rollout._replace(interrupted=interrupted)

    def record(self, rollout: Rollout) -> None:
        """Note what these environments did, and where they stand now."""
        steps, row = rollout.episodes[:, 0], np.searchsorted(rollout.envs, rollout.episodes[:, 1])
        when = self.timesteps + (steps * len(rollout.envs) + row + 1).astype(np.int64)
        self.history.add_episodes(
            when, rollout.episodes[:, 2].copy(), rollout.episodes[:, 3].astype(np.int64)
        )
        self.timesteps += rollout.rewards.size
        for i, number in enumerate(rollout.envs):
            self._states[number] = {**rollout.states[i], "obs": rollout.last_obs[i]}

    # What users ask for.

    def get_weights(self) -> NDArray[np.float32]:
        """Return the weights of the network that acts, (P,) float32."""
        return self.algorithm.get_weights()

    def predict(self, obs: Any, deterministic: bool = True) -> Any:
        """Return the action for one observation, or for a batch of them.

        Args:
            obs: an observation, or an array of them along a new first axis.
            deterministic: take the best action; otherwise explore as in training.

        Returns:
            An action of the environment's space, or an array of them, (batch, …).

        Raises:
            ValueError: the observation has another shape than this environment's.
        """
        batch, single = self.observations.batch_of(obs)
        exploration = np.zeros(len(batch))
        if not deterministic:
            now = np.array([max(self.timesteps - 1, 0)])
            exploration[:] = self.algorithm.exploration(now)[0]
        keys = stream_key(self.seed, POLICY, self.num_envs) + np.arange(len(batch), dtype=np.uint64)
        random = protocol.RandomStreams(keys, np.full(len(batch), self._predictions))
        memory = self.algorithm.initial_memory(len(batch))
        with one_thread():
            decision = self.algorithm.act(batch, memory, random, exploration)
        self._predictions += not deterministic
        decoded = self.actions.decode(decision.actions)
        return decoded[0] if single else np.array(decoded)

    def _to_arrays(self) -> Arrays:
        return self.algorithm.get_state()

    def _take(self, learned: Arrays) -> None:
        try:
            self.algorithm.set_state(learned)
        except ValueError as error:
            raise ValueError(f"does not fit this environment: {error}") from error


def torch_device(device: str, pictures: bool) -> str:
    """Return what `device=` means here: `"auto"` is a GPU for pictures, if torch finds one."""
    if device not in DEVICES:
        allowed = ", ".join(map(repr, DEVICES))
        raise ValueError(f"device must be one of {allowed}, got {device!r}")
    if device == "cpu" or (device == "auto" and not pictures):
        return "cpu"
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be 'cpu' here, where torch finds no GPU, got 'cuda'")
    return "cuda" if torch.cuda.is_available() else "cpu"
