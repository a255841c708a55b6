"""Output of the commands, as text for people or as one JSON object for programs."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# The option --json, which every command has.
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="Print the result as one JSON object.")
]


def console(stderr: bool = False) -> Console:
    """Return the console on which a command prints.

    Markup is off, because names can come from files. Lines are not wrapped, so that paths and
    commands can be copied.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 1000
    return Console(
        stderr=stderr, width=width, soft_wrap=True, markup=False, emoji=False, highlight=False
    )


def table(*columns: str) -> Table:
    """Return an empty table without lines."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name)
    return made


def waiting(text: str) -> AbstractContextManager[object]:
    """Return a context that shows what the program waits for, if stderr is a terminal."""
    return console(stderr=True).status(text) if sys.stderr.isatty() else nullcontext()


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on stdout; NaN and infinity become null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in content.items()
    }
    print(json.dumps(finite))


def examples(*commands: str) -> str:
    """Return examples for the end of the help of a command."""
    return "[bold]Examples[/bold]\n\n" + "\n".join(f"[cyan]$ {line}[/cyan]" for line in commands)


def unless_told(value: object) -> str:
    """Return the part of a help text that shows the default of an option whose value is None."""
    return rf" [dim]\[default: {value}][/dim]"


def short(number: float) -> str:
    """Return a number in a few characters.

    >>> short(950), short(12_345), short(2_500_000), short(10**9)
    ('950', '12.3k', '2.5M', '1G')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}".removesuffix(".0") + unit
    return f"{number:.0f}"


def first_line(module: str) -> str:
    """Return the first paragraph of a module's docstring, without importing the module."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_bytes())) or ""
    return text.split("\n\n")[0].replace("\n", " ").rstrip(".")
