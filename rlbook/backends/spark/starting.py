"""Starting a Spark on this machine: its settings, its Java, and a secret for its processes."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from rlbook.backends import ONE_THREAD, missing_package
from rlbook.backends.processes import announce, environment
from rlbook.backends.spark.java import java_home

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pandas, which we do not use through Spark
        from pyspark import SparkConf, SparkContext
        from pyspark.java_gateway import launch_gateway
except ImportError as error:
    raise missing_package("pyspark", "spark") from error

# A path to a socket can be no longer, on macOS; and Spark's names for its own.
SOCKET_PATH, SOCKET_NAME = 104, len("/.00000000-0000-0000-0000-000000000000.sock")

# A file that is there while Spark starts, if its processes share a secret.
SECRET = "secret.conf"


def start(master: str | None, max_restarts: int, directory: str) -> tuple[Any, bool]:
    """Start Spark.

    Args:
        master: None is this machine, with a slot for each processor.
        max_restarts: how often a task whose process died is tried again.
        directory: for Spark's files.

    Returns:
        The SparkContext, and whether its Java was started for it and must end with it. (A Java
        remembers directories of its first context, which are removed with that.)
    """
    master = master or f"local[{os.cpu_count() or 1},{max_restarts + 1}]"
    settings = configuration(master, max_restarts, directory)
    own_cluster_of_processes = master.startswith("local-cluster")
    gateway = SparkContext._gateway
    if own_cluster_of_processes and java_runs() and gateway is not None and gateway.proc:
        end_java()  # somebody's earlier Spark left it, and its home is elsewhere
    own_java = not java_runs()
    if not own_cluster_of_processes:
        return start_context(settings, directory), own_java
    try:
        with environment(**own_cluster(settings, directory)):
            return start_context(settings, directory), own_java
    finally:
        Path(directory, SECRET).unlink(missing_ok=True)


def on_one_machine(master: str) -> bool:
    """Whether all of Spark's processes are on this machine, and ours."""
    return re.match(r"local(-cluster)?(\[|$)", master) is not None


def configuration(master: str, max_restarts: int, directory: str) -> Any:
    """Spark's settings for a quiet Spark that tries a call as often as we say."""
    settings = {
        "spark.app.name": "rlbook",
        "spark.master": master,
        "spark.task.maxFailures": str(max_restarts + 1),
        "spark.speculation": "false",  # no second copies of slow tasks
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    settings |= {f"spark.executorEnv.{name}": value for name, value in ONE_THREAD.items()}
    host = urlsplit(master).hostname
    if on_one_machine(master) or host in ("localhost", "127.0.0.1"):  # unseen by others
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if on_one_machine(master):
        settings |= {
            "spark.local.dir": directory,
            "spark.executorEnv.PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
            "spark.executorEnv.PYTHONSAFEPATH": "1",  # and not the working directory before it
        }
        settings |= unix_sockets(directory)
    return SparkConf().setAll(list(settings.items()))


def unix_sockets(directory: str) -> dict[str, str]:
    """Have Spark speak to Python through sockets that have no port.

    Nobody else can knock at them; and a call is faster, since TCP holds back small messages until
    earlier ones were acknowledged. Spark before 4.1 ignores these settings.
    """
    if os.name != "posix" or len(directory) + SOCKET_NAME >= SOCKET_PATH:
        return {}
    return {
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.python.unix.domain.socket.dir": directory,
    }


def own_cluster(settings: Any, directory: str) -> dict[str, str]:
    """Environment variables, and settings, for a cluster of processes that others cannot join.

    The secret must not stand on Java's command line, where everybody on this machine can read it,
    so it goes by a file, or to a Java that runs already by its own connection. And Spark's home is
    a directory of links, since that is where Spark makes its executors' directories.
    """
    settings.setAll(
        [
            ("spark.deploy.maxExecutorRetries", "-1"),  # however many were killed
            ("spark.scheduler.minRegisteredResourcesRatio", "1.0"),  # begin when all are there
        ]
    )
    secret = {"spark.authenticate": "true", "spark.authenticate.secret": secrets.token_hex(32)}
    if java_runs():
        settings.setAll(list(secret.items()))
        return {}
    file = Path(directory, SECRET)
    file.touch(mode=0o600)
    file.write_text("".join(f"{name} {value}\n" for name, value in secret.items()))
    home = Path(directory, "home")
    home.mkdir()
    for each in Path(spark_home()).iterdir():
        if each.name != "work":
            (home / each.name).symlink_to(each)
    arguments = os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")
    return {
        "SPARK_HOME": str(home),
        "PYSPARK_SUBMIT_ARGS": f"--properties-file {shlex.quote(str(file))} {arguments}",
    }


def java_runs() -> bool:
    """Whether Spark will use a Java that was started before."""
    gateway = SparkContext._gateway
    started = gateway is not None and (gateway.proc is None or gateway.proc.poll() is None)
    return started or "PYSPARK_GATEWAY_PORT" in os.environ


def end_java() -> None:
    """End the Java of this process."""
    gateway = SparkContext._gateway
    SparkContext._gateway = SparkContext._jvm = None
    gateway.shutdown()
    gateway.proc.stdin.close()  # which tells it to end
    try:
        gateway.proc.wait(10)
    except subprocess.TimeoutExpired:
        gateway.proc.kill()
        gateway.proc.wait()


def spark_home() -> str:
    """Where Spark is installed."""
    return os.environ.get("SPARK_HOME") or os.path.dirname(sys.modules["pyspark"].__file__ or "")


def start_context(settings: Any, directory: str) -> Any:
    """A new SparkContext, on the Java that this process has, if one runs."""
    begin = perf_counter()
    gateway = SparkContext._gateway
    if gateway is not None and gateway.proc is not None and gateway.proc.poll() is not None:
        SparkContext._gateway = SparkContext._jvm = gateway = None  # it was killed
    if gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ:
        with environment(**interpreter(settings)):
            context = SparkContext(conf=settings)
    else:
        context = start_java(settings, directory)
    announce("Spark", perf_counter() - begin)
    return context


def start_java(settings: Any, directory: str) -> Any:
    """A SparkContext on a Java of its own, whose chatter goes to a file, not into the notebook."""
    variables = {"JAVA_HOME": java_home(), **interpreter(settings)}
    if settings.get("spark.master").startswith("local"):
        variables["SPARK_LOCAL_IP"] = "127.0.0.1"  # unseen by others
    with open(os.path.join(directory, "spark.log"), "w+b") as log:
        try:
            with environment(**variables):
                gateway = launch_gateway(settings, {"stdout": log, "stderr": log})
                return SparkContext(conf=settings, gateway=gateway)
        except Exception as error:
            log.seek(0)
            said = log.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"Spark did not start: {error}\nIts last words:\n{said}") from None


def interpreter(settings: Any) -> dict[str, str]:
    """On this machine Spark's processes run this very Python; else it takes `python3`, whichever.

    A SparkContext heeds no setting for this, but an environment variable.
    """
    here = settings.get("spark.master").startswith("local")
    return {"PYSPARK_PYTHON": sys.executable} if here else {}
