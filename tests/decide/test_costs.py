"""The cost model: what it says of any two rungs holds by its own totals; nothing is assumed in silence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.decide import Cost, CostReport, Evidence, Rules, RungEvidence, Verdict, decide
from luthier.decide._bill import Ledger, Outlay, bill, break_even, payback
from luthier.decide._inputs import assumed_inputs, inputs_of
from luthier.decide._ownership import ledger_of, outlay_of
from luthier.decide._sensitivity import FACTORS, SEED, difference, simulate, tornado, turning_factor
from luthier.models import Price
from luthier.spec import MethodName

amounts = st.floats(0, 1e4, allow_nan=False).map(lambda x: round(x, 4))
shares = st.floats(0, 1)


@st.composite
def outlays(draw: st.DrawFn) -> Outlay:
    prompt = draw(st.floats(1, 5000))
    shared = prompt * draw(st.floats(0, 0.9))
    price = draw(
        st.none() | st.builds(Price, amounts, amounts, amounts, st.just("s"), st.just("d"), st.none() | amounts)
    )
    return Outlay(
        rung=draw(st.sampled_from("abc")),
        trained=draw(st.booleans()),
        prompt=prompt,
        shared=shared,
        written=(prompt - shared) * draw(shares),
        answer=draw(st.floats(0, 500)),
        price=price,
        machine=0.0 if price else draw(shares),
        wrong=draw(shares),
        label_usd=draw(amounts),
        label_hours=draw(amounts),
        training=draw(amounts),
        hosting=draw(amounts),
        included=draw(st.booleans()),
        redone=draw(st.floats(0, 12)),
        redo_hours=draw(st.floats(0, 40)),
        validation=draw(st.integers(0, 1000)),
        refreshes=draw(st.floats(0, 52)),
        refresh_hours=draw(st.floats(0, 8)),
    )


ledgers = st.builds(Ledger, st.floats(1, 1e7), st.floats(1, 60), st.floats(0, 200), st.floats(0, 5))


@settings(max_examples=60, deadline=None)
@given(outlays(), outlays(), ledgers)
def test_at_the_break_even_volume_both_cost_the_same(a: Outlay, b: Outlay, ledger: Ledger) -> None:
    first, second = bill(a, ledger), bill(b, ledger)
    volume = break_even(first, second)
    if volume is None:
        # one of them costs no more at any volume
        ends = [
            float(bill(b, replace(ledger, volume=v)).total() - bill(a, replace(ledger, volume=v)).total())
            for v in (0.0, 1.0, 1e9)
        ]
        scale = 1e-6 * max(1.0, *(abs(end) for end in ends))
        assert all(end >= -scale for end in ends) or all(end <= scale for end in ends)
        return
    there = replace(ledger, volume=volume)
    totals = [float(bill(o, there).total()) for o in (a, b)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-6, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(outlays(), outlays(), ledgers)
def test_after_the_payback_months_both_have_cost_the_same(a: Outlay, b: Outlay, ledger: Ledger) -> None:
    dear, cheap = sorted((bill(a, ledger), bill(b, ledger)), key=lambda x: -float(x.once))
    months = payback(dear, cheap)
    at = [
        replace(x, months=12.0 if months is None else months) for x in (dear, cheap)
    ]  # upkeep is spread over the months, so that a bill can be cut off anywhere
    if months is None:
        assert float(at[0].total() - at[0].once) >= float(at[1].total() - at[1].once) * (1 - 1e-9)
    elif months < 1e6:
        assert float(at[0].total()) == pytest.approx(float(at[1].total()), rel=1e-6, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(outlays(), outlays(), ledgers)
def test_halving_and_doubling_move_the_difference_to_opposite_sides(a: Outlay, b: Outlay, ledger: Ledger) -> None:
    middle = float(difference(a, b, ledger))
    totals = float(bill(a, ledger).total() + bill(b, ledger).total())
    for effect in tornado(a, b, ledger):
        if effect.input == "cached share":  # ends at the whole prompt, sooner for one rung than for the other
            continue
        ordered = sorted((effect.half, effect.double))
        assert ordered[0] - 1e-9 * totals <= middle <= ordered[1] + 1e-9 * totals, effect.input


@settings(max_examples=30, deadline=None)
@given(outlays(), ledgers, st.sampled_from(FACTORS), st.floats(1.01, 4))
def test_a_dearer_input_never_makes_a_rung_cheaper(a: Outlay, ledger: Ledger, name: str, factor: float) -> None:
    one, more = (float(bill(a, ledger, {name: f}).total()) for f in (1.0, factor))  # type: ignore[dict-item]  # drawn from the names
    if name == "cached share":  # dearer or cheaper, as the sheet prices cached tokens
        if a.price is None or a.price.cached <= a.price.input:
            assert more <= one * (1 + 1e-9)
    else:
        assert more >= one * (1 - 1e-9)


@settings(max_examples=30, deadline=None)
@given(outlays(), outlays(), ledgers)
def test_draws_without_spread_are_the_point_estimate(a: Outlay, b: Outlay, ledger: Ledger) -> None:
    a, b = replace(a, rung="a"), replace(b, rung="b")
    point = float(difference(a, b, ledger))
    found = simulate([a, b], (a, b), ledger, draws=20, spread=0)
    assert found.low == found.middle == found.high == pytest.approx(point, rel=1e-9)
    assert (found.main, found.main_share) == (None, None)
    assert found.cheapest == ({"a": 1.0, "b": 0.0} if point >= 0 else {"a": 0.0, "b": 1.0})


@settings(max_examples=30, deadline=None)
@given(outlays(), outlays(), ledgers)
def test_at_a_turning_factor_both_cost_the_same(a: Outlay, b: Outlay, ledger: Ledger) -> None:
    for name in ("token prices", "machine price", "hourly wage", "hosting", "value per error"):
        factor = turning_factor(a, b, ledger, name)  # type: ignore[arg-type]  # these are names of factors
        if factor is not None and factor < 1e6:
            totals = [float(bill(o, ledger, {name: factor}).total()) for o in (a, b)]  # type: ignore[dict-item]  # the same
            assert totals[0] == pytest.approx(totals[1], rel=1e-5, abs=1e-5)


PLAIN = Outlay("prompt", False, prompt=1000, answer=100, price=Price(1.0, 4.0, 0.1, "s", "d"), redone=2, redo_hours=2)
TUNED = Outlay("fine-tune", True, machine=1e-4, label_usd=500.0, training=20.0, redone=2, redo_hours=4)
LEDGER = Ledger(100_000, 12, 70)


def test_shares_of_variance_are_those_of_a_difference_known_in_closed_form() -> None:
    """Only the volume matters: it has all of the variance, and the quantiles are those of its distribution."""
    a, b = replace(PLAIN, redone=0), replace(PLAIN, rung="b", redone=0, answer=200)
    found = simulate([a, b], (a, b), LEDGER, draws=20_000)
    assert found.main == "volume" and found.cheapest == {"prompt": 1.0, "b": 0.0} and found.ahead == 1.0
    point = float(difference(a, b, LEDGER))
    # volume times token prices: the logarithm has the standard deviation (0.5² + 0.3²)^½
    spread = np.hypot(0.5, 0.3) * 1.6449
    assert found.low == pytest.approx(point * np.exp(-spread), rel=0.03)
    assert found.high == pytest.approx(point * np.exp(spread), rel=0.03)
    assert found.main_share is not None
    # first-order share of x in the product x y of lognormals: (e^(s²) - 1) / (e^(s² + t²) - 1)
    assert found.main_share == pytest.approx(np.expm1(0.25) / np.expm1(0.25 + 0.09), abs=0.03)


def test_draws_are_the_same_each_time_and_follow_the_seed() -> None:
    once, again = (simulate([PLAIN, TUNED], (PLAIN, TUNED), LEDGER) for _ in range(2))
    assert once == again and once.draws == 2000 and once.seed == SEED
    assert sum(once.cheapest.values()) == pytest.approx(1)
    assert simulate([PLAIN, TUNED], (PLAIN, TUNED), LEDGER, seed=1) != once


def cost(**more: object) -> Cost:
    plain = dict(per_1000=None, per_month=None, once=None, prompt_tokens=1000.0, completion_tokens=50.0, shared=0.5)
    return Cost(**{**plain, "seconds": 1.0, "basis": "b", "mean_seconds": 1.0, "machine": 0.1} | more)  # type: ignore[arg-type]  # as its fields


def rung(method: MethodName, right: int, found: Cost | None, n: int = 100) -> RungEvidence:
    return RungEvidence(method, method, "m", "s", (1.0,) * right + (0.0,) * (n - right), found)


def evidence(*rungs: RungEvidence) -> Evidence:
    cases = tuple(map(str, range(100)))
    return Evidence(cases, cases, rungs, True, "exact")


RULES = Rules(0.6, 0.03, 0.05, 100_000)


def report(rules: Rules, shown: Evidence) -> CostReport:
    found = decide(rules, shown).costs
    assert found is not None
    return found


def test_every_assumed_figure_is_listed_and_a_sheet_takes_its_place(tmp_path: Path) -> None:
    shown = evidence(rung("prompt", 90, cost()), rung("fine-tune", 95, cost(build_seconds=3600.0, examples=500)))
    found = report(RULES, shown)
    listed = " ".join(found.assumed)
    for what in (
        "hourly wage: $70",
        "horizon: 12 months",
        "re-tunes: 2 a year",
        "machine: $0.1",
        "hosting: $0",
        "labelling",
    ):
        assert what in listed, what
    assert found.given == () and any("errors: {usd_each" in note for note in found.notes)
    (tmp_path / "p.yaml").write_text(
        "{date: 2026-02-03, source: ours, machine: {usd_per_hour: 2}, people: {usd_per_hour: 50}, "
        "horizon: {months: 6}, errors: {usd_each: 0.5}, hosting: {all: {usd_per_month: 10}}, "
        "labelling: {usd_per_example: 1}, "
        "upkeep: "
        "{retunes_per_year: 1, retune_hours: 1, updates_per_year: 1, update_hours: 1}}"
    )
    own = report(replace(RULES, inputs=inputs_of(tmp_path / "p.yaml")), shown)
    assert [line for line in own.assumed if not line.startswith("labelling")] == []
    assert all("(ours, 2026-02-03)" in line for line in own.given) and len(own.given) >= 9
    tuned = own.of("fine-tune")
    assert tuned is not None and (tuned.labelling, tuned.training, tuned.hosting) == (500, 2, 10)
    assert tuned.per_1000 == pytest.approx(1000 * 2 / 3600) and tuned.errors_per_1000 == pytest.approx(25)


def test_examples_still_to_be_labelled_are_counted_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("{date: 2026-02-03, source: o, labelling: {usd_per_example: 1, examples: 40}}")
    inputs = inputs_of(tmp_path / "p.yaml")
    shown = [rung(m, 90, cost(examples=500)) for m in ("few-shot", "few-shot nearest", "fine-tune")]  # type: ignore[arg-type]  # methods
    found = [outlay_of(r, inputs, 100) for r in shown]
    assert [o.label_usd for o in found if o is not None] == [500, 40, 40]


def test_the_next_rung_is_adequate_where_one_is() -> None:
    low, high = rung("prompt", 10, cost(mean_seconds=0.1)), rung("few-shot", 90, cost())
    found = report(RULES, evidence(low, high))
    assert (found.recommended, found.next, found.next_meets) == ("few-shot", "prompt", False)
    assert "which is not adequate" in found.summary[0]
    tuned = rung("fine-tune", 95, cost(mean_seconds=9.0))
    found = report(RULES, evidence(low, high, tuned))
    assert (found.next, found.next_meets) == ("fine-tune", True)
    assert found.draws is not None and set(found.draws.cheapest) == {"few-shot", "fine-tune"}


def test_without_a_volume_there_are_no_totals_but_a_break_even() -> None:
    shown = evidence(rung("prompt", 90, cost(mean_seconds=9.0)), rung("fine-tune", 95, cost(mean_seconds=0.1)))
    found = report(replace(RULES, volume=None), shown)
    assert all(r.total is None and r.requests is None for r in found.rungs) and found.draws is None
    assert found.crossings[0].volume is not None and found.crossings[0].payback_months is None
    assert any("volume: in luthier.yaml" in note for note in found.notes)


def test_the_value_of_errors_turns_the_difference() -> None:
    shown = evidence(rung("prompt", 80, cost()), rung("fine-tune", 95, cost()))
    found = report(RULES, shown)
    [turn] = [t for t in found.turns if t.input == "value per error"]
    assert turn.value is not None and "above" in turn.text and "fine-tune" in turn.text
    for value, sign in ((turn.value * 0.99, 1), (turn.value * 1.01, -1)):
        error = replace(RULES.inputs.wage, value=value)
        other = report(replace(RULES, inputs=replace(RULES.inputs, error_usd=error)), shown)
        assert other.difference is not None and other.difference * sign > 0


def test_a_machine_that_cannot_give_so_many_answers_is_noted(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "{date: 2026-02-03, source: o, hosting: {all: {usd_per_month: 9, answers: included}}}"
    )
    rules = replace(RULES, volume=10_000_000, inputs=inputs_of(tmp_path / "p.yaml"))
    found = report(rules, evidence(rung("prompt", 90, cost())))
    assert any("one machine gives about 2,628,000 a month" in note for note in found.notes)
    assert found.rungs[0].per_1000 == 0


def test_prices_of_todays_sheet_are_put_on_what_was_measured(tmp_path: Path) -> None:
    shown = evidence(rung("prompt", 90, cost(price=Price(1.0, 2.0, 0.5, "old", "d"))))
    before = report(RULES, shown).rungs[0].per_1000
    (tmp_path / "p.yaml").write_text("{date: 2026-02-03, source: o, models: {m: {input: 2, output: 4, cached: 1}}}")
    after = report(replace(RULES, inputs=inputs_of(tmp_path / "p.yaml")), shown).rungs[0].per_1000
    assert after == pytest.approx(2 * before) == pytest.approx(2 * (500 * 1.0 + 500 * 0.5 + 50 * 2.0) / 1000)


SAVED_BY_FORMAT_1 = """{"format": 1, "cases": ["a", "b", "c"], "groups": ["a", "b", "c"], "binary": true,
"scorer": "exact", "openings": 1, "findings": [], "knowledge": null, "rungs": [
{"rung": "prompt", "method": "prompt", "base": "m", "system": "s", "scores": [1.0, 0.0, 1.0], "choices": null,
 "skipped": "", "cost": {"per_1000": 0.5, "per_month": 50.0, "once": 0.0, "prompt_tokens": 100.0,
 "completion_tokens": 10.0, "shared": 0.5, "seconds": 1.0,
 "basis": "seconds measured here at $0.10 an hour (assumed)"}},
{"rung": "fine-tune", "method": "fine-tune", "base": "m", "system": "t", "scores": [1.0, 1.0, 1.0], "choices": null,
 "skipped": "", "cost": {"per_1000": 0.1, "per_month": 10.0, "once": 7.0, "prompt_tokens": 50.0,
 "completion_tokens": 10.0, "shared": 0.5, "seconds": 1.0, "basis": "tokens at the prices of 2026-01-31 (x)"}},
{"rung": "retrieval", "method": "retrieval", "base": "m", "system": "", "scores": [], "choices": null, "skipped": "no",
 "cost": null}]}"""


def test_evidence_of_an_earlier_version_is_read_and_costed_from_its_sums() -> None:
    shown = Evidence.from_dict(json.loads(SAVED_BY_FORMAT_1))
    assert shown.rungs[0].timing is None and shown.rungs[0].cost == Cost(
        0.5, 50.0, 0.0, 100.0, 10.0, 0.5, 1.0, "seconds measured here at $0.10 an hour (assumed)"
    )
    found = report(RULES, shown)
    assert [(r.rung, round(r.per_1000, 9), r.training) for r in found.rungs] == [
        ("prompt", 0.5, 0),
        ("fine-tune", 0.1, 7),
    ]
    assert any("earlier version" in line for line in found.assumed)
    made = [outlay_of(r, assumed_inputs(), 3) for r in shown.rungs]
    assert [o is not None and (o.machine > 0, o.flat > 0) for o in made] == [(True, False), (False, True), False]
    assert Evidence.from_dict(json.loads(json.dumps(shown.as_dict()))) == shown
    assert ledger_of(RULES).volume == 100_000


def test_a_verdict_with_costs_is_read_back_and_one_without_too() -> None:
    shown = evidence(rung("prompt", 10, cost()), rung("few-shot", 90, cost(price=Price(1, 2, 0.5, "s", "d", 3.0))))
    found = decide(RULES, shown)
    assert found.costs is not None and found.costs.effects
    assert Verdict.from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False))) == found
    assert Evidence.from_dict(json.loads(json.dumps(shown.as_dict()))) == shown
    old = {k: v for k, v in found.as_dict().items() if k != "costs"} | {"format": 1}
    assert Verdict.from_dict(json.loads(json.dumps(old))) == replace(found, costs=None)
    assert decide(RULES, evidence(rung("prompt", 90, None))).costs is None


def test_above_and_below_a_crossing_the_totals_say_which_rung_costs_less() -> None:
    """Whichever of the two stands first, and on whichever side of it the volume lies."""
    slow, quick = cost(mean_seconds=9.0), cost(mean_seconds=0.1, build_seconds=36_000.0)
    for shown in (
        evidence(rung("few-shot", 90, slow), rung("fine-tune", 95, quick)),
        evidence(rung("fine-tune", 95, quick), rung("few-shot", 90, slow)),
    ):
        [crossing] = report(RULES, shown).crossings
        assert crossing.volume is not None and (crossing.above, crossing.below) == ("fine-tune", "few-shot")
        for volume, less in ((crossing.volume * 1.1, "fine-tune"), (crossing.volume * 0.9, "few-shot")):
            found = report(replace(RULES, volume=int(volume)), shown)
            totals = {r.rung: r.total for r in found.rungs if r.total is not None}
            assert min(totals, key=lambda name: totals[name]) == less
            [turn] = [t for t in found.turns if t.input == "volume"]
            word, other = ("below", "few-shot") if less == "fine-tune" else ("above", "fine-tune")
            assert turn.text == f"volume: {word} {crossing.volume:,.0f} requests a month {other} would cost less"


def test_re_tunes_are_those_of_fine_tunes_and_base_updates_those_of_prompts(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "{date: 2026-02-03, source: o, people: {usd_per_hour: 10}, upkeep: {retunes_per_year: 3, retune_hours: 5, "
        "updates_per_year: 7, update_hours: 11, index_refreshes_per_year: 13, index_hours: 17}}"
    )
    rules = replace(RULES, inputs=inputs_of(tmp_path / "p.yaml"))
    methods: tuple[MethodName, ...] = ("prompt", "retrieval", "fine-tune", "fine-tune + retrieval")
    found = report(rules, evidence(*(rung(m, 90, cost(mean_seconds=0.0)) for m in methods)))
    upkeep = {r.rung: 12 * r.upkeep for r in found.rungs}
    assert upkeep == pytest.approx(
        {"prompt": 770, "retrieval": 770 + 2210, "fine-tune": 150, "fine-tune + retrieval": 150 + 2210}
    )


def test_the_widest_effect_stands_first() -> None:
    widths = [effect.width for effect in tornado(PLAIN, TUNED, LEDGER)]
    assert len(widths) > 5 and widths == sorted(widths, reverse=True) and widths[0] > widths[-1] > 0
