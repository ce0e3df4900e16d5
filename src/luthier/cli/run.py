"""`luthier run`."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli._verb import EXIT_DONE, EXIT_FAILED, in_folder, open_project, print_json, verb
from luthier.cli.decide import exit_code


@verb(help="The whole life: check, decide, tune where warranted, validate, release, report.")
@in_folder
@click.option("--all", "everything", is_flag=True, help="Measure every rung on every case, also when it is settled.")
@click.option("--quick", is_flag=True, help="The small battery of general capability.")
def command(folder: Path, allow_outside: bool, everything: bool, quick: bool, as_json: bool) -> int:
    """Run it and print what came of it."""
    return run(folder, allow_outside, everything, quick, as_json)


def run(folder: Path, allow_outside: bool, everything: bool, quick: bool, as_json: bool) -> int:
    """The whole life of the task in a folder; also what `luthier demo` does after writing its task."""
    from luthier.web import write_report

    project = open_project(folder, allow_outside, as_json)
    lived = project.run(everything=everything, quick=quick)
    report = write_report(project)
    if as_json:
        print_json(
            {
                "verdict": lived.verdict.as_dict(),
                "gate": None if lived.gate is None else lived.gate.as_dict(),
                "release": None if lived.release is None else lived.release.version,
                "report": str(report),
            }
        )
    else:
        from luthier.cli._tables import print_gate, print_release, print_verdict

        print_verdict(lived.verdict, project.decision().evidence)
        if lived.gate is not None:
            print_gate(lived.gate)
        if lived.release is not None:
            print_release(lived.release)
        click.echo(f"report: {report}")
    if lived.gate is not None and not lived.gate.passed:
        return EXIT_FAILED
    return exit_code(lived.verdict.kind) if lived.release is None else EXIT_DONE
