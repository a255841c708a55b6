"""From rules to environments: one set of rules, three ways to use it.

A world is a handful of plain functions (`World`). From them this module makes

* `WorldEnv`, an ordinary `gymnasium.Env`,
* `WorldVectorEnv`, many copies stepped by one compiled call,
* `transition_table`, the exact probabilities, found by letting the dice fall in every possible way.
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

from rlbook_envs.chance import ENVIRONMENT, Dice, reset_key, step_key, stream_key
from rlbook_envs.compiled import compile


@dataclass(frozen=True, eq=False)
class World:
    """The rules of a world whose states are numbered, and what others must know to use them.

    Attributes:
        name: for messages.
        params: a NamedTuple of what the rules read: a map, probabilities, rewards.
        reset: `reset(params, key) -> state`, where an episode begins.
        step: `step(params, state, action, key) -> (state, reward, terminated)`.
        num_states: states are 0 … num_states - 1, and are observed as they are.
        actions: the names of actions 0, 1, ….
        text: `text(params, state) -> str`, the world in characters.
        picture: `picture(params, state) -> uint8 array (height, width, 3)`.
    """

    name: str
    params: Any
    reset: Callable[..., int]
    step: Callable[..., tuple[int, float, bool]]
    num_states: int
    actions: tuple[str, ...]
    text: Callable[[Any, int], str]
    picture: Callable[[Any, int], NDArray[np.uint8]]


class WorldEnv(gymnasium.Env[Any, Any]):
    """A world as a Gymnasium environment: `rlbook/...` ids make one of these.

    Its chance is keyed by (seed, step), so it behaves exactly as row 0 of a `WorldVectorEnv`.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}

    def __init__(self, world: World, render_mode: str | None = None) -> None:
        _check_render_mode(render_mode, self.metadata["render_modes"])
        self.world = world
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Discrete(world.num_states)
        self.action_space = gymnasium.spaces.Discrete(len(world.actions))
        self._key: np.uint64 | None = None
        self._clock = 0
        self._fresh = False  # whether an episode has begun and no step was taken
        self._state = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Begin an episode. With a seed, the world's chance begins anew as well."""
        super().reset(seed=seed)
        if seed is not None or self._key is None:
            self._key = stream_key(self.np_random_seed, ENVIRONMENT, 0)
            self._clock = 0
        elif self._fresh:
            self._clock += 1  # or the new episode would begin with the old one's chance
        self._fresh = True
        reset = _compiled(self.world.reset)
        self._state = int(reset(self.world.params, reset_key(self._key, self._clock)))
        return self._state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Apply one action. Never truncated here: Gymnasium's `TimeLimit` tells time limits.

        Raises:
            ValueError: the action is not one of this world's.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        if self._key is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        _check_actions(self.world, np.asarray(action))
        key = step_key(self._key, self._clock)
        step = _compiled(self.world.step)
        state, reward, terminated = step(self.world.params, self._state, int(action), key)
        self._state = int(state)
        self._clock += 1
        self._fresh = False
        return self._state, float(reward), bool(terminated), False, {}

    def render(self) -> str | NDArray[np.uint8] | None:  # type: ignore[override]
        """The world as text (`"ansi"`) or as a uint8 array (height, width, 3) (`"rgb_array"`)."""
        if self.render_mode == "ansi":
            return self.world.text(self.world.params, self._state)
        if self.render_mode == "rgb_array":
            return self.world.picture(self.world.params, self._state)
        return None

    def get_state(self) -> dict[str, int | None]:
        """All that `set_state` needs to go on from here, as plain numbers."""
        key = None if self._key is None else int(self._key)
        return {"key": key, "clock": self._clock, "fresh": self._fresh, "state": self._state}

    def set_state(self, saved: dict[str, int | None]) -> None:
        """Go back to where `get_state` was called, here or in another process."""
        key, clock, state = saved["key"], saved["clock"], saved["state"]
        self._key = None if key is None else np.uint64(key)
        self._clock, self._state, self._fresh = clock or 0, state or 0, bool(saved.get("fresh"))


class WorldVectorEnv(gymnasium.vector.VectorEnv):  # type: ignore[type-arg]
    """`num_envs` copies of a world, stepped by one compiled call.

    Row i has a stream of chance of its own, so it does the same whatever `num_envs` is.

    Args:
        world: the rules.
        num_envs: how many copies.
        max_episode_steps: steps after which an episode is truncated; None for no limit.
        autoreset_mode: what happens after an episode ends. `"NextStep"` (Gymnasium's default): the
            next call of `step` ignores that row's action and returns the first observation of a
            new episode, with reward 0. `"SameStep"`: the row returns that observation at once, and
            the last one of the old episode is `infos["final_obs"][i]`.
        copy: return fresh arrays. With False the same arrays are returned and overwritten at
            every step, which is faster.
        render_mode: `"ansi"` or `"rgb_array"`: a tuple of num_envs texts or pictures.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE = ("_clocks", "_lengths", "_states", "_terminated", "_truncated")

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
            raise ValueError(f"num_envs={num_envs} is not allowed: at least 1")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(
                f"max_episode_steps={max_episode_steps} is not allowed: 1 or more, or None"
            )
        mode = AutoresetMode(autoreset_mode)
        if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise ValueError(
                f"autoreset_mode={mode.value!r} is not allowed: 'NextStep' or 'SameStep'"
            )
        self.metadata = {**WorldEnv.metadata, "autoreset_mode": mode}
        _check_render_mode(render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.world = world
        self.num_envs = num_envs
        self.single_observation_space = gymnasium.spaces.Discrete(world.num_states)
        self.single_action_space = gymnasium.spaces.Discrete(len(world.actions))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._copy = copy
        self._limit = max_episode_steps or np.iinfo(np.int64).max
        self._step_all = _compiled_batch(world.reset, world.step)
        self._reset_one = _compiled(world.reset)
        self._keys: NDArray[np.uint64] | None = None
        self._clocks = np.zeros(num_envs, np.int64)
        self._lengths = np.zeros(num_envs, np.int64)
        self._states = np.zeros(num_envs, np.int64)
        self._final = np.zeros(num_envs, np.int64)
        self._rewards = np.zeros(num_envs, np.float64)
        self._terminated = np.zeros(num_envs, np.bool_)
        self._truncated = np.zeros(num_envs, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Begin an episode in every row.

        Args:
            seed: one seed for all rows, each of which has its own stream of it; or a sequence of
                num_envs seeds, and then row i is the `WorldEnv` that was reset with `seed[i]`.
        """
        if seed is None and self._keys is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if seed is not None:
            if isinstance(seed, (int, np.integer)):
                super().reset(seed=int(seed))
                keys = [stream_key(int(seed), ENVIRONMENT, row) for row in range(self.num_envs)]
            else:
                if len(seed) != self.num_envs:
                    raise ValueError(f"seed has {len(seed)} entries, but num_envs={self.num_envs}")
                keys = [stream_key(one, ENVIRONMENT, 0) for one in seed]
            self._keys = np.array(keys, np.uint64)
            self._clocks[:] = 0
        else:  # a row that has not moved must not begin with the same chance again
            self._clocks[self._lengths == 0] += 1
        assert self._keys is not None
        for row in range(self.num_envs):
            key = reset_key(self._keys[row], self._clocks[row])
            self._states[row] = self._reset_one(self.world.params, key)
        self._lengths[:] = 0
        self._terminated[:] = False
        self._truncated[:] = False
        return self._out(self._states), {}

    def step(  # type: ignore[override]
        self, actions: NDArray[np.int64]
    ) -> tuple[
        NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Apply one action in every row.

        Args:
            actions: (num_envs,) integers.

        Returns:
            Observations (num_envs,) int64, rewards float64, terminated bool, truncated bool, and
            a dict that holds `final_obs` and the mask `_final_obs` in `"SameStep"` mode.

        Raises:
            ValueError: a wrong number of actions, or an action that is not this world's.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        if self._keys is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise ValueError(f"actions has shape {actions.shape}, not ({self.num_envs},)")
        _check_actions(self.world, actions)
        same_step = self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        self._step_all(
            self.world.params, actions.astype(np.int64, copy=False), self._limit, same_step,
            self._keys, self._clocks, self._lengths,
            self._states, self._final, self._rewards, self._terminated, self._truncated,
        )  # fmt: skip
        infos: dict[str, Any] = {}
        if same_step:
            ended = self._terminated | self._truncated
            if ended.any():
                infos = {"final_obs": self._out(self._final), "_final_obs": ended}
        return (
            self._out(self._states),
            self._out(self._rewards),
            self._out(self._terminated),
            self._out(self._truncated),
            infos,
        )

    def render(self) -> tuple[Any, ...] | None:
        """Every row as text or as a picture, or None without a render mode."""
        if self.render_mode is None:
            return None
        draw = self.world.text if self.render_mode == "ansi" else self.world.picture
        return tuple(draw(self.world.params, int(state)) for state in self._states)

    def get_state(self) -> dict[str, NDArray[Any] | None]:
        """All that `set_state` needs to go on from here, as arrays."""
        keys = None if self._keys is None else self._keys.copy()
        return {"_keys": keys, **{name: getattr(self, name).copy() for name in self._STATE}}

    def set_state(self, saved: dict[str, NDArray[Any] | None]) -> None:
        """Go back to where `get_state` was called, here or in another process."""
        keys = saved["_keys"]
        self._keys = None if keys is None else keys.copy()
        for name in self._STATE:
            getattr(self, name)[:] = saved[name]

    def _out(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.copy() if self._copy else array


# Compiled at first use and once a process, however many environments there are.
_compiled = lru_cache(maxsize=64)(compile)


@lru_cache(maxsize=64)
def _compiled_batch(reset: Callable[..., int], step: Callable[..., Any]) -> Callable[..., Any]:
    return compile(_make_batch(reset, step))


def _make_batch(reset: Callable[..., int], step: Callable[..., Any]) -> Callable[..., None]:
    """The step of `WorldVectorEnv`: one pass over the rows, each written in place."""

    def step_all(  # type: ignore[no-untyped-def]
        params, actions, limit, same_step,
        keys, clocks, lengths, states, final, rewards, terminated, truncated,
    ):  # fmt: skip
        for row in range(len(actions)):
            key, clock = keys[row], clocks[row]
            if terminated[row] or truncated[row]:  # the old episode ended in the call before
                terminated[row] = truncated[row] = False
                if not same_step:
                    states[row] = reset(params, reset_key(key, clock))
                    rewards[row] = 0.0
                    lengths[row] = 0
                    continue
            states[row], rewards[row], terminated[row] = step(
                params, states[row], actions[row], step_key(key, clock)
            )
            clocks[row] = clock + 1
            lengths[row] += 1
            truncated[row] = lengths[row] >= limit
            if same_step and (terminated[row] or truncated[row]):
                final[row] = states[row]
                states[row] = reset(params, reset_key(key, clock + 1))
                lengths[row] = 0

    return step_all


class TransitionTable(NamedTuple):
    """All that can happen in a world, exactly. Axes: state, action, outcome of chance.

    Attributes:
        probability: (S, A, K) float64; outcomes that an action lacks have probability 0.
        next_state: (S, A, K) int64.
        reward: (S, A, K) float64.
        terminated: (S, A, K) bool: whether the episode is over in `next_state`.
        start: (S,) float64, the probability that an episode begins in each state.
    """

    probability: NDArray[np.float64]
    next_state: NDArray[np.int64]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    start: NDArray[np.float64]


def transition_table(world: World) -> TransitionTable:
    """The exact transition table: the rules, run once for every way in which the dice can fall."""
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
    """Every result of `play(dice)` with its probability, the first roll's outcomes in order."""
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
        raise ValueError(f"action={actions!s} is not allowed in {world.name}: {allowed}")


def _check_render_mode(render_mode: str | None, allowed: Sequence[str]) -> None:
    if render_mode is not None and render_mode not in allowed:
        raise ValueError(
            f"render_mode={render_mode!r} is not allowed: {', '.join(map(repr, allowed))} or None"
        )
