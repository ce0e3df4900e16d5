"""What the test cases can show, in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.decide._sentences import number
from luthier.evaluate import DISCORDANT, MIN_CASES, MIN_GROUPS, POWER

if TYPE_CHECKING:
    from luthier.decide._power import Power
    from luthier.decide._power_outlooks import Outlook, PairOutlook


def sentences(power: Power) -> tuple[str, ...]:
    """All of it: how much there is, what is never shown, the chances, and what more cases would bring."""
    said = [_counts(power)]
    if power.sources < MIN_GROUPS:
        least = f"it takes at least {MIN_GROUPS} independent sources, and there {_are(power.sources)}"
        return (*said, f"Nothing can be shown of any rung: {least}. Collect cases from other sources.")
    if power.bar == 1.0:
        return (*said, _flawless_bar(power), _pairs(power))
    if power.cases < MIN_CASES:
        said.append(_few(power))
    said += _without_bar(power) if power.bar is None else [_meeting(power, power.bar), _falling(power, power.bar)]
    return tuple(filter(None, (*said, _pairs(power), _judges(power))))


def _counts(power: Power) -> str:
    cases = f"{power.cases:,} test {'case' if power.cases == 1 else 'cases'}"
    if power.sources < power.cases:
        cases += f" from {power.sources:,} independent {'source' if power.sources == 1 else 'sources'}"
    share = f"{len(power.rungs)} planned rungs share an error budget of {power.alpha:g}, {power.alpha_each:.3g} each"
    return f"{cases}; {share if len(power.rungs) > 1 else f'one planned rung has an error budget of {power.alpha:g}'}."


def _few(power: Power) -> str:
    flawless = power.outlooks[-1] if power.outlooks else None
    text = f"Fewer than {MIN_CASES} cases show nothing but a flawless record"
    if flawless is not None and flawless.meets < POWER:
        return f"{text}, and even that is too little here: no result of these cases shows that a rung meets the bar."
    return f"{text}."


def _flawless_bar(power: Power) -> str:
    return (
        "No number of cases can show a mean score of 1, and a single failure refutes it, so that no rung can ever be "
        "shown to meet this bar: set bar: below 1."
    )


def _meeting(power: Power, bar: float) -> str:
    above = [outlook for outlook in power.outlooks if outlook.truth > bar]
    seen = next((outlook for outlook in above if outlook.meets >= POWER), None)
    unseen = next((outlook for outlook in reversed(above) if outlook.meets < POWER), None)
    with_these = f"With {_with(power)} a rung that is truly"
    if seen is None:
        assert unseen is not None  # below a bar of 1 there is a mean above it
        text = f"{with_these} {number(unseen.truth)} is shown to meet {number(bar)}"
        return f"{text} in {percent(unseen.meets)} of the tries{_more(power, unseen.total)}."
    text = f"{with_these} {number(seen.truth)} is shown to meet {number(bar)} in {percent(seen.meets)} of the tries"
    if unseen is None:
        return f"{text}."
    return f"{text}; one that is {number(unseen.truth)} in {percent(unseen.meets)}{_more(power, unseen.total)}."


def _falling(power: Power, bar: float) -> str:
    below = [outlook for outlook in power.outlooks if outlook.truth < bar]
    if not below:
        return f"At the bar itself a rung stays open in {percent(_open(power.outlooks[0]))} of the tries."
    nearest, farthest = below[-1], below[0]
    text = (
        f"One that is truly {number(farthest.truth)} is shown to fall short in {percent(farthest.falls_short)}"
        f"{_more(power, farthest.total) if farthest.falls_short < POWER else ''}"
    )
    if nearest is not farthest:
        text += f"; one that is {number(nearest.truth)} in {percent(nearest.falls_short)}"
        text += _more(power, nearest.total) if nearest.falls_short < POWER <= farthest.falls_short else ""
    at_bar = next(outlook for outlook in power.outlooks if outlook.truth == round(bar, 4))
    return f"{text}. One exactly at the bar stays open in {percent(_open(at_bar))}, however many cases there are."


def _without_bar(power: Power) -> list[str]:
    pair = _usual(power)
    if pair.not_worse is None:
        return []
    text = (
        f"Without a bar, a rung that is as good as the best one, and differs from it in answer on "
        f"{percent(pair.discordant)} of the cases, is shown to be within {power.margin:g} of it in "
        f"{percent(pair.not_worse)} of the tries"
    )
    if pair.not_worse < POWER:
        text += _more(power, pair.not_worse_total)
    return [f"{text}."]


def _pairs(power: Power) -> str:
    pair = _usual(power)
    differ = f"Two rungs that differ in answer on {percent(pair.discordant)} of the cases"
    if pair.detectable is None:
        text = f"{differ} are not told apart, whichever is better"
    else:
        text = f"{differ} are told apart when one is truly better by {pair.detectable:.2f} or more"
    difference, total = list(pair.totals.items())[-1]
    if total is None:
        return f"{text}."
    have = power.have
    enough = "" if total <= have else f", {total - have:,} more"
    return f"{text}; a difference of {difference} takes {total:,} {power.unit}{enough}."


def _usual(power: Power) -> PairOutlook:
    return next(pair for pair in power.pairs if pair.discordant == DISCORDANT)


def _more(power: Power, total: int | None) -> str:
    have = power.have
    if total is None and power.unit == "labels":
        return ", and not even a label for every answer makes that 80 %: add test cases"
    if total is None:
        return f", and no number of {power.unit} that was tried makes that 80 %"
    if total <= have:
        return ""
    kind = {"sources": "independent sources", "labels": "labels of each rung"}.get(power.unit, power.unit)
    one = total - have == 1 and power.unit != "labels"
    return f": {total - have:,} more {kind.removesuffix('s') if one else kind} would make that 80 %"


def _open(outlook: Outlook) -> float:
    return 1 - outlook.meets - outlook.falls_short


def _judges(power: Power) -> str:
    """What a better and a worse judge would change."""
    if not power.judges:
        return ""
    said = []
    for outlook in power.judges:
        total = "not even a label for every answer is enough" if outlook.total is None else f"80 % with {outlook.total}"
        said.append(f"J = {outlook.j:g} in {percent(outlook.meets)} ({total})")
    return (
        f"How much a judge helps shows in its J, which labels will tell: with {power.labels} of each rung, one that is "
        f"truly {number(power.judges[0].truth)} is shown to meet the bar with {'; '.join(said)}."
    )


def _with(power: Power) -> str:
    cases = f"{power.cases:,} cases"
    if power.unit == "labels":
        return f"{cases} and {power.labels} labels of each rung"
    return cases if power.unit == "cases" else f"{cases} from {power.sources:,} sources"


def _are(count: int) -> str:
    return "is one" if count == 1 else f"are {count}"


def percent(share: float) -> str:
    """A whole per cent; what is not quite nothing or everything says so."""
    if 0 < share < 0.01:
        return "under 1 %"
    if 0.99 < share < 1:
        return "over 99 %"
    return f"{share:.0%}".replace("%", " %")
