"""Look-up of the names and values on the command line, with suggestions for misspelt names."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import gymnasium
import typer

import rlbook
from rlbook import backends
from rlbook.cli.errors import UserError, in_one_line, no_such


def whole(text: str | int) -> int:
    """Return a whole number from any of the ways to write a large one.

    The argument can also be a whole number, because Typer passes the defaults of options, too.

    >>> whole("200_000"), whole("2e5"), whole("200,000")
    (200000, 200000, 200000)
    """
    plain = str(text).replace(",", "")
    try:
        return int(plain)
    except ValueError:
        pass
    try:
        number = float(plain)
        if number.is_integer():
            return int(number)
    except ValueError:
        pass
    raise typer.BadParameter(f"{text!r} is not a whole number")


def algorithm(name: str) -> Any:
    """Return the class of an algorithm, by its name in `rlbook.ALGORITHMS`."""
    if name not in rlbook.ALGORITHMS:
        spellings = {one: one for one in rlbook.ALGORITHMS}
        spellings |= {attribute: one for one, attribute in rlbook.ALGORITHMS.items()}
        raise no_such("algorithm", name, spellings, f"choose from {', '.join(rlbook.ALGORITHMS)}")
    return getattr(rlbook, rlbook.ALGORITHMS[name])


def backend(name: str) -> str:
    """Return the name of a backend, or raise a `UserError` if it does not exist."""
    if name not in backends.BACKENDS:
        known = list(backends.BACKENDS)
        raise no_such("backend", name, known, f"choose from {', '.join(known)}")
    return name


def pattern(cls: Any, name: str) -> str:
    """Return the name of a pattern, or raise a `UserError` if the algorithm does not have it."""
    if name not in cls.PATTERNS:
        known = list(cls.PATTERNS)
        raise no_such("pattern", name, known, f"{cls.__name__} has {', '.join(known)}")
    return name


def environment(name: str) -> str:
    """Return the id of an environment, or raise a `UserError` if Gymnasium does not know it.

    If the id is `module:Name-v0`, the module is imported first. The id must therefore come from the
    user, and never from a file.
    """
    module, _, rest = name.rpartition(":")
    if module:
        _import_typed(module)
    if rest not in gymnasium.registry:
        advice = "`rlbook list envs` lists ours, and Gymnasium's documentation the others"
        raise no_such("environment", name, _spellings(), advice)
    return name


def _import_typed(module: str) -> None:
    sys.path.insert(0, os.getcwd())  # so that modules in the current folder are found
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"the module {module!r} cannot be imported: {error}") from error


def _spellings() -> dict[str, str]:
    """Return spellings of every id, also without its namespace and version.

    If several ids have the same spelling, those of rlbook and the newest versions take precedence.
    """
    ordered = sorted(
        gymnasium.registry.values(), key=lambda spec: (spec.namespace != "rlbook", -_version(spec))
    )
    spellings = {spec.id: spec.id for spec in ordered}
    for spec in ordered:
        for other in (f"{spec.name}-v{_version(spec)}", f"{spec.namespace}/{spec.name}", spec.name):
            spellings.setdefault(other, spec.id)
    return spellings


def _version(spec: Any) -> int:
    return spec.version or 0


def hyperparameters(cls: Any) -> Any:
    """Return the dataclass of the hyperparameters of an algorithm."""
    return cls.Hyperparameters


def default(cls: Any, argument: str) -> Any:
    """Return the default of an argument of an algorithm."""
    return inspect.signature(cls).parameters[argument].default


def parse_settings(name: str, assignments: list[str]) -> dict[str, Any]:
    """Return the hyperparameters in `["learning_rate=0.1", …]`, converted to their types.

    A schedule is written as a call: `epsilon=linear(1, 0.05, 100_000)`.
    """
    known = hyperparameters(algorithm(name))
    hints, settings = get_type_hints(known), {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise UserError(f"--set must be NAME=VALUE, got {assignment}")
        if key not in hints:
            names = [field.name for field in fields(known)]
            advice = f"{name} has {', '.join(names)}"
            raise no_such("hyperparameter", key, names, advice)
        settings[key] = _parse(key, text.strip(), hints[key])
    return settings


def _parse(key: str, text: str, hint: Any) -> Any:
    """Return the value in `text`, converted to one of the types in the hint."""
    if get_origin(hint) is tuple:
        parts = text.strip("()").split(",")
        return tuple(_parse(key, part.strip(), get_args(hint)[0]) for part in parts if part.strip())
    kinds: tuple[Any, ...] = get_args(hint) or (hint,)
    if NoneType in kinds and text.lower() == "none":
        return None
    call = re.fullmatch(r"(\w+)\((.*)\)", text)
    schedules = {kind.__name__.lower(): kind for kind in _schedules(hint)}
    if call and call[1].lower() in schedules:
        return _parse_schedule(key, call[2], schedules[call[1].lower()])
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if int in kinds:
            return whole(text)
        if float in kinds:
            return float(text)
    except (ValueError, typer.BadParameter):
        pass
    if str in kinds:
        return text
    raise UserError(f"{key} must be {type_name(hint)}, got {text}")


def _parse_schedule(key: str, text: str, kind: Any) -> Any:
    """Return the schedule with these arguments, such as `1, end=0, steps=100`."""
    given, known = {}, [field.name for field in fields(kind)]
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for place, part in enumerate(parts):
        name, _, number = part.rpartition("=")
        name = name.strip() or dict(enumerate(known)).get(place, "one too many")
        given[name] = _parse(f"{key}.{name}", number.strip(), float)
    if given.keys() != set(known):
        form = forms(kind)[0]
        raise UserError(f"{key} must be {form}, got {kind.__name__.lower()}({text})")
    with in_one_line():
        return kind(**given)


def type_name(hint: Any) -> str:
    """Return the name of a type in plain words.

    >>> type_name(float), type_name(int | None)
    ('a number', 'a whole number or none')
    """
    if get_origin(hint) is tuple:
        return "whole numbers separated by commas"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    words[NoneType] = "none"
    # "none" comes last.
    kinds = sorted(get_args(hint) or (hint,), key=lambda kind: kind is NoneType)
    *others, last = dict.fromkeys(words.get(kind, "a schedule") for kind in kinds)
    return f"{', '.join(others)} or {last}" if others else last


def forms(hint: Any) -> list[str]:
    """Return how the schedules among the types of a hint are written."""
    return [
        f"{kind.__name__.lower()}({', '.join(field.name for field in fields(kind))})"
        for kind in _schedules(hint)
    ]


def _schedules(hint: Any) -> list[Any]:
    kinds = get_args(hint) or (hint,)
    return [kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)]


def as_typed(value: Any) -> Any:
    """Return a hyperparameter as JSON can hold it: a number, or the text for --set."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if not is_dataclass(value):
        return value
    numbers = ", ".join(f"{name}={number!r}" for name, number in vars(value).items())
    return f"{type(value).__name__.lower()}({numbers})"
