"""Flappy Bird: flap at the right times to fly through the gaps between the pipes.

        │   │           │   │
        └───┘           │   │      actions  0 wait   1 flap
                        └───┘
      (o>               ┌───┐      A flap throws the bird up. Gravity takes it down.
        ┌───┐           │   │
        │   │           │   │
    ────┴───┴───────────┴───┴────

A step is one frame, a thirtieth of a second. The bird stays at the same horizontal position on a
screen of 288 × 512 pixels, and the pipes move towards it. A flap sets the bird's speed to 9 pixels
per frame upwards, whatever it was before. In a frame without a flap, the downward speed grows by 1
pixel per frame, up to 10. Heights are measured downwards from the top of the screen. The height of
each gap is random.

Passing the middle of a pipe has reward +1. Touching a pipe or the ground has reward -1 and
terminates the episode. All other frames have reward 0, so there is no reward for staying alive. The
score is the number of pipes passed, which is the return of the episode, plus 1 if it terminated.
The top of the screen is open, but the pipes extend above it without end, so a bird above the screen
flies into the next one. A flap has no effect if the bird is more than twice its own height above
the screen.

Even the hardest courses can be passed, so a perfect player could go on forever. The registered
environments therefore have a time limit of 10,000 frames, in which 277 pipes can be passed. The
time limit truncates the episode: it does not mean that the last state was a bad one.

There are two kinds of observations, `observation=`:

    "features"  8 numbers, float32: the height of the bird's middle; its speed; the distance of the
                next pipe, and the upper and the lower end of its gap; the same three numbers for
                the pipe after that. Heights are -1 at the top of the screen and +1 at the ground.
                The speed is in units of 10 pixels per frame. Distances are measured from the bird's
                beak to the left edge of the pipe, in units of the distance between two pipes, and
                are negative while the bird is between the edges of the pipe. The next pipe is the
                first one that the bird has not left behind. Later gaps do not depend on these
                numbers, so the observation is Markov.
    "pixels"    84 × 84 uint8, the screen in grey: 0 for the sky, 100 for pipes, 170 for the ground
                and 255 for the bird. Each pixel shows 4 × 5 pixels of the screen; the picture
                begins 48 pixels to the left of the screen and 6 above it. A pixel on an edge is a
                weighted mean of both shades, so that heights are exact. A single picture does not
                show the speed, so it is not Markov: stack several of them, or use an agent with
                memory. A bird far above the screen is not visible.

Dong Nguyen published the game in 2013. The constants are those of its best known clone, FlapPyBird.
Two packages for reinforcement learning also took theirs from there; they differ as follows.

                                   here         FlapPyBird   PLE           flappy-bird-gymnasium
    upper end of a gap (px)        80 to 221    80 to 221    25 to 192     100, 110, … 170
    height of the start (px)       244          236 to 252   256           244
    first pipe and next (px)       288, +144    488, +144    314, +144     288, +144
    later pipes, apart (px)        144          144 to 152   144 to 166    144 to 166
    speed after a flap (px/frame)  -9, -8, -7…  -9, -8, -7…  -8, -8, -7…   -9, -8, -7…
    touching is told by            boxes        pictures     boxes         boxes
    above the screen               nothing      nothing      death         -0.5 a frame
    a pipe passed; death           +1; -1       a point      +1; -5        +1; -1
    staying alive, a frame         0            nothing      0             0.1

All of them have a screen of 288 × 512 pixels with the ground at 0.79 of its height, a bird of
34 × 24 pixels at 57 pixels from the left, pipes 52 pixels wide with gaps of 100 pixels that move 4
pixels per frame, gravity 1 and a greatest falling speed of 10. FlapPyBird is Sourabh Verma's
version of 2014 to 2021; since June 2023 its gaps are 120 pixels and its pipes move 5 pixels per
frame. PLE is the PyGame Learning Environment (Tasfi, 2016), which gym_ple wraps.
flappy-bird-gymnasium is version 0.4.0 (Nogueira, Kubovčík). In all three, a new pipe appears when
another leaves the screen, which is why the distances vary.

A player who flaps with probability 1/2 rises above the screen and flies into the first pipe. A
player with the single rule of `scripted_action` passes a hundred pipes on average:

    >>> import gymnasium
    >>> env = gymnasium.make("rlbook/FlappyBird-v0")
    >>> features, _ = env.reset(seed=1)
    >>> score, ended = 0, False
    >>> while not ended:
    ...     features, reward, terminated, truncated, _ = env.step(scripted_action(features))
    ...     score, ended = score + int(reward == 1), terminated or truncated
    >>> score
    100
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule
from rlbook_envs.scene import Colour, Point, Scene
from rlbook_envs.streams import random_bits, uniform
from rlbook_envs.world import World, makers

WAIT, FLAP = 0, 1

# In pixels, and pixels per frame. The position of a box is that of its left and upper edges.
WIDTH, HEIGHT = 288, 512  # size of the screen
GROUND = 404  # 0.79 of the height
BIRD_X, BIRD_WIDTH, BIRD_HEIGHT = 57, 34, 24
PIPE_WIDTH, PIPE_DISTANCE, PIPE_SPEED = 52, 144, 4
GRAVITY, FLAP_SPEED, GREATEST_SPEED = 1, -9, 10
CEILING = -2 * BIRD_HEIGHT  # a flap has no effect from here upwards
# The upper end of the highest gap and the lower end of the lowest: 0.2 and 0.8 of GROUND.
HIGHEST_GAP, LOWEST_GAP = 80, 322


class Game(NamedTuple):
    """Parameters of the rules."""

    pipe_gap: int  # px, height of the gaps


class State(NamedTuple):
    """The bird, the next three pipes, and the score."""

    y: int  # px, upper edge of the bird
    speed: int  # px/frame, downwards
    pipe: int  # px, left edge of the first pipe; the others follow at equal distances
    gap: int  # px, upper end of the gap of the first pipe
    second_gap: int
    third_gap: int
    score: int  # number of pipes passed


@rule
def step(game: Game, state: State, action: int, key: Any) -> tuple[State, float, bool]:
    """Advance by one frame."""
    y, speed, pipe, gap, second_gap, third_gap, score = state
    flaps = (action == FLAP) & (y > CEILING)
    speed = FLAP_SPEED if flaps else min(speed + GRAVITY, GREATEST_SPEED)
    y = min(y + speed, GROUND - BIRD_HEIGHT)

    pipe -= PIPE_SPEED
    if pipe <= -PIPE_WIDTH:  # the first pipe has left the screen
        pipe += PIPE_DISTANCE
        gap, second_gap, third_gap = second_gap, third_gap, random_gap(game, key)

    state = State(y, speed, pipe, gap, second_gap, third_gap, score)
    if touches(game, state):
        return state, -1.0, True
    beyond = BIRD_X + BIRD_WIDTH // 2 - (pipe + PIPE_WIDTH // 2)
    passes = 0 <= beyond < PIPE_SPEED
    return State(y, speed, pipe, gap, second_gap, third_gap, score + passes), 1.0 * passes, False


@rule
def touches(game: Game, state: State) -> bool:
    """Return whether the bird touches the ground or the first pipe; the others are too far away."""
    top, bottom = state.y, state.y + BIRD_HEIGHT
    inside = (state.pipe < BIRD_X + BIRD_WIDTH) & (state.pipe + PIPE_WIDTH > BIRD_X)
    return (bottom >= GROUND) | (
        inside & ((top < state.gap) | (bottom > state.gap + game.pipe_gap))
    )


@rule
def reset(game: Game, key: Any) -> State:
    """Begin an episode in mid-air after a flap, with the first pipe about to appear."""
    return State(
        (HEIGHT - BIRD_HEIGHT) // 2,
        FLAP_SPEED,
        WIDTH,
        random_gap(game, random_bits(key, 0)),
        random_gap(game, random_bits(key, 1)),
        random_gap(game, random_bits(key, 2)),
        0,
    )


@rule
def random_gap(game: Game, key: Any) -> int:
    """Return the upper end of a gap, uniformly distributed between the limits."""
    return HIGHEST_GAP + int(uniform(key) * (LOWEST_GAP - HIGHEST_GAP - game.pipe_gap))


HALF = GROUND / 2  # pixels per unit of height


@rule
def observe_features(game: Game, state: State, out: NDArray[np.float32]) -> None:
    """Write the bird, the next pipe and the one after it, scaled to numbers of about 1."""
    behind = state.pipe + PIPE_WIDTH <= BIRD_X
    pipe = state.pipe + PIPE_DISTANCE * behind
    gap = state.second_gap if behind else state.gap
    later_gap = state.third_gap if behind else state.second_gap
    out[0] = (state.y + BIRD_HEIGHT // 2) / HALF - 1
    out[1] = state.speed / GREATEST_SPEED
    out[2] = (pipe - BIRD_X - BIRD_WIDTH) / PIPE_DISTANCE
    out[3] = gap / HALF - 1
    out[4] = (gap + game.pipe_gap) / HALF - 1
    out[5] = out[2] + 1
    out[6] = later_gap / HALF - 1
    out[7] = (later_gap + game.pipe_gap) / HALF - 1


SIDE = 84  # side length of the small picture, in its pixels
ACROSS, DOWN = 4, 5  # size of one of its pixels, in pixels of the screen
LEFT, TOP = -48, -6  # its corner, chosen so that the edges of pipes and ground lie between pixels
SKY, PIPE, SOIL, BIRD = 0, 100, 170, 255


@rule
def observe_pixels(game: Game, state: State, out: NDArray[np.uint8]) -> None:
    """Write the screen as a picture of 84 × 84 pixels, row by row."""
    horizon = (GROUND - TOP) // DOWN
    fill(out, 0, horizon * SIDE, SKY)
    fill(out, horizon * SIDE, SIDE * SIDE, SOIL)

    width, apart = PIPE_WIDTH // ACROSS, PIPE_DISTANCE // ACROSS
    for n, gap in enumerate((state.gap, state.second_gap, state.third_gap)):
        pipe = (state.pipe - LEFT) // ACROSS + n * apart
        left, right = max(pipe, 0), min(pipe + width, SIDE)
        if left < right:
            for row in range(horizon):
                open_part = covered(TOP + row * DOWN, gap, gap + game.pipe_gap)
                shade = PIPE - PIPE * open_part // DOWN
                fill(out, row * SIDE + left, row * SIDE + right, shade)

    left = (BIRD_X - LEFT) // ACROSS
    right = left + BIRD_WIDTH // ACROSS + 1
    low, high = state.y, state.y + BIRD_HEIGHT
    for row in range(max((low - TOP) // DOWN, 0), (high - 1 - TOP) // DOWN + 1):
        part = covered(TOP + row * DOWN, low, high)
        for pixel in range(row * SIDE + left, row * SIDE + right):
            behind = int(out[pixel])
            out[pixel] = behind + (BIRD - behind) * part // DOWN


@rule
def covered(top: int, low: int, high: int) -> int:
    """Return how much of a pixel that begins at `top` lies between two heights, 0 to DOWN."""
    return max(min(high, top + DOWN) - max(low, top), 0)


@rule
def fill(out: NDArray[np.uint8], start: int, end: int, shade: int) -> None:
    """Fill the pixels from `start` to `end` with one shade."""
    part = out[start:end]
    for pixel in range(len(part)):  # counted from 0, so that it compiles to a call of memset
        part[pixel] = shade


@rule
def load(states: NDArray[np.int64], row: int) -> State:
    """Return the state of one row of (7, rows)."""
    return State(
        states[0, row], states[1, row], states[2, row], states[3, row],
        states[4, row], states[5, row], states[6, row],
    )  # fmt: skip


@rule
def store(states: NDArray[np.int64], row: int, state: State) -> None:
    """Write the state of one row into (7, rows)."""
    y, speed, pipe, gap, second_gap, third_gap, score = state
    states[0, row], states[1, row], states[2, row], states[3, row] = y, speed, pipe, gap
    states[4, row], states[5, row], states[6, row] = second_gap, third_gap, score


def flappy_bird(observation: str = "features", pipe_gap: int = 100) -> World:
    """Return the rules of Flappy Bird.

    Args:
        observation: `"features"` or `"pixels"`; see the module docstring.
        pipe_gap: height of the gaps in pixels, 60 to 200; 100 in the published games.

    Raises:
        ValueError: an argument is out of range.
    """
    whole = isinstance(pipe_gap, int | np.integer) and not isinstance(pipe_gap, bool)
    if not whole or not 60 <= pipe_gap <= 200:
        raise ValueError(f"pipe_gap must be a whole number from 60 to 200, got {pipe_gap!r}")
    views: dict[str, tuple[Any, gymnasium.Space[Any]]] = {
        "features": (observe_features, gymnasium.spaces.Box(-2, 2.5, (8,), np.float32)),
        "pixels": (observe_pixels, gymnasium.spaces.Box(0, 255, (SIDE, SIDE), np.uint8)),
    }
    if observation not in views:
        names = ", ".join(map(repr, views))
        raise ValueError(f"observation must be one of {names}, got {observation!r}")
    observe, space = views[observation]
    return World(
        name="FlappyBird",
        params=Game(int(pipe_gap)),
        reset=reset,
        step=step,
        num_states=None,
        actions=("wait", "flap"),
        text=text,
        picture=picture,
        blank=np.zeros(len(State._fields), np.int64),
        space=space,
        observe=observe,
        load=load,
        store=store,
        fps=30,
    )


# The entry points of `gymnasium.make("rlbook/FlappyBird-v0", …)` and `gymnasium.make_vec`.
make_env, make_vector_env = makers(flappy_bird)


def scripted_action(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the action of a scripted player.

    The player flaps if the bird would otherwise sink below the lower end of the next gap.

    Args:
        features: (…, 8), one observation or a batch of observations.

    Returns:
        (…) int64, the actions.
    """
    middle, speed, lower_end = features[..., 0], features[..., 1], features[..., 4]
    fall = np.minimum(GREATEST_SPEED * speed + GRAVITY, GREATEST_SPEED)
    underside = middle + (BIRD_HEIGHT // 2 + fall) / HALF
    half_a_pixel = 0.5 / HALF  # because single precision is not exact
    return np.where(underside > lower_end + half_a_pixel, FLAP, WAIT)


def text(game: Game, state: NDArray[np.int64]) -> str:
    """Return the screen as text; a character shows 8 × 16 pixels, and x is a bird that crashed."""
    bird = State(*state.tolist())
    columns, rows = WIDTH // 8, GROUND // 16
    lines = [[" "] * columns for _ in range(rows)]
    for n, gap in enumerate((bird.gap, bird.second_gap, bird.third_gap)):
        left = bird.pipe + n * PIPE_DISTANCE
        for row in range(rows):
            if not gap <= row * 16 + 8 < gap + game.pipe_gap:
                for column in range(columns):
                    if left <= column * 8 + 4 < left + PIPE_WIDTH:
                        lines[row][column] = "█"
    row = (bird.y + BIRD_HEIGHT // 2) // 16
    if row >= 0:
        lines[row][BIRD_X // 8 : BIRD_X // 8 + 4] = "(×> " if touches(game, bird) else "(o> "
    drawn = ["".join(line).rstrip() for line in lines]
    return "\n".join([*drawn, "▔" * columns, f"score {bird.score}"]) + "\n"


AIR, HAZE, CLOUD = (150, 209, 238), (196, 230, 243), (232, 245, 251)
WHITE, INK = (255, 255, 255), (66, 58, 62)
HILL, NEAR_HILL = (170, 214, 190), (140, 198, 152)
LEAF, LIGHT_LEAF, DARK_LEAF, STEM = (110, 182, 82), (168, 220, 122), (76, 140, 66), (52, 96, 56)
GRASS, LIGHT_GRASS = (124, 188, 84), (150, 208, 104)
SAND, DARK_SAND = (226, 208, 150), (206, 184, 124)
YELLOW, CREAM, ORANGE, GOLD = (250, 204, 62), (255, 240, 190), (240, 118, 58), (232, 168, 44)


def picture(game: Game, state: NDArray[np.int64], unit: int = 1) -> NDArray[np.uint8]:
    """Return a picture of the screen, uint8 (512 * unit, 288 * unit, 3)."""
    now = State(*state.tolist())
    scene = Scene(WIDTH, HEIGHT, unit, AIR)
    _paint_landscape(scene)
    for n, gap in enumerate((now.gap, now.second_gap, now.third_gap)):
        _paint_pipe(scene, now.pipe + n * PIPE_DISTANCE, gap, gap + game.pipe_gap)
    _paint_ground(scene, now.pipe)
    _paint_bird(scene, now.y, now.speed, alive=not touches(game, now))
    _paint_score(scene, now.score)
    return scene.pixels()


def _paint_landscape(scene: Scene) -> None:
    """Paint the background, which does not move: haze, clouds and hills."""
    for i in range(8):
        scene.box((0, 220 + 22 * i), (WIDTH, GROUND), HAZE, opacity=0.16)
    for x, y, size in ((52, 112, 1.0), (226, 178, 1.25), (138, 268, 0.8)):
        for right, up, radius in ((-26, 0, 12), (-8, 8, 18), (14, 3, 14), (30, -1, 9)):
            scene.disc((x + size * right, y - size * up), size * radius, CLOUD)
        scene.line((x - 30 * size, y + 6 * size), (x + 32 * size, y + 6 * size), 12 * size, CLOUD)
    for x, y, radius in ((30, 480, 140), (176, 500, 150), (290, 470, 130)):
        scene.disc((x, y), radius, HILL)
    for x, y, radius in ((-10, 470, 100), (104, 500, 120), (226, 480, 104)):
        scene.disc((x, y), radius, NEAR_HILL)


def _paint_pipe(scene: Scene, left: int, upper: int, lower: int) -> None:
    for low, high, lip in ((-10, upper, upper - 24), (lower, GROUND, lower)):
        _paint_tube(scene, (left + 3, low), (left + PIPE_WIDTH - 3, high), 0)
        _paint_tube(scene, (left, lip), (left + PIPE_WIDTH, lip + 24), 4)


def _paint_tube(scene: Scene, low: Point, high: Point, radius: int) -> None:
    """Paint one piece of a pipe, with highlights that make it look round."""
    (left, top), (right, bottom) = low, high
    scene.box(low, high, STEM, radius)
    scene.box((left + 2, top + 2), (right - 2, bottom - 2), LEAF, max(radius - 2, 0))
    scene.box((left + 6, top + 2), (left + 15, bottom - 2), LIGHT_LEAF)
    scene.box((left + 9, top + 2), (left + 11, bottom - 2), CREAM, opacity=0.5)
    scene.box((right - 13, top + 2), (right - 5, bottom - 2), DARK_LEAF, opacity=0.55)


def _paint_ground(scene: Scene, pipe: int) -> None:
    """Paint the ground: sand and grass, whose stripes move with the pipes."""
    scene.box((0, GROUND), (WIDTH, HEIGHT), SAND)
    scene.box((0, GROUND), (WIDTH, GROUND + 16), GRASS)
    for x in range(pipe % 24 - 48, WIDTH + 24, 24):
        scene.line((x, GROUND + 20), (x + 9, GROUND + 5), 7, LIGHT_GRASS)
    scene.box((0, GROUND + 15), (WIDTH, GROUND + 32), SAND)
    scene.box((0, GROUND + 15), (WIDTH, GROUND + 19), DARK_SAND)
    scene.box((0, GROUND), (WIDTH, GROUND + 2), STEM)


def _paint_bird(scene: Scene, y: int, speed: int, alive: bool) -> None:
    """Paint the bird, which looks up while it rises and down when it falls fast."""
    tilt = math.radians(min(max(8 * (speed - 3), -22), 60))
    middle_x, middle_y = BIRD_X + BIRD_WIDTH / 2, y + BIRD_HEIGHT / 2

    def at(x: float, y: float) -> Point:
        return (
            middle_x + x * math.cos(tilt) - y * math.sin(tilt),
            middle_y + x * math.sin(tilt) + y * math.cos(tilt),
        )

    def stroke(start: Point, end: Point, thickness: float, colour: Colour) -> None:
        scene.line(at(*start), at(*end), thickness + 3, INK)
        scene.line(at(*start), at(*end), thickness, colour)

    stroke((-14, -2), (-17, -4), 4, GOLD)  # the tail
    stroke((-4, 0), (4, 0), 22, YELLOW)
    scene.line(at(-3, 6), at(5, 6), 9, CREAM)
    stroke((12, 3), (17, 3.5), 4.5, ORANGE)
    scene.line(at(10, 3.6), at(18, 4), 1.2, INK)
    scene.disc(at(8, -4.5), 6.4, INK)
    scene.disc(at(8, -4.5), 5.2, WHITE)
    if alive:
        scene.disc(at(10, -4.5), 2.1, INK)
    else:
        scene.line(at(5.5, -7), at(10.5, -2), 1.6, INK)
        scene.line(at(5.5, -2), at(10.5, -7), 1.6, INK)
    wing = 6 if speed < -4 else 1 if speed < 3 else -5  # down after a flap, up in a fall
    stroke((-6, 0), (-13, wing), 6, CREAM)


# The strokes of each digit, in a box of 2 × 4.
CORNERS = {"a": (0, 0), "b": (2, 0), "c": (0, 2), "d": (2, 2), "e": (0, 4), "f": (2, 4)}
DIGITS = (
    "abfea", "bf", "abdcef", "abfe cd", "acdbf", "bacdfe", "baefdc", "abf", "abfeacd", "dcabfe",
)  # fmt: skip


def _paint_score(scene: Scene, score: int) -> None:
    digits = str(score)
    left = WIDTH / 2 - (29 * len(digits) - 13) / 2
    for thickness, colour in ((11, INK), (6, WHITE)):
        for place, digit in enumerate(digits):
            for strokes in DIGITS[int(digit)].split():
                corners = [CORNERS[corner] for corner in strokes]
                points = [(left + 29 * place + 8 * x, 42 + 8 * y) for x, y in corners]
                for start, end in pairwise(points):
                    scene.line(start, end, thickness, colour)
