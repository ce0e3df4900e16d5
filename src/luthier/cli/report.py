"""`luthier report`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import in_folder, open_project, print_json, verb

FORMATS = ("html", "markdown", "junit", "parquet", "inspect", "mlflow")


@verb(help="Write the report, one self-contained HTML file, or verdict and evidence for another tool.")
@in_folder
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default="html",
    show_default=True,
    help="The verdict for people (html, markdown) or for CI (junit); every answer as a table (parquet) or as logs of "
    "Inspect; a run of MLflow, at MLFLOW_TRACKING_URI or in .luthier.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Another file than the one in .luthier (inspect: folder).")
def command(folder: Path, allow_outside: bool, kind: str, out: Path | None, as_json: bool) -> None:
    """Write it and print where."""
    from luthier.web import export_report

    where = export_report(open_project(folder, allow_outside, as_json), kind, out)  # type: ignore[arg-type]  # click.Choice allows only these
    if as_json:
        print_json({"report": where, "format": kind})
    else:
        click.echo(where)
