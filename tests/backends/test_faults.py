"""What goes wrong, and what is left of it: an error that says so, nothing that still runs."""

import contextlib
import ctypes
import errno
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import wait
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from rlbook.backends import WorkerLost
from rlbook.backends.multiprocessing import Multiprocessing
from rlbook.backends.processes import own_directory
from rlbook.backends.wire import unsendable

# Workers in other processes cannot import this module, as they cannot import a notebook's cells.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.multiprocessing
LARGE = 100_000  # elements: more than goes through the pipe
here = pytest.mark.parametrize("backend", ["multiprocessing"], indirect=True)


class Worker:
    """Does as it is told, also what it should not."""

    def __init__(self, index, start=0, step=1):
        self.total = start + index
        self.kept = []

    def add(self, amount):
        self.total += amount
        return self.total

    def nothing(self, *args):
        return None

    def process(self):
        return os.getpid()

    def sleep(self, seconds):
        time.sleep(seconds)

    def sleep_in_c(self, seconds):
        ctypes.PyDLL(None).sleep(seconds)  # meanwhile no thread of Python's runs

    def echo(self, value):
        return value

    def sum(self, array):
        return array.sum()

    def model(self):
        return {"model": Model()}

    def full(self, value, size=LARGE):
        return np.full(size, value)

    def keep(self, array):
        self.kept.append(array)

    def what_was_kept(self):
        return [(array.min(), array.max()) for array in self.kept]

    def memory(self):
        return resident()

    def leave_a_child(self):
        os.system("sleep 60 &")
        return os.getpid()


class Model:
    """Holds, deep inside, what cannot travel."""

    def __init__(self):
        self.name = "a model"
        self.layers = [np.ones(3), {"lock": threading.Lock()}]


def resident():
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def alive(process):
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def soon(condition, seconds=10):
    """Whether something becomes true within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


@pytest.fixture
def own():
    """A backend for one test alone."""
    with Multiprocessing(snapshot_every=4) as started:
        yield started


# Deaths.


def test_a_worker_killed_at_every_restart_is_given_up_with_its_exit_status():
    class Doomed(Worker):
        def add(self, amount):
            os._exit(7)

    with Multiprocessing(max_restarts=2) as backend:
        group = backend.launch(Doomed, 1)
        with pytest.raises(WorkerLost, match=r"worker 0 died too often.* exit status 7"):
            group.call("add", 1)
        with pytest.raises(WorkerLost, match="higher max_restarts"):
            group.call("nothing")
        assert backend.launch(Worker, 1).call("add", 1) == [1]


def test_a_worker_killed_whenever_it_starts_is_given_up(tmp_path):
    class Unstartable:
        def __init__(self, index):
            (tmp_path / str(len(list(tmp_path.iterdir())))).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    died = pytest.raises(WorkerLost, match=r"worker 0 died too often.* signal 9")
    with Multiprocessing(max_restarts=2) as backend, died:
        backend.launch(Unstartable, 1)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_worker_whose_snapshot_cannot_be_restored_is_given_up():
    class Forgetful(Worker):
        def get_state(self):
            return self.total

        def set_state(self, state):
            raise ValueError("nothing to restore")

    with Multiprocessing(snapshot_every=2) as backend:
        group = backend.launch(Forgetful, 1)
        for _ in range(4):
            (process,) = group.call("process")
        os.kill(process, signal.SIGKILL)
        with pytest.raises(WorkerLost, match=r"could not be built again.*nothing to restore"):
            group.call("nothing")


def test_a_child_that_outlives_its_worker_does_not_hide_the_death(own):
    group = own.launch(Worker, 1)
    (process,) = group.call("leave_a_child")
    os.kill(process, signal.SIGKILL)
    assert group.call("add", 1, timeout=30) == [1]


def test_results_that_outlive_their_worker_do_the_next_no_harm(own):
    group = own.launch(Worker, 1)
    held = [group.call("full", i)[0] for i in range(3)]
    os.kill(group.call("process")[0], signal.SIGKILL)
    (process,) = group.call("process")
    assert [array[-1] for array in held] == [0, 1, 2]
    del held
    gc.collect()
    assert [group.call("process") for _ in range(3)] == [[process]] * 3


# Hangs.


@here
@pytest.mark.parametrize("how", ["sleep", "sleep_in_c"])
def test_a_hung_worker_is_named_and_ended(backend, how):
    group = backend.launch(Worker, 2)
    processes = group.call("process")
    with pytest.raises(TimeoutError, match=rf"worker 1 had not answered {how}\(\) after 0.3 sec"):
        group.map(how, [(0,), (10_000,)], timeout=0.3)
    future = group.submit(1, how, 10_000)
    group.close()
    assert not any(map(alive, processes))
    assert "worker 1 was closed" in str(future.exception(1))


def test_a_worker_that_hangs_while_its_calls_are_repeated_is_named_and_ended(tmp_path):
    class Sulky(Worker):
        def echo(self, value):
            if (tmp_path / "hang").exists():
                time.sleep(10_000)
            return value

    with Multiprocessing() as backend:
        group = backend.launch(Sulky, 1)
        for _ in range(30):  # together, more than the pipe holds
            group.call("echo", bytes(20_000))
        (tmp_path / "hang").touch()
        os.kill(group.call("process")[0], signal.SIGKILL)
        with pytest.raises(TimeoutError, match=r"worker 0 had not answered nothing\(\)"):
            group.call("nothing", timeout=2)


def test_a_task_that_hangs_does_not_keep_the_next_ones_waiting(own):
    with pytest.raises(TimeoutError, match="worker 0 had not answered sleep"):
        own.run(time.sleep, [10_000], timeout=0.3)
    assert own.run(abs, [-1, -2], timeout=60) == [1, 2]


def test_a_thread_that_waits_for_more_takes_no_answer_away(own):
    group = own.launch(Worker, 1)
    first = group.submit(0, "sleep", 0.5)
    caller = threading.Thread(target=group.call, args=("nothing",))
    caller.start()
    time.sleep(0.2)
    last = group.submit(0, "sleep", 10_000)
    caller.join(30)
    assert first.done() and not caller.is_alive() and not last.done()


# What cannot be sent.


def uses(thing):
    return lambda: thing


@pytest.mark.parametrize(
    ("args", "where"),
    [
        ((1, Model()), r"argument 2: \.layers\[1\]\['lock'\] of type _thread\.lock cannot be sent"),
        (((i for i in ()),), r"argument 1 of type generator cannot be sent"),
        (({"a": (1, threading.Lock())},), r"argument 1: \['a'\]\[1\] of type _thread\.lock"),
        ((uses(threading.Lock()),), r"argument 1: uses thing of type _thread\.lock"),
    ],
)
@here
def test_an_argument_that_cannot_be_sent_is_named(group, args, where):
    for send in (group.call, lambda *them: group.submit(0, *them).result(60)):
        with pytest.raises(TypeError, match=where):
            send("nothing", *args)
    assert group.call("add", 1) == [11, 12]


def test_an_argument_of_launch_that_cannot_be_sent_is_named(own):
    with pytest.raises(TypeError, match=r"argument 1: \.layers\[1\]\['lock'\] of type _thread"):
        own.launch(Worker, 1, Model())


def test_a_result_that_cannot_be_sent_is_named(backend):
    with contextlib.closing(backend.launch(Worker, 1)) as group:
        where = r"result: \['model'\]\.layers\[1\]\['lock'\] of type _thread\.lock cannot be sent"
        with pytest.raises(TypeError, match=where):
            group.call("model")
        assert group.call("add", 1) == [1]


def test_what_refers_to_itself_can_be_searched():
    ring = {"lock": threading.Lock()}
    ring["ring"] = [ring]
    assert unsendable(ring) == ": ['lock'] of type _thread.lock cannot be sent"


def test_slots_are_searched_too():
    class Slotted:
        __slots__ = ("lock", "name")

    slotted = Slotted()
    slotted.lock, slotted.name = threading.Lock(), "s"
    assert unsendable(slotted) == ": .lock of type _thread.lock cannot be sent"


def test_a_call_that_could_not_be_sent_holds_nothing(own):
    group = own.launch(Worker, 1)
    ref = own.put(np.ones(LARGE))
    with pytest.raises(TypeError, match="argument 2"):
        group.call("nothing", ref, Model())
    assert ref.segment.holders == 1


# A constructor that fails.


def test_a_constructor_that_fails_leaves_no_process(own):
    before = children()

    class Unbuildable:
        def __init__(self, index):
            raise ZeroDivisionError(f"worker {index}")

    with pytest.raises(ZeroDivisionError, match="worker 0"):
        own.launch(Unbuildable, 3)
    assert children() <= before


def children():
    """The processes that this one started and that run."""
    listed = Path("/proc/self/task").glob("*/children")
    return {process for path in listed for process in path.read_text().split() if alive(process)}


# No room.


@pytest.fixture
def tiny(places, monkeypatch):
    """A backend with `places` for its memory and its disk."""
    directories, mounted = places
    if not mounted:  # do as the kernel would
        monkeypatch.setattr(os, "posix_fallocate", stingy(os.posix_fallocate))
    monkeypatch.setattr(
        "rlbook.backends.multiprocessing.segments.own_directory",
        lambda parent=None: own_directory(str(directories[0 if parent else 1])),
    )
    with Multiprocessing(snapshot_every=4) as backend:
        yield backend, [Path(directory) for directory in backend.directories]


def stingy(real):
    """A `posix_fallocate` that gives a directory no more than a megabyte."""

    def reserve(descriptor, offset, size):
        directory = Path(os.readlink(f"/proc/self/fd/{descriptor}")).parent
        if size + sum(path.stat().st_size for path in directory.iterdir()) > 2**20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, offset, size)

    return reserve


class Cramped(Worker):
    """Has no more room than the driver of `tiny`, also where that is only make-believe."""

    def __init__(self, index):
        super().__init__(index)
        os.posix_fallocate = stingy(os.posix_fallocate)


def test_when_memory_is_full_the_disk_is_used_and_when_both_are_one_is_told(tiny):
    backend, (memory, disk) = tiny
    refs = [backend.put(np.full(90_000, i, float)) for i in range(2)]  # 720 kB each
    assert len(list(memory.iterdir())) == len(list(disk.iterdir())) == 1
    group = backend.launch(Worker, 1)
    for give in (backend.put, lambda array: group.call("nothing", array)):
        with pytest.raises(OSError, match=r"no room for 720,\d\d\d bytes, in .*/memory/.* nor in"):
            give(np.zeros(90_000))
    assert [group.call("sum", ref) for ref in refs] == [[0.0], [90_000.0]]
    del refs
    gc.collect()
    for i in range(6):  # until there is a snapshot, they may be needed for a restart
        assert group.call("add", 1) == [i + 1]
    assert [group.call("nothing", np.zeros(90_000)) for _ in range(2)] == [[None]] * 2


def test_a_result_that_finds_no_room_is_an_error_and_the_worker_lives_on(tiny):
    backend, _ = tiny
    group = backend.launch(Cramped, 1)
    with pytest.raises(OSError, match=r"result cannot be sent: no room for 16,\d\d\d,\d\d\d bytes"):
        group.call("full", 1.0, 2_000_000)
    with pytest.raises(OSError, match="no room"):
        group.submit(0, "full", 1.0, 2_000_000, keep=True).result(60)
    assert group.call("full", 1.0, 50_000)[0].sum() == 50_000


def test_a_snapshot_that_finds_no_room_is_taken_later(tiny):
    backend, _ = tiny
    group = backend.launch(Cramped, 1)
    fill = [backend.put(np.zeros(125_000)) for _ in range(2)]  # all that there is
    for i in range(10):
        assert group.call("keep", np.full(2_000, i)) == [None]
    assert len(group.call("what_was_kept")[0]) == 10
    os.kill(group.call("process")[0], signal.SIGKILL)
    assert group.call("what_was_kept")[0] == [(i, i) for i in range(10)]
    del fill
    gc.collect()
    for _ in range(10):
        group.call("add", 1)
    assert len(group._workers[0]._done) <= 5  # there are snapshots again
    os.kill(group.call("process")[0], signal.SIGKILL)
    assert group.call("add", 0) == [10]


# GPUs.


class Devices:
    def __init__(self, index):
        self.seen = os.environ.get("CUDA_VISIBLE_DEVICES")

    def devices(self):
        return self.seen


def test_a_worker_sees_the_gpus_that_it_was_given(own, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    for share, n, devices in ((1, 2, ["4", "7"]), (2, 1, ["4,7"]), (0.5, 4, ["4", "4", "7", "7"])):
        group = own.launch(Devices, n, resources={"gpus": share})
        assert group.call("devices") == devices
        group.close()
    with pytest.raises(ValueError, match=r"'gpus'\] must be at most 2 .* got 1 for worker 2"):
        own.launch(Devices, 3, resources={"gpus": 1})


# Interrupts.


def script(directory, body):
    """Start a script with one worker that does `body`; its owned directories lie in `directory`."""
    begin = f"""
import os, signal, sys, time
from rlbook.backends.multiprocessing import Multiprocessing, segments
from rlbook.backends.processes import own_directory
segments.own_directory = lambda parent=None: own_directory({str(directory)!r})
class Worker:
    def __init__(self, index): pass
    def process(self): return os.getpid()
    def sleep(self, seconds): time.sleep(seconds)
    def sleep_in_c(self, seconds):
        import ctypes
        ctypes.PyDLL(None).sleep(seconds)
backend = Multiprocessing()
group = backend.launch(Worker, 2)
print(*group.call("process"), flush=True)
"""
    return subprocess.Popen(
        [sys.executable, "-c", begin + textwrap.dedent(body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def workers_of(process):
    return [int(word) for word in process.stdout.readline().split()]


def test_ctrl_c_ends_a_script_and_all_it_started(tmp_path):
    process = script(tmp_path, 'group.call("sleep", 10_000)')
    workers = workers_of(process)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt")
    assert len(workers) == 2 and not any(map(alive, workers))
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_workers_start_ends_them_without_a_word(tmp_path):
    process = script(tmp_path, "backend.launch(Worker, 8)")
    workers_of(process)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_never_tears_a_message_in_two(tmp_path):
    """A hundred of them in a loop of short calls: no call is lost, none counts twice."""
    body = """
        import threading
        class Counter:
            def __init__(self, index): self.count = 0
            def next(self):
                self.count += 1
                return self.count
        def interrupt():
            for _ in range(100):
                time.sleep(0.004)
                os.kill(os.getpid(), signal.SIGINT)
        def raise_in_calls(*args):
            global calling, caught
            if calling:
                calling, caught = False, caught + 1
                raise KeyboardInterrupt
        calling, caught, asked, last = False, 0, 0, 0
        counter, thread = backend.launch(Counter, 1), threading.Thread(target=interrupt)
        signal.signal(signal.SIGINT, raise_in_calls)
        thread.start()
        while thread.is_alive():
            try:
                asked, calling = asked + 1, True
                (count,) = counter.call("next", timeout=20)
                assert last < count <= asked, (last, count, asked)
                last = count
            except KeyboardInterrupt:
                pass
        calling = False
        (count,) = counter.call("next", timeout=20)
        print(caught > 20, asked - caught < count <= asked + 1, flush=True)
        backend.close()
    """
    process = script(tmp_path, body)
    workers_of(process)
    output, said = process.communicate(timeout=120)
    assert output.strip() == "True True", output + said


@pytest.mark.parametrize("how", ["sleep", "sleep_in_c"])
def test_when_the_driver_is_killed_its_workers_end_and_the_next_one_sweeps(tmp_path, how):
    body = f"""
        import numpy
        held = backend.put(numpy.ones(1_000_000))
        group.call({how!r}, 10_000)
    """
    process = script(tmp_path, body)
    workers = workers_of(process)
    time.sleep(0.3)
    process.kill()
    process.communicate(timeout=30)
    assert soon(lambda: not any(map(alive, workers)))
    assert any(path.is_file() for path in tmp_path.rglob("*"))
    following = script(tmp_path, "")
    following.communicate(timeout=60)
    assert following.returncode == 0 and list(tmp_path.iterdir()) == []


# Notebooks.


CELL = """
import os, time
from rlbook import backends
class Worker:
    def __init__(self, index): self.count = 0
    def process(self): return os.getpid()
    def next(self, seconds=0):
        time.sleep(seconds)
        self.count += 1
        return self.count
backend = backends.get("multiprocessing")
group = backend.launch(Worker, 2)
"""


def test_a_notebook_cell_that_is_interrupted_does_the_next_no_harm(kernel):
    found = kernel.run(CELL, workers="group.call('process')")
    workers = [int(number) for number in found["workers"].strip("[]").split(",")]
    ticket = kernel.start("group.call('next', 2)")
    time.sleep(0.7)
    kernel.interrupt()
    assert kernel.result(ticket) == "KeyboardInterrupt"
    assert kernel.run("", again="group.call('next')") == {"again": "[2, 2]"}
    other = "backend.launch(Worker, 1).call('next')"
    assert kernel.run("", other=other, same="group.call('process')") == {
        "other": "[1]",
        "same": found["workers"],
    }
    kernel.start("group.call('next', 10_000)")
    time.sleep(0.3)
    kernel.restart(now=True)  # in the middle of the call
    kernel.ready()
    assert soon(lambda: not any(map(alive, workers)))
    assert kernel.run(CELL, fresh="group.call('next')") == {"fresh": "[1, 1]"}


# Leaks.


def test_nothing_is_left_after_twenty_opens_and_closes():
    def cycle(number):
        with Multiprocessing(snapshot_every=2) as backend:
            group = backend.launch(Worker, 1)
            ref = backend.put(np.zeros(LARGE))
            futures = [group.submit(0, "echo", ref) for _ in range(3)]
            if number % 5 == 0:
                os.kill(group.call("process")[0], signal.SIGKILL)
            group.call("full", 1)
            assert len(wait(futures, timeout=60).done) == 3
            return backend.directories

    def held():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.enumerate(), children()

    cycle(0)
    before = held()
    directories = [directory for i in range(20) for directory in cycle(i)]
    assert held() == before
    assert not any(map(os.path.exists, directories))


def test_memory_is_bounded_over_a_hundred_thousand_calls():
    with Multiprocessing() as backend:
        group = backend.launch(Worker, 1)
        sizes = []
        for calls in (10_000, 90_000):
            for _ in range(calls):
                group.call("nothing")
            sizes.append((resident(), *group.call("memory")))
        for early, late in zip(*sizes, strict=True):
            assert late - early < 8 * 2**20


def test_memory_is_bounded_over_many_large_submits(own):
    group = own.launch(Worker, 1)
    array, sizes, segments = np.zeros(125_000), [], []
    for calls in (200, 1_800):
        futures = []
        for i in range(calls):
            futures.append(group.submit(0, "echo", array))
            if i % 20 == 19:
                assert len(wait(futures, timeout=60).done) == 20
                futures = []
        gc.collect()
        sizes.append((resident(), *group.call("memory")))
        segments.append(sum(len(os.listdir(directory)) for directory in own.directories))
    for early, late in zip(*sizes, strict=True):
        assert late - early < 64 * 2**20
    assert segments[1] < 2 * segments[0] < 200


# Values stay what they were.


def test_results_that_are_kept_are_never_overwritten(own):
    group = own.launch(Worker, 2)
    held = [group.call("full", i) for i in range(20)]
    for i in range(100):
        group.call("full", -i)
    for i, arrays in enumerate(held):
        for array in arrays:
            assert array.min() == array.max() == i


def test_arguments_that_a_worker_keeps_are_never_overwritten(own):
    group = own.launch(Worker, 1)
    for i in range(20):
        group.call("keep", np.full(LARGE, i))
    for _ in range(100):
        group.call("nothing", np.full(LARGE, -1))
    assert group.call("what_was_kept")[0] == [(i, i) for i in range(20)]


def test_what_a_caller_changes_later_does_not_change_what_is_replayed(own):
    group = own.launch(Worker, 1)
    array = np.zeros(LARGE)
    for i in range(3):  # none of them in a snapshot yet
        array[:] = i
        group.call("keep", array)
    array[:] = -1
    os.kill(group.call("process")[0], signal.SIGKILL)
    assert group.call("what_was_kept")[0] == [(i, i) for i in range(3)]
