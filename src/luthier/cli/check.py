"""`luthier check`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from luthier.cli._verb import EXIT_DONE, EXIT_FAILED, in_folder, open_project, print_json, verb


@verb(help="Audit the data; exit 1 when something would ruin a run.")
@in_folder
@click.option("--fix", is_flag=True, help="Write a corrected copy beside the examples, with a log of every change.")
@click.option("--mask", is_flag=True, help="With --fix: placeholders in place of personal data and secrets.")
@click.option("--deep", is_flag=True, help="Ask the sentence embedder and the base too; takes minutes.")
@click.option("--show", type=click.IntRange(min=0), default=0, help="Print this many rows as they are trained.")
def command(folder: Path, allow_outside: bool, fix: bool, mask: bool, deep: bool, show: int, as_json: bool) -> int:
    """Check, and write the corrected copy if asked."""
    if mask and not fix:
        raise click.UsageError("--mask writes into the corrected copy: --fix --mask")
    project = open_project(folder, allow_outside, as_json)
    fixed = project.fix(mask=mask) if fix else None  # first: it also mends what `check` cannot read
    checked = project.check(deep=deep, show=show)
    if as_json:
        print_json(
            {
                "ok": checked.ok,
                "rows": checked.rows,
                "split": {"train": checked.train, "development": checked.development, "test": checked.test},
                "findings": [finding.as_dict(shown=None) for finding in checked.findings],
                "unseen": checked.unseen,
                "shown": [row.as_dict() for row in checked.shown],
                "fixed": None if fixed is None else asdict(fixed),
            }
        )
    else:
        from luthier.cli._checked import print_checked

        print_checked(checked, fixed)
    return EXIT_DONE if checked.ok else EXIT_FAILED
