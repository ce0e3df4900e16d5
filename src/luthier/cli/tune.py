"""`luthier tune`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click

from luthier.cli._verb import EXIT_DONE, EXIT_INTERRUPTED, in_folder, open_project, print_json, verb

PORT = 29500  # torchrun's own choice


class Processes(NamedTuple):
    """How many processes train: so many on each of so many machines."""

    machines: int
    each: int


def _processes(context: click.Context, option: click.Parameter, value: str | None) -> Processes | None:
    """`N` or `MxN` as numbers."""
    if value is None:
        return None
    numbers = [int(part) if part.isascii() and part.isdigit() else 0 for part in value.lower().split("x")]
    if len(numbers) > 2 or 0 in numbers:
        raise click.BadParameter(
            f"{value!r} is neither a number (4) nor MACHINESxPROCESSES (2x4)", ctx=context, param=option
        )
    found = Processes(numbers[0] if len(numbers) == 2 else 1, numbers[-1])
    if found.machines * found.each < 2:
        raise click.BadParameter("one process needs no launcher: leave it out", ctx=context, param=option)
    return found


@verb(help="Fine-tune; needs the warrant of a verdict.")
@in_folder
@click.option("--without-warrant", metavar="WHY", help="Train without a warrant; the reason is recorded.")
@click.option(
    "--launch",
    metavar="[MACHINESx]N",
    callback=_processes,
    help="Share the training out to N processes on this machine: the launcher's command is printed and run. With "
    "several machines (2x4: four processes on each of two) the command of each machine is printed.",
)
@click.option(
    "--shard",
    is_flag=True,
    help="Have each process keep a part of every weight (FSDP2). Done unasked where a whole copy would fill a device.",
)
def command(
    folder: Path,
    allow_outside: bool,
    without_warrant: str | None,
    launch: Processes | None,
    shard: bool,
    as_json: bool,
) -> int | None:
    """Train and say where the adapter lies."""
    further = os.environ.get("RANK", "0") != "0"  # a process that a launcher put beside the first one
    project = open_project(folder, allow_outside, as_json or further)
    if launch is not None:
        project.may_tune(without_warrant=without_warrant)
        words = _words(folder, allow_outside, without_warrant, shard, as_json)
        return _run(launch.each, words) if launch.machines == 1 else _print_commands(launch, words, as_json)
    try:
        result = project.tune(without_warrant=without_warrant, shard=shard)
    except KeyboardInterrupt:
        if further:
            return EXIT_INTERRUPTED  # the first process says so
        raise
    if further:
        return None
    if as_json:
        print_json(result)
        return None
    from luthier.cli._tables import print_tuned

    print_tuned(result)
    return None


def _words(folder: Path, allow_outside: bool, without_warrant: str | None, shard: bool, as_json: bool) -> list[str]:
    """This verb as each process is to run it."""
    words = ["-m", "luthier", "tune", "-C", str(folder.absolute())]
    words += ["--allow-outside"] * allow_outside + ["--shard"] * shard + ["--json"] * as_json
    return words + (["--without-warrant", without_warrant] if without_warrant is not None else [])


def _run(count: int, words: list[str]) -> int:
    """Run `words` in `count` processes; gives the launcher's exit code.

    The launcher is in a session of its own, so that Ctrl-C reaches it once, from here: it hands the signal on to the
    processes, waits for the step that they run, and must not be cut short by a second one.
    """
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", *words]
    click.echo(shlex.join(words), err=True)
    threads = str(max(1, (os.cpu_count() or 1) // count))
    interrupted = False

    def hand_on(number: int, frame: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            launcher.send_signal(number)

    environment = {"OMP_NUM_THREADS": threads} | os.environ
    with subprocess.Popen(words, env=environment, start_new_session=True) as launcher:
        before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = launcher.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return EXIT_INTERRUPTED if interrupted else code


def _print_commands(processes: Processes, words: list[str], as_json: bool) -> int:
    """What to type on each machine; the first one writes and scores."""
    commands = []
    for number in range(processes.machines):
        launcher = ["torchrun", f"--nnodes={processes.machines}", f"--node-rank={number}"]
        launcher += [f"--nproc-per-node={processes.each}", "--master-addr=FIRST", f"--master-port={PORT}"]
        commands.append(shlex.join([*launcher, *words]))
    if as_json:
        print_json({"commands": commands})
        return EXIT_DONE
    click.echo("One command a machine, with the first one's address for FIRST. All must see the task's folder.")
    for text in commands:
        click.echo(text)
    return EXIT_DONE
