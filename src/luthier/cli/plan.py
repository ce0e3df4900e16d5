"""`luthier plan`."""

from __future__ import annotations

from pathlib import Path

from luthier.cli._verb import in_folder, open_project, print_json, verb


@verb(help="Time, memory and money of what comes, before any of it is spent.")
@in_folder
def command(folder: Path, allow_outside: bool, as_json: bool) -> None:
    """Plan and print the table."""
    plan = open_project(folder, allow_outside, as_json).plan()
    if as_json:
        print_json(plan.as_dict())
        return
    from luthier.cli._tables import print_plan

    print_plan(plan)
