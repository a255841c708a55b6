"""One running backend of each kind for all tests, and which tests need which engine."""

import re
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
# Each has a marker of its name.
ENGINES = ["multiprocessing", "ray", "spark"]
# What a shell starts with `&` ignores Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NAMES = ["local scheduled", *backends.BACKENDS]


@pytest.fixture(scope="session", params=NAMES)
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """Each backend in turn. One that cannot start is a failure, never a skip."""
    name = request.param.split()[0]
    with backends.get(name, **OPTIONS.get(request.param, {})) as started:
        yield started


def backend_of(item: pytest.Item) -> str | None:
    """The name of the backend that a test gets from the fixture, if it gets one."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("backend") if callspec else None


def repeats_a_behaviour(item: pytest.Item) -> bool:
    """Whether a test on an engine repeats what another case of the same test shows of it.

    `@pytest.mark.once_per_engine(method="sarsa")` names the case that each engine runs, and
    `@pytest.mark.on_one_engine("multiprocessing")` the engine that is enough.
    """
    once, one = item.get_closest_marker("once_per_engine"), item.get_closest_marker("on_one_engine")
    if one and backend_of(item) not in one.args:
        return True
    params = item.callspec.params
    return bool(once) and any(params[name] != value for name, value in once.kwargs.items())


@pytest.hookimpl(tryfirst=True)  # before pytest looks which marks are asked for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need an engine, and put all tests of one backend together."""
    for item in items:
        if backend_of(item) in ENGINES:
            item.add_marker(backend_of(item))
            if repeats_a_behaviour(item):
                item.add_marker("soak")

    def place(item: pytest.Item) -> int:
        name = backend_of(item)
        return NAMES.index(name) if name in NAMES else -1

    items.sort(key=place)


CLUSTER = re.compile(r"(?<![a-z])(ray|spark)(?![a-z])")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadgroup`, one process runs all tests of Ray, and one all tests of Spark.

    Each of the two then starts only once. What tells them apart is the engine's name in that of the
    test, of its file or of its case. (The groups of pytest-xdist 3.8 itself have no effect with
    pytest 9.2; see its issue 1386.)
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class OneProcessForEachCluster(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            found = CLUSTER.search(nodeid)
            return found[1] if found else nodeid

    return OneProcessForEachCluster(config, log)
