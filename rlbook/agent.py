"""What every agent does, however it learns: `learn`, `save`, `load`, and a history of it all.

An agent is an algorithm, a pattern and a backend. `rlbook.tabular.agent` has what agents with a
table share, and `rlbook.deep_agent` what agents with a network share.
"""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from rlbook import backends, patterns, saving, schedules
from rlbook.arguments import check_names, check_whole
from rlbook.envs.making import EnvSource, env_id, env_maker
from rlbook.history import History, Stopwatch
from rlbook.workers import Workers

Arrays = dict[str, NDArray[Any]]


class Agent(ABC):
    """The part of an agent that does not depend on how it learns.

    An agent launches its workers at the first call of `learn` and keeps them. They end when the
    agent is closed, garbage-collected, or left in a `with` statement, or when `learn` is
    interrupted.

    Attributes:
        timesteps: steps taken so far, in all environments together.
        history: the `History` of all calls of `learn`.
        backend: where the workers run.
    """

    Hyperparameters: ClassVar[type[Any]]
    PATTERNS: ClassVar[tuple[str, ...]]  # that agents of this kind can learn by
    SAVED: ClassVar[tuple[str, ...]] = ("seed", "num_envs", "pattern")  # arguments, in a file
    settings: Any

    def __init__(
        self,
        env: EnvSource,
        seed: int,
        num_envs: int,
        pattern: str,
        workers: int,
        hyperparameters: dict[str, Any],
    ) -> None:
        check_whole("seed", seed, 0)
        check_whole("num_envs", num_envs, 1)
        check_whole("workers", workers, 1, num_envs)
        check_names(type(self).__name__, hyperparameters, self.Hyperparameters)
        self.settings = self.Hyperparameters(**hyperparameters)
        self.seed, self.num_envs, self.workers = int(seed), int(num_envs), int(workers)
        self._learn = patterns.get(pattern, self.PATTERNS)
        self.pattern = pattern
        self.env_id, self.make_env = env_id(env), env_maker(env)
        self.timesteps = 0
        self.history = History()
        self._states: list[Any] = [None] * self.num_envs
        self._predictions = 0

    def _open(self, backend: str | backends.Backend, resources: Mapping[str, float] | None) -> None:
        """Take a backend; one given by name belongs to this agent."""
        owned = not isinstance(backend, backends.Backend)
        self._workers = Workers(backends.get(backend), owned, resources)
        # At exit the backends close by themselves, in an order that suits them.
        weakref.finalize(self, self._workers.release).atexit = False

    @property
    def backend(self) -> backends.Backend:
        """Where the workers run."""
        return self._workers.backend

    @abstractmethod
    def predict(self, obs: Any, deterministic: bool = True) -> Any:
        """Return the action for one observation, or for several."""

    @abstractmethod
    def _to_arrays(self) -> Arrays:
        """Return everything that was learned, by name."""

    @classmethod
    def _parse(cls, arrays: Arrays) -> Any:
        """Return what `_take` needs of a file's arrays; an error means that the file is damaged."""
        return arrays

    @abstractmethod
    def _take(self, learned: Any) -> None:
        """Go on with what `_parse` returned.

        Raises:
            ValueError: it is of another environment; its message goes on after the file's name.
        """

    def learn(
        self,
        total_timesteps: int,
        *,
        progress: bool | None = None,
        callback: Callable[[Self], Any] | None = None,
    ) -> History:
        """Take `total_timesteps` more steps, rounded up to a multiple of `num_envs`.

        If it is interrupted, completed rounds count, and the next call goes on from there. Two
        calls give the same numbers as one if the first ends with a whole round of
        `rollout_steps` in each environment.

        Args:
            total_timesteps: environment steps, in all environments together.
            progress: show a progress bar; by default, only in a terminal.
            callback: called with the agent after every round.

        Returns:
            The history of this and all earlier calls.

        Raises:
            ValueError: a network was given a reward or an observation that is not finite.
            RuntimeError: the agent was closed.
        """
        check_whole("total_timesteps", total_timesteps, 1)
        if self._workers.released:
            raise RuntimeError("the agent was closed, so it cannot learn any more")
        steps = -(-int(total_timesteps) // self.num_envs)
        watch = Stopwatch()
        quiet = None if progress is None else not progress
        with tqdm(total=steps * self.num_envs, unit=" steps", disable=quiet) as bar:

            def after_round(taken: int) -> None:
                bar.update(taken)
                if callback is not None:
                    callback(self)

            try:
                self._learn(self, steps, watch, after_round)
            except BaseException as error:
                # Workers may be in the middle of a round, which does not count: end them.
                self._workers.end()
                # What Ctrl-C becomes in the middle of a compiled call.
                if isinstance(error, SystemError) and isinstance(
                    error.__cause__, KeyboardInterrupt
                ):
                    raise KeyboardInterrupt from None
                raise
            finally:
                watch.lap("communicating")
                self.history.add_timing(watch.seconds)
        return self.history

    def shares(self) -> list[list[int]]:
        """Return, for each worker, the numbers of its environments, as evenly as possible."""
        return [part.tolist() for part in np.array_split(np.arange(self.num_envs), self.workers)]

    def close(self) -> None:
        """Give back workers, memory and files; the agent can still predict and be saved."""
        self._workers.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that `load` needs to go on as if nothing had happened, and no code."""
        settings = {name: schedules.to_plain(value) for name, value in vars(self.settings).items()}
        header = {
            "env": self.env_id,
            **{name: getattr(self, name) for name in self.SAVED},
            "settings": settings,
            "timesteps": self.timesteps,
            "predictions": self._predictions,
            "states": self._states,
        }
        arrays = {**self._to_arrays(), **self.history.to_arrays()}
        saving.save(path, type(self).__name__, header, arrays)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        env: EnvSource | None = None,
        backend: str | backends.Backend = "local",
        workers: int = 1,
        **where: Any,
    ) -> Self:
        """Return the agent that was saved. Its backend and number of workers may be different now.

        Args:
            path: of the file.
            env: needed if the agent was given a function, which a file cannot hold.
            backend: where to run.
            workers: how many workers share the environments.
            where: `resources=`, and `device=` of an agent with a network.

        Raises:
            ValueError: not such a file, one that is damaged, or one for another environment.
            TypeError: an argument that is in the file: it would not be the same agent.
        """
        header, arrays = saving.load(path, cls.__name__)
        try:
            source = header["env"] if env is None else env
            plain = header["settings"]
            settings = {name: schedules.from_plain(value) for name, value in plain.items()}
            options = {name: header[name] for name in cls.SAVED}
            timesteps, predictions = int(header["timesteps"]), int(header["predictions"])
            states, history = list(header["states"]), History.from_arrays(arrays)
            learned = cls._parse(arrays)
            cls.Hyperparameters(**settings)
            if len(states) != options["num_envs"]:
                raise ValueError(f"{len(states)} states of {options['num_envs']} environments")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise saving.damaged(path) from error
        # Of an id such as "module:Name-v0", Gymnasium imports the module: only if a person says so.
        if source is None or (env is None and ":" in str(source)):
            raise ValueError(f"{path} does not say how to make its environment: give env=")
        for name in where:
            if name in options or name in settings:
                raise TypeError(f"{name} must not be given, since the file says what it is")
        make: Any = cls  # whose arguments are more than those that all agents have
        agent: Self = make(source, backend=backend, workers=workers, **where, **options, **settings)
        try:
            agent._take(learned)
        except KeyError as error:
            raise saving.damaged(path) from error
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error
        agent.history, agent._states = history, states
        agent.timesteps, agent._predictions = timesteps, predictions
        return agent
