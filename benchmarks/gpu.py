"""Updates of a convolutional network on a GPU, where there is one, beside the same on the CPU.

Beside them stands the floor: what an update would take if it did nothing but move the bytes that it
must move, or multiply the numbers that it must multiply, as fast as this device was seen to do
either in the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import gymnasium
import torch
from torch.utils.flop_counter import FlopCounterMode

import rlbook
from benchmarks.measuring import Row, Spread, interleave, named, ratios

BOARD = {"size": 10, "observation": "kinds"}
FILL = 4_096  # steps in the memory
# Of each weight: gradient, weight and both moments are read, and all but one of them written.
ADAM_BYTES = 7 * 4


def snake(quick: bool) -> list[Row]:
    """Snake 10x10, with batches of 64 and of 1,024. No rows where torch finds no GPU."""
    if not torch.cuda.is_available():
        return []
    return [compare("cuda", size, turns=3 if quick else 20) for size in (64, 1_024)]


def compare(device: str, batch_size: int, turns: int) -> Row:
    """One update on this device and one on the CPU, by turns."""
    sides = [updater(where, batch_size) for where in (device, "cpu")]
    times = interleave(*(lambda side=side: clock(side, 20) for side, _ in sides), turns=turns)
    there, here = (Spread.of(found).median for found in times)
    moved, multiplied = work(sides[0][1], batch_size)
    bandwidth, rate = fastest_copy(device), fastest_product(device)
    return Row(
        f"an update of DQN on Snake 10x10, batches of {batch_size:,}",
        f"DQN(…, device={device!r}, batch_size={batch_size})",
        f"the same with device='cpu', {named('torch')}, {torch.get_num_threads()} threads",
        {"times as fast": ratios(times[1], times[0])},
        {
            "updates/s": 1 / there,
            "updates/s on the CPU": 1 / here,
            "floor of memory, µs": moved / bandwidth * 1e6,
            "floor of computing, µs": multiplied / rate * 1e6,
            "an update, µs": there * 1e6,
            "memory, GB/s": bandwidth / 1e9,
            "computing, TFLOP/s": rate / 1e12,
        },
        None,
        "An update is the gradient of a batch that is at hand, and a step of Adam. The floors are "
        "the bytes of weights and moments, and the products of three passes forward and one back.",
    )


def updater(device: str, batch_size: int) -> tuple[Callable[[], None], Any]:
    """A function that makes one update, and the agent that it updates."""
    env = gymnasium.make("rlbook/Snake-v0", **BOARD)
    settings = {"replay_capacity": 2 * FILL, "learning_starts": 10**9}
    agent = rlbook.DQN(env, device=device, batch_size=batch_size, **settings)
    agent.learn(FILL, progress=False)
    batch = agent.replay.sample(batch_size)

    def update() -> None:
        agent.algorithm.apply(agent.algorithm.gradients(batch))
        if device == "cuda":
            torch.cuda.synchronize()

    return update, agent


def work(agent: Any, batch_size: int) -> tuple[float, float]:
    """Bytes that an update must move at least, and the operations of its products."""
    batch = agent.replay.sample(batch_size)
    with FlopCounterMode(display=False) as counted:
        agent.algorithm.gradients(batch)
    return ADAM_BYTES * len(agent.get_weights()), counted.get_total_flops()


def fastest_copy(device: str) -> float:
    """Bytes a second that a copy of 256 MB reads and writes."""
    source = torch.zeros(2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best(lambda: target.copy_(source), device)


def fastest_product(device: str) -> float:
    """Operations a second of a product of large matrices of float32."""
    size = 4_096 if device == "cuda" else 1_024
    matrix = torch.ones(size, size, device=device)
    return 2 * size**3 / best(lambda: matrix @ matrix, device)


def best(function: Callable[[], Any], device: str) -> float:
    """The least of ten times, in seconds."""

    def whole() -> None:
        function()
        if device == "cuda":
            torch.cuda.synchronize()

    return min(clock(whole, 1) for _ in range(10))


def clock(function: Callable[[], Any], times: int) -> float:
    """Seconds of a call, as a mean of so many."""
    start = perf_counter()
    for _ in range(times):
        function()
    return (perf_counter() - start) / times
