"""`rlbook evaluate` prints the numbers of `rlbook.evaluate`."""

import pytest

from rlbook import QLearning, evaluate
from tests.cli.conftest import LAKE


@pytest.mark.parametrize("what", ["lake", "lake/checkpoint.rlbook"])
def test_the_numbers_are_the_librarys(what, trained, rlbook):
    said = rlbook("evaluate", what, "--episodes", 50, "--seed", 7, "--json").content
    found = evaluate(QLearning.load("lake/checkpoint.rlbook"), episodes=50, seed=7)
    assert said == {
        "run": what,
        "algo": "q_learning",
        "env": LAKE,
        "episodes": 50,
        "seed": 7,
        "mean": found.mean,
        "std": found.std,
        "min": found.returns.min(),
        "max": found.returns.max(),
        "mean_length": found.lengths.mean(),
        "std_length": found.lengths.std(),
        "min_length": found.lengths.min(),
        "max_length": found.lengths.max(),
    }
    printed = rlbook("evaluate", what, "--episodes", 50, "--seed", 7).out
    assert f"{found.mean:.3f}".removesuffix(".000") in printed
    assert f"{found.lengths.mean():.3f}".removesuffix(".000") in printed


def test_in_another_world(trained, rlbook):
    said = rlbook("evaluate", trained, "--env", "FrozenLake-v1", "--json").content
    agent = QLearning.load("lake/checkpoint.rlbook", env="FrozenLake-v1")
    assert said["env"] == "FrozenLake-v1" and said["mean"] == evaluate(agent).mean
    done = rlbook("evaluate", trained, "--env", "rlbook/FrozenLake8x8-v0")
    assert done.code == 2 and "holds a table of another environment: (16, 4)" in done.err
