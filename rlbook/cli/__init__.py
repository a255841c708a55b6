"""The command line, `rlbook`.

Every command has its own module: `train`, `evaluate`, `watch`, `listing` and `doctor`. The module
`names` looks up the names that a user types, and `runs` reads and writes run folders. Nothing else
in the library imports this package, which alone imports Typer and Rich.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `rlbook`; by default, those of this program.

    Returns:
        The exit code: 0 for success, 1 if `doctor` found something broken, 2 for a mistake in the
        arguments (explained in one line on stderr), 130 after Ctrl-C.
    """
    import typer

    from rlbook.cli.app import app
    from rlbook.cli.errors import show

    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(typed or ["--help"], prog_name="rlbook", standalone_mode=False, obj=typed)
    except typer.TyperException as error:
        show(error)
        return 2
    return code or 0
