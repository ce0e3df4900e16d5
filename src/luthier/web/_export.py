"""The report in the format of another tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from luthier.errors import ReportError
from luthier.web._evidence import inspect_logs, write_parquet
from luthier.web._junit import render_junit
from luthier.web._markdown import render_markdown
from luthier.web._mlflow import log_decision
from luthier.web._report import render_report

if TYPE_CHECKING:
    from luthier.api import Project

ReportFormat = Literal["html", "markdown", "junit", "parquet", "inspect", "mlflow"]

NAMES = {
    "html": "report.html",
    "markdown": "report.md",
    "junit": "report.junit.xml",
    "parquet": "evidence.parquet",
    "inspect": "inspect",
}


def export_report(project: Project, kind: ReportFormat = "html", out: Path | None = None) -> str:
    """Write the report of a project; gives where it is: a file, a folder of logs, or an MLflow run.

    Args:
        project: the task's folder, in which something was decided (HTML says so where nothing was).
        kind: `html`, `markdown` and `junit`: the verdict; `parquet` and `inspect`: every answer; `mlflow`: both.
        out: the file to write (the folder of the logs for `inspect`); in `.luthier` by default.

    Raises:
        EvidenceError: nothing was decided yet.
        ReportError: the place cannot be written, or MLflow is not there or refuses.
    """
    if kind != "html":
        project.decision()  # says what to type where there is none
    state = project.state()
    if kind == "mlflow":
        if out is not None:
            raise ReportError("an MLflow run has no file to write to", fix="name its server: MLFLOW_TRACKING_URI=…")
        files = [Path(export_report(project, "markdown")), Path(export_report(project, "parquet"))]
        return log_decision(state, project.home, files)
    place = project.home / NAMES[kind] if out is None else out.resolve()
    _refuse(place, kind)
    if kind == "inspect":
        for name, log in inspect_logs(state).items():
            project.keep(str(place / name), json.dumps(log, ensure_ascii=False, allow_nan=False) + "\n")
    elif kind == "parquet":
        try:
            write_parquet(state, place)
        except OSError as error:
            why = error.strerror or str(error)
            raise ReportError(f"{place} cannot be written: {why}", fix="name another place: --out PATH") from error
    else:
        render = {"html": render_report, "markdown": render_markdown, "junit": render_junit}[kind]
        project.keep(str(place), render(state))
    return str(place)


def _refuse(place: Path, kind: str) -> None:
    """Raises: ReportError: a folder stands where a file is to be written, or the other way round."""
    if place.exists() and place.is_dir() != (kind == "inspect"):
        what = "a file, and Inspect's logs are several" if kind == "inspect" else "a folder"
        raise ReportError(f"{place} is {what}", fix=f"name a {'folder' if kind == 'inspect' else 'file'}: --out PATH")
