"""Counter-based random streams: every random number is a function of a key and a counter.

An ordinary generator returns the next number of a hidden sequence, so the result depends on all
earlier calls. Here there is no hidden state. Every environment has one 64-bit key, and the random
bits of step t are a hash of (key, t). The trajectory of one environment therefore does not depend
on how many other environments there are, nor on which machine runs them.

The hash function is the output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014, figure 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.extending import overload, register_jitable

# The first number of the SeedSequence spawn key: one family of streams for each purpose.
ENVIRONMENT, POLICY, REPLAY = 0, 1, 2

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def stream_key(seed: int, stream: int, index: int) -> np.uint64:
    """Return the 64-bit key of one random stream.

    It comes from `np.random.SeedSequence(seed, spawn_key=(stream, index))`.

    Args:
        seed: the seed of the run, a non-negative integer.
        stream: the purpose of the stream: `ENVIRONMENT`, `POLICY` or `REPLAY`.
        index: the number of the environment.

    >>> stream_key(7, ENVIRONMENT, 0) == stream_key(7, ENVIRONMENT, 1)
    np.False_
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, index))
    return np.uint64(sequence.generate_state(1, np.uint64)[0])


def random_bits(key: Any, counter: int) -> Any:
    """Return 64 random bits: number `counter` of the stream `key`.

    The result can itself be used as the key of a stream.

    Args:
        key: uint64; or `Dice`, which are returned unchanged.
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
def step_key(key: np.uint64, counter: int) -> np.uint64:
    """Return the key of the random numbers in step `counter`, counted over all episodes."""
    return random_bits(key, 2 * counter)


@register_jitable
def reset_key(key: np.uint64, counter: int) -> np.uint64:
    """Return the key of the random numbers in a reset before step `counter`."""
    return random_bits(key, 2 * counter + 1)


@register_jitable
def uniform(key: np.uint64) -> float:
    """Return a uniform float64 in [0, 1), made of the upper 53 bits of `key`."""
    return (key >> np.uint64(11)) * (1.0 / (1 << 53))


@register_jitable
def _choose(key, probabilities):  # type: ignore[no-untyped-def]
    remaining, outcome = uniform(key), 0
    for k in range(len(probabilities) - 1):  # without a break, which would cost a branch
        remaining -= probabilities[k]
        outcome += remaining >= 0.0
    return outcome


def choice(key: np.uint64 | Dice, probabilities: Sequence[float]) -> int:
    """Return the index of a random outcome.

    The rules of worlds with a transition table take all their randomness from this function. If
    `key` is a `Dice`, the outcome is the one to which the dice were set; this is how
    `transition_table` visits every outcome.

    The same key gives the same outcome, so rules that need two random outcomes in one step need a
    second key: `choice(key, …)` first, and then `choice(random_bits(key, 1), …)`.

    Args:
        key: uint64, or a `Dice`.
        probabilities: the probability of each outcome; they sum to 1.

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
    """A replacement for a key whose outcomes are set in advance.

    Rolls beyond the settings have outcome 0. `transition_table` uses dice to enumerate all random
    outcomes of a rule.

    Args:
        settings: the outcomes of the first rolls.

    Attributes:
        rolls: the outcomes so far.
        probability: the joint probability of the rolls so far.
        untried: settings for further dice, one for each outcome other than 0 of each roll that was
            not set.
    """

    def __init__(self, settings: tuple[int, ...] = ()) -> None:
        self.rolls: tuple[int, ...] = ()
        self.probability = 1.0
        self.untried: list[tuple[int, ...]] = []
        self._settings = settings

    def roll(self, probabilities: Sequence[float]) -> int:
        """Return the outcome that was set for this roll, or 0."""
        position = len(self.rolls)
        if position < len(self._settings):
            outcome = self._settings[position]
        else:
            outcome = 0
            self.untried += [(*self.rolls, other) for other in range(1, len(probabilities))]
        self.rolls += (outcome,)
        self.probability *= probabilities[outcome]
        return outcome
