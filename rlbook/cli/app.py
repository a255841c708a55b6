"""The Typer application with all commands."""

from __future__ import annotations

from typing import Annotated

import typer

import rlbook
from rlbook.cli.doctor import doctor
from rlbook.cli.evaluate import evaluate
from rlbook.cli.listing import show
from rlbook.cli.output import examples
from rlbook.cli.train import train
from rlbook.cli.watch import watch

LAKE = "--env rlbook/FrozenLake-v0"

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,  # a bug shows an ordinary Python traceback
    rich_markup_mode="rich",
)
app.command(
    epilog=examples(
        f"rlbook train --algo q_learning {LAKE} --out runs/lake",
        f"rlbook train --algo q_learning {LAKE} --set epsilon=0.1 --seed 2",
        f"rlbook train --algo q_learning {LAKE} --num-envs 4 --backend ray --workers 4",
        "rlbook train --resume runs/lake",
        "rlbook train --resume runs/lake --steps 1e6",
    )
)(train)
app.command(
    epilog=examples(
        "rlbook evaluate runs/lake",
        "rlbook evaluate runs/lake --episodes 1000 --seed 7 --json",
        "rlbook evaluate runs/lake/checkpoint.rlbook --env FrozenLake-v1",
    )
)(evaluate)
app.command(
    epilog=examples(
        "rlbook watch runs/lake",
        "rlbook watch runs/lake --seed 3 --out film.html",
        "rlbook watch runs/lake --out film.gif --max-frames 50",
        f"rlbook watch --random {LAKE}",
    )
)(watch)
app.command(
    "list",
    epilog=examples(
        "rlbook list", "rlbook list envs", "rlbook list --algo q_learning", "rlbook list --json"
    ),
)(show)
app.command(epilog=examples("rlbook doctor", "rlbook doctor --start"))(doctor)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"rlbook {rlbook.__version__}")
        raise typer.Exit


@app.callback(
    epilog=examples(
        f"rlbook train --algo q_learning {LAKE} --out runs/lake",
        "rlbook evaluate runs/lake",
        "rlbook watch runs/lake",
        "rlbook train --help",
    )
)
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            is_eager=True,
            callback=_print_version,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Train, evaluate and watch reinforcement learning agents."""
