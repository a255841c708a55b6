"""Spark on clusters, which these tests start and stop, and what else is particular to Spark.

A process can have one Spark only. So what is to be seen on a cluster, `observe` does in a process
of its own, which this very file is the script of; the tests look at what it found.
"""

import contextlib
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
import warnings
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from benchmarks import soak
from benchmarks.clusters import LOCAL_CLUSTER, Standalone
from rlbook import QLearning
from rlbook.backends import Backend, get
from rlbook.backends.located import Located
from rlbook.backends.processes import own_directory

if __name__ != "__main__":
    cloudpickle.register_pickle_by_value(sys.modules[__name__])

only_spark = pytest.mark.parametrize(
    "backend", [pytest.param("spark", marks=pytest.mark.spark)], indirect=True
)
MARK = "RLBOOK_TEST_MARK"
FORMS = [LOCAL_CLUSTER, "standalone"]
ROOT = Path(__file__).parents[2]


class Counter:
    """Counts, and has an array of 800 kB."""

    def __init__(self, index, start=0):
        self.total = start + index
        self.array = np.zeros(100_000)

    def add(self, amount, seconds=0.0):
        time.sleep(seconds)
        self.total += amount
        self.array += amount
        return self.total, float(self.array[-1])

    def add_and_die_once(self, amount, marker):
        self.add(amount)
        if not os.path.exists(marker):
            with open(marker, "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        return self.total

    def numbers(self):
        return self.array

    def sum_of(self, array):
        return float(array.sum())

    def where(self):
        import rlbook

        return rlbook.__file__, sys.executable

    def variable(self, name):
        return os.environ.get(name)


class Stateful:
    """Says itself what is to be saved; its lock could not be."""

    def __init__(self, index, step):
        self.step = step
        self.total = index
        self.lock = threading.Lock()

    def get_state(self):
        return self.total

    def set_state(self, state):
        self.total = state

    def advance(self):
        with self.lock:
            self.total += float(self.step.sum())
        return self.total


# What runs in a process of its own.


def observe(master, directory):
    """Use a cluster, and kill parts of it; what was seen, for JSON."""
    from rlbook.backends.spark import Spark

    backend = Spark(master=master)
    context, seen = backend.context, {}
    group = backend.launch(Counter, 2, 10)
    seen["state"] = [group.call("add", 1) for _ in range(3)][-1]
    arguments = [(5, os.path.join(directory, "died")), (5, os.devnull)]
    seen["a worker killed"] = group.map("add_and_die_once", arguments)
    seen["after it"] = group.call("add", 0)

    futures = [group.submit(i % 2, "add", 1, 0.3) for i in range(8)]
    time.sleep(0.4)
    first = executors(context.applicationId)[0]
    os.kill(first, signal.SIGKILL)
    seen["an executor killed"] = [future.result(120)[0] for future in futures]
    seen["another came"] = first not in executors(context.applicationId)

    kept = group.submit(0, "numbers", keep=True).result(120)
    other = backend.launch(Counter, 1)
    seen["kept"] = [type(kept.shipment.parcel).__name__, *other.call("sum_of", kept)]
    seen["stateful"] = backend.launch(Stateful, 1, backend.put(np.ones(3)))
    seen["stateful"] = [seen["stateful"].call("advance") for _ in range(3)]
    seen["where"] = group.call("where")[0]
    seen["threads"] = backend.launch(Counter, 1, resources={"threads": 3}).call(
        "variable", "OMP_NUM_THREADS"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            backend.launch(Counter, 3).close()
    seen["warnings"] = [str(each.message) for each in caught if each.category is UserWarning]

    seen["learned"] = learned(backend)
    soaked = soak.soak(backend, kills=3, seed=1, steps=30_000, longest_pause=2.0)
    seen["kills"] = soaked.kills, soaked.equal
    seen["listening"] = sorted(listening(marked(os.environ[MARK])))
    seen["secret"] = places_of_secret(context, backend)
    directories = [each.name for each in (*backend._directories, backend._engine._directory)]
    futures = [group.submit(i, "add", 1, 60) for i in range(2)]
    application = context.applicationId
    backend.close()
    seen["processes left"] = lasting(lambda: executors(application) + daemons(os.environ[MARK]))
    seen["told"] = [future.cancelled() or future.exception(30) is not None for future in futures]
    seen["directories left"] = [each for each in directories if os.path.exists(each)]
    with Spark(master="local[1,2]") as second:
        seen["again"] = second.run(abs, [-1])
    return seen


def learned(backend):
    """What an agent learns, as one number."""
    agent = QLearning(
        "rlbook/FrozenLake-v0", seed=1, num_envs=2, backend=backend, workers=2, sync_every=200
    )
    agent.learn(2_000)
    return float(np.abs(agent.q).sum())


def executors(application):
    """The processes of a Spark application's executors."""
    name = "CoarseGrainedExecutorBackend"
    return [pid for pid, line in command_lines() if name in line and application in line]


def daemons(mark):
    """Spark's Python processes."""
    ours = set(marked(mark))
    return [pid for pid, line in command_lines() if "pyspark.daemon" in line and pid in ours]


def lasting(processes, seconds=30):
    """Those of some processes that do not end within some seconds."""
    deadline = time.monotonic() + seconds
    while (found := processes()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def command_lines():
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            yield int(path.name), (path / "cmdline").read_bytes().decode(errors="replace")


def marked(mark):
    """The processes that have this mark in their environment, and are alive."""
    found = []
    for pid, line in command_lines():
        try:
            if line and mark.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:
            pass
    return found


def listening(pids):
    """The addresses at which these processes listen, as /proc writes them."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                sockets[f"socket:[{words[9]}]"] = words[1].split(":")[0]
    addresses = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                addresses.add(sockets.get(os.readlink(descriptor)))
    return addresses - {None}


def places_of_secret(context, backend):
    """Where a secret of this Spark can be read by others; None if it has none."""
    settings = context.getConf()
    secret = settings.get("spark.authenticate.secret")
    if settings.get("spark.authenticate") != "true" or not secret or len(secret) < 32:
        return None
    found = [f"process {pid}" for pid, line in command_lines() if secret in line]
    for directory in (*backend._directories, backend._engine._directory):
        for path in Path(directory.name).rglob("*"):
            if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes():
                found.append(str(path))
    return found


if __name__ == "__main__":
    print(json.dumps(observe(*sys.argv[1:])))
    sys.exit()


# Clusters.


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A Python that has all that this one has, but for rlbook."""
    home = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    for source in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for each in Path(source).iterdir():
            ours = each.name.startswith(("rlbook", "__editable__", "__pycache__"))
            if not ours and not (site / each.name).exists():
                (site / each.name).symlink_to(each)
    has_not = subprocess.run([python, "-c", "import rlbook"], capture_output=True, env={}, cwd=home)
    assert b"No module named 'rlbook'" in has_not.stderr
    return str(python)


@pytest.fixture(
    scope="module", params=[pytest.param(form, marks=pytest.mark.spark) for form in FORMS]
)
def seen(request, tmp_path_factory, bare_python):
    """What `observe` saw on a cluster."""
    directory, mark = tmp_path_factory.mktemp("cluster"), uuid.uuid4().hex
    if request.param != "standalone":
        return run_script(request.param, directory, mark, {})
    with Standalone(directory, {MARK: mark}) as cluster:
        return run_script(cluster.master, directory, mark, {"PYSPARK_PYTHON": bare_python})


def run_script(master, directory, mark, variables):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, __file__, master, str(directory)],
        env={**os.environ, **variables, "PYTHONPATH": path, MARK: mark},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return {**json.loads(done.stdout.splitlines()[-1]), "master": master, "mark": mark}


def is_own(seen):
    return seen["master"].startswith("local")


def test_state_lives_on(seen):
    assert seen["state"] == [[13, 3.0], [14, 3.0]]


def test_a_worker_killed_in_a_call_counts_it_once(seen):
    assert seen["a worker killed"] == [18, 19]
    assert seen["after it"] == [[18, 8.0], [19, 8.0]]


def test_an_executor_killed_in_mid_run_changes_no_number(seen):
    assert seen["an executor killed"] == [19, 20, 20, 21, 21, 22, 22, 23]
    assert seen["another came"]


def test_what_is_kept_reaches_any_worker(seen):
    kind, total = seen["kept"]
    assert kind == ("Located" if is_own(seen) else "Broadcast")
    assert total == 12 * 100_000


def test_workers_that_say_what_is_to_be_saved(seen):
    assert seen["stateful"] == [[3], [6], [9]]


def test_the_package_reaches_a_python_that_lacks_it(seen, bare_python):
    file, python = seen["where"]
    assert (python == bare_python and ".zip" in file) != is_own(seen)


def test_threads_are_a_workers_own(seen):
    assert seen["threads"] == ["3"]


def test_more_workers_than_slots_are_told_of_once(seen):
    assert seen["warnings"] == ["3 workers on a Spark of 2 slots: they take turns"]


def test_an_agent_learns_the_same_as_here(seen):
    assert seen["learned"] == learned("local")


def test_workers_killed_at_random_change_no_number(seen):
    """`make soak` kills more of them, and executors."""
    assert seen["kills"] == [3, True]


def test_nothing_listens_beyond_this_machine(seen):
    loopback = {
        "0100007F",
        "0000000000000000FFFF00000100007F",
        "00000000000000000000000001000000",
    }
    assert seen["listening"] and set(seen["listening"]) <= loopback


def test_processes_of_an_own_cluster_share_a_secret_that_nobody_else_can_read(seen):
    assert seen["secret"] == ([] if is_own(seen) else None)


def test_all_closes_and_no_process_is_left(seen):
    assert seen["told"] == [True, True]
    assert seen["directories left"] == []
    assert seen["processes left"] == []
    assert lasting(lambda: marked(seen["mark"])) == []


def test_the_same_program_can_start_spark_again(seen):
    assert seen["again"] == [1]


# On this machine alone.


def files_of(backend):
    return {path for each in backend.shared_directories for path in Path(each).glob("rlbook-*")}


@only_spark
def test_what_is_large_lies_in_files_that_go_with_their_owners(backend: Backend):
    gc.collect()
    before = files_of(backend)
    group = backend.launch(Counter, 2)
    assert len(files_of(backend) - before) == 2  # the workers
    kept = group.submit(0, "numbers", keep=True).result(60)
    assert isinstance(kept.shipment.parcel, Located)
    assert len(files_of(backend) - before) == 3
    assert group.call("sum_of", kept) == [0, 0]
    del kept
    assert group.submit(0, "numbers").result(60).shape == (100_000,)
    gc.collect()
    assert len(files_of(backend) - before) == 2
    group.close()
    gc.collect()
    assert files_of(backend) == before


class Unchanged(Counter):
    """Has an array of 800 kB as its state, which most calls leave as it is."""

    def get_state(self):
        return self.array

    def set_state(self, state):
        self.array = np.array(state)

    def first(self):
        return float(self.array[0])


class Stateless(Counter):
    """Has an array of 800 kB, which its constructor makes, and nothing to be saved."""

    def get_state(self):
        return None

    def set_state(self, state):
        raise AssertionError("there is no state")

    def first(self):
        self.array += 1  # nobody will see it
        return float(self.array[0])


@only_spark
@pytest.mark.parametrize(("worker", "files"), [(Unchanged, 2), (Stateless, 0), (Counter, 2)])
def test_a_state_that_has_not_changed_is_not_written_again(backend: Backend, worker, files):
    gc.collect()
    before = files_of(backend)
    group = backend.launch(worker, 2)
    method = ("sum_of", np.ones(3)) if worker is Counter else ("first",)
    answer = group.call(*method)
    states = files_of(backend) - before
    assert len(states) == files
    stamps = {path: path.stat().st_mtime_ns for path in states}
    parcels = [state.parcel for state in group._states]
    for _ in range(5):
        assert group.call(*method) == answer
        assert group.submit(0, *method).result(60) == answer[0]
    assert files_of(backend) - before == states
    assert {path: path.stat().st_mtime_ns for path in states} == stamps
    assert all(now.parcel is then for now, then in zip(group._states, parcels, strict=True))
    sizes = [len(each) if isinstance(each, bytes) else each.nbytes for each in parcels]
    assert all(size < 100 if worker is Stateless else size > 800_000 for size in sizes)
    group.close()


@only_spark
def test_a_task_sees_the_gpus_that_spark_has_assigned_to_it(backend: Backend, monkeypatch):
    import pyspark

    from rlbook.backends.spark.tasks import see_task

    class Context:
        def __init__(self, **resources):
            self.assigned = resources

        def get(self):
            return self

        def resources(self):
            return self.assigned

        def attemptNumber(self):
            return 2

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(pyspark, "TaskContext", Context())
    assert see_task() == 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    gpus = type("Gpus", (), {"addresses": ["3", "5"]})
    monkeypatch.setattr(pyspark, "TaskContext", Context(gpu=gpus))
    assert see_task() == 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


@pytest.fixture
def tiny(backend, places, monkeypatch):
    """One more on the Spark that runs, with `places` for its files; and whether they are full so.

    If not, then no file may be large, which the system tells in the same way.
    """
    directories, mounted = places
    monkeypatch.setattr(
        "rlbook.backends.spark.backend.own_directory",
        lambda parent=None: own_directory(str(directories[0 if parent else 1])),
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    with get("spark") as started:
        yield started, mounted
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Large:
    """Gives and holds what has no room. `mounted` as in `tiny`: else it is made so."""

    def __init__(self, index, mounted):
        self.__setstate__({"mounted": mounted, "held": np.zeros(0)})

    def __setstate__(self, state):
        self.__dict__ |= state
        if not self.mounted:
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limit))

    def hold(self, size):
        self.held = np.zeros(size)
        return size

    def size(self):
        return len(self.held)

    def give(self, size):
        return np.ones(size)

    def sum_of(self, array):
        return float(array.sum())


@only_spark
def test_where_memory_and_disk_are_full_one_is_told_and_the_worker_lives_on(tiny):
    backend, mounted = tiny
    # Threads of its own give it Python processes of its own, which may be limited.
    group = backend.launch(Large, 1, mounted, resources={"threads": 3})
    array = np.ones(300_000)
    no_room = r"no room for 2,40\d,\d\d\d bytes, in .*/memory/.* nor in .*/disk/"
    for give in (backend.put, lambda it: group.call("sum_of", it)):
        with pytest.raises(OSError, match=no_room):
            give(array)
    with pytest.raises(OSError, match=no_room):
        backend.run(np.sum, [array])
    with pytest.raises(OSError, match="result cannot be sent: " + no_room):
        group.call("give", 300_000)
    with pytest.raises(OSError, match="result cannot be sent: " + no_room):
        group.submit(0, "give", 300_000, keep=True).result(60)
    with pytest.raises(OSError, match=no_room):
        group.call("hold", 300_000)
    assert group.call("size") == [0]  # it was not counted
    assert group.call("hold", 50_000) == [50_000] and group.call("size") == [50_000]
    assert group.call("give", 50_000)[0].sum() == 50_000
    gc.collect()
    assert len(files_of(backend)) == 1  # the worker


@only_spark
def test_when_memory_is_full_the_disk_is_used(tiny):
    backend, mounted = tiny
    group = backend.launch(Large, 1, mounted, resources={"threads": 3})
    refs = [backend.put(np.full(90_000, i, float)) for i in range(2)]  # 720 kB each
    assert [group.call("sum_of", ref) for ref in refs] == [[0.0], [90_000.0]]
    if mounted:
        assert [len(list(Path(each).glob("driver-*"))) for each in backend.shared_directories] == [
            1,
            1,
        ]
        with pytest.raises(OSError, match="no room"):
            backend.put(np.ones(90_000))
    del refs
    gc.collect()
    assert group.call("sum_of", np.ones(90_000)) == [90_000.0]


@only_spark
@pytest.mark.soak
def test_memory_stays_bounded_over_many_calls(backend: Backend):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    group = backend.launch(Counter, 2)
    array = np.ones(100_000)
    for i in range(300):
        assert group.map("add", [(1,), (1,)])[0] == (i + 1, i + 1)
        if i % 10 == 0:
            group.call("sum_of", array)
            group.submit(0, "numbers").result(60)
        if i == 60:
            gc.collect()
            memory, files = resident(), len(files_of(backend))
    gc.collect()
    assert len(files_of(backend)) <= files
    assert resident() - memory < 30 * 2**20  # 240 workers alone are 380 MB
    group.close()


@only_spark
def test_an_interrupted_call_is_cancelled_and_not_counted(backend: Backend):
    group = backend.launch(Counter, 1)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        group.call("add", 1, 60)
    tracker, deadline = backend.context.statusTracker(), time.monotonic() + 30
    while tracker.getActiveJobsIds() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not tracker.getActiveJobsIds()
    assert group.call("add", 1) == [(1, 1)]
    group.close()


@only_spark
def test_resources_that_this_spark_cannot_give(backend: Backend):
    usual = backend.launch(Counter, 1, resources={"cpus": 1, "gpus": 0})
    assert usual.call("add", 1) == [(1, 1)]
    for resources in ({"cpus": 2}, {"cpus": 0}, {"gpus": 1}):
        (name,) = resources
        with pytest.raises(
            ValueError, match=rf"resources\['{name}'\] must be .* with the master local"
        ):
            backend.launch(Counter, 1, resources=resources)
    threads = backend.launch(Counter, 1, resources={"threads": 2})
    assert threads.call("variable", "OMP_NUM_THREADS") == ["2"]
    assert usual.call("variable", "OMP_NUM_THREADS") == ["1"]
