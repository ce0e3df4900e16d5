"""The gate: each check passes and fails for its own reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from luthier.data import Message
from luthier.decide import State
from luthier.errors import GateError, StoreError
from luthier.models import ScriptedModel
from luthier.release import Check, GateReport, measure_parity


@dataclass(frozen=True)
class Family:
    name: str
    state: str


@dataclass(frozen=True)
class Measured:
    families: tuple[Family, ...]
    passed: bool
    reasons: tuple[str, ...]
    battery_hash: str = "b"


def check(report: GateReport, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def test_a_good_system_passes_every_check(shop):
    report = shop.gate()
    assert report.passed, [c for c in report.checks if not c.passed]
    assert [c.name for c in report.checks] == [
        "behaviour",
        "form",
        "length",
        "capability",
        "served requests",
        "served answers",
    ]
    behaviour = check(report, "behaviour")
    assert behaviour.figure == 1.0
    assert behaviour.reason == "mean score 1.000 [0.840, 1.000] on 10 cases meets the bar of 0.8"
    report.demand()


@pytest.mark.parametrize("state", [State.OPEN, State.FALLS_SHORT])
def test_a_rung_that_does_not_meet_the_bar_fails(shop, state):
    records = shop.records
    behaviour = check(shop.gate(verdict=shop.verdict(records, state=state)), "behaviour")
    assert not behaviour.passed
    if state is State.OPEN:
        assert behaviour.reason.endswith("is not shown to meet the bar of 0.8; about 40 more cases would settle it")
    else:
        assert behaviour.reason.endswith("falls short of the bar of 0.8")


def test_records_of_another_measurement_fail(shop):
    records = shop.records
    wrong = [replace(records[0], score=0.0), *records[1:]]
    behaviour = check(shop.gate(records=wrong), "behaviour")
    assert not behaviour.passed and "not of one measurement" in behaviour.reason
    behaviour = check(shop.gate(records=records[:4]), "behaviour")
    assert not behaviour.passed and "4 answers are at hand" in behaviour.reason


def test_a_rung_that_was_settled_early_is_held_to_all_its_answers(shop):
    """An early stop can be lucky: all cases together must reach the bar as well."""
    records = shop.records
    verdict = shop.verdict(records[:5])
    behaviour = check(shop.gate(verdict=verdict), "behaviour")
    assert behaviour.passed and behaviour.reason.endswith("on 5 cases meets the bar of 0.8; 1.000 on all 10")
    worse = [*records[:5], *(replace(record, score=0.0) for record in records[5:])]
    behaviour = check(shop.gate(verdict=verdict, records=worse), "behaviour")
    assert not behaviour.passed and behaviour.figure == 0.5 and "0.500 on all 10" in behaviour.reason


def test_a_rung_that_was_not_run_fails(shop):
    behaviour = check(shop.gate(rung="fine-tune"), "behaviour")
    assert not behaviour.passed and "not measured" in behaviour.reason


def test_form_counts_invalid_answers(shop):
    system = shop.system
    records = [replace(r, details={"valid": 1.0}) for r in shop.measure(system)] * 4
    ok = [*records[:-2], *(replace(r, details={"valid": 0.0}) for r in records[-2:])]
    assert check(shop.gate(records=ok), "form").passed  # 2 of 40 = 5 %
    bad = [replace(records[0], details={"valid": 0.0}), *ok[1:]]
    found = check(shop.gate(records=bad), "form")
    assert not found.passed and found.figure == pytest.approx(3 / 40)
    assert "constrained decoding" in found.reason


def test_answers_that_are_cut_off_fail(shop):
    records = shop.records
    cut = [replace(records[0], finish="length"), *records[1:]]
    found = check(shop.gate(records=cut), "length")
    assert not found.passed and "1 of 10 answers were cut off" in found.reason
    assert "max_answer_tokens" in found.reason


def test_changed_weights_need_a_measured_capability(shop):
    missing = check(shop.gate(trained=True), "capability")
    assert not missing.passed and "not measured again" in missing.reason
    kept = Measured((Family("arc", "kept"),), True, ())
    assert check(shop.gate(trained=True, capability=kept), "capability").passed
    lost = Measured((Family("arc", "lost"), Family("kl", "kept")), False, ("arc: -0.20 [-0.30, -0.10]",))
    found = check(shop.gate(trained=True, capability=lost), "capability")
    assert not found.passed and found.figure == 1 and "arc: -0.20" in found.reason


def test_parity_sees_a_system_that_was_not_the_measured_one(shop):
    system, records = shop.system, shop.records
    changed = replace(system, setup=replace(system.setup, instructions="Something else."))
    parity = measure_parity(system, changed, shop.cases, records)
    assert len(parity.request_differences) == len(shop.cases)
    report = shop.gate(parity=parity)
    assert not check(report, "served requests").passed
    with pytest.raises(GateError, match="1 of 6 checks failed") as raised:
        report.demand()
    assert "served requests" in str(raised.value) and raised.value.exit_code == 1


def test_parity_sees_answers_that_changed(shop):
    system, records = shop.system, shop.records
    drunk = replace(system, model=ScriptedModel(lambda request: "other", identity="labels"))
    parity = measure_parity(system, drunk, shop.cases, records)
    assert parity.request_differences == () and len(parity.answer_differences) == len(shop.cases)
    assert not check(shop.gate(parity=parity), "served answers").passed


def test_parity_sees_cases_that_the_server_would_refuse(shop):
    system = shop.system
    ends_wrong = replace(shop.cases[0], messages=(Message("user", "a"), Message("assistant", "b")))
    records = shop.measure(system, (ends_wrong, *shop.cases[1:]))
    parity = measure_parity(system, system, (ends_wrong, *shop.cases[1:]), records)
    assert parity.request_differences == (ends_wrong.id,)
    assert parity.cases == 10 and parity.answer_differences == ()


def test_parity_passes_cases_with_system_messages_of_their_own(shop):
    system = shop.system
    cases = tuple(
        replace(c, messages=(Message("system", f"Be brief {i}."), *c.messages)) for i, c in enumerate(shop.cases)
    )
    parity = measure_parity(system, system, cases, shop.measure(system, cases))
    assert parity.request_differences == () and parity.answer_differences == ()


def test_parity_uses_at_most_the_limit_and_only_measured_cases(shop):
    system = shop.system
    parity = measure_parity(system, system, shop.cases, shop.measure(system)[2:7], limit=3)
    assert parity.cases == 3


def test_no_compared_case_is_a_failure(shop):
    report = shop.gate(parity=shop.parity(cases=0))
    assert not check(report, "served requests").passed and not check(report, "served answers").passed


def test_a_model_that_is_not_exact_may_differ_in_a_few_answers(shop):
    few = shop.parity(exact=False, tokens_compared=False, answer_differences=("a", "b"))
    found = check(shop.gate(parity=few), "served answers")
    assert found.passed and "up to 20% may differ" in found.reason and found.figure == 2
    many = shop.parity(exact=False, answer_differences=("a", "b", "c"))
    assert not check(shop.gate(parity=many), "served answers").passed
    assert not check(shop.gate(parity=shop.parity(answer_differences=("a",))), "served answers").passed


def test_a_report_survives_saving_and_a_newer_one_is_refused(shop):
    report = shop.gate()
    value = report.as_dict()
    assert GateReport.from_dict(value) == report
    with pytest.raises(StoreError, match="format 99"):
        GateReport.from_dict(value | {"format": 99})
