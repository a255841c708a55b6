"""One running backend of each kind for all tests, in an order that starts each only once."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from rlbook import backends

# Few calls between snapshots, so that tests meet them; and restarts enough for all tests together.
OPTIONS: dict[str, dict[str, Any]] = {
    "local": {},
    "local scheduled": {"schedule": 0},
    "multiprocessing": {"snapshot_every": 4, "max_restarts": 100},
    "ray": {"snapshot_every": 4, "max_restarts": 100, "num_cpus": 2},
    "spark": {"max_restarts": 2},
}
MARKS = {"ray": pytest.mark.ray, "spark": pytest.mark.spark}
# What a shell starts with `&` ignores Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NAMES = ["local scheduled", *backends.BACKENDS]
EVERY = [pytest.param(name, marks=MARKS.get(name, ())) for name in NAMES]


@pytest.fixture(scope="session", params=EVERY)
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """Each backend in turn. One that cannot start is a failure, never a skip."""
    name = request.param.split()[0]
    with backends.get(name, **OPTIONS.get(request.param, {})) as started:
        yield started


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of one backend's tests together, whichever file they are in."""

    def place(item: pytest.Item) -> int:
        name = getattr(item, "callspec", None) and item.callspec.params.get("backend")
        return NAMES.index(name) if name in NAMES else -1

    items.sort(key=place)
