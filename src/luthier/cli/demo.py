"""`luthier demo`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import verb
from luthier.cli.run import run


@verb(help="The whole life on a shipped example, on CPU, offline once installed.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("luthier-demo"))
def command(folder: Path, as_json: bool) -> int:
    """Write the example task (unless it is there) and run it."""
    from luthier.api import init_example

    if not (folder / "luthier.yaml").exists():
        init_example(folder)
    return run(folder, False, False, True, as_json)
