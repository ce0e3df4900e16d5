"""What every verb has in common: its folder, `--json`, errors as text or JSON with the right exit code."""

from __future__ import annotations

import errno
import functools
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.errors import DiskFullError, LuthierError

if TYPE_CHECKING:
    from luthier.api import Project

EXIT_DONE, EXIT_FAILED, EXIT_WRONG, EXIT_EVIDENCE, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


def verb(**settings: Any) -> Callable[[Callable[..., int | None]], click.Command]:
    """A click command with `--json`, whose function returns an exit code (None: done) and may raise LuthierError."""

    def wrap(function: Callable[..., int | None]) -> click.Command:
        @functools.wraps(function)
        def guarded(as_json: bool, **arguments: Any) -> None:
            sys.exit(_guard(function, as_json, arguments))

        with_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(guarded)
        command: click.Command = click.command(**settings)(with_json)
        return command

    return wrap


def in_folder(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that name the task."""
    function = click.option(
        "-C", "--folder", type=click.Path(path_type=Path), default=Path(), help="The task's folder."
    )(function)
    return click.option("--allow-outside", is_flag=True, help="Accept paths in the task that leave its folder.")(
        function
    )


def open_project(folder: Path, allow_outside: bool, as_json: bool) -> Project:
    """The project of a folder, with a progress bar on the terminal."""
    from luthier.api import Project
    from luthier.cli._progress import Bars

    return Project(folder, allow_outside=allow_outside, progress=Bars(quiet=as_json))


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    click.echo(text.encode("utf-8", "backslashreplace").decode())  # half a character has its JSON escape


def _guard(function: Callable[..., int | None], as_json: bool, arguments: dict[str, Any]) -> int:
    try:
        return function(as_json=as_json, **arguments) or EXIT_DONE
    except LuthierError as error:
        return _fail(error, as_json)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends already: another Ctrl-C would only print a traceback
        click.echo("\ninterrupted; everything finished so far is kept: run the same command to continue", err=True)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        full = DiskFullError(
            f"no room is left on the disk for {error.filename or 'the store'}",
            why="what was recorded before is untouched",
            fix="free some space, then run the same command to continue",
        )
        return _fail(full, as_json)


def _fail(error: LuthierError, as_json: bool) -> int:
    if as_json:
        print_json({"error": error.as_dict()})
    else:
        from luthier.data import visible

        click.echo(visible(f"error [{error.code}]: {error}"), err=True)
    return error.exit_code
