"""Workers on Spark, on this machine or on a cluster.

Spark has no actors: it runs pure functions of data, wherever it likes and again when a machine is
lost. So here a worker is a *value*. A call is a task that takes (worker, call) to (worker′,
outcome), and the driver notes worker′ for the next call. That is right after any loss: there is
nothing to rebuild, and a task that runs twice counts once.

How does the worker travel? Where all of Spark is on one machine (the masters `local` and
`local-cluster`), what is large lies in files in the run's own directory, in memory if there is
room: workers, arguments, results, what was `put` and what was kept. Only their names pass through
the driver. On a cluster, everything passes through it, with each call; what was `put` or kept is a
broadcast variable, so with `keep=True` a result does pass through here, once.

Other ways were tried with workers of 1 MB, and all were slower: through the driver both ways; by a
broadcast on the way there; and, slowest, a chain of persisted RDDs with a checkpoint every ten
calls, since Spark must store and track every link.

A cache on a cluster's machines, keyed by (worker, version), would spare the way there, the lesser
half, and only where it has the worker. It cannot be asked first: Spark fetches a task's broadcasts
before its Python begins, needed or not, so to ask is one more job; and as Spark deals out tasks at
random, on two machines half the answers would be no.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    MAX_PENDING,
    ONE_THREAD,
    Backend,
    Group,
    check_resources,
    check_workers,
    missing_package,
)
from rlbook.backends.processes import announce, environment, own_directory
from rlbook.backends.shipping import package_zip
from rlbook.backends.spark.group import GroupSettings, SparkGroup
from rlbook.backends.spark.java import find_java, java_home
from rlbook.backends.spark.jobs import Needs, Threads, collect, needs, new_job_id
from rlbook.backends.spark.store import SparkRef, Store
from rlbook.backends.spark.tasks import Surroundings, do_item, opened
from rlbook.backends.wire import unpack_outcome

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pandas, which we do not use through Spark
        from pyspark import SparkConf, SparkContext
        from pyspark.java_gateway import launch_gateway
except ImportError as error:
    raise missing_package("pyspark", "spark") from error

# A path to a socket can be no longer, on macOS; and Spark's names for its own.
SOCKET_PATH, SOCKET_NAME = 104, len("/.00000000-0000-0000-0000-000000000000.sock")

# A file that is there while Spark starts, if its processes share a secret.
SECRET = "secret.conf"


class Spark(Backend):
    """A Spark task for each call.

    Uses the SparkContext that is active, if one is, and else starts one on this machine; only what
    it started does it stop. With a context of your own, how often a task may die is that context's
    setting: `spark.task.maxFailures`, or m in the master `local[n,m]`. (In `local[n]` a single
    death is the end.) A cluster's machines need Python with NumPy, Gymnasium and cloudpickle, and
    Numba for the compiled worlds; this package they get from here.

    More workers than Spark has slots take turns, and a warning says so.

    Args:
        spark: a SparkSession or SparkContext to use.
        master: where to start Spark; None is this machine, with a slot for each processor.
        max_restarts: how often a call whose process died is tried again before `WorkerLost`.
        max_state_bytes: a worker whose pickle is larger is refused.
        max_pending: how many calls to a worker may wait for an answer before `submit` waits too.
    """

    name = "spark"

    def __init__(
        self,
        spark: Any = None,
        master: str | None = None,
        max_restarts: int = 3,
        max_state_bytes: int = 64 * 2**20,
        max_pending: int = MAX_PENDING,
    ) -> None:
        super().__init__()
        self.max_state_bytes = max_state_bytes
        self.max_pending = max_pending
        self.threads = Threads()
        self._groups: weakref.WeakSet[SparkGroup] = weakref.WeakSet()
        self._warned = False
        self._directories = [own_directory()]
        context = getattr(spark, "sparkContext", spark) or SparkContext._active_spark_context
        self._started = self._own_java = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            self.context = context or self._start(master, max_restarts)
        self._started = context is None
        self.shared_directories: list[str] = []  # where this machine's processes leave large values
        if on_one_machine(self.context.master):
            if os.access("/dev/shm", os.W_OK):
                self._directories.insert(0, own_directory("/dev/shm"))
            self.shared_directories = [each.name for each in self._directories]
        else:
            add_package(self.context, self._directories[0].name)
        self._store = Store(self.context, self.shared_directories)

    def _start(self, master: str | None, max_restarts: int) -> Any:
        master = master or f"local[{os.cpu_count() or 1},{max_restarts + 1}]"
        directory = self._directories[0].name
        if not master.startswith("local-cluster"):
            return start_context(configuration(master, max_restarts, directory), directory)
        if java_runs() and SparkContext._gateway is not None and SparkContext._gateway.proc:
            end_java()  # an earlier Spark left it, and its home is elsewhere
        self._own_java = not java_runs()
        settings = configuration(master, max_restarts, directory)
        try:
            with environment(**own_cluster(settings, directory)):
                return start_context(settings, directory)
        finally:
            Path(directory, SECRET).unlink(missing_ok=True)

    def launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        *args: Any,
        resources: Mapping[str, float] | None = None,
    ) -> Group:
        check_workers(n)
        wanted = needs(self.context, check_resources(resources))
        settings = GroupSettings(self._store, self.threads, self.max_pending, self.max_state_bytes)
        group = SparkGroup(self, settings, n, worker_class, args, wanted)
        self._groups.add(group)
        try:
            group.build()
        except BaseException:
            group.close()
            raise
        slots = self.context.defaultParallelism
        if n > slots and not self._warned:
            self._warned = True
            message = f"{n} workers on a Spark of {slots} slots: they take turns"
            warnings.warn(message, UserWarning, stacklevel=2)
        return group

    def put(self, value: Any) -> SparkRef:
        return SparkRef(self, self._store.ship(value, shared=True))

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        shipped = [self._store.ship(item) for item in items]
        if not shipped:
            return []
        code, job_id = self._store.ship(function), new_job_id()
        around = Surroundings(job_id, self.shared_directories, 0, b"", [], {})
        task = partial(do_item, around, code.parcel)
        tasks = [each.parcel for each in shipped]
        slices = min(len(tasks), 4 * self.context.defaultParallelism)
        wanted = Needs(ONE_THREAD, None)
        answer = self.threads.run(collect, self.context, job_id, wanted, task, tasks, slices)
        try:
            parcels = answer.result(timeout)
        except (TimeoutError, KeyboardInterrupt) as error:
            if answer.done():
                raise
            self.context.cancelJobGroup(job_id)
            name = getattr(function, "__name__", "function")
            message = f"{name}() of {len(tasks)} items was not done after {timeout:g} seconds"
            raise (TimeoutError(message) if isinstance(error, TimeoutError) else error) from None
        answers = [self._store.shipment(each) for each in parcels]
        return [unpack_outcome(each.parcel, opened).unwrap() for each in answers]

    def close(self) -> None:
        for group in list(self._groups):
            group.close()
        if self._started:
            self._started = False
            self.context.stop()
            if self._own_java:
                end_java()
        self.threads.close()
        for directory in self._directories:
            directory.cleanup()


def on_one_machine(master: str) -> bool:
    """Whether all of Spark's processes are on this machine, and ours."""
    return re.match(r"local(-cluster)?(\[|$)", master) is not None


def add_package(context: Any, directory: str) -> None:
    """Send this package to the cluster's machines. Here nothing of it is to be imported thence."""
    path = list(sys.path)
    context.addPyFile(package_zip(directory))
    sys.path[:] = path


def configuration(master: str, max_restarts: int, directory: str) -> Any:
    """Spark's settings for a quiet Spark that tries a call as often as we say."""
    settings = {
        "spark.app.name": "rlbook",
        "spark.master": master,
        "spark.task.maxFailures": str(max_restarts + 1),
        "spark.speculation": "false",  # no second copies of slow tasks
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    settings |= {f"spark.executorEnv.{name}": value for name, value in ONE_THREAD.items()}
    host = urlsplit(master).hostname
    if on_one_machine(master) or host in ("localhost", "127.0.0.1"):  # unseen by others
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if on_one_machine(master):
        settings |= {
            "spark.local.dir": directory,
            "spark.executorEnv.PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
            "spark.executorEnv.PYTHONSAFEPATH": "1",  # and not the working directory before it
        }
        settings |= unix_sockets(directory)
    return SparkConf().setAll(list(settings.items()))


def unix_sockets(directory: str) -> dict[str, str]:
    """Have Spark speak to Python through sockets that have no port.

    Nobody else can knock at them; and a call is faster, since TCP holds back small messages until
    earlier ones were acknowledged. Spark before 4.1 ignores these settings.
    """
    if os.name != "posix" or len(directory) + SOCKET_NAME >= SOCKET_PATH:
        return {}
    return {
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.python.unix.domain.socket.dir": directory,
    }


def own_cluster(settings: Any, directory: str) -> dict[str, str]:
    """Environment variables, and settings, for a cluster of processes that others cannot join.

    The secret must not stand on Java's command line, where everybody on this machine can read it,
    so it goes by a file, or to a Java that runs already by its own connection. And Spark's home is
    a directory of links, since that is where Spark makes its executors' directories.
    """
    settings.setAll(
        [
            ("spark.deploy.maxExecutorRetries", "-1"),  # however many were killed
            ("spark.scheduler.minRegisteredResourcesRatio", "1.0"),  # begin when all are there
        ]
    )
    secret = {"spark.authenticate": "true", "spark.authenticate.secret": secrets.token_hex(32)}
    if java_runs():
        settings.setAll(list(secret.items()))
        return {}
    file = Path(directory, SECRET)
    file.touch(mode=0o600)
    file.write_text("".join(f"{name} {value}\n" for name, value in secret.items()))
    home = Path(directory, "home")
    home.mkdir()
    for each in Path(spark_home()).iterdir():
        if each.name != "work":
            (home / each.name).symlink_to(each)
    arguments = os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")
    return {
        "SPARK_HOME": str(home),
        "PYSPARK_SUBMIT_ARGS": f"--properties-file {shlex.quote(str(file))} {arguments}",
    }


def java_runs() -> bool:
    """Whether Spark will use a Java that was started before."""
    gateway = SparkContext._gateway
    started = gateway is not None and (gateway.proc is None or gateway.proc.poll() is None)
    return started or "PYSPARK_GATEWAY_PORT" in os.environ


def end_java() -> None:
    """End the Java that was started for a cluster of its own: its home goes with the cluster."""
    gateway = SparkContext._gateway
    SparkContext._gateway = SparkContext._jvm = None
    gateway.shutdown()
    gateway.proc.stdin.close()  # which tells it to end
    try:
        gateway.proc.wait(10)
    except subprocess.TimeoutExpired:
        gateway.proc.kill()
        gateway.proc.wait()


def spark_home() -> str:
    """Where Spark is installed."""
    return os.environ.get("SPARK_HOME") or os.path.dirname(sys.modules["pyspark"].__file__ or "")


def start_context(settings: Any, directory: str) -> Any:
    """A new SparkContext, on the Java that this process has started before, if it still runs."""
    begin = perf_counter()
    gateway = SparkContext._gateway
    if gateway is not None and gateway.proc is not None and gateway.proc.poll() is not None:
        SparkContext._gateway = SparkContext._jvm = gateway = None  # it was killed
    if gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ:
        with environment(**interpreter(settings)):
            context = SparkContext(conf=settings)
    else:
        context = start_java(settings, directory)
    announce("Spark", perf_counter() - begin)
    return context


def start_java(settings: Any, directory: str) -> Any:
    """A SparkContext on a Java of its own, whose chatter goes to a file, not into the notebook."""
    variables = {"JAVA_HOME": java_home(), **interpreter(settings)}
    if settings.get("spark.master").startswith("local"):
        variables["SPARK_LOCAL_IP"] = "127.0.0.1"  # unseen by others
    with open(os.path.join(directory, "spark.log"), "w+b") as log:
        try:
            with environment(**variables):
                gateway = launch_gateway(settings, {"stdout": log, "stderr": log})
                return SparkContext(conf=settings, gateway=gateway)
        except Exception as error:
            log.seek(0)
            said = log.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"Spark did not start: {error}\nIts last words:\n{said}") from None


def check_java() -> str:
    """What Spark would run on, such as "Java 17 in /usr/lib/jvm/java-17".

    Raises:
        RuntimeError: there is no Java that is new enough.
    """
    return str(find_java())


def interpreter(settings: Any) -> dict[str, str]:
    """On this machine Spark's processes run this very Python; else it takes `python3`, whichever.

    A SparkContext heeds no setting for this, but an environment variable.
    """
    here = settings.get("spark.master").startswith("local")
    return {"PYSPARK_PYTHON": sys.executable} if here else {}
