"""What Ray is given to run. It needs nothing of rlbook, and may bring rlbook with it.

Ray gets this module by value, so that it also runs on machines where rlbook is not installed. What
it does there is in `rlbook.backends.ray.host`, which it imports only when it has brought the code.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import zipfile
from typing import Any

# rlbook's code: a name that says which version it is, and a zip. None where it need not be brought.
Code = tuple[str, bytes] | None


class Actor:
    """Holds a host, which holds a worker; and has the methods of `Host`."""

    def __init__(self, code: Code, variables: dict[str, str]) -> None:
        os.environ.update(variables)  # before numerical libraries are loaded, which read them
        bring(code)
        from rlbook.backends.ray.host import Host

        self.host = Host()

    def build(self, *message: Any) -> Any:
        """Make the worker."""
        return self.host.build(*message)

    def restore(self, *message: Any) -> Any:
        """Make the worker from a snapshot."""
        return self.host.restore(*message)

    def call(self, *message: Any) -> Any:
        """Call a method of the worker."""
        return self.host.call(*message)

    def keep(self, *message: Any) -> Any:
        """The same; the result apart from what became of the call."""
        return self.host.keep(*message)

    def replay(self, *message: Any) -> Any:
        """The same, when the result is known already."""
        return self.host.replay(*message)

    def snapshot(self) -> Any:
        """The worker's snapshot."""
        return self.host.snapshot()


def run_task(code: Code, function: Any, item: Any) -> Any:
    """What `Ray.run` runs in Ray."""
    bring(code)
    from rlbook.backends.ray.host import run

    return run(function, item)


def bring(code: Code) -> None:
    """Have rlbook imported from this code, which is unpacked once on each machine."""
    if code is None:
        return
    name, content = code
    parent = sys.modules["ray"]._private.worker._global_node.get_session_dir_path()
    directory = os.path.join(parent, name)
    if not os.path.isdir(directory):
        part = tempfile.mkdtemp(dir=parent)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(part)
        try:
            os.rename(part, directory)
        except OSError:  # another process was first
            shutil.rmtree(part)
    if directory not in sys.path:
        sys.path.insert(0, directory)
