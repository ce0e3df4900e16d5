"""What the bare command prints: the one next step."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.errors import LuthierError


def show_next_step() -> None:
    """Print where this folder stands and the command that comes next."""
    if not Path("luthier.yaml").exists():
        click.echo("no luthier.yaml here")
        click.echo("next: luthier init --examples YOUR_FILE    (or see it work: luthier demo)")
        return
    from luthier.api import Project

    try:
        where, step = Project().next_step()
    except LuthierError as error:
        from luthier.data import visible

        click.echo(visible(f"error [{error.code}]: {error}"), err=True)
        raise SystemExit(error.exit_code) from None
    click.echo(where)
    click.echo(f"next: {step}")
