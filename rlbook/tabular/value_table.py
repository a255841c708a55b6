"""Value tables that grow, for environments with too many states to allocate a row for each.

A table is an array with one row per state. If the states are 0 … n - 1 and n is small, the row of a
state is its number. If n is huge, a hash table maps states to rows, and a state gets the next free
row at its first visit. The update rules only see rows.

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

# With more states than this, a table with a row for each state would waste memory.
MOST_DENSE = 1_000_000


class Rows(NamedTuple):
    """A hash table that maps states to rows."""

    slots: Numbers  # (a power of two,), a row or -1, indexed by the hash
    states: Numbers  # (capacity,), the state of each row
    taken: Numbers  # (1,), number of rows in use


@rule
def locate(rows: Rows, state: int) -> int:
    """Return the row of a state, which is the next free row at the first visit."""
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
    """Give each state a row, in the given order."""
    for state in states:
        locate(rows, state)


@cache
def _compiled_locate_all() -> Rule:
    return compile(locate_all)


def make_rows(states: Numbers, room: int) -> Rows:
    """Return rows for the given states, in this order, with room for `room` more."""
    capacity = len(states) + room
    size = 1 << (2 * capacity).bit_length()  # at most half full, so that probing is short
    rows = Rows(np.full(size, -1), np.zeros(capacity, np.int64), np.zeros(1, np.int64))
    _compiled_locate_all()(rows, states)
    return rows


@cache
def row_rules(
    step_key: Rule, reset: Rule, step: Rule, time_limit_reached: Rule, compiled: bool
) -> tuple[Rule, ...]:
    """Return the rules of an `Interface` with rows in place of states.

    Their argument `env` is a pair of the `env` of the given rules and `Rows`.
    """
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
    def time_limit_reached_there(env, length, limit):  # type: ignore[no-untyped-def]
        inner, _ = env
        return time_limit_reached(inner, length, limit)

    return step_key, reset_to_row, step_to_row, time_limit_reached_there
