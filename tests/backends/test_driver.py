"""What an engine started goes with the script or kernel that started it: Ctrl-C, and SIGKILL."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import running

from rlbook.backends.processes import own_directory

BODY = """
import sys, time
from rlbook import backends
class Worker:
    def __init__(self, index): pass
    def sleep(self, seconds): time.sleep(seconds)
backend = backends.get(sys.argv[1])
group = backend.launch(Worker, 2)
group.call("sleep", 0)
print("ready", flush=True)
group.call("sleep", 10_000)
"""

engines = pytest.mark.parametrize(
    "engine",
    [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("ray", "spark")],
)


@pytest.fixture
def driver(engine, tmp_path):
    """A script in the midst of a call, and all the processes that it has started."""
    process = subprocess.Popen(
        [sys.executable, "-c", BODY, engine],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 2
    yield process, started
    for left in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
    process.kill()
    process.communicate()


def left_after(seconds, processes):
    """Which of the processes still run then."""
    deadline = time.monotonic() + seconds
    while (left := running(processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def directories(pid):
    """What a process with this number owned, wherever an engine keeps its files."""
    places = (Path("/tmp"), Path("/dev/shm"))
    return [found for place in places for found in place.glob(f"rlbook-*-{pid}-*")]


@engines
def test_ctrl_c_ends_a_script_and_all_that_it_started(driver):
    process, started = driver
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt"), said
    assert left_after(10, started) == []
    assert directories(process.pid) == []


@engines
def test_when_the_driver_is_killed_nothing_outlives_it_for_long(driver, engine):
    process, started = driver
    # Ray's own watchers look up only now and then, and end within a minute.
    watchers = [each["pid"] for each in running(started) if each["name"].endswith("Agent")]
    process.kill()
    process.communicate()
    assert left_after(10, [each for each in started if each.pid not in watchers]) == []
    for place in {found.parent for found in directories(process.pid)}:
        own_directory(str(place)).cleanup()  # as the next start does
    assert directories(process.pid) == []


CELL = """
import os, time
from rlbook import backends
class Worker:
    def __init__(self, index): self.count = 0
    def next(self, seconds=0):
        time.sleep(seconds)
        self.count += 1
        return self.count
backend = backends.get({!r}, max_pending=100)  # with an option, so that its engine ends with it
group = backend.launch(Worker, 2)
"""


@engines
def test_a_notebook_cell_that_is_interrupted_does_the_next_no_harm(kernel, engine):
    pid = int(kernel.run(CELL.format(engine), pid="os.getpid()")["pid"])
    started = psutil.Process(pid).children(recursive=True)
    ticket = kernel.start("group.call('next', 5)")
    time.sleep(1.5)
    kernel.interrupt()
    assert kernel.result(ticket) == "KeyboardInterrupt"
    # A worker of Ray's finishes the call, which counts; on Spark it is cancelled and does not.
    counted = {"ray": "[2, 2]", "spark": "[1, 1]"}[engine]
    assert kernel.run("", again="group.call('next')") == {"again": counted}
    other = kernel.run(
        "", other="backend.launch(Worker, 1).call('next')", one="backend.run(abs, [-1])"
    )
    assert other == {"other": "[1]", "one": "[1]"}
    assert kernel.run("backend.close()") == {}
    assert left_after(10, started) == []
    assert directories(pid) == []


@engines
def test_a_kernel_restarted_in_the_midst_of_a_call_leaves_nothing(kernel, engine):
    pid = int(kernel.run(CELL.format(engine), pid="os.getpid()")["pid"])
    started = psutil.Process(pid).children(recursive=True)
    assert len(started) >= 2
    watchers = [each["pid"] for each in running(started) if each["name"].endswith("Agent")]
    kernel.start("group.call('next', 10_000)")
    time.sleep(1)
    kernel.restart(now=True)
    kernel.ready()
    assert left_after(10, [each for each in started if each.pid not in watchers]) == []
    assert kernel.run(CELL.format(engine), fresh="group.call('next')") == {"fresh": "[1, 1]"}
    assert directories(pid) == []  # the start has swept them
    assert kernel.run("backend.close()") == {}
