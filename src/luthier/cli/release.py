"""`luthier release`: promote, roll back, list, show, verify, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli._verb import EXIT_DONE, EXIT_FAILED, in_folder, open_project, print_json, verb

if TYPE_CHECKING:
    from luthier.release import Release

_VERSION = click.argument("version", type=int, required=False)


@click.group(help="Promote, roll back, list, show, verify, export.", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Without a sub-command, list the releases."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(listing)


@verb(name="promote", help="Release the validated system and make it champion, or make an older VERSION champion.")
@in_folder
@_VERSION
def promote(folder: Path, allow_outside: bool, version: int | None, as_json: bool) -> None:
    """Promote and print the release."""
    _show(open_project(folder, allow_outside, as_json).promote(version), as_json)


@verb(name="rollback", help="Make the previous champion champion again.")
@in_folder
def rollback(folder: Path, allow_outside: bool, as_json: bool) -> None:
    """Roll back and print the release that is champion now."""
    _show(open_project(folder, allow_outside, as_json).roll_back(), as_json)


@verb(name="list", help="All releases, oldest first.")
@in_folder
def listing(folder: Path, allow_outside: bool, as_json: bool) -> None:
    """List the releases."""
    releases = open_project(folder, allow_outside, as_json).releases()
    if as_json:
        print_json([_plain(release) for release in releases])
        return
    from luthier.cli._tables import print_releases

    print_releases(releases)


@verb(name="show", help="One release with its lock; the champion by default.")
@in_folder
@_VERSION
def show(folder: Path, allow_outside: bool, version: int | None, as_json: bool) -> None:
    """Show a release."""
    _show(open_project(folder, allow_outside, as_json).release(version), as_json)


@verb(name="verify", help="Recompute the lock of a release; exit 1 when a byte differs.")
@in_folder
@_VERSION
def verify(folder: Path, allow_outside: bool, version: int | None, as_json: bool) -> int:
    """Verify a release."""
    project = open_project(folder, allow_outside, as_json)
    problems = project.verify(version)
    if as_json:
        print_json({"ok": not problems, "problems": [str(problem) for problem in problems]})
    elif problems:
        click.echo("the release is not what its lock says:", err=True)
        for problem in problems:
            click.echo(f"  {problem}", err=True)
    else:
        click.echo(f"release {project.release(version).version} is what its lock says")
    return EXIT_FAILED if problems else EXIT_DONE


@verb(name="export", help="Write a release for other tools.")
@in_folder
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--as",
    "kind",
    type=click.Choice(["system", "peft", "merged"]),
    default="system",
    show_default=True,
    help="The whole system; the plain PEFT adapter; the base with the adapter merged, checked on test cases.",
)
@click.option("--version", type=int, help="Another version than the champion.")
def export(folder: Path, allow_outside: bool, out: Path, kind: str, version: int | None, as_json: bool) -> None:
    """Export and print where."""
    project = open_project(folder, allow_outside, as_json)
    written = project.export(out, kind, version)  # type: ignore[arg-type]  # click.Choice allows only these
    if as_json:
        print_json({"written": str(written), "kind": kind})
    else:
        click.echo(written)


def _show(release: Release, as_json: bool) -> None:
    from luthier.cli._tables import print_release

    if as_json:
        print_json(_plain(release))
    else:
        print_release(release)


def _plain(release: Release) -> dict[str, Any]:
    return {"version": release.version, "champion": release.champion, "folder": release.folder, "lock": release.lock}


for _command in (promote, rollback, listing, show, verify, export):
    command.add_command(_command)
