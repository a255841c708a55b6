"""Handling of Ctrl-C during training: the round is completed before the agent is saved."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

# Ctrl-C sends SIGINT, and a cluster sends SIGTERM before it stops the machine.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Records the first signal without interrupting; the second raises a KeyboardInterrupt.

    Args:
        noticed: function that is called at the first signal.

    Attributes:
        received: number of the first signal, or None.
    """

    def __init__(self, noticed: Callable[[], object]) -> None:
        self.received: int | None = None
        self._noticed = noticed

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        self._noticed()

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
