"""Workers in this very process: no start-up, no speed-up, and the easiest place to debug.

Arguments and results are packed and unpacked all the same. What works here works everywhere, and
what would not travel fails here first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rlbook.backends import (
    DEFAULT_TIMEOUT,
    Backend,
    CallFuture,
    Group,
    Outcome,
    Ref,
    attempt,
    check_resources,
    check_workers,
    pack,
    pack_outcome,
    settle,
    unpack,
    unpack_outcome,
)


class Local(Backend):
    """Runs every call at once, in the calling thread."""

    name = "local"
    parallel = False

    def launch(
        self,
        worker_class: Callable[..., Any],
        n: int,
        *args: Any,
        resources: Mapping[str, float] | None = None,
    ) -> Group:
        check_workers(n)
        check_resources(resources)  # there are only this process's
        return LocalGroup(self, [worker_class(index, *travelled(args)) for index in range(n)])

    def put(self, value: Any) -> Ref:
        return LocalRef(self, unpack(pack(value)))

    def run(
        self, function: Callable[[Any], Any], items: Iterable[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        return [unpack(pack(function(*travelled((item,))))) for item in items]

    def close(self) -> None:
        pass


class LocalRef(Ref):
    """Holds the value itself."""

    def __init__(self, backend: Local, value: Any) -> None:
        super().__init__(backend)
        self.value = value


class LocalGroup(Group):
    """The workers, in a list."""

    def __init__(self, backend: Local, workers: list[Any]) -> None:
        super().__init__(len(workers))
        self.backend = backend
        self.workers = workers

    def _submit(
        self, index: int, method: str, args: tuple[Any, ...], keep: bool, future: CallFuture
    ) -> None:
        future.set_running_or_notify_cancel()
        outcome = attempt(lambda: getattr(self.workers[index], method)(*travelled(args)))
        outcome = unpack_outcome(pack_outcome(outcome))
        if keep and outcome.error is None:
            outcome = Outcome(LocalRef(self.backend, outcome.value))
        settle(future, outcome)

    def close(self) -> None:
        self.workers = []


def travelled(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as a worker in another process would get them."""
    return tuple(arg.value if isinstance(arg, LocalRef) else unpack(pack(arg)) for arg in args)
