"""The page on which a person labels answers for a judge: one at a time, blind, straight into the table."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from luthier.errors import DataError, EvidenceError
from luthier.web._report import environment

if TYPE_CHECKING:
    from fastapi import FastAPI

    from luthier.api import Project

MOST_BYTES = 4096  # of a label that is sent


def add_labelling(app: FastAPI, project: Project) -> None:
    """Adds `/label` to the dashboard of a project."""
    from fastapi import Request, Response
    from fastapi.responses import HTMLResponse, RedirectResponse
    from starlette.concurrency import run_in_threadpool

    token = secrets.token_urlsafe(16)  # a page of another site can send a form here, but cannot read this one
    writing = threading.Lock()

    def put(form: dict[str, list[str]]) -> None:
        with writing:
            project.labelling.put(form.get("id", [""])[0], form.get("label", [""])[0])

    @app.get("/label", response_class=HTMLResponse)
    def page() -> Response:
        try:
            return HTMLResponse(render_label(project, token))
        except (DataError, EvidenceError) as error:
            return HTMLResponse(_failed(error), status_code=404)

    async def label(request: Request) -> Response:
        body = await request.body()
        form = parse_qs(body[:MOST_BYTES].decode("utf-8", "replace"))
        if not secrets.compare_digest(form.get("token", [""])[0].encode(), token.encode()):
            return HTMLResponse("<p>This form is not of this page; reload it.</p>", status_code=403)
        try:
            await run_in_threadpool(put, form)
        except (DataError, EvidenceError) as error:
            return HTMLResponse(_failed(error), status_code=400)
        return RedirectResponse("/label", status_code=303)

    app.router.add_route("/label", label, methods=["POST"])


def render_label(project: Project, token: str) -> str:
    """The page with the next answer; everything from data is escaped."""
    return environment().get_template("label.html.jinja").render(found=project.labelling.next(), token=token)


def _failed(error: DataError | EvidenceError) -> str:
    return environment().from_string("<pre>{{ text }}</pre>").render(text=str(error))
