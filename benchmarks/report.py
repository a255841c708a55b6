"""What a run found, as text for a terminal and as a page of Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.measuring import show

Found = dict[str, Any]
VERDICTS = {None: "", True: "reached", False: "MISSED"}


def as_text(found: Found) -> str:
    """A table of the first figures, then what each row says beside them, then the verdict."""
    lines = [(row["subject"], first(row), goal(row), VERDICTS[row["reached"]], row["peer"])
             for row in found["rows"]]  # fmt: skip
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(4)]
    table = [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]
        )
        for line in lines
    ]
    return "\n".join(["", *table, "", *verdict(found)])


def as_markdown(found: Found) -> str:
    """The whole of it."""
    head = [f"* {name}: {described(value)}" for name, value in found["header"].items()]
    lines = [
        "# What was measured",
        "",
        "Written by `make bench`; README.md says how to read it.",
        "",
        *head,
        "",
        *(f"**{line}**\n" for line in verdict(found)),
        "| what | ours against the peer, median (lowest to highest) | target | |",
        "|---|---|---|---|",
        *(f"| {row['subject']} | {first(row)} | {goal(row)} | {VERDICTS[row['reached']]} |"
          for row in found["rows"]),
    ]  # fmt: skip
    for row in found["rows"]:
        lines += details(row)
    return "\n".join(lines) + "\n"


def details(row: Found) -> list[str]:
    """All that a row has to say."""
    return [
        "",
        f"## {row['subject']}",
        "",
        f"* ours: `{row['ours']}`",
        f"* peer: {row['peer']}",
        f"* measured {row['date']}, when {row['load before']} processes were busy",
        *(f"* {shown} {unit}" for unit, shown in row["shown"].items()),
        *(f"* {name}: {show(value)}" for name, value in row["absolute"].items()),
        *([f"* {row['note']}"] if row["note"] else []),
    ]


def first(row: Found) -> str:
    """The figure that is judged."""
    unit, shown = next(iter(row["shown"].items()))
    return f"{shown} {unit}"


def goal(row: Found) -> str:
    """The target, if there is one."""
    return row["target"] or ""


def verdict(found: Found) -> list[str]:
    """Which targets were missed, and what could not be measured."""
    judged = [row for row in found["rows"] if row["reached"] is not None]
    missed = [row for row in judged if not row["reached"]]
    lines = [f"{len(judged) - len(missed)} of {len(judged)} targets reached."] if judged else []
    lines += [f"MISSED: {row['subject']}: {first(row)}, not {row['target']}." for row in missed]
    return lines + [f"NOT MEASURED: {name}: {why}" for name, why in found["failed"].items()]


def described(value: Any) -> str:
    """A value of the header in words."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return str(value)
