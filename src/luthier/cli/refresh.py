"""`luthier refresh`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import EXIT_DONE, EXIT_EVIDENCE, EXIT_FAILED, in_folder, open_project, print_json, verb


@verb(help="The whole recipe again on a new base or new data, compared with the champion; promoted only if not worse.")
@in_folder
@click.option("--base", help="The new base; the task's own by default (for new data).")
def command(folder: Path, allow_outside: bool, base: str | None, as_json: bool) -> int:
    """Refresh; exit 1 when the champion stays, 3 when labels have to tell first."""
    project = open_project(folder, allow_outside, as_json)
    refreshed = project.refresh(base=base)
    if as_json:
        print_json(refreshed.as_dict())
    else:
        from luthier.cli._tables import print_refreshed

        print_refreshed(refreshed)
        if refreshed.sheet is not None:
            from luthier.cli._calibration import print_sheet

            print_sheet(refreshed.sheet, "luthier refresh" + (f" --base {base}" if base else ""))
    if refreshed.promoted is not None:
        return EXIT_DONE
    return EXIT_FAILED if refreshed.sheet is None else EXIT_EVIDENCE
