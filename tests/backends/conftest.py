"""One running backend of each kind for all tests, in an order that starts each only once."""

from collections.abc import Iterator
from typing import Any

import pytest

from rlbook import backends

# Few calls between snapshots, so that tests meet them; and restarts enough for all tests together.
OPTIONS: dict[str, dict[str, Any]] = {
    "local": {},
    "multiprocessing": {"snapshot_every": 4, "max_restarts": 100},
    "ray": {"snapshot_every": 4, "max_restarts": 100, "num_cpus": 2},
    "spark": {"max_restarts": 2},
}
MARKS = {"ray": pytest.mark.ray, "spark": pytest.mark.spark}
EVERY = [pytest.param(name, marks=MARKS.get(name, ())) for name in OPTIONS]


@pytest.fixture(scope="session", params=EVERY)
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """Each backend in turn. One that cannot start is a failure, never a skip."""
    with backends.get(request.param, **OPTIONS[request.param]) as started:
        yield started


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of one backend's tests together, whichever file they are in."""
    names = list(OPTIONS)

    def place(item: pytest.Item) -> int:
        name = getattr(item, "callspec", None) and item.callspec.params.get("backend")
        return names.index(name) if name in names else -1

    items.sort(key=place)
