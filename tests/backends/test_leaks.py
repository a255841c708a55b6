"""What groups and backends take is given back: when they are closed, and when they are dropped."""

import contextlib
import gc
import glob
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import weakref
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from rlbook import backends
from rlbook.backends import Backend, closing
from rlbook.backends.local import Local

# Workers in other processes cannot import this module, as they cannot import a notebook's cells.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

RAY = pytest.param("ray", marks=pytest.mark.ray)
SPARK = pytest.param("spark", marks=pytest.mark.spark)
apart = pytest.mark.parametrize("backend", ["multiprocessing", RAY, SPARK], indirect=True)
LARGE = 50_000  # elements: more than any engine sends along with a call
ROUNDS = 5
ENDS = pytest.mark.parametrize("end", ["closed", "dropped"])


class Worker:
    """Says in which process it lives, and makes and reads large arrays."""

    def __init__(self, index):
        self.array = np.zeros(LARGE)

    def process(self):
        return os.getpid()

    def make(self):
        return np.ones(LARGE)

    def sum(self, array):
        self.array = self.array + array
        return float(array.sum())

    def sleep(self, seconds):
        time.sleep(seconds)


def use_group(backend, end):
    """Launch a group, use all that it can do, and let go of it. Its workers' processes."""
    group = backend.launch(Worker, 1)
    processes = group.call("process")
    kept = group.submit(0, "make", keep=True).result(60)
    assert group.call("sum", kept) == group.call("sum", np.ones(LARGE)) == [LARGE]
    assert group.submit(0, "make").result(60).sum() == LARGE
    if end == "closed":
        group.close()
    return processes


def use_backend(name, end):
    """Open a backend on the engine that runs, use all that it can do, and let go of it."""
    backend = backends.get(name)
    processes = use_group(backend, end)
    assert backend.put(np.ones(LARGE)).version > 0
    assert backend.run(abs, [-1, -2]) == [1, 2]
    if end == "closed":
        backend.close()
    return processes


def alive(process):
    """Whether a process runs; a zombie does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def places():
    """This process's files in memory and in the folder for temporary files, and their sizes."""
    found = {}
    for parent in {"/dev/shm", tempfile.gettempdir(), "/tmp"}:
        for directory in glob.glob(f"{parent}/rlbook-*-{os.getpid()}-*"):
            files = [path for path in Path(directory).glob("*") if path.is_file()]
            ours = [path for path in files if not path.name.startswith("spark")]
            found[directory] = sum(path.stat().st_size for path in ours)
    return found


def held():
    """How many descriptors, threads, directories and bytes in files this process has."""
    gc.collect()
    closing.finish()
    gc.collect()
    found = places()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "directories": len(found),
        "bytes": sum(found.values()),
        "backends": len(backends._open_backends),
    }


def settles(expected, seconds=20):
    """What is held, once it is no more than expected, or when time is up."""
    deadline = time.monotonic() + seconds
    while (now := held()) != expected and time.monotonic() < deadline:
        if all(now[name] <= expected[name] for name in now):
            break
        time.sleep(0.2)
    return now


def soon(condition, seconds=20):
    """Whether something becomes true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


@ENDS
@apart
def test_five_groups_take_no_more_than_one(backend: Backend, end):
    use_group(backend, end)
    before = held()
    processes = [process for _ in range(ROUNDS) for process in use_group(backend, end)]
    if backend.name == "ray":  # which connects to its own processes, and starts them as it likes
        before["descriptors"] += ROUNDS - 1  # fewer than one a round
    after = settles(before)
    assert all(after[name] <= before[name] for name in before), (before, after)
    if backend.name != "spark":  # whose processes are used again
        assert soon(lambda: not any(map(alive, processes)))


@ENDS
@apart
def test_five_backends_take_no_more_than_one(backend: Backend, end):
    use_backend(backend.name, end)
    before = held()
    processes = [process for _ in range(ROUNDS) for process in use_backend(backend.name, end)]
    if backend.name == "ray":  # which connects to its own processes, and starts them as it likes
        before["descriptors"] += ROUNDS - 1  # fewer than one a round
    after = settles(before)
    assert all(after[name] <= before[name] for name in before), (before, after)
    if backend.name != "spark":
        assert soon(lambda: not any(map(alive, processes)))
    assert backend.run(abs, [-3]) == [3]  # the engine that they shared still runs


@apart
def test_a_group_is_held_while_a_call_has_no_answer(backend: Backend):
    future = backend.launch(Worker, 1).submit(0, "sum", np.ones(LARGE))
    gc.collect()
    assert future.result(60) == LARGE


@apart
def test_a_group_may_be_closed_by_a_finalizer_a_callback_and_another_thread(backend: Backend):
    class Owner:
        pass

    groups = [backend.launch(Worker, 1) for _ in range(3)]
    processes = [group.call("process")[0] for group in groups]
    owner = Owner()
    owner.itself = owner  # so that the garbage collector finds it
    weakref.finalize(owner, groups[0].close)
    del owner
    gc.collect()
    done = threading.Event()
    future = groups[1].submit(0, "process")
    future.add_done_callback(lambda _: (groups[1].close(), done.set()))
    assert future.result(60) == processes[1] and done.wait(60)
    threads = [threading.Thread(target=groups[2].close) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for group in groups:
        with pytest.raises(RuntimeError):
            group.call("process")
    if backend.name != "spark":
        assert soon(lambda: not any(map(alive, processes)))


@apart
def test_a_backend_may_be_closed_while_its_workers_work(backend: Backend):
    other = backends.get(backend.name)
    group = other.launch(Worker, 1)
    futures = [group.submit(0, "sleep", 60), group.submit(0, "sleep", 0)]
    time.sleep(0.3)
    thread = threading.Thread(target=other.close)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    for future in futures:
        assert future.cancelled() or future.exception(60) is not None
    assert backend.run(abs, [-1]) == [1]


def test_a_closed_backend_says_so(backend: Backend):
    other = backends.get(backend.name)
    other.close()
    other.close()
    for use in (lambda: other.launch(Worker, 1), lambda: other.put(1), lambda: other.run(abs, [])):
        with pytest.raises(RuntimeError, match=f"the {backend.name} backend must be open, got one"):
            use()


def test_a_closed_local_group_lets_go_of_its_workers():
    class Heavy:
        def __init__(self, index):
            ALIVE.add(self)

    ALIVE = weakref.WeakSet()
    with Local(schedule=1) as backend:
        group = backend.launch(Heavy, 3)
        assert len(ALIVE) == 3
        group.close()
        gc.collect()
        assert len(ALIVE) == 0


# Engines that start once.


def run(script):
    """What a script in a process of its own prints, as words."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout.split()


@pytest.mark.ray
def test_a_ray_that_was_had_by_name_stays_and_one_of_its_own_ends_with_the_last_who_uses_it():
    script = """
        import gc
        import ray
        from rlbook import backends
        from rlbook.backends.ray import Ray

        def session():
            return ray.get_runtime_context().get_job_id() if ray.is_initialized() else "none"

        first = backends.get("ray")
        started = ray.get_runtime_context().gcs_address
        first.close()
        print("stays", ray.is_initialized())
        second = Ray()  # joins it
        print("same", ray.get_runtime_context().gcs_address == started)
        second.close()
        print("stays", ray.is_initialized())
        own = Ray(num_cpus=1)  # has other wishes, and nobody uses the first one
        print("other", ray.get_runtime_context().gcs_address != started)
        guest = backends.get("ray")
        own.close()
        print("used", guest.run(abs, [-1]) == [1])
        del own
        guest.close()
        print("ends", not ray.is_initialized())
        print("again", Ray(num_cpus=1).run(abs, [-2]) == [2])  # dropped, and closed at the end
    """
    words = run(script)
    assert words[1::2] == ["True"] * 7, words


@pytest.mark.spark
def test_a_spark_that_was_had_by_name_stays_and_one_of_its_own_ends_with_the_last_who_uses_it():
    script = """
        from pyspark import SparkContext
        from rlbook import backends
        from rlbook.backends.spark import Spark

        def active():
            return SparkContext._active_spark_context

        first = backends.get("spark")
        started = first.context
        first.close()
        print("stays", active() is started)
        second = Spark()  # joins it
        print("same", second.context is started)
        second.close()
        print("stays", active() is started)
        own = Spark(master="local[2,2]")  # has other wishes, and nobody uses the first one
        print("other", active() is own.context is not started)
        guest = backends.get("spark")
        own.close()
        print("used", guest.run(abs, [-1]) == [1])
        guest.close()
        print("ends", active() is None)
        print("again", Spark(master="local[1,2]").run(abs, [-2]) == [2])
    """
    words = run(script)
    assert words[1::2] == ["True"] * 7, words
