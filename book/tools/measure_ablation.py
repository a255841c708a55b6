"""What each of Rainbow's six tricks is worth, measured once and stored for chapter 07.

``python book/tools/measure_ablation.py`` trains DQN, DQN with each trick alone, Rainbow, and
Rainbow without each, on three worlds with ten seeds. It writes how well each run played while it
learned, how long it learned, and what a random player scores, to ``book/data/ablation.json``. That
takes about half an hour on two cores. Apart from the seconds, a run depends on its seed alone, so
the same processor gives the same numbers again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import stored
from tqdm import tqdm

import rlbook
from rlbook import backends
from rlbook.schedules import Linear

COMMAND = "python book/tools/measure_ablation.py"
RESULTS = stored.BOOK / "data" / "ablation.json"

SEEDS = range(10)
POINTS = 10  # of each run's curve
HELD_OUT = 1_000_000  # episodes that are looked at begin from these seeds on


class World(NamedTuple):
    """An environment, and how long all agents learn in it, with which settings."""

    env_id: str
    options: dict[str, Any]
    best: float  # a return that nobody can beat
    games: int  # to look at; 1 where all are alike
    steps: int
    settings: dict[str, Any]


OFF = {"double": False, "prioritized": False, "dueling": False, "n_step": 1}
OFF |= {"distributional": False, "noisy": False}
ON = dict.fromkeys(OFF, True) | {"n_step": 3}
ALONE = {"DQN": OFF} | {f"DQN + {trick}": OFF | {trick: ON[trick]} for trick in ON}
WITHOUT = {f"Rainbow - {trick}": ON | {trick: OFF[trick]} for trick in ON}
VARIANTS = {**ALONE, "Rainbow": ON, **WITHOUT}

WORLDS = {
    "CartPole": World(
        "rlbook/CartPole-v0", {}, 500, 20, 12_000,
        {"hidden": (64, 64), "v_min": 0, "v_max": 100},
    ),
    "Snake": World(
        "rlbook/Snake-v0", {"size": 5, "observation": "kinds"}, 24, 20, 40_000,
        {"hidden": (128, 128), "channels": (), "v_min": -2, "v_max": 10, "gamma": 0.97,
         "steps_per_update": 8, "epsilon": Linear(1.0, 0.02, 15_000)},
    ),
    "DeepSea": World(
        "rlbook/DeepSea-v0", {"size": 10}, 0.99, 1, 10_000,
        {"hidden": (64, 64), "v_min": -0.1, "v_max": 1.1},
    ),
}  # fmt: skip
RAINBOWS = {"batch_size": 32, "alpha": 0.5}  # the paper's settings; β rises over a run, as there

Task = tuple[str, str, int]


def make_agent(task: Task) -> rlbook.Rainbow:
    """An agent that has learned nothing yet."""
    world, variant, seed = WORLDS[task[0]], task[1], task[2]
    env = gymnasium.make(world.env_id, **world.options)
    settings = RAINBOWS | {"beta": Linear(0.4, 1.0, world.steps)} | world.settings
    return rlbook.Rainbow(env, seed=seed, device="cpu", **(settings | VARIANTS[variant]))


def fingerprints() -> dict[str, list[float]]:
    """What each variant learns in its first 1,200 steps of CartPole."""
    return {
        variant: stored.fingerprint(make_agent(("CartPole", variant, 0)), 1_200)
        for variant in VARIANTS
    }


def train(task: Task) -> tuple[list[float], float]:
    """Mean returns of an agent that learns, one after each tenth of its steps; and its seconds."""
    world, agent = WORLDS[task[0]], make_agent(task)
    curve, seconds = [], 0.0
    for _ in range(POINTS):
        start = perf_counter()
        agent.learn(world.steps // POINTS, progress=False)
        seconds += perf_counter() - start
        curve.append(round(mean_return(agent.predict, world, world.games), 4))
    return curve, round(seconds, 1)


def mean_return(choose: Any, world: World, games: int) -> float:
    """Of games that are played side by side."""
    envs = gymnasium.make_vec(world.env_id, num_envs=games, **world.options)
    obs, _ = envs.reset(seed=HELD_OUT)
    total, playing = np.zeros(games), np.ones(games, bool)
    while playing.any():
        obs, rewards, terminated, truncated, _ = envs.step(choose(obs))
        total += rewards * playing
        playing &= ~(terminated | truncated)
    envs.close()
    return float(total.mean())


def at_random(world: World, games: int = 1_000) -> float:
    """The mean return of a player who does anything."""
    rng = np.random.default_rng(0)
    num_actions = int(gymnasium.make(world.env_id, **world.options).action_space.n)  # type: ignore[attr-defined]
    return mean_return(lambda obs: rng.integers(num_actions, size=len(obs)), world, games)


def measure(tasks: list[Task], processes: int) -> Iterator[tuple[Task, list[float], float]]:
    """All of the runs, each on one core."""
    with backends.get("multiprocessing") as backend, tqdm(total=len(tasks)) as bar:
        for start in range(0, len(tasks), 8 * processes):  # so that the bar has something to say
            some = tasks[start : start + 8 * processes]
            found = backend.run(train, some, timeout=3600)
            yield from ((task, *each) for task, each in zip(some, found, strict=True))
            bar.update(len(some))


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    argparse.ArgumentParser(description=f"Measure, and write {RESULTS.name}.").parse_args(arguments)
    tasks = [(name, variant, seed) for seed in SEEDS for name in WORLDS for variant in VARIANTS]
    curves, seconds = ({name: {} for name in WORLDS} for _ in range(2))  # type: Any, Any
    for (name, variant, _), curve, took in measure(tasks, os.cpu_count() or 1):
        curves[name].setdefault(variant, []).append(curve)
        seconds[name].setdefault(variant, []).append(took)
    results = {
        **stored.origin(COMMAND),
        "fingerprints": fingerprints(),
        "steps": {name: world.steps for name, world in WORLDS.items()},
        "best": {name: world.best for name, world in WORLDS.items()},
        "random": {name: round(at_random(world), 4) for name, world in WORLDS.items()},
        "curves": curves,
        "seconds": seconds,
    }
    stored.save(results, RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
