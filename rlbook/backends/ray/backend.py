"""Workers as Ray actors, on this machine or on a cluster.

`call` and `map` ask Ray for the answers themselves. For the futures of `submit`, Ray tells us when
an answer is there, and one thread fulfils them. Only a few calls are sent ahead to a worker; the
others wait here, where they can still be cancelled. `journal` has the driver's side of a
worker, which survives its actor; `shell` and `host` have what runs in Ray, and
`settings` how it is started.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    MAX_PENDING,
    ONE_THREAD,
    Backend,
    CallFuture,
    Group,
    Ref,
    WorkerLost,
    check_options,
    close_all,
    closing,
    threads,
)
from rlbook.backends.closing import Closer
from rlbook.backends.processes import announce, environment, own_directory
from rlbook.backends.ray import engine, shell
from rlbook.backends.ray.host import receive, ship, size
from rlbook.backends.ray.journal import Answer, Call, Message, Worker
from rlbook.backends.ray.library import DEATHS, exceptions, ray
from rlbook.backends.ray.settings import NO_DASHBOARD, hushed, own_code, settings_for_spark
from rlbook.backends.recovery import Recovery
from rlbook.backends.slots import lift
from rlbook.backends.waiting import gather, late
from rlbook.backends.wire import Outcome, settle, unpack_outcome

# What is registered last is called first: at exit backends are closed before Ray is shut down.
atexit.register(close_all)

# Ray gets what it is to run by value, as it may have to run it where rlbook is not installed.
ray.cloudpickle.register_pickle_by_value(shell)


class Ray(Backend):
    """One Ray actor for each worker.

    If this process is connected to a Ray, that one is used; otherwise one is started, which all
    `Ray` backends of the process share. It is shut down when the last of them is closed, or at the
    end of the program if it was started by name (see `rlbook.backends.ray.engine`). A Ray that is
    started here binds to localhost, and every connection needs a token that only this user can
    read.

    On a cluster, rlbook's code is sent along: the machines need rlbook's dependencies in the same
    versions as here, but not rlbook itself.

    Args:
        address: of a cluster to connect to; None starts a Ray on this machine.
        max_restarts: restarts of a worker before `WorkerLost`.
        snapshot_every: calls between snapshots of a worker, which are the most that a restart
            repeats; but at most four snapshots a second are taken. A snapshot is taken earlier if
            the arguments of the calls since the last one take much memory.
        max_pending: calls to a worker without an answer before `submit` waits.
        init: passed on to `ray.init`.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        max_restarts: int = 3,
        snapshot_every: int = 64,
        max_pending: int = MAX_PENDING,
        **init: Any,
    ) -> None:
        check_options(max_restarts, snapshot_every, max_pending)
        super().__init__()
        self.max_restarts = max_restarts
        self.snapshot_every = snapshot_every
        self.max_pending = max_pending
        self.answered: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._engine = engine.use(self, address, init)
        self._code = None if self._engine.of_this_machine else own_code()
        self._task = ray.remote(shell.run_task).options(max_retries=max_restarts)
        threading.Thread(target=_fulfil, args=(self.answered,), daemon=True).start()
        self._closer = self.new_closer(self.answered.put, None)

    @classmethod
    def on_spark(
        cls,
        spark: Any,
        max_restarts: int = 3,
        snapshot_every: int = 64,
        max_pending: int = MAX_PENDING,
        **nodes: Any,
    ) -> Ray:
        """Start Ray inside a Spark cluster; each of its nodes is a Spark task that does not end.

        The executors need Ray, and the command `ray` on their path.

        Args:
            spark: the SparkSession, which must be the active one.
            max_restarts, snapshot_every, max_pending: those of `Ray`.
            nodes: how many of what size, for `ray.util.spark.setup_ray_cluster`; by default as
                many as there is room for. One more, without processors, is beside this process.

        Raises:
            ValueError: Spark was stopped.
            RuntimeError: this process is connected to a Ray already, or Spark has no room.
        """
        from ray.util.spark import (
            MAX_NUM_WORKER_NODES,
            setup_ray_cluster,
            shutdown_ray_cluster,
        )

        if spark.sparkContext._jsc is None:
            raise ValueError("spark must be running, got a session that was stopped")
        settings = {"max_worker_nodes": MAX_NUM_WORKER_NODES, "head_node_options": NO_DASHBOARD}
        at_close = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.push(at_close)
            directory = at_close.enter_context(own_directory())
            path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', '')}"
            started = monotonic()
            with environment(PATH=path, **settings_for_spark(directory)):
                engine.read_token()
                at_close.callback(engine.read_token)
                with hushed():
                    address, _ = setup_ray_cluster(**settings | nodes)
                at_close.callback(hushed()(shutdown_ray_cluster))
                backend = cls(address, max_restarts, snapshot_every, max_pending)
            announce("Ray", monotonic() - started)
            at_close.push(backend._engine.at_close)
            backend._engine.at_close = at_close
            undo.pop_all()
        return backend

    def _launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        args: tuple[Any, ...],
        resources: dict[str, float],
        recovery: str,
    ) -> RayGroup:
        how = Recovery(recovery, self.max_restarts, self.snapshot_every)
        group = RayGroup(self, n, self._actors(n, resources), how)
        try:
            group.build(worker_class, args)
        except BaseException:
            group.close()
            raise
        return group

    def _actors(self, n: int, resources: dict[str, float]) -> Callable[[], Any]:
        """What makes an actor with these resources, each time that it is called."""
        for name, unit in (("cpus", "CPU"), ("gpus", "GPU")):
            wanted = resources.get(name, 0)
            if wanted and n * wanted > (there := ray.cluster_resources().get(unit, 0)):
                raise ValueError(
                    f"resources[{name!r}] must be at most {there:g} for all workers together, "
                    f"which is what this Ray has, got {wanted} for each of {n}"
                )
        # Unless asked, no processor is set aside for an actor: with one each, a group of more
        # workers than processors would wait for ever. And they spread over the machines.
        options: dict[str, Any] = {"max_restarts": 0, "scheduling_strategy": "SPREAD"}
        options |= {"num_cpus": resources.get("cpus", 0), "num_gpus": resources.get("gpus", 0)}
        # Ray's list of all calls is for its dashboard. On a cluster somebody may look at it.
        options["enable_task_events"] = not self._engine.of_this_machine
        variables = threads(resources["threads"])
        if variables != ONE_THREAD:
            # A process of its own: one that has run tasks may have loaded numerical libraries.
            options["runtime_env"] = {"env_vars": variables}
        actor = ray.remote(shell.Actor).options(**options)
        code = self._code
        return lambda: actor.remote(code, variables)

    def put(self, value: Any) -> Ref:
        self.check_open()
        shipped = ship(value)
        return RayRef(self, ray.put(shipped), size(shipped))

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_open()
        shipped = ray.put(ship(function))
        replies = [self._task.remote(self._code, shipped, ship(item)) for item in items]
        try:
            return [
                unpack_outcome(blob, receive).unwrap() for blob in ray.get(replies, timeout=timeout)
            ]
        except exceptions.GetTimeoutError:
            for reply in replies:
                ray.cancel(reply, force=True)
            index, name = _first_missing(replies), getattr(function, "__name__", "function")
            raise late(index, name, timeout) from None
        except DEATHS as error:
            raise WorkerLost(f"a task's process died too often: {error}") from None

    def keep_engine(self) -> None:
        self._engine.keep(self)

    def _close(self) -> None:
        self._closer.close()
        closing.run(self._engine.leave, self)


class RayRef(Ref):
    """A value in Ray's object store."""

    def __init__(self, backend: Any, stored: Any, nbytes: int) -> None:
        super().__init__(backend)
        self.stored = stored
        self.nbytes = nbytes


class RayGroup(Group):
    """Workers, each in an actor."""

    def __init__(
        self, backend: Ray, size: int, new_actor: Callable[[], Any], recovery: Recovery
    ) -> None:
        super().__init__(size, backend.max_pending)
        self._backend = backend
        self._workers = [
            Worker(backend, backend.answered, index, new_actor, recovery, backend.max_pending)
            for index in range(size)
        ]
        self._closer = Closer(self, end, self._workers)

    @property
    def restarts(self) -> int:
        return sum(worker.restarts for worker in self._workers)

    def build(self, worker_class: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Run the constructors."""
        messages = [self._pack((worker_class, index), args) for index in range(self.size)]
        self._ask("build", messages, "__init__", DEFAULT_TIMEOUT)

    def call(self, method: str, *args: Any, timeout: float = DEFAULT_TIMEOUT) -> list[Any]:
        return self._ask("call", [self._pack(method, args)] * self.size, method, timeout)

    def map(
        self, method: str, arguments: Sequence[tuple[Any, ...]], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        self.check_arguments(arguments)
        messages = [self._pack(method, args) for args in arguments]
        return self._ask("call", messages, method, timeout)

    def _submit(
        self, index: int, method: str, args: tuple[Any, ...], keep: bool, future: CallFuture
    ) -> None:
        call = Call("keep" if keep else "call", self._pack(method, args), method, future)
        try:
            self._workers[index].send(call)
        except WorkerLost as lost:  # it was given up before: the Future says so, as if it were now
            settle(future, Outcome(error=lost))

    def close(self) -> None:
        self._closer.close()

    def _pack(self, what: Any, args: tuple[Any, ...]) -> Message:
        """A call as Ray's arguments: the blob, and what was `put`, which Ray replaces by values."""
        lifted, refs = lift(self._backend, args)
        shipped = ship((what, lifted))
        nbytes = size(shipped)
        if not isinstance(shipped, bytes):
            shipped = ray.put(shipped)  # once for all workers
        return Message(
            (shipped, *(ref.stored for ref in refs)), (nbytes, *(ref.nbytes for ref in refs))
        )

    def _ask(self, kind: str, messages: list[Message], what: str, timeout: float) -> list[Any]:
        """Send each worker its message and wait for the answers."""
        deadline = monotonic() + timeout
        pairs = [
            (worker, Call(kind, message, what, alone=True))
            for worker, message in zip(self._workers, messages, strict=True)
        ]
        outcomes = None
        try:
            for worker, call in pairs:
                worker.send(call)
            if all(call.future is None for _, call in pairs):
                outcomes = self._answers(pairs, timeout)
        except exceptions.GetTimeoutError:
            missing = _first_missing([call.reply for _, call in pairs])
            raise late(missing, what, timeout) from None
        except (*DEATHS, exceptions.RayTaskError):
            pass  # `_fulfil` knows what to do
        finally:
            for worker, call in pairs:
                if call.number and not call.done:  # it was sent, and nobody else waits for it now
                    worker.follow(call)
        if outcomes is None:
            futures = [worker.follow(call) for worker, call in pairs]
            return gather(futures, what, max(0.0, deadline - monotonic()))
        return [outcome.unwrap() for outcome in outcomes]

    def _answers(self, pairs: list[tuple[Worker, Call]], timeout: float) -> list[Outcome]:
        """What became of calls that nobody else waits for."""
        blobs = ray.get([call.reply for _, call in pairs], timeout=timeout)
        for worker, call in pairs:
            worker.finish(call)
        return [unpack_outcome(blob, receive) for blob in blobs]


def end(workers: Sequence[Worker]) -> None:
    """End the workers' actors."""
    for worker in workers:
        worker.close()


def _fulfil(answered: queue.SimpleQueue[Answer | None]) -> None:
    """Deal with answers as they come in."""
    while (answer := answered.get()) is not None:
        try:
            _deal_with(answer)
        except Exception:
            logging.getLogger(__name__).exception("an answer of Ray's was not understood")
        del answer  # while this waits for the next, the last one's value may be let go


def _deal_with(answer: Answer) -> None:
    """Settle a call. An answer that tells of a death starts a recovery."""
    worker, call = answer.worker, answer.call
    try:
        outcome = unpack_outcome(answer.reply.result(), receive)
    except exceptions.RayTaskError as error:
        outcome = Outcome(error=_what_is_lost(error))
        if answer.purpose == "call" and not isinstance(outcome.error, OSError):
            worker.drop(call)  # it could not even begin
    except DEATHS as error:
        worker.recover(answer.actor, error)
        return
    except Exception as error:
        outcome = Outcome(error=error)
    if answer.purpose == "snapshot":
        worker.take_snapshot(call, outcome)
    elif answer.purpose == "replay":
        if outcome.error is not None:
            worker.give_up(f"{worker} died and cannot be made again: {outcome.error}")
    else:
        if call.kept is not None and outcome.error is None:
            outcome = Outcome(RayRef(worker.backend, call.kept, outcome.value))
        worker.finish(call)
        settle(call.future, outcome)


def _what_is_lost(error: Exception) -> Exception:
    """What to tell whoever gave a call a Ref whose value is no more; or of a result without room.

    An OSError if the call was made, and only its result found no room.
    """
    full = isinstance(error, exceptions.OutOfDiskError | exceptions.ObjectStoreFullError)
    if full and "input arguments" not in str(error):  # which Ray says of a value given to the call
        return OSError(
            errno.ENOSPC,
            "a worker's result cannot be sent: neither Ray's store nor its disk has room",
        )
    if not isinstance(error, exceptions.ObjectLostError):
        return error
    return RuntimeError(
        "a value that was kept where it was made is lost: that machine, or Ray's store on it, is "
        "gone. Have it made again, or `put` what must outlive a machine"
    )


def _first_missing(replies: list[Any]) -> int:
    ready = set(ray.wait(replies, num_returns=len(replies), timeout=0)[0])
    return next((i for i, reply in enumerate(replies) if reply not in ready), 0)
