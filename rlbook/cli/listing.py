"""`rlbook list`: list algorithms, environments, backends and hyperparameters."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Annotated, Any, Literal, get_type_hints

import gymnasium
import typer

import rlbook
from rlbook import backends
from rlbook.cli import engines, names
from rlbook.cli.output import AsJson, console, first_line, print_json, table

Rows = list[dict[str, Any]]


def show(
    what: Annotated[
        Literal["algos", "envs", "backends"] | None,
        typer.Argument(help="Show only this list; by default, all three."),
    ] = None,
    algo: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="List the hyperparameters of this algorithm, for --set."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the available algorithms, environments and backends."""
    if algo is not None:
        lists: dict[str, Any] = {"hyperparameters": hyperparameters(algo)}
    else:
        makers = {"algos": algos, "envs": envs, "backends": backend_list}
        lists = {name: make() for name, make in makers.items() if what in (None, name)}
    if as_json:
        print_json(lists)
        return
    screen = console()
    for number, rows in enumerate(lists.values()):
        if number:
            screen.print()
        columns = table(*rows[0])
        for row in rows:
            columns.add_row(*(_in_words(name, value) for name, value in row.items()))
        columns.columns[0].style, columns.columns[0].no_wrap = "cyan", True
        screen.print(columns, soft_wrap=False)
    if algo is not None and (forms := schedules(algo)):
        screen.print("\nA schedule is one of", ", ".join(forms))


def algos() -> Rows:
    """Return the algorithms, with the first lines of their modules' docstrings."""
    return [
        {
            "algorithm": name,
            "class": f"rlbook.{attribute}",
            "about": first_line(names.algorithm(name).__module__),
        }
        for name, attribute in rlbook.ALGORITHMS.items()
    ]


def envs() -> Rows:
    """Return the environments of this library."""
    ours = [spec for spec in gymnasium.registry.values() if spec.namespace == "rlbook"]
    return [
        {
            "world": spec.id,
            "time limit": spec.max_episode_steps,
            "about": first_line(str(spec.entry_point).split(":")[0]),
            "options": ", ".join(f"{name}={value}" for name, value in spec.kwargs.items()),
        }
        for spec in ours
    ]


def backend_list() -> Rows:
    """Return the backends, and whether they can start on this machine."""
    rows = []
    for name in backends.BACKENDS:
        reason = engines.why_not(name)
        about = reason or engines.about(name)
        rows.append({"backend": name, "can start": reason is None, "about": about})
    return rows


def hyperparameters(algo: str) -> Rows:
    """Return the hyperparameters of an algorithm, which --set can change."""
    known = names.hyperparameters(names.algorithm(algo))
    hints, meanings = get_type_hints(known), _meanings(known)
    return [
        {
            "name": field.name,
            "type": names.type_name(hints[field.name]),
            "default": names.as_typed(field.default),
            "about": meanings.get(field.name, ""),
        }
        for field in fields(known)
    ]


def schedules(algo: str) -> list[str]:
    """Return the forms of the schedules that hyperparameters of an algorithm can have."""
    hints = get_type_hints(names.hyperparameters(names.algorithm(algo))).values()
    return list(dict.fromkeys(form for hint in hints for form in names.forms(hint)))


def _meanings(known: Any) -> dict[str, str]:
    """Return the descriptions of attributes in the docstrings of a class and its base classes."""
    meanings: dict[str, str] = {}
    for kind in reversed(known.__mro__):
        text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
        found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", text, re.MULTILINE)
        meanings |= {name: re.sub(r"\s+", " ", meaning) for name, meaning in found}
    return meanings


def _in_words(name: str, value: Any) -> str:
    if name == "can start":
        return "yes" if value else "no"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
