"""What every agent does, whatever it learns with: `learn`, `save`, `load`, and a history of it all.

`rlbook.tabular.agent` has what goes with a table, and `rlbook.deep_agent` what goes with a network.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from rlbook import backends, saving, schedules
from rlbook.arguments import check_names, check_whole
from rlbook.envs.making import EnvSource, env_id, env_maker
from rlbook.history import History, Stopwatch

Arrays = dict[str, NDArray[Any]]


class Agent(ABC):
    """The part of an agent that does not depend on how it learns.

    Attributes:
        timesteps: steps taken so far, in all environments together.
        history: the `History` of all calls of `learn`.
    """

    Hyperparameters: ClassVar[type[Any]]
    SAVED: ClassVar[tuple[str, ...]] = ("seed", "num_envs", "asynchronous")  # arguments, in a file
    settings: Any
    backend: backends.Backend

    def __init__(
        self,
        env: EnvSource,
        seed: int,
        num_envs: int,
        workers: int,
        asynchronous: bool,
        hyperparameters: dict[str, Any],
    ) -> None:
        check_whole("seed", seed, 0)
        check_whole("num_envs", num_envs, 1)
        check_whole("workers", workers, 1, num_envs)
        check_names(type(self).__name__, hyperparameters, self.Hyperparameters)
        self.settings = self.Hyperparameters(**hyperparameters)
        self.seed, self.num_envs, self.workers = int(seed), int(num_envs), int(workers)
        self.asynchronous = bool(asynchronous)
        self.env_id, self.make_env = env_id(env), env_maker(env)
        self.timesteps = 0
        self.history = History()
        self._states: list[Any] = [None] * self.num_envs
        self._predictions = 0

    @abstractmethod
    def predict(self, obs: Any, deterministic: bool = True) -> Any:
        """The action for one observation, or for several."""

    @abstractmethod
    def _learn(self, steps: int, watch: Stopwatch, after_round: Callable[[int], None]) -> None:
        """Take so many steps in every environment; tell of every round how many those were."""

    @abstractmethod
    def _to_arrays(self) -> Arrays:
        """All that was learned, by name."""

    @classmethod
    def _parse(cls, arrays: Arrays) -> Any:
        """What `_take` needs of a file's arrays; any error says that the file is damaged."""
        return arrays

    @abstractmethod
    def _take(self, learned: Any) -> None:
        """Go on with what `_parse` found.

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

        Where it is interrupted, completed rounds count, and the next call goes on from there. Two
        calls equal one in every number if the first one ends with a whole round of `rollout_steps`
        in each environment.

        Args:
            progress: show a bar; by default, only where a person watches a terminal.
            callback: called with the agent after every round.

        Returns:
            The history of this and all earlier calls.

        Raises:
            ValueError: a network was given a reward or an observation that is not finite.
        """
        check_whole("total_timesteps", total_timesteps, 1)
        steps = -(-int(total_timesteps) // self.num_envs)
        watch = Stopwatch()
        quiet = None if progress is None else not progress
        with tqdm(total=steps * self.num_envs, unit=" steps", disable=quiet) as bar:

            def after_round(taken: int) -> None:
                bar.update(taken)
                if callback is not None:
                    callback(self)

            try:
                self._learn(steps, watch, after_round)
            except SystemError as error:  # what Ctrl-C becomes in the midst of a compiled call
                if isinstance(error.__cause__, KeyboardInterrupt):
                    raise KeyboardInterrupt from None
                raise
            finally:
                watch.lap("communicating")
                self.history.add_timing(watch.seconds)
        return self.history

    def shares(self) -> list[list[int]]:
        """For each worker, the numbers of its environments: as even as can be."""
        return [part.tolist() for part in np.array_split(np.arange(self.num_envs), self.workers)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that `load` needs to go on as if nothing had happened. Holds no code."""
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
        """The agent that was saved. Where it runs, and on how many workers, may differ from then.

        Args:
            env: needed where the agent was given a function, which a file can't hold.
            where: `device=`, of an agent with a network.

        Raises:
            ValueError: not such a file, one that is damaged, or one for another environment.
            TypeError: an argument that the file says: it would not be the same agent.
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
                raise TypeError(f"{name}= is not allowed here: the file says what it is")
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
