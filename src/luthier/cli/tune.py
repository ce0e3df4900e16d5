"""`luthier tune`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click

from luthier.cli._verb import in_folder, open_project, print_json, verb


@verb(help="Fine-tune; needs the warrant of a verdict.")
@in_folder
@click.option("--without-warrant", metavar="WHY", help="Train without a warrant; the reason is recorded.")
@click.option(
    "--launch",
    metavar="N",
    type=click.IntRange(min=2),
    help="Share the training out to N processes on this machine. The launcher's command is printed, as a model of one "
    "for several machines.",
)
def command(
    folder: Path, allow_outside: bool, without_warrant: str | None, launch: int | None, as_json: bool
) -> int | None:
    """Train and say where the adapter lies."""
    further = os.environ.get("RANK", "0") != "0"  # a process that a launcher put beside the first one
    project = open_project(folder, allow_outside, as_json or further)
    if launch is not None:
        project.may_tune(without_warrant=without_warrant)
        return _launch(launch, folder, allow_outside, without_warrant, as_json)
    result = project.tune(without_warrant=without_warrant)
    if further:
        return None
    if as_json:
        print_json(result)
        return None
    from luthier.cli._tables import print_tuned

    print_tuned(result)
    return None


def _launch(count: int, folder: Path, allow_outside: bool, without_warrant: str | None, as_json: bool) -> int:
    """Run this verb in `count` processes; gives the launcher's exit code."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    words += ["-m", "luthier", "tune", "-C", str(folder)]
    words += ["--allow-outside"] * allow_outside + ["--json"] * as_json
    words += ["--without-warrant", without_warrant] if without_warrant is not None else []
    click.echo(shlex.join(words), err=True)
    threads = str(max(1, (os.cpu_count() or 1) // count))
    return subprocess.run(words, env={"OMP_NUM_THREADS": threads} | os.environ, check=False).returncode
