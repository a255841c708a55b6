"""What is particular to Ray, on one machine and on clusters of several nodes.

A cluster is a matter of the whole process, so each of these tests has a driver of its own: a script
in a process that starts the nodes, uses them and stops them.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest
from processes import running

from benchmarks import clusters
from rlbook.backends import Backend, Ref

cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
on_ray = pytest.mark.parametrize("backend", ["ray"], indirect=True)


class Counter:
    """Counts, and makes and reads large arrays."""

    def __init__(self, index, start=0):
        self.total = start + index
        self.order = []

    def add(self, amount):
        self.total += amount
        return self.total

    def nothing(self):
        return None

    def wait(self, path):
        """Until a file is there."""
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)

    def note(self, word):
        self.order.append(word)
        return list(self.order)

    def make(self, size, value=1.0):
        return np.full(size, value)

    def fail(self):
        raise ValueError("no value")

    def sum(self, array):
        return float(array.sum())

    def writeable(self, array):
        return array.flags.writeable

    def die_once(self, marker):
        import os
        import signal

        if not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.total


# Kept results.


@on_ray
@pytest.mark.parametrize("size", [3, 200_000])
def test_a_kept_result_can_be_given_to_any_worker(backend: Backend, size):
    group, other = backend.launch(Counter, 2), backend.launch(Counter, 1)
    kept = group.submit(0, "make", size, 2.0, keep=True).result(60)
    assert isinstance(kept, Ref)
    assert group.call("sum", kept) == [2.0 * size] * 2
    assert other.call("sum", kept) == [2.0 * size]
    assert other.call("writeable", kept) == [False]
    group.close()  # the value is no part of its maker
    assert other.call("sum", kept) == [2.0 * size]
    other.close()


@on_ray
def test_a_kept_result_that_is_none_because_of_an_error(backend: Backend):
    group = backend.launch(Counter, 1)
    with pytest.raises(ValueError, match="no value"):
        group.submit(0, "fail", keep=True).result(60)
    assert group.call("add", 1) == [1]
    group.close()


@on_ray
def test_the_driver_gets_the_name_of_a_kept_result_and_no_byte_of_it(backend: Backend, monkeypatch):
    """All that Ray gives this process it turns into values with `receive`."""
    from rlbook.backends.ray import backend as module
    from rlbook.backends.ray.host import receive, size

    received = []
    monkeypatch.setattr(
        module, "receive", lambda blob: received.append(size(blob)) or receive(blob)
    )
    group = backend.launch(Counter, 2)
    kept = group.submit(0, "make", 10 * 2**17, keep=True).result(60)
    assert group.submit(1, "sum", kept).result(60) == 10 * 2**17
    assert kept.nbytes >= 10 * 2**20
    assert len(received) > 3 and sum(received) < 10_000
    assert len(group.submit(0, "make", 10 * 2**17).result(60)) == 10 * 2**17
    assert sum(received) > 10 * 2**20  # the counter does see what is not kept
    group.close()


# Calls that have not begun.


@on_ray
def test_a_call_that_waits_can_be_cancelled_and_never_runs(backend: Backend, tmp_path):
    group = backend.launch(Counter, 1)
    gate = tmp_path / "gate"
    first = group.submit(0, "wait", str(gate))
    futures = [group.submit(0, "note", i) for i in range(40)]
    assert not first.cancel()  # it has begun
    cancelled = [future for future in futures if future.cancel()]
    assert len(cancelled) >= 30 and futures[-1].cancelled()
    gate.touch()
    assert not wait(futures, timeout=60).not_done
    with pytest.raises(CancelledError):
        futures[-1].result()
    ran = [i for i, future in enumerate(futures) if not future.cancelled()]
    assert group.call("note", "last") == [[*ran, "last"]]
    group.close()


@on_ray
def test_map_comes_after_calls_that_wait(backend: Backend, tmp_path):
    group = backend.launch(Counter, 2)
    gate = tmp_path / "gate"
    group.submit(0, "wait", str(gate))
    for i in range(20):
        group.submit(0, "note", i)
    threading.Timer(0.5, gate.touch).start()
    assert group.call("note", "last") == [[*range(20), "last"], ["last"]]
    group.close()


@on_ray
def test_a_map_that_timed_out_does_not_stop_those_after_it(backend: Backend, tmp_path):
    group = backend.launch(Counter, 1)
    gate = tmp_path / "gate"
    for _ in range(20):
        with pytest.raises(TimeoutError):
            group.call("wait", str(gate), timeout=0.01)
    gate.touch()
    assert group.call("add", 1) == [1]
    assert [group.submit(0, "add", 1).result(60) for _ in range(20)] == list(range(2, 22))
    group.close()


# Journals and memory.


class Saved(Counter):
    """Has a state of its own making, and cannot be pickled."""

    def __init__(self, index, start, lock_type):
        super().__init__(index, start)
        self.lock = lock_type()

    def get_state(self):
        return {"total": self.total}

    def set_state(self, state):
        self.total = state["total"]

    def locked(self):
        with self.lock:
            return self.total


@on_ray
def test_a_snapshot_through_get_state(backend: Backend, tmp_path):
    import _thread

    group = backend.launch(Saved, 1, 100, _thread.allocate_lock)
    for _ in range(30):
        group.call("add", 1)
    assert group.call("die_once", str(tmp_path / "died")) == [130]
    assert group.call("locked") == [130]
    group.close()


class Strange(Counter):
    """Its second self cannot be made."""

    def get_state(self):
        return self.total

    def set_state(self, state):
        raise KeyError("forgotten")


@on_ray
def test_a_worker_that_cannot_be_made_again_is_given_up(backend: Backend, tmp_path):
    from rlbook.backends import WorkerLost

    group = backend.launch(Strange, 1)
    for _ in range(30):
        group.call("add", 1)
    with pytest.raises(WorkerLost, match=r"worker 0 .* cannot be made again: 'forgotten'"):
        group.call("die_once", str(tmp_path / "died"))
    group.close()


class Odd(Counter):
    """Cannot be pickled, and has no state of its own making."""

    def __init__(self, index):
        super().__init__(index)
        self.generator = (i for i in range(3))


@on_ray
def test_a_worker_that_cannot_be_pickled_is_repeated_from_its_first_call(backend, tmp_path):
    group = backend.launch(Odd, 1)
    with pytest.warns(UserWarning, match="worker 0 cannot be pickled"):
        for _ in range(30):
            group.call("add", 1)
    assert group.call("die_once", str(tmp_path / "died")) == [30]
    assert group.call("add", 1) == [31]
    group.close()


@on_ray
def test_what_the_journal_holds_is_bounded(backend: Backend, monkeypatch):
    """Few calls, but large ones: their arguments would be kept for a restart until the 64th."""
    from rlbook.backends.ray import Ray, journal

    limit = 8 * 2**20
    monkeypatch.setattr(journal, "JOURNAL_BYTES", limit)
    with Ray(snapshot_every=10**6) as patient:
        group = patient.launch(Counter, 1)
        (worker,) = group._workers
        most = 0
        for i in range(40):
            assert group.submit(0, "sum", np.full(2**17, i)).result(60) == i * 2**17  # a megabyte
            most = max(most, worker._journal_bytes)
        assert limit < most < 4 * limit
        shared = patient.put(np.zeros(2**19))
        before = worker._journal_bytes
        for _ in range(6):
            group.call("sum", shared)
        assert worker._journal_bytes < before + 2 * shared.nbytes  # counted once, not six times
        group.close()


@on_ray
@pytest.mark.soak
def test_memory_is_bounded_over_many_calls(backend: Backend):
    """10,000 calls: a hundred thousand would take minutes."""
    group = backend.launch(Counter, 1)

    def calls(number):
        for _ in range(number // 2):
            group.call("add", 1)
            group.submit(0, "add", 1).result(60)
        gc.collect()
        return psutil.Process().memory_info().rss

    before = calls(2_000)
    after = calls(8_000)
    assert group.call("add", 0) == [10_000]
    assert after - before < 16 * 2**20
    assert len(group._workers[0]._journal) < 200
    group.close()


# Resources.


@on_ray
def test_resources_are_set_aside(backend: Backend):
    import ray

    group = backend.launch(Counter, 2, resources={"cpus": 0.5})
    for _ in range(50):
        if ray.available_resources().get("CPU", 0) == 1:
            break
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 1
    group.close()
    for name, amount in (("gpus", 1), ("cpus", 64)):
        with pytest.raises(
            ValueError, match=rf"resources\['{name}'\] must be .* got {amount} for each of 2"
        ):
            backend.launch(Counter, 2, resources={name: amount})


class Threads:
    def __init__(self, index):
        pass

    def number(self):
        import os

        return os.environ["OMP_NUM_THREADS"]


@on_ray
def test_workers_with_two_threads_each(backend: Backend):
    group = backend.launch(Threads, 1, resources={"threads": 2})
    assert group.call("number") == ["2"]
    group.close()


GPUS = """
import json
from rlbook.backends.ray import Ray

class Worker:
    def __init__(self, index):
        import os
        self.seen = os.environ.get("CUDA_VISIBLE_DEVICES")  # by its constructor already
    def devices(self):
        return self.seen
    def die(self):
        import os
        os._exit(1)

with Ray(num_cpus=1, num_gpus=2) as backend:
    result = {}
    whole = backend.launch(Worker, 2, resources={"gpus": 1}, recovery="fresh")
    result["whole"] = sorted(whole.call("devices"))
    whole.submit(0, "die").exception(60)
    result["again"] = sorted(whole.call("devices"))
    whole.close()
    shared = backend.launch(Worker, 4, resources={"gpus": 0.5})
    result["shared"] = sorted(shared.call("devices"))
    shared.close()
    both = backend.launch(Worker, 1, resources={"gpus": 2, "threads": 2})
    result["both"] = both.call("devices")
print(json.dumps(result))
"""


def test_a_worker_that_was_given_a_gpu_sees_it(directory):
    """Two GPUs that Ray is told of; the machine need not have them."""
    result = drive(GPUS, directory, {})
    assert result["whole"] == result["again"] == ["0", "1"]
    assert result["shared"] == ["0", "0", "1", "1"]
    assert result["both"] == ["0,1"]


# Who can reach it.


def ours(*facts):
    """This process and all that it started, or that Ray did, and that has not ended."""
    return running([psutil.Process(), *psutil.Process().children(recursive=True)], *facts)


@on_ray
def test_nothing_listens_beyond_this_machine(backend: Backend):
    group = backend.launch(Counter, 1)
    addresses = [
        connection.laddr.ip
        for process in ours("net_connections")
        for connection in process["net_connections"]
        if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
    ]
    assert len(addresses) >= 5  # the driver, the GCS, the raylet, its agents, the worker
    assert set(addresses) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    group.close()


@on_ray
def test_the_token_is_in_one_file_that_only_we_can_read(backend: Backend):
    (variables,) = [each["environ"] for each in ours("environ") if each["name"] == "raylet"]
    assert variables["RAY_AUTH_MODE"] == "token"
    path = Path(variables["RAY_AUTH_TOKEN_PATH"])
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    token = path.read_text()
    assert len(token) == 64
    for process in ours("cmdline"):
        assert token not in " ".join(process["cmdline"])
    for other in path.parent.rglob("*"):
        assert other == path or not other.is_file() or token.encode() not in other.read_bytes()
    assert "RAY_AUTH_MODE" not in os.environ  # the user's environment is as it was


KNOCK = """
import sys
from ray._raylet import GcsClient

print(GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=20))
"""


@on_ray
def test_only_who_has_the_token_gets_in(backend: Backend):
    import ray

    (variables,) = [each["environ"] for each in ours("environ") if each["name"] == "raylet"]
    right = {name: variables[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}

    def knock(**variables):
        return subprocess.run(
            [sys.executable, "-c", KNOCK, ray.get_runtime_context().gcs_address],
            env={**os.environ, **variables},
            cwd=tempfile.gettempdir(),
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert knock(**right).returncode == 0
    for wrong in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "1" * 64}):
        answer = knock(**right | wrong)
        assert answer.returncode != 0 and answer.stdout == ""
        assert "Unauthenticated" in answer.stderr or "InvalidAuthToken" in answer.stderr


# No room.


STORE = """
import json, os, signal, sys
import numpy as np
from rlbook.backends.ray import Ray

class Worker:
    def __init__(self, index):
        self.made = 0
    def make(self, size):
        self.made += 1
        return np.ones(size)
    def sum(self, array):
        return float(array.sum())
    def die_once(self, marker):
        if not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.made

def told(function):
    try:
        return float(function())
    except Exception as error:
        return f"{type(error).__name__}: {error}"

SIZE = 12_500_000  # a hundred megabytes, of which the store has eighty
with Ray(num_cpus=1, object_store_memory=80 * 2**20) as backend:
    group = backend.launch(Worker, 1)
    keep = lambda: group.submit(0, "make", SIZE, keep=True).result(60)
    result = {
        "put": told(lambda: group.call("sum", backend.put(np.ones(SIZE)))[0]),
        "argument": told(lambda: group.call("sum", np.ones(SIZE))[0]),
        "result": told(lambda: group.call("make", SIZE)[0].sum()),
        "kept": told(lambda: group.call("sum", keep())[0]),
        "task": told(lambda: backend.run(np.sum, [np.ones(SIZE)])[0]),
    }
    made = group.call("die_once", sys.argv[1] + "/died")
    small = group.call("make", 1_000_000)[0].sum()
print(json.dumps({"told": result, "made": made, "small": small}))
"""


def test_what_is_larger_than_the_store_goes_to_the_disk(directory):
    result = drive(STORE, directory, {})
    assert set(result["told"].values()) == {12_500_000.0}
    assert result["made"] == [2] and result["small"] == 1_000_000


def test_when_store_and_disk_are_full_one_is_told_and_the_worker_lives_on(directory):
    result = drive(STORE, directory, {"RAY_local_fs_capacity_threshold": "0"})  # full for Ray
    told = result["told"]
    assert told.pop("result").startswith("OSError: [Errno 28] a worker's result cannot be sent")
    assert all("Local disk is full" in each for each in told.values()), told
    assert result["made"] == [2] and result["small"] == 1_000_000  # also when it was made again


# What is printed.


def test_a_task_that_dies_is_not_a_page_of_text(tmp_path):
    """And a start-up says nothing to who does not sit at a terminal."""
    script = f"""
import os, signal
from rlbook.backends.ray import Ray

def die_once(marker):
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1

with Ray(num_cpus=1) as backend:
    print(backend.run(die_once, [{str(tmp_path / "died")!r}]), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=240, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == ("[1]\n", "")
    assert (tmp_path / "died").exists()


# Clusters.


@pytest.fixture
def directory() -> Iterator[Path]:
    """For a cluster's files. Not pytest's own, whose path is too long for a socket's."""
    with clusters.short_directory() as made:
        yield made


@pytest.fixture
def settings(directory: Path) -> dict[str, str]:
    """A cluster's nodes are all on this machine, speak to it alone, and notice a death soon."""
    return clusters.ray_settings(directory)


def drive(script: str, directory: Path, variables: dict[str, str]):
    """Run a driver's script in a process of its own; the JSON that it printed."""
    path = directory / "driver.py"
    path.write_text(script)
    where = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(path), str(directory)],
        env={**os.environ, "PYTHONPATH": where, **variables},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=280,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("\tat ")]  # Java's
    assert done.returncode == 0, "\n".join([done.stdout[-2000:], *said[-100:]])
    (result,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(result)


TWO_NODES = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from benchmarks import clusters, soak
from rlbook import backends

cluster, nodes = clusters.ray_nodes(Path(sys.argv[1]), 0, 2, 2)
import ray

class Worker:
    def __init__(self, index):
        self.index = index
        self.x = np.full(3, float(index))
    def step(self, weights):
        self.x = np.tanh(self.x + weights[:3] * (self.index + 1))
        return self.x.copy()
    def make(self, size):
        return np.full(size, 2.0)
    def sum(self, array):
        return float(array.sum())
    def node(self):
        return ray.get_runtime_context().get_node_id()

def locations(ref):
    return ray.experimental.get_object_locations([ref.stored])[ref.stored]["node_ids"]

backend = backends.get("ray", address=cluster.address, snapshot_every=4)
group = backend.launch(Worker, 2, resources={"cpus": 1})
result = {"driver": ray.get_runtime_context().get_node_id(), "before": group.call("node")}
soaked = soak.soak(backend, kills=3, seed=1, steps=30_000, longest_pause=2.0)
result["kills"] = soaked.kills, soaked.equal

kept = group.submit(0, "make", 10 * 2**17, keep=True).result(60)
result["made"] = locations(kept)
result["sum"] = group.submit(1, "sum", kept).result(60)
result["read"] = locations(kept)

lost = group.submit(1, "make", 10 * 2**17, keep=True).result(60)
weights = backend.put(np.full(200_000, 0.1))
steps = [group.call("step", weights) for _ in range(10)]
(victim,) = [node for node in nodes if node.node_id == result["before"][1]]
ahead = [group.submit(i % 2, "step", weights) for i in range(20)]
os.kill(victim.all_processes["raylet"][0].process.pid, signal.SIGKILL)
steps += [[ahead[i].result(100), ahead[i + 1].result(100)] for i in range(0, 20, 2)]
steps += [group.call("step", weights) for _ in range(10)]
result["after"] = group.call("node")
result["weights"] = group.call("sum", weights)

whole = backends.get("local").launch(Worker, 2)
wanted = [whole.call("step", np.full(3, 0.1)) for _ in range(30)]
result["same"] = bool(np.array_equal(np.array(steps), np.array(wanted)))

try:
    group.submit(0, "sum", lost).result(60)
except RuntimeError as error:
    result["error"] = str(error)
result["alive"] = [float(x[0]) == float(y[0]) for x, y in zip(
    group.call("step", weights), whole.call("step", np.full(3, 0.1)))]
backend.close()
cluster.shutdown()
print(json.dumps(result))
"""


@pytest.mark.slow
def test_a_cluster_of_which_a_node_is_lost(directory, settings):
    result = drive(TWO_NODES, directory, settings)
    first, second = result["before"]
    assert len({first, second, result["driver"]}) == 3  # each on a node of its own
    assert result["kills"] == [3, True]  # of which `make soak` makes more

    # A kept value goes from the one that made it to the one that reads it, and nowhere else: Ray
    # knows of no copy of these ten megabytes in the store of the driver's node.
    assert result["made"] == [first]
    assert set(result["read"]) == {first, second}
    assert result["sum"] == 2.0 * 10 * 2**17

    # The second's node is killed with twenty calls on their way. Its worker goes on beside the
    # first, where it was; and what the driver had `put` is still there.
    assert result["after"] == [first, first]
    assert result["same"]
    assert result["weights"] == pytest.approx([20_000.0] * 2)

    # What was kept there is lost, which is told to whoever wants it, and harms nobody.
    assert "kept where it was made is lost" in result["error"] and "`put`" in result["error"]
    assert result["alive"] == [True, True]


WITHOUT_RLBOOK = """
import json, os, socket, subprocess, sys, sysconfig, time, venv
from pathlib import Path

directory = sys.argv[1]
venv.create(directory + "/venv", symlinks=True)
python = directory + "/venv/bin/python"
where = "import sysconfig; print(sysconfig.get_path('purelib'))"
theirs = subprocess.check_output([python, "-c", where], text=True).strip()
Path(theirs, "ours.pth").write_text(sysconfig.get_path("purelib"))  # without rlbook, which is in
environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # a .pth file or the path
asked = subprocess.run(
    [python, "-c", "import ray, numpy, rlbook"], env=environment, cwd=directory,
    capture_output=True, text=True,
)
result = {"without": asked.stderr.splitlines()[-1]}

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = ("127.0.0.1", free.getsockname()[1])
start = ["start", "--head", "--block", f"--port={address[1]}", "--node-ip-address=127.0.0.1"]
start += ["--num-cpus=2", "--include-dashboard=false", f"--temp-dir={directory}/r"]
node = subprocess.Popen(
    [python, "-m", "ray.scripts.scripts", *start, "--disable-usage-stats"],
    env=environment, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
while True:
    try:
        socket.create_connection(address, 1).close()
        break
    except OSError:
        assert node.poll() is None
        time.sleep(0.2)

from rlbook import backends

class Worker:
    def __init__(self, index, learner):
        self.learner = learner
    def where(self):
        import rlbook, rlbook_envs, sys
        return sys.executable, rlbook.__file__, rlbook_envs.__file__
    def schedule(self):
        return float(self.learner(5))

from rlbook.schedules import Linear  # a class of rlbook's, which travels by its name

with backends.get("ray", address="%s:%d" % address) as backend:
    group = backend.launch(Worker, 2, Linear(1.0, 0.0, 10))
    result["workers"] = group.call("where")
    result["schedule"] = group.call("schedule")
    result["task"] = backend.run(lambda x: __import__("rlbook").__file__, [1])[0]
node.terminate()
node.wait(60)
print(json.dumps(result))
"""


@pytest.mark.slow
def test_rlbook_travels_to_machines_that_lack_it(directory, settings):
    result = drive(WITHOUT_RLBOOK, directory, settings)
    assert result["without"] == "ModuleNotFoundError: No module named 'rlbook'"
    assert result["schedule"] == [0.5, 0.5]
    (worker, other) = result["workers"]
    assert worker == other  # unpacked once on a machine
    python, *files = worker
    assert python == str(directory / "venv/bin/python")
    for path in (*files, result["task"]):
        assert path.startswith(f"{directory}/r/session_") and "/rlbook-" in path


ON_SPARK = """
import json, os, sys
from benchmarks import clusters, soak
from rlbook.backends.ray import Ray
import ray

spark = clusters.session_for_ray()

class Counter:
    def __init__(self, index):
        self.total = index
    def add(self, amount):
        self.total += amount
        return self.total
    def where(self):
        return ray.get_runtime_context().get_node_id(), os.environ["RAY_AUTH_MODE"]

with Ray.on_spark(spark, **clusters.SMALL_NODES) as backend:
    result = {"driver": ray.get_runtime_context().get_node_id()}
    result["cpus"] = ray.cluster_resources()["CPU"]
    group = backend.launch(Counter, 2, resources={"cpus": 1})
    result["where"] = group.call("where")
    result["add"] = group.call("add", 5)
    soaked = soak.soak(backend, kills=3, seed=1, steps=30_000, longest_pause=2.0)
    result["kills"] = soaked.kills, soaked.equal
result["runs"] = ray.is_initialized() or "RAY_ADDRESS" in os.environ
result["spark"] = spark.sparkContext.parallelize([1, 2]).sum()  # its slots are free again
spark.stop()
print()
print(json.dumps(result))
"""


@pytest.mark.slow
@pytest.mark.spark
def test_ray_inside_spark(directory):
    result = drive(ON_SPARK, directory, {})  # the token is the backend's business
    (first, mode), (second, _) = result["where"]
    assert first == second != result["driver"]  # both in the executor
    assert mode == "token"
    assert result["cpus"] == 2 and result["add"] == [5, 6]
    assert result["kills"] == [3, True]  # of which `make soak` makes more
    assert not result["runs"]
    assert result["spark"] == 3
