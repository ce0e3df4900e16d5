"""`luthier ui`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import in_folder, open_project, verb


@verb(help="The local dashboard: the report of this folder as it is now, on loopback.")
@in_folder
@click.option("--port", type=click.IntRange(0, 65535), default=8377, show_default=True)
def command(folder: Path, allow_outside: bool, port: int, as_json: bool) -> None:
    """Show the dashboard until interrupted."""
    from luthier.web import serve_dashboard

    project = open_project(folder, allow_outside, as_json)
    serve_dashboard(project, port=port, ready=lambda url: click.echo(url.removesuffix("/v1")))
