"""From what was measured and the price sheet to the costs of owning each rung."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

from luthier.decide._bill import Bill, Ledger, Outlay, bill, break_even, payback
from luthier.decide._costs import CostReport, Crossing, Draws, RungCost
from luthier.decide._costs_said import figures_used, limits, summary, turns
from luthier.decide._evidence import Cost, Evidence, Rules, RungEvidence
from luthier.decide._inputs import Inputs
from luthier.decide._sensitivity import difference, simulate, tornado


def ledger_of(rules: Rules, *, errors: bool = True) -> Ledger:
    """What all rungs share; without `errors`, a wrong answer costs nothing."""
    inputs = rules.inputs
    error = 0.0 if inputs.error_usd is None or not errors else inputs.error_usd.value
    return Ledger(rules.volume, inputs.months.value, inputs.wage.value, error)


def outlay_of(rung: RungEvidence, inputs: Inputs, cases: int) -> Outlay | None:
    """What a measured rung takes; None where nothing is known of its cost.

    Args:
        rung: the rung.
        inputs: what was not measured.
        cases: test cases, which are answered again at every re-tune and base update.
    """
    cost = rung.cost
    if cost is None or not rung.scores:
        return None
    price = inputs.price_of(rung.base) or cost.price
    machine = flat = 0.0
    if price is None:
        rate = cost.machine if inputs.machine is None else inputs.machine.value
        if cost.mean_seconds is not None and rate is not None:
            machine = cost.mean_seconds * rate / 3600
        elif cost.per_1000 is None:
            return None
        elif cost.basis.startswith("seconds"):
            machine = cost.per_1000 / 1000
        else:
            flat = cost.per_1000 / 1000
    labels, hosted, trained = _labels(rung, cost, inputs), inputs.hosting_of(rung.method), rung.trained
    reads = "retrieval" in rung.method
    return Outlay(
        rung=rung.rung,
        trained=trained,
        prompt=cost.prompt_tokens,
        shared=cost.shared * cost.prompt_tokens,
        written=cost.written,
        answer=cost.completion_tokens,
        price=price,
        machine=machine,
        flat=flat,
        wrong=1 - math.fsum(rung.scores) / len(rung.scores),
        label_usd=labels * inputs.label_usd.value,
        label_hours=labels * inputs.label_hours.value,
        training=_training(cost, inputs) if trained else 0.0,
        hosting=0.0 if hosted is None else hosted.usd_per_month.value,
        included=hosted is not None and hosted.included,
        redone=(inputs.retunes if trained else inputs.updates).value,
        redo_hours=(inputs.retune_hours if trained else inputs.update_hours).value,
        validation=cases,
        refreshes=inputs.refreshes.value if reads else 0.0,
        refresh_hours=inputs.refresh_hours.value if reads else 0.0,
    )


def _labels(rung: RungEvidence, cost: Cost, inputs: Inputs) -> float:
    """How many examples have to be labelled for a rung; a fixed few-shot prompt needs only those it shows."""
    whole = rung.trained or rung.method == "few-shot nearest"
    return inputs.label_count.value if whole and inputs.label_count is not None else float(cost.examples)


def _training(cost: Cost, inputs: Inputs) -> float:
    """US dollars of one training. Evidence of format 1 knows only the sum."""
    hours = cost.build_seconds / 3600 if inputs.training_hours is None else inputs.training_hours.value
    own = inputs.training or inputs.machine
    rate = cost.machine if own is None else own.value
    return hours * rate if hours and rate is not None else cost.once or 0.0


def owned(rung: RungEvidence, rules: Rules, cases: int) -> float | None:
    """US dollars a month of owning a rung, without the value of its errors; None where it is not known."""
    outlay = outlay_of(rung, rules.inputs, cases)
    if outlay is None or rules.volume is None:
        return None
    found = bill(outlay, ledger_of(rules, errors=False))
    return float(found.total() / found.months)


def cost_report(rules: Rules, evidence: Evidence, adequate: Collection[str], chosen: str | None) -> CostReport | None:
    """Costs of every measured rung, every pair of them, and what the choice hangs on; None where nothing is known.

    Args:
        rules: with the volume and the inputs.
        evidence: what was measured.
        adequate: names of the rungs that meet the bar and the limits of latency.
        chosen: the recommended rung.
    """
    known = [
        (rung, outlay)
        for rung in evidence.rungs
        if (outlay := outlay_of(rung, rules.inputs, len(evidence.cases))) is not None
    ]
    if not known:
        return None
    # a judge's own scores say how often a rung is wrong only as far as the judge is right
    judged = evidence.judge is not None
    ledger, outlays = ledger_of(rules, errors=not judged), [outlay for _, outlay in known]
    bills = {outlay.rung: bill(outlay, ledger) for outlay in outlays}
    pair = None if ledger.volume is None else _pair(outlays, bills, adequate, chosen)
    draws: Draws | None = None
    if ledger.volume is not None:
        draws = simulate([o for o in outlays if o.rung in adequate], pair, ledger)
    given, assumed = figures_used([rung for rung, _ in known], rules.inputs)
    report = CostReport(
        volume=rules.volume,
        months=ledger.months,
        rungs=tuple(_rung_cost(o.rung, bills[o.rung], o.rung in adequate) for o in outlays),
        crossings=tuple(_crossing(a.rung, b.rung, bills) for a, b in itertools.combinations(outlays, 2)),
        recommended=chosen if chosen in bills else None,
        next=None if pair is None else pair[1].rung,
        next_meets=pair is not None and pair[1].rung in adequate,
        difference=None if pair is None else float(difference(*pair, ledger)),
        effects=() if pair is None else tornado(*pair, ledger),
        turns=() if pair is None else turns(*pair, ledger),
        draws=draws,
        given=given,
        assumed=assumed,
        notes=limits(known, rules) + _unpriced(rules, judged),
        summary=(),
    )
    return summary(report)


def _unpriced(rules: Rules, judged: bool) -> tuple[str, ...]:
    if not judged or rules.inputs.error_usd is None:
        return ()
    return ("the value of errors is left out: a judge gives the scores, and its errors are not those of the rung",)


def _pair(
    outlays: Sequence[Outlay], bills: dict[str, Bill], adequate: Collection[str], chosen: str | None
) -> tuple[Outlay, Outlay] | None:
    """The recommended rung and the cheapest other one, of those that are adequate if there is any."""
    first = next((o for o in outlays if o.rung == chosen), None)
    others = [o for o in outlays if o.rung != chosen]
    if first is None or not others:
        return None
    field = [o for o in others if o.rung in adequate] or others
    return first, min(field, key=lambda o: float(bills[o.rung].total()))


def _rung_cost(name: str, found: Bill, meets: bool) -> RungCost:
    volume = found.volume
    return RungCost(
        rung=name,
        meets=meets,
        per_1000=1000 * float(found.request),
        errors_per_1000=1000 * float(found.error),
        labelling=float(found.labelling),
        training=float(found.training),
        hosting=float(found.hosting),
        upkeep=float(found.upkeep),
        requests=None if volume is None else float(volume * found.request),
        errors=None if volume is None else float(volume * found.error),
        total=None if volume is None else float(found.total()),
    )


def _crossing(a: str, b: str, bills: dict[str, Bill]) -> Crossing:
    first, second = bills[a], bills[b]
    volume = break_even(first, second)
    above = below = None
    if volume is not None:
        above, below = (a, b) if first.served < second.served else (b, a)
    elif (first.fixed(), first.served) != (second.fixed(), second.served):
        above = a if first.fixed() <= second.fixed() and first.served <= second.served else b
    dear, cheap = (b, a) if second.once > first.once else (a, b)
    months = payback(bills[dear], bills[cheap]) if first.once != second.once else None
    return Crossing(a, b, volume, above, below, None if months is None else dear, months)
