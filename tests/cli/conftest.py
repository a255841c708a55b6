"""Fixtures that run the command line in this process, or as a separate program."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from rlbook.cli import main

LAKE = "rlbook/FrozenLake-v0"


class Said(NamedTuple):
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def content(self) -> Any:
        """The one JSON object on stdout."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Run each test in a folder of its own, and end all programs that it started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):  # which turn colours on
        monkeypatch.delenv(name, raising=False)
    yield
    while _started:
        with _started.pop() as process:  # which closes the pipes
            process.kill()


@pytest.fixture
def rlbook(capsys) -> Callable[..., Said]:
    """Return a function that runs a command in this process: `rlbook("list", "--json")`."""

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        return Said(main([str(argument) for argument in arguments]), *capsys.readouterr())

    return run


@pytest.fixture
def trained(rlbook) -> str:
    """A run folder."""
    done = rlbook("train", "--algo", "q_learning", "--env", LAKE, "--steps", 2000, "--out", "lake")
    assert done.code == 0
    return "lake"


def start(
    *arguments: object, variables: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """`rlbook` as a program of its own."""
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-m", "rlbook", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **(variables or {})},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )
    _started.append(process)
    return process


def on_a_terminal(stream: str, *arguments: object) -> tuple[str, subprocess.Popen[str]]:
    """Run `rlbook` with a terminal as `stream`; return what it shows, and the ended program."""
    ours, theirs = pty.openpty()
    size = {"TERM": "xterm-256color", "COLUMNS": "120"}
    process = start(*arguments, variables=size, **{stream: theirs})
    os.close(theirs)
    shown = b""
    while piece := _read(ours):
        shown += piece
    os.close(ours)
    process.wait()
    return shown.decode(), process


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody is at the other end any more
        return b""
