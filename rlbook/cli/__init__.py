"""The command line, `rlbook`: the library's words, one command each.

A command is a module: `train`, `evaluate`, `watch`, `listing` and `doctor`. What a person may name
is found in `names`, what lies in a run folder in `runs`. Nothing in the library imports this
package, and typer and rich, which draw it, are imported nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what was typed after `rlbook`; by default, this program's own.

    Returns:
        The exit code: 0, 1 where `doctor` found something broken, 2 for a mistake in what was
        typed (told in one line on stderr), 130 after Ctrl-C.
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
