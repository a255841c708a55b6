"""Atari games, many side by side, as players in the literature see them.

`"ALE/Breakout-v5"` as the `env` of an agent with a network is one of these. The games are those of
the Arcade Learning Environment (Bellemare et al., 2013). They come with the package `ale-py`, and
so does what steps many of them in C++. What players see is standard (Mnih et al., 2015, "Methods";
Machado et al., "Revisiting the Arcade Learning Environment", 2018): every action lasts four frames,
of the last two of which the brighter pixels are taken, in grey, 84 x 84; an observation is the last
four of those; with probability 0.25 an action is not heard and the one before lasts on; a game
begins after up to 30 actions that do nothing, and a shot where it waits for one; it ends with the
last life.

An emulator cannot be taken to another process in the middle of a game. Where a worker is rebuilt,
or an agent is loaded from a file, other games begin.
"""

from __future__ import annotations

import uuid
import warnings
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

SIZE, STACK, FRAMES, STICKY = 84, 4, 4, 0.25


class Atari:
    """Makes a game: one, as an environment, or many, as a batch.

    Args:
        env_id: such as `"ALE/Breakout-v5"`.
        clip_rewards: count only whether points are won or lost, as agents do while they learn; to
            see the score, evaluate with False.

    Raises:
        ImportError: `ale-py` is not installed.
        ValueError: there is no such game.
    """

    def __init__(self, env_id: str, clip_rewards: bool = True) -> None:
        self.env_id, self.clip_rewards = env_id, clip_rewards
        self.game = _game(env_id)

    def __call__(self) -> AtariEnv:
        """One game, as an ordinary environment."""
        return AtariEnv(self)

    def batch(self, seeds: list[int]) -> AtariBatch:
        """Many games, as a rollout worker wants them."""
        return AtariBatch(self, seeds)


class AtariBatch:
    """Several games, stepped side by side; for `rlbook.data.rollout`."""

    restorable = False

    def __init__(self, atari: Atari, seeds: list[int]) -> None:
        self.seeds = np.array([seed % 2**31 for seed in seeds])
        self.envs = _vector_env(atari, len(seeds))
        self.stacks = np.zeros((len(seeds), STACK, SIZE, SIZE), np.uint8)
        self.ended = np.zeros(len(seeds), np.bool_)
        self.born = ""

    def reset(self) -> NDArray[np.uint8]:
        """Begin the first game in each; the first observations."""
        return self.begin_anew(np.zeros(len(self.seeds), np.int64))

    def begin_anew(self, clocks: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Begin another game in each, in place of those that cannot be brought back.

        Args:
            clocks: (N,), steps taken before. Each has games of its own, lest the same be played
                again and again.
        """
        frames, _ = self.envs.reset(seed=(self.seeds + clocks) % 2**31)
        self.stacks[:] = frames  # the first frame stands for those before it
        self.ended[:] = False
        self.born = uuid.uuid4().hex  # tells these games from those in whose place they are
        return self.stacks

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        """One step of each; observations, rewards, terminated, truncated."""
        frames, rewards, terminated, truncated, _ = self.envs.step(actions)
        self.stacks[:, :-1] = self.stacks[:, 1:]
        self.stacks[:, -1] = frames[:, 0]
        self.stacks[self.ended] = frames[self.ended]
        self.ended = terminated | truncated
        return self.stacks, rewards, terminated, truncated

    def get_row(self, row: int) -> dict[str, str]:
        """Only whose game it is, for games begin anew elsewhere."""
        return {"born": self.born}


class AtariEnv(gymnasium.Env[Any, Any]):
    """One game, in the same frames."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}
    stack_size, padding_type = STACK, "reset"

    def __init__(self, atari: Atari) -> None:
        self.atari, self.render_mode = atari, "rgb_array"
        self.batch: AtariBatch | None = None
        self.action_space = _vector_env(atari, 1).single_action_space
        self.observation_space = gymnasium.spaces.Box(0, 255, (STACK, SIZE, SIZE), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin a game."""
        super().reset(seed=seed)
        self.batch = AtariBatch(self.atari, [int(self.np_random.integers(2**31))])
        return self.batch.reset()[0].copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One action, for four frames."""
        if self.batch is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        obs, rewards, terminated, truncated = self.batch.step(np.array([action]))
        return obs[0].copy(), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> Any:
        """The newest frame, in grey, as uint8 (84, 84, 3)."""
        return None if self.batch is None else np.repeat(self.batch.stacks[0, -1, :, :, None], 3, 2)


def _game(env_id: str) -> str:
    """What the emulator calls the game: `"tic_tac_toe_3d"` for `"ALE/TicTacToe3D-v5"`."""
    try:
        import ale_py  # which registers the games
    except ImportError:
        raise ImportError("Atari games need `pip install 'rlbook[atari]'`") from None
    gymnasium.register_envs(ale_py)
    try:
        return str(gymnasium.spec(env_id).kwargs["game"])
    except (gymnasium.error.Error, KeyError) as error:
        raise ValueError(f"env={env_id!r} is not allowed: {error}") from error


def _vector_env(atari: Atari, num_envs: int) -> Any:
    from ale_py.vector_env import AtariVectorEnv

    try:
        with warnings.catch_warnings():  # of a game that does not exist, which is an error as well
            warnings.simplefilter("ignore")
            return AtariVectorEnv(
                atari.game, num_envs, stack_num=1, img_height=SIZE, img_width=SIZE,
                frameskip=FRAMES, maxpool=True, repeat_action_probability=STICKY, noop_max=30,
                use_fire_reset=True, episodic_life=False, reward_clipping=atari.clip_rewards,
            )  # fmt: skip
    except Exception as error:  # it raises whatever its C++ does
        raise ValueError(f"env={atari.env_id!r} is not allowed: {error}") from error
