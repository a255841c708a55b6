"""What mybinder.org is told to install, and the measuring of what fits there.

repo2docker reads the files in binder/. Nothing is built here: the tests hold those files to the
rest of the repository, of which they must say nothing a second time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
BINDER = ROOT / "binder"

sys.path.insert(0, str(ROOT / "book" / "tools"))  # a script, which imports another one beside it
import measure_memory  # noqa: E402
from measure_memory import build  # noqa: E402


def lines(name: str) -> list[str]:
    """The lines of a file in binder/, without comments."""
    text = (BINDER / name).read_text(encoding="utf-8")
    return [line for raw in text.splitlines() if (line := raw.split("#")[0].strip())]


# --- what Binder installs -----------------------------------------------------------------------


def test_nothing_overrides_or_widens_what_is_tested_here() -> None:
    # A Dockerfile, an environment.yml or a folder .binder would be used instead of these.
    names = {path.name for path in BINDER.iterdir()}
    assert names == {"README.md", "apt.txt", "postBuild", "requirements.txt", "runtime.txt"}
    assert not (ROOT / ".binder").exists()


def test_binder_installs_what_requirements_txt_pins() -> None:
    included = [line.split()[1] for line in lines("requirements.txt") if line.startswith("-r ")]
    assert [(BINDER / path).resolve() for path in included] == [ROOT / "requirements.txt"]


def test_binder_has_no_second_list_of_versions() -> None:
    pinned = {Requirement(line).name for line in requirements(ROOT / "requirements.txt")}
    for line in requirements(BINDER / "requirements.txt"):
        requirement = Requirement(line)
        assert not requirement.specifier and not requirement.url, f"a version in binder/: {line}"
        assert requirement.name not in pinned, f"named twice: {line}"


def requirements(path: Path) -> list[str]:
    """The lines of a requirements file that name a package."""
    text = path.read_text(encoding="utf-8")
    found = [line.split("#")[0].strip() for line in text.splitlines()]
    return [line for line in found if line and not line.startswith("-")]


def test_torch_comes_from_the_index_of_cpu_builds() -> None:
    options = [line for line in lines("requirements.txt") if line.startswith("--")]
    assert len(options) == 1, f"one option, the index, is expected: {options}"
    option, address = options[0].split()
    # Extra: PyPI stays the index of everything else.
    assert option == "--extra-index-url"
    index = urlsplit(address)
    assert index.scheme == "https" and (index.hostname or "").endswith(".pytorch.org")
    assert index.path == "/whl/cpu"


def test_python_is_a_version_that_rlbook_supports() -> None:
    (runtime,) = lines("runtime.txt")
    found = re.fullmatch(r"python-(\d+\.\d+)", runtime)
    assert found, f"repo2docker reads python-X.Y, not {runtime!r}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert found[1] in SpecifierSet(project["requires-python"])


def test_java_is_new_enough_for_spark() -> None:
    versions = [re.fullmatch(r"openjdk-(\d+)-jre-headless", line) for line in lines("apt.txt")]
    found = [int(version[1]) for version in versions if version]
    assert len(found) == 1, "apt.txt names one Java runtime"
    assert found[0] >= 17


def test_post_build_installs_rlbook_as_make_does() -> None:
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    install = "--no-deps --no-build-isolation --editable ."
    assert any(line.startswith("pip install") and line.endswith(install) for line in lines(script))
    assert install in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_link_opens_a_file_of_this_repository() -> None:
    page = (BINDER / "README.md").read_text(encoding="utf-8")
    (address,) = re.findall(r"\((https://mybinder\.org/v2/[^)]*)\)", page)
    link = urlsplit(address)
    repository, branch = build.repository_setting()
    assert link.path == f"/v2/gh/{repository}/{branch}"
    assert parse_qs(link.query) == {"labpath": ["book/index.ipynb"]}


# --- measuring memory ---------------------------------------------------------------------------

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")

HUNGRY = """
import os, sys, time
from pathlib import Path
meal = b"x" * int(sys.argv[1]) * 2**20
children = [pid for _ in range(int(sys.argv[2])) if (pid := os.fork())]
ready = Path(sys.argv[3])
(ready.parent / f"{ready.name}{os.getpid()}").touch()
time.sleep(60)
"""

# How a notebook's cell starts the program above, whose command is in `command`.
WAYS = {
    "child": "subprocess.Popen(command)",
    "child that lost the mark": "subprocess.Popen(command, env={})",
    "orphan": 'subprocess.run(["sh", "-c", shlex.join(command) + " &"], check=True)',
    "daemon": 'subprocess.run(["setsid", "-f", *command], check=True)',
}

CELL = """
import os, shlex, signal, subprocess, time
from pathlib import Path
command = {command!r}
{start}
while len(ready := list(Path({folder!r}).glob("ready*"))) < {processes}:
    time.sleep(0.05)
time.sleep(0.5)  # several samples
for path in ready:
    os.kill(int(path.name.removeprefix("ready")), signal.SIGKILL)
"""


def peak_of_notebook(folder: Path, start: str, megabytes: int, forks: int = 0) -> int:
    """The measured peak of a notebook whose other process holds so many MB, shared by its forks."""
    program = folder / "hungry.py"
    program.write_text(HUNGRY, encoding="utf-8")
    command = [sys.executable, str(program), str(megabytes), str(forks), str(folder / "ready")]
    source = CELL.format(command=command, start=start, folder=str(folder), processes=1 + forks)
    path = folder / "hungry.ipynb"
    cells = [nbformat.v4.new_code_cell(source)]
    build.write_notebook(nbformat.v4.new_notebook(cells=cells), path)
    peak, failure = measure_memory.measure_notebook(path, timeout=60)
    assert not failure
    return peak


@pytest.fixture
def samples_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_memory, "INTERVAL", 0.05)


@on_linux
@pytest.mark.usefixtures("samples_often")
@pytest.mark.parametrize("way", WAYS)
def test_memory_of_processes_that_a_notebook_starts_counts(way: str, tmp_path: Path) -> None:
    # The kernel itself, and Python twice, take what is above 300.
    assert 300 <= peak_of_notebook(tmp_path, WAYS[way], megabytes=300) < 600


@on_linux
@pytest.mark.usefixtures("samples_often")
def test_shared_memory_counts_once(tmp_path: Path) -> None:
    peak = peak_of_notebook(tmp_path, WAYS["child"], megabytes=300, forks=3)
    assert 300 <= peak < 600


@on_linux
def test_a_process_that_hid_its_mark_and_lost_its_parent_stays_known() -> None:
    with measure_memory.watching():
        mark = os.environ[measure_memory.MARK]
        family = measure_memory.Family(mark)
        script = 'env -i sleep 60 > /dev/null & echo "$!"; read line'
        shell = subprocess.Popen(["sh", "-c", script], stdin=-1, stdout=-1, text=True)
        assert shell.stdin is not None and shell.stdout is not None
        sleeper = int(shell.stdout.readline())
        try:
            while measure_memory.read(sleeper, "environ"):  # until `env -i` has become `sleep`
                time.sleep(0.01)
            assert {shell.pid, sleeper} <= family.members()
            shell.communicate("end\n")  # the shell is gone, and with it the sleeper's parent
            assert sleeper in family.members()
            assert family.memory() > 0
            assert sleeper not in measure_memory.Family(mark).members()
        finally:
            os.kill(sleeper, signal.SIGKILL)


@on_linux
def test_only_what_is_started_while_watching_counts() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with measure_memory.watching():
            family = measure_memory.Family(os.environ[measure_memory.MARK])
            assert family.members() == set() and family.memory() == 0
        assert measure_memory.MARK not in os.environ
    finally:
        sleeper.kill()
        sleeper.wait()


@on_linux
def test_a_failing_notebook_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "failing.ipynb"
    cells = [nbformat.v4.new_code_cell("1 / 0")]
    build.write_notebook(nbformat.v4.new_notebook(cells=cells), path)
    _, failure = measure_memory.measure_notebook(path, timeout=60)
    assert "ZeroDivisionError" in failure


def test_the_verdict_leaves_room() -> None:
    verdicts = [measure_memory.verdict(megabytes) for megabytes in (1800, 1900, 2048, 2049)]
    assert verdicts == ["yes", "barely", "barely", "no"]


def results() -> dict:
    return measure_memory.load_results()


def test_the_table_is_that_of_the_results() -> None:
    page = (BINDER / "README.md").read_text(encoding="utf-8")
    found = measure_memory.TABLE.findall(page)
    assert found == [measure_memory.table(results())], f"run `{measure_memory.COMMAND}`"


@pytest.mark.parametrize("path", build.chapter_paths(), ids=build.name_of)
def test_each_chapter_was_measured(path: Path) -> None:
    found = results()["chapters"]
    assert path.stem in found, f"run `{measure_memory.COMMAND} --only {path.stem}`"
    assert found[path.stem]["peak_mb"] > 100


def test_a_page_without_its_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("No table here.\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README\.md has 0 places"):
        measure_memory.save_table(results(), page)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
