"""The Spark of this process, which all `Spark` backends share: used or started by the first."""

from __future__ import annotations

import atexit
import sys
import tempfile
import warnings
import weakref
from typing import Any

from rlbook.backends import Backend
from rlbook.backends.processes import own_directory
from rlbook.backends.shipping import package_zip
from rlbook.backends.spark.starting import SparkContext, end_java, on_one_machine, start

MAX_RESTARTS = 3  # by default

Wishes = tuple[str | None, int]  # a master, and how often a task is tried again


class Engine:
    """A SparkContext, and what is to be done when nobody needs it any more.

    Args:
        backend: the one that needs it first.
        context: one that somebody else has started, and will stop; None starts one.
        wishes: what to start it with.

    Attributes:
        kept: whether it stays until the program ends.
    """

    def __init__(self, backend: Backend, context: Any, wishes: Wishes) -> None:
        self._first = weakref.ref(backend)
        self._wishes = wishes
        self._started = context is None
        self.kept = not self._started
        self._own_java = False
        self._directory: tempfile.TemporaryDirectory[str] = own_directory()
        self._users: weakref.WeakSet[Backend] = weakref.WeakSet()
        if context is None:
            context = self._start()
        self.context = context
        if not on_one_machine(context.master):
            add_package(context, self._directory.name)

    def _start(self) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pandas, which we do not use through Spark
                context, self._own_java = start(*self._wishes, self._directory.name)
        except BaseException:
            self._directory.cleanup()
            raise
        return context

    def fits(self, context: Any, wishes: Wishes) -> bool:
        """Whether it can serve whoever gives this context, or None and has these wishes."""
        if self.context._jsc is None:  # somebody has stopped it
            return False
        if context is not None or not self._started or self._users:
            return context in (None, self.context)
        return wishes in (self._wishes, (None, MAX_RESTARTS))

    def join(self, backend: Backend) -> None:
        """One more uses it."""
        self._users.add(backend)

    def keep(self, backend: Backend) -> None:
        """Keep it until the program ends, if it is this backend's."""
        self.kept = self.kept or self._first() is backend

    def leave(self, backend: Backend) -> None:
        """One less uses it. After the last it ends, unless it is kept."""
        self._users.discard(backend)
        if not self._users and not self.kept and self is _running:
            stop()

    def close(self) -> None:
        """Stop what was started here."""
        if self._started:
            self.context.stop()
            if self._own_java:
                end_java()
        self._directory.cleanup()


_running: Engine | None = None


def use(backend: Backend, spark: Any, wishes: Wishes) -> Engine:
    """The engine that runs, or a new one; the backend has joined it.

    An engine that nobody uses any more makes room for one with other wishes.

    Args:
        spark: a SparkSession or SparkContext, or None for the one that is active, if any.
    """
    global _running
    given = getattr(spark, "sparkContext", spark)
    if _running is not None and not _running.fits(given, wishes):
        stop()
    if _running is None:
        _running = Engine(backend, given or SparkContext._active_spark_context, wishes)
    _running.join(backend)
    return _running


@atexit.register
def stop() -> None:
    """End the engine that runs, if there is one."""
    global _running
    engine, _running = _running, None
    if engine is not None:
        engine.close()


def add_package(context: Any, directory: str) -> None:
    """Send this package to the cluster's machines. Here nothing of it is to be imported thence."""
    path = list(sys.path)
    context.addPyFile(package_zip(directory))
    sys.path[:] = path
