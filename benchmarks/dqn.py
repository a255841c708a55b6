"""DQN beside stable-baselines3's, on CartPole-v1: how often it is solved, and how soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

import rlbook
from benchmarks.measuring import Row, Spread, Target, named, ratios
from rlbook.schedules import Linear

WORLD = "CartPole-v1"
STEPS, EVERY, SOLVED = 50_000, 2_500, 475.0
HELD_OUT = 1_000_000  # episodes begin from these seeds on, which no training has
# What rl-zoo3 has for DQN on CartPole-v1, in stable-baselines3's words and in ours.
ZOO: dict[str, Any] = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "gamma": 0.99,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    "policy_kwargs": {"net_arch": [256, 256]},
}
SAME: dict[str, Any] = {
    "num_envs": 1,
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "replay_capacity": 100_000,
    "learning_starts": 1_000,
    "gamma": 0.99,
    "target_every": 128,  # theirs are taken between two trainings of 128 updates
    "rollout_steps": 256,
    "steps_per_update": 2,
    "epsilon": Linear(1.0, 0.04, 0.16 * STEPS),
    "hidden": (256, 256),
}


class Run(NamedTuple):
    """One training."""

    seconds: float  # of training
    until_solved: float  # of these, or all
    solved: bool
    final: float  # mean return after the last step


def cart_pole(quick: bool) -> list[Row]:
    """Ours as it comes beside stable-baselines3 with the hyperparameters of rl-zoo3."""
    return _compare("DQN on CartPole-v1, each with its own defaults", {}, 5.0, quick)


def same_hyperparameters(quick: bool) -> list[Row]:
    """Both with those of rl-zoo3, until the last step."""
    return _compare("DQN on CartPole-v1, the same hyperparameters", SAME, 2.5, quick)


def _compare(subject: str, options: dict[str, Any], target: float, quick: bool) -> list[Row]:
    all_steps = bool(options)  # count, and not only those until it is solved
    steps = 10_000 if quick else STEPS
    seeds = 1 if quick else 3 if all_steps else 10
    with _one_thread():
        rlbook.DQN(WORLD, **options).learn(2_000)  # compiles
        ours, peers = [], []
        for seed in range(seeds):
            sides = [(ours, _ours, options), (peers, _peer, ZOO)]
            for found, train, own in sides if seed % 2 else sides[::-1]:
                found.append(train(seed, own, steps))
    times = [
        [run.seconds if all_steps else run.until_solved for run in runs] for runs in (ours, peers)
    ]
    speed = Spread.of(times[1]).median / Spread.of(times[0]).median
    medians = {"times as fast": Spread(speed, *ratios(times[1], times[0])[1:])}
    return [
        Row(
            subject,
            f'DQN("{WORLD}"{", …" if options else ""}), one torch thread',
            f"DQN with rl-zoo3's hyperparameters, {named('stable-baselines3')}, one torch thread",
            medians,
            {
                "ours, s": Spread.of(times[0]).median,
                "peer, s": Spread.of(times[1]).median,
                f"ours, solved of {seeds}": sum(run.solved for run in ours),
                f"peer, solved of {seeds}": sum(run.solved for run in peers),
                "ours, final mean": float(np.mean([run.final for run in ours])),
                "ours, lowest final mean": min(run.final for run in ours),
                "peer, final mean": float(np.mean([run.final for run in peers])),
                "peer, lowest final mean": min(run.final for run in peers),
            },
            Target(target, at_least=True),
            f"Training time {'of all' if all_steps else 'until a mean of 475, or of all'} "
            f"{steps:,} steps: medians over seeds, and the range over them of the ratios. Solved: "
            f"the first mean of {SOLVED:.0f} in 100 greedy episodes on seeds held out, looked for "
            f"every {EVERY:,} steps, which is not timed. Final: after all {steps:,} steps.",
        )
    ]


def _ours(seed: int, options: dict[str, Any], steps: int) -> Run:
    agent = rlbook.DQN(WORLD, seed=seed, device="cpu", **options)
    clock = _Clock(agent.predict, steps)
    clock.start()
    while not clock.over:
        agent.learn(EVERY, progress=False)
        clock.pause()
    return clock.run()


def _peer(seed: int, options: dict[str, Any], steps: int) -> Run:
    from stable_baselines3 import DQN

    agent = DQN("MlpPolicy", WORLD, seed=seed, device="cpu", **options)
    # It anneals over what `learn` is told, so it is told all, and interrupted.
    from stable_baselines3.common.callbacks import BaseCallback

    class Pause(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps % EVERY == 0:
                clock.pause()
            return not clock.over

    clock = _Clock(lambda obs: agent.predict(obs, deterministic=True)[0], steps)
    clock.start()
    agent.learn(STEPS, callback=Pause())
    return clock.run()


class _Clock:
    """Counts the seconds of training, and stops while the agent is looked at."""

    def __init__(self, act: Callable[[Any], Any], steps: int) -> None:
        self.act, self.left = act, steps
        self.seconds, self.until_solved, self.final = 0.0, 0.0, 0.0
        self.solved, self.over = False, False

    def start(self) -> None:
        self.started = perf_counter()

    def pause(self) -> None:
        self.seconds += perf_counter() - self.started
        self.left -= EVERY
        self.over = self.left <= 0
        self.final = mean_return(self.act)
        if not self.solved:
            self.until_solved, self.solved = self.seconds, self.final >= SOLVED
        self.start()

    def run(self) -> Run:
        return Run(self.seconds, self.until_solved, self.solved, self.final)


def mean_return(act: Callable[[Any], Any], episodes: int = 100) -> float:
    """The mean of so many episodes, all played side by side, from seeds held out."""
    envs = gymnasium.make_vec(WORLD, episodes, "vector_entry_point")
    obs, _ = envs.reset(seed=HELD_OUT)
    total, playing = np.zeros(episodes), np.ones(episodes, bool)
    while playing.any():
        obs, rewards, terminated, truncated, _ = envs.step(act(obs))
        total += rewards * playing
        playing &= ~(terminated | truncated)
    envs.close()
    return float(total.mean())


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
