"""Dashboard and reports over api."""

from luthier.web._dashboard import serve_dashboard
from luthier.web._report import render_report, write_report

__all__ = ["render_report", "serve_dashboard", "write_report"]
