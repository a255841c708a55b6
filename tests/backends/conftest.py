"""Groups of workers on the backends that run."""

from collections.abc import Iterator

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
