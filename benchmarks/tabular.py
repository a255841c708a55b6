"""Every tabular method compiled, beside the very same functions run by Python over Gymnasium."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np

import rlbook
from benchmarks.measuring import Row, Spread, Target, interleave, named, ratios
from rlbook.tabular.interface import interface
from rlbook.tabular.loop import Memory, make_loop
from rlbook_envs.streams import POLICY, stream_key

WORLD, ORDINARY = "rlbook/FrozenLake-v0", "FrozenLake-v1"
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Monte Carlo, first visit": (rlbook.MonteCarlo, {}),
    "Monte Carlo, every visit": (rlbook.MonteCarlo, {"first_visit": False}),
    "SARSA": (rlbook.Sarsa, {}),
    "Expected SARSA": (rlbook.Sarsa, {"expected": True}),
    "4-step SARSA": (rlbook.Sarsa, {"n_step": 4}),
    "SARSA(0.8)": (rlbook.Sarsa, {"lambda_": 0.8}),
    "Q-learning": (rlbook.QLearning, {}),
    "double Q-learning": (rlbook.QLearning, {"double": True}),
}


def methods(quick: bool) -> list[Row]:
    """A row for each method."""
    steps, by_python, turns = (500_000, 5_000, 2) if quick else (2_000_000, 20_000, 5)
    rows = []
    for name, (agent_class, options) in METHODS.items():
        sides = _compiled(agent_class, options, steps), _python(agent_class, options, by_python)
        ours, peer = interleave(*sides, turns=turns)
        rows.append(
            Row(
                f"{name}, compiled",
                f'{agent_class.__name__}("{WORLD}", …).learn({steps:,}), compiled before',
                f"the same functions run by Python over {ORDINARY}, {named('gymnasium')}",
                {"times as fast": ratios(ours, peer)},
                {
                    "ours, updates/s": Spread.of(ours).median,
                    "peer, updates/s": Spread.of(peer).median,
                },
                Target(100, at_least=True),
                "Both sides run `rlbook.tabular.loop.make_loop` with the same rules; the peer's "
                "environment is Gymnasium's, which draws from NumPy's generator.",
            )
        )
    return rows


def _compiled(agent_class: Any, options: dict[str, Any], steps: int) -> Callable[[], float]:
    agent_class(WORLD, **options).learn(1)  # compiles

    def side() -> float:
        agent = agent_class(WORLD, seed=1, **options)
        start = perf_counter()
        agent.learn(steps)
        return steps / (perf_counter() - start)

    return side


def _python(agent_class: Any, options: dict[str, Any], steps: int) -> Callable[[], float]:
    agent = agent_class(ORDINARY, seed=1, **options)
    method, settings = agent._method(), agent.settings

    def side() -> float:
        face = interface(lambda: gymnasium.make(ORDINARY), seed=1)
        step_key, reset, step, time_limit_reached = face.rules
        learn = method.make_learn(*method.parts)
        loop = make_loop(
            step_key, reset, step, time_limit_reached, method.act, learn, method.on_policy
        )
        q, visits = agent._table.copy(), agent._counts.copy()
        memory = Memory(*(np.zeros(steps, kind) for kind in (int, int, float)), np.zeros(1, int))
        records = np.zeros(steps, int), np.zeros(steps), np.zeros(steps, int)
        schedule = [settings.epsilon] * steps, [0.05] * steps, settings.gamma
        key = stream_key(1, POLICY, 0)
        start = perf_counter()
        loop(
            face.env, face.limit, 0, key, -1, -1, 0, 0.0, 0, q, visits, memory, *records, *schedule
        )
        return steps / (perf_counter() - start)

    return side
