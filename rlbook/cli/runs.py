"""Run folders: the files that `rlbook train` writes.

    config.json        the arguments of the agent and the number of steps
    versions.json      the versions of Python and of the packages on which the numbers depend
    command.txt        the commands that trained the agent, one per line
    checkpoint.rlbook  the agent, as its `save` writes it
    history.csv        the episodes, written whenever training ends

Every file is replaced as a whole, so that no file is ever half written. No file contains code, and
nothing that is read here makes Python import a module, so it is safe to open the run folder of a
stranger.
"""

from __future__ import annotations

import json
import platform
import shlex
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

import rlbook
from rlbook import saving
from rlbook.cli import names
from rlbook.cli.errors import UserError, in_one_line, no_such

CHECKPOINT = "checkpoint.rlbook"

# The packages on which the numbers of a run depend, and those on which they do not.
NUMERIC = ("numpy", "numba", "gymnasium", "torch")
ENGINES = ("cloudpickle", "ray", "pyspark")


@dataclass(frozen=True)
class Config:
    """The configuration of a run: the arguments of its agent, and its total number of steps."""

    algo: str
    env: str
    seed: int
    num_envs: int
    backend: str
    workers: int
    pattern: str
    steps: int
    hyperparameters: dict[str, Any]


class Run:
    """An existing run folder."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path, self.config = path, config

    @classmethod
    def create(cls, config: Config, out: Path | None) -> Run:
        """Make and return the folder of a new run: `out`, or a new folder named after the run."""
        with in_one_line():
            path = _new_folder(config) if out is None else _empty_folder(out)
            _write_json(path / "versions.json", versions())
        return cls(path, config)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Return the run in a folder.

        Raises:
            UserError: the folder contains no run, or its config.json is damaged.
        """
        check_exists(path)
        if not path.is_dir():
            raise UserError(f"{path} is not a run folder")
        try:
            content = json.loads((path / "config.json").read_bytes())
            config = Config(**content)
            for name, kind in get_type_hints(Config).items():
                if not isinstance(getattr(config, name), getattr(kind, "__origin__", kind)):
                    raise TypeError(name)
        except FileNotFoundError:
            raise UserError(f"{path} is not a run folder: it has no config.json") from None
        except (TypeError, ValueError) as error:
            raise UserError(f"{path / 'config.json'} is damaged") from error
        return cls(path, config)

    @property
    def checkpoint(self) -> Path:
        """The path of the saved agent."""
        return self.path / CHECKPOINT

    def note(self, command: list[str]) -> None:
        """Write the current configuration, and append the command to command.txt."""
        _write_json(self.path / "config.json", asdict(self.config))
        file = self.path / "command.txt"
        before = file.read_text(errors="replace") if file.exists() else ""
        with saving.atomic_write(file) as new:
            new.write(f"{before}{shlex.join(['rlbook', *command])}\n".encode())

    def changed_versions(self) -> list[str]:
        """Return a sentence for each package whose version has changed since the run began."""
        try:
            then = json.loads((self.path / "versions.json").read_bytes())
            now = versions()
            return [
                f"{name} was {then[name]} and is now {now.get(name)}"
                for name in then
                if name not in ENGINES and then[name] != now.get(name)
            ]
        except (OSError, ValueError, TypeError):
            return []

    def resume_command(self) -> str:
        """Return the command that resumes the run."""
        trust = ["--env", self.config.env] if ":" in self.config.env else []
        return shlex.join(["rlbook", "train", "--resume", str(self.path), *trust])


def versions() -> dict[str, str]:
    """Return the versions on which the numbers of a run may depend."""
    found = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "rlbook": rlbook.__version__,
    }
    for package in (*NUMERIC, *ENGINES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Saved:
    """A saved agent that is not loaded yet.

    Attributes:
        file: the checkpoint file.
        algo: the name of the algorithm.
        env: the id of the environment of training, or None if it had no id.
    """

    file: Path
    algo: str
    env: str | None

    def load(self, env: str | None = None, **where: Any) -> Any:
        """Load and return the agent.

        Args:
            env: the id of the environment that the user typed; None for the one of training.
            where: `backend` and `workers`.

        Raises:
            UserError: the file is damaged, or the agent does not fit the environment.
        """
        if env is None and self.env is None:
            raise UserError(f"{self.file} does not name an environment: use --env")
        if env is None and ":" in str(self.env):
            raise UserError(
                f"{self.file} was trained in {self.env!r}, which imports a module: "
                f"if you trust it, add --env {shlex.quote(str(self.env))}"
            )
        with in_one_line():
            return names.algorithm(self.algo).load(self.file, env=env, **where)


def find(path: Path) -> Saved:
    """Return the saved agent of a run folder, or of a file that an agent's `save` wrote.

    Raises:
        UserError: there is no saved agent, or it is damaged.
    """
    check_exists(path)
    file = path / CHECKPOINT if path.is_dir() else path
    algos = {attribute: name for name, attribute in rlbook.ALGORITHMS.items()}
    try:
        with open(file, "rb") as raw, np.load(raw, allow_pickle=False) as content:
            header = json.loads(str(content["header"]))
        kind, env = str(header["kind"]), header["env"]
    except FileNotFoundError:
        raise UserError(f"{path} contains no agent: it has no {CHECKPOINT}") from None
    except Exception as error:  # damaged archives make NumPy and zipfile raise almost anything
        raise UserError(str(saving.damaged(file))) from error
    if kind not in algos:
        raise UserError(
            f"{file} contains an agent of the class {kind!r}, which this version of rlbook lacks"
        )
    return Saved(file, algos[kind], env)


def check_exists(path: Path) -> None:
    """Raise a UserError, with a suggestion, if a path does not exist."""
    if path.exists():
        return
    known: dict[str, str] = {}
    for folder in dict.fromkeys((path.parent, Path("runs"))):
        if folder.is_dir():
            runs = [one for one in sorted(folder.iterdir()) if (one / "config.json").exists()]
            known |= {str(one): str(one) for one in runs} | {one.name: str(one) for one in runs}
    raise no_such("run", str(path), known, "use `rlbook train` to make one")


def _new_folder(config: Config) -> Path:
    env = config.env.replace("/", "-").replace(":", "-")
    name = f"{config.algo}-{env}-{config.seed}"
    count = 1
    while True:
        path = Path("runs") / (name if count == 1 else f"{name}-{count}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            count += 1


def _empty_folder(path: Path) -> Path:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} already exists: resume it with --resume, or choose another --out")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with saving.atomic_write(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
