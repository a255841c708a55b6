"""Chapter 05: its checkers, its numbered equations against the library, and its stored results."""

import random
import sys
from pathlib import Path

import numpy as np
from checking import message_of

from rlbook import backends
from rlbook.backends.wire import freeze, thaw
from rlbook.check.laptop_to_cluster import EXERCISES
from rlbook.patterns.shared_table import SharedTable, contribution
from rlbook.tabular.learner import Learned

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "tools"))  # a script
import measure_transport
import stored

# Solutions, each written out as its definition.


def my_speed_up(serial, work, rounds, overhead, workers):
    alone = shared = serial + work
    shared -= work - work / workers
    for _ in range(rounds):
        shared += overhead
    return alone / shared


def my_split(number, workers):
    return np.array([len(part) for part in np.array_split(np.arange(number), workers)])


def my_keys(seed, stream, number):
    keys = []
    for index in range(number):
        sequence = np.random.SeedSequence(seed, spawn_key=(stream, index))
        keys.append(sequence.generate_state(1, np.uint64)[0])
    return np.array(keys)


def my_merge(moments):
    count, mean, squares = 0.0, 0.0, 0.0
    for n, theirs, spread in moments:
        if n:
            away = theirs - mean
            squares += spread + away**2 * count * n / (count + n)
            mean += away * n / (count + n)
            count += n
    return np.array([count, mean, squares])


def my_replay(total, done, journal):
    for number in range(done + 1, max(journal[:, 0], default=0) + 1):
        rows = journal[journal[:, 0] == number]
        if len(rows):
            total = 2 * total + int(rows[0, 1])
    return total


class Thrower:
    def __init__(self, index, seed):
        sequence = np.random.SeedSequence(seed, spawn_key=(0, index))
        self.rng, self.hits = np.random.default_rng(sequence), 0

    def throw(self, number):
        for x, y in self.rng.random((number, 2)):
            self.hits += x * x + y * y < 1
        return self.hits


SOLUTIONS = {
    "speed_up": my_speed_up,
    "split_episodes": my_split,
    "stream_keys": my_keys,
    "merge_moments": my_merge,
    "replay_journal": my_replay,
    "my_thrower": Thrower,
}


def test_cases_hold_what_is_easily_got_wrong():
    splits = EXERCISES["split_episodes"].cases
    assert any(number < workers for number, workers in splits), "fewer episodes than workers"
    assert any(number % workers == 0 for number, workers in splits)
    assert any((moments[:, 0] == 0).any() for (moments,) in EXERCISES["merge_moments"].cases)
    journals = [journal for _, _, journal in EXERCISES["replay_journal"].cases]
    assert all(len(set(rows[:, 0].tolist())) < len(rows) for rows in journals), "sent again"
    assert any(np.any(np.diff(rows[:, 0]) < 0) for rows in journals), "out of order"


# The worker.


def test_chance_from_elsewhere_is_seen():
    class Elsewhere(Thrower):
        def throw(self, number):
            self.hits += sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(number))
            return self.hits

    assert "Two groups with the same seed differ" in message_of("my_thrower", Elsewhere)


def test_the_answer_that_differs_is_shown():
    class Late(Thrower):
        def throw(self, number):
            return super().throw(number) + (self.hits > 200)

    text = message_of("my_thrower", Late)
    assert "after throw(" in text and "should answer [" in text and "yours answer [" in text


def test_an_error_of_the_worker_is_told():
    class Broken(Thrower):
        def throw(self, number):
            raise KeyError("darts")

    assert "your worker raised KeyError: 'darts'" in message_of("my_thrower", Broken)


def test_the_solution_is_a_worker_of_any_backend():
    with backends.get("local") as backend:
        group = backend.launch(Thrower, 2, 7)
        group.call("throw", 10)
        answers = group.call("throw", 30)
    alone = [Thrower(index, 7).throw(40) for index in range(2)]
    assert answers == alone and answers[0] != answers[1]


# The chapter's numbered equations, written out plainly, on random numbers.


def test_equation_5_1_and_5_2_time_and_speed_up():
    rng = np.random.default_rng(0)
    for _ in range(100):
        serial, work, overhead = rng.uniform(0.1, 10, size=3)
        rounds, workers = int(rng.integers(1, 50)), int(rng.integers(1, 20))
        together = serial + work / workers + rounds * overhead
        found = EXERCISES["speed_up"].reference(serial, work, rounds, overhead, workers)
        np.testing.assert_allclose(found, (serial + work) / together)
        amdahl = EXERCISES["speed_up"].reference(serial, work, rounds, 0.0, workers)
        assert amdahl <= min(workers, (serial + work) / serial) + 1e-9


def test_equation_5_3_workers_pay_if_a_round_saves_more_than_it_costs():
    rng = np.random.default_rng(1)
    for _ in range(200):
        length, overhead = rng.uniform(0.001, 1, size=2)
        rounds, workers = int(rng.integers(1, 50)), int(rng.integers(2, 20))
        work = rounds * workers * length
        found = EXERCISES["speed_up"].reference(0.0, work, rounds, overhead, workers)
        np.testing.assert_allclose(found, workers * length / (length + overhead))
        assert (found > 1) == (overhead < (workers - 1) * length)


def test_equation_5_5_the_merged_moments_are_those_of_all_together():
    rng = np.random.default_rng(2)
    for _ in range(50):
        parts = [rng.normal(size=n) for n in rng.integers(1, 20, size=4)]
        rows = [(len(part), part.mean(), part.var() * len(part)) for part in parts]
        everything = np.concatenate(parts)
        expected = len(everything), everything.mean(), everything.var() * len(everything)
        merged = EXERCISES["merge_moments"].reference(np.array(rows))
        np.testing.assert_allclose(merged, expected)
        counts, means, _ = np.array(rows).T
        np.testing.assert_allclose(merged[1], (counts * means).sum() / counts.sum())


def test_equation_5_6_only_streams_that_differ_make_the_error_fall():
    """Root mean squares of 400 runs know a spread to 1 / √800, so this is four times that."""
    throws, workers = 100, 16
    sigma = np.sqrt(np.pi * (4 - np.pi))
    worker = EXERCISES["my_thrower"].reference
    for index_of, effective in ((lambda index: index, workers), (lambda index: 0, 1)):
        estimates = [
            4 * np.mean([worker(index_of(i), seed).throw(throws) for i in range(workers)]) / throws
            for seed in range(400)
        ]
        measured = np.sqrt(np.mean((np.array(estimates) - np.pi) ** 2))
        assert abs(measured * np.sqrt(effective * throws) / sigma - 1) < 0.15


class Folding:
    """A worker that is what its calls made of it."""

    def __init__(self, index):
        self.total = index

    def add(self, amount):
        self.total = 2 * self.total + amount
        return self.total


def test_equation_5_4_a_worker_is_its_snapshot_and_the_calls_since():
    rng = np.random.default_rng(3)
    for _ in range(20):
        amounts, cut = rng.integers(1, 10, size=12).tolist(), int(rng.integers(1, 12))
        worker = Folding(0)
        for amount in amounts[:cut]:
            worker.add(amount)
        snapshot, total = freeze(worker), worker.total
        for amount in amounts[cut:]:
            worker.add(amount)
        again = thaw(snapshot, lambda: Folding(0))
        for amount in amounts[cut:]:
            again.add(amount)
        journal = np.stack([np.arange(12), amounts], axis=1)
        replayed = EXERCISES["replay_journal"].reference(total, cut - 1, journal)
        assert worker.total == again.total == replayed


def test_equation_5_7_updates_told_as_kept_and_added():
    rng = np.random.default_rng(4)
    for _ in range(20):
        alpha, before, shared = rng.uniform(0.01, 1), rng.normal(size=(3, 2)), rng.normal(size=6)
        shared = shared.reshape(3, 2)
        visits = rng.integers(0, 5, size=(3, 2))
        after, expected = before.copy(), shared.copy()
        for pair in np.ndindex(3, 2):
            for _ in range(visits[pair]):  # the same targets, on the copy and on the shared entry
                target = rng.normal()
                after[pair] += alpha * (target - after[pair])
                expected[pair] += alpha * (target - expected[pair])
        nothing = np.zeros(0)
        learned = Learned(
            **{**dict.fromkeys(Learned._fields, nothing), "q": after, "visits": visits}
        )
        told = contribution(before, learned, alpha)
        np.testing.assert_allclose(told.kept, (1 - alpha) ** visits)
        table, _ = SharedTable(0, shared, np.zeros((3, 2), np.int64)).take_in([told])
        np.testing.assert_allclose(table, expected)


# Stored results.


def test_stored_results_hold_every_engine_and_route():
    found = stored.load(measure_transport.RESULTS)
    assert found["command"] == measure_transport.COMMAND
    assert found["sizes"] == list(measure_transport.SIZES) and max(found["sizes"]) == 2**30
    assert set(found["seconds"]) == set(measure_transport.ENGINES)
    for engine, routes in found["seconds"].items():
        assert set(routes) == set(measure_transport.ROUTES), engine
        for route, seconds in routes.items():
            assert len(seconds) == len(measure_transport.SIZES), (engine, route)
            for size, value in zip(found["sizes"], seconds, strict=True):
                said = found["refused"].get(f"{engine}, {route}, {size}")
                assert (value is None) == (said is not None), (engine, route, size)
                assert value is None or value > 0
    for half in ("serialise", "deserialise"):
        assert len(found[half]) == len(measure_transport.SIZES) and min(found[half]) > 0
