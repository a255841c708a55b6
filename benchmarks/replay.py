"""Replay memories of a million transitions, beside cpprb's, Tianshou's and stable-baselines3's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import cycle
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
import psutil

from benchmarks.measuring import Row, Spread, Target, interleave, named, ratios
from rlbook.data.replay import Replay

CAPACITY, BATCH = 1_000_000, 512
NUM_ENVS, STEPS = 8, 64  # of one addition
ALPHA, BETA = 0.6, 0.4
FRAME, FRAMES = (84, 84), 4  # as in Atari
OBS = 4  # numbers in an observation, as in CartPole
Side = Callable[[], float]


def prioritized(quick: bool) -> list[Row]:
    """Sampling a batch and giving it new priorities."""
    batches, turns = (100, 3) if quick else (400, 15)
    makers = _prioritized_ours, _cpprb, _tianshou
    sides = [_repeated(make(), batches) for make in makers]
    for side in sides:
        side()  # compiles, and replaces the equal priorities that all begin with
    ours, cpprb, tianshou = interleave(*sides, turns=turns)
    return [
        _row(
            "Prioritised replay beside cpprb",
            f"Replay({CAPACITY:,}, …, prioritized=True): sample({BATCH}), update_priorities",
            f"PrioritizedReplayBuffer.sample, .update_priorities, {named('cpprb')}",
            (ours, cpprb),
            Target(2.5, at_least=True),
            "Both draw one from each equal part. cpprb also keeps the minimum over all priorities.",
        ),
        _row(
            "Prioritised replay beside Tianshou",
            f"Replay({CAPACITY:,}, …, prioritized=True): sample({BATCH}), update_priorities",
            f"PrioritizedReplayBuffer.sample, .update_weight, {named('tianshou')}",
            (ours, tianshou),
            Target(1.3, at_least=True),
            "Tianshou draws from the whole range, and finds n-step returns in a step of its own. "
            "It is filled through `set_batch`, as its `add` takes one transition a call.",
        ),
    ]


def uniform(quick: bool) -> list[Row]:
    """Sampling a batch as torch tensors, all transitions alike."""
    import torch

    torch.set_num_threads(1)
    batches, turns = (200, 3) if quick else (1000, 15)
    sides = _repeated(_uniform_ours(), batches), _repeated(_stable_baselines(), batches)
    for side in sides:
        side()
    ours, peer = interleave(*sides, turns=turns)
    return [
        _row(
            "Uniform replay beside stable-baselines3",
            f"Replay({CAPACITY:,}, …).sample({BATCH}), then torch.from_numpy",
            f"ReplayBuffer.sample, {named('stable-baselines3')}",
            (ours, peer),
            Target(2, at_least=True),
            "Both end with torch tensors on the CPU.",
        )
    ]


def adding(quick: bool) -> list[Row]:
    """Adding transitions to a memory with priorities that is full."""
    additions, turns = (100, 3) if quick else (400, 15)
    replay, rows = _filled(prioritized=True), _rows(1)
    buffer, columns = _filled_cpprb(), next(_cpprb_columns(1))
    sides = (
        _repeated(lambda: replay.add(*rows), additions),
        _repeated(lambda: buffer.add(**columns), additions),
    )
    for side in sides:
        side()
    ours, peer = interleave(*sides, turns=turns)
    each = NUM_ENVS * STEPS
    return [
        Row(
            "Adding to prioritised replay",
            f"Replay({CAPACITY:,}, …, prioritized=True).add, {NUM_ENVS} environments × {STEPS}",
            f"PrioritizedReplayBuffer.add of {each} transitions, {named('cpprb')}",
            {
                "million transitions/s": Spread.of(rate * each / 1e6 for rate in ours),
                "times as fast": ratios(ours, peer),
            },
            {
                "ours, transitions/s": Spread.of(ours).median * each,
                "peer, transitions/s": Spread.of(peer).median * each,
            },
            Target(1, at_least=True),
            "An absolute figure, which depends on the processor. cpprb is given each next "
            "observation and stores it as well.",
        )
    ]


def memory(quick: bool) -> list[Row]:
    """What transitions of four stacked frames occupy when all of them are there."""
    capacity = 20_000 if quick else CAPACITY
    frames = np.zeros((NUM_ENVS, STEPS, *FRAME), np.uint8)
    numbers, never = np.zeros((NUM_ENVS, STEPS), int), np.zeros((NUM_ENVS, STEPS), bool)
    process = psutil.Process()
    for size in (STEPS, capacity):  # the first compiles
        before = process.memory_info().rss
        replay = Replay(size, NUM_ENVS, FRAME, np.uint8, stack=FRAMES, prioritized=True)
        while len(replay) < size:
            replay.add(frames, numbers, numbers, never, never)
    found = process.memory_info().rss - before
    frame = math.prod(FRAME) * capacity
    return [
        Row(
            f"Memory of {capacity:,} transitions of {FRAMES} frames",
            f"Replay({capacity:,}, {NUM_ENVS}, {FRAME}, uint8, stack={FRAMES}, prioritized=True)",
            "one frame each, and nothing else",
            {"times its size": Spread.of([found / frame])},
            {
                "ours, GB": found / 1e9,
                "told before, GB": replay.nbytes / 1e9,
                "two stacks each, GB": 2 * FRAMES * frame / 1e9,
            },
            Target(1.1, at_least=False),
            "Resident memory of the process, once all are stored.",
        )
    ]


def _row(
    subject: str,
    ours: str,
    peer: str,
    found: tuple[list[float], list[float]],
    target: Target,
    note: str,
) -> Row:
    mine, its = found
    return Row(
        subject,
        f"{ours}, one thread",
        peer,
        {"times as fast": ratios(mine, its)},
        {"ours, batches/s": Spread.of(mine).median, "peer, batches/s": Spread.of(its).median},
        target,
        note,
    )


def _repeated(action: Callable[[], Any], times: int) -> Side:
    """A side that returns how often a second the action can be done."""

    def side() -> float:
        start = perf_counter()
        for _ in range(times):
            action()
        return times / (perf_counter() - start)

    return side


def _errors() -> Iterator[Any]:
    """TD errors for one batch after the other."""
    return cycle(np.random.default_rng(2).normal(size=(64, BATCH)).astype(np.float32))


# Ours


def _rows(seed: int) -> tuple[Any, ...]:
    """Rows of episodes that last about 200 steps."""
    rng, shape = np.random.default_rng(seed), (NUM_ENVS, STEPS)
    obs = rng.random((*shape, OBS), dtype=np.float32)
    actions, rewards = rng.integers(0, 2, shape), rng.random(shape, dtype=np.float32)
    return obs, actions, rewards, rng.random(shape) < 0.005, np.zeros(shape, bool)


def _filled(prioritized: bool) -> Replay:
    replay = Replay(
        CAPACITY, NUM_ENVS, (OBS,), np.float32, prioritized=prioritized, alpha=ALPHA, seed=1
    )
    for seed in range(CAPACITY // (NUM_ENVS * STEPS) + 1):
        replay.add(*_rows(seed))
    return replay


def _prioritized_ours() -> Callable[[], None]:
    replay, errors = _filled(prioritized=True), _errors()

    def action() -> None:
        batch = replay.sample(BATCH, BETA)
        replay.update_priorities(batch.rows, next(errors))

    return action


def _uniform_ours() -> Callable[[], Any]:
    import torch

    replay = _filled(prioritized=False)
    return lambda: [torch.from_numpy(array) for array in replay.sample(BATCH)]


# The peers


def _cpprb_columns(count: int) -> Iterator[dict[str, Any]]:
    rng, size = np.random.default_rng(1), NUM_ENVS * STEPS
    for _ in range(count):
        obs = rng.random((size + 1, OBS), dtype=np.float32)
        yield {
            "obs": obs[:-1],
            "act": rng.integers(0, 2, size),
            "rew": rng.random(size, dtype=np.float32),
            "done": rng.random(size) < 0.005,
            "next_obs": obs[1:],
        }


def _filled_cpprb() -> Any:
    import cpprb  # type: ignore[import-not-found]

    observation = {"shape": OBS, "dtype": np.float32}
    columns = {"obs": observation, "next_obs": observation, "act": {"dtype": np.int64}}
    buffer = cpprb.PrioritizedReplayBuffer(CAPACITY, columns | {"rew": {}, "done": {}}, alpha=ALPHA)
    for each in _cpprb_columns(CAPACITY // (NUM_ENVS * STEPS) + 1):
        buffer.add(**each)
    return buffer


def _cpprb() -> Callable[[], None]:
    buffer, errors = _filled_cpprb(), _errors()

    def action() -> None:
        batch = buffer.sample(BATCH, beta=BETA)
        buffer.update_priorities(batch["indexes"], np.abs(next(errors)))

    return action


def _tianshou() -> Callable[[], None]:
    from tianshou.data import Batch, PrioritizedReplayBuffer  # type: ignore[import-not-found]

    rng, errors = np.random.default_rng(1), _errors()
    obs = rng.random((CAPACITY + 1, OBS), dtype=np.float32)
    ended, never = rng.random(CAPACITY) < 0.005, np.zeros(CAPACITY, bool)
    buffer = PrioritizedReplayBuffer(CAPACITY, alpha=ALPHA, beta=BETA)
    # As its `from_data` does, which makes memories without priorities only.
    buffer.set_batch(
        Batch(
            obs=obs[:-1],
            act=rng.integers(0, 2, CAPACITY),
            rew=rng.random(CAPACITY),
            terminated=ended,
            truncated=never,
            done=ended,
            obs_next=obs[1:],
        )
    )
    buffer._size = CAPACITY
    buffer.init_weight(np.arange(CAPACITY))

    def action() -> None:
        _, indices = buffer.sample(BATCH)
        buffer.update_weight(indices, next(errors))

    return action


def _stable_baselines() -> Callable[[], Any]:
    from stable_baselines3.common.buffers import ReplayBuffer  # type: ignore[import-not-found]

    box, discrete = gymnasium.spaces.Box(0, 1, (OBS,)), gymnasium.spaces.Discrete(2)
    buffer = ReplayBuffer(CAPACITY, box, discrete, device="cpu", n_envs=NUM_ENVS)
    obs, actions, rewards, terminated, _ = _rows(1)
    infos: list[dict[str, Any]] = [{}] * NUM_ENVS
    for t in cycle(range(STEPS - 1)):
        row = obs[:, t], obs[:, t + 1], actions[:, t], rewards[:, t], terminated[:, t]
        buffer.add(*row, infos)
        if buffer.full:
            break
    return lambda: buffer.sample(BATCH)
