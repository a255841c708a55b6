"""Tests of names on the command line: a wrong one gives an error in one line, no traceback."""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import pytest

import rlbook as library
from rlbook import QLearning, saving
from rlbook.cli import names
from rlbook.cli.errors import UserError
from tests.cli.conftest import LAKE, start

TRAIN = ("train", "--algo", "q_learning", "--env", LAKE)
WORLD = """
import gymnasium
open("imported", "a").close()
gymnasium.register(id="Pond-v0", entry_point="rlbook_envs.frozen_lake:make_env",
                   max_episode_steps=20)
"""


@pytest.mark.parametrize(
    "typed, answer",
    [
        (["trian"], "no such command 'trian': did you mean 'train'?"),
        (["train", "--algo", "q_lerning", "--env", LAKE],
         "no algorithm 'q_lerning': did you mean q_learning?"),
        (["train", "--algo", "QLearning", "--env", LAKE],
         "no algorithm 'QLearning': did you mean q_learning?"),
        (["train", "--env", LAKE], "--algo is missing: try --algo q_learning --env"),
        (["train", "--algo", "q_learning"], "--env is missing: try --algo q_learning --env"),
        (["train", "--algo", "q_learning", "--env", "FrozenLake-v0"],
         f"no environment 'FrozenLake-v0': did you mean {LAKE}?"),
        (["train", "--algo", "q_learning", "--env", "taxy-v4"],
         "no environment 'taxy-v4': did you mean Taxi-v4?"),
        (["train", "--algo", "q_learning", "--env", "xyzzyx"],
         "no environment 'xyzzyx': `rlbook list envs`"),
        (["train", "--algo", "q_learning", "--env", "nowhere:X-v0"],
         "the module 'nowhere' cannot be imported: No module named 'nowhere'"),
        (["train", "--algo", "q_learning", "--env", "MountainCar-v0"],
         "observation_space must be Discrete, "),
        ([*TRAIN, "--backend", "rai"], "no backend 'rai': did you mean ray?"),
        ([*TRAIN, "--pattern", "shared_tables"],
         "no pattern 'shared_tables': did you mean shared_table?"),
        ([*TRAIN, "--pattern", "gossip"],
         "no pattern 'gossip': QLearning has averaged_tables, shared_table"),
        ([*TRAIN, "--set", "learing_rate=1"],
         "no hyperparameter 'learing_rate': did you mean learning_rate?"),
        ([*TRAIN, "--set", "zzz=1"], "no hyperparameter 'zzz': q_learning has learning_rate,"),
        ([*TRAIN, "--set", "epsilon"], "--set must be NAME=VALUE, got epsilon"),
        ([*TRAIN, "--set", "epsilon=much"], "epsilon must be a number or a schedule, got much"),
        ([*TRAIN, "--set", "epsilon=7"], "epsilon must be a number from 0 to 1, got 7.0"),
        ([*TRAIN, "--set", "sync_every=1.5"], "sync_every must be a whole number, got 1.5"),
        ([*TRAIN, "--steps", "0"], "--steps must be a whole number of at least 1, got 0"),
        ([*TRAIN, "--steps", "lots"], "invalid value for '--steps': 'lots' is not a whole number"),
        ([*TRAIN, "--seed=-1"], "seed must be a whole number of at least 0, got -1"),
        ([*TRAIN, "--workers", "2"],
         "--workers must be at most the number of environments, --num-envs=1, got 2"),
        (["train", "--stesp", "3"], "no such option: --stesp: did you mean --steps?"),
        (["train", "--resume", "nothing"], "no run 'nothing': use `rlbook train` to make one"),
        (["evaluate"], "missing argument 'RUN' (see rlbook evaluate --help)"),
        (["watch"], "nothing to watch: give either RUN, or --random and --env"),
        (["watch", "--random"], "--env is missing: try --random --env"),
        (["watch", "--random", "--env", LAKE, "--out", "film.mp4"],
         "--out must end in .html or .gif, got film.mp4"),
        (["watch", "--random", "--env", LAKE, "--out", "film.gif", "--terminal"],
         "--out and --terminal cannot be used together"),
        (["watch", "--random", "--env", LAKE, "--out", "no/film.gif"],
         "--out must be in an existing folder, got no/film.gif"),
        (["watch", "--random", "--env", "Blackjack-v1"],
         "Blackjack-v1 cannot be drawn as text: use --out film.html"),
        (["list", "worlds"], "invalid value for 'what': 'worlds' is not one of 'algos', 'envs'"),
        (["list", "--algo", "sarsaparilla"], "no algorithm 'sarsaparilla': "),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line(typed, answer, rlbook):
    done = rlbook(*typed)
    assert done.err.startswith(f"error: {answer}")
    assert done.code == 2 and done.out == "" and done.err.count("\n") == 1


@pytest.mark.parametrize(
    "typed, answer",
    [
        (["--seed", "3"], "--seed cannot change when a run is resumed: leave it out"),
        (
            ["--pattern", "shared_table"],
            "--pattern cannot change when a run is resumed: leave it out",
        ),
        (["--set", "epsilon=0"], "--set cannot change when a run is resumed: leave it out"),
        (["--env", "Taxi-v4"], f"--env cannot change when a run is resumed: it is {LAKE}"),
        (["--steps", "1000"], "--steps must be at least 2000, the steps taken so far, got 1000"),
        (["--backend", "sparc"], "no backend 'sparc': did you mean spark?"),
    ],
)
def test_what_cannot_change_in_a_run(typed, answer, trained, rlbook):
    done = rlbook("train", "--resume", trained, *typed)
    assert done.code == 2 and done.err == f"error: {answer}\n"


def test_numbers_as_people_write_them():
    assert [names.whole(text) for text in ("7", "1_000", "1,000", "1e6", "-3")] == [
        7, 1000, 1000, 10**6, -3
    ]  # fmt: skip


def test_hyperparameters_get_the_type_that_they_have():
    settings = names.parse_settings("q_learning", ["gamma=1", "sync-every = 1e3"])
    assert settings == {"gamma": 1.0, "sync_every": 1000}
    assert [type(value) for value in settings.values()] == [float, int]


@dataclass
class Falling:
    """A schedule."""

    start: float
    steps: float


@pytest.mark.parametrize(
    "hint, text, value",
    [
        (float | None, "none", None),
        (float | None, "0.5", 0.5),
        (int | None, "None", None),
        (bool, "True", True),
        (bool, "false", False),
        (str, "none", "none"),
        (float | Falling | None, "1", 1.0),
        (float | Falling | None, "falling(1, 1e3)", Falling(1.0, 1000.0)),
        (float | Falling | None, "Falling( 1, steps = 5 )", Falling(1.0, 5.0)),
    ],
)
def test_values_of_every_type(hint, text, value):
    found = names._parse("x", text, hint)
    assert found == value and type(found) is type(value)
    assert value is None or names._parse("x", str(names.as_typed(value)), hint) == value


@pytest.mark.parametrize(
    "hint, text, allowed",
    [
        (bool, "1", "true or false"),
        (int | None, "x", "a whole number or none"),
        (float, "", "a number"),
        (float, "falling(1, 2)", "a number"),
        (None | float | Falling, "falling(1)", "falling(start, steps)"),
        (float | Falling, "falling(1, 2, 3)", "falling(start, steps)"),
        (float | Falling, "falling(1, end=2)", "falling(start, steps)"),
        (float | Falling | None, "rising(1)", "a number, a schedule or none"),
    ],
)
def test_values_of_the_wrong_type(hint, text, allowed):
    with pytest.raises(UserError) as error:
        names._parse("x", text, hint)
    assert str(error.value.message) == f"x must be {allowed}, got {text}"


def test_the_module_of_a_world_is_imported_only_when_a_person_names_it(rlbook):
    Path("pond.py").write_text(WORLD)
    mine = "pond:Pond-v0"
    try:
        done = rlbook(
            "train", "--algo", "q_learning", "--env", mine, "--steps", 500, "--out", "r", "--json",
            "--num-envs", 2, "--backend", "multiprocessing",
        )  # fmt: skip
        assert done.code == 0 and done.content["env"] == mine
        assert Path("imported").exists()

        Path("imported").unlink()
        del sys.modules["pond"], gymnasium.registry["Pond-v0"]
        for typed in (["evaluate", "r"], ["watch", "r"], ["evaluate", "r/checkpoint.rlbook"],
                      ["train", "--resume", "r", "--steps", "1000"]):  # fmt: skip
            refused = rlbook(*typed)
            assert refused.code == 2 and "if you trust it, add --env pond:Pond-v0" in refused.err
        assert not Path("imported").exists() and "pond" not in sys.modules

        assert rlbook("evaluate", "r", "--env", mine, "--json").content["env"] == mine
        assert rlbook("train", "--resume", "r", "--env", mine, "--steps", 1000).code == 0
    finally:
        sys.modules.pop("pond", None)
        gymnasium.registry.pop("Pond-v0", None)


def test_a_strangers_config_cannot_make_python_import_a_module(trained, rlbook):
    Path("pond.py").write_text(WORLD)
    config = Path("lake/config.json")
    config.write_text(config.read_text().replace(LAKE, "pond:Pond-v0"))
    header, arrays = saving.load("lake/checkpoint.rlbook", "QLearning")
    saving.save("lake/checkpoint.rlbook", "QLearning", {**header, "env": "pond:Pond-v0"}, arrays)
    for typed in (["train", "--resume", "lake"], ["evaluate", "lake"]):
        assert rlbook(*typed).code == 2
    assert not Path("imported").exists() and "pond" not in sys.modules


def test_runs_that_are_damaged_or_none(trained, rlbook):
    assert "did you mean lake?" in rlbook("evaluate", "laek").err
    Path("empty").mkdir()
    assert "empty contains no agent: it has no checkpoint.rlbook" in rlbook("evaluate", "empty").err
    assert (
        "empty is not a run folder: it has no config.json"
        in rlbook("train", "--resume", "empty").err
    )
    Path("note.txt").write_text("no agent")
    assert "note.txt is damaged, or no model file" in rlbook("watch", "note.txt").err
    assert "note.txt is not a run folder" in rlbook("train", "--resume", "note.txt").err

    checkpoint = Path("lake/checkpoint.rlbook")
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    done = rlbook("train", "--resume", "lake")
    assert done.code == 2 and "lake/checkpoint.rlbook is damaged" in done.err
    saving.save(checkpoint, "Oracle", {"env": LAKE}, {})
    assert (
        "contains an agent of the class 'Oracle', which this version" in rlbook("watch", "lake").err
    )
    for damage in ("{", "[]", '{"algo": 1}'):
        Path("lake/config.json").write_text(damage)
        assert "lake/config.json is damaged" in rlbook("train", "--resume", "lake").err


def test_an_agent_of_an_environment_without_a_name(rlbook):
    agent = QLearning(lambda: gymnasium.make(LAKE))
    agent.save("agent")
    done = rlbook("evaluate", "agent")
    assert done.err == "error: agent does not name an environment: use --env\n"
    assert rlbook("evaluate", "agent", "--env", LAKE, "--json").content["env"] == LAKE


def test_a_folder_that_holds_something_is_not_written_to(trained, rlbook):
    done = rlbook(*TRAIN, "--out", trained)
    assert (
        done.err == "error: lake already exists: resume it with --resume, or choose another --out\n"
    )
    assert QLearning.load("lake/checkpoint.rlbook").timesteps == 2000


def test_an_error_of_ours_is_not_hidden(rlbook, monkeypatch):
    monkeypatch.setattr("rlbook.cli.evaluate.runs.find", lambda path: None)
    with pytest.raises(AttributeError):
        rlbook("evaluate", "x")


@pytest.mark.parametrize("command", ["", "train", "evaluate", "watch", "list", "doctor"])
def test_help_has_examples(command, rlbook):
    done = rlbook(*filter(None, [command]), "--help")
    assert done.code == 0 and f"$ rlbook {command}" in done.out.partition("Examples")[2]


def test_help_comes_by_itself(rlbook):
    assert rlbook() == rlbook("--help")


def test_version(rlbook):
    assert rlbook("--version") == (0, f"rlbook {library.__version__}\n", "")


def test_the_command_that_is_installed_is_this_one():
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert pyproject["project"]["scripts"] == {"rlbook": "rlbook.cli:main"}


def test_a_reader_who_goes_early_is_no_error():
    process = start("list", "--json")
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait()
