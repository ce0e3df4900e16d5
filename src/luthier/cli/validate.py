"""`luthier validate`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import EXIT_DONE, EXIT_FAILED, in_folder, open_project, print_json, verb


@verb(help="Behaviour, general capability and train/serve parity: one gate.")
@in_folder
@click.option("--rung", help="Another rung than the recommended one, by name.")
@click.option("--quick", is_flag=True, help="The small battery of general capability.")
def command(folder: Path, allow_outside: bool, rung: str | None, quick: bool, as_json: bool) -> int:
    """Run the gate and print every check."""
    report = open_project(folder, allow_outside, as_json).validate(rung=rung, quick=quick)
    if as_json:
        print_json(report.as_dict())
    else:
        from luthier.cli._tables import print_gate

        print_gate(report)
    return EXIT_DONE if report.passed else EXIT_FAILED
