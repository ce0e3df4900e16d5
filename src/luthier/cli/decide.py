"""`luthier decide`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from luthier.cli._verb import EXIT_DONE, EXIT_EVIDENCE, EXIT_FAILED, in_folder, open_project, print_json, verb

if TYPE_CHECKING:
    from luthier.api import Project


@verb(help="Climb the ladder on held-out cases and give the verdict.")
@in_folder
@click.option("--all", "everything", is_flag=True, help="Measure every rung on every case, also when it is settled.")
@click.option("--no-train", is_flag=True, help="Leave the fine-tuned rungs out.")
@click.option("--replay", is_flag=True, help="Compute the verdict again from stored evidence; asks no model.")
@click.option("--power", is_flag=True, help="Say first what the test cases can show; asks no model.")
def command(
    folder: Path, allow_outside: bool, everything: bool, no_train: bool, replay: bool, power: bool, as_json: bool
) -> int:
    """Decide, replay the last decision, or say what a decision could show."""
    if power and (replay or everything or no_train):
        raise click.UsageError("--power stands alone: nothing is decided with it")
    project = open_project(folder, allow_outside, as_json)
    if power:
        return _foresee(project, as_json)
    verdict = project.replay() if replay else project.decide(everything=everything, train=not no_train)
    evidence = project.decision().evidence
    if as_json:
        print_json({"verdict": verdict.as_dict(), "evidence": evidence.as_dict()})
    else:
        from luthier.cli._tables import print_verdict

        print_verdict(verdict, evidence)
    return exit_code(verdict.kind)


def _foresee(project: Project, as_json: bool) -> int:
    found = project.power()
    if as_json:
        print_json({"power": found.as_dict()})
    else:
        from luthier.cli._power import print_power

        print_power(found)
    return EXIT_DONE


def exit_code(kind: str) -> int:
    """0: a rung is adopted; 1: none can be, or the data must be fixed first; 3: the evidence is not enough."""
    if kind == "not enough evidence":
        return EXIT_EVIDENCE
    return EXIT_FAILED if kind in ("no rung meets the bar", "fix the data") else EXIT_DONE
