"""What runs. Any process may end between two questions about it: it then no longer counts."""

from collections.abc import Iterable
from typing import Any

import psutil


def running(processes: Iterable[psutil.Process], *facts: str) -> list[dict[str, Any]]:
    """Pid, name and further facts of those that have not ended. (A zombie has.)"""
    found = []
    for process in processes:
        try:
            if process.is_running():
                found.append(process.as_dict(["pid", "name", "status", *facts]))
        except psutil.NoSuchProcess:
            continue
    return [each for each in found if each["status"] != psutil.STATUS_ZOMBIE]
