"""Environments made from rules.

The rules of an environment are a few plain functions, collected in a `World`. From them this module
makes

* `WorldEnv`, an ordinary `gymnasium.Env`,
* `WorldVectorEnv`, many copies that one compiled call steps,
* `transition_table`, the exact transition probabilities, found by enumerating all random outcomes.

"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rlbook_envs.compiled import compile, rule
from rlbook_envs.streams import (
    ENVIRONMENT,
    Dice,
    reset_key,
    step_key,
    stream_key,
)

Rule = Callable[..., Any]


@rule
def load_row(states, row):  # type: ignore[no-untyped-def]
    """Return the state of one row of an array of states."""
    return states[row]


@rule
def store_row(states, row, state):  # type: ignore[no-untyped-def]
    """Write the state of one row into an array of states."""
    states[row] = state


@rule
def store_cells(states, row, state):  # type: ignore[no-untyped-def]
    """Write the state of one row into an array of states, if a state is itself an array.

    The loop compiles faster than the assignment of the whole row, for which Numba would also
    compile the error message of a shape mismatch.
    """
    for cell in range(len(state)):
        states[row, cell] = state[cell]


@dataclass(frozen=True, eq=False)
class World:
    """The rules of an environment, with its spaces and drawings.

    The two main rules are

        reset(params, key) -> state
        step(params, state, action, key) -> state, reward, terminated

    There are three kinds of states. A state that is a number from 0 to num_states - 1 is also the
    observation. A state that is an array shaped like `blank` is changed in place by `step`, which
    is fast. If a state is a tuple of numbers, the states of many rows are stored as columns, and
    `load` and `store` read and write one of them. For arrays and tuples, a third rule makes the
    observation:

        observe(params, state, out) -> None    if `space` is a Box: writes into the flattened `out`
        observe(params, state) -> number       if `space` is Discrete

    Attributes:
        name: the name shown in messages.
        params: a NamedTuple of the parameters of the rules, such as a map, probabilities, rewards.
        reset: returns the first state of an episode.
        step: takes one step. It may also be called after the episode has ended; its result is then
            ignored.
        num_states: the number of states if they are numbered, else None.
        actions: the names of actions 0, 1, ….
        text: `text(params, state) -> str` draws the state with characters.
        picture: `picture(params, state) -> uint8 array (height, width, 3)` draws it with pixels.
        blank: an array like a state, if states are arrays or tuples.
        space: the observation space, if states are not numbered.
        observe: makes the observation of a state, if states are not numbered.
        load: `load(states, row) -> state`.
        store: `store(states, row, state) -> None`.
        fps: frames per second of a film.
    """

    name: str
    params: Any
    reset: Rule
    step: Rule
    num_states: int | None
    actions: tuple[str, ...]
    text: Callable[[Any, Any], str]
    picture: Callable[[Any, Any], NDArray[np.uint8]]
    blank: NDArray[Any] | None = None
    space: gymnasium.Space[Any] | None = None
    observe: Rule | None = None
    load: Rule = load_row
    store: Rule = store_row
    fps: int = 4

    @property
    def observation_space(self) -> gymnasium.Space[Any]:
        """The space of single observations."""
        if self.space is not None:
            return self.space
        assert self.num_states is not None, "a World needs num_states or space"
        return gymnasium.spaces.Discrete(self.num_states)

    def blanks(self, number: int) -> NDArray[Any]:
        """Return an array for the states of `number` rows.

        Its shape is (number,), (number, …) or, where states are stored as columns, (…, number).
        """
        if self.blank is None:
            return np.zeros(number, np.int64)
        axis = 0 if self.load is load_row else -1
        return np.repeat(np.expand_dims(self.blank, axis), number, axis)

    def state(self, states: NDArray[Any], row: int) -> Any:
        """Return the state of one row: an int, or a copy of an array."""
        if self.blank is None:
            return int(states[row])
        return np.array(self.load(states, row))


class RowRules(NamedTuple):
    """The rules of a world for one row of a batch, whatever kind of states it has."""

    begin: Rule  # (params, states, row, key) -> None
    advance: Rule  # (params, states, row, action, key) -> reward, terminated
    show: Rule  # (params, states, row, observations) -> None


def row_rules(world: World) -> RowRules:
    """Return the rules of `world` as rules for one row of an array of states."""
    discrete = isinstance(world.observation_space, gymnasium.spaces.Discrete)
    return _row_rules(world.reset, world.step, world.observe, world.load, world.store, discrete)


@lru_cache(maxsize=64)
def _row_rules(
    reset: Rule, step: Rule, observe: Any, load: Rule, store: Rule, discrete: bool
) -> RowRules:
    @rule
    def begin(params, states, row, key):  # type: ignore[no-untyped-def]
        store(states, row, reset(params, key))

    @rule
    def advance(params, states, row, action, key):  # type: ignore[no-untyped-def]
        state, reward, terminated = step(params, load(states, row), action, key)
        store(states, row, state)
        return reward, terminated

    @rule
    def advance_in_place(params, states, row, action, key):  # type: ignore[no-untyped-def]
        _, reward, terminated = step(params, load(states, row), action, key)
        return reward, terminated

    @rule
    def show_as_it_is(params, states, row, observations):  # type: ignore[no-untyped-def]
        observations[row] = states[row]

    @rule
    def show_number(params, states, row, observations):  # type: ignore[no-untyped-def]
        observations[row] = observe(params, load(states, row))

    @rule
    def show_array(params, states, row, observations):  # type: ignore[no-untyped-def]
        observe(params, load(states, row), observations[row])

    show: Rule = show_as_it_is if observe is None else show_number if discrete else show_array
    return RowRules(begin, advance_in_place if load is load_row and observe else advance, show)


class WorldEnv(gymnasium.Env[Any, Any]):
    """A Gymnasium environment made from a `World`, as the `rlbook/...` ids make it.

    Its randomness is keyed by (seed, step), so that it behaves exactly like row 0 of a
    `WorldVectorEnv`.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}

    def __init__(self, world: World, render_mode: str | None = None) -> None:
        self.metadata = {**self.metadata, "render_fps": world.fps}
        _check_render_mode(render_mode, self.metadata["render_modes"])
        self.world = world
        self.render_mode = render_mode
        self.observation_space = world.observation_space
        self.action_space = gymnasium.spaces.Discrete(len(world.actions))
        self._key: np.uint64 | None = None
        self._counter = 0
        self._fresh = False  # whether no step was taken since the last reset
        self._states = world.blanks(1)
        self._rules = _compiled_rows(row_rules(world), world.step)

    @property
    def state(self) -> Any:
        """The current state: an int, or a copy of an array."""
        return self.world.state(self._states, 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; with a seed, the random stream restarts, too."""
        super().reset(seed=seed)
        if seed is not None or self._key is None:
            self._key = stream_key(self.np_random_seed, ENVIRONMENT, 0)
            self._counter = 0
        elif self._fresh:
            self._counter += 1  # otherwise both episodes would use the same random numbers
        self._fresh = True
        self._rules.begin(self.world.params, self._states, 0, reset_key(self._key, self._counter))
        return self._observation(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply one action.

        The environment itself never truncates an episode; Gymnasium's `TimeLimit` wrapper does.

        Raises:
            ValueError: the environment has no such action.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        if self._key is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        _check_actions(self.world, np.asarray(action))
        key = step_key(self._key, self._counter)
        reward, terminated = self._rules.advance(
            self.world.params, self._states, 0, int(action), key
        )
        self._counter += 1
        self._fresh = False
        return self._observation(), float(reward), bool(terminated), False, {}

    def render(self) -> str | NDArray[np.uint8] | None:  # type: ignore[override]
        """Return the state as text (`"ansi"`) or as uint8 (height, width, 3) (`"rgb_array"`)."""
        if self.render_mode == "ansi":
            return self.world.text(self.world.params, self.state)
        if self.render_mode == "rgb_array":
            return self.world.picture(self.world.params, self.state)
        return None

    def get_state(self) -> dict[str, Any]:
        """Return the whole state, which `set_state` restores, as numbers and an array."""
        key = None if self._key is None else int(self._key)
        return {"key": key, "counter": self._counter, "fresh": self._fresh, "state": self.state}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore a state that `get_state` returned, in this process or in another one."""
        key = saved["key"]
        self._key = None if key is None else np.uint64(key)
        self._counter, self._fresh = int(saved["counter"]), bool(saved.get("fresh"))
        self.world.store(self._states, 0, saved["state"])

    def _observation(self) -> Any:
        space = self.observation_space
        if isinstance(space, gymnasium.spaces.Discrete):
            observations = np.zeros(1, np.int64)
            self._rules.show(self.world.params, self._states, 0, observations)
            return int(observations[0])
        observations = np.zeros((1, *(space.shape or ())), space.dtype)
        self._rules.show(self.world.params, self._states, 0, _flattened(observations))
        return observations[0]


class WorldVectorEnv(gymnasium.vector.VectorEnv):  # type: ignore[type-arg]
    """Vector environment: `num_envs` copies of a world, stepped by one compiled call.

    Each row has its own random stream, so that row i behaves the same whatever `num_envs` is.

    Args:
        world: the rules.
        num_envs: number of copies.
        max_episode_steps: steps after which an episode is truncated; None for no limit.
        autoreset_mode: how a row begins a new episode after one has ended. `"NextStep"`
            (Gymnasium's default): the next call of `step` ignores that row's action and returns the
            first observation of a new episode, with reward 0. `"SameStep"`: the row returns that
            observation at once, and the last one of the old episode is `infos["final_obs"][i]`.
        copy: whether to return new arrays. If False, the same arrays are returned and overwritten
            at every step, which is faster.
        render_mode: `"ansi"` or `"rgb_array"`; `render` then returns a tuple of num_envs texts or
            pictures.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE = ("_counters", "_lengths", "_states", "_ended")

    def __init__(
        self,
        world: World,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(
                f"max_episode_steps must be at least 1, or None, got {max_episode_steps}"
            )
        mode = AutoresetMode(autoreset_mode)
        if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise ValueError(f"autoreset_mode must be 'NextStep' or 'SameStep', got {mode.value!r}")
        self.metadata = {
            **WorldEnv.metadata,
            "render_fps": world.fps,
            "autoreset_mode": mode,
        }
        _check_render_mode(render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.world = world
        self.num_envs = num_envs
        self.single_observation_space = world.observation_space
        self.single_action_space = gymnasium.spaces.Discrete(len(world.actions))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._copy = copy
        self._limit = max_episode_steps or np.iinfo(np.int64).max
        self._reset_all, self._step_all = _compiled_batch(row_rules(world))
        self._keys: NDArray[np.uint64] | None = None
        self._counters = np.zeros(num_envs, np.int64)
        self._lengths = np.zeros(num_envs, np.int64)
        self._states = world.blanks(num_envs)
        # Numbered states are their own observations, so they need no second array.
        self._observations = self._states
        if world.observe is not None:
            space = self.observation_space
            self._observations = np.zeros(space.shape or (), space.dtype)
        self._final = np.zeros_like(self._observations)
        self._flat, self._flat_final = _flattened(self._observations), _flattened(self._final)
        self._rewards = np.zeros(num_envs, np.float64)
        self._ended = np.zeros(num_envs, np.bool_)  # whether an episode ended in the last call
        self._terminated = np.zeros(num_envs, np.bool_)
        self._truncated = np.zeros(num_envs, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode in every row.

        Args:
            seed: one seed, from which every row gets its own random stream; or a sequence of
                num_envs seeds, so that row i behaves like a `WorldEnv` reset with `seed[i]`.
            options: not used.

        Raises:
            ValueError: the number of seeds is not num_envs.
        """
        if seed is None and self._keys is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if seed is not None:
            if isinstance(seed, (int, np.integer)):
                super().reset(seed=int(seed))
                keys = [stream_key(int(seed), ENVIRONMENT, row) for row in range(self.num_envs)]
            else:
                if len(seed) != self.num_envs:
                    raise ValueError(
                        f"seed must have one entry per row, {self.num_envs}, got {len(seed)}"
                    )
                keys = [stream_key(one, ENVIRONMENT, 0) for one in seed]
            self._keys = np.array(keys, np.uint64)
            self._counters[:] = 0
        else:  # a row that has not moved must not use the same random numbers again
            self._counters[self._lengths == 0] += 1
        self._reset_all(self.world.params, self._keys, self._counters, self._states, self._flat)
        self._lengths[:] = 0
        self._ended[:] = False
        return self._out(self._observations), {}

    def step(  # type: ignore[override]
        self, actions: NDArray[np.int64]
    ) -> tuple[
        NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Apply one action in every row.

        Args:
            actions: (num_envs,) integers.

        Returns:
            Observations (num_envs, …), rewards float64, terminated bool, truncated bool, and
            a dictionary that holds `final_obs` and the mask `_final_obs` in `"SameStep"` mode.

        Raises:
            ValueError: the number of actions is not num_envs, or the environment has no such
                action.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        if self._keys is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise ValueError(f"actions must have shape ({self.num_envs},), got {actions.shape}")
        _check_actions(self.world, actions)
        same_step = self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        self._step_all(
            self.world.params, actions.astype(np.int64, copy=False), self._limit, same_step,
            self._keys, self._counters, self._lengths, self._ended,
            self._states, self._flat, self._flat_final,
            self._rewards, self._terminated, self._truncated,
        )  # fmt: skip
        infos: dict[str, Any] = {}
        if same_step:
            ended = self._terminated | self._truncated
            if ended.any():
                infos = {"final_obs": self._out(self._final), "_final_obs": ended}
        return (
            self._out(self._observations),
            self._out(self._rewards),
            self._out(self._terminated),
            self._out(self._truncated),
            infos,
        )

    def render(self) -> tuple[Any, ...] | None:
        """Return every row as text or as a picture, or None without a render mode."""
        if self.render_mode is None:
            return None
        draw = self.world.text if self.render_mode == "ansi" else self.world.picture
        states = (self.world.state(self._states, row) for row in range(self.num_envs))
        return tuple(draw(self.world.params, state) for state in states)

    def get_state(self) -> dict[str, NDArray[Any] | None]:
        """Return the whole state, which `set_state` restores, as arrays."""
        keys = None if self._keys is None else self._keys.copy()
        return {"_keys": keys, **{name: getattr(self, name).copy() for name in self._STATE}}

    def set_state(self, saved: dict[str, NDArray[Any] | None]) -> None:
        """Restore a state that `get_state` returned, in this process or in another one."""
        keys = saved["_keys"]
        self._keys = None if keys is None else keys.copy()
        for name in self._STATE:
            getattr(self, name)[:] = saved[name]

    def get_row(self, row: int) -> dict[str, Any]:
        """Return the state of one row as numbers and an array, which `set_row` restores."""
        if self._keys is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first get_row()")
        return {
            "key": int(self._keys[row]),
            "counter": int(self._counters[row]),
            "length": int(self._lengths[row]),
            "ended": bool(self._ended[row]),
            "state": self.world.state(self._states, row),
        }

    def set_row(self, row: int, saved: dict[str, Any]) -> None:
        """Restore a state that `get_row` returned for this row or any other, in any batch."""
        if self._keys is None:
            self._keys = np.zeros(self.num_envs, np.uint64)
        self._keys[row] = saved["key"]
        self._counters[row], self._lengths[row] = saved["counter"], saved["length"]
        self._ended[row] = saved["ended"]
        self.world.store(self._states, row, saved["state"])

    def _out(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.copy() if self._copy else array


def makers(
    make_world: Callable[..., World],
) -> tuple[Callable[..., WorldEnv], Callable[..., WorldVectorEnv]]:
    """Return the entry points for `gymnasium.make` and `gymnasium.make_vec`.

    Args:
        make_world: makes the `World`; both entry points pass their additional keyword arguments to
            it.
    """

    def make_env(render_mode: str | None = None, **options: Any) -> WorldEnv:
        """Return a `WorldEnv`; `options` are those of the function that makes the world."""
        return WorldEnv(make_world(**options), render_mode=render_mode)

    def make_vector_env(
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: str = "NextStep",
        copy: bool = True,
        render_mode: str | None = None,
        **options: Any,
    ) -> WorldVectorEnv:
        """Return a `WorldVectorEnv`; `options` are those of the function that makes the world."""
        world = make_world(**options)
        return WorldVectorEnv(world, num_envs, max_episode_steps, autoreset_mode, copy, render_mode)

    return make_env, make_vector_env


def _flattened(observations: NDArray[Any]) -> NDArray[Any]:
    """Return a view in which every observation that is an array has a single axis."""
    if observations.ndim == 1:
        return observations
    return observations.reshape(len(observations), -1)


# Compiled at the first use, once per process, whatever the number of environments.
@lru_cache(maxsize=64)
def _compiled_rows(rules: RowRules, step: Rule) -> RowRules:
    return RowRules(*(compile(each, step) for each in rules))


@lru_cache(maxsize=64)
def _compiled_batch(rules: RowRules) -> tuple[Rule, Rule]:
    return compile(_make_reset_all(rules)), compile(_make_step_all(rules))


def _make_reset_all(rules: RowRules) -> Rule:
    begin, _, show = rules

    def reset_all(params, keys, counters, states, observations):  # type: ignore[no-untyped-def]
        for row in range(len(keys)):
            begin(params, states, row, reset_key(keys[row], counters[row]))
            show(params, states, row, observations)

    return reset_all


def _make_step_all(rules: RowRules) -> Rule:
    """Return the step function of `WorldVectorEnv`, which writes every row in place."""
    begin, advance, show = rules

    def step_all(  # type: ignore[no-untyped-def]
        params, actions, limit, same_step, keys, counters, lengths, ended,
        states, observations, final, rewards, terminated, truncated,
    ):  # fmt: skip
        # First every row takes its step, even if its episode has ended: without a branch, the
        # processor can compute several rows at once. The second loop corrects the rows that should
        # have been reset.
        for row in range(len(actions)):
            rewards[row], terminated[row] = advance(
                params, states, row, actions[row], step_key(keys[row], counters[row])
            )
        for row in range(len(actions)):
            if ended[row] and not same_step:  # in the previous call
                begin(params, states, row, reset_key(keys[row], counters[row]))
                rewards[row] = 0.0
                lengths[row] = 0
                terminated[row] = truncated[row] = ended[row] = False
            else:
                counters[row] += 1
                lengths[row] += 1
                truncated[row] = lengths[row] >= limit
                ended[row] = terminated[row] or truncated[row]
                if same_step and ended[row]:
                    show(params, states, row, final)
                    begin(params, states, row, reset_key(keys[row], counters[row]))
                    lengths[row] = 0
        for row in range(len(actions)):
            show(params, states, row, observations)

    return step_all


class TransitionTable(NamedTuple):
    """The exact transition probabilities of a world, with axes state, action and outcome.

    Attributes:
        probability: (S, A, K) float64; unused outcomes have probability 0.
        next_state: (S, A, K) int64.
        reward: (S, A, K) float64.
        terminated: (S, A, K) bool, whether the episode ends in `next_state`.
        start: (S,) float64, the probability that an episode begins in each state.
    """

    probability: NDArray[np.float64]
    next_state: NDArray[np.int64]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    start: NDArray[np.float64]


def transition_table(world: World) -> TransitionTable:
    """Return the exact transition table, by running the rules once for every random outcome.

    Raises:
        ValueError: the states of the world are not numbered.
    """
    if world.num_states is None:
        raise ValueError(
            f"{world.name} has no transition table, because its states are not numbered"
        )
    rows = [
        [
            _all_outcomes(lambda dice, s=s, a=a: world.step(world.params, s, a, dice))  # type: ignore[misc]
            for a in range(len(world.actions))
        ]
        for s in range(world.num_states)
    ]
    shape = (len(rows), len(world.actions), max(len(cell) for row in rows for cell in row))
    table = TransitionTable(
        np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape, np.bool_),
        np.zeros(world.num_states),
    )  # fmt: skip
    for s, row in enumerate(rows):
        for a, cell in enumerate(row):
            for k, (probability, (next_state, reward, terminated)) in enumerate(cell):
                table.probability[s, a, k] = probability
                table.next_state[s, a, k] = next_state
                table.reward[s, a, k] = reward
                table.terminated[s, a, k] = terminated
    for probability, state in _all_outcomes(lambda dice: world.reset(world.params, dice)):
        table.start[state] += probability
    return table


def _all_outcomes(play: Callable[[Dice], Any]) -> list[tuple[float, Any]]:
    """Return every result of `play(dice)` with its probability, in the order of the outcomes."""
    outcomes = []
    untried: list[tuple[int, ...]] = [()]
    while untried:
        dice = Dice(untried.pop())
        result = play(dice)
        outcomes.append((dice.rolls, dice.probability, result))
        untried += dice.untried
    return [
        (probability, result) for _, probability, result in sorted(outcomes, key=lambda o: o[0])
    ]


def _check_actions(world: World, actions: NDArray[Any]) -> None:
    if actions.dtype.kind not in "iu" or actions.min() < 0 or actions.max() >= len(world.actions):
        allowed = ", ".join(f"{i} ({name})" for i, name in enumerate(world.actions))
        raise ValueError(f"action must be one of {allowed} in {world.name}, got {actions!s}")


def _check_render_mode(render_mode: str | None, allowed: Sequence[str]) -> None:
    if render_mode is not None and render_mode not in allowed:
        modes = ", ".join(map(repr, allowed))
        raise ValueError(f"render_mode must be one of {modes}, or None, got {render_mode!r}")
