"""Costs in words: the figures that were given and those assumed, where the difference turns, and a summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luthier.decide._bill import Factor, Ledger, Outlay, bill, break_even
from luthier.decide._costs import CostReport, Turn
from luthier.decide._evidence import Rules, RungEvidence
from luthier.decide._inputs import HOURS_A_MONTH, Figure, Inputs
from luthier.decide._sensitivity import difference, turning_factor
from luthier.decide._sentences import listed, money

_TURNING: tuple[Factor, ...] = ("token prices", "machine price", "hourly wage", "hosting")


def figures_used(rungs: Sequence[RungEvidence], inputs: Inputs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every figure that the costs of these rungs rest on: those that were given, and those that were assumed."""
    used: list[tuple[str, Figure | None]] = [
        ("horizon: {:g} months", inputs.months),
        ("hourly wage: ${:g}", inputs.wage),
        ("value per error: ${:g}", inputs.error_usd),
    ]
    if any(rung.trained for rung in rungs):
        used += [("re-tunes: {:g} a year", inputs.retunes), ("a re-tune: {:g} hours of people", inputs.retune_hours)]
        used += [("training: ${:g} an hour", inputs.training), ("training: {:g} hours", inputs.training_hours)]
    if not all(rung.trained for rung in rungs):
        used += [
            ("base updates: {:g} a year", inputs.updates),
            ("validation of a prompt at one: {:g} hours of people", inputs.update_hours),
        ]
    if any("retrieval" in rung.method for rung in rungs):
        used += [
            ("index refreshes: {:g} a year", inputs.refreshes),
            ("an index refresh: {:g} hours of people", inputs.refresh_hours),
        ]
    if any(rung.trained or rung.method.startswith("few-shot") for rung in rungs):
        used += [("labelling: ${:g} an example", inputs.label_usd), ("examples to label: {:g}", inputs.label_count)]
        if inputs.label_hours.value:
            used += [("labelling: {:g} hours an example", inputs.label_hours)]
    used += [
        (f"hosting of {name}: ${{:g}} a month", found.usd_per_month)
        for name, found in inputs.hosting.items()
        if name == "all" or any(rung.method == name for rung in rungs)
    ]
    lines = [(text.format(f.value) + f" ({f.source}, {f.date})", f.assumed) for text, f in used if f is not None]
    lines += _prices_used(rungs, inputs)
    if not any(inputs.hosting_of(rung.method) for rung in rungs):
        lines.append(("hosting: $0 a month (nothing is paid while no request comes)", True))
    once = list(dict.fromkeys(lines))
    return tuple(line for line, guess in once if not guess), tuple(line for line, guess in once if guess)


def _prices_used(rungs: Sequence[RungEvidence], inputs: Inputs) -> list[tuple[str, bool]]:
    lines = []
    for rung in rungs:
        own, cost = inputs.price_of(rung.base), rung.cost
        price = own or (None if cost is None else cost.price)
        if price is not None:
            what = f"tokens of {rung.base}: ${price.input:g} in, ${price.cached:g} cached, ${price.output:g} out"
            lines.append((f"{what} per million ({price.source}, {price.date})", own is None))
        if price is None or (rung.trained and inputs.training is None):
            lines += _machine_used(rung, inputs)
    return lines


def _machine_used(rung: RungEvidence, inputs: Inputs) -> list[tuple[str, bool]]:
    own, cost = inputs.machine, rung.cost
    if own is not None:
        return [(f"machine: ${own.value:g} an hour ({own.source}, {own.date})", False)]
    if cost is None or cost.machine is None:
        return [("machine: as in the evidence, which an earlier version saved", True)]
    return [(f"machine: ${cost.machine:g} an hour ({cost.machine_source.removeprefix('assumed: ')})", True)]


def limits(known: Sequence[tuple[RungEvidence, Outlay]], rules: Rules) -> tuple[str, ...]:
    """What the figures leave out or stretch."""
    lines, inputs = [], rules.inputs
    if rules.volume is None:
        lines.append("totals are not known without requests a month: volume: in luthier.yaml")
    if inputs.error_usd is None:
        lines.append("what a wrong answer costs is left out: errors: {usd_each: ...} in the price sheet")
    for rung, outlay in known:
        price, cost = outlay.price, rung.cost
        if price is not None and price.cached == price.input and outlay.shared and not outlay.included:
            lines.append(f"cached tokens of {rung.base} are priced as fresh ones: the price sheet has no other price")
        if cost is not None and cost.mean_seconds is None:
            lines.append(f"{rung.rung}: an earlier version saved its evidence, so that labelling is left out")
        if outlay.included and cost is not None and cost.mean_seconds and rules.volume is not None:
            most = HOURS_A_MONTH * 3600 / cost.mean_seconds
            if rules.volume > most:
                lines.append(
                    f"{rung.rung}: at {cost.mean_seconds:.2f} s an answer one machine gives about {most:,.0f} a month, "
                    f"fewer than {rules.volume:,}; its hosting is counted once"
                )
    return tuple(dict.fromkeys(lines))


def turns(a: Outlay, b: Outlay, ledger: Ledger) -> tuple[Turn, ...]:
    """Where volume, prices or the value of an error would make the other of the two rungs the cheaper one."""
    ahead = float(difference(a, b, ledger)) > 0
    other = (b if ahead else a).rung
    found = []
    volume = break_even(bill(a, ledger), bill(b, ledger))
    if volume is not None and ledger.volume:
        word = "above" if volume > ledger.volume else "below"
        text = f"volume: {word} {volume:,.0f} requests a month {other} would cost less"
        found.append(Turn("volume", volume / ledger.volume, volume, text))
    for name in _TURNING:
        factor = turning_factor(a, b, ledger, name)
        if factor is not None:
            word = "above" if factor > 1 else "below"
            found.append(
                Turn(name, factor, None, f"{name}: {word} {factor:.3g} times as given {other} would cost less")
            )
    value = _error_value(a, b, ledger)
    if value is not None:
        word = "above" if value > ledger.error else "below"
        text = f"value per error: {word} {money(value)} an error {other} would cost less"
        found.append(Turn("value per error", value / ledger.error if ledger.error else None, value, text))
    return tuple(found)


def _error_value(a: Outlay, b: Outlay, ledger: Ledger) -> float | None:
    """US dollars an error at which both cost the same."""
    assert ledger.volume is not None  # without a volume there is no difference
    rest = float(difference(a, b, replace(ledger, error=0.0)))
    errors = ledger.months * ledger.volume * (b.wrong - a.wrong)
    found = -rest / errors if errors else 0.0
    return found if found > 0 else None


def summary(report: CostReport) -> CostReport:
    """The report with its two lines."""
    assumed = [line.split(":")[0] for line in report.assumed]
    names = f"assumed: {listed(list(dict.fromkeys(assumed)))} (luthier report lists the figures)" if assumed else ""
    lines = [line for line in (_totals(report), names) if line]
    return replace(report, summary=tuple(lines))


def _totals(report: CostReport) -> str:
    first = None if report.recommended is None else report.of(report.recommended)
    if first is None or first.total is None:
        return ""
    start = (
        f"over {report.months:g} months at {report.volume:,} requests a month {first.rung} costs {money(first.total)}"
    )
    after = None if report.next is None else report.of(report.next)
    if after is None or after.total is None or report.draws is None:
        return start
    beside = "" if report.next_meets else ", which is not adequate"
    ahead = report.draws.ahead or 0.0
    most = f"; the difference hangs most on {report.draws.main}" if report.draws.main else ""
    return (
        f"{start}, {after.rung} {money(after.total)}{beside}; {first.rung} costs less in {ahead:.0%} of "
        f"{report.draws.draws:,} draws{most}"
    )
