"""A person's mistakes: one line each, and what was perhaps meant."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping

import gymnasium
import typer

from rlbook.cli.output import console

BAD_INPUT = (ValueError, OSError, ImportError, RuntimeError, gymnasium.error.Error)


class UserError(typer.TyperException):
    """What was typed cannot be done. Ends the program with one line and exit code 2."""


def no_such(
    what: str, name: str, known: Mapping[str, str] | Iterable[str], otherwise: str
) -> UserError:
    """The error of a name that does not exist.

    Args:
        what: kind of thing, such as "algorithm".
        name: what was typed.
        known: the names there are; a mapping has other spellings of them as its keys.
        otherwise: what to say if nothing comes near.
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
    """Turn such exceptions into a `UserError`; by default, what bad input makes the library raise.

    An algorithm with bad arguments raises a ValueError, a backend that misses its package or Java
    an ImportError or a RuntimeError.
    """
    expected = kinds or BAD_INPUT
    try:
        yield
    except expected as error:
        if (
            isinstance(error, OSError) and error.strerror and error.filename
        ):  # its number is no help
            raise UserError(f"{error.filename}: {error.strerror.lower()}") from error
        raise UserError(str(error)) from error


def show(error: typer.TyperException) -> None:
    """Print an error, ours or one about the options themselves, as one line on stderr."""
    message = error.format_message()
    if not isinstance(error, UserError):
        message = _plainer(error, message)
    screen = console(stderr=True)
    screen.print("error:", style="bold red", end=" ")
    printable = (letter if letter.isprintable() else " " for letter in message)
    screen.print(" ".join("".join(printable).split()))


def _plainer(error: typer.TyperException, message: str) -> str:
    """Typer's message in the style of ours, and where to read more."""
    near = getattr(error, "possibilities", None)
    if near:
        message = f"{message.split(' (')[0]}: did you mean {near[0]}?"
    message = message.replace("Value error, ", "").replace(". Did", ": did").rstrip(".")
    context = getattr(error, "ctx", None)
    if context is not None and not message.endswith("?"):
        message += f" (see {context.command_path} --help)"
    return message[:1].lower() + message[1:]
