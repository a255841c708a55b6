"""Workers that know nothing of rlbook, and import nothing."""

import os


class Bare:
    """A worker that does nothing."""

    def noop(self) -> None:
        """Do nothing."""

    def pid(self) -> int:
        """The number of the process that the worker lives in."""
        return os.getpid()


def noop(_: object = None) -> None:
    """Do nothing."""


def pid(_: object = None) -> int:
    """The number of this process."""
    return os.getpid()
