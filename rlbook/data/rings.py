"""Rings of rows, one for each environment: what a replay memory stores, and how it reads it.

A row is one step of an environment: the observation that was acted on, the action, the reward, and
whether the episode ended. Its next observation is that of the row after, and is not stored again.
Vector environments reset in Gymnasium's NEXT_STEP mode, so the row after an end holds the episode's
final observation, and an action that was ignored. That row is no transition and is never sampled,
but it is where a truncated step bootstraps from.

An environment's rows are numbered from its first. Row t lies in slot t % length of its ring, so
that new rows overwrite the oldest. A place is a slot counted through all the rings. The name of a
row is t * num_envs + environment: unlike a place, it never comes to mean another row.

Read in this order: what is stored; how rows become transitions; which of them are drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import compile
from rlbook_envs.streams import random_bits, uniform

Numbers = NDArray[np.int64]

# What a row is. A ring that is new holds nothing but AFTER_END, so that episodes begin at its rim.
STEP, TERMINATED, TRUNCATED, AFTER_END = 0, 1, 2, 3

# Everything of a row but its observation and its action, next to each other in memory, because
# whatever reads one of these mostly reads all of them.
ROW = np.dtype(
    [
        ("reward", np.float32),
        ("kind", np.uint8),
        ("ready", np.bool_),  # the transition that begins here is whole and can be sampled
    ],
    align=True,
)


class Rings(NamedTuple):
    """The rings, without the observations."""

    rows: NDArray[np.void]  # (num_envs, length) ROW
    counts: Numbers  # (num_envs,) int64, rows ever added
    waiting: Numbers  # (num_envs,) int64, how many of the newest rows are not whole yet


def ring_length(capacity: int, num_envs: int, n_step: int, stack: int) -> int:
    """The slots of each environment's ring.

    Its share of the capacity, and what can never be sampled: the newest rows, whose next
    observation is still to come, and the oldest, part of whose stack has been overwritten.
    """
    return -(-capacity // num_envs) + n_step + stack - 1


def empty_rings(num_envs: int, length: int) -> Rings:
    """Rings without rows."""
    rows = np.zeros((num_envs, length), ROW)
    rows["kind"] = AFTER_END
    return Rings(rows, np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64))


# What is stored


@compile
def append(rings, envs, rewards, terminated, truncated, n_step, stack):  # type: ignore[no-untyped-def]
    """Add rows of some environments, (N, T) of each column.

    Returns:
        The places where a transition became ready or ceased to be, in that order, and which of the
        two: (K,) int64 and (K,) bool.
    """
    length = rings.rows.shape[1]
    changed = [np.int64(0) for _ in range(0)]
    ready = [False for _ in range(0)]
    for i, env in enumerate(envs):
        ring = rings.rows[env]
        for t in range(rewards.shape[1]):
            count, waiting = rings.counts[env], rings.waiting[env]
            if ring[(count - 1) % length].kind in (TERMINATED, TRUNCATED):
                kind, whole = AFTER_END, waiting  # this completes all that wait
            else:
                kind = TERMINATED if terminated[i, t] else TRUNCATED if truncated[i, t] else STEP
                whole = 1 if waiting == n_step else 0
            for row in range(count - waiting, count - waiting + whole):
                ring[row % length].ready = True
                changed.append(env * length + row % length)
                ready.append(True)
            # The row that is overwritten; if frames are stacked, one that loses its oldest.
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
    """End the episodes of some environments where they stand: their next rows begin new ones.

    What the newest row's action led to was not seen, so that row is no transition any more. But it
    holds an observation, and so it is the final one of an episode that was truncated.

    Returns:
        As `append`.
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


# How rows become transitions


@compile
def windows(rings, places, n_step, gamma):  # type: ignore[no-untyped-def]
    """The transitions that begin at these places, over n steps or to the end of the episode.

    Returns:
        Returns, discounts, the places of the next observations, and the rows' names, each (B,);
        returns and discounts float32, the others int64.
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
    """Where the frames of the observation at each place lie, the oldest first: (B, stack) int64.

    An episode's first frame stands for those before it, as in Gymnasium's FrameStackObservation.
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
    """The places of rows with these names; -1 where no transition begins, or does so no longer."""
    num_envs, length = rings.rows.shape
    places = np.full(len(names), -1)
    for i, name in enumerate(names):
        row = name // num_envs
        env = name - row * num_envs
        slot = row % length
        if 0 <= rings.counts[env] - 1 - row < length and rings.rows[env, slot].ready:
            places[i] = env * length + slot
    return places


# Which of them are drawn


@compile
def draw(rings, batch_size, key, draws):  # type: ignore[no-untyped-def]
    """Places of transitions, all alike and with replacement; and how many numbers are drawn by now.

    Few rows are no transition: where one of those is drawn, another is.
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
    """Places of the newest transitions: the newest of every environment, the second, and so on."""
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
    """What is wrong with rings from a damaged file, so that reading them would not end."""
    rows, counts, waiting = rings
    most = np.iinfo(np.int64).max // (2 * len(rows))  # beyond which rows would have no names
    if (counts < 0).any() or (counts > most).any():
        return "impossible counts"
    if (waiting < 0).any() or (waiting > np.minimum(counts, n_step)).any():
        return "impossible counts"
    unwritten = np.arange(rows.shape[1]) >= counts[:, None]
    if (rows["ready"] & unwritten).any():
        return "transitions that were never added"
    return None
