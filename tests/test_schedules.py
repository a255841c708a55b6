"""Tests of schedules: their values, limits, and conversion for files and command lines."""

import json
import re

import numpy as np
import pytest

from rlbook import schedules
from rlbook.schedules import Exponential, Harmonic, Linear

EVERY = [Linear(1.0, 0.1, 1000), Exponential(0.5, 0.02, 300), Harmonic(0.1, 50_000)]


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (Linear(1.0, 0.0, 8), {0: 1.0, 1: 0.875, 4: 0.5, 8: 0.0, 9: 0.0, 10**15: 0.0}),
        (Linear(0.1, 0.9, 4), {0: 0.1, 2: 0.5, 4: 0.9, 100: 0.9}),
        (Exponential(1.0, 0.0, 10), {0: 1.0, 10: 0.5, 20: 0.25, 30: 0.125}),
        (Exponential(0.9, 0.1, 5), {0: 0.9, 5: 0.5, 10: 0.3, 10**9: 0.1}),
        (Harmonic(1.0, 100), {0: 1.0, 100: 0.5, 300: 0.25, 900: 0.1}),
        (Linear(0.3, 0.3, 5), {0: 0.3, 2: 0.3, 9: 0.3}),
    ],
)
def test_values(schedule, expected):
    timesteps = np.array(list(expected))
    got = schedule(timesteps)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, list(expected.values()), rtol=1e-15, atol=1e-17)


@pytest.mark.parametrize("start, end", [(1.0, 0.1), (0.3, 0.7), (0.05, 0.0), (1 / 3, 1e-3)])
def test_a_line_begins_and_ends_exactly_where_it_says_and_stays_between(start, end):
    line = Linear(start, end, 700)(np.arange(1000))
    assert line[0] == start and np.all(line[700:] == end)
    assert np.all((min(start, end) <= line) & (line <= max(start, end)))


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
def test_every_schedule_falls_and_is_a_function_of_the_step_alone(schedule):
    timesteps = np.arange(0, 5000, 7)
    values = schedule(timesteps)
    assert np.all(np.diff(values) <= 0) and values[0] == schedule.start and values[-1] >= 0
    assert np.array_equal(values[100:], schedule(timesteps[100:]))
    assert np.array_equal(schedules.values(schedule, timesteps), values)


def test_a_harmonic_schedule_sums_to_no_end_and_its_squares_do_not():
    """Like 1/t: as much again in each tenfold, and less than h² / t of the squares is left."""
    schedule, h = Harmonic(1.0, 100), 100
    tenfolds = [schedule(np.arange(10**k, 10 ** (k + 1))).sum() for k in (4, 5, 6)]
    assert tenfolds == pytest.approx([h * np.log(10)] * 3, rel=0.02)
    assert (schedule(np.arange(10**5, 10**7)) ** 2).sum() < h**2 / 10**5


def test_a_number_stays():
    values = schedules.values(0.3, np.arange(5))
    assert values.dtype == np.float64 and values.tolist() == [0.3] * 5


@pytest.mark.parametrize("source", [*EVERY, 0.25, None], ids=repr)
def test_through_json_and_back(source):
    there = json.dumps(schedules.to_plain(source))
    assert schedules.from_plain(json.loads(there)) == source


def test_numbers_of_numpy_become_plain_ones():
    schedule = Linear(np.float32(0.5), np.int64(0), steps=np.int32(1000))
    assert schedule == Linear(0.5, 0.0, 1000.0)
    assert schedules.from_plain(json.loads(json.dumps(schedules.to_plain(schedule)))) == schedule


@pytest.mark.parametrize("bad", [0, -1.0, float("inf"), float("nan"), "ten", None, True])
@pytest.mark.parametrize("kind, name", [(Linear, "steps"), (Exponential, "half_life")])
def test_a_length_is_a_number_above_0(kind, name, bad):
    with pytest.raises(ValueError, match=rf"{name} must be a (finite )?number.*, got "):
        kind(1.0, 0.5, bad)
    with pytest.raises(ValueError, match=r"half_life must be a (finite )?number.*, got "):
        Harmonic(1.0, bad)


@pytest.mark.parametrize(
    "source, message",
    [
        (1.5, "epsilon must be a number from 0 to 1, got 1.5"),
        ("0.1", "epsilon must be a number from 0 to 1, got '0.1'"),
        (None, "epsilon must be a number from 0 to 1, got None"),
        (Linear(1.5, 0.1, 10), "epsilon.start must be a number from 0 to 1, got 1.5"),
        (Linear(1.0, -0.1, 10), "epsilon.end must be a number from 0 to 1, got -0.1"),
        (Harmonic(2.0, 10), "epsilon.start must be a number from 0 to 1, got 2.0"),
    ],
)
def test_values_out_of_range_are_named(source, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        schedules.check("epsilon", source, 0, 1)


@pytest.mark.parametrize("source", [*EVERY, 0, 1, 0.5, np.float32(0.25)], ids=repr)
def test_values_in_range_pass(source):
    assert schedules.check("epsilon", source, 0, 1) == source


@pytest.mark.parametrize("plain", [{"schedule": "cosine", "start": 1}, {"start": 1}])
def test_a_file_may_name_a_schedule_that_there_is_not(plain):
    with pytest.raises(KeyError):
        schedules.from_plain(plain)


def test_a_file_may_lack_a_parameter():
    with pytest.raises(TypeError):
        schedules.from_plain({"schedule": "linear", "start": 1.0})
