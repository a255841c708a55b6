"""Atari games with the standard preprocessing, stepped in batches.

Pass an id such as `"ALE/Breakout-v5"` as the `env` of an agent with a network. The games are those
of the Arcade Learning Environment (Bellemare et al., 2013). The package `ale-py` provides them and
steps batches of them in C++. The preprocessing follows the literature (Mnih et al., 2015,
"Methods"; Machado et al., "Revisiting the Arcade Learning Environment", 2018). Every action is
repeated for four frames. The maximum over the last two of them is converted to greyscale and
resized to 84 x 84, and an observation stacks the last four of these images. With probability 0.25,
the environment repeats the previous action instead of the new one ("sticky actions"). An episode
begins after up to 30 no-op actions, and after the fire action in games that wait for it. It ends
when the last life is lost.

The state of an emulator cannot be sent to another process. Therefore new episodes begin when a
worker is rebuilt, or when an agent is loaded from a file.
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
    """A factory for one game, made either as a single environment or as a batch.

    Args:
        env_id: a Gymnasium id such as `"ALE/Breakout-v5"`.
        clip_rewards: whether to replace rewards by their signs, as is usual in training. Use False
            to evaluate an agent by its score.

    Raises:
        ImportError: `ale-py` is not installed.
        ValueError: the game does not exist.
    """

    def __init__(self, env_id: str, clip_rewards: bool = True) -> None:
        self.env_id, self.clip_rewards = env_id, clip_rewards
        self.game = _game(env_id)

    def __call__(self) -> AtariEnv:
        """Return the game as an ordinary environment."""
        return AtariEnv(self)

    def batch(self, seeds: list[int]) -> AtariBatch:
        """Return a batch of games for a rollout worker, one for each seed."""
        return AtariBatch(self, seeds)


class AtariBatch:
    """A batch of games that are stepped together; for `rlbook.data.rollout`."""

    restorable = False

    def __init__(self, atari: Atari, seeds: list[int]) -> None:
        self.seeds = np.array([seed % 2**31 for seed in seeds])
        self.envs = _vector_env(atari, len(seeds))
        self.stacks = np.zeros((len(seeds), STACK, SIZE, SIZE), np.uint8)
        self.ended = np.zeros(len(seeds), np.bool_)
        self.born = ""

    def reset(self) -> NDArray[np.uint8]:
        """Begin the first episode of each game, and return the first observations."""
        return self.begin_anew(np.zeros(len(self.seeds), np.int64))

    def begin_anew(self, counters: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Begin new episodes in place of those that cannot be restored.

        Args:
            counters: (N,), the number of steps that each game has taken. It changes the seeds, so
                that the episodes differ from earlier ones.
        """
        frames, _ = self.envs.reset(seed=(self.seeds + counters) % 2**31)
        self.stacks[:] = frames  # copies of the first frame fill the stack
        self.ended[:] = False
        self.born = uuid.uuid4().hex  # distinguishes these episodes from those that they replace
        return self.stacks

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        """Step every game, and return observations, rewards, terminated, and truncated."""
        frames, rewards, terminated, truncated, _ = self.envs.step(actions)
        self.stacks[:, :-1] = self.stacks[:, 1:]
        self.stacks[:, -1] = frames[:, 0]
        self.stacks[self.ended] = frames[self.ended]
        self.ended = terminated | truncated
        return self.stacks, rewards, terminated, truncated

    def get_row(self, row: int) -> dict[str, str]:
        """Return an identifier of the episodes instead of a state, which can't be copied."""
        return {"born": self.born}


class AtariEnv(gymnasium.Env[Any, Any]):
    """A single game with the same preprocessing."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}
    stack_size, padding_type = STACK, "reset"

    def __init__(self, atari: Atari) -> None:
        self.atari, self.render_mode = atari, "rgb_array"
        self.batch: AtariBatch | None = None
        self.action_space = _vector_env(atari, 1).single_action_space
        self.observation_space = gymnasium.spaces.Box(0, 255, (STACK, SIZE, SIZE), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.batch = AtariBatch(self.atari, [int(self.np_random.integers(2**31))])
        return self.batch.reset()[0].copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Repeat an action for four frames."""
        if self.batch is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        obs, rewards, terminated, truncated = self.batch.step(np.array([action]))
        return obs[0].copy(), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> Any:
        """Return the newest frame in greyscale, as uint8 (84, 84, 3)."""
        return None if self.batch is None else np.repeat(self.batch.stacks[0, -1, :, :, None], 3, 2)


def _game(env_id: str) -> str:
    """Return the emulator's name of a game: `"tic_tac_toe_3d"` for `"ALE/TicTacToe3D-v5"`."""
    try:
        import ale_py  # which registers the games
    except ImportError:
        raise ImportError("Atari games need `pip install 'rlbook[atari]'`") from None
    gymnasium.register_envs(ale_py)
    try:
        return str(gymnasium.spec(env_id).kwargs["game"])
    except (gymnasium.error.Error, KeyError) as error:
        raise ValueError(f"env must be an Atari game, got {env_id!r}: {error}") from error


def _vector_env(atari: Atari, num_envs: int) -> Any:
    from ale_py.vector_env import AtariVectorEnv

    try:
        with warnings.catch_warnings():  # a game that does not exist is an error as well
            warnings.simplefilter("ignore")
            return AtariVectorEnv(
                atari.game, num_envs, stack_num=1, img_height=SIZE, img_width=SIZE,
                frameskip=FRAMES, maxpool=True, repeat_action_probability=STICKY, noop_max=30,
                use_fire_reset=True, episodic_life=False, reward_clipping=atari.clip_rewards,
            )  # fmt: skip
    except Exception as error:  # its C++ code may raise any exception
        raise ValueError(f"env must be an Atari game, got {atari.env_id!r}: {error}") from error
