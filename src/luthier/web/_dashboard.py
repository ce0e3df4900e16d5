"""The local dashboard: the report of a folder as it is at the moment of asking, on loopback only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from luthier.web._labelling import add_labelling
from luthier.web._report import render_report

if TYPE_CHECKING:
    from fastapi import FastAPI

    from luthier.api import Project


def dashboard(project: Project) -> FastAPI:
    """A web application with the report, drawn anew at each call, and the page to label answers for a judge."""
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import HTMLResponse
    from starlette.middleware.base import RequestResponseEndpoint
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(openapi_url=None)
    # a page of another site must not read it through a name that resolves to this machine
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        return render_report(project.state())

    @app.middleware("http")
    async def alone(request: Request, ask: RequestResponseEndpoint) -> Response:
        """No page of another site may frame this one and have its buttons pressed."""
        response = await ask(request)
        response.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        return response

    add_labelling(app, project)
    return app


def serve_dashboard(project: Project, *, port: int, ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve the dashboard on loopback until interrupted."""
    project.listen(dashboard(project), port=port, ready=ready)
