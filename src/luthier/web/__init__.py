"""Dashboard and reports over api."""

from luthier.web._dashboard import serve_dashboard
from luthier.web._evidence import evidence_table, inspect_logs
from luthier.web._export import ReportFormat, export_report
from luthier.web._junit import render_junit
from luthier.web._markdown import render_markdown
from luthier.web._report import render_report, write_report

__all__ = [
    "ReportFormat",
    "evidence_table",
    "export_report",
    "inspect_logs",
    "render_junit",
    "render_markdown",
    "render_report",
    "serve_dashboard",
    "write_report",
]
