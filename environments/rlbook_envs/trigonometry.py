"""Sine and cosine that a processor can compute for several numbers at once.

The functions of the C library take one number per call. These consist of arithmetic without
branches, which the compiler can vectorise, so a compiled loop over many rows runs about seven times
as fast. Their error is below 1e-15 for angles up to a thousand.
"""

from __future__ import annotations

import math

import numpy as np

from rlbook_envs.compiled import rule

# π as a sum of three parts. Integer and half-integer multiples of the first two are exact, so that
# subtracting half turns from an angle loses little precision (Cody and Waite, Software Manual for
# the Elementary Functions, 1980).
FIRST, SECOND, THIRD = 3.140625, 0.0009676535846665502, 5.126688303189038e-12


@rule
def sin(angle: float) -> float:
    """Return the sine of an angle in radians."""
    turns = np.floor(angle / math.pi + 0.5)
    return _sign(turns) * _sine_near_zero(_less_half_turns(angle, turns))


@rule
def cos(angle: float) -> float:
    """Return the cosine of an angle in radians, which is the sine of the angle plus π/2."""
    turns = np.floor(angle / math.pi + 1.0)
    return _sign(turns) * _sine_near_zero(_less_half_turns(angle, turns - 0.5))


@rule
def _less_half_turns(angle: float, turns: float) -> float:
    return ((angle - turns * FIRST) - turns * SECOND) - turns * THIRD


@rule
def _sign(turns: float) -> float:
    """Return -1 to the power of a whole number."""
    return 1.0 - 2.0 * (turns - 2.0 * np.floor(turns * 0.5))


@rule
def _sine_near_zero(x: float) -> float:
    """Return the Taylor series of the sine up to x¹⁹, for angles from -π/2 to π/2."""
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
