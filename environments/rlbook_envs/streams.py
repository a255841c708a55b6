"""Chance that can be replayed: random numbers that are a function of a key and a counter.

An ordinary generator hands out the next number of a hidden sequence, so what you get depends on
who drew before you. Here nothing is hidden. Every environment has one 64-bit key, and the key at
step t is a fixed scrambling of (key, t). A trajectory therefore does not depend on how many others
run beside it, nor on where they run.

The scrambling is the output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014, figure 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.extending import overload, register_jitable

# The first number of every SeedSequence spawn key: one family of streams for each purpose.
ENVIRONMENT, POLICY, REPLAY = 0, 1, 2

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def stream_key(seed: int, stream: int, index: int) -> np.uint64:
    """The 64-bit key of one random stream, from `SeedSequence(seed, spawn_key=(stream, index))`.

    Args:
        seed: the run's seed, a non-negative integer.
        stream: what the numbers are for, `ENVIRONMENT`, `POLICY` or `REPLAY`.
        index: which environment they are for.

    >>> stream_key(7, ENVIRONMENT, 0) == stream_key(7, ENVIRONMENT, 1)
    np.False_
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, index))
    return np.uint64(sequence.generate_state(1, np.uint64)[0])


def random_bits(key: Any, counter: int) -> Any:
    """64 random bits: number `counter` of the stream `key`. They may in turn serve as a key.

    Args:
        key: uint64; or `Dice`, which are their own key for every counter.
        counter: a non-negative integer.
    """
    if isinstance(key, Dice):
        return key
    bits = (int(key) + (int(counter) + 1) * _GOLDEN) & _MASK
    bits = ((bits ^ (bits >> 30)) * _FIRST) & _MASK
    bits = ((bits ^ (bits >> 27)) * _SECOND) & _MASK
    return np.uint64(bits ^ (bits >> 31))


@overload(random_bits, inline="always")
def _compiled_random_bits(key, counter):  # type: ignore[no-untyped-def]
    # Compiled 64-bit arithmetic wraps around by itself, so no mask is needed.
    golden, first, second = np.uint64(_GOLDEN), np.uint64(_FIRST), np.uint64(_SECOND)
    s27, s30, s31, one = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(1)

    def random_bits(key, counter):  # type: ignore[no-untyped-def]
        bits = np.uint64(key) + (np.uint64(counter) + one) * golden
        bits = (bits ^ (bits >> s30)) * first
        bits = (bits ^ (bits >> s27)) * second
        return bits ^ (bits >> s31)

    return random_bits


@register_jitable
def step_key(key: np.uint64, clock: int) -> np.uint64:
    """The key for the chance in step number `clock`, counted over all episodes."""
    return random_bits(key, 2 * clock)


@register_jitable
def reset_key(key: np.uint64, clock: int) -> np.uint64:
    """The key for the chance in a reset that comes before step number `clock`."""
    return random_bits(key, 2 * clock + 1)


@register_jitable
def uniform(key: np.uint64) -> float:
    """A float64 in [0, 1), from the upper 53 bits of `key`."""
    return (key >> np.uint64(11)) * (1.0 / (1 << 53))


@register_jitable
def _choose(key, probabilities):  # type: ignore[no-untyped-def]
    remaining, outcome = uniform(key), 0
    for k in range(len(probabilities) - 1):  # to the end: to stop early would cost a branch
        remaining -= probabilities[k]
        outcome += remaining >= 0.0
    return outcome


def choice(key: np.uint64 | Dice, probabilities: Sequence[float]) -> int:
    """The index of one outcome, drawn with the given probabilities, which add up to 1.

    The rules of a world get all their chance from here. Given `Dice` for a key, the outcome is the
    one that the dice were set to: that is how `transition_table` visits every outcome there is.

    The same key gives the same outcome, so rules that roll twice in one step need a second key:
    `choice(key, …)` first, and then `choice(random_bits(key, 1), …)`.

    >>> choice(random_bits(np.uint64(1), 0), (0.5, 0.25, 0.25))
    1
    """
    if isinstance(key, Dice):
        return key.roll(probabilities)
    return int(_choose(key, probabilities))


@overload(choice, inline="always")
def _compiled_choice(key, probabilities):  # type: ignore[no-untyped-def]
    def choice(key, probabilities):  # type: ignore[no-untyped-def]
        return _choose(key, probabilities)

    return choice


class Dice:
    """Stands in for a key: falls as set, then shows outcome 0 for every further roll.

    Args:
        settings: the outcomes of the first rolls.

    Attributes:
        probability: of all the rolls so far.
        untried: the settings of the dice that differ from what was shown in one later roll.
    """

    def __init__(self, settings: tuple[int, ...] = ()) -> None:
        self.rolls: tuple[int, ...] = ()
        self.probability = 1.0
        self.untried: list[tuple[int, ...]] = []
        self._settings = settings

    def roll(self, probabilities: Sequence[float]) -> int:
        """The outcome that was set for this roll, or 0."""
        position = len(self.rolls)
        if position < len(self._settings):
            outcome = self._settings[position]
        else:
            outcome = 0
            self.untried += [(*self.rolls, other) for other in range(1, len(probabilities))]
        self.rolls += (outcome,)
        self.probability *= probabilities[outcome]
        return outcome
