"""Workers on Spark, on this machine or on a cluster."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlbook.backends.spark.backend import Spark as Spark


def __getattr__(name: str) -> Any:
    """Import the driver's side at its first use, since the workers' side does not need it."""
    if name != "Spark":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rlbook.backends.spark.backend import Spark

    return Spark
