"""What a second worker brings where the environment is an ordinary one, or a dear one."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import gymnasium

import rlbook
from benchmarks.measuring import Row, Spread, Target, interleave, named, ratios
from rlbook.backends import Backend, get

ENV, NUM_ENVS, PER_ROUND = "FrozenLake-v1", 2, 20_000
# A step of the dear world keeps a processor busy for so long; rounds of so many steps.
STEP_SECONDS, DEAR_PER_ROUND = 0.001, 2_000
DEAR_TARGETS = {"multiprocessing": 1.9, "ray": 1.9, "spark": 1.6}


class Dear(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A world whose steps cost a millisecond of computing."""

    def step(self, action: Any) -> Any:
        """Step, and compute for the rest of the millisecond."""
        until = perf_counter() + STEP_SECONDS
        answer = self.env.step(action)
        while perf_counter() < until:
            pass
        return answer


def make_dear() -> gymnasium.Env[Any, Any]:
    """FrozenLake, dear."""
    return Dear(gymnasium.make(ENV))


def dear(quick: bool) -> list[Row]:
    """SARSA with one and with two workers, where a step costs a millisecond."""
    rows = []
    for name in ("multiprocessing", "ray", "spark"):
        with get(name) as backend:
            rows.append(_dear_row(backend, rounds=2 if quick else 3, turns=1 if quick else 3))
    return rows


def _dear_row(backend: Backend, rounds: int, turns: int) -> Row:
    sides = [_dear_learner(backend, n, rounds) for n in (1, 2)]
    one, two = interleave(*sides, turns=turns)
    engine = {"ray": named("ray"), "spark": named("pyspark")}.get(backend.name, "")
    return Row(
        f"two workers on a dear world, {backend.name}",
        f"Sarsa(1 ms a step, num_envs={NUM_ENVS}, workers=2).learn",
        ", ".join(filter(None, ("the same with workers=1", engine))),
        {"times as fast": ratios(two, one)},
        {
            "two workers, updates/s": Spread.of(two).median,
            "one worker, updates/s": Spread.of(one).median,
        },
        Target(DEAR_TARGETS[backend.name], at_least=True),
        f"Rounds of {DEAR_PER_ROUND:,} steps; the first, in which workers start, is left out.",
    )


def _dear_learner(backend: Backend, n: int, rounds: int) -> Callable[[], float]:
    def side() -> float:
        ends: list[float] = []
        agent = rlbook.Sarsa(
            make_dear,
            seed=1,
            num_envs=NUM_ENVS,
            backend=backend,
            workers=n,
            sync_every=DEAR_PER_ROUND // NUM_ENVS,
        )
        agent.learn((rounds + 1) * DEAR_PER_ROUND, callback=lambda _: ends.append(perf_counter()))
        return rounds * DEAR_PER_ROUND / (ends[-1] - ends[0])

    return side


def workers(quick: bool) -> list[Row]:
    """One and two workers on each backend that runs them side by side."""
    rows = []
    for name in ("multiprocessing", "ray", "spark"):
        with get(name) as backend:
            rows.append(_row(backend, rounds=2 if quick else 4, turns=1 if quick else 4))
    return rows


def _row(backend: Backend, rounds: int, turns: int) -> Row:
    sides = [_learner(backend, n, rounds) for n in (1, 2)] + [_learner("local", 1, rounds)]
    one, two, local = interleave(*sides, turns=turns)
    engine = {"ray": named("ray"), "spark": named("pyspark")}.get(backend.name, "")
    return Row(
        f"two workers, {backend.name}",
        f'QLearning("{ENV}", num_envs={NUM_ENVS}, workers=2).learn',
        ", ".join(filter(None, ("the same with workers=1", engine))),
        {"times as fast": ratios(two, one), "times as fast as local": ratios(two, local)},
        {
            "two workers, updates/s": Spread.of(two).median,
            "one worker, updates/s": Spread.of(one).median,
            "local, updates/s": Spread.of(local).median,
        },
        note=f"Rounds of {PER_ROUND:,} steps; the first, in which workers start, is left out. The "
        "driver needs some of the same processors. Where local is slower here than in another row, "
        "other programs had a processor, and there was no second one for a second worker.",
    )


def _learner(backend: str | Backend, n: int, rounds: int) -> Callable[[], float]:
    """A side that learns on n workers and returns updates a second after the first round."""

    def side() -> float:
        ends: list[float] = []
        agent = rlbook.QLearning(
            ENV,
            seed=1,
            num_envs=NUM_ENVS,
            backend=backend,
            workers=n,
            sync_every=PER_ROUND // NUM_ENVS,
        )
        agent.learn((rounds + 1) * PER_ROUND, callback=lambda _: ends.append(perf_counter()))
        return rounds * PER_ROUND / (ends[-1] - ends[0])

    return side
