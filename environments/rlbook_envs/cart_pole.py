"""CartPole: push a cart left or right to keep its pole from falling.

             \
              \\  pole: angle θ from the upright, in radians
            ___\\___
           |_______|  cart: position x, in metres
    ────────o─────o────────────        actions  0 push left   1 push right

Every step has reward 1. The episode terminates when the cart leaves the track (|x| > 2.4 m) or the
pole leans more than 12 degrees. The state is (x, ẋ, θ, θ̇); an episode begins near rest, with each
number uniform in ±0.05. A step lasts 0.02 s.

The equations of motion are those of Barto, Sutton and Anderson, "Neuronlike adaptive elements that
can solve difficult learning control problems", 1983. They are written and integrated (with Euler's
method) as in Gymnasium's `CartPole-v1`, so that a step from the same state agrees with Gymnasium's
up to the last digit or two. (A balanced pole is unstable and doubles such a difference about every
nine steps, so two very long trajectories diverge in the end.) There is no friction.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule
from rlbook_envs.scene import Scene
from rlbook_envs.streams import random_bits, uniform
from rlbook_envs.trigonometry import cos, sin
from rlbook_envs.world import World, makers

LEFT, RIGHT = 0, 1
X_LIMIT = 2.4  # metres to either side
ANGLE_LIMIT = 12 * 2 * math.pi / 360  # 12 degrees, in radians


class Pole(NamedTuple):
    """Parameters of the rules."""

    gravity: float = 9.8  # m/s²
    cart_mass: float = 1.0  # kg
    pole_mass: float = 0.1  # kg
    half_length: float = 0.5  # m, from the hinge to the middle of the pole
    force: float = 10.0  # N, the force of a push
    seconds: float = 0.02  # s, the duration of a step


class State(NamedTuple):
    """Positions and velocities of the cart and the pole."""

    x: float  # m
    x_speed: float  # m/s
    angle: float  # rad
    angle_speed: float  # rad/s


@rule
def step(pole: Pole, state: State, action: int, key: Any) -> tuple[State, float, bool]:
    """Push the cart and integrate the motion over one step."""
    x, x_speed, angle, angle_speed = state
    force = pole.force if action == RIGHT else -pole.force
    sine, cosine = sin(angle), cos(angle)
    total_mass = pole.cart_mass + pole.pole_mass
    moment = pole.pole_mass * pole.half_length

    push = (force + moment * (angle_speed * angle_speed) * sine) / total_mass
    angle_acceleration = (pole.gravity * sine - cosine * push) / (
        pole.half_length * (4.0 / 3.0 - pole.pole_mass * (cosine * cosine) / total_mass)
    )
    x_acceleration = push - moment * angle_acceleration * cosine / total_mass

    x += pole.seconds * x_speed
    x_speed += pole.seconds * x_acceleration
    angle += pole.seconds * angle_speed
    angle_speed += pole.seconds * angle_acceleration
    terminated = (abs(x) > X_LIMIT) | (abs(angle) > ANGLE_LIMIT)
    return State(x, x_speed, angle, angle_speed), 1.0, terminated


@rule
def reset(pole: Pole, key: Any) -> State:
    """Begin an episode with the pole nearly upright and nearly at rest."""
    return State(
        0.1 * uniform(random_bits(key, 0)) - 0.05,
        0.1 * uniform(random_bits(key, 1)) - 0.05,
        0.1 * uniform(random_bits(key, 2)) - 0.05,
        0.1 * uniform(random_bits(key, 3)) - 0.05,
    )


@rule
def observe(pole: Pole, state: State, out: NDArray[np.float32]) -> None:
    """Write the whole state, in single precision."""
    out[0], out[1], out[2], out[3] = state


@rule
def load(states: NDArray[np.float64], row: int) -> State:
    """Return the state of one row of (4, rows)."""
    return State(states[0, row], states[1, row], states[2, row], states[3, row])


@rule
def store(states: NDArray[np.float64], row: int, state: State) -> None:
    """Write the state of one row into (4, rows)."""
    states[0, row], states[1, row], states[2, row], states[3, row] = state


def cart_pole(**constants: float) -> World:
    """Return the rules of CartPole, by default with the constants of Gymnasium's.

    Args:
        constants: any of `gravity`, `cart_mass`, `pole_mass`, `half_length`, `force` and
            `seconds`; see `Pole` for their units. All must be above 0.

    Raises:
        ValueError: a constant is unknown, or not above 0.
    """
    for name, value in constants.items():
        if name not in Pole._fields:
            raise ValueError(f"constants must be among {', '.join(Pole._fields)}, got {name}")
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a number above 0, got {value!r}")
    far = np.finfo(np.float32).max
    high = np.array([2 * X_LIMIT, far, 2 * ANGLE_LIMIT, far], np.float32)
    return World(
        name="CartPole",
        params=Pole(**{name: float(value) for name, value in constants.items()}),
        reset=reset,
        step=step,
        num_states=None,
        actions=("left", "right"),
        text=text,
        picture=picture,
        blank=np.zeros(4),
        space=gymnasium.spaces.Box(-high, high, dtype=np.float32),
        observe=observe,
        load=load,
        store=store,
        fps=50,
    )


# The entry points of `gymnasium.make("rlbook/CartPole-v0", …)` and `gymnasium.make_vec`.
make_env, make_vector_env = makers(cart_pole)


def text(pole: Pole, state: NDArray[np.float64]) -> str:
    """Return the cart on its track, its position and the angle of the pole as text."""
    x, _, angle, _ = state
    middle = 24
    cart = min(max(round(middle + x / X_LIMIT * middle), 0), 2 * middle)
    lines = []
    for height in (3, 2, 1):
        top = cart + round(2 * height * math.sin(angle) / math.sin(ANGLE_LIMIT) * 0.5)
        sign = "\\|/"[int(np.sign(round(math.degrees(angle)))) + 1]
        lines.append(" " * max(top, 0) + sign)
    lines.append(" " * max(cart - 2, 0) + "[___]")
    lines.append("─" * (2 * middle + 1))
    lines.append(f"x {x:+.2f} m   angle {math.degrees(angle):+.1f}°")
    return "\n".join(lines) + "\n"


def picture(pole: Pole, state: NDArray[np.float64], unit: int = 80) -> NDArray[np.uint8]:
    """Return a picture of the cart from the side, with `unit` pixels per metre, uint8 (h, w, 3)."""
    x, _, angle, _ = (float(number) for number in state)
    length, ground, middle = 2 * pole.half_length, 1.5 + 2 * pole.half_length, X_LIMIT + 0.6
    cart = (middle + x, ground - 0.24)
    hinge = (cart[0], cart[1] - 0.16)
    tip = (hinge[0] + length * math.sin(angle), hinge[1] - length * math.cos(angle))
    steel, blue, orange = (120, 132, 146), (52, 98, 138), (236, 118, 74)

    scene = Scene(2 * middle, ground + 0.4, unit, (244, 247, 250))
    scene.box((0, ground + 0.1), (2 * middle, ground + 0.5), (226, 232, 238))
    scene.line((0.2, ground + 0.1), (2 * middle - 0.2, ground + 0.1), 0.05, steel)
    for end in (middle - X_LIMIT, middle + X_LIMIT):  # where the episode ends
        scene.box((end - 0.02, ground - 0.3), (end + 0.02, ground + 0.1), (196, 74, 66))
    for side in (-0.22, 0.22):
        scene.disc((cart[0] + side, ground), 0.1, (44, 52, 66))
        scene.disc((cart[0] + side, ground), 0.04, (190, 198, 206))
    scene.box((cart[0] - 0.4, cart[1] - 0.16), (cart[0] + 0.4, cart[1] + 0.16), blue, radius=0.06)
    scene.line(hinge, tip, 0.11, orange)
    scene.disc(hinge, 0.075, (250, 214, 120))
    return scene.pixels()
