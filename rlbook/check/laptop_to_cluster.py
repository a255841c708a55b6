"""The exercises of chapter 05: right solutions, random cases, and the mistakes people make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from rlbook.backends import wire
from rlbook.check.exercise import Case, Function, FunctionExercise, Mistakes, Table, Whole, by_name
from rlbook.check.playing import PlayedExercise


def speed_up(serial: float, work: float, rounds: int, overhead: float, workers: int) -> float:
    """Check the speed-up of a run that is shared out: chapter 05, equation (5.2).

    Alone, a run takes serial + work seconds. With workers, the work is divided among them, the
    serial part is not, and each of the rounds costs the overhead, in seconds.
    """
    alone = serial + work
    together = serial + work / workers + rounds * overhead
    return alone / together


_SPEED_UP_MISTAKES: Mistakes = {
    "overhead dropped. This is Amdahl's law, in which workers cost nothing; every round adds the"
    " overhead.": [{" + rounds * overhead": ""}],
    "overhead once. You add the overhead once; it is paid again in every round.": [
        {"rounds * overhead": "overhead"}
    ],
    "overhead divided. You divide the overhead among the workers; everybody waits for it, in every"
    " round.": [{"rounds * overhead": "rounds * overhead / workers"}],
    "overhead alone too. You charge one process for the overhead as well; alone, it talks to"
    " nobody.": [{"alone = serial + work": "alone = serial + work + rounds * overhead"}],
    "serial part divided. You divide the serial part too; serial seconds pass, however many workers"
    " there are.": [{"serial + work / workers": "(serial + work) / workers"}],
    "upside down. This is the time with workers over the time alone; a speed-up is the other way"
    " round.": [{"alone / together": "together / alone"}],
}


def _speed_up_case(rng: Generator) -> Case:
    serial, work, overhead = rng.choice([0.0, 1.0, 10.0]), rng.uniform(1, 100), rng.uniform(0, 0.2)
    rounds, workers = rng.integers(2, 200), rng.integers(2, 65)
    return float(serial), float(work), int(rounds), float(overhead), int(workers)


def split_episodes(number: int, workers: int) -> Whole:
    """Check how many episodes each worker gets.

    The sizes, int64 (workers,), add up to number, differ by at most one, and the larger ones come
    first, as the parts of `np.array_split` do.
    """
    share, left = divmod(number, workers)
    return np.where(np.arange(workers) < left, share + 1, share)


_SPLIT_MISTAKES: Mistakes = {
    "rest dropped. number // workers each leaves number % workers out; the sizes must add up to"
    " number.": ["np.full(workers, number // workers)"],
    "too many. You round up for everybody, which makes more than number; only some get one more.": [
        "np.full(workers, -(-number // workers))",
        "np.full(workers, number // workers + 1)",
    ],
    "rest to one worker. One worker gets all of the rest, and everybody waits for it; give one more"
    " to as many as there are left over.": [
        {"< left, share + 1": "== 0, share + left"},
        {"< left, share + 1": "== workers - 1, share + left"},
    ],
    "longer shares last. Your shares are even, but the longer ones come last; here they come first,"
    " as in np.array_split.": ["split_episodes(number, workers)[::-1]"],
    "last one starved. You give out shares of the rounded-up size until nothing is left, so the"
    " last workers get little or none.": [
        "np.diff(np.minimum(np.arange(workers + 1) * -(-number // workers), number))"
    ],
}


def _split_case(rng: Generator) -> Case:
    return int(rng.integers(0, 60)), int(rng.integers(2, 9))


def stream_keys(seed: int, stream: int, number: int) -> NDArray[np.uint64]:
    """Check the keys of environments' random streams.

    They are uint64 (number,): for environment 0, 1, … the first 64-bit word of
    `SeedSequence(seed, spawn_key=(stream, index))`.
    """
    keys = []
    for index in range(number):
        sequence = SeedSequence(seed, spawn_key=(stream, index))
        keys.append(sequence.generate_state(1, np.uint64)[0])
    return np.array(keys, np.uint64)


_SEQUENCE = "SeedSequence(seed, spawn_key=(stream, index))"
_KEYS_MISTAKES: Mistakes = {
    "one seed for all. All your environments have the same key, so they all play the same game; the"
    " index belongs into spawn_key.": [
        {_SEQUENCE: "SeedSequence(seed)"},
        {"(stream, index)": "(stream,)"},
    ],
    "seed + index. You add the index to the seed: environment 1 of seed 7 then plays what"
    " environment 0 of seed 8 plays. Put it into spawn_key.": [
        {_SEQUENCE: "SeedSequence(seed + index)"},
        {_SEQUENCE: "SeedSequence(seed + index, spawn_key=(stream,))"},
    ],
    "stream dropped. Your spawn_key is (index,) alone; without the stream, an environment's"
    " randomness and its policy's would be the same numbers.": [{"(stream, index)": "(index,)"}],
    "wrong way round. Your spawn_key is (index, stream); it is (stream, index).": [
        {"(stream, index)": "(index, stream)"}
    ],
    "number in the key. Your keys depend on how many environments there are; add one, and all"
    " others play another game.": [
        {"(stream, index)": "(stream, number, index)"},
        {"(stream, index)": "(stream, index, number)"},
    ],
    "32 bits. Your keys have 32 bits: generate_state(1, np.uint64) makes 64.": [
        {"1, np.uint64": "1, np.uint32"}
    ],
}


def _keys_case(rng: Generator) -> Case:
    return int(rng.integers(1000)), int(rng.integers(2)), int(rng.integers(2, 7))


def merge_moments(moments: Table) -> Table:
    """Check moments of several workers put together (Chan, Golub and LeVeque, 1979).

    From float64 (W, 3) it makes (3,): each row holds how many numbers a worker has seen, their
    mean, and the sum of their squared distances from it; the result holds the same of all numbers
    together. A row whose count is 0 is all zeros.
    """
    counts, means, squares = moments.T
    mean = counts @ means / counts.sum()
    between = counts @ (means - mean) ** 2
    return np.array([counts.sum(), mean, squares.sum() + between])


_MERGE_MISTAKES: Mistakes = {
    "mean of means. You take the plain mean of the workers' means; weigh each by how much it has"
    " seen.": [
        {"counts @ means / counts.sum()": "means.mean()"},
        {"counts @ means / counts.sum()": "means[counts > 0].mean()"},
    ],
    "means added. You add up the means; weigh each by its count, and divide by the sum of the"
    " counts.": [{"counts @ means / counts.sum()": "means.sum()"}],
    "spread between workers dropped. You only add up the workers' squares; that their means differ"
    " is spread as well: add n (mean − merged mean)² for each.": [{" + between": ""}],
    "spread not weighted. You add (mean − merged mean)² once for each worker; it counts n times.": [
        {"counts @ (means - mean) ** 2": "((means - mean) ** 2).sum()"},
        {"counts @ (means - mean) ** 2": "((means - mean)[counts > 0] ** 2).sum()"},
    ],
    "spread not squared. You add n times the distance of each mean from the merged one; square the"
    " distance.": [{"(means - mean) ** 2": "abs(means - mean)"}],
    "counts averaged. You give back the mean of the counts; together the workers have seen their"
    " sum.": [{"[counts.sum()": "[counts.mean()"}],
}


def _merge_case(rng: Generator) -> Case:
    rows = []
    for n in rng.integers(0, 9, size=int(rng.integers(2, 6))):
        seen = rng.normal(rng.normal(), 1.0, size=n)
        mean = seen.mean() if n else 0.0
        rows.append((float(n), mean, ((seen - mean) ** 2).sum()))
    if not sum(count for count, _, _ in rows):
        rows[0] = (1.0, float(rng.normal()), 0.0)
    return (np.array(rows),)


def replay_journal(total: int, done: int, journal: Whole) -> int:
    """Check the state of a worker that was built again from a snapshot and a journal.

    The snapshot holds a total, and all calls up to number `done` are in it. `journal` is int64
    (J, 2), its rows (number, amount), in the order in which they were sent, which is not that of
    their numbers; a call that was sent again stands there again. A call makes the total
    2 * total + amount; each counts once, in the order of the numbers.
    """
    calls = sorted(dict(journal.tolist()).items())
    for number, amount in calls:
        if number > done:
            total = 2 * total + amount
    return total


_REPLAY_MISTAKES: Mistakes = {
    "repeats counted. A call that was sent again counts twice with you; each number counts once.": [
        {"sorted(dict(journal.tolist()).items())": "journal.tolist()"},
        {"sorted(dict(journal.tolist()).items())": "sorted(journal.tolist())"},
    ],
    "order lost. You replay calls in the order of the rows; they were made in the order of their"
    " numbers.": [{"sorted(": "list("}],
    "snapshot counted again. You replay calls that the snapshot holds already; those up to number"
    " done are in it.": [{"number > done": "True"}, {"number > done": "number >= done"}],
    "off by one. You leave out call number done + 1, or the last one: the snapshot holds calls up"
    " to done, and all later ones are replayed.": [
        {"number > done": "number > done + 1"},
        {"in calls": "in calls[:-1]"},
    ],
    "snapshot forgotten. You begin from 0; begin from the snapshot's total.": [
        "replay_journal(0, done, journal)"
    ],
    "journal forgotten. You give back the snapshot; the calls since then are lost.": ["total"],
}


def _replay_case(rng: Generator) -> Case:
    """A journal in which some calls stand twice, and later ones may stand before earlier ones."""
    number = int(rng.integers(3, 9))
    calls = np.stack([np.arange(number), rng.integers(1, 10, size=number)], axis=1)
    again = calls[rng.integers(number, size=int(rng.integers(1, 4)))]
    journal = rng.permutation(np.concatenate([calls, again]))
    return int(rng.integers(1, 50)), int(rng.integers(0, number - 1)), journal


class MyThrower:
    """Check a worker of your own that throws darts at a square, to estimate π.

    `throw(number)` draws `rng.random((number, 2))` and gives back how many points (x, y) of all
    calls so far had x² + y² < 1. `rng` is the worker's own generator, made once, from
    `SeedSequence(seed, spawn_key=(0, index))`. Between calls the worker is frozen and thawed.
    """

    def __init__(self, index: int, seed: int) -> None:
        self.sequence: Any = SeedSequence(seed, spawn_key=(0, index))
        self.rng = np.random.default_rng(self.sequence)
        self.hits = 0

    def throw(self, number: int) -> int:
        """Return the hits of all calls so far."""
        points = self.rng.random((number, 2))
        self.hits += int(((points**2).sum(axis=1) < 1).sum())
        return self.hits

    def get_state(self) -> dict[str, Any]:
        """Return what a snapshot holds."""
        return self.__dict__

    def set_state(self, state: dict[str, Any]) -> None:
        """Take a snapshot up again."""
        self.__dict__.update(state)


_THROWER_MISTAKES: Mistakes = {
    "one stream for all. All your workers throw the same darts; give each a stream of its own, by"
    " its index in spawn_key=(0, index).": [
        {"SeedSequence(seed, spawn_key=(0, index))": "seed"},
        {"(0, index)": "(0,)"},
        {"(0, index)": "(0, 0)"},
    ],
    "seed + index. You add the index to the seed; put it into spawn_key=(0, index).": [
        {"SeedSequence(seed, spawn_key=(0, index))": "seed + index"}
    ],
    "stream begun anew. Every call throws the same darts again; make the generator in __init__, and"
    " keep it.": [{"self.rng.random(": "np.random.default_rng(self.sequence).random("}],
    "hits forgotten. throw gives back the hits of this call; it should be those of all calls so"
    " far.": [{"self.hits +=": "self.hits ="}],
    "diamond. You count x + y < 1, which is a triangle; a quarter of the disc is x² + y² < 1.": [
        {"(points**2).sum": "points.sum"}
    ],
    "stream left out of the state. After a restart your worker begins its stream again: what"
    " get_state or the pickle holds must include the generator.": [
        {"return self.__dict__": "return {'hits': self.hits}"}
    ],
}


def _thrower_case(rng: Generator) -> Case:
    calls = tuple(int(number) for number in rng.integers(20, 200, size=4))
    return int(rng.integers(1000)), int(rng.integers(2, 4)), calls


@dataclass(frozen=True)
class WorkerExercise(PlayedExercise):
    """The solution is a worker class. A case is a seed, a number of workers, and some calls.

    Attributes:
        method: which is called, with a number, on all workers.
        restart_after: so many calls; then the worker is frozen and thawed.
    """

    method: str = "throw"
    restart_after: int = 2

    def play(self, function: Function, case: Case) -> Iterator[tuple[float, ...]]:
        """What the workers answer to each call (row); after some, they die and are restored."""
        seed, workers, calls = case
        members = [function(index, seed) for index in range(workers)]
        for number, throws in enumerate(calls):
            if number == self.restart_after:
                members = [
                    wire.thaw(wire.freeze(member), partial(function, index, seed))
                    for index, member in enumerate(members)
                ]
            yield tuple(float(getattr(member, self.method)(throws)) for member in members)

    def wrong_row(self, case: Case, rows: Table, number: int, got: Table) -> str:
        """The calls so far, and both answers."""
        seed, workers, calls = case
        before = ", ".join(f"{self.method}({throws})" for throws in calls[: number + 1])
        return (
            f"after {before}, {workers} workers with seed {seed} should answer"
            f" {rows[number].astype(int).tolist()}; yours answer {got.tolist()}"
        )

    def broken(self, case: Case, rows: Table, number: int, raised: str) -> str:
        """The error."""
        return f"your worker raised {raised}"


EXERCISES = by_name(
    FunctionExercise(speed_up, _speed_up_case, _SPEED_UP_MISTAKES, "speed-up"),
    FunctionExercise(split_episodes, _split_case, _SPLIT_MISTAKES, "sizes"),
    FunctionExercise(stream_keys, _keys_case, _KEYS_MISTAKES, "keys"),
    FunctionExercise(merge_moments, _merge_case, _MERGE_MISTAKES, "merged"),
    FunctionExercise(replay_journal, _replay_case, _REPLAY_MISTAKES, "total"),
    WorkerExercise(
        MyThrower,
        _thrower_case,
        _THROWER_MISTAKES,
        "worker",
        unseeded="randomness from elsewhere. Two groups with the same seed differ: draw from"
        " np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, index))) alone",
    ),
)
