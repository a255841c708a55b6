"""Closing at any moment: also from a finalizer, from a callback, and from another thread.

Python may run a finalizer in the middle of anything, for example in a thread that holds a lock or
that is talking to an engine. Therefore a thread of its own gives back what an object has taken.
Whoever closes the object waits for this thread, although not forever.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from queue import SimpleQueue
from typing import Any, NamedTuple

# Seconds that `close` waits. It takes longer only if the closing thread needs a lock that the
# waiting thread holds; then the work is done later, when that lock is free.
PATIENCE = 30.0


class _Work(NamedTuple):
    function: Callable[..., Any]
    args: tuple[Any, ...]
    done: Future[None] | None  # None: nobody waits


_queue: SimpleQueue[_Work] = SimpleQueue()  # its `put` may be called by a finalizer
_starting = threading.Lock()
_thread: threading.Thread | None = None


class Closer:
    """Gives back what an object has taken: when it is closed or, if never, when it is collected.

    Args:
        owner: the object.
        function: gives back what the owner has taken.
        args: of the function. Neither may lead to the owner, which would then never be collected.
    """

    def __init__(self, owner: Any, function: Callable[..., Any], *args: Any) -> None:
        _start_thread()
        work = _Work(function, args, None)
        self._finalizer = weakref.finalize(owner, _queue.put, work)
        self._finalizer.atexit = False

    def close(self, wait: bool = True) -> None:
        """Call the function, unless that has been done.

        Args:
            wait: until the function has returned. Not to be used in a thread that must end first.
        """
        detached = self._finalizer.detach()
        if detached is not None:
            _, _, (work,), _ = detached
            run(work.function, *work.args, wait=wait)


def run(function: Callable[..., Any], *args: Any, wait: bool = True) -> None:
    """Call a function in the closing thread, and raise what it raises."""
    if threading.current_thread() is _thread:
        function(*args)
        return
    _start_thread()
    done: Future[None] = Future()
    _queue.put(_Work(function, args, done if wait else None))
    if wait:
        try:
            done.result(PATIENCE)
        except FutureTimeout:
            if done.done():  # the function itself raised it
                raise


def finish() -> None:
    """Wait until everything has been given back whose owner is gone."""
    if _thread is not None:
        run(_do_nothing)


def _do_nothing() -> None:
    pass


def _start_thread() -> None:
    global _thread
    if _thread is None:
        with _starting:
            if _thread is None:
                _thread = threading.Thread(target=_serve, name="rlbook-closing", daemon=True)
                _thread.start()


def _serve() -> None:
    while True:
        _do(_queue.get())


def _do(work: _Work) -> None:
    try:
        work.function(*work.args)
    except Exception as error:
        if work.done is not None:
            work.done.set_exception(error)
        else:
            logging.getLogger(__name__).exception("something was not given back")
    else:
        if work.done is not None:
            work.done.set_result(None)
