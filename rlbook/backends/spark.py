"""Workers on Spark, on this machine or on a cluster.

Spark has no actors: it runs pure functions of data, wherever it likes and again when a machine is
lost. So here a worker is a *value*. A call is a task that takes (worker, call) to (worker′,
outcome), all of them as bytes, and the driver keeps worker′ for the next call.

That every call carries the worker both ways (the way back only if it changed) is the simplest thing
that is right after any loss: there is nothing to rebuild, and a task that runs twice counts once.
A job takes tens of milliseconds even when it does nothing, so for workers of a few megabytes the
journey is hardly felt. Workers that hold more belong on another backend.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import cloudpickle

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    ONE_THREAD,
    Backend,
    Group,
    Outcome,
    Ref,
    WorkerLost,
    attempt,
    check_workers,
    gather,
    missing_package,
    pack,
    pack_outcome,
    settle,
    unpack,
    unpack_outcome,
)
from rlbook.backends.slots import environment, fill, lift, own_directory

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pandas, which we do not use through Spark
        from pyspark import SparkConf, SparkContext
        from pyspark.java_gateway import launch_gateway
except ImportError as error:
    raise missing_package("pyspark", "spark") from error

MIN_JAVA = 17

# What Spark says when the process of a task died, as often as it may.
DEATH = re.compile(r"Python worker exited unexpectedly|ExecutorLostFailure|Python worker died")

# A task: the worker's pickle (None before there is one), the call, the keys of the Refs in it.
Task = tuple[bytes | None, bytes, list[int]]


class Spark(Backend):
    """A Spark task for each call.

    Uses the SparkContext that is active, if one is, and else starts one on this machine; only what
    it started does it stop. With a context of your own, how often a task may die is that context's
    setting: `spark.task.maxFailures`, or m in the master `local[n,m]`. (In `local[n]` a single
    death is the end.)

    Args:
        spark: a SparkSession or SparkContext to use.
        master: where to start Spark; None is this machine, with a slot for each processor.
        max_restarts: how often a call whose process died is tried again before `WorkerLost`.
        max_state_bytes: a worker whose pickle is larger is refused.
    """

    name = "spark"

    def __init__(
        self,
        spark: Any = None,
        master: str | None = None,
        max_restarts: int = 3,
        max_state_bytes: int = 64 * 2**20,
    ) -> None:
        super().__init__()
        self.max_state_bytes = max_state_bytes
        self._groups: weakref.WeakSet[SparkGroup] = weakref.WeakSet()
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._unused: deque[Any] = deque()
        context = getattr(spark, "sparkContext", spark) or SparkContext._active_spark_context
        self._started = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            self.context = context or self._start(master, max_restarts)
        self._started = context is None

    def _start(self, master: str | None, max_restarts: int) -> Any:
        self._directory = own_directory()
        master = master or f"local[{os.cpu_count() or 1},{max_restarts + 1}]"
        directory = self._directory.name
        return start_context(configuration(master, max_restarts, directory), directory)

    def launch(self, worker_class: Callable[..., Any], n: int, *args: Any) -> Group:
        check_workers(n)
        group = SparkGroup(self, n)
        self._groups.add(group)
        group.map("__init__", [(worker_class, index, *args) for index in range(n)])
        return group

    def put(self, value: Any) -> Ref:
        while self._unused:
            self._unused.popleft().destroy()
        ref = SparkRef(self, self.context.broadcast(pack(value)))
        # Spark is told later, by `put`: a finaliser may run in the midst of a talk with Spark.
        weakref.finalize(ref, self._unused.append, ref.broadcast)
        return ref

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        tasks = [pack(item) for item in items]
        if not tasks:
            return []
        job_id, slices = new_job_id(), min(len(tasks), 4 * self.context.defaultParallelism)
        task = partial(run_task, pack(function))
        answer = in_thread(collect, self.context, job_id, task, tasks, slices)
        try:
            return [unpack_outcome(blob).unwrap() for blob in answer.result(timeout)]
        except (TimeoutError, KeyboardInterrupt) as error:
            if answer.done():
                raise
            self.context.cancelJobGroup(job_id)
            name = getattr(function, "__name__", "function")
            message = f"{name}() of {len(tasks)} items was not done after {timeout:g} seconds"
            raise (TimeoutError(message) if isinstance(error, TimeoutError) else error) from None

    def close(self) -> None:
        for group in list(self._groups):
            group.close()
        if self._started:
            self._started = False
            self.context.stop()
        if self._directory is not None:
            self._directory.cleanup()


class SparkRef(Ref):
    """A broadcast variable."""

    def __init__(self, backend: Spark, broadcast: Any) -> None:
        super().__init__(backend)
        self.broadcast = broadcast


class Batch:
    """The calls of one Spark job: those of a `map`, or the one of a `submit`."""

    def __init__(self, indices: Sequence[int], blobs: list[bytes], refs: list[list[SparkRef]]):
        self.indices = indices
        self.blobs = blobs
        self.refs = refs  # their values stay while the job may need them
        self.futures: list[Future[Any]] = [Future() for _ in indices]
        self.job_id = new_job_id()
        self.begun = False


class SparkGroup(Group):
    """Workers as values: `_states` has each one's pickle.

    Each worker has a line of batches. A batch begins when it is first in line at all its workers.
    """

    def __init__(self, backend: Spark, size: int) -> None:
        super().__init__(size)
        self._backend = backend
        self._states: list[bytes | None] = [None] * size
        self._lines: list[deque[Batch]] = [deque() for _ in range(size)]
        self._lock = threading.RLock()
        self._closed = False

    def map(
        self, method: str, arguments: Sequence[tuple[Any, ...]], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_arguments(arguments)
        batch = self._enqueue(range(self.size), method, arguments)
        try:
            return gather(batch.futures, method, timeout)
        except (TimeoutError, KeyboardInterrupt):
            self._cancel(batch)
            raise

    def submit(self, index: int, method: str, *args: Any) -> Future[Any]:
        self.check_index(index)
        return self._enqueue([index], method, [args]).futures[0]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            batches = {id(batch): batch for line in self._lines for batch in line}
            for line in self._lines:
                line.clear()
        for batch in batches.values():
            self._cancel(batch)
            if not batch.begun:  # and never will: nobody else tells those who wait
                for future in batch.futures:
                    future.set_running_or_notify_cancel()

    def _enqueue(
        self, indices: Sequence[int], method: str, arguments: Sequence[tuple[Any, ...]]
    ) -> Batch:
        lifted = [lift(self._backend, args) for args in arguments]
        blobs = [pack((method, args)) for args, _ in lifted]
        batch = Batch(indices, blobs, [refs for _, refs in lifted])
        with self._lock:
            if self._closed:
                raise RuntimeError("the group was closed")
            for index in indices:
                self._lines[index].append(batch)
            self._begin(indices)
        return batch

    def _begin(self, indices: Iterable[int]) -> None:
        for batch in [self._lines[index][0] for index in indices if self._lines[index]]:
            first = all(self._lines[index][0] is batch for index in batch.indices)
            if first and not batch.begun:
                batch.begun = True
                in_thread(self._execute, batch)

    def _execute(self, batch: Batch) -> None:
        """Run the job, keep the new states, let the next batches begin, and answer."""
        live = [i for i, f in enumerate(batch.futures) if f.set_running_or_notify_cancel()]
        error: Exception | None = None
        answers: list[tuple[bytes | None, bytes]] = []
        try:
            answers = self._collect(batch, live)
        except Exception as failure:
            error = explain(failure, [batch.indices[i] for i in live])
        with self._lock:
            for i, (state, _) in zip(live, answers, strict=False):
                if state is not None:
                    self._states[batch.indices[i]] = state
            if not self._closed:
                for index in batch.indices:
                    self._lines[index].popleft()
                self._begin(batch.indices)
        for position, i in enumerate(live):
            outcome = Outcome(error=error) if error else unpack_outcome(answers[position][1])
            settle(batch.futures[i], outcome)

    def _collect(self, batch: Batch, live: list[int]) -> list[tuple[bytes | None, bytes]]:
        if not live:
            return []
        broadcasts = {id(ref): ref.broadcast for refs in batch.refs for ref in refs}
        tasks = [
            (self._states[batch.indices[i]], batch.blobs[i], list(map(id, batch.refs[i])))
            for i in live
        ]
        task = partial(call_task, broadcasts, self._backend.max_state_bytes)
        return collect(self._backend.context, batch.job_id, task, tasks, len(tasks))

    def _cancel(self, batch: Batch) -> None:
        for future in batch.futures:
            future.cancel()
        if batch.begun and not all(future.done() for future in batch.futures):
            self._backend.context.cancelJobGroup(batch.job_id)


def call_task(broadcasts: dict[int, Any], limit: int, task: Task) -> tuple[bytes | None, bytes]:
    """What Spark runs for a call: the worker's new pickle (None: as it was), and the outcome."""
    state, blob, keys = task
    worker = None

    def act() -> Any:
        nonlocal worker
        method, lifted = unpack(blob)
        args = fill(lifted, [unpack(broadcasts[key].value) for key in keys])
        if state is None:
            worker = args[0](*args[1:])
            return None
        worker = cloudpickle.loads(state)
        return getattr(worker, method)(*args)

    outcome = attempt(act)
    if worker is None:  # there is none, or it could not be read
        return None, pack_outcome(outcome)
    after = attempt(dump, worker, limit)
    if after.error is not None:
        return None, pack_outcome(after)
    return (None if after.value == state else after.value), pack_outcome(outcome)


def dump(worker: Any, limit: int) -> bytes:
    """The worker's pickle; its arrays within, so that they can be written to again.

    Raises:
        ValueError: it is larger than `limit` bytes.
    """
    state: bytes = cloudpickle.dumps(worker, protocol=5)
    if len(state) > limit:
        raise ValueError(
            f"the worker's state of {len(state):,} bytes is above max_state_bytes={limit:,}, and "
            "on Spark it travels with every call; the call was not counted"
        )
    return state


def run_task(code: bytes, item: bytes) -> bytes:
    """What Spark runs for an item of `Spark.run`."""
    return pack_outcome(attempt(lambda: unpack(code)(unpack(item))))


def collect(
    context: Any, job_id: str, task: Callable[[Any], Any], items: list[Any], slices: int
) -> Any:
    """A Spark job: `task` of each item. The group's name is this thread's, and is for `cancel`."""
    context.setJobGroup(job_id, "rlbook", interruptOnCancel=True)
    return context.parallelize(items, slices).map(task).collect()


def new_job_id() -> str:
    """A name that no other job has."""
    return f"rlbook-{uuid.uuid4()}"


def in_thread(function: Callable[..., Any], *args: Any) -> Future[Any]:
    """Run a function in a thread of its own, which does not keep the program from ending."""
    future: Future[Any] = Future()
    threading.Thread(target=lambda: settle(future, attempt(function, *args)), daemon=True).start()
    return future


def explain(failure: Exception, workers: Sequence[int]) -> Exception:
    """The error to raise when a job failed. A job has one task for each worker, in this order."""
    message = str(failure)
    task = re.search(r"Task (\d+) in stage", message)
    who = f"worker {workers[int(task[1])]}" if task else f"one of the workers {list(workers)}"
    if DEATH.search(message):
        return WorkerLost(f"{who}: its process died too often, in the same call")
    if "cancelled" in message:
        return RuntimeError("the call was cancelled")
    return RuntimeError(f"{who}: Spark's job failed: {message[:2000]}")


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
    if master.startswith("local"):  # everything on this machine, unseen by others
        settings |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": directory,
            "spark.executorEnv.PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
    return SparkConf().setAll(list(settings.items()))


def start_context(settings: Any, directory: str) -> Any:
    """A SparkContext. What Java prints goes to a file, not into the notebook."""
    gateway = SparkContext._gateway
    if gateway is not None and gateway.proc is not None and gateway.proc.poll() is not None:
        SparkContext._gateway = SparkContext._jvm = gateway = None  # an earlier Java, now dead
    if gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ:
        with environment(**interpreter(settings)):
            return SparkContext(conf=settings)
    check_java()
    with open(os.path.join(directory, "spark.log"), "w+b") as log:
        try:
            with environment(SPARK_LOCAL_IP="127.0.0.1", **interpreter(settings)):
                gateway = launch_gateway(settings, {"stdout": log, "stderr": log})
                return SparkContext(conf=settings, gateway=gateway)
        except Exception as error:
            log.seek(0)
            said = log.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"Spark did not start: {error}\nIts last words:\n{said}") from None


def interpreter(settings: Any) -> dict[str, str]:
    """On this machine Spark's processes run this very Python; else it takes `python3`, whichever.

    A SparkContext heeds no setting for this, but an environment variable.
    """
    here = settings.get("spark.master").startswith("local")
    return {"PYSPARK_PYTHON": sys.executable} if here else {}


def check_java() -> None:
    """Raise the RuntimeError of a machine without the Java that Spark needs."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    said = ""
    if java and os.path.exists(java):
        said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < MIN_JAVA:
        found = f"found {version[1]}" if version else "found none"
        raise RuntimeError(
            f"the 'spark' backend needs Java {MIN_JAVA} or later ({found}): install a JDK, such as "
            "openjdk-17-jre-headless, and set JAVA_HOME if it is not on the PATH"
        )
