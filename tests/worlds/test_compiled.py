"""The cache of machine code notices every change of a rule, in whatever file it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlbook_envs.compiled import cache_directory, compile, rule

RULES = '''
from typing import NamedTuple
import numpy as np
from rlbook_envs.streams import choice
from rlbook_envs.compiled import rule
from prices import ENTRY_FEE, TOLLS

class Pond(NamedTuple):
    size: int

@rule
def pays():
    return 1.0

@rule
def step(pond, state, action, key):
    """To the right with probability 3/4; the last state pays."""
    state = min(state + choice(key, (0.25, 0.75)), pond.size - 1)
    over = state == pond.size - 1
    return state, (pays() if over else 0.0) - ENTRY_FEE - TOLLS[state], over
'''
PRICES = """
import numpy as np
ENTRY_FEE = 0.0
TOLLS = np.zeros(3)
"""
LOOP = """
import json
import numpy as np
import rules
from rlbook_envs.streams import random_bits
from rlbook_envs.compiled import compile, rule
from rules import step

def play(pond, key):
    state, over, total, counter = 0, False, 0.0, 0
    while not over:
        state, reward, over = step(pond, state, 0, random_bits(key, counter))
        total += reward
        counter += 1
    return total

def play_by_module(pond, key):
    return rules.step(pond, pond.size - 1, 0, key)[1]

def play_inside(pond, key):
    def last():
        return rules.step(pond, pond.size - 1, 0, key)[1]
    return last()

compiled_play = compile(play)

def play_compiled(pond, key):
    return compiled_play(pond, key)

answers = {}
for function in (play, play_by_module, play_inside, play_compiled):
    fast = compile(function)
    total = fast(rules.Pond(3), np.uint64(7))
    answers[function.__name__] = total, sum(fast.stats.cache_hits.values())
print(json.dumps(answers))
"""


def python(arguments, folder, cache):
    """Run Python in `folder`, with a cache of its own, and return what it printed."""
    path = os.pathsep.join([str(folder), *(entry for entry in sys.path if entry)])
    environment = {**os.environ, "RLBOOK_CACHE_DIR": str(cache), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.slow
def test_edited_rules_are_seen_in_other_files_and_unedited_ones_are_not_compiled_again(tmp_path):
    for name, text in (("rules", RULES), ("prices", PRICES), ("loop", LOOP)):
        (tmp_path / f"{name}.py").write_text(text)

    def totals_and_hits():
        answers = json.loads(python(["loop.py"], tmp_path, tmp_path / "cache"))
        assert len(answers) == 4
        totals, hits = ({answer[i] for answer in answers.values()} for i in (0, 1))
        return totals, hits

    assert totals_and_hits() == ({1.0}, {0})
    assert totals_and_hits() == ({1.0}, {1})
    edit(tmp_path / "rules.py", "return 1.0", "return 5.0")
    assert totals_and_hits() == ({5.0}, {0})
    # A constant, and an array, of yet another file.
    edit(tmp_path / "prices.py", "np.zeros(3)", "np.array([0.0, 0.0, 3.0])")
    assert totals_and_hits() == ({2.0}, {0})
    assert totals_and_hits() == ({2.0}, {1})
    edit(tmp_path / "rules.py", "return 5.0", "return 1.0")
    edit(tmp_path / "prices.py", "np.array([0.0, 0.0, 3.0])", "np.zeros(3)")
    assert totals_and_hits() == ({1.0}, {1}), "what was compiled first is still there"


VECTOR = """
import sys
import rlbook_envs
from rlbook_envs import frozen_lake, world

envs = world.WorldVectorEnv(frozen_lake.frozen_lake(), num_envs=2)
envs.reset(seed=0)
envs.step([0, 0])
stats = [envs._step_all.stats, envs._reset_all.stats]
print([sum(each.cache_hits.values()) for each in stats])
"""


@pytest.mark.slow
def test_the_batched_step_is_kept(tmp_path):
    (tmp_path / "vector.py").write_text(VECTOR)
    outputs = [python(["vector.py"], tmp_path, tmp_path / "cache") for _ in range(2)]
    assert outputs == ["[0, 0]\n", "[1, 1]\n"]


def test_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("RLBOOK_CACHE_DIR", str(tmp_path))
    assert cache_directory() == tmp_path / "compiled"
    monkeypatch.delenv("RLBOOK_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "rlbook" / "compiled"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache" / "rlbook" / "compiled"


def triple(x):
    return 3 * x


def test_nowhere_to_write(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("not a directory")
    monkeypatch.setenv("RLBOOK_CACHE_DIR", str(file))
    assert compile(triple)(2) == 6


def test_no_file_to_hash(tmp_path):
    program = (
        "from rlbook_envs.compiled import compile, rule\n"
        "@rule\ndef double(x):\n    return 2 * x\n"
        "def four_times(x):\n    return double(double(x))\n"
        "print(compile(four_times)(3))"
    )
    assert python(["-c", program], tmp_path, tmp_path / "cache") == "12\n"


def test_a_rule_stays_a_python_function():
    @rule
    def double(x):
        return 2 * x

    def four_times(x):
        return double(double(x))

    assert double("ab") == "abab"
    assert compile(four_times)(3) == 12


@pytest.mark.parametrize("x", [0.0, 1.0])
def test_division_by_zero_is_as_in_numpy(x):
    def divide(x):
        return x / 0.0

    result = compile(divide)(x)
    assert result != result or result == float("inf")
