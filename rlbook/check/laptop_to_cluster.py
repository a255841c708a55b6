"""The exercises of chapter 05: right solutions, random cases, and how people go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from rlbook.backends.wire import freeze, thaw
from rlbook.check.exercise import (
    Exercise,
    Function,
    FunctionExercise,
    Mistake,
    Outcome,
    Table,
)

Whole = NDArray[np.int64]

# The model of a run, and how it goes wrong.


def _speed_up(
    serial: float,
    work: float,
    rounds: int,
    overhead: float,
    workers: int,
    *,
    alone: Callable[..., float] = lambda serial, work, paid: serial + work,
    together: Callable[..., float] = lambda serial, work, paid, workers: (
        serial + work / workers + paid
    ),
    paid: Callable[[int, float, int], float] = lambda rounds, overhead, workers: rounds * overhead,
    ratio: Callable[[float, float], float] = lambda alone, together: alone / together,
) -> float:
    """Equation (5.2); any part of which may be put wrong."""
    extra = paid(rounds, overhead, workers)
    return ratio(alone(serial, work, extra), together(serial, work, extra, workers))


def _faulty_speed_up(**parts: Any) -> Function:
    return lambda *arguments: _speed_up(*arguments, **parts)


_SPEED_UP_MISTAKES = (
    Mistake(
        "overhead dropped",
        "This is Amdahl's law, in which workers cost nothing; every round adds the overhead.",
        (_faulty_speed_up(paid=lambda rounds, overhead, workers: 0.0),),
    ),
    Mistake(
        "overhead once",
        "You add the overhead once; it is paid again in every round.",
        (_faulty_speed_up(paid=lambda rounds, overhead, workers: overhead),),
    ),
    Mistake(
        "overhead divided",
        "You divide the overhead among the workers; everybody waits for it, in every round.",
        (_faulty_speed_up(paid=lambda rounds, overhead, workers: rounds * overhead / workers),),
    ),
    Mistake(
        "overhead alone too",
        "You charge one process for the overhead as well; alone, it talks to nobody.",
        (_faulty_speed_up(alone=lambda serial, work, paid: serial + work + paid),),
    ),
    Mistake(
        "serial part divided",
        "You divide the serial part too; serial seconds pass, however many workers there are.",
        (
            _faulty_speed_up(
                together=lambda serial, work, paid, workers: (serial + work) / workers + paid
            ),
        ),
    ),
    Mistake(
        "upside down",
        "This is the time with workers over the time alone; a speed-up is the other way round.",
        (_faulty_speed_up(ratio=lambda alone, together: together / alone),),
    ),
)


def _speed_up_case(rng: Generator) -> tuple[Any, ...]:
    serial, work, overhead = rng.choice([0.0, 1.0, 10.0]), rng.uniform(1, 100), rng.uniform(0, 0.2)
    rounds, workers = rng.integers(2, 200), rng.integers(2, 65)
    return float(serial), float(work), int(rounds), float(overhead), int(workers)


# Episodes dealt out to workers, and how that goes wrong.


def _split(number: int, workers: int) -> Whole:
    """As evenly as can be, the longer shares first."""
    share, left = divmod(number, workers)
    return share + (np.arange(workers) < left).astype(np.int64)


def _rest_to(place: int) -> Function:
    def split(number: int, workers: int) -> Whole:
        sizes = np.full(workers, number // workers)
        sizes[place] += number % workers
        return sizes

    return split


def _slices_of_the_ceiling(number: int, workers: int) -> Whole:
    size = -(-number // workers)
    return np.diff(np.minimum(np.arange(workers + 1) * size, number))


_SPLIT_MISTAKES = (
    Mistake(
        "rest dropped",
        "number // workers each leaves number % workers out; the sizes must add up to number.",
        (lambda number, workers: np.full(workers, number // workers),),
    ),
    Mistake(
        "too many",
        "You round up for everybody, which makes more than number; only some get one more.",
        (
            lambda number, workers: np.full(workers, -(-number // workers)),
            lambda number, workers: np.full(workers, number // workers + 1),
        ),
    ),
    Mistake(
        "rest to one worker",
        "One worker gets all of the rest, and everybody waits for it; give one more to as many as"
        " there are left over.",
        (_rest_to(0), _rest_to(-1)),
    ),
    Mistake(
        "longer shares last",
        "Your shares are even, but the longer ones come last; here they come first, as in"
        " np.array_split.",
        (lambda number, workers: _split(number, workers)[::-1].copy(),),
    ),
    Mistake(
        "last one starved",
        "You give out shares of the rounded-up size until nothing is left, so the last workers get"
        " little or none.",
        (_slices_of_the_ceiling,),
    ),
)


def _split_case(rng: Generator) -> tuple[Any, ...]:
    return int(rng.integers(0, 60)), int(rng.integers(2, 9))


# Keys of random streams, and how they go wrong.


def _stream_keys(
    seed: int,
    stream: int,
    number: int,
    *,
    sequence: Callable[[int, int, int, int], SeedSequence] = lambda seed, stream, index, number: (
        SeedSequence(seed, spawn_key=(stream, index))
    ),
    dtype: Any = np.uint64,
) -> NDArray[np.uint64]:
    """The keys of so many environments; the sequence behind each may be put wrong."""
    words = [
        sequence(seed, stream, index, number).generate_state(1, dtype)[0] for index in range(number)
    ]
    return np.array(words, np.uint64)


def _faulty_keys(**parts: Any) -> Function:
    return lambda *arguments: _stream_keys(*arguments, **parts)


def _keys(seed: int, stream: int, number: int) -> NDArray[np.uint64]:
    """What the library does."""
    from rlbook_envs.streams import stream_key

    return np.array([stream_key(seed, stream, index) for index in range(number)], np.uint64)


_KEYS_MISTAKES = (
    Mistake(
        "one seed for all",
        "All your environments have the same key, so they all play the same game; the index"
        " belongs into spawn_key.",
        (
            _faulty_keys(sequence=lambda seed, stream, index, number: SeedSequence(seed)),
            _faulty_keys(
                sequence=lambda seed, stream, index, number: SeedSequence(seed, spawn_key=(stream,))
            ),
        ),
    ),
    Mistake(
        "seed + index",
        "You add the index to the seed: environment 1 of seed 7 then plays what environment 0 of"
        " seed 8 plays. Put it into spawn_key.",
        (
            _faulty_keys(sequence=lambda seed, stream, index, number: SeedSequence(seed + index)),
            _faulty_keys(
                sequence=lambda seed, stream, index, number: SeedSequence(
                    seed + index, spawn_key=(stream,)
                )
            ),
        ),
    ),
    Mistake(
        "stream dropped",
        "Your spawn_key is (index,) alone; without the stream, an environment's chance and its"
        " policy's would be the same numbers.",
        (
            _faulty_keys(
                sequence=lambda seed, stream, index, number: SeedSequence(seed, spawn_key=(index,))
            ),
        ),
    ),
    Mistake(
        "wrong way round",
        "Your spawn_key is (index, stream); it is (stream, index).",
        (
            _faulty_keys(
                sequence=lambda seed, stream, index, number: SeedSequence(
                    seed, spawn_key=(index, stream)
                )
            ),
        ),
    ),
    Mistake(
        "number in the key",
        "Your keys depend on how many environments there are; add one, and all others play"
        " another game.",
        (
            _faulty_keys(
                sequence=lambda seed, stream, index, number: SeedSequence(
                    seed, spawn_key=(stream, number, index)
                )
            ),
            _faulty_keys(
                sequence=lambda seed, stream, index, number: SeedSequence(
                    seed, spawn_key=(stream, index, number)
                )
            ),
        ),
    ),
    Mistake(
        "32 bits",
        "Your keys have 32 bits: generate_state(1, np.uint64) makes 64.",
        (_faulty_keys(dtype=np.uint32),),
    ),
)


def _keys_case(rng: Generator) -> tuple[Any, ...]:
    return int(rng.integers(1000)), int(rng.integers(2)), int(rng.integers(2, 7))


# What workers found put together, and how that goes wrong.


def _weighted(counts: Table, values: Table) -> float:
    return float(counts @ values / counts.sum())


def _merge_moments(
    moments: Table,
    *,
    mean: Callable[[Table, Table], float] = _weighted,
    between: Callable[[Table, Table], float] = lambda counts, away: float(counts @ away**2),
    count: Callable[[Table], float] = lambda counts: float(counts.sum()),
) -> Table:
    """Equation (5.5), and the spread; any part of which may be put wrong."""
    counts, means, squares = moments.T
    merged = mean(counts, means)
    return np.array([count(counts), merged, squares.sum() + between(counts, means - merged)])


def _faulty_merge(**parts: Any) -> Function:
    return lambda moments: _merge_moments(moments, **parts)


_MERGE_MISTAKES = (
    Mistake(
        "mean of means",
        "You take the plain mean of the workers' means; weigh each by how much it has seen.",
        (
            _faulty_merge(mean=lambda counts, means: float(means.mean())),
            _faulty_merge(mean=lambda counts, means: float(means[counts > 0].mean())),
        ),
    ),
    Mistake(
        "means added",
        "You add up the means; weigh each by its count, and divide by the sum of the counts.",
        (_faulty_merge(mean=lambda counts, means: float(means.sum())),),
    ),
    Mistake(
        "spread between workers dropped",
        "You only add up the workers' squares; that their means differ is spread as well: add"
        " n (mean − merged mean)² for each.",
        (_faulty_merge(between=lambda counts, away: 0.0),),
    ),
    Mistake(
        "spread not weighted",
        "You add (mean − merged mean)² once for each worker; it counts n times.",
        (
            _faulty_merge(between=lambda counts, away: float((away**2).sum())),
            _faulty_merge(between=lambda counts, away: float((away[counts > 0] ** 2).sum())),
        ),
    ),
    Mistake(
        "spread not squared",
        "You add n times the distance of each mean from the merged one; square the distance.",
        (_faulty_merge(between=lambda counts, away: float(counts @ np.abs(away))),),
    ),
    Mistake(
        "counts averaged",
        "You give back the mean of the counts; together the workers have seen their sum.",
        (_faulty_merge(count=lambda counts: float(counts.mean())),),
    ),
)


def _merge_case(rng: Generator) -> tuple[Any, ...]:
    rows = []
    for n in rng.integers(0, 9, size=int(rng.integers(2, 6))):
        seen = rng.normal(rng.normal(), 1.0, size=n)
        mean = seen.mean() if n else 0.0
        rows.append((float(n), mean, ((seen - mean) ** 2).sum()))
    if not sum(count for count, _, _ in rows):
        rows[0] = (1.0, float(rng.normal()), 0.0)
    return (np.array(rows),)


# A journal replayed, and how that goes wrong.


def _once_in_order(journal: Whole, done: int) -> Iterable[int]:
    """The amounts of the calls after number `done`, each once, in the order of their numbers."""
    amounts = dict(journal.tolist())
    return (amounts[number] for number in sorted(amounts) if number > done)


def _replay(
    total: int,
    done: int,
    journal: Whole,
    *,
    calls: Callable[[Whole, int], Iterable[int]] = _once_in_order,
    start: Callable[[int], int] = lambda total: total,
) -> int:
    """The total after the calls in the journal; which these are may be put wrong."""
    total = start(total)
    for amount in calls(journal, done):
        total = 2 * total + amount
    return total


def _faulty_replay(**parts: Any) -> Function:
    return lambda *arguments: _replay(*arguments, **parts)


def _as_they_stand(journal: Whole, done: int) -> Iterable[int]:
    return (amount for number, amount in journal.tolist() if number > done)


def _in_order_of_sending(journal: Whole, done: int) -> Iterable[int]:
    return dict(row for row in journal.tolist() if row[0] > done).values()


_REPLAY_MISTAKES = (
    Mistake(
        "repeats counted",
        "A call that was sent again counts twice with you; each number counts once.",
        (
            _faulty_replay(calls=_as_they_stand),
            _faulty_replay(
                calls=lambda journal, done: (
                    amount for number, amount in sorted(journal.tolist()) if number > done
                )
            ),
        ),
    ),
    Mistake(
        "order lost",
        "You replay calls in the order of the rows; they were made in the order of their numbers.",
        (_faulty_replay(calls=_in_order_of_sending),),
    ),
    Mistake(
        "snapshot counted again",
        "You replay calls that the snapshot holds already; those up to number done are in it.",
        (
            _faulty_replay(calls=lambda journal, done: _once_in_order(journal, -1)),
            _faulty_replay(calls=lambda journal, done: _once_in_order(journal, done - 1)),
        ),
    ),
    Mistake(
        "off by one",
        "You leave out call number done + 1, or the last one: the snapshot holds calls up to done,"
        " and all later ones are replayed.",
        (
            _faulty_replay(calls=lambda journal, done: _once_in_order(journal, done + 1)),
            _faulty_replay(calls=lambda journal, done: [*_once_in_order(journal, done)][:-1]),
        ),
    ),
    Mistake(
        "snapshot forgotten",
        "You begin from 0; begin from the snapshot's total.",
        (_faulty_replay(start=lambda total: 0),),
    ),
    Mistake(
        "journal forgotten",
        "You give back the snapshot; the calls since then are lost.",
        (_faulty_replay(calls=lambda journal, done: ()),),
    ),
)


def _replay_case(rng: Generator) -> tuple[Any, ...]:
    """A journal in which some calls stand twice, and later ones may stand before earlier ones."""
    number = int(rng.integers(3, 9))
    calls = np.stack([np.arange(number), rng.integers(1, 10, size=number)], axis=1)
    again = calls[rng.integers(number, size=int(rng.integers(1, 4)))]
    journal = rng.permutation(np.concatenate([calls, again]))
    return int(rng.integers(1, 50)), int(rng.integers(0, number - 1)), journal


# A worker of one's own, and how it goes wrong.

RESTART_AFTER = 2  # calls; then the worker is frozen and thawed


@dataclass(frozen=True)
class WorkerExercise(Exercise):
    """The solution is a worker class. A case is a seed, a number of workers, and some calls.

    Attributes:
        method: which is called, with a number, on all workers.
    """

    method: str = "throw"

    def run(self, function: Function, case: tuple[Any, ...]) -> Outcome:
        """What each worker answered to each call (row); after some, they die and are restored."""
        seed, workers, calls = case
        answers: list[list[float]] = []
        try:
            members = [function(index, seed) for index in range(workers)]
            for number, throws in enumerate(calls):
                if number == RESTART_AFTER:
                    members = [
                        thaw(freeze(member), partial(function, index, seed))
                        for index, member in enumerate(members)
                    ]
                answers.append([float(getattr(each, self.method)(throws)) for each in members])
        except Exception as error:
            return Outcome(np.array(answers), error=error)
        return Outcome(np.array(answers))

    def difference(self, case: tuple[Any, ...], expected: Outcome, got: Outcome) -> str | None:
        """The first answer that is wrong."""
        seed, workers, calls = case
        for number, (right, found) in enumerate(zip(expected.returned, got.returned, strict=False)):
            if not np.array_equal(right, found):
                before = ", ".join(f"{self.method}({throws})" for throws in calls[: number + 1])
                return (
                    f"after {before}, {workers} workers with seed {seed} should answer "
                    f"{right.astype(int).tolist()}; yours answer {found.tolist()}"
                )
        if got.error is not None:
            return f"your worker raised {type(got.error).__name__}: {got.error}"
        return None

    def inspect(self, function: Function) -> str | None:
        """Whether the same seed gives the same answers."""
        case = next(self._cases())
        first, second = (self.run(function, case) for _ in range(2))
        if first.error is None and not np.array_equal(first.returned, second.returned):
            return (
                "chance from elsewhere. Two groups with the same seed differ: draw from"
                " np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, index))) alone"
            )
        return None


def _spawned(index: int, seed: int) -> SeedSequence:
    return SeedSequence(seed, spawn_key=(0, index))


def _thrower(
    sequence: Callable[[int, int], Any] = _spawned,
    anew: bool = False,
    adds: bool = True,
    inside: Callable[[Table], NDArray[np.bool_]] = lambda points: (points**2).sum(axis=1) < 1,
    remembers: bool = True,
) -> Function:
    """The class of `my_thrower`, any part of which may be put wrong."""

    class Thrower:
        def __init__(self, index: int, seed: int) -> None:
            self.sequence = sequence(index, seed)
            self.rng = np.random.default_rng(self.sequence)
            self.hits = 0

        def throw(self, number: int) -> int:
            rng = np.random.default_rng(self.sequence) if anew else self.rng
            found = int(inside(rng.random((number, 2))).sum())
            self.hits = found + adds * self.hits
            return self.hits

        def get_state(self) -> dict[str, Any]:
            return self.__dict__ if remembers else {"hits": self.hits}

        def set_state(self, state: dict[str, Any]) -> None:
            self.__dict__.update(state)

    return Thrower


_THROWER_MISTAKES = (
    Mistake(
        "one stream for all",
        "All your workers throw the same darts; give each a stream of its own, by its index in"
        " spawn_key=(0, index).",
        (
            _thrower(sequence=lambda index, seed: seed),
            _thrower(sequence=lambda index, seed: SeedSequence(seed, spawn_key=(0,))),
            _thrower(sequence=lambda index, seed: SeedSequence(seed, spawn_key=(0, 0))),
        ),
    ),
    Mistake(
        "seed + index",
        "You add the index to the seed; put it into spawn_key=(0, index).",
        (_thrower(sequence=lambda index, seed: seed + index),),
    ),
    Mistake(
        "stream begun anew",
        "Every call throws the same darts again; make the generator in __init__, and keep it.",
        (_thrower(anew=True),),
    ),
    Mistake(
        "hits forgotten",
        "throw gives back the hits of this call; it should be those of all calls so far.",
        (_thrower(adds=False),),
    ),
    Mistake(
        "diamond",
        "You count x + y < 1, which is a triangle; a quarter of the disc is x² + y² < 1.",
        (_thrower(inside=lambda points: points.sum(axis=1) < 1),),
    ),
    Mistake(
        "stream left out of the state",
        "After a restart your worker begins its stream again: what get_state or the pickle holds"
        " must include the generator.",
        (_thrower(remembers=False),),
    ),
)


def _thrower_case(rng: Generator) -> tuple[Any, ...]:
    calls = tuple(int(number) for number in rng.integers(20, 200, size=4))
    return int(rng.integers(1000)), int(rng.integers(2, 4)), calls


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        FunctionExercise(
            "speed_up",
            "(serial, work, rounds, overhead, workers) -> speed-up",
            _speed_up,
            _speed_up_case,
            _SPEED_UP_MISTAKES,
        ),
        FunctionExercise(
            "split_episodes",
            "(number, workers) -> sizes",
            _split,
            _split_case,
            _SPLIT_MISTAKES,
        ),
        FunctionExercise(
            "stream_keys",
            "(seed, stream, number) -> keys",
            _keys,
            _keys_case,
            _KEYS_MISTAKES,
        ),
        FunctionExercise(
            "merge_moments",
            "(moments) -> merged",
            _merge_moments,
            _merge_case,
            _MERGE_MISTAKES,
        ),
        FunctionExercise(
            "replay_journal",
            "(total, done, journal) -> total",
            _replay,
            _replay_case,
            _REPLAY_MISTAKES,
        ),
        WorkerExercise(
            "my_thrower",
            "(index, seed) -> worker",
            _thrower(),
            _thrower_case,
            _THROWER_MISTAKES,
            num_cases=20,
        ),
    )
}
