"""`luthier init`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import print_json, verb


@verb(help="Start a task from a data file, or from a shipped example.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--examples", type=click.Path(path_type=Path), help="Your data: input and wanted output, any format.")
@click.option("--example", is_flag=True, help="Write the shipped example task instead.")
@click.option("--base", default="smollm2-135m", show_default=True, help="Hub id, folder, GGUF file or endpoint.")
def command(folder: Path, examples: Path | None, example: bool, base: str, as_json: bool) -> None:
    """Write luthier.yaml and say what comes next."""
    from luthier.api import init_example, init_task

    if example or examples is None:
        if not example:
            raise click.UsageError("say what to start from: --examples FILE, or --example for the shipped task")
        written = init_example(folder)
    else:
        written = init_task(folder, examples, base)
    if as_json:
        print_json({"written": [str(path) for path in written]})
        return
    for path in written:
        click.echo(f"wrote {path}")
    if not example:
        click.echo(f"say in one sentence what the model must do: goal: in {folder / 'luthier.yaml'}")
    click.echo(f"next: luthier check -C {folder}")
