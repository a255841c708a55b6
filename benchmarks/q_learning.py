"""Tabular Q-learning beside the loop that everyone writes first."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from time import perf_counter

import gymnasium
import numpy as np
from numpy.typing import NDArray

import rlbook
from benchmarks.measuring import Row, Spread, Target, interleave, named, ratios

WORLD, ORDINARY = "rlbook/FrozenLake-v0", "FrozenLake-v1"
BY_HAND = "a Python loop written by hand"

# In a fresh process: seconds until a first step is learnt, and the same once more.
FIRST_CALL = f"""
from time import perf_counter
import rlbook
for _ in range(2):
    start = perf_counter()
    rlbook.QLearning({WORLD!r}, seed=1).learn(1)
    print(perf_counter() - start)
"""


def by_hand(
    env: gymnasium.Env[int, int],
    steps: int,
    learning_rate: float = 0.05,
    gamma: float = 0.99,
    epsilon: float = 0.2,
    seed: int = 1,
) -> NDArray[np.float64]:
    """Q-learning as a good Python programmer writes it, with the defaults of `QLearning`."""
    rng = np.random.default_rng(seed)
    n_actions = int(env.action_space.n)  # type: ignore[attr-defined]
    q = np.zeros((int(env.observation_space.n), n_actions))  # type: ignore[attr-defined]
    obs, _ = env.reset(seed=seed)
    for _ in range(steps):
        if rng.random() < epsilon:
            action = int(rng.integers(n_actions))
        else:
            action = int(np.argmax(q[obs]))
        next_obs, reward, terminated, truncated, _ = env.step(action)
        target = float(reward) + gamma * (1 - terminated) * np.max(q[next_obs])
        q[obs, action] += learning_rate * (target - q[obs, action])
        obs = env.reset()[0] if terminated or truncated else next_obs
    return q


def compiled(quick: bool) -> list[Row]:
    """The compiled loop over a compiled world, with one environment and with four."""
    ours, steps = (1_000_000, 10_000) if quick else (5_000_000, 40_000)
    return [_compiled(n, ours, steps, turns=3 if quick else 9) for n in (1, 4)] + _first(quick)


def python(quick: bool) -> list[Row]:
    """The same algorithm over an ordinary Gymnasium environment."""
    steps, turns = (10_000, 3) if quick else (50_000, 9)
    ours, peer = interleave(_ours(ORDINARY, 1, steps), _peer(steps), turns=turns)
    return [
        Row(
            "Q-learning in an ordinary environment",
            f'QLearning("{ORDINARY}").learn',
            f"{BY_HAND} over {ORDINARY}, {named('gymnasium')}, {named('numpy')}",
            {"times its time": ratios(peer, ours)},
            _absolute(ours, peer),
            Target(1.2),
            "The peer keeps no record of episodes and its argmax takes the first of equally good "
            "actions; ours chooses among them at random, and can be saved and moved.",
        )
    ]


def _compiled(num_envs: int, steps: int, by_hand_steps: int, turns: int) -> Row:
    ours, peer = interleave(_ours(WORLD, num_envs, steps), _peer(by_hand_steps), turns=turns)
    return Row(
        f"compiled Q-learning, num_envs={num_envs}",
        f'QLearning("{WORLD}", num_envs={num_envs}).learn({steps:,}), compiled before',
        f"{BY_HAND} over {ORDINARY}, {named('gymnasium')}, {named('numpy')}",
        {"times as fast": ratios(ours, peer)},
        _absolute(ours, peer),
        Target(150, at_least=True) if num_envs == 1 else None,
        "Not the same tool: the peer pays for Python at every step, and for an environment that "
        "draws its chance from NumPy's generator. Compilation is a row of its own.",
    )


def _ours(env: str, num_envs: int, steps: int) -> Callable[[], float]:
    """A side that learns with a fresh agent and returns its updates a second."""
    rlbook.QLearning(env, seed=1, num_envs=num_envs).learn(num_envs)  # compiles

    def side() -> float:
        agent = rlbook.QLearning(env, seed=1, num_envs=num_envs)
        start = perf_counter()
        agent.learn(steps)
        return steps / (perf_counter() - start)

    return side


def _peer(steps: int) -> Callable[[], float]:
    def side() -> float:
        env = gymnasium.make(ORDINARY)
        start = perf_counter()
        by_hand(env, steps)
        return steps / (perf_counter() - start)

    return side


def _absolute(ours: list[float], peer: list[float]) -> dict[str, float]:
    return {
        "ours, updates/s": Spread.of(ours).median,
        "peer, updates/s": Spread.of(peer).median,
    }


def _first(quick: bool) -> list[Row]:
    """What compiling costs, once a machine, and loading what was compiled, once a process."""
    cold, warm, later = zip(*(_first_calls() for _ in range(1 if quick else 3)), strict=True)
    return [
        Row(
            "the first call of compiled Q-learning",
            f'QLearning("{WORLD}").learn(1) in a fresh process, nothing compiled yet',
            f"the same with the machine code on disk, {named('numba')}",
            {"times its time": ratios(cold, warm)},
            {
                "nothing compiled, s": Spread.of(cold).median,
                "machine code on disk, s": Spread.of(warm).median,
                "second time, s": Spread.of(later).median,
            },
            note="The first is paid once on a machine, the second once in a process. Both include "
            "importing Numba; neither includes `import rlbook`.",
        )
    ]


def _first_calls() -> tuple[float, float, float]:
    """Seconds of FIRST_CALL: with an empty cache, with a full one, and the second time."""
    with tempfile.TemporaryDirectory() as cache:
        environ = {**os.environ, "RLBOOK_CACHE_DIR": cache}
        printed = [
            subprocess.check_output([sys.executable, "-c", FIRST_CALL], env=environ, text=True)
            for _ in range(2)
        ]
    (cold, _), (warm, later) = (map(float, lines.split()) for lines in printed)
    return cold, warm, later
