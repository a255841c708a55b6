"""Spark's jobs from the driver's side: one for each call or `map`, several at a time."""

from __future__ import annotations

import contextlib
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple

from rlbook.backends import WorkerLost, threads
from rlbook.backends.wire import attempt, settle

# What Spark says when the process of a task died, as often as it may.
DEATH = re.compile(r"Python worker exited unexpectedly|ExecutorLostFailure|Python worker died")


class Needs(NamedTuple):
    """What the tasks of a job get: environment variables, and a Spark resource profile or None."""

    variables: dict[str, str]
    profile: Any


def needs(context: Any, resources: Mapping[str, float]) -> Needs:
    """Resources in Spark's words.

    Raises:
        ValueError: this Spark cannot give them.
    """
    variables = threads(resources["threads"])
    usual = int(context.getConf().get("spark.task.cpus", "1"))
    cpus, gpus = resources.get("cpus", usual), resources.get("gpus", 0)
    if cpus == usual and not gpus:
        return Needs(variables, None)
    name, amount = ("gpus", gpus) if cpus == usual else ("cpus", cpus)
    why_not = _why_not(context, usual, cpus, gpus)
    if why_not is not None:
        raise ValueError(f"resources[{name!r}] must be {why_not}, got {amount}")
    return Needs(variables, _profile(int(cpus), gpus))


def _why_not(context: Any, usual: int, cpus: float, gpus: float) -> str | None:
    """What a Spark allows that cannot give these resources; None if it can."""
    if re.match(r"local(\[|$)", context.master):
        return (
            f"{usual if cpus != usual else 0} with the master {context.master}, where a worker has "
            f"{usual} slot and no GPU (a cluster can give more)"
        )
    if cpus < 1 or cpus != int(cpus):
        return "a whole number from 1 on Spark"
    cores = _cores(context)
    if cores is not None and cpus > cores:  # Spark would wait for ever
        return f"at most {cores}, which is what each of this Spark's executors has"
    if gpus and not context.getConf().get("spark.executor.resource.gpu.amount"):
        return "0 without spark.executor.resource.gpu.amount, since the executors have no GPUs"
    return None


def _cores(context: Any) -> int | None:
    """How many each executor has, as far as the settings say."""
    own = re.match(r"local-cluster\[ *\d+ *, *(\d+)", context.master)
    said = own[1] if own else context.getConf().get("spark.executor.cores")
    return None if said is None else int(said)


def _profile(cpus: int, gpus: float) -> Any:
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    asked = TaskResourceRequests().cpus(cpus)
    if gpus:
        asked = asked.resource("gpu", gpus)
    return ResourceProfileBuilder().require(asked).build


def collect(
    context: Any,
    job_id: str,
    needs: Needs,
    task: Callable[[Any], Any],
    items: list[Any],
    slices: int,
) -> Any:
    """A Spark job: `task` of each item. The job's name is this thread's, and is for `cancel`."""
    context.setJobGroup(job_id, "rlbook", interruptOnCancel=True)
    rdd = context.parallelize(items, slices).map(task)
    with _variables(context, needs.variables):
        if needs.profile is not None:
            rdd = rdd.withResources(needs.profile)
        rdd.id()  # until now it had not looked at the variables
    return rdd.collect()


_changing_variables = threading.Lock()


@contextlib.contextmanager
def _variables(context: Any, variables: dict[str, str]) -> Iterator[None]:
    """Have the jobs that are described meanwhile run in processes with these variables.

    Spark keeps processes with different variables apart. Its default is for the whole context.
    """
    if variables.items() <= context.environment.items():
        yield
        return
    with _changing_variables:
        before = dict(context.environment)
        context.environment.update(variables)
        try:
            yield
        finally:
            context.environment.clear()
            context.environment.update(before)


def new_job_id() -> str:
    """A name that no other job has."""
    return f"rlbook-{uuid.uuid4()}"


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


class Threads:
    """Threads that wait for Spark, and do not keep the program from ending.

    They are used again: to a new one Spark makes a connection, and for it a thread in Java, which
    takes a good part of the time of a call.
    """

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Any]] = []
        self._closed = False

    def run(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call a function in one of them."""
        future: Future[Any] = Future()
        try:
            line = self._idle.pop()
        except IndexError:
            line = SimpleQueue()
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()
        line.put((future, function, args))
        return future

    def close(self) -> None:
        """End those that have nothing to do, and the others as soon as they have done it."""
        self._closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _serve(self, line: SimpleQueue[Any]) -> None:
        while (job := line.get()) is not None:
            future, function, args = job
            outcome = attempt(function, *args)
            self._idle.append(line)
            settle(future, outcome)
            del job, future, function, args, outcome  # nothing is held by one that waits
            if self._closed:
                self.close()
