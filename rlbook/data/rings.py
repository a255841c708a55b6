"""Ring buffers of rows, one for each environment: the storage of a replay buffer.

A row is one step of an environment: the observation on which the action was based, the action, the
reward, and whether the episode ended. The next observation is that of the following row, and is not
stored twice. Vector environments reset in Gymnasium's NEXT_STEP mode, so the row after the end of
an episode holds the final observation and an action that was ignored. That row is not a transition
and is never sampled, but a truncated step bootstraps from its observation.

The rows of an environment are numbered from 0. Row t is stored in slot t % length of its ring, so
that new rows overwrite the oldest. A place is the index of a slot among the slots of all rings. The
name of a row is t * num_envs + environment. Unlike a place, a name never refers to another row.

The module has three parts: storing rows, turning rows into transitions, and drawing transitions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile
from rlbook_envs.streams import random_bits, uniform

Numbers = NDArray[np.int64]

# The kinds of rows. A new ring is filled with AFTER_END, so that an episode can begin anywhere.
STEP, TERMINATED, TRUNCATED, AFTER_END = 0, 1, 2, 3

# All parts of a row except its observation and its action. They are adjacent in memory, because
# most functions that read one of them read all of them.
ROW = np.dtype(
    [
        ("reward", np.float32),
        ("kind", np.uint8),
        ("ready", np.bool_),  # the transition that begins here is complete and can be sampled
    ],
    align=True,
)


class Rings(NamedTuple):
    """The rings, without observations and actions."""

    rows: NDArray[np.void]  # (num_envs, length) ROW
    counts: Numbers  # (num_envs,) int64, number of rows added so far
    waiting: Numbers  # (num_envs,) int64, number of newest rows that are not complete yet


def ring_length(capacity: int, num_envs: int, n_step: int, stack: int) -> int:
    """Return the number of slots in each environment's ring.

    This is the environment's share of the capacity, plus the rows that can never be sampled: the
    newest ones, whose next observations are not known yet, and the oldest ones, part of whose
    frames has been overwritten.
    """
    return -(-capacity // num_envs) + n_step + stack - 1


def empty_rings(num_envs: int, length: int) -> Rings:
    """Return rings without rows."""
    rows = np.zeros((num_envs, length), ROW)
    rows["kind"] = AFTER_END
    return Rings(rows, np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64))


# Storing rows


@compile
def append(rings, envs, rewards, terminated, truncated, n_step, stack):  # type: ignore[no-untyped-def]
    """Add rows to the rings of N environments; every column is (N, T).

    Returns:
        The places whose transitions became ready or stopped being ready, in the order of these
        changes, (K,) int64, and whether they became ready, (K,) bool.
    """
    length = rings.rows.shape[1]
    changed = [np.int64(0) for _ in range(0)]
    ready = [False for _ in range(0)]
    for i, env in enumerate(envs):
        ring = rings.rows[env]
        for t in range(rewards.shape[1]):
            count, waiting = rings.counts[env], rings.waiting[env]
            if ring[(count - 1) % length].kind in (TERMINATED, TRUNCATED):
                kind, whole = AFTER_END, waiting  # this row completes all waiting ones
            else:
                kind = TERMINATED if terminated[i, t] else TRUNCATED if truncated[i, t] else STEP
                whole = 1 if waiting == n_step else 0
            for row in range(count - waiting, count - waiting + whole):
                ring[row % length].ready = True
                changed.append(env * length + row % length)
                ready.append(True)
            # The overwritten row or, if frames are stacked, the one that loses its oldest frame.
            lost = (count + stack - 1) % length
            if ring[lost].ready:
                ring[lost].ready = False
                changed.append(env * length + lost)
                ready.append(False)
            new = ring[count % length]
            new.kind, new.reward = kind, rewards[i, t]
            rings.counts[env] = count + 1
            rings.waiting[env] = waiting - whole + (kind != AFTER_END)
    return np.array(changed), np.array(ready)


@compile
def cut(rings, envs):  # type: ignore[no-untyped-def]
    """Truncate the current episodes of some environments, so that their next rows begin new ones.

    The result of the newest row's action is unknown, so that row is no longer a transition. It
    provides the final observation of the truncated episode.

    Returns:
        The same as for `append`.
    """
    length = rings.rows.shape[1]
    changed = [np.int64(0) for _ in range(0)]
    for env in envs:
        ring, count, waiting = rings.rows[env], rings.counts[env], rings.waiting[env]
        if waiting:
            if ring[(count - 2) % length].kind == STEP:
                ring[(count - 2) % length].kind = TRUNCATED
            ring[(count - 1) % length].kind = AFTER_END
            for row in range(count - waiting, count - 1):
                ring[row % length].ready = True
                changed.append(env * length + row % length)
            rings.waiting[env] = 0
    return np.array(changed), np.ones(len(changed), np.bool_)


# Turning rows into transitions


@compile
def windows(rings, places, n_step, gamma):  # type: ignore[no-untyped-def]
    """Return the transitions that begin at these places, over at most n steps.

    Returns:
        Returns and discounts, float32, the places of the next observations and the names of the
        rows, int64; all of them are (B,).
    """
    num_envs, length = rings.rows.shape
    newest = (rings.counts - 1) % length
    names, next_places = np.empty_like(places), np.empty_like(places)
    returns, discounts = np.empty((2, len(places)), np.float32)
    for i, place in enumerate(places):
        env = place // length
        slot = place - env * length
        age = newest[env] - slot
        age += length * (age < 0)
        names[i] = (rings.counts[env] - 1 - age) * num_envs + env
        total, discount, kind = 0.0, 1.0, STEP
        for _ in range(n_step):
            row = rings.rows[env, slot]
            total += discount * row.reward
            discount *= gamma
            kind = row.kind
            slot += 1
            slot -= length * (slot == length)
            if kind != STEP:
                break
        returns[i] = total
        discounts[i] = 0.0 if kind == TERMINATED else discount
        next_places[i] = env * length + slot
    return returns, discounts, next_places, names


@compile
def frames(rings, places, stack):  # type: ignore[no-untyped-def]
    """Return the places of the frames of each observation, (B, stack) int64, oldest first.

    At the start of an episode, the first frame is repeated, as in Gymnasium's
    FrameStackObservation.
    """
    length = rings.rows.shape[1]
    found = np.empty((len(places), stack), np.int64)
    for i, place in enumerate(places):
        env, slot = divmod(place, length)
        for k in range(stack - 1, -1, -1):
            found[i, k] = env * length + slot
            before = (slot - 1) % length
            if rings.rows[env, before].kind != AFTER_END:
                slot = before
    return found


@compile
def places_of(rings, names):  # type: ignore[no-untyped-def]
    """Return the places of the rows with these names; -1 for rows that can't be sampled."""
    num_envs, length = rings.rows.shape
    places = np.full(len(names), -1)
    for i, name in enumerate(names):
        row = name // num_envs
        env = name - row * num_envs
        slot = row % length
        if 0 <= rings.counts[env] - 1 - row < length and rings.rows[env, slot].ready:
            places[i] = env * length + slot
    return places


# Drawing transitions


@compile
def draw(rings, batch_size, key, draws):  # type: ignore[no-untyped-def]
    """Return places drawn uniformly with replacement, and the new position of the random stream.

    If a drawn row is not a transition, which is rare, the function draws again.
    """
    num_envs, length = rings.rows.shape
    filled = min(rings.counts.max(), length)
    places = np.empty(batch_size, np.int64)
    for i in range(batch_size):
        found = False
        while not found:
            drawn = int(uniform(random_bits(key, draws)) * (num_envs * filled))
            draws += 1
            env = drawn // filled
            slot = drawn - env * filled
            places[i], found = env * length + slot, rings.rows[env, slot].ready
    return places, draws


@compile
def newest(rings, batch_size):  # type: ignore[no-untyped-def]
    """Return places of the newest transitions: the newest of each environment, the second, …"""
    num_envs, length = rings.rows.shape
    places, found = np.empty(batch_size, np.int64), 0
    for age in range(1, length + 1):
        for env in range(num_envs):
            slot = (rings.counts[env] - age) % length
            if rings.rows[env, slot].ready:
                places[found] = env * length + slot
                found += 1
                if found == batch_size:
                    return places
    return places[:found]


def contradiction(rings: Rings, n_step: int) -> str | None:
    """Return what is impossible about rings from a damaged file, or None if nothing is."""
    rows, counts, waiting = rings
    most = np.iinfo(np.int64).max // (2 * len(rows))  # the names of later rows would overflow
    if (counts < 0).any() or (counts > most).any():
        return "impossible counts"
    if (waiting < 0).any() or (waiting > np.minimum(counts, n_step)).any():
        return "impossible counts"
    unwritten = np.arange(rows.shape[1]) >= counts[:, None]
    if (rows["ready"] & unwritten).any():
        return "transitions that were never added"
    return None
