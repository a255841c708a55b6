"""Calls of a function that need no worker, for engines that have only workers."""

from __future__ import annotations

from typing import Any

from rlbook.backends.wire import unpack


class Tasks:
    """The worker behind `run`, for engines that have workers and no tasks."""

    def __init__(self, index: int) -> None:
        pass

    def run(self, code: bytes, item: Any) -> Any:
        """Call a function that was packed."""
        return unpack(code)(item)
