"""Rungs on another base that cost less to own: where several bases are tried, the order of the ladder is not all.

On one base the rungs stand in order of cost and commitment. Between bases prices differ by orders of magnitude:
prompting a large hosted model may meet the bar and still cost more, month for month, than a small one that was tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luthier.decide._bill import bill
from luthier.decide._evidence import Rules, RungEvidence
from luthier.decide._inputs import inputs_of
from luthier.decide._ownership import ledger_of, outlay_of
from luthier.decide._planned import Planned
from luthier.decide._sensitivity import simulate
from luthier.decide._tuning import forecast_training

SURE = 0.95  # share of the draws of volume, prices and hours in which a rung has to cost less


def costs_less(a: RungEvidence, b: RungEvidence, rules: Rules, cases: int) -> bool:
    """Whether `a` is shown to cost less to own than `b`, errors left out: in 95 % of random draws of what is not known.

    Args:
        a: a measured rung.
        b: a measured rung.
        rules: with the volume; without one nothing is shown.
        cases: test cases, which are answered again at every re-tune and base update.
    """
    first, second = outlay_of(a, rules.inputs, cases), outlay_of(b, rules.inputs, cases)
    if first is None or second is None or rules.volume is None:
        return False
    ahead = simulate([first, second], (first, second), ledger_of(rules, errors=False)).ahead
    return ahead is not None and ahead >= SURE


def projected_cheaper(step: Planned, settled: RungEvidence, found: Sequence[RungEvidence]) -> bool:
    """Whether a fine-tuned rung is worth building though another base has a rung that meets the bar.

    It is when owning it is projected to cost less: answers as those of the plain prompt on its base (of retrieval where
    it has passages), training as forecast, and the work of people.
    """
    bench, method = step.bench, "retrieval" if "retrieval" in step.method else "prompt"
    if settled.base == bench.base.name:
        return False
    alike = next((r for r in found if r.base == bench.base.name and r.method == method and r.cost is not None), None)
    task = bench.task
    if alike is None or alike.cost is None or task.volume is None:
        return False
    seconds = forecast_training(bench, task.train.method).seconds
    if seconds is None:
        return False
    cost = replace(alike.cost, build_seconds=seconds, examples=len(bench.split.train))
    projected = replace(alike, rung=step.rung, method=step.method, cost=cost)
    rules = Rules(task.bar, 0.0, task.decide.alpha, task.volume, inputs=inputs_of(task.prices))
    outlays = [outlay_of(rung, rules.inputs, len(bench.test)) for rung in (projected, settled)]
    ledger = ledger_of(rules, errors=False)
    totals = [float(bill(outlay, ledger).total()) for outlay in outlays if outlay is not None]
    return len(totals) == len(outlays) and totals[0] < totals[1]
