"""Value tables for worlds whose states can only be met, not counted in advance.

A table is an array with one row for each state. Where the states are 0 … n - 1 and n is small, the
row of a state is its number. Where n is huge, a hash table says which row a state has: a state gets
the next free row when it is met for the first time. The update rules see rows and nothing else.

The hash table has open addressing with linear probing (Knuth, The Art of Computer Programming,
volume 3, section 6.4, algorithm L).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile, rule
from rlbook_envs.streams import random_bits

Rule = Callable[..., Any]
Numbers = NDArray[np.int64]

# More states than this, and a table with a row for each would fill memory for nothing.
MOST_DENSE = 1_000_000


class Rows(NamedTuple):
    """Which state has which row."""

    slots: Numbers  # (a power of two,), a row or -1, found by hashing
    states: Numbers  # (capacity,), the state of each row
    taken: Numbers  # (1,), how many of the rows


@rule
def locate(rows: Rows, state: int) -> int:
    """The row of a state; the next free one if it has none yet."""
    mask = len(rows.slots) - 1
    slot = np.int64(random_bits(np.uint64(state), 0) & np.uint64(mask))
    while rows.slots[slot] >= 0:
        if rows.states[rows.slots[slot]] == state:
            return rows.slots[slot]
        slot = (slot + 1) & mask
    row = rows.taken[0]
    rows.slots[slot], rows.states[row] = row, state
    rows.taken[0] = row + 1
    return row


@rule
def locate_all(rows: Rows, states: Numbers) -> None:
    """Give each state a row, in this order."""
    for state in states:
        locate(rows, state)


@cache
def _compiled_locate_all() -> Rule:
    return compile(locate_all)


def make_rows(states: Numbers, room: int) -> Rows:
    """Rows for these states, in this order, and room for so many more."""
    capacity = len(states) + room
    size = 1 << (2 * capacity).bit_length()  # at most half full, so that searches are short
    rows = Rows(np.full(size, -1), np.zeros(capacity, np.int64), np.zeros(1, np.int64))
    _compiled_locate_all()(rows, states)
    return rows


@cache
def row_rules(
    chance: Rule, reset: Rule, step: Rule, out_of_time: Rule, compiled: bool
) -> tuple[Rule, ...]:
    """The rules of an `Interface`, speaking of rows: `env` is a pair, of the old one and `Rows`."""
    find = locate if compiled else compile(locate)

    @rule
    def reset_to_row(env, key):  # type: ignore[no-untyped-def]
        inner, rows = env
        return find(rows, reset(inner, key))

    @rule
    def step_to_row(env, row, action, key):  # type: ignore[no-untyped-def]
        inner, rows = env
        state, reward, terminated = step(inner, rows.states[row], action, key)
        return find(rows, state), reward, terminated

    @rule
    def out_of_time_there(env, length, limit):  # type: ignore[no-untyped-def]
        inner, _ = env
        return out_of_time(inner, length, limit)

    return chance, reset_to_row, step_to_row, out_of_time_there
