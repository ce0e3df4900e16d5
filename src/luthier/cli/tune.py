"""`luthier tune`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import in_folder, open_project, print_json, verb


@verb(help="Fine-tune; needs the warrant of a verdict.")
@in_folder
@click.option("--without-warrant", metavar="WHY", help="Train without a warrant; the reason is recorded.")
def command(folder: Path, allow_outside: bool, without_warrant: str | None, as_json: bool) -> None:
    """Train and say where the adapter lies."""
    project = open_project(folder, allow_outside, as_json)
    result = project.tune(without_warrant=without_warrant)
    if as_json:
        print_json(result)
        return
    from luthier.cli._tables import print_tuned

    print_tuned(result)
