"""What an engine does about a worker whose process has died."""

from __future__ import annotations

from typing import NamedTuple

from rlbook.backends import WorkerRestarted


class Recovery(NamedTuple):
    """How a worker is built again, and how often.

    Attributes:
        kind: one of `RECOVERIES`.
        max_restarts: restarts after which the worker is given up.
        snapshot_every: calls after which a snapshot is taken, if `kind` is `"replay"`.
    """

    kind: str
    max_restarts: int
    snapshot_every: int

    @property
    def replays(self) -> bool:
        """Whether the state of a dead worker is computed again."""
        return self.kind == "replay"


def lost_call(index: int, method: str, restarts: int, max_restarts: int) -> WorkerRestarted:
    """The error of the call in which a worker died that was then built afresh."""
    return WorkerRestarted(
        f"worker {index} died in {method}() and was built again from its constructor "
        f"(restart {restarts} of at most {max_restarts}); this call and the worker's state are lost"
    )
