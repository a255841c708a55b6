"""Ctrl-C while an agent learns: it ends its round, so that what is saved is whole."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

# Ctrl-C, and what a cluster sends before it takes the machine away.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Notes the first signal and lets the program go on; the second is a KeyboardInterrupt.

    Args:
        noticed: called at the first signal.

    Attributes:
        received: the first signal, or None.
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
