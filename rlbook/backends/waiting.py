"""Waiting for several workers, with a time limit."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from time import monotonic
from typing import Any


def gather(futures: Sequence[Future[Any]], what: str, timeout: float) -> list[Any]:
    """The futures' results in order, all within `timeout` seconds.

    Raises:
        TimeoutError: naming the first that had no result.
    """
    deadline = monotonic() + timeout
    results = []
    for index, future in enumerate(futures):
        try:
            results.append(future.result(max(0.0, deadline - monotonic())))
        except FutureTimeout:
            if future.done():  # the call itself raised TimeoutError
                raise
            for waiting in futures[index:]:
                waiting.cancel()
            raise late(index, what, timeout) from None
    return results


def late(index: int, what: str, timeout: float) -> TimeoutError:
    """The error of a worker that has not answered in time."""
    return TimeoutError(
        f"worker {index} had not answered {what}() after {timeout:g} seconds; if it only needs "
        "more, pass a longer timeout, and if it hangs, close the backend, which ends it"
    )
