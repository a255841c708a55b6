"""Which of two algorithms is better, told from a few runs of each: chapter 07 of the book.

A score is what one run with a seed of its own came to, such as its mean return at the end. Scores
are float64, (runs,) in one world, or (runs, worlds); those of different worlds are put on one scale
before, say with 0 for a random player and 1 for a scripted one.

After Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep reinforcement learning at the edge
of the statistical precipice", NeurIPS 2021, whose library is rliable.

>>> dqn, rainbow = [31.0, 35.0, 2.0, 33.0, 38.0], [36.0, 41.0, 39.0, 8.0, 40.0]
>>> interquartile_mean(dqn), interquartile_mean(rainbow)
(33.0, 38.333333333333336)
>>> probability_of_improvement(rainbow, dqn)
0.8
>>> bootstrap_interval(rainbow, dqn, statistic=probability_of_improvement).round(2)
array([0.48, 1.  ])
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from rlbook.arguments import check_whole

Numbers = NDArray[np.float64]


def interquartile_mean(scores: ArrayLike, *, axis: int | None = None) -> Any:
    """The mean of the middle half: no lucky run can raise it far, and half of the runs count.

    Of n scores, int(n / 4) are dropped at each end, whole ones, as rliable does with SciPy's
    `trim_mean`. Where n is not divisible by four, somewhat more than half is left.

    Args:
        scores: of any shape, at least one.
        axis: along which; None, the paper's way, takes the scores of all worlds together.

    Returns:
        A float, or float64 of the shape of `scores` without this axis.

    Raises:
        ValueError: there is no score, one of them is not finite, or there is no such axis.

    >>> interquartile_mean([0.0, 1.0, 3.0, 100.0])
    2.0
    >>> interquartile_mean([0.0, 1.0, 3.0, 5.0, 100.0])  # of five as well, one at each end
    3.0
    >>> interquartile_mean([[0, 0], [1, 2], [3, 4], [100, 100]], axis=0)
    array([2., 3.])
    """
    found = _finite("scores", scores)
    rows = found.ravel() if axis is None else np.moveaxis(found, axis, 0)
    dropped = len(rows) // 4
    mean = np.sort(rows, axis=0)[dropped : len(rows) - dropped].mean(axis=0)
    return mean if np.ndim(mean) else float(mean)


def probability_of_improvement(mine: ArrayLike, theirs: ArrayLike) -> float:
    """How likely a run of mine is to beat one of theirs: P(X > Y) + P(X = Y) / 2.

    Counted over all pairs of runs in the same world, which is Mann and Whitney's U over the number
    of pairs (1947), and averaged over the worlds (Agarwal et al., section 4).

    Args:
        mine: (runs,) or (runs, worlds).
        theirs: likewise; the runs may be fewer or more, the worlds are the same.

    Returns:
        From 0 to 1; 0.5 where neither is better.

    Raises:
        ValueError: there is no score, one of them is not finite, or the shapes do not fit.

    >>> probability_of_improvement([3.0, 5.0], [1.0, 3.0, 4.0])  # wins 1 + 3 of 6, and draws one
    0.75
    """
    x, y = _runs("mine", mine), _runs("theirs", theirs)
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"theirs of shape {y.shape} is not allowed: as many worlds as {x.shape}")
    return float(np.heaviside(x[:, None] - y, 0.5).mean())


def bootstrap_interval(
    scores: ArrayLike,
    *others: ArrayLike,
    statistic: Callable[..., Any] = interquartile_mean,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Numbers:
    """Between which values a statistic would lie if the runs were made again.

    As many runs are drawn from those that there are, with replacement, and the statistic is taken
    of these; and so on many times. The interval leaves out equal parts of the results on both sides
    (the percentile bootstrap; Efron, "Bootstrap methods", 1979). The draws are stratified, as the
    paper has them: each world's runs are drawn for themselves, and so are those of each array.

    From few runs it comes out too narrow. Of normal scores, intervals of 95% hold the true
    interquartile mean about 93 times in 100 with ten runs, and 73 times with three.

    Args:
        scores: (runs,) or (runs, worlds), two runs or more.
        others: other algorithms' scores, where the statistic compares.
        statistic: of all these arrays; a number, or an array of which every cell gets an interval.
        level: how much of the results lies inside, above 0 and below 1.
        samples: how often is drawn.
        seed: of the draws; the same seed gives the same interval, bit for bit.

    Returns:
        The lower and the upper end, float64 (2,), or (2, *shape of the statistic).

    Raises:
        ValueError: a score is not finite, a shape is another, or an argument is out of range.

    >>> low, high = bootstrap_interval([31.0, 35.0, 2.0, 33.0, 38.0])
    >>> print(f"from {low:.1f} to {high:.1f}")
    from 11.7 to 37.0

    Every point of several runs' learning curves, here (runs, points):

    >>> from functools import partial
    >>> curves = np.array([[0.0, 1.0, 4.0], [0.0, 2.0, 4.0], [0.0, 3.0, 4.0], [0.0, 4.0, 4.0]])
    >>> bootstrap_interval(curves, statistic=partial(interquartile_mean, axis=0))
    array([[0., 1., 4.],
           [0., 4., 4.]])
    """
    names = ["scores", *(f"others[{i}]" for i in range(len(others)))]
    found = [_runs(*each, least=2) for each in zip(names, (scores, *others), strict=True)]
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level={level!r} is not allowed: a number above 0 and below 1")
    check_whole("samples", samples, 1)
    check_whole("seed", seed, 0)
    rng = np.random.default_rng(seed)
    drawn = [_drawn_again(each, samples, rng) for each in found]
    results = [statistic(*each) for each in zip(*drawn, strict=True)]
    return np.quantile(results, [(1 - level) / 2, (1 + level) / 2], axis=0)


def _drawn_again(scores: Numbers, samples: int, rng: Generator) -> Numbers:
    """(samples, *shape of the scores); each world's runs are drawn for themselves."""
    runs = rng.integers(len(scores), size=(samples, *scores.shape))
    return np.take_along_axis(scores[None], runs, axis=1)


def _runs(name: str, scores: ArrayLike, least: int = 1) -> Numbers:
    """Scores of so many runs at least, (runs,) or (runs, worlds)."""
    found = _finite(name, scores)
    if found.ndim > 2 or len(found) < least:
        runs = "runs" if least == 1 else f"at least {least} runs"
        raise ValueError(
            f"{name} of shape {found.shape} is not allowed: ({runs},) or ({runs}, worlds)"
        )
    return found


def _finite(name: str, scores: ArrayLike) -> Numbers:
    """The scores as an array; a ValueError if there is none, or one that is not finite."""
    try:
        found = np.asarray(scores, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={scores!r} is not allowed: an array of numbers") from None
    if found.ndim == 0 or found.size == 0:
        raise ValueError(f"{name} of shape {found.shape} is not allowed: one score or more")
    if not np.isfinite(found).all():
        where = tuple(np.argwhere(~np.isfinite(found))[0].tolist())
        place = ", ".join(map(str, where))
        raise ValueError(f"{name}[{place}]={found[where]} is not allowed: a finite number")
    return found
