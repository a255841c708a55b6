"""Episodes as sequences of frames, and films of them."""

from __future__ import annotations

import html
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium

import rlbook
from rlbook.cli.errors import UserError, in_one_line
from rlbook.saving import atomic_write

# Milliseconds for which a film shows its last frame.
LAST_PICTURE = 1500


class Moment(NamedTuple):
    """A frame of an episode and what happened in its step; number 0 is the beginning."""

    picture: Any
    number: int
    action: Any = None
    reward: float = 0.0
    total: float = 0.0  # sum of the rewards so far
    ended: str = ""  # empty, "terminated" or "truncated"


def play(player: Any, env: gymnasium.Env[Any, Any], seed: int, max_frames: int) -> Iterator[Moment]:
    """Yield the frames of one episode, at most `max_frames`."""
    obs, _ = env.reset(seed=seed)
    total, ended = 0.0, ""
    yield Moment(env.render(), 0)
    for number in range(1, max_frames):
        action = player.predict(obs)
        obs, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        if terminated or truncated:
            ended = "terminated" if terminated else "truncated"
        yield Moment(env.render(), number, action, float(reward), total, ended)
        if ended:
            return


def make(env: str, render_mode: str) -> gymnasium.Env[Any, Any]:
    """Return an environment that can be rendered in this mode.

    Raises:
        UserError: the environment does not exist or does not have this render mode.
    """
    with in_one_line():
        plain = gymnasium.make(env)
        modes = plain.metadata.get("render_modes", [])
        plain.close()
        if render_mode in modes:
            return gymnasium.make(env, render_mode=render_mode)
    if render_mode == "ansi":
        raise UserError(f"{env} cannot be drawn as text: use --out film.html")
    raise UserError(f"{env} cannot be drawn: it has no render mode 'rgb_array'")


def write_film(path: Path, player: Any, env: str, seed: int, max_frames: int, title: str) -> None:
    """Write a film of one episode, as HTML or GIF depending on the name of the file."""
    if not path.parent.is_dir():
        raise UserError(f"--out must be in an existing folder, got {path}")
    for package in ("matplotlib", "IPython"):
        if util.find_spec(package) is None:
            raise UserError(f"a film needs {package}: pip install 'rlbook[book]'")
    world = make(env, "rgb_array")
    write = _write_gif if path.suffix.lower() == ".gif" else _write_page
    # The file may not be writable, and a package that the environment needs to draw may be missing.
    with in_one_line(OSError, gymnasium.error.DependencyNotInstalled):
        write(path, player, world, seed, max_frames, title)


def _write_page(
    path: Path, player: Any, env: gymnasium.Env[Any, Any], seed: int, max_frames: int, title: str
) -> None:
    film = rlbook.film(player, env, seed=seed, max_frames=max_frames)
    heading = html.escape(title)
    page = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{heading}</title>\n"
        '<body style="font-family: sans-serif; margin: 2em auto; width: fit-content">\n'
        f'<p style="text-align: center">{heading}</p>\n{film.data}\n</body>\n</html>\n'
    )
    with atomic_write(path) as file:
        file.write(page.encode())


def _write_gif(
    path: Path, player: Any, env: gymnasium.Env[Any, Any], seed: int, max_frames: int, title: str
) -> None:
    from PIL import Image

    moments = play(player, env, seed, max_frames)
    first, *others = [Image.fromarray(moment.picture) for moment in moments]
    durations = [round(1000 / fps_of(env))] * len(others) + [LAST_PICTURE]
    with atomic_write(path) as file:
        first.save(
            file,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=durations,
            loop=0,
            comment=title.encode(),
        )


def fps_of(env: gymnasium.Env[Any, Any]) -> float:
    """Return the frames per second of an environment."""
    return float(env.metadata.get("render_fps") or 4)
