"""What the verbs print: rich tables on standard output."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from luthier.data import visible

if TYPE_CHECKING:
    from luthier.api._planning import Plan, TrainingPlan
    from luthier.decide import CostReport, Evidence, RungEvidence, RungVerdict, Verdict
    from luthier.release import GateReport, Release
    from luthier.upkeep import WatchReport

SHOWN_CLUSTERS, SHOWN_CHARACTERS = 5, 60
_BRACKET = re.compile(r"(\\*)\[(?=([a-z#/@][^\[]*?\])?)")  # and whether rich would read a tag there
_STATE_STYLE = {"meets": "bold green", "falls short": "red", "open": "yellow", "not run": "dim"}


def console() -> Console:
    """Standard output, as wide as the terminal; 110 columns where there is none."""
    found = Console(highlight=False, emoji=False)  # `:x:` in a text stays what it is
    return found if found.is_terminal else Console(highlight=False, emoji=False, width=110)


def escape(value: object) -> str:
    """A text from data as it may stand in what is printed: no markup, and nothing that a terminal obeys."""
    # rich's own `escape` loses the backslash of `\[`, as which formulas begin
    text = _BRACKET.sub(lambda found: found[1] * (2 if found[2] else 1) + r"\[", visible(str(value)))
    return text + "\\" * (len(text) - len(text.rstrip("\\")) & 1)


def print_verdict(verdict: Verdict, evidence: Evidence) -> None:
    """The ladder as a table, then the verdict in a sentence, its reasons and what to do."""
    out = console()
    bar = "the best rung less the margin" if verdict.bar is None else f"{verdict.bar:g}"
    table = Table(
        title=f"the ladder: {escape(evidence.scorer)}, bar {bar}, {len(evidence.cases)} test cases",
        title_justify="left",
    )
    for name in ("rung", "score [95 %]", "cases", "state"):
        table.add_column(name, overflow="fold")
    for name in ("USD / 1,000", "USD / month", "s / answer"):
        table.add_column(name, justify="right")
    for judged, measured in zip(verdict.rungs, evidence.rungs, strict=True):
        table.add_row(*_rung_row(judged, measured, verdict.costs))
    out.print(table)
    out.print(f"[bold]verdict: {escape(verdict.kind)}[/bold]  {escape(verdict.sentence)}")
    _bullets(out, "because", verdict.reasons)
    _print_failures(out, evidence)
    _bullets(out, "next", verdict.advice)
    _bullets(out, "would change it", verdict.flips)
    granted = "granted" if verdict.warrant.granted else "refused"
    out.print(f"warrant to fine-tune: {granted}: {escape(verdict.warrant.reason)}")
    for line in () if verdict.costs is None else verdict.costs.summary:
        out.print(f"[dim]cost:[/dim] {escape(line)}", soft_wrap=True)
    if verdict.answers_saved:
        out.print(f"answers saved by stopping early: {verdict.answers_saved}")


def _rung_row(judged: RungVerdict, measured: RungEvidence, costs: CostReport | None) -> tuple[str, ...]:
    name = escape(judged.rung)
    if measured.choices:
        name += f"\n[dim]{escape(measured.choices.get('chosen', ''))}[/dim]"
    state = f"[{_STATE_STYLE[judged.state]}]{judged.state}[/]"
    if judged.mean is None:
        return name, "", "", f"{state}\n[dim]{escape(measured.skipped)}[/dim]", "", "", ""
    score = f"{judged.mean:.3f} [{judged.display_low:.3f}, {judged.display_high:.3f}]"
    cost, now = measured.cost, None if costs is None else costs.of(judged.rung)
    money = ("", "", "") if cost is None else (_usd(cost.per_1000), _usd(cost.per_month), f"{cost.seconds:.2f}")
    if now is not None:  # at the prices of today's sheet, which a replay may find changed
        money = (_usd(now.per_1000), _usd(now.requests), money[2])
    if judged.note:
        state += f"\n[dim]{escape(judged.note)}[/dim]"
    return name, escape(score), f"{judged.answered}/{judged.planned}", state, *money


def _print_failures(out: Console, evidence: Evidence) -> None:
    """The largest clusters of failures, each with one case."""
    failures = evidence.failures
    if failures is None or not failures.clusters:
        return
    table = Table(title=f"why cases fail on {escape(failures.rung)}", title_justify="left")
    for name in ("share [95 %]", "cause", "wanted → got, of one case"):
        table.add_column(name, overflow="fold")
    ranked = sorted(failures.clusters, key=lambda cluster: -cluster.count)
    for cluster in ranked[:SHOWN_CLUSTERS]:
        share = f"{100 * cluster.share:.0f} % [{100 * cluster.low:.0f}, {100 * cluster.high:.0f}]"
        cause = escape(cluster.cause + (f": {cluster.detail}" if cluster.detail else ""))
        one = cluster.samples[0]
        case = escape(f"{_short(one.wanted)} → {_short(one.got)}")
        table.add_row(escape(share), f"{cause}\n[dim]{escape(cluster.name)}[/dim]", case)
    out.print(table)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def _usd(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def _bullets(out: Console, head: str, lines: Sequence[str]) -> None:
    for line in lines:
        out.print(f"  [dim]{head}:[/dim] {escape(line)}", soft_wrap=True)


def print_gate(report: GateReport) -> None:
    """Every check of the gate with its figure and reason."""
    out = console()
    table = Table(title="validation", title_justify="left")
    for name in ("check", "", "figure", "reason"):
        table.add_column(name, overflow="fold")
    for check in report.checks:
        mark = "[green]pass[/green]" if check.passed else "[bold red]FAIL[/bold red]"
        figure = "" if check.figure is None else f"{check.figure:.3g}"
        table.add_row(escape(check.name), mark, figure, escape(check.reason))
    out.print(table)
    out.print("[bold green]the gate is passed[/]" if report.passed else "[bold red]the gate is not passed[/]")


def print_release(release: Release) -> None:
    """A release in a few lines."""
    out = console()
    mark = " (champion)" if release.champion else ""
    system, base = release.lock["system"], release.lock["base"]
    out.print(
        f"[bold]release {release.version}{mark}[/bold] of {escape(release.task)}, {release.created:%Y-%m-%d %H:%M}"
    )
    adapter = "" if system["adapter"] is None else f", adapter {system['adapter'][:12]} at scale {system['scale']:g}"
    out.print(f"  {escape(system['method'])} on {escape(base['name'])} ({base['identity'][:12]}){adapter}")
    out.print(f"  review by {release.review_by}; folder {escape(release.folder)}", soft_wrap=True)


def print_releases(releases: Sequence[Release]) -> None:
    """All releases as a table."""
    out = console()
    if not releases:
        out.print("no releases yet; next: luthier release promote")
        return
    table = Table()
    for name in ("version", "created", "method", "base", "review by", ""):
        table.add_column(name, overflow="fold")
    for release in releases:
        table.add_row(
            str(release.version),
            f"{release.created:%Y-%m-%d %H:%M}",
            escape(release.lock["system"]["method"]),
            escape(release.lock["base"]["name"]),
            str(release.review_by),
            "champion" if release.champion else "",
        )
    out.print(table)


def print_watch(report: WatchReport) -> None:
    """Every finding of the watch with what to type."""
    out = console()
    styles = {"act": "bold yellow", "note": "dim"}
    for finding in report.findings:
        out.print(f"[{styles[finding.severity]}]{finding.severity}[/]  {escape(finding.what)}", soft_wrap=True)
        for place in finding.places:
            out.print(f"      {escape(place)}", soft_wrap=True)
        out.print(f"      fix: {escape(finding.fix)}", soft_wrap=True)
    out.print("[green]nothing calls for action[/green]" if report.ok else f"{escape(report.release)} needs attention")


def print_refreshed(result: Any) -> None:
    """The comparison with the champion and what followed."""
    out = console()
    print_verdict(result.verdict, result.evidence)
    out.print(f"[bold]{escape(result.reason)}[/bold]", soft_wrap=True)
    if result.gate is not None:
        print_gate(result.gate)
    if result.promoted is None:
        out.print("the champion stays")
    else:
        print_release(result.promoted)


def print_tuned(result: Mapping[str, Any]) -> None:
    """What the training chose and where it lies."""
    out = console()
    for row in result["development"]:
        out.print(f"  {escape(row['candidate'])}: development score {row['score']:.3f} on {row['cases']} cases")
    for note in result["training"]["notes"]:
        out.print(f"  note: {escape(note)}", soft_wrap=True)
    out.print(f"chosen: {escape(result['chosen'])}; kept in {escape(result['folder'])}", soft_wrap=True)
    out.print("next: luthier decide    (measures it on the test cases)")


def print_plan(plan: Plan) -> None:
    """Time and money per step; memory, time, disk and money per way to train."""
    out = console()
    if plan.steps:
        out.print(_steps_table(plan))
    if plan.training:
        out.print(_training_table(plan))
        for training in plan.training:
            _print_what_to_change(out, training)
    if plan.seconds is not None:
        out.print(f"at most {plan.seconds / 60:.0f} minutes")
    for note in plan.notes:
        out.print(f"  {escape(note)}", soft_wrap=True)


def _steps_table(plan: Plan) -> Table:
    table = Table(title=f"plan for {escape(plan.base)}", title_justify="left")
    table.add_column("step")
    for name in ("answers", "minutes", "USD"):
        table.add_column(name, justify="right")
    for step in plan.steps:
        table.add_row(escape(step.name), step.amount, f"{step.seconds / 60:.1f}", _usd(step.usd))
    return table


def _training_table(plan: Plan) -> Table:
    most = plan.training[0].limit
    title = f"training {escape(plan.base)}: memory in GB at its peak, of {most / 1e9:.1f}"
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    parts = list(dict.fromkeys(part for training in plan.training for part in training.memory))
    for name in (*parts, "peak", "minutes", "disk GB", "USD", "fits"):
        table.add_column(name, justify="right")
    for training in plan.training:
        sizes = [training.memory.get(part, 0) for part in parts]
        minutes = "" if training.seconds is None else f"{sum(training.seconds.values()) / 60:.1f}"
        table.add_row(
            f"{training.method}\n[dim]peak in its {training.phase}[/dim]",
            *(f"{size / 1e9:.2f}" if size else "" for size in sizes),
            f"{training.peak / 1e9:.2f}",
            minutes,
            f"{training.disk / 1e9:.2f}",
            "no price" if training.usd is None else _usd(training.usd),
            "[green]yes[/green]" if training.fits else "[bold red]no[/bold red]",
        )
    return table


def _print_what_to_change(out: Console, training: TrainingPlan) -> None:
    if training.fits:
        return
    if training.disk > training.free_disk:
        free = f"{training.free_disk / 1e9:.1f} GB are free, {training.disk / 1e9:.1f} GB are written"
        out.print(f"[bold red]{training.method}[/bold red]: {free}: free some space", soft_wrap=True)
    if training.peak > training.limit:
        out.print(f"[bold red]{training.method}[/bold red] does not fit the memory; in luthier.yaml:", soft_wrap=True)
    for write, size in training.changes:
        verdict = "fits" if size <= training.limit else "not enough by itself"
        out.print(f"  {escape(write)}    {size / 1e9:.2f} GB, {verdict}", soft_wrap=True)
