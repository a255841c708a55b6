"""Clusters of Ray and of Spark on this one machine, for the soak and for the tests.

A process can be connected to one Ray and one Spark at a time, and Ray reads some settings only when
it is imported: who starts one of these does it in a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOCAL_CLUSTER = "local-cluster[2,1,1024]"

# For `Ray.on_spark` on a machine that has more to do.
SMALL_NODES = {
    "memory_worker_node": 2**28,
    "object_store_memory_worker_node": 2**27,
    "memory_head_node": 2**28,
    "object_store_memory_head_node": 2**27,
}


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """For a cluster's files. Not in $TMPDIR, whose path may be too long for a socket's."""
    made = Path(tempfile.mkdtemp(prefix="rlbook-test-", dir="/tmp"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


# Ray.


def ray_settings(directory: Path) -> dict[str, str]:
    """Environment variables of a Ray whose nodes are all on this machine.

    They speak to it alone, ask for a token, notice a death soon, and write down where they are in
    this directory rather than in one that all of Ray's drivers share.
    """
    (directory / "ray").mkdir(exist_ok=True)  # which Ray's `Cluster` takes for granted
    token = directory / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(directory),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_health_check_initial_delay_ms": "500",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "4",
    }


def ray_nodes(directory: Path, head_cpus: int, *cpus: int) -> tuple[Any, list[Any]]:
    """Start a Ray: its cluster, and the nodes beside the head. `ray_settings` must be in force."""
    import rlbook.backends.ray.backend  # noqa: F401, I001 - first: it tells Ray what not to print
    from ray.cluster_utils import Cluster

    head = {"include_dashboard": False, "temp_dir": f"{directory}/r"}
    head |= {"num_cpus": head_cpus, "object_store_memory": 2**28}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    return cluster, [cluster.add_node(num_cpus=each, object_store_memory=2**28) for each in cpus]


def session_for_ray() -> Any:
    """A SparkSession with one executor, in which Ray can be started."""
    from pyspark.sql import SparkSession

    python = os.path.dirname(sys.executable)
    os.environ["PATH"] = python + os.pathsep + os.environ["PATH"]  # executors need `ray`
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local-cluster[1,2,1024]")
    return builder.config(map=settings).getOrCreate()


# Spark.


class Standalone:
    """A Spark master and two workers, of one processor each, on this machine.

    Args:
        directory: for their files.
        variables: of their environment, besides the few that they need.

    Attributes:
        master: its address, once this has been entered.
    """

    def __init__(self, directory: Path, variables: Mapping[str, str]) -> None:
        from rlbook.backends.spark.java import java_home
        from rlbook.backends.spark.starting import spark_home

        self.directory = directory
        self.spark_class = os.path.join(spark_home(), "bin", "spark-class")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "JAVA_HOME": java_home(),
            "SPARK_LOCAL_IP": "127.0.0.1",
            **variables,
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Standalone:
        try:
            self.master = self._start("master.Master", r"Starting Spark master at (spark://\S+)")
            for i in range(2):
                directory = str(self.directory / f"work{i}")
                options = ["--cores", "1", "--memory", "1g", "--work-dir", directory, self.master]
                self._start("worker.Worker", "Successfully registered with master", *options)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, name: str, said: str, *options: str) -> str:
        """Start a process, and wait until it has said so; what it said."""
        log = self.directory / f"{name}{len(self.processes)}.log"
        command = [self.spark_class, f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1"]
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [*command, "--port", "0", "--webui-port", "0", *options],
                env=self.environment,
                cwd=self.directory,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.processes.append(process)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            found = re.search(said, log.read_text())
            if found:
                return str(found[found.re.groups])
            time.sleep(0.2)
        raise RuntimeError(f"{name} did not start: {log.read_text()}")

    def __exit__(self, *_: object) -> None:
        for process in self.processes:  # each has its executors in its session
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
