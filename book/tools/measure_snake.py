"""Snake from the board: DQN beside a table with features, measured once and stored for chapter 06.

``python book/tools/measure_snake.py`` trains five agents on a 6 x 6 board, a million steps each,
and writes how many apples they ate while they learned to ``book/data/dqn_snake.json``, and the
network that ate most to ``book/data/dqn_snake.npz``. That takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
import stored

import rlbook
from rlbook import backends
from rlbook.schedules import Linear

COMMAND = "python book/tools/measure_snake.py"
RESULTS = stored.BOOK / "data" / "dqn_snake.json"
NETWORK = RESULTS.with_suffix(".npz")

SIZE = 6
SEEDS = range(5)
POINTS, STEPS = 20, 1_000_000
GAMES, HELD_OUT = 100, 1_000_000  # games are played from this seed on

# A board laid flat, a plane for each kind of cell: on one so small, convolutions buy nothing.
# Of Rainbow's additions two are used: double Q-learning and returns over three steps.
ADDITIONS = {"double": True, "n_step": 3, "prioritized": False, "dueling": False}
ADDITIONS |= {"distributional": False, "noisy": False}
SETTINGS: dict[str, Any] = ADDITIONS | {
    "num_envs": 32, "hidden": (256, 128), "channels": (),
    "steps_per_update": 4, "epsilon": Linear(1.0, 0.01, 200_000), "gamma": 0.97,
    "learning_rate": Linear(7e-4, 5e-5, STEPS), "target_every": 500,
    "replay_capacity": 200_000, "learning_starts": 5_000,
}  # fmt: skip


def make_agent(seed: int) -> rlbook.Rainbow:
    """An agent that has learned nothing yet."""
    env = gymnasium.make("rlbook/Snake-v0", size=SIZE, observation="kinds")
    return rlbook.Rainbow(env, seed=seed, device="cpu", **SETTINGS)


def fingerprints() -> dict[str, list[float]]:
    """What the agent learns in its first updates."""
    return {"DQN": stored.fingerprint(make_agent(seed=0), SETTINGS["learning_starts"] + 400)}


def train(seed: int) -> tuple[list[float], float, Any]:
    """Mean apples after each twentieth of the steps, seconds of learning, and the last weights."""
    agent, curve, seconds = make_agent(seed), [], 0.0
    for _ in range(POINTS):
        start = perf_counter()
        agent.learn(STEPS // POINTS, progress=False)
        seconds += perf_counter() - start
        curve.append(apples(agent.predict, "kinds"))
    return curve, round(seconds, 1), agent.get_weights()


def apples(choose: Any, observation: str) -> float:
    """A game, of games that are played side by side."""
    envs = gymnasium.make_vec("rlbook/Snake-v0", num_envs=GAMES, size=SIZE, observation=observation)
    obs, _ = envs.reset(seed=HELD_OUT)
    eaten, playing = 0, np.ones(GAMES, bool)
    while playing.any():
        obs, rewards, terminated, truncated, _ = envs.step(choose(obs))
        eaten += int(((rewards > 0) & playing).sum())
        playing &= ~(terminated | truncated)
    envs.close()
    return eaten / GAMES


def by_table() -> float:
    """What the Q-learning of chapter 04 eats, which sees features that people thought of."""
    env = gymnasium.make("rlbook/Snake-v0", size=SIZE, observation="features")
    agent = rlbook.QLearning(env, seed=1, num_envs=8, learning_rate=0.05, gamma=0.95)
    agent.learn(5_000_000, progress=False)
    return apples(agent.predict, "features")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    argparse.ArgumentParser(description=f"Measure, and write {RESULTS.name}.").parse_args(arguments)
    chance = np.random.default_rng(0)
    at_random = apples(lambda obs: chance.integers(4, size=len(obs)), "kinds")
    with backends.get("multiprocessing") as backend:
        runs = backend.run(train, SEEDS, timeout=7200)
    curves, seconds, weights = (list(each) for each in zip(*runs, strict=True))
    best = weights[int(np.argmax([curve[-1] for curve in curves]))]
    part = NETWORK.with_suffix(".part.npz")
    np.savez_compressed(part, weights=best.astype(np.float16))  # enough to play by
    os.replace(part, NETWORK)
    results = {
        **stored.origin(COMMAND),
        "fingerprints": fingerprints(),
        "steps": STEPS,
        "random": at_random,
        "table": by_table(),
        "curves": curves,
        "seconds": seconds,
    }
    stored.save(results, RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
