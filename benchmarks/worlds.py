"""A thousand worlds stepped at once, beside EnvPool's, Gymnasium's, and our own rules in Python."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np

import rlbook_envs  # noqa: F401  (registers the worlds)
from benchmarks.measuring import Row, Spread, Target, interleave, named, ratios
from rlbook_envs.streams import reset_key, step_key
from rlbook_envs.world import row_rules

NUM_ENVS = 1024
OVERHEAD_CASE = (
    "EnvPool's overhead case: it queues every environment's step for its threads, which pays where "
    "a step takes long, as in Atari or MuJoCo; here a step is some nanoseconds of work."
)
# World, EnvPool's id and Gymnasium's, actions.
PEERS = (("FrozenLake", "FrozenLake-v1", 4), ("CartPole", "CartPole-v1", 2))


def vectors(quick: bool) -> list[Row]:
    """Our vector environments beside EnvPool's and Gymnasium's, with the same random actions."""
    return [row for world, id, actions in PEERS for row in _beside_peers(world, id, actions, quick)]


def _beside_peers(world: str, id: str, actions: int, quick: bool) -> list[Row]:
    import envpool  # type: ignore[import-not-found]

    ours = _stepper(_our_envs(world), actions, 400)
    pools = [
        envpool.make(id, env_type="gymnasium", num_envs=NUM_ENVS, num_threads=n) for n in (1, 2)
    ]
    default = gymnasium.make_vec(id, num_envs=NUM_ENVS)  # NumPy's for CartPole
    peers = [*(_stepper(pool, actions, 100) for pool in pools), _stepper(default, actions, 4)]
    mine, one, two, plain = interleave(ours, *peers, turns=3 if quick else 15)
    vectorised = type(default).__name__
    return [
        _row(
            world,
            "EnvPool, 1 thread",
            f'envpool.make("{id}", num_threads=1).step, {named("envpool")}',
            (mine, one),
            None,
            OVERHEAD_CASE,
        ),
        _row(
            world,
            "EnvPool, 2 threads",
            f'envpool.make("{id}", num_threads=2).step, {named("envpool")}',
            (mine, two),
            Target(20, at_least=True),
            OVERHEAD_CASE,
        ),
        _row(
            world,
            vectorised,
            f'gymnasium.make_vec("{id}").step, {named("gymnasium")}',
            (mine, plain),
            Target(5, at_least=True),
            "It steps any environment, in Python, one after the other."
            if vectorised == "SyncVectorEnv"
            else "Written in NumPy for this world alone.",
        ),
    ]


def snake(quick: bool) -> list[Row]:
    """Snake, observations written, beside the same rules run by Python; and beside CartPole."""
    turns = 3 if quick else 15
    envs = _our_envs("Snake")
    sides = (
        _stepper(envs, 4, 100),
        _python_stepper(envs.world, 4, 200 if quick else 2000),
        _stepper(_our_envs("CartPole"), 2, 400),
    )
    mine, python, poles = interleave(*sides, turns=turns)
    absolute = {
        "Snake, steps/s": Spread.of(mine).median,
        "by Python, steps/s": Spread.of(python).median,
        "CartPole, steps/s": Spread.of(poles).median,
    }
    millions = Spread.of(rate / 1e6 for rate in mine)
    ours = f'make_vec("rlbook/Snake-v0", num_envs={NUM_ENVS}).step, 10 × 10, one thread'
    return [
        Row(
            f"{NUM_ENVS} Snakes beside their own Python",
            ours,
            "the same rules, not compiled, over one row after the other",
            {"times as fast": ratios(mine, python)},
            absolute,
            Target(60, at_least=True),
            "Both write the observation, 100 numbers, at every step. EnvPool has no Snake.",
        ),
        Row(
            f"{NUM_ENVS} Snakes",
            ours,
            "no peer",
            {"million steps/s": millions},
            absolute,
            Target(12, at_least=True),
            "An absolute figure, which depends on the processor: CartPole's tells how fast it is.",
        ),
    ]


def _our_envs(world: str) -> Any:
    return gymnasium.make_vec(f"rlbook/{world}-v0", num_envs=NUM_ENVS)


def _row(
    world: str,
    name: str,
    peer: str,
    found: tuple[list[float], list[float]],
    target: Target | None,
    note: str,
) -> Row:
    ours, theirs = found
    return Row(
        f"{NUM_ENVS} {world}s beside {name}",
        f'make_vec("rlbook/{world}-v0", num_envs={NUM_ENVS}).step, one thread',
        peer,
        {"times as fast": ratios(ours, theirs)},
        {"ours, steps/s": Spread.of(ours).median, "peer, steps/s": Spread.of(theirs).median},
        target,
        note,
    )


def _stepper(envs: Any, actions: int, batches: int) -> Callable[[], float]:
    """A side that steps all environments so many times and returns environment steps a second."""
    chosen = cycle(np.random.default_rng(1).integers(0, actions, (64, NUM_ENVS)))
    envs.reset()
    envs.step(next(chosen))  # compiles ours

    def side() -> float:
        start = perf_counter()
        for _ in range(batches):
            envs.step(next(chosen))
        return batches * NUM_ENVS / (perf_counter() - start)

    return side


def _python_stepper(world: Any, actions: int, steps: int) -> Callable[[], float]:
    """A side that runs the rules as Python, begins anew where an episode ends, and looks."""
    begin, advance, show = row_rules(world)
    states, rng = world.blanks(1), np.random.default_rng(1)
    observations = np.zeros((1, len(states[0]) - 2), np.int16)
    key = np.uint64(1)
    chosen = rng.integers(0, actions, steps).tolist()

    def side() -> float:
        begin(world.params, states, 0, reset_key(key, 0))
        start = perf_counter()
        for counter, action in enumerate(chosen):
            _, terminated = advance(world.params, states, 0, action, step_key(key, counter))
            if terminated:
                begin(world.params, states, 0, reset_key(key, counter + 1))
            show(world.params, states, 0, observations)
        return steps / (perf_counter() - start)

    return side
