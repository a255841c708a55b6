"""All four engines in one notebook kernel, started, stopped and started again."""

import nbformat
import pytest
from nbclient import NotebookClient

DEFINE = """
import gymnasium
import numpy as np
import rlbook


class Corridor(gymnasium.Env):  # known to nobody but this notebook
    observation_space = gymnasium.spaces.Discrete(5)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.cell = 2
        return self.cell, {}

    def step(self, action):
        self.cell += 2 * int(action) - 1
        ended = self.cell in (0, 4)
        return self.cell, float(self.cell == 4), ended, False, {}


def learn(backend):
    with rlbook.backends.get(backend) as engine:
        options = {"seed": 1, "num_envs": 2, "sync_every": 200, "workers": 2}
        agent = rlbook.QLearning(Corridor, backend=engine, **options)
        agent.learn(1_000)
    return agent.q


tables = [learn("local")]
"""


@pytest.mark.ray
@pytest.mark.spark
def test_every_engine_twice_in_one_kernel(tmp_path):
    """Engines leave nothing behind that keeps another, or themselves, from starting."""
    turns = ["multiprocessing", "ray", "spark"] * 2
    cells = [DEFINE, *(f"tables.append(learn({name!r}))" for name in turns)]
    cells.append("assert len(tables) == 7 and all(np.array_equal(q, tables[0]) for q in tables)")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
