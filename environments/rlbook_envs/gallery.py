"""The picture gallery of the worlds: `python -m rlbook_envs.gallery`.

This program plays each world for a while with a simple scripted player, saves a picture and, for
some worlds, a short film in `environments/images/`, and writes the gallery into
`environments/README.md` between two markers. It needs Pillow, which Matplotlib installs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import rlbook_envs

FOLDER = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- gallery: begin -->", "<!-- gallery: end -->"
WIDEST = 480  # pixels

LEFT, DOWN, RIGHT, UP = 0, 1, 2, 3


# The players. Each maps an environment and an observation to an action.


def cross_the_lake(env: Any, obs: Any) -> int:
    """Move down or right, which reaches the goal if the ice is not slippery."""
    return int(env.np_random.choice([DOWN, RIGHT]))


def along_the_cliff(env: Any, obs: Any) -> int:
    """Take the safe way: up, along the cliff, and down."""
    row, column = divmod(int(obs), 12)
    if column == 11:
        return 2
    return 0 if row > 1 else 1


def stick_on_17(env: Any, obs: Any) -> int:
    """Hit below 17, as the dealer does."""
    from rlbook_envs.blackjack import hand

    return int(hand(obs).player < 17)


def balance(env: Any, obs: Any) -> int:
    """Push in the direction in which the pole leans and moves."""
    return int(obs[2] + 0.3 * obs[3] + 0.02 * obs[0] + 0.05 * obs[1] > 0)


def eat(env: Any, obs: NDArray[np.int16]) -> int:
    """Move towards the apple, and avoid walls and the body if possible."""
    (head,), (apple,) = np.argwhere(obs == obs.max()), np.argwhere(obs == -1)
    moves = {LEFT: (0, -1), DOWN: (1, 0), RIGHT: (0, 1), UP: (-1, 0)}

    def badness(action: int) -> float:
        row, column = head + moves[action]
        blocked = min(row, column) < 0 or max(row, column) >= len(obs) or obs[row, column] > 1
        return 1000.0 * blocked + abs(apple[0] - row) + abs(apple[1] - column)

    return min(moves, key=badness)


def flap(env: Any, obs: NDArray[np.float32]) -> int:
    """Flap as late as possible."""
    from rlbook_envs.flappy_bird import scripted_action

    return int(scripted_action(obs))


def dive(env: Any, obs: int) -> int:
    """Always move to the right, towards the treasure."""
    return int(env.world.params.rights[obs])


def wait(env: Any, obs: Any) -> int:
    """Take the only action there is."""
    return 0


# For each world: its player, the number of steps before the picture, and of frames of the film.
PLAYED: dict[str, tuple[Callable[..., int], int, int]] = {
    "RandomWalk": (wait, 2, 0),
    "CliffWalking": (along_the_cliff, 7, 0),
    "FrozenLake": (cross_the_lake, 2, 0),
    "FrozenLake8x8": (cross_the_lake, 4, 0),
    "Blackjack": (stick_on_17, 0, 0),
    "DeepSea": (dive, 5, 0),
    "Snake": (eat, 90, 60),
    "CartPole": (balance, 25, 60),
    "FlappyBird": (flap, 120, 72),  # two pipes
}


def main() -> None:
    """Write the pictures and the gallery."""
    (FOLDER / "images").mkdir(exist_ok=True)
    for name, *_ in rlbook_envs.WORLDS:
        for file in draw(name):
            print(f"images/{file.name}: {file.stat().st_size / 1000:.0f} kB")
    readme = FOLDER / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    readme.write_text(before + gallery() + rest.partition(END)[2])


def draw(name: str) -> list[Path]:
    """Play a world, save its picture and film, and return their paths."""
    from PIL import Image

    act, steps, frames = PLAYED[name]
    env = gymnasium.make(f"rlbook/{name}-v0", render_mode="rgb_array")
    obs, _ = env.reset(seed=4)
    pictures: list[Any] = [env.render()]
    for _ in range(steps + frames):
        obs, _, terminated, truncated, _ = env.step(act(env.unwrapped, obs))
        pictures.append(env.render())
        if terminated or truncated:
            break
    images = [_no_wider(Image.fromarray(each)) for each in pictures]
    still = FOLDER / "images" / f"{name}.png"
    images[min(steps, len(images) - 1)].save(still, optimize=True)
    if not frames:
        return [still]
    film = FOLDER / "images" / f"{name}.gif"
    first, *others = [image.quantize(64) for image in images[-frames:]]
    pause = 1000 // env.metadata["render_fps"]
    first.save(film, save_all=True, append_images=others, duration=max(pause, 40), loop=0)
    return [still, film]


def _no_wider(image: Any) -> Any:
    if image.width <= WIDEST:
        return image
    return image.resize((WIDEST, round(image.height * WIDEST / image.width)))


def gallery() -> str:
    """Return the gallery in Markdown, including the markers."""
    parts = [entry(*world) for world in rlbook_envs.WORLDS]
    return "\n\n".join([BEGIN, *parts, END])


def entry(name: str, module: str, options: dict[str, Any], limit: int | None) -> str:
    """Return the entry of one world in Markdown."""
    rules = import_module(f"rlbook_envs.{module}")
    env = gymnasium.make(f"rlbook/{name}-v0")
    kind = "gif" if PLAYED[name][2] else "png"
    title, _, _ = inspect.cleandoc(rules.__doc__ or "").partition("\n")
    actions = ", ".join(f"{i} {action}" for i, action in enumerate(env.unwrapped.world.actions))  # type: ignore[attr-defined]
    rows = {
        "observations": f"`{_short(env.observation_space)}`",
        "actions": actions,
        "time limit": f"{limit:,} steps" if limit else "none",
        "options": ", ".join(f"`{option}`" for option in _options(rules)) or "none",
    }
    return "\n".join(
        [
            f"## `rlbook/{name}-v0`",
            "",
            title,
            "",
            f"![{title}](images/{name}.{kind})",
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {key} | {value} |" for key, value in rows.items()),
            "",
            f"Rules, rewards and sources: [`{module}.py`](rlbook_envs/{module}.py).",
        ]
    )


def _short(space: gymnasium.Space[Any]) -> str:
    if isinstance(space, gymnasium.spaces.Box):
        return f"Box({space.shape}, {space.dtype})"
    return str(space)


def _options(rules: Any) -> list[str]:
    """Return the options of the function that makes the world, as `name=default`."""
    makers = [
        function
        for name, function in vars(rules).items()
        if inspect.isfunction(function)
        and function.__module__ == rules.__name__
        and inspect.signature(function).return_annotation == "World"
    ]
    found = []
    for parameter in inspect.signature(makers[0]).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD:
            found.append(f"{parameter.name}={parameter.default!r}")
    return found


if __name__ == "__main__":
    main()
