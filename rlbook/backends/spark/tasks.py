"""What the Spark backend's tasks do, in Spark's Python processes.

Values travel in a `Parcel`: their bytes; or, where all processes are on one machine, the place of a
file that holds them; or, on a cluster, a broadcast variable.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from uuid import uuid4

from rlbook.backends.located import FULL, SEGMENT_BYTES, Located, look_at, no_room
from rlbook.backends.slots import fill
from rlbook.backends.wire import attempt, freeze, pack_outcome, pickled, pieces, thaw, unpack

Parcel: TypeAlias = "bytes | Located | Any"


class Surroundings(NamedTuple):
    """What the tasks of a job have in common.

    Attributes:
        job_id: the job's name, with which the names of its files begin.
        directories: where to leave what is large; none on a cluster.
        max_state_bytes: a larger worker is refused.
        blueprint: (class, arguments) of the workers, with slots for Refs.
        blueprint_refs: the versions of these Refs.
        values: the Refs' values by their versions.
    """

    job_id: str
    directories: list[str]
    max_state_bytes: int
    blueprint: Parcel
    blueprint_refs: list[int]
    values: dict[int, Parcel]

    def fill(self, lifted: Sequence[Any], refs: list[int]) -> list[Any]:
        """The arguments with the Refs' values in their slots."""
        return fill(lifted, [opened(self.values[version]) for version in refs])

    def build(self, index: int) -> Any:
        """A new worker."""
        worker_class, lifted = opened(self.blueprint)
        return worker_class(index, *self.fill(lifted, self.blueprint_refs))


class Task(NamedTuple):
    """A call to a worker.

    Attributes:
        worker: its index.
        state: its snapshot; None: it is yet to be built, and that is the call.
        call: (method, arguments), with slots for Refs.
        refs: the versions of these Refs.
        keep: whether the result is to stay.
    """

    worker: int
    state: Parcel | None
    call: Parcel
    refs: list[int]
    keep: bool


class Answer(NamedTuple):
    """What comes of a call.

    Attributes:
        state: the worker's new snapshot; None: it is as it was.
        outcome: what became of the call.
        restarts: how often the call was begun before, in processes that died.
    """

    state: Parcel | None
    outcome: Parcel
    restarts: int


class Kept(NamedTuple):
    """Stands for a result that is to be a Ref."""

    parcel: Parcel


def do_call(around: Surroundings, task: Task) -> Answer:
    """What Spark runs for a call: (worker, call) to (worker′, outcome)."""
    worker: Any = None
    restarts = see_task()
    before = b"" if task.state is None else contents(task.state)

    def act() -> Any:
        nonlocal worker
        build = partial(around.build, task.worker)
        if task.state is None:
            worker = build()
            return None
        worker = thaw(before, build)
        method, lifted = opened(task.call)
        return getattr(worker, method)(*around.fill(lifted, task.refs))

    def sealed(answer: tuple[Any, Any, str]) -> Parcel:
        value, error, trace = answer
        if task.keep and error is None:
            value = Kept(seal(around, *pickled(value), least=0))
        return seal(around, *pickled((value, error, trace)))

    outcome = attempt(act)
    if worker is None:  # there is none, or it could not be read
        return Answer(None, pack_outcome(outcome, sealed), restarts)
    state = attempt(_saved, around, worker, before)
    outcome = outcome if state.error is None else state
    return Answer(state.value, pack_outcome(outcome, sealed), restarts)


def see_task() -> int:
    """Let the worker see the GPUs that Spark has assigned to this task.

    Returns:
        How often Spark has begun the task before.
    """
    from pyspark import TaskContext

    context = TaskContext.get()
    if context is None:
        return 0
    gpus = context.resources().get("gpu")
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus.addresses)
    return int(context.attemptNumber())


def _saved(around: Surroundings, worker: Any, before: bytes) -> Parcel | None:
    """The worker's snapshot, if it changed.

    Raises:
        ValueError: it is larger than `max_state_bytes`.
    """
    after = freeze(worker)
    if len(after) > around.max_state_bytes:
        raise ValueError(
            f"a worker's state must be at most max_state_bytes={around.max_state_bytes:,} bytes, "
            f"got {len(after):,}; on Spark it travels with every call. The call was not counted"
        )
    return None if after == before else parcel(around.directories, around.job_id, [after])


def do_item(around: Surroundings, code: Parcel, item: Parcel) -> Parcel:
    """What Spark runs for an item of `Spark.run`."""
    outcome = attempt(lambda: opened(code)(opened(item)))
    return pack_outcome(outcome, lambda value: seal(around, *pickled(value)))


def seal(
    around: Surroundings, stream: bytes, parts: list[memoryview], least: int = SEGMENT_BYTES
) -> bytes | Located:
    """What `pickled` gave, as a parcel: in a file if it has `least` bytes and files can be had.

    Raises:
        OSError: there is no room for the file.
    """
    return parcel(around.directories, around.job_id, pieces(stream, parts), least)


def parcel(
    directories: list[str],
    name: str,
    parts: list[bytes | memoryview],
    least: int = SEGMENT_BYTES,
) -> bytes | Located:
    """The parts as one; in a file whose name begins with `name` if there are `least` bytes.

    Raises:
        OSError: there is no room in any of the directories.
    """
    nbytes = sum(map(len, parts))
    if not directories or nbytes < least:
        return b"".join(parts)
    # A name of its own for each attempt: what a task leaves that died, nobody takes for another's.
    name = f"{name}-{uuid4().hex}"
    for directory in directories:
        path = os.path.join(directory, name)
        try:
            with open(path, "xb") as file:
                file.writelines(parts)
            return Located(path, nbytes)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(path)
            if error.errno not in FULL:
                raise
    raise no_room(nbytes, directories)


def contents(parcel: Parcel) -> bytes:
    """The bytes in a parcel."""
    if isinstance(parcel, Located):
        with open(parcel.path, "rb") as file:
            return file.read(parcel.nbytes)
    return parcel if isinstance(parcel, bytes) else parcel.value


def opened(parcel: Parcel) -> Any:
    """The value in a parcel. Its arrays are read-only."""
    if isinstance(parcel, Located):
        return look_at(parcel, _let_go)
    return unpack(contents(parcel))


def _let_go(path: str) -> None:
    """Files here are not used again, so nobody needs to know."""
