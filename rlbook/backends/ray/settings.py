"""How we have Ray start: quietly, and for nobody but us."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlbook.backends import ONE_THREAD
from rlbook.backends.ray.shell import Code
from rlbook.backends.shipping import package_zip

QUIETLY: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
NO_DASHBOARD: dict[str, Any] = {"include_dashboard": False}

# A death is dealt with by us. Ray would print a page about it, unless told so before its import.
SKIPPED_LINES = r"A worker died or was killed|Task \S+ failed\. There are"


def new_token(directory: str) -> dict[str, str]:
    """Settings by which only who can read a file of ours can connect."""
    if "RAY_AUTH_MODE" in os.environ:  # the user knows better
        return {}
    path = Path(directory, "token")
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


class SparkHook:
    """Ray makes one of these when it starts inside Spark, if RAY_ON_SPARK_START_HOOK names it."""

    def custom_environment_variables(self) -> dict[str, str]:
        """Of the nodes' processes, which cannot read our file."""
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text()
        return {**ONE_THREAD, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}

    def get_default_temp_root_dir(self) -> str:
        """Where nodes put their files, on each machine."""
        return "/tmp"

    def on_cluster_created(self, cluster: Any) -> None:
        """We need not know."""

    def on_ray_dashboard_created(self, port: int) -> None:
        """Nor this."""

    def on_spark_job_created(self, job_group: str) -> None:
        """Nor this."""


def settings_for_spark(directory: str) -> dict[str, str]:
    """What must be in the environment while Ray is started inside Spark."""
    variables = {**ONE_THREAD, "RAY_USAGE_STATS_ENABLED": "0"}
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:  # which has a hook of its own
        return variables
    variables |= new_token(directory)
    if "RAY_AUTH_MODE" in variables:
        variables["RAY_ON_SPARK_START_HOOK"] = f"{__name__}.{SparkHook.__name__}"
    return variables


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Without the pages that are printed when Ray starts and stops inside Spark."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def own_code() -> Code:
    """rlbook, for machines that lack it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(package_zip(directory))
        return path.stem, path.read_bytes()
