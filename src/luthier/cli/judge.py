"""`luthier judge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from luthier.cli._verb import in_folder, open_project, print_json, verb
from luthier.cli.decide import exit_code

if TYPE_CHECKING:
    from luthier.api import Project


@verb(help="How far the judge agrees with people, and the verdict on its scores corrected by their labels.")
@in_folder
@click.option(
    "--sample",
    "answers",
    type=click.IntRange(min=1),
    help="Write about this many answers, of all rungs together, into a table to be labelled.",
)
def command(folder: Path, allow_outside: bool, answers: int | None, as_json: bool) -> int:
    """Write the table to label, or read it back."""
    project = open_project(folder, allow_outside, as_json)
    return _read(project, as_json) if answers is None else _write(project, answers, as_json)


def _write(project: Project, answers: int, as_json: bool) -> int:
    sheet = project.labelling.sheet(answers)
    if as_json:
        print_json({"sheet": sheet.as_dict()})
        return 0
    from luthier.cli._calibration import print_sheet

    print_sheet(sheet, "luthier judge")
    return 0


def _read(project: Project, as_json: bool) -> int:
    found = project.labelling.calibrate()
    if as_json:
        print_json({"calibration": found.as_dict()})
    else:
        from luthier.cli._calibration import print_calibration
        from luthier.cli._tables import print_verdict

        print_calibration(found)
        print_verdict(found.verdict, found.evidence)
    return exit_code(found.verdict.kind)
