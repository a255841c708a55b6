"""Our sine and cosine agree with those of the C library."""

import math

import numpy as np

from rlbook_envs import trigonometry
from rlbook_envs.compiled import compile

ANGLES = np.concatenate(
    [
        np.random.default_rng(0).uniform(-1000, 1000, 20_000),
        np.random.default_rng(1).uniform(-0.3, 0.3, 20_000),
        np.arange(-600, 601) * (math.pi / 2),
        [0.0, -0.0, 1e-300, 5e-324, math.pi, -math.pi],
    ]
)


def test_within_1e_15_of_the_exact_values():
    for ours, theirs in ((trigonometry.sin, math.sin), (trigonometry.cos, math.cos)):
        worst = max(abs(ours(angle) - theirs(angle)) for angle in ANGLES.tolist())
        assert worst < 1e-15


def test_compiled_equals_python():
    for function in (trigonometry.sin, trigonometry.cos):
        compiled = compile(function)
        assert [compiled(angle) for angle in ANGLES.tolist()] == [
            function(angle) for angle in ANGLES.tolist()
        ]
