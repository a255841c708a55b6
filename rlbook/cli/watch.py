"""`rlbook watch`: show one episode in the terminal, or save it as a film."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import gymnasium
import typer

from rlbook.arguments import check_whole
from rlbook.cli import films, names, runs
from rlbook.cli.errors import UserError, in_one_line
from rlbook.cli.output import AsJson, console, print_json

if TYPE_CHECKING:
    from rich.text import Text

FORMATS = (".html", ".gif")


class RandomPlayer:
    """A player that chooses uniformly random actions."""

    def __init__(self, env: str, seed: int) -> None:
        with in_one_line():
            self.actions = gymnasium.make(env).action_space
        self.actions.seed(seed)

    def predict(self, obs: Any, deterministic: bool = True) -> Any:
        """Return a uniformly random action."""
        return self.actions.sample()


def watch(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Run folder or checkpoint file."),
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", metavar="", help="Watch a random player in --env instead.")
    ] = False,
    env: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Environment id, if it differs from the one of training."),
    ] = None,
    seed: Annotated[
        int, typer.Option(parser=names.whole, metavar="N", help="Seed of the episode.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Save a film, as a web page (.html) or an animation (.gif)."
        ),
    ] = None,
    max_frames: Annotated[
        int, typer.Option(parser=names.whole, metavar="N", help="Largest number of frames.")
    ] = 100,
    terminal: Annotated[
        bool,
        typer.Option(
            "--terminal", metavar="", help="Draw the episode as text, which is the default."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Watch one episode in the terminal, or save it as a film.

    Without --out, the episode is drawn in the terminal as text.
    """
    with in_one_line():
        check_whole("--seed", seed, 0)
        check_whole("--max-frames", max_frames, 1)
    if out is not None and out.suffix.lower() not in FORMATS:
        raise UserError(f"--out must end in {' or '.join(FORMATS)}, got {out}")
    if out is not None and terminal:
        raise UserError("--out and --terminal cannot be used together")
    player, world, title = _who_plays(run, random, env, seed)
    if out is not None:
        films.write_film(out, player, world, seed, max_frames, title)
        if as_json:
            print_json({"env": world, "seed": seed, "out": str(out)})
        else:
            console().print(f"{out}: {title}")
        return
    visible = films.make(world, "ansi")
    moments = films.play(player, visible, seed, max_frames)
    if as_json:
        _print_moments(world, seed, list(moments))
    else:
        console().print(f"{title}, seed {seed}\n")
        _draw(moments, films.fps_of(visible), _actions(visible))


def _who_plays(run: Path | None, random: bool, env: str | None, seed: int) -> tuple[Any, str, str]:
    """Return the player, the id of its environment, and a description of both."""
    if random == (run is not None):
        raise UserError("nothing to watch: give either RUN, or --random and --env")
    if env is not None:
        names.environment(env)
    if run is None:
        if env is None:
            raise UserError("--env is missing: try --random --env rlbook/FrozenLake-v0")
        return RandomPlayer(env, seed), env, f"a random player on {env}"
    saved = runs.find(run)
    agent = saved.load(env)
    world = env or str(saved.env)
    return agent, world, f"{saved.algo} on {world} after {agent.timesteps:,} steps"


def _draw(moments: Iterable[films.Moment], fps: float, actions: tuple[str, ...]) -> None:
    """Draw the frames in place at the speed of the film, or all of them if there is no terminal."""
    screen = console()
    if not sys.stdout.isatty():
        for moment in moments:
            screen.print(_drawn(moment, actions))
        return
    from rich.live import Live

    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:
        for moment in moments:
            live.update(_drawn(moment, actions), refresh=True)
            time.sleep(1 / fps)


def _drawn(moment: films.Moment, actions: tuple[str, ...]) -> Text:
    from rich.text import Text

    text = Text.from_ansi(moment.picture.rstrip())
    text.highlight_regex(r"\[.\]", "bold reverse")  # the place of the player in our environments
    text.append("\n\n" + _caption(moment, actions) + "\n")
    return text


def _caption(moment: films.Moment, actions: tuple[str, ...]) -> str:
    if moment.number == 0:
        return "the beginning"
    action = actions[moment.action] if actions else moment.action
    caption = f"step {moment.number}: {action}, reward {moment.reward:g}, return {moment.total:g}"
    return caption + (f", {moment.ended}" if moment.ended else "")


def _actions(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    """Return the names of the actions; empty if they have no names."""
    world = getattr(env.unwrapped, "world", None)
    return tuple(getattr(world, "actions", ()))


def _print_moments(env: str, seed: int, moments: list[films.Moment]) -> None:
    last = moments[-1]
    print_json(
        {
            "env": env,
            "seed": seed,
            "steps": last.number,
            "return": last.total,
            "ended": last.ended or None,
            "frames": [moment.picture for moment in moments],
        }
    )
