"""`luthier watch`."""

from __future__ import annotations

from pathlib import Path

from luthier.cli._verb import EXIT_DONE, EXIT_FAILED, in_folder, open_project, print_json, verb


@verb(help="Drift, expiry, base-model change: is the champion still good? Exit 1 when something calls for action.")
@in_folder
def command(folder: Path, allow_outside: bool, as_json: bool) -> int:
    """Watch once and print the findings."""
    report = open_project(folder, allow_outside, as_json).watch()
    if as_json:
        print_json(report.as_dict())
    else:
        from luthier.cli._tables import print_watch

        print_watch(report)
    return EXIT_DONE if report.ok else EXIT_FAILED
