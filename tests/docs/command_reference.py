"""The reference of all commands, made from the command line itself.

`python tests/docs/command_reference.py` writes docs/commands.md; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from luthier.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
HEAD = """# All commands

Written by `tests/docs/command_reference.py` from the command line itself; a test keeps it up to date.
"""


def page() -> str:
    """The whole page."""
    context = click.Context(main, info_name="luthier")
    return HEAD + "".join(_section(command, child) for command, child in _commands(main, context))


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        child = click.Context(command, parent=context, info_name=name)
        yield command, child
        if isinstance(command, click.Group):
            yield from _commands(command, child)


def _section(command: click.Command, context: click.Context) -> str:
    rows = [row for parameter in command.params if (row := parameter.get_help_record(context)) is not None]
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    options = "".join(f"| `{_cell(names)}` | {_cell(text)} |\n" for names, text in rows)
    table = f"\n| option | |\n|---|---|\n{options}" if rows else ""
    return f"\n## {context.command_path}\n`{usage}`\n\n{command.help}\n{table}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
