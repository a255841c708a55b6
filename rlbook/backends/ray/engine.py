"""The Ray of this process, which all `Ray` backends share: joined or started by the first."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import weakref
from collections.abc import Iterator
from time import monotonic
from typing import Any

from rlbook.backends import ONE_THREAD, Backend
from rlbook.backends.processes import announce, environment, own_directory
from rlbook.backends.ray.library import AuthenticationTokenLoader, Config, ray, ray_constants
from rlbook.backends.ray.settings import NO_DASHBOARD, QUIETLY, new_token

Wishes = tuple[str | None, dict[str, Any]]  # an address, and arguments of `ray.init`


class Engine:
    """The connection to a Ray, and what is to be done when nobody needs it any more.

    Args:
        backend: the one that needs it first.
        wishes: what it was started with.

    Attributes:
        of_this_machine: whether it was started here, for this machine alone.
        kept: whether it stays until the program ends.
        at_close: ends it; empty for a Ray that was there before.
    """

    def __init__(self, backend: Backend, wishes: Wishes) -> None:
        self._first = weakref.ref(backend)
        self._wishes = wishes
        self.of_this_machine = False
        self.kept = False
        self.at_close = contextlib.ExitStack()
        self._users: weakref.WeakSet[Backend] = weakref.WeakSet()

    def fits(self, wishes: Wishes) -> bool:
        """Whether it can serve whoever has these wishes."""
        return ray.is_initialized() and (bool(self._users) or wishes in (self._wishes, (None, {})))

    def join(self, backend: Backend) -> None:
        """One more uses it."""
        self._users.add(backend)

    def keep(self, backend: Backend) -> None:
        """Keep it until the program ends, if it is this backend's."""
        self.kept = self.kept or self._first() is backend

    def leave(self, backend: Backend) -> None:
        """One less uses it. After the last it ends, unless it is kept."""
        self._users.discard(backend)
        if not self._users and not self.kept:
            stop()


_running: Engine | None = None


def use(backend: Backend, address: str | None, init: dict[str, Any]) -> Engine:
    """The engine that runs, or a new one; the backend has joined it.

    An engine that nobody uses any more makes room for one with other wishes.
    """
    global _running
    wishes = (address, init)
    if _running is not None and not _running.fits(wishes):
        stop()
    if _running is None:
        engine = Engine(backend, wishes)
        if not ray.is_initialized():
            started = monotonic()
            if address in (None, "local"):
                _start(engine, init)
            else:
                ray.init(address, **QUIETLY | init)
                engine.at_close.callback(ray.shutdown)
            announce("Ray", monotonic() - started)
        _running = engine
    _running.join(backend)
    return _running


@atexit.register
def stop() -> None:
    """End the engine that runs, if there is one."""
    global _running
    engine, _running = _running, None
    if engine is not None:
        engine.at_close.close()


def _start(engine: Engine, init: dict[str, Any]) -> None:
    """Start a Ray for this machine alone."""
    # Not in $TMPDIR, where that is a long path: a socket's is limited to about 100 letters.
    directory = own_directory("/tmp" if os.path.isdir("/tmp") else None)
    engine.at_close.enter_context(directory)
    inner = f"{directory.name}/r"  # which Ray opens to all users; but they cannot get there
    # Processes that Ray starts inherit this. An actor's `runtime_env` would do it too, but takes
    # three seconds more.
    variables = {**ONE_THREAD, "RAY_USAGE_STATS_ENABLED": "0", **new_token(directory.name)}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    settings: dict[str, Any] = {"address": "local", "_temp_dir": inner, **NO_DASHBOARD}
    try:
        with environment(**variables), _loopback():
            read_token()
            engine.at_close.callback(read_token)  # the one that was there before, if any
            ray.init(**QUIETLY | settings | init)
    except BaseException:
        engine.at_close.close()
        raise
    engine.of_this_machine = True
    engine.at_close.callback(ray.shutdown)


def read_token() -> None:
    """Have Ray look again at the settings of `new_token`: it does so once in a process."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Have all of a Ray's processes listen to this machine alone.

    This is what Ray does by itself on macOS and Windows. Elsewhere it takes 127.0.0.1, if given as
    this machine's address, for a mistake.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
