"""Tests of `rlbook train`: run folders, resuming a run, and output on a terminal."""

import csv
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from probes import same_states

import rlbook as library
from rlbook import QLearning, saving
from tests.cli.conftest import LAKE, on_a_terminal, start

# An environment that is stepped from Python, so that training takes some seconds; many rounds.
SLOW = ["--algo", "q_learning", "--env", "FrozenLake-v1", "--num-envs", "2", "--seed", "3"]
SLOW += ["--set", "sync_every=100", "--steps", "60_000"]


def steps_of(path):
    return saving.load(path, "QLearning")[0]["timesteps"]


def wait_until(condition, process):
    """Wait, but not for a program that has ended."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def assert_same(agent, other):
    assert np.array_equal(agent.q, other.q)
    assert agent.timesteps == other.timesteps
    assert same_states(agent._states, other._states)
    for name in ("timesteps", "episode_returns", "episode_lengths"):
        assert np.array_equal(getattr(agent.history, name), getattr(other.history, name))
    assert agent.history.metrics.keys() == other.history.metrics.keys()
    for name, values in agent.history.metrics.items():
        assert np.array_equal(values, other.history.metrics[name])


def test_the_command_is_the_library_word_for_word(rlbook):
    done = rlbook(
        "train", "--algo", "q_learning", "--env", LAKE, "--steps", "1e4", "--seed", 7,
        "--num-envs", 4, "--workers", 2, "--set", "learning_rate=0.2", "--set", "epsilon=0.3",
    )  # fmt: skip
    assert done.code == 0 and done.err == ""
    agent = QLearning(LAKE, seed=7, num_envs=4, learning_rate=0.2, epsilon=0.3)
    agent.learn(10_000)
    assert_same(QLearning.load("runs/q_learning-rlbook-FrozenLake-v0-7/checkpoint.rlbook"), agent)
    assert f"{agent.history.episode_returns[-100:].mean():.3f}" in done.out


def test_a_pattern_is_trained_by_and_kept(rlbook):
    command = ["train", "--algo", "q_learning", "--env", LAKE, "--steps", "2000", "--out", "run"]
    assert rlbook(*command, "--pattern", "shared_table").code == 0
    assert json.loads(Path("run/config.json").read_text())["pattern"] == "shared_table"
    assert rlbook("train", "--resume", "run", "--steps", "3000").code == 0
    assert QLearning.load("run/checkpoint.rlbook").pattern == "shared_table"


def test_what_a_run_folder_holds(rlbook):
    command = ["train", "--algo", "q_learning", "--env", LAKE, "--steps", "2000", "--out", "a b/c"]
    assert rlbook(*command).code == 0
    folder = Path("a b/c")
    assert {one.name for one in folder.iterdir()} == {
        "config.json", "versions.json", "command.txt", "history.csv", "checkpoint.rlbook"
    }  # fmt: skip
    agent = QLearning.load(folder / "checkpoint.rlbook")
    assert json.loads((folder / "config.json").read_text()) == {
        "algo": "q_learning", "env": LAKE, "seed": 0, "num_envs": 1, "backend": "local",
        "workers": 1, "pattern": "averaged_tables", "steps": 2000,
        "hyperparameters": vars(agent.settings),
    }  # fmt: skip
    assert json.loads((folder / "versions.json").read_text())["numpy"] == np.__version__
    assert (
        (folder / "command.txt").read_text().endswith(f"--env {LAKE} --steps 2000 --out 'a b/c'\n")
    )
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["episode_returns"]) for row in rows] == agent.history.episode_returns.tolist()


def test_run_folders_are_counted(rlbook):
    for name in ("-5", "-5-2", "-5-3"):
        done = rlbook(
            "train", "--algo", "q_learning", "--env", LAKE, "--seed", 5, "--steps", 100, "--json"
        )
        assert done.content["run"] == f"runs/q_learning-rlbook-FrozenLake-v0{name}"


def test_json_is_all_that_is_printed(rlbook):
    done = rlbook("train", "--algo", "q_learning", "--env", LAKE, "--steps", 2000, "--json")
    assert done.err == ""
    agent = QLearning.load("runs/q_learning-rlbook-FrozenLake-v0-0/checkpoint.rlbook")
    seconds = done.content.pop("seconds")
    assert seconds > 0
    assert {key: value for key, value in done.content.items() if key != "seconds"} == {
        "run": "runs/q_learning-rlbook-FrozenLake-v0-0",
        "algo": "q_learning",
        "env": LAKE,
        "seed": 0,
        "steps": 2000,
        "episodes": len(agent.history),
        "mean_return": agent.history.episode_returns[-100:].mean(),
        "finished": True,
    }


def test_a_run_in_which_no_episode_ended(rlbook):
    done = rlbook("train", "--algo", "q_learning", "--env", "CliffWalking-v1", "--steps", 1)
    assert "no episode has ended yet" in done.out
    done = rlbook("train", "--resume", "runs/q_learning-CliffWalking-v1-0", "--json")
    assert done.content["mean_return"] is None


@pytest.fixture(scope="module")
def whole() -> QLearning:
    """What a run of `SLOW` that nobody ended has learned."""
    agent = QLearning("FrozenLake-v1", seed=3, num_envs=2, sync_every=100)
    agent.learn(60_000)
    return agent


@pytest.mark.parametrize(
    "end",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_ended_goes_on_as_if_it_had_not_been(end, whole, rlbook):
    process = start("train", *SLOW, "--out", "run", "--checkpoint-every", "0")
    checkpoint = Path("run/checkpoint.rlbook")
    wait_until(lambda: checkpoint.exists() and steps_of(checkpoint) > 0, process)
    process.send_signal(end)
    out, err = process.communicate()
    taken = steps_of(checkpoint)
    assert 0 < taken < 60_000
    if end == signal.SIGKILL:
        assert process.returncode == -end
    else:
        assert process.returncode == 128 + end
        resume = "rlbook train --resume run"
        assert err == f"saved at step {taken:,} of 60,000; to continue: {resume}\n" and out == ""

    assert rlbook("train", "--resume", "run", "--workers", 2).code == 0
    assert_same(QLearning.load(checkpoint), whole)
    whole.history.to_csv("whole.csv")
    assert Path("run/history.csv").read_text() == Path("whole.csv").read_text()
    assert Path("run/command.txt").read_text().splitlines()[1:] == [
        "rlbook train --resume run --workers 2"
    ]


def test_the_second_ctrl_c_does_not_wait_for_the_round():
    one_round = ["--set", "sync_every=100_000_000", "--steps", "1e8", "--json"]
    process = start("train", *SLOW[:-4], *one_round, "--out", "run")
    wait_until(Path("run/checkpoint.rlbook").exists, process)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130 and err.startswith("saved at step 0 of 100,000,000")
    assert json.loads(out)["finished"] is False


def test_a_finished_run_can_be_given_more_steps(trained, rlbook):
    done = rlbook("train", "--resume", trained)
    assert done.code == 0 and "all 2,000 steps were taken before" in done.out
    assert rlbook("train", "--resume", trained, "--steps", 5000, "--json").content["steps"] == 5000
    agent = QLearning(LAKE)
    agent.learn(2000)
    agent.learn(3000)
    assert_same(QLearning.load("lake/checkpoint.rlbook"), agent)
    assert json.loads(Path("lake/config.json").read_text())["steps"] == 5000


@pytest.mark.parametrize("name, attribute", library.ALGORITHMS.items())
def test_every_algorithm_is_trained_and_goes_on(name, attribute, rlbook):
    """Networks begin to learn after 1,000 steps, so both parts have updates."""
    train = ["train", "--algo", name, "--env", LAKE, "--seed", 4, "--steps", 1120, "--out", "run"]
    assert rlbook(*train).code == 0
    assert rlbook("train", "--resume", "run", "--steps", 1200).code == 0
    kind = getattr(library, attribute)
    agent = kind(LAKE, seed=4)
    agent.learn(1120)
    agent.learn(80)
    loaded = kind.load("run/checkpoint.rlbook")
    assert [loaded.predict(obs) for obs in range(16)] == [agent.predict(obs) for obs in range(16)]
    returns = agent.history.episode_returns
    assert np.array_equal(loaded.history.episode_returns, returns) and len(returns)
    assert rlbook("evaluate", "run", "--json").content["algo"] == name


def test_another_version_is_told(trained, rlbook):
    versions = json.loads(Path("lake/versions.json").read_text())
    Path("lake/versions.json").write_text(json.dumps({**versions, "numba": "0.1", "ray": "0.2"}))
    done = rlbook("train", "--resume", trained)
    assert done.code == 0
    assert done.err == (
        f"note: numba was 0.1 and is now {versions['numba']}, so results may differ from now on\n"
    )


def test_mistakes_leave_no_folder(rlbook):
    for wrong in (["--set", "epsilon=7"], ["--backend", "rai"], ["--workers", "2"], ["--seed=-1"]):
        assert rlbook("train", "--algo", "q_learning", "--env", LAKE, *wrong).code == 2
    assert not Path("runs").exists()


def test_where_there_is_no_terminal_there_is_no_progress():
    process = start("train", "--algo", "q_learning", "--env", LAKE, "--steps", "2000")
    out, err = process.communicate()
    assert process.returncode == 0 and err == ""
    assert "\x1b" not in out and "saved" in out


def test_a_terminal_shows_progress():
    shown, process = on_a_terminal("stderr", "train", *SLOW, "--json")
    assert json.loads(process.stdout.read())["steps"] == 60_000  # and nothing of the bar
    for part in ("q_learning on FrozenLake-v1, seed 3", "of 60k steps", "left", "return 0.", "━"):
        assert part in shown
