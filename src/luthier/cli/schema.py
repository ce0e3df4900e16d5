"""`luthier schema`."""

from __future__ import annotations

from luthier.cli._verb import print_json, verb


@verb(help="Print the JSON schema of luthier.yaml, for editors and checks.")
def command(as_json: bool) -> None:
    """Print the schema; it is JSON with and without `--json`."""
    from luthier.spec import task_schema

    print_json(task_schema())
