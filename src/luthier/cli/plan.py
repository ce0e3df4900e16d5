"""`luthier plan`."""

from __future__ import annotations

from pathlib import Path

from luthier.cli._verb import EXIT_DONE, EXIT_FAILED, in_folder, open_project, print_json, verb


@verb(help="Time, memory, disk and money of what comes, before any of it is spent.")
@in_folder
def command(folder: Path, allow_outside: bool, as_json: bool) -> int:
    """Plan and print the tables; fails where the task's way to train does not fit this machine."""
    plan = open_project(folder, allow_outside, as_json).plan()
    if as_json:
        print_json(plan.as_dict())
        return EXIT_DONE if plan.fits else EXIT_FAILED
    from luthier.cli._tables import print_plan

    print_plan(plan)
    return EXIT_DONE if plan.fits else EXIT_FAILED
