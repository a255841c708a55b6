"""What a second worker brings where the environment is an ordinary one, in Python."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import rlbook
from benchmarks.measuring import Row, Spread, interleave, named, ratios
from rlbook.backends import Backend, get

ENV, NUM_ENVS, PER_ROUND = "FrozenLake-v1", 2, 20_000


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
