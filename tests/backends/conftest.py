"""Groups of workers on the backends that run, and kernels as notebooks have them."""

import contextlib
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlbook import backends


@pytest.fixture
def fragile(backend: backends.Backend) -> Iterator[backends.Backend]:
    """One more of its kind, on the engine that runs, which gives up at a second death."""
    with backends.get(backend.name, max_restarts=1) as started:
        yield started


@pytest.fixture(scope="module")
def launched(backend: backends.Backend, request: pytest.FixtureRequest) -> Iterator[backends.Group]:
    """Two workers of the test module's `Worker`, for all its tests: they start slowly."""
    group = backend.launch(request.module.Worker, 2, 10)
    yield group
    group.close()


@pytest.fixture
def group(launched: backends.Group) -> backends.Group:
    """These two workers as they were when they were new."""
    launched.map("__init__", [(0, 10), (1, 10)])
    return launched


@pytest.fixture
def places(tmp_path) -> Iterator[tuple[list[Path], bool]]:
    """In place of memory and disk, two directories with room for a megabyte each.

    And whether that is so: it takes root.
    """
    directories = [tmp_path / "memory", tmp_path / "disk"]
    mounted = []
    for each in directories:
        each.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(each)]
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run(command, capture_output=True).returncode == 0:
                mounted.append(each)
    yield directories, mounted == directories
    for each in mounted:
        subprocess.run(["umount", "--lazy", str(each)], check=True)


@pytest.fixture
def kernel():
    """Runs cells in a kernel, from another thread; gives what they print, or their error's name."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")

    class Kernel:
        interrupt, restart = manager.interrupt_kernel, manager.restart_kernel

        def start(self, code):
            # Else the kernel would refuse a next cell that comes too soon after an interrupt.
            return client.execute(textwrap.dedent(code), stop_on_error=False)

        def result(self, ticket):
            reply = client.get_shell_msg(timeout=120)
            while reply["parent_header"]["msg_id"] != ticket:
                reply = client.get_shell_msg(timeout=120)
            content = reply["content"]
            values = content.get("user_expressions", {})
            return content.get("ename") or {
                name: value["data"]["text/plain"] for name, value in values.items()
            }

        def run(self, code, **expressions):
            code = textwrap.dedent(code)
            return self.result(client.execute(code, user_expressions=expressions))

        def ready(self):
            client.wait_for_ready(timeout=120)

    yield Kernel()
    client.stop_channels()
    manager.shutdown_kernel(now=True)
