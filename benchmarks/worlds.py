"""A thousand FrozenLakes stepped at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np

import rlbook_envs  # noqa: F401  (registers the worlds)
from benchmarks.measuring import Row, Spread, interleave, named, ratios

NUM_ENVS = 1024
THREADS = (1, 2)
OVERHEAD_CASE = (
    "EnvPool's overhead case: it queues every environment's step for its threads, which pays where "
    "a step takes long, as in Atari or MuJoCo; here a step is some nanoseconds of work."
)
OURS = f'make_vec("rlbook/FrozenLake-v0", num_envs={NUM_ENVS}).step, one thread'


def vectors(quick: bool) -> list[Row]:
    """Our vector environment beside EnvPool's and Gymnasium's, with the same random actions."""
    import envpool  # type: ignore[import-not-found]

    turns = 3 if quick else 15
    ours = _stepper(gymnasium.make_vec("rlbook/FrozenLake-v0", num_envs=NUM_ENVS), 400)
    pools = [
        envpool.make("FrozenLake-v1", env_type="gymnasium", num_envs=NUM_ENVS, num_threads=n)
        for n in THREADS
    ]
    sync = gymnasium.make_vec("FrozenLake-v1", num_envs=NUM_ENVS, vectorization_mode="sync")
    peers = [*(_stepper(pool, 100) for pool in pools), _stepper(sync, 4)]
    mine, *theirs, plain = interleave(ours, *peers, turns=turns)
    return [
        *(
            _row(
                f"EnvPool, {n} thread{'s' * (n > 1)}",
                f'envpool.make("FrozenLake-v1", num_threads={n}).step, {named("envpool")}',
                mine,
                found,
                OVERHEAD_CASE,
            )
            for n, found in zip(THREADS, theirs, strict=True)
        ),
        _row(
            "SyncVectorEnv",
            f"SyncVectorEnv of FrozenLake-v1, {named('gymnasium')}",
            mine,
            plain,
            "SyncVectorEnv steps any environment, in Python, one after the other.",
        ),
    ]


def _row(name: str, peer: str, ours: list[float], theirs: list[float], note: str) -> Row:
    return Row(
        f"{NUM_ENVS} FrozenLakes beside {name}",
        OURS,
        peer,
        {"times as fast": ratios(ours, theirs)},
        {"ours, steps/s": Spread.of(ours).median, "peer, steps/s": Spread.of(theirs).median},
        note=note,
    )


def _stepper(envs: Any, batches: int) -> Callable[[], float]:
    """A side that steps all environments so many times and returns environment steps a second."""
    rng = np.random.default_rng(1)
    actions = cycle(rng.integers(0, 4, (64, NUM_ENVS)))
    envs.reset()
    envs.step(next(actions))  # compiles ours

    def side() -> float:
        start = perf_counter()
        for _ in range(batches):
            envs.step(next(actions))
        return batches * NUM_ENVS / (perf_counter() - start)

    return side
