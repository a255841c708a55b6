"""`rlbook evaluate`: measure the returns of a trained agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import rlbook
from rlbook.arguments import check_whole
from rlbook.cli import names, runs
from rlbook.cli.errors import in_one_line
from rlbook.cli.output import AsJson, console, print_json, table


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder or checkpoint file.")],
    episodes: Annotated[
        int, typer.Option(parser=names.whole, metavar="N", help="Number of episodes to play.")
    ] = 100,
    seed: Annotated[
        int, typer.Option(parser=names.whole, metavar="N", help="Seed of the environment.")
    ] = 0,
    env: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Environment id, if it differs from the one of training."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a trained agent over whole episodes.

    The agent acts greedily and does not learn.
    """
    with in_one_line():
        check_whole("--episodes", episodes, 1)
        check_whole("--seed", seed, 0)
    saved = runs.find(run)
    agent = saved.load(None if env is None else names.environment(env))
    found = rlbook.evaluate(agent, episodes, seed)
    world, returns, lengths = env or saved.env, found.returns, found.lengths
    if as_json:
        print_json(
            {
                "run": str(run),
                "algo": saved.algo,
                "env": world,
                "episodes": episodes,
                "seed": seed,
                "mean": found.mean,
                "std": found.std,
                "min": float(returns.min()),
                "max": float(returns.max()),
                "mean_length": float(lengths.mean()),
                "std_length": float(lengths.std()),
                "min_length": int(lengths.min()),
                "max_length": int(lengths.max()),
            }
        )
        return
    screen = console()
    screen.print(f"{saved.algo} on {world}, {episodes:,} episodes, seed {seed}\n")
    rows = table("", "mean", "std", "min", "max")
    for column in rows.columns[1:]:
        column.justify = "right"
    for name, values in (("return", returns), ("length", lengths)):
        numbers = (values.mean(), values.std(), values.min(), values.max())
        rows.add_row(name, *(f"{number:.3f}".removesuffix(".000") for number in numbers))
    screen.print(rows, soft_wrap=False)
