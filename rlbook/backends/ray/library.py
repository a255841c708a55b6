"""The package Ray, imported with the settings that it must find at its import."""

from __future__ import annotations

from rlbook.backends import missing_package
from rlbook.backends.processes import environment
from rlbook.backends.ray.settings import SKIPPED_LINES

try:
    with environment(RAY_DEDUP_LOGS_SKIP_REGEX=SKIPPED_LINES):
        import ray as ray
        from ray import exceptions as exceptions
        from ray._private import ray_constants as ray_constants
        from ray._raylet import (  # type: ignore[attr-defined]
            AuthenticationTokenLoader as AuthenticationTokenLoader,
        )
        from ray._raylet import Config as Config  # type: ignore[attr-defined]
except ImportError as error:
    raise missing_package("ray", "ray") from error

# What Ray raises for the answer of an actor that is no more, or whose machine is not.
DEATHS = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)
