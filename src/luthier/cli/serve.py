"""`luthier serve`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import in_folder, open_project, print_json, verb


@verb(help="Serve the champion behind an OpenAI-compatible endpoint; logs traffic.")
@in_folder
@click.option("--host", default="127.0.0.1", show_default=True, help="Other than loopback asks for a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--token", envvar="LUTHIER_TOKEN", help="Bearer token; also from LUTHIER_TOKEN.")
def command(folder: Path, allow_outside: bool, host: str, port: int, token: str | None, as_json: bool) -> None:
    """Serve until interrupted."""

    def ready(url: str) -> None:
        if as_json:
            print_json({"url": url})
        else:
            click.echo(f"serving at {url}    (Ctrl-C ends it)")

    open_project(folder, allow_outside, as_json).serve(host=host, port=port, token=token, ready=ready)
