"""How much code a reader meets who follows DQN from `learn` to the optimiser step."""

import sys
from pathlib import Path

import rlbook
from rlbook.algorithms import dqn

ROOT = Path(rlbook.__file__).parents[1]
PACKAGES = (str(ROOT / "rlbook"), str(ROOT / "environments"))


def length(path):
    return len(Path(path).read_text(encoding="utf-8").splitlines())


def lines_that_run(function):
    """The lines of this library that a call of `function` runs, by file."""
    ran = {}

    def trace(frame, event, argument):
        path = frame.f_code.co_filename
        if not path.startswith(PACKAGES):
            return None
        if event in ("call", "line"):
            ran.setdefault(path, set()).add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return ran


def test_deep_q_learning_is_one_file_of_at_most_150_lines():
    assert length(dqn.__file__) <= 150


def test_no_pattern_is_long():
    for path in (ROOT / "rlbook" / "patterns").glob("*.py"):
        limit = 150 if path.name != "rollout_worker.py" else 300
        assert length(path) <= limit, path.name


def test_following_learn_to_the_optimiser_step_takes_at_most_900_lines():
    rlbook.DQN("CartPole-v1", learning_starts=100, device="cpu").learn(160)  # compiles
    agent = rlbook.DQN("CartPole-v1", learning_starts=100, device="cpu")
    ran = lines_that_run(lambda: agent.learn(320))
    assert agent.algorithm.updates == 110
    lines, files = sum(map(len, ran.values())), sum(map(length, ran))
    print(f"{lines} lines run, in {len(ran)} files of {files} lines")
    assert lines <= 900
