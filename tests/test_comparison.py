"""Tests of comparisons: plain references, SciPy's numbers, and coverage of intervals."""

import itertools
import statistics
from functools import partial

import numpy as np
import pytest

from rlbook.comparison import (
    bootstrap_interval,
    interquartile_mean,
    probability_of_improvement,
)

RUNS = [3.0, 141.5, 9.2, 65.3, 5.8, 97.9, 3.2, 3.8, 46.2, 6.4, 33.8]
TWO_WORLDS = [[1, 20], [5, 2], [3, 7], [4, 11], [9, -3]]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


# The interquartile mean


@pytest.mark.parametrize("number", range(1, 30))
def test_the_middle_half(rng, number):
    scores = rng.normal(size=number)
    left = sorted(scores.tolist())
    for _ in range(int(number / 4)):
        left.remove(min(left))
        left.remove(max(left))
    assert interquartile_mean(scores) == pytest.approx(statistics.fmean(left))


def test_as_scipy_trims():
    """Each is what SciPy 1.17.1 says: `scipy.stats.trim_mean(scores, 0.25, axis=...)`."""
    assert interquartile_mean(RUNS) == pytest.approx(24.357142857142858)
    assert interquartile_mean(TWO_WORLDS) == pytest.approx(5.0)
    assert interquartile_mean(TWO_WORLDS, axis=0) == pytest.approx([4.0, 20 / 3])
    assert interquartile_mean(TWO_WORLDS, axis=1) == pytest.approx([10.5, 3.5, 5.0, 7.5, 3.0])
    assert interquartile_mean(TWO_WORLDS, axis=-1) == pytest.approx([10.5, 3.5, 5.0, 7.5, 3.0])


def test_worlds_are_taken_together_or_one_by_one(rng):
    scores = rng.normal(size=(10, 3))
    assert interquartile_mean(scores) == interquartile_mean(scores.ravel())
    each = [interquartile_mean(world) for world in scores.T]
    np.testing.assert_allclose(interquartile_mean(scores, axis=0), each)
    assert interquartile_mean(scores) != pytest.approx(np.mean(each))


def test_a_number_or_an_array(rng):
    assert type(interquartile_mean([1, 2, 3])) is float
    assert type(interquartile_mean([1, 2, 3], axis=0)) is float
    found = interquartile_mean(rng.normal(size=(8, 2, 5)).astype(np.float32), axis=0)
    assert (found.shape, found.dtype) == ((2, 5), np.float64)


def test_scores_stay_as_they_are():
    scores = np.array([3.0, 1.0, 2.0, 0.0])
    interquartile_mean(scores)
    bootstrap_interval(scores, samples=10)
    assert scores.tolist() == [3.0, 1.0, 2.0, 0.0]


def test_half_of_the_runs_may_run_away():
    assert interquartile_mean([-1e9, 1.0, 3.0, 1e9]) == 2.0


# The probability of improvement


def test_every_pair_of_runs_counts(rng):
    for _ in range(50):
        mine = rng.integers(5, size=(rng.integers(1, 7), 3))
        theirs = rng.integers(5, size=(rng.integers(1, 7), 3))
        worlds = []
        for world in range(3):
            pairs = list(itertools.product(mine[:, world], theirs[:, world]))
            worlds.append(sum(1.0 if x > y else 0.5 if x == y else 0.0 for x, y in pairs))
            worlds[-1] /= len(pairs)
        found = probability_of_improvement(mine, theirs)
        assert found == pytest.approx(np.mean(worlds))
        assert probability_of_improvement(theirs, mine) == pytest.approx(1 - found)


def test_as_scipy_counts():
    """SciPy 1.17.1: `scipy.stats.mannwhitneyu(mine, theirs).statistic` is 9.0, of 5 * 3 pairs."""
    assert probability_of_improvement([4, 7, 7, 1, 9], [7, 2, 5]) == pytest.approx(9.0 / 15)


def test_better_worse_and_the_same():
    assert probability_of_improvement([3.0, 4.0], [1.0, 2.0]) == 1.0
    assert probability_of_improvement([1.0], [2.0, 3.0]) == 0.0
    assert probability_of_improvement([5.0, 5.0], [5.0]) == 0.5
    assert probability_of_improvement(TWO_WORLDS, TWO_WORLDS) == 0.5


# Intervals


def test_the_interval_is_the_quantiles_of_what_was_drawn(rng):
    seen = []

    def mean(scores):
        seen.append(scores.mean())
        return seen[-1]

    low, high = bootstrap_interval(rng.normal(size=9), statistic=mean, level=0.8, samples=501)
    assert len(seen) == 501
    assert (low, high) == tuple(np.quantile(seen, [0.1, 0.9]))


def test_all_resamples_of_two_runs():
    """Of runs 0 and 1, the mean is 0, 0.5 or 1, with probabilities 1/4, 1/2 and 1/4."""
    means = []
    bootstrap_interval([0.0, 1.0], statistic=lambda s: means.append(s.mean()) or 0, samples=8000)
    values, counts = np.unique(means, return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(counts / 8000, [0.25, 0.5, 0.25], atol=0.03)


def test_as_scipy_draws():
    """SciPy 1.17.1: `scipy.stats.bootstrap` of RUNS' mean, percentiles of 1,000,000 resamples.

    The mean of 11 runs has no wide gaps, so that only randomness separates the two.
    """
    found = bootstrap_interval(RUNS, statistic=np.mean, samples=50_000)
    np.testing.assert_allclose(found, [14.09, 66.16], atol=0.8)


def test_same_seed_same_interval():
    assert np.array_equal(bootstrap_interval(RUNS, seed=3), bootstrap_interval(RUNS, seed=3))
    assert not np.array_equal(bootstrap_interval(RUNS, seed=3), bootstrap_interval(RUNS, seed=4))


def test_a_higher_level_is_wider():
    widths = [np.ptp(bootstrap_interval(RUNS, level=level)) for level in (0.5, 0.8, 0.95, 0.99)]
    assert widths == sorted(set(widths))
    low, high = bootstrap_interval(RUNS, level=0.5)
    assert low < interquartile_mean(RUNS) < high


def test_worlds_are_drawn_each_for_itself():
    """No score leaves its world, and each world draws other runs."""
    runs = np.arange(6.0)
    scores = np.stack([runs, runs, 100 + runs], axis=1)
    apart = []

    def look(drawn):
        assert drawn.shape == scores.shape
        assert drawn[:, :2].max() <= 5.0 and drawn[:, 2].min() >= 100.0
        apart.append(not np.array_equal(drawn[:, 0], drawn[:, 1]))
        return 0.0

    bootstrap_interval(scores, statistic=look, samples=200)
    assert np.mean(apart) > 0.99


def test_arrays_are_drawn_each_for_itself():
    runs = np.arange(8.0)
    means = []

    def look(mine, theirs):
        assert (len(mine), len(theirs)) == (8, 5)
        means.append((mine.mean(), theirs.mean()))
        return 0.0

    bootstrap_interval(runs, runs[:5], statistic=look, samples=2000)
    assert abs(np.corrcoef(np.transpose(means))[0, 1]) < 0.1


def test_the_interval_of_a_comparison(rng):
    mine, theirs = rng.normal(2.0, size=(20, 3)), rng.normal(0.0, size=(20, 3))
    low, high = bootstrap_interval(mine, theirs, statistic=probability_of_improvement)
    assert 0.8 < low < probability_of_improvement(mine, theirs) < high < 1

    def difference(mine, theirs):
        return interquartile_mean(mine) - interquartile_mean(theirs)

    low, high = bootstrap_interval(mine, theirs, statistic=difference)
    assert 1 < low < difference(mine, theirs) < high < 3


def test_an_interval_for_every_point_of_a_curve(rng):
    curves = rng.normal(size=(10, 6)).cumsum(axis=1)
    band = bootstrap_interval(curves, statistic=partial(interquartile_mean, axis=0))
    assert (band.shape, band.dtype) == ((2, 6), np.float64)
    assert (band[0] < interquartile_mean(curves, axis=0)).all()
    assert (interquartile_mean(curves, axis=0) < band[1]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "runs, level, least, most",
    [(20, 0.95, 0.89, 0.98), (20, 0.5, 0.42, 0.58), (10, 0.95, 0.88, 0.97), (3, 0.95, 0.65, 0.81)],
)
def test_how_often_the_interval_holds_the_truth(runs, level, least, most):
    """Coverage of 600 intervals of normal scores; with few runs, intervals are too narrow."""
    rng, held = np.random.default_rng(runs), 0
    for seed in range(600):
        low, high = bootstrap_interval(rng.normal(size=runs), level=level, samples=300, seed=seed)
        held += low <= 0 <= high
    assert least < held / 600 < most


def test_more_runs_are_surer(rng):
    widths = [np.ptp(bootstrap_interval(rng.normal(size=number))) for number in (5, 50, 500)]
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


# Errors


@pytest.mark.parametrize(
    "scores, message",
    [
        ([], r"scores must contain at least one score, got shape \(0,\)"),
        (np.empty((3, 0)), r"scores must contain at least one score, got shape \(3, 0\)"),
        (1.5, r"scores must contain at least one score, got shape \(\)"),
        ([1.0, np.nan], r"scores\[1\] must be a finite number, got nan"),
        ([[1.0, 2.0], [np.inf, 0.0]], r"scores\[1, 0\] must be a finite number, got inf"),
        ([[1.0, 2.0], [3.0]], r"scores must be an array of numbers, got \[\[1.0, 2.0\], \[3.0\]\]"),
        (["a", "b"], r"scores must be an array of numbers, got \['a', 'b'\]"),
    ],
)
@pytest.mark.parametrize("function", [interquartile_mean, bootstrap_interval])
def test_scores_that_are_none(function, scores, message):
    with pytest.raises(ValueError, match=message):
        function(scores)


def test_an_axis_that_is_not_there():
    with pytest.raises(ValueError, match="axis 1 is out of bounds"):
        interquartile_mean([1.0, 2.0], axis=1)


@pytest.mark.parametrize("scores", [np.zeros(1), np.zeros((1, 3)), np.zeros((2, 3, 4))])
def test_shapes_without_an_interval(scores):
    allowed = r"\(at least 2 runs,\) or \(at least 2 runs, worlds\)"
    with pytest.raises(ValueError, match=f"scores must have shape {allowed}, got "):
        bootstrap_interval(scores)
    with pytest.raises(ValueError, match=r"others\[1\] must have shape .*, got "):
        bootstrap_interval(RUNS, RUNS, scores, statistic=lambda *_: 0.0)


@pytest.mark.parametrize("level", [0, 1, 0.0, 1.0, 95, -0.5, np.nan, "0.95", None])
def test_levels_that_are_none(level):
    with pytest.raises(ValueError, match=r"level must be a number above 0 and below 1, got "):
        bootstrap_interval(RUNS, level=level)


@pytest.mark.parametrize("name, value", [("samples", 0), ("samples", 2.5), ("seed", -1)])
def test_counts_that_are_none(name, value):
    with pytest.raises(
        ValueError, match=f"{name} must be a whole number of at least ., got {value}"
    ):
        bootstrap_interval(RUNS, **{name: value})


def test_improvement_over_something_else():
    with pytest.raises(
        ValueError, match=r"theirs must have as many worlds as mine.*, got .*\(2, 3\)"
    ):
        probability_of_improvement(np.zeros((4, 2)), np.zeros((2, 3)))
    with pytest.raises(
        ValueError, match=r"theirs must have as many worlds as mine.*, got .*\(4,\)"
    ):
        probability_of_improvement(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(ValueError, match=r"mine\[0\] must be a finite number, got nan"):
        probability_of_improvement([np.nan], [1.0])
    with pytest.raises(ValueError, match=r"mine must have shape \(runs,\) or .*, got \(1, 1, 1\)"):
        probability_of_improvement([[[1.0]]], [1.0])
