"""The command line: one file a verb; parse, call api, print."""

from __future__ import annotations

import importlib
from typing import Any

import click

from luthier import __version__

VERBS = {
    "init": "start a task from a data file or from a shipped example",
    "check": "audit the data; exit 1 when something would ruin a run",
    "plan": "time, memory and money of what comes",
    "decide": "climb the ladder on held-out cases and give the verdict",
    "judge": "how far the judge agrees with people's labels; corrects its scores by them",
    "tune": "fine-tune; needs a warrant",
    "validate": "behaviour, general capability, train/serve parity: one gate",
    "release": "promote, roll back, list, show, verify, export",
    "serve": "the released system behind an OpenAI-compatible endpoint",
    "watch": "drift, expiry, base-model change: is it still good?",
    "refresh": "do it all again on a new base or new data, and compare",
    "run": "the whole life: check, decide, tune where warranted, validate, release, report",
    "report": "write the report, one HTML file",
    "ui": "the local dashboard",
    "demo": "the whole life on a shipped example, on CPU",
    "schema": "print the JSON schema of luthier.yaml",
}


class _Verbs(click.Group):
    """Loads the file of a verb only when that verb is called, so that `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"luthier.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such verb '{args[0]}'.{hint} See: luthier --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="luthier")
@click.pass_context
def main(ctx: click.Context) -> Any:
    """Does this task need fine-tuning, and if so, is the result good and will it stay good?

    Without a verb, prints the one next step.
    """
    if ctx.invoked_subcommand is None:
        from luthier.cli._next import show_next_step

        show_next_step()
