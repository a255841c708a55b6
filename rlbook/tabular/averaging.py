"""Averaging the tables that several environments bring back from a round."""

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
    """One table from several: the mean of each entry, weighted by how often each copy updated it.

    Args:
        q: (S, A), what the copies started from; entries that none of them updated stay so.
        tables: (N, S, A), the copies.
        visits: (N, S, A), the number of updates of each entry of each copy.
        counts: (S, A), if the entries are sample means: how many samples q is the mean of. Then the
            result is the mean of all samples, old and new.
    """
    totals = visits.sum(axis=0)
    if counts is not None:
        mean = q.copy()
        for table, count in zip(tables, visits, strict=True):
            # A copy moved from q to the mean of its samples and q's: undo the division.
            mean += (table - q) * ((counts + count) / np.maximum(counts + totals, 1))
        return mean
    mean = np.where(totals > 0, 0.0, q)
    for table, count in zip(tables, visits, strict=True):  # always in this order: sums round
        mean += table * (count / np.maximum(totals, 1))
    return mean


class Merged(NamedTuple):
    """The table after a round, and how many updates each entry had in it."""

    q: Table
    states: NDArray[np.int64] | None
    visits: NDArray[np.int64]


def merge(work: Work, learned: list[Learned], initial_value: float) -> Merged:
    """End a round: one table from those that the environments bring back, in their order."""
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
    """All states in the order in which they were met, and the rows of each copy's states in it."""
    row_of = {state: row for row, state in enumerate(old.tolist())}
    places = []
    for states in met:
        new = states[len(old) :].tolist()  # each copy has the old ones first
        rows = [row_of.setdefault(state, len(row_of)) for state in new]
        places.append(np.concatenate([np.arange(len(old)), np.array(rows, np.int64)]))
    return np.array(list(row_of), np.int64), places
