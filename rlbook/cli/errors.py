"""Errors of the user, shown in one line, with a suggestion if a name is misspelt."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping

import gymnasium
import typer

from rlbook.cli.output import console

BAD_INPUT = (ValueError, OSError, ImportError, RuntimeError, gymnasium.error.Error)


class UserError(typer.TyperException):
    """A mistake of the user, which ends the program with one line on stderr and exit code 2."""


def no_such(
    what: str, name: str, known: Mapping[str, str] | Iterable[str], otherwise: str
) -> UserError:
    """Return the error for a name that does not exist.

    Args:
        what: the kind of thing that is named, such as "algorithm".
        name: the name that does not exist.
        known: the valid names; or a mapping from spellings to valid names.
        otherwise: the advice if no valid name is similar.
    """
    names = dict(known) if isinstance(known, Mapping) else {one: one for one in known}
    spellings: dict[str, str] = {}
    for spelling, real in names.items():
        spellings.setdefault(spelling.lower(), real)
    near = difflib.get_close_matches(name.lower(), spellings, n=1)
    hint = f"did you mean {spellings[near[0]]}?" if near else otherwise
    return UserError(f"no {what} {name!r}: {hint}")


@contextlib.contextmanager
def in_one_line(*kinds: type[Exception]) -> Iterator[None]:
    """Turn exceptions of these kinds into a `UserError`.

    The default kinds are those that the library raises for bad input: a ValueError for bad
    arguments, and an ImportError or a RuntimeError for a backend without its package or Java.
    """
    expected = kinds or BAD_INPUT
    try:
        yield
    except expected as error:
        # The message of an OSError contains its number, which does not help the user.
        if isinstance(error, OSError) and error.strerror and error.filename:
            raise UserError(f"{error.filename}: {error.strerror.lower()}") from error
        raise UserError(str(error)) from error


def show(error: typer.TyperException) -> None:
    """Print an error of ours or of Typer as one line on stderr."""
    message = error.format_message()
    if not isinstance(error, UserError):
        message = _plainer(error, message)
    screen = console(stderr=True)
    screen.print("error:", style="bold red", end=" ")
    printable = (letter if letter.isprintable() else " " for letter in message)
    screen.print(" ".join("".join(printable).split()))


def _plainer(error: typer.TyperException, message: str) -> str:
    """Return a message of Typer in the style of ours, with a pointer to the help."""
    near = getattr(error, "possibilities", None)
    if near:
        message = f"{message.split(' (')[0]}: did you mean {near[0]}?"
    message = message.replace("Value error, ", "").replace(". Did", ": did").rstrip(".")
    context = getattr(error, "ctx", None)
    if context is not None and not message.endswith("?"):
        message += f" (see {context.command_path} --help)"
    return message[:1].lower() + message[1:]
