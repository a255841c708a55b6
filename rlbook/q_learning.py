"""Q-learning (Watkins, 1989; Sutton and Barto, 2018, section 6.5): chapter 03 of the book.

The update rule, and the agent that sends workers out to apply it and averages what they bring. How
a worker behaves and steps its environments is in `rlbook.tabular`, as it is for every table.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from rlbook import backends, saving
from rlbook.arguments import check_names, check_number, check_whole
from rlbook.environment import EnvSource, check_discrete, env_id, env_maker
from rlbook.history import History, Stopwatch
from rlbook.tabular import (
    Learned,
    Learner,
    Table,
    average_tables,
    epsilon_greedy,
)
from rlbook_envs.chance import POLICY, stream_key
from rlbook_envs.compiled import rule


@rule
def q_learning_update(
    q: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """Move q[obs, action] towards reward + gamma * max q[next_obs] (Sutton and Barto, eq. 6.8).

    After a terminated step nothing follows, so the target is the reward alone. A truncated step is
    an ordinary one: the world would have gone on.

    Args:
        q: (S, A) float64, changed in place.
        learning_rate: the step size α.
        gamma: the discount γ.

    Returns:
        The TD error δ, the target less the old value.
    """
    best = q[next_obs, 0]
    for value in q[next_obs]:
        best = max(best, value)
    target = reward + gamma * (1 - terminated) * best
    td_error = target - q[obs, action]
    q[obs, action] += learning_rate * td_error
    return td_error


@rule
def double_q_learning_update(
    q: Table,
    other: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """One table picks the next action, the other says what that is worth (Sutton and Barto, 6.10).

    Which of the two tables is `q`, the one to be changed, is for the caller to toss a coin over
    (van Hasselt, "Double Q-learning", NeurIPS 2010, algorithm 1).

    Args:
        q: (S, A) float64, changed in place.
        other: (S, A) float64, only read.

    Returns:
        The TD error δ.
    """
    value = other[next_obs, q[next_obs].argmax()]
    td_error = reward + gamma * (1 - terminated) * value - q[obs, action]
    q[obs, action] += learning_rate * td_error
    return td_error


@dataclass(frozen=True)
class Hyperparameters:
    """What `QLearning` can be told beside the environment, the seed and where to run.

    Attributes:
        learning_rate: step size α, in (0, 1]. Larger forgets faster (Sutton and Barto, eq. 6.8,
            where the examples have 0.1 and 0.5).
        gamma: discount γ per step, in [0, 1]. Use 1 only where every episode ends.
        epsilon: probability of a random action, in [0, 1] (Sutton and Barto, section 2.2; most
            of their examples have 0.1).
        initial_value: what every entry of the table starts from, in units of return. More than the
            optimum makes the agent try everything (Sutton and Barto, section 2.6).
        sync_every: steps that each environment takes on its own copy of the table before the
            copies are averaged. With one environment there is nothing to average.
    """

    learning_rate: float = 0.05
    gamma: float = 0.99
    epsilon: float = 0.2
    initial_value: float = 0.0
    sync_every: int = 10_000

    def __post_init__(self) -> None:
        if self.learning_rate == 0:
            raise ValueError("learning_rate=0 is not allowed: nothing would be learned")
        for name, least, most in (
            ("learning_rate", 0, 1),
            ("gamma", 0, 1),
            ("epsilon", 0, 1),
            ("initial_value", -np.inf, np.inf),
        ):
            number = check_number(name, getattr(self, name), least, most)
            object.__setattr__(self, name, number)  # not float32, nor int
        check_whole("sync_every", self.sync_every, 1)
        object.__setattr__(self, "sync_every", int(self.sync_every))


class QLearning:
    """Q-learning with a table, on any backend, with the same numbers on each.

    Every environment has its own random streams and learns on its own copy of the table; after each
    round the copies are averaged, in the order of the environments. So the result depends on
    `seed`, `num_envs` and the hyperparameters, but not on the backend, on the number of workers, or
    on whether one of them died on the way (on one model of CPU, with the pinned packages).

    Args:
        env: a Gymnasium id, an environment made by `gymnasium.make`, or a function that makes one.
            Observations and actions must be `Discrete`. Worlds of `rlbook_envs` run compiled.
        seed: of everything random, a whole number from 0.
        num_envs: environments that learn side by side.
        backend: `"local"`, `"multiprocessing"`, `"ray"`, `"spark"`, or a `Backend`.
        workers: how many workers share the environments.
        hyperparameters: see `Hyperparameters`.

    Attributes:
        q: (S, A) float64, the table.
        timesteps: steps taken so far, in all environments together.
        history: the `History` of all calls of `learn`.

    Raises:
        ValueError: an argument is out of range, or the environment's spaces do not fit a table.

    >>> agent = QLearning("rlbook/FrozenLake-v0", seed=1)
    >>> history = agent.learn(200_000)
    >>> agent.predict(0)
    0
    """

    def __init__(
        self,
        env: EnvSource,
        *,
        seed: int = 0,
        num_envs: int = 1,
        backend: str | backends.Backend = "local",
        workers: int = 1,
        **hyperparameters: Any,
    ) -> None:
        check_whole("seed", seed, 0)
        check_whole("num_envs", num_envs, 1)
        check_whole("workers", workers, 1, num_envs)
        check_names("QLearning", hyperparameters, Hyperparameters)
        self.settings = Hyperparameters(**hyperparameters)
        self.seed, self.num_envs, self.workers = int(seed), int(num_envs), int(workers)
        self.env_id, self.make_env = env_id(env), env_maker(env)
        shape = check_discrete(self.make_env(), "QLearning")
        self.q: Table = np.full(shape, float(self.settings.initial_value))
        self.backend = backends.get(backend)
        self.timesteps = 0
        self.history = History()
        self._states: list[Any] = [None] * num_envs
        self._predictions = 0

    def learn(
        self,
        total_timesteps: int,
        *,
        progress: bool | None = None,
        callback: Callable[[QLearning], Any] | None = None,
    ) -> History:
        """Take `total_timesteps` more steps, rounded up to a multiple of `num_envs`.

        Where it is interrupted, completed rounds count, and the next call goes on from there.

        Args:
            progress: show a bar; by default, only where a person watches a terminal.
            callback: called with the agent after every round.

        Returns:
            The history of this and all earlier calls.
        """
        check_whole("total_timesteps", total_timesteps, 1)
        watch = Stopwatch()
        left = -(-int(total_timesteps) // self.num_envs)
        shares = [part.tolist() for part in np.array_split(np.arange(self.num_envs), self.workers)]
        group = self.backend.launch(
            Learner,
            self.workers,
            shares,
            self.make_env,
            self.seed,
            q_learning_update,
            self.settings,
            self._states,
        )
        quiet = None if progress is None else not progress
        with tqdm(total=left * self.num_envs, unit=" steps", disable=quiet) as bar:
            try:
                while left:
                    steps = min(left, self.settings.sync_every)
                    answers = group.call("learn", self.q, steps)
                    watch.lap_workers([seconds for *_, seconds in answers], self.backend.parallel)
                    self._take_in([learned for some, *_ in answers for learned in some], steps)
                    self._states = [state for _, states, _ in answers for state in states]
                    left -= steps
                    watch.lap("learning")
                    bar.update(steps * self.num_envs)
                    if callback is not None:
                        callback(self)
            finally:
                group.close()
                watch.lap("communicating")
                self.history.add_timing(watch.seconds)
        return self.history

    def _take_in(self, learned: list[Learned], steps: int) -> None:
        """End a round: one table of all, and the episodes in the order in which they ended."""
        tables, visits, ended_at, returns, lengths, td_errors = zip(*learned, strict=True)
        self.q = average_tables(self.q, np.stack(tables), np.stack(visits))
        # The environments step side by side: number i takes its step t as step t * num_envs + i.
        when = np.concatenate([ended * self.num_envs + i + 1 for i, ended in enumerate(ended_at)])
        order = np.argsort(when)
        self.history.add_episodes(
            self.timesteps + when[order],
            np.concatenate(returns)[order],
            np.concatenate(lengths)[order],
        )
        self.timesteps += steps * self.num_envs
        mean_td_error = sum(td_errors) / (steps * self.num_envs)
        self.history.add_metrics(timesteps=self.timesteps, td_error=mean_td_error)

    def predict(self, obs: Any, deterministic: bool = True) -> Any:
        """The greedy action for one observation, or for an array of them.

        Args:
            obs: an int, or an integer array of any shape.
            deterministic: take the first best action; otherwise act as in training, ε-greedily.

        Returns:
            An int, or an int64 array of the shape of `obs`.

        Raises:
            ValueError: an observation is not in the table.
        """
        asked = np.asarray(obs)
        if asked.dtype.kind not in "iu" or np.any((asked < 0) | (asked >= len(self.q))):
            raise ValueError(
                f"obs={obs!r} is not allowed: whole numbers from 0 to {len(self.q) - 1}"
            )
        actions = self.q[asked].argmax(axis=-1)
        if not deterministic:
            key = stream_key(self.seed, POLICY, self.num_envs)
            chosen = [
                epsilon_greedy(self.q, int(one), self.settings.epsilon, key, clock)
                for clock, one in enumerate(asked.flat, self._predictions)
            ]
            self._predictions += asked.size
            actions = np.array(chosen, np.int64).reshape(asked.shape)
        return int(actions) if asked.ndim == 0 else actions

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that `load` needs to go on as if nothing had happened. Holds no code."""
        header = {
            "env": self.env_id,
            "seed": self.seed,
            "num_envs": self.num_envs,
            "settings": asdict(self.settings),
            "timesteps": self.timesteps,
            "predictions": self._predictions,
            "states": self._states,
        }
        saving.save(path, "QLearning", header, {"q": self.q, **self.history.to_arrays()})

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        env: EnvSource | None = None,
        backend: str | backends.Backend = "local",
        workers: int = 1,
    ) -> Self:
        """The agent that was saved. Which backend and how many workers may differ from then.

        Args:
            env: needed where the agent was given a function, which a file can't hold.

        Raises:
            ValueError: not such a file, or one that is damaged.
        """
        header, arrays = saving.load(path, "QLearning")
        try:
            source = header["env"] if env is None else env
            seed, num_envs, settings = header["seed"], header["num_envs"], header["settings"]
            timesteps, predictions = int(header["timesteps"]), int(header["predictions"])
            states, q = list(header["states"]), arrays["q"].astype(np.float64)
            history = History.from_arrays(arrays)
            Hyperparameters(**settings)
            if len(states) != num_envs:
                raise ValueError(f"{len(states)} states of {num_envs} environments")
        except (KeyError, TypeError, ValueError) as error:
            raise saving.damaged(path) from error
        # Of an id such as "module:Name-v0", Gymnasium imports the module: only if a person says so.
        if source is None or (env is None and ":" in str(source)):
            raise ValueError(f"{path} does not say how to make its environment: give env=")
        agent = cls(
            source, seed=seed, num_envs=num_envs, backend=backend, workers=workers, **settings
        )
        if q.shape != agent.q.shape:
            raise ValueError(f"{path} holds a table of another environment: {q.shape}")
        agent.q, agent.history, agent._states = q, history, states
        agent.timesteps, agent._predictions = timesteps, predictions
        return agent
