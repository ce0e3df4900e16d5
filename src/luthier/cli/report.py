"""`luthier report`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import in_folder, open_project, print_json, verb


@verb(help="Write the report, one self-contained HTML file.")
@in_folder
def command(folder: Path, allow_outside: bool, as_json: bool) -> None:
    """Write it and print its path."""
    from luthier.web import write_report

    path = write_report(open_project(folder, allow_outside, as_json))
    if as_json:
        print_json({"report": str(path)})
    else:
        click.echo(path)
