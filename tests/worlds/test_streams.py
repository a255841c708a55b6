"""Tests of random streams: published numbers, compiled code, and enumeration of outcomes."""

import numpy as np
import pytest

from rlbook_envs import streams
from rlbook_envs.compiled import compile
from rlbook_envs.streams import (
    ENVIRONMENT,
    POLICY,
    Dice,
    choice,
    random_bits,
    stream_key,
    uniform,
)
from rlbook_envs.world import _all_outcomes

KEYS = [0, 1, 1234567, 2**63, 2**64 - 1]
COUNTERS = [0, 1, 2, 63, 10**6, 2**40, 2**62]


def test_published_numbers_of_split_mix_64():
    """The generator seeded with 1234567, as every implementation's test suite has it."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(random_bits(np.uint64(1234567), i)) for i in range(5)] == published


def compiled_numbers(key, counter):
    return (
        random_bits(key, counter),
        streams.step_key(key, counter),
        streams.reset_key(key, counter),
        uniform(random_bits(key, counter)),
    )


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("counter", COUNTERS)
def test_compiled_and_interpreted_numbers_are_the_same(key, counter):
    assert compile(compiled_numbers)(np.uint64(key), counter) == compiled_numbers(
        np.uint64(key), counter
    )


def test_types():
    assert isinstance(random_bits(np.uint64(1), 1), np.uint64)
    assert isinstance(stream_key(0, ENVIRONMENT, 0), np.uint64)


def test_steps_and_resets_never_share_a_key():
    key = np.uint64(5)
    keys = {int(of(key, t)) for of in (streams.step_key, streams.reset_key) for t in range(500)}
    assert len(keys) == 1000


def test_streams_are_those_of_seed_sequence():
    sequence = np.random.SeedSequence(7, spawn_key=(POLICY, 3))
    assert stream_key(7, POLICY, 3) == sequence.generate_state(1, np.uint64)[0]
    keys = {
        int(stream_key(seed, stream, index))
        for seed in range(10)
        for stream in (ENVIRONMENT, POLICY)
        for index in range(50)
    }
    assert len(keys) == 1000


def test_uniform():
    assert uniform(np.uint64(0)) == 0.0
    assert uniform(np.uint64(2**64 - 1)) == 1 - 2**-53
    numbers = [uniform(random_bits(np.uint64(3), i)) for i in range(20_000)]
    # Mean 1/2 and variance 1/12, each within five sigma.
    assert abs(np.mean(numbers) - 0.5) < 5 / np.sqrt(12 * 20_000)
    assert abs(np.var(numbers) - 1 / 12) < 5 * np.sqrt(1 / 180 / 20_000)


def choose_many(key, probabilities, counts):
    for i in range(100_000):
        counts[choice(random_bits(key, i), probabilities)] += 1


@pytest.mark.parametrize(
    "probabilities",
    [(0.5, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.1, 0.0, 0.6, 0.3), (0.0, 1.0, 0.0), (1.0,)],
)
def test_frequencies(probabilities):
    counts = np.zeros(len(probabilities), np.int64)
    compile(choose_many)(np.uint64(11), probabilities, counts)
    expected = 100_000 * np.array(probabilities)
    spread = np.sqrt(expected * (1 - np.array(probabilities)))
    assert (np.abs(counts - expected) <= 5 * spread).all()


def test_choice_is_the_same_compiled():
    def one(key):
        return choice(key, (0.2, 0.3, 0.5))

    compiled = compile(one)
    keys = [random_bits(np.uint64(1), i) for i in range(200)]
    assert [one(key) for key in keys] == [compiled(key) for key in keys]


def test_dice_fall_as_set():
    dice = Dice((2,))
    assert choice(dice, (0.5, 0.25, 0.25)) == 2
    assert choice(dice, (0.9, 0.1)) == 0
    assert dice.rolls == (2, 0)
    assert dice.probability == pytest.approx(0.25 * 0.9)
    assert dice.untried == [(2, 1)]


def test_every_fall_of_two_dice_one_of_which_is_not_always_thrown():
    """The second roll depends on the first: none after 0, a coin after 1, a die of 3 after 2."""

    def play(dice):
        first = choice(dice, (0.5, 0.25, 0.25))
        if first == 0:
            return "none"
        second = random_bits(dice, 1)
        if first == 1:
            return "coin", choice(second, (0.9, 0.1))
        return "die", choice(second, (0.2, 0.3, 0.5))

    outcomes = _all_outcomes(play)
    assert [result for _, result in outcomes] == [
        "none",
        ("coin", 0),
        ("coin", 1),
        ("die", 0),
        ("die", 1),
        ("die", 2),
    ]
    expected = [0.5, 0.225, 0.025, 0.05, 0.075, 0.125]
    np.testing.assert_allclose([probability for probability, _ in outcomes], expected)


def test_no_dice():
    assert _all_outcomes(lambda dice: "always") == [(1.0, "always")]
