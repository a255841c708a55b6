"""Ctrl-C at a good moment.

Python raises KeyboardInterrupt between any two steps of the main thread; also after half a message,
or when a lock was taken and nobody is yet there to release it. `uninterrupted` puts it off.
"""

from __future__ import annotations

# Beneath `signal`, whose own functions take far longer: they make enums of everything.
import _signal  # type: ignore[import-not-found]
import threading
from math import inf
from types import TracebackType
from typing import Any

# Seconds that whoever waits meanwhile may wait at a time: so long at most is Ctrl-C put off.
MOMENT = 0.1


class uninterrupted:
    """Ctrl-C comes after this and not in the midst of it.

    `with uninterrupted() as longest:` gives the seconds that one may wait at a time. No other
    thread than the main one is ever interrupted, so any other may wait for ever.
    """

    def __enter__(self) -> float:
        self._before: Any = None
        self._came: Any = None
        if threading.current_thread() is not threading.main_thread():
            return inf
        before = _signal.getsignal(_signal.SIGINT)
        if callable(before):
            self._before = before
            _signal.signal(_signal.SIGINT, self._note)
        return MOMENT

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is None:
            return
        _signal.signal(_signal.SIGINT, self._before)
        if self._came is not None:
            self._before(*self._came)

    def _note(self, *args: Any) -> None:
        self._came = args
