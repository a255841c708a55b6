"""Two ways to recover from a worker's death, and which backend offers which."""

import os
import signal
import sys
from concurrent.futures import wait

import cloudpickle
import pytest

from rlbook import backends
from rlbook.backends import RECOVERIES, Backend, WorkerLost, WorkerRestarted
from rlbook.backends.local import Local

# Workers in other processes cannot import this module, as they cannot import a notebook's cells.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

RAY = pytest.param("ray", marks=pytest.mark.ray)
SPARK = pytest.param("spark", marks=pytest.mark.spark)
fresh_engines = pytest.mark.parametrize("backend", ["multiprocessing", RAY], indirect=True)
engines = pytest.mark.parametrize("backend", ["multiprocessing", RAY, SPARK], indirect=True)


class Counter:
    """Counts, and dies when told to. Notes in a file when a snapshot of it is taken."""

    def __init__(self, index, start=0, log=os.devnull):
        self.total = start + index
        self.log = log

    def get_state(self):
        with open(self.log, "a") as file:
            file.write("snapshot\n")
        return self.total

    def set_state(self, state):
        self.total = state

    def add(self, amount):
        self.total += amount
        return self.total

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def die_once(self, marker):
        if not os.path.exists(marker):
            open(marker, "w").close()
            self.die()
        return self.total

    def wait_and_die(self, marker):
        while not os.path.exists(marker):
            pass
        self.die()


class DiesOnceWhileBuilt(Counter):
    def __init__(self, index, marker):
        super().__init__(index)
        self.die_once(marker)


class BuiltOnlyOnce(Counter):
    def __init__(self, index, marker):
        super().__init__(index)
        if os.path.exists(marker):
            raise KeyError("not a second time")
        open(marker, "w").close()


# What a backend offers.


def test_a_backend_says_what_it_offers(backend: Backend):
    assert backend.has_processes is (backend.name != "local")
    assert backend.recoveries <= RECOVERIES.keys() and "replay" in backend.recoveries
    assert ("fresh" in backend.recoveries) is (backend.name != "spark")


def test_every_recovery_that_is_offered_can_be_asked_for(backend: Backend):
    for recovery in sorted(backend.recoveries):
        group = backend.launch(Counter, 1, 10, recovery=recovery)
        assert group.call("add", 1) == [11]
        assert group.restarts == 0
        group.close()


def test_any_other_recovery_is_one_clear_error(backend: Backend):
    with pytest.raises(ValueError, match="recovery must be 'replay' or 'fresh', got 'none'"):
        backend.launch(Counter, 1, recovery="none")
    if "fresh" not in backend.recoveries:
        message = f"recovery must be 'replay' on the {backend.name} backend, got 'fresh'"
        with pytest.raises(ValueError, match=message):
            backend.launch(Counter, 1, recovery="fresh")


# Replay.


@engines
def test_restarts_are_counted_with_replay(backend: Backend, tmp_path):
    group = backend.launch(Counter, 2, 10)
    assert group.map("die_once", [(str(tmp_path / "died"),), (os.devnull,)]) == [10, 11]
    assert group.restarts == 1
    assert group.call("add", 1) == [11, 12]
    group.close()


# Fresh.


@fresh_engines
def test_the_call_that_a_worker_died_in_is_lost_and_so_is_its_state(backend: Backend):
    group = backend.launch(Counter, 2, 10, recovery="fresh")
    assert group.call("add", 5) == [15, 16]
    with pytest.raises(WorkerRestarted, match=r"worker 0 died in die\(\) .* \(restart 1 of"):
        group.submit(0, "die").result(60)
    assert group.restarts == 1
    assert group.call("add", 1) == [11, 17]
    group.close()


@fresh_engines
def test_calls_that_had_not_begun_run_on_the_new_worker(backend: Backend, tmp_path):
    group, marker = backend.launch(Counter, 1, 10, recovery="fresh"), tmp_path / "go"
    group.call("add", 5)
    doomed = group.submit(0, "wait_and_die", str(marker))
    later = [group.submit(0, "add", 1) for _ in range(20)]
    marker.touch()
    assert [future.result(60) for future in later] == list(range(11, 31))
    assert isinstance(doomed.exception(60), WorkerRestarted)
    assert group.restarts == 1
    group.close()


@fresh_engines
def test_a_map_in_which_one_worker_dies_counts_for_the_others(backend: Backend, tmp_path):
    group = backend.launch(Counter, 2, 10, recovery="fresh")
    group.call("add", 5)
    with pytest.raises(WorkerRestarted, match="worker 0"):
        group.map("die_once", [(str(tmp_path / "died"),), (os.devnull,)])
    assert group.call("add", 0) == [10, 16]
    group.close()


@fresh_engines
def test_no_snapshot_is_taken_and_no_journal_is_kept(backend: Backend, tmp_path):
    log = tmp_path / "log"
    for recovery in ("replay", "fresh"):
        group = backend.launch(Counter, 1, 0, str(log), recovery=recovery)
        for i in range(30):
            assert group.submit(0, "add", 1).result(60) == i + 1
        assert log.exists() is (recovery == "replay")
        log.unlink(missing_ok=True)
    (worker,) = group._workers
    journal = worker._done if backend.name == "multiprocessing" else worker._journal
    assert len(journal) == worker._journal_bytes == 0
    group.close()


@fresh_engines
def test_what_a_lost_call_was_given_and_kept_values_do_no_harm(backend: Backend, tmp_path):
    group = backend.launch(Counter, 1, recovery="fresh")
    kept = group.submit(0, "add", 7, keep=True).result(60)
    with pytest.raises(WorkerRestarted):
        group.submit(0, "die_once", str(tmp_path / "died"), keep=True).result(60)
    assert group.call("add", kept) == [7]
    group.close()


@fresh_engines
def test_nothing_is_lost_when_a_worker_dies_while_it_is_built(backend: Backend, tmp_path):
    group = backend.launch(DiesOnceWhileBuilt, 1, str(tmp_path / "died"), recovery="fresh")
    assert group.restarts == 1
    assert group.call("add", 1) == [1]
    group.close()


@fresh_engines
def test_a_worker_that_cannot_be_built_again_is_given_up(backend: Backend, tmp_path):
    group = backend.launch(BuiltOnlyOnce, 1, str(tmp_path / "built"), recovery="fresh")
    futures = [group.submit(0, "die"), group.submit(0, "add", 1)]
    assert not wait(futures, timeout=60).not_done
    assert isinstance(futures[0].exception(), WorkerRestarted)
    error = futures[1].exception()
    assert type(error) is WorkerLost and "not a second time" in str(error)
    group.close()


@fresh_engines
def test_a_worker_that_dies_too_often_is_given_up(fragile: Backend):
    group = fragile.launch(Counter, 1, recovery="fresh")
    errors = [group.submit(0, "die").exception(60) for _ in range(3)]
    assert [type(error) for error in errors] == [WorkerRestarted, WorkerLost, WorkerLost]
    assert group.restarts == 1
    group.close()


# Simulated.


@pytest.mark.parametrize("schedule", [None, 1])
def test_simulated_deaths_do_the_same(schedule):
    with Local(schedule=schedule, faults={(0, 2)}) as backend:
        group = backend.launch(Counter, 2, 10, recovery="fresh")
        assert group.call("add", 5) == [15, 16]
        with pytest.raises(WorkerRestarted, match=r"worker 0 died in add\(\) .* \(restart 1 of"):
            group.call("add", 5)
        assert group.call("add", 1) == [11, 22]
        assert group.restarts == 1


def test_simulated_deaths_are_counted_with_replay_too():
    with Local(faults={(0, 2), (1, 1)}) as backend:
        group = backend.launch(Counter, 2, 10)
        assert [group.call("add", 1) for _ in range(3)] == [[11, 12], [12, 13], [13, 14]]
        assert group.restarts == 2


def test_no_snapshot_is_taken_in_the_simulation_either(tmp_path):
    log = tmp_path / "log"
    with Local(faults={(0, 3)}, snapshot_every=1) as backend:
        group = backend.launch(Counter, 1, 0, str(log), recovery="fresh")
        outcomes = [group.submit(0, "add", 1).exception() for _ in range(5)]
    assert [type(error) for error in outcomes] == [type(None)] * 2 + [WorkerRestarted] + [
        type(None)
    ] * 2
    assert not log.exists()


def test_a_simulated_worker_that_dies_too_often_is_given_up():
    with Local(faults={(0, n) for n in range(1, 9)}, max_restarts=1) as backend:
        group = backend.launch(Counter, 1, recovery="fresh")
        errors = [group.submit(0, "add", 1).exception() for _ in range(3)]
    assert [type(error) for error in errors] == [WorkerRestarted, WorkerLost, WorkerLost]


def test_every_recovery_is_explained():
    assert backends.RECOVERIES.keys() == {"replay", "fresh"}
    assert issubclass(WorkerRestarted, WorkerLost)
