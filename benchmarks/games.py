"""How well DQN plays after some minutes of training: Snake from the board, Flappy Bird."""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple

import gymnasium
import numpy as np

import rlbook
from benchmarks.measuring import Row, Spread, Target
from rlbook.schedules import Linear

SEEDS, GAMES = 3, 100
LOOKED_AT, HELD_OUT = 1_000_000, 2_000_000  # games begin from these seeds on


class Game(NamedTuple):
    """What is played, and what should be reached when."""

    subject: str
    agent: str  # the name of its class
    env_id: str
    options: dict[str, Any]
    settings: dict[str, Any]
    points: str  # what each reward of 1 stands for
    goal: float
    seconds: float  # of training, at most
    slice: int  # steps between two looks at how well it plays


SNAKE = Game(
    "Double DQN on Snake 6x6 from the board, ten minutes on one core", "Rainbow", "rlbook/Snake-v0",
    {"size": 6, "observation": "kinds"},
    {
        "prioritized": False, "dueling": False, "distributional": False, "noisy": False,
        "num_envs": 32, "n_step": 3, "double": True, "hidden": (256, 128), "channels": (),
        "steps_per_update": 4, "epsilon": Linear(1.0, 0.01, 200_000),
        "learning_rate": Linear(7e-4, 5e-5, 1_500_000), "target_every": 500,
        "replay_capacity": 200_000, "learning_starts": 5_000, "gamma": 0.97,
    },
    "apples", 15.0, 600.0, 50_000,
)  # fmt: skip
BIRD = Game(
    "DQN on Flappy Bird from features, five minutes on one core", "DQN", "rlbook/FlappyBird-v0", {},
    {
        "n_step": 3, "epsilon": Linear(0.1, 0.002, 100_000), "learning_rate": 5e-4,
        "steps_per_update": 4, "learning_starts": 2_000, "target_every": 250,
    },
    "pipes", 50.0, 300.0, 25_000,
)  # fmt: skip


def snake(quick: bool) -> list[Row]:
    """Apples a game, on three seeds."""
    return [_row(SNAKE, quick)]


def flappy_bird(quick: bool) -> list[Row]:
    """Pipes a game, on three seeds."""
    return [_row(BIRD, quick)]


def _row(game: Game, quick: bool) -> Row:
    runs = [_train(game, seed, 5.0 if quick else game.seconds) for seed in range(SEEDS)]
    scores, seconds = ([run[i] for run in runs] for i in (0, 1))
    chance = np.random.default_rng(0)
    num_actions = int(gymnasium.make(game.env_id, **game.options).action_space.n)  # type: ignore[attr-defined]
    at_random = mean_points(game, lambda obs: chance.integers(num_actions, size=len(obs)), HELD_OUT)
    settings = ", ".join(f"{name}={value!r}" for name, value in game.settings.items())
    return Row(
        game.subject,
        f"{game.agent}({game.env_id!r}, {settings})",
        f"a player at random, {at_random:.1f} {game.points}",
        {game.points: Spread.of(scores)},
        {
            f"{game.points}, worst seed": min(scores),
            "training, slowest seed, s": max(seconds),
        },
        Target(game.goal, at_least=True),
        f"Mean {game.points} of {GAMES} greedy games on seeds held out, of each of {SEEDS} seeds. "
        f"Training ended when {GAMES} other games had a mean of {1.1 * game.goal:g}, looked for "
        f"every {game.slice:,} steps, or after {game.seconds:g} s.",
    )


def _train(game: Game, seed: int, limit: float) -> tuple[float, float]:
    """What an agent scores in the end, and after how many seconds of training."""
    env = gymnasium.make(game.env_id, **game.options)
    agent = getattr(rlbook, game.agent)(env, seed=seed, device="cpu", **game.settings)
    seconds = 0.0
    while seconds < limit:
        start = perf_counter()
        agent.learn(game.slice, progress=False)
        seconds += perf_counter() - start
        if mean_points(game, agent.predict, LOOKED_AT) >= 1.1 * game.goal:
            break
    return mean_points(game, agent.predict, HELD_OUT), seconds


def mean_points(game: Game, choose: Any, seed: int) -> float:
    """Of games that are played side by side."""
    envs = gymnasium.make_vec(game.env_id, num_envs=GAMES, **game.options)
    obs, _ = envs.reset(seed=seed)
    points, playing = 0, np.ones(GAMES, bool)
    while playing.any():
        obs, rewards, terminated, truncated, _ = envs.step(choose(obs))
        points += int(((rewards > 0) & playing).sum())
        playing &= ~(terminated | truncated)
    return points / GAMES
