"""The workers of an agent, which live from its first call of `learn` until it is closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlbook.backends import Backend, Group


class Workers:
    """Groups of workers on one backend, each launched once and kept.

    Args:
        backend: where they run.
        owned: whether to close the backend too when the workers are released.
        resources: what each worker gets; see `Backend.launch`.
    """

    def __init__(
        self, backend: Backend, owned: bool, resources: Mapping[str, float] | None
    ) -> None:
        self.backend, self.owned, self.resources = backend, owned, resources
        self.groups: dict[str, Group] = {}
        self.released = False

    def group(self, worker_class: Callable[..., Any], n: int, make_args: Callable[[], Any]) -> Any:
        """Return the group of this class, launching `n` workers at the first call.

        Args:
            make_args: returns the constructor's arguments after `index`; called only to launch.
        """
        name = getattr(worker_class, "__qualname__", str(worker_class))
        if name not in self.groups:
            self.groups[name] = self.backend.launch(
                worker_class, n, *make_args(), resources=self.resources
            )
        return self.groups[name]

    def end(self) -> None:
        """End all workers; the next call of `group` launches new ones."""
        while self.groups:
            _, group = self.groups.popitem()
            group.close()

    def release(self) -> None:
        """End all workers, and close the backend if it was made for them alone."""
        self.released = True
        self.end()
        if self.owned:
            self.backend.close()
