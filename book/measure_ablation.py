"""What each of Rainbow's six tricks is worth, measured once and stored for chapter 07.

``python book/measure_ablation.py`` trains DQN, DQN with each trick alone, Rainbow, and Rainbow
without each, on three worlds with ten seeds, and writes how well each run played, while it learned,
to ``book/data/ablation.json``. It takes about MINUTES minutes on two cores. A run depends on its
seed alone, so the same processor gives the same numbers again.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import stored
from numpy.typing import NDArray
from tqdm import tqdm

import rlbook
from rlbook import backends
from rlbook.schedules import Linear

LIBRARY = stored.BOOK.parent / "rlbook"
COMMAND = "python book/measure_ablation.py"
RESULTS = stored.BOOK / "data" / "ablation.json"

# What says what a run learns. A change to any of it makes the results stale.
MODULES = (
    "adam", "deep_agent", "distributional", "dqn", "networks", "policies", "replay", "rings",
    "rollout", "sampling", "schedules", "sum_tree", "torch_networks",
)  # fmt: skip
CODE = [stored.BOOK / "measure_ablation.py", *(LIBRARY / f"{name}.py" for name in MODULES)]

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


WORLDS = {
    "CartPole": World(
        "rlbook/CartPole-v0", {}, 500, 20, 20_000,
        {"hidden": (64, 64), "v_min": 0, "v_max": 100},
    ),
    "Snake": World(
        "rlbook/Snake-v0", {"size": 5, "observation": "kinds"}, 22, 20, 40_000,
        {"hidden": (128, 128), "channels": (), "v_min": -2, "v_max": 10, "gamma": 0.97,
         "steps_per_update": 4, "epsilon": Linear(1.0, 0.02, 15_000)},
    ),
    "DeepSea": World(
        "rlbook/DeepSea-v0", {"size": 8}, 0.99, 1, 10_000,
        {"hidden": (64, 64), "v_min": -0.5, "v_max": 1.5, "epsilon": Linear(1.0, 0.05, 5_000)},
    ),
}  # fmt: skip

OFF = {"double": False, "prioritized": False, "dueling": False, "n_step": 1}
OFF |= {"distributional": False, "noisy": False}
ON = dict.fromkeys(OFF, True) | {"n_step": 3}
VARIANTS = {
    "DQN": OFF,
    **{f"DQN + {trick}": OFF | {trick: ON[trick]} for trick in ON},
    "Rainbow": ON,
    **{f"Rainbow - {trick}": ON | {trick: OFF[trick]} for trick in ON},
}

Task = tuple[str, str, int]


def train(task: Task) -> list[float]:
    """The mean returns of an agent that learns, each after another tenth of its steps."""
    world, variant, seed = WORLDS[task[0]], task[1], task[2]
    env = gymnasium.make(world.env_id, **world.options)
    settings = world.settings | VARIANTS[variant]
    agent = rlbook.DQN(env, seed=seed, device="cpu", **settings)
    curve = []
    for _ in range(POINTS):
        agent.learn(world.steps // POINTS, progress=False)
        curve.append(mean_return(agent, world))
    return [round(value, 4) for value in curve]


def mean_return(agent: rlbook.DQN, world: World) -> float:
    """Of greedy games that are played side by side."""
    envs = gymnasium.make_vec(world.env_id, num_envs=world.games, **world.options)
    obs, _ = envs.reset(seed=HELD_OUT)
    total, playing = np.zeros(world.games), np.ones(world.games, bool)
    while playing.any():
        obs, rewards, terminated, truncated, _ = envs.step(agent.predict(obs))
        total += rewards * playing
        playing &= ~(terminated | truncated)
    envs.close()
    return float(total.mean())


def scores(results: dict[str, Any], variant: str) -> NDArray[np.float64]:
    """(runs, worlds, points): returns as fractions of the best possible ones."""
    curves = [results["curves"][name][variant] for name in results["best"]]
    best = np.array(list(results["best"].values()))
    return np.array(curves).swapaxes(0, 1) / best[:, None]


def measure(tasks: list[Task], workers: int) -> dict[str, Any]:
    """All of the runs, each on one core."""
    curves: dict[str, dict[str, list[list[float]]]] = {}
    with backends.get("multiprocessing") as backend, tqdm(total=len(tasks)) as bar:
        for start in range(0, len(tasks), 4 * workers):  # so that the bar has something to say
            some = tasks[start : start + 4 * workers]
            for (world, variant, _), curve in zip(
                some, backend.run(train, some, timeout=3600), strict=True
            ):
                curves.setdefault(world, {}).setdefault(variant, []).append(curve)
            bar.update(len(some))
    return curves


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=f"Measure, and write {RESULTS.name}.")
    parser.add_argument("--only", metavar="WORLD", choices=WORLDS, help="measure this one again")
    options = parser.parse_args(arguments)
    worlds = [options.only] if options.only else list(WORLDS)
    tasks = [(world, variant, seed) for world in worlds for variant in VARIANTS for seed in SEEDS]
    found = measure(tasks, os.cpu_count() or 1)
    if options.only:
        found = stored.load(RESULTS)["curves"] | found
    results = stored.origin(COMMAND, CODE) | {
        "steps": {name: world.steps for name, world in WORLDS.items()},
        "best": {name: world.best for name, world in WORLDS.items()},
        "curves": found,
    }
    stored.save(results, RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
