"""Workers in processes of their own on this machine, each at the end of a pipe."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlbook.backends.multiprocessing.backend import Multiprocessing as Multiprocessing


def __getattr__(name: str) -> Any:
    """Import the driver's side at its first use, since the workers' side does not need it."""
    if name != "Multiprocessing":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rlbook.backends.multiprocessing.backend import Multiprocessing

    return Multiprocessing
