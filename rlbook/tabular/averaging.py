"""Averages of the tables that several environments return from a round."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook.tabular.learner import Learned, Work
from rlbook.tabular.policies import Table


def average_tables(
    q: Table,
    tables: NDArray[np.float64],
    visits: NDArray[np.int64],
    counts: NDArray[np.int64] | None = None,
) -> Table:
    """Return the average of several tables, weighted by the number of updates of each entry.

    Args:
        q: (S, A), the table from which the copies started. An entry that no copy updated keeps its
            value.
        tables: (N, S, A), the copies.
        visits: (N, S, A), the number of updates of each entry of each copy.
        counts: (S, A), the number of samples of which each entry of q is the mean, if the entries
            are sample means. The result is then the mean of all samples, old and new.
    """
    totals = visits.sum(axis=0)
    if counts is not None:
        mean = q.copy()
        for table, count in zip(tables, visits, strict=True):
            # A copy is the mean of its own samples and those of q. Multiplying its change by the
            # number of these samples gives the sum of its own deviations from q.
            mean += (table - q) * ((counts + count) / np.maximum(counts + totals, 1))
        return mean
    mean = np.where(totals > 0, 0.0, q)
    # The order is fixed, because floating-point sums depend on it.
    for table, count in zip(tables, visits, strict=True):
        mean += table * (count / np.maximum(totals, 1))
    return mean


class Merged(NamedTuple):
    """The table after a round, and the number of updates of each entry in this round."""

    q: Table
    states: NDArray[np.int64] | None
    visits: NDArray[np.int64]


def merge(work: Work, learned: list[Learned], initial_value: float) -> Merged:
    """Return one table from those that the environments learned in a round.

    Args:
        work: the round, as it was given to every environment.
        learned: the results, in the order of the environments.
        initial_value: value of the entries of new states.
    """
    states = work.states
    if states is None:
        tables = np.stack([each.q for each in learned])
        visits = np.stack([each.visits for each in learned])
        q, counts = work.q, work.counts
    else:
        states, places = _union(states, [each.states for each in learned])  # type: ignore[misc]
        shape = (len(states), *work.q.shape[1:])
        tables = np.full((len(learned), *shape), initial_value)
        visits = np.zeros((len(learned), *shape), np.int64)
        for i, (each, place) in enumerate(zip(learned, places, strict=True)):
            tables[i, place], visits[i, place] = each.q, each.visits
        q, old = np.full(shape, initial_value), len(work.q)
        q[:old] = work.q
        counts = None
        if work.counts is not None:
            counts = np.zeros(shape, np.int64)
            counts[:old] = work.counts
    return Merged(average_tables(q, tables, visits, counts), states, visits.sum(axis=0))


def _union(
    old: NDArray[np.int64], met: list[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return all states in the order of their first visits, and the rows of each copy's states."""
    row_of = {state: row for row, state in enumerate(old.tolist())}
    places = []
    for states in met:
        new = states[len(old) :].tolist()  # the old states come first in every copy
        rows = [row_of.setdefault(state, len(row_of)) for state in new]
        places.append(np.concatenate([np.arange(len(old)), np.array(rows, np.int64)]))
    return np.array(list(row_of), np.int64), places
