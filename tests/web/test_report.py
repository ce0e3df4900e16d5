"""The report stands on its own, escapes what comes from data, and says what is not there yet."""

import dataclasses
import math
import re
from pathlib import Path

import pytest

from luthier.api import ReportState
from luthier.api._decisions import Decision
from luthier.decide import Cluster, Cost, Evidence, Failures, FailureSample, Rules, RungEvidence, decide
from luthier.evaluate import Record
from luthier.spec import load_task
from luthier.web import render_report

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def task(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', "utf-8")
    (tmp_path / "luthier.yaml").write_text(
        f'task: demo\ngoal: "{HOSTILE}"\nexamples: rows.jsonl\nscore: {{kind: exact}}\nbar: 0.8\nbase: x\n', "utf-8"
    )
    return load_task(tmp_path)


def rung(name: str, good: int, n: int = 100, **more) -> RungEvidence:
    cost = Cost(0.5, 50.0, None, 120.0, 12.0, 0.4, 0.2, "tokens at the prices of a test")
    scores = tuple([1.0] * good + [0.0] * (n - good))
    return RungEvidence(name, name, "x", f"system of {name}", scores, cost, {"chosen": "as given"}, **more)


def record(case: str, answer: str, score: float) -> Record:
    return Record(case, answer, score, {}, 100, 50, 10, 0.1, "stop")


@pytest.fixture
def state(task) -> ReportState:
    cases = tuple(f"case{i}" for i in range(100))
    rungs = (
        rung("prompt", 20),
        rung("few-shot", 95),
        RungEvidence("fine-tune", "fine-tune", "x", "", (), skipped="no need"),
    )
    evidence = Evidence(
        cases, cases, rungs, True, "exact", knowledge={"kind": "behaviour", "novel_rows": 0.0, "samples": []}
    )
    verdict = decide(Rules(0.8, 0.03, 0.05, 1000), evidence)
    decision = Decision(
        key="k",
        created="2026-01-01T00:00:00+00:00",
        verdict=verdict,
        evidence=evidence,
        records={
            "prompt": tuple(record(c, HOSTILE, 0.0) for c in cases),
            "few-shot": tuple(record(c, "fine", 1.0) for c in cases),
        },
        systems={"prompt": "p", "few-shot": "f"},
        cases=tuple(
            {"id": c, "input": f"input of {c} {HOSTILE}", "wanted": "w", "source": "rows.jsonl:1"} for c in cases
        ),
        split="s",
        data="d",
        findings=(),
    )
    return ReportState(task, decision, None, None, None, None)


def test_the_page_is_whole_and_asks_for_nothing_outside(state):
    page = render_report(state)
    assert page.lstrip().startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    outside = re.findall(r"(?:src|href)\s*=\s*[\"']?(?!#)([^\"'> ]+)", page)
    assert outside == []
    assert not re.search(r"@import|url\((?!#)", page)


def test_what_comes_from_data_is_escaped(state):
    page = render_report(state)
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_the_ladder_shows_every_rung_with_its_state(state):
    page = render_report(state)
    assert "Verdict: few-shot" in page
    for wanted in ("falls short", "meets", "not run", "no need", "0.950", "bar 0.8"):
        assert wanted in page, wanted
    assert page.count("<svg") == 2  # the ladder, and score against cost


def test_the_same_state_gives_the_same_bytes(state):
    assert render_report(state) == render_report(state)


def test_a_folder_without_a_decision_says_what_comes_next(state):
    page = render_report(dataclasses.replace(state, decision=None))
    assert "No verdict yet" in page
    assert "luthier decide" in page


def test_samples_of_findings_are_escaped(state):
    samples = [{"row": f"{HOSTILE}:1", "text": HOSTILE, "remark": HOSTILE}]
    finding = {"code": "mojibake", "severity": "harms", "count": 1, "rows": [f"{HOSTILE}:1"], "samples": samples}
    finding |= {"reason": f"the first: {HOSTILE}", "fix": HOSTILE, "effect": HOSTILE}
    sides = {"train": 1, "development": 1, "test": 1}
    check = {"rows": 3, "split": sides, "deep": False, "unseen": "", "findings": [finding]}
    page = render_report(dataclasses.replace(state, check=check))
    assert HOSTILE not in page and page.count("&lt;script&gt;") > render_report(state).count("&lt;script&gt;") + 4


def test_a_learning_curve_is_told_and_drawn(state):
    from luthier.audit import fit_curve
    from luthier.audit._points import Point

    points = [
        Point(size, 0, (1.0,) * good + (0.0,) * (40 - good))
        for size, good in ((50, 8), (100, 14), (200, 20), (400, 25))
    ]
    curve = fit_curve(points, method="few-shot", bar=0.8).as_dict()
    page = render_report(dataclasses.replace(state, curves=(curve,)))
    assert "Would more examples help?" in page and curve["sentence"].split()[0] in page
    assert page.count("<svg") == render_report(state).count("<svg") + 1
    assert "Would more examples help?" not in render_report(state)


def test_costs_are_told_and_drawn_with_what_was_assumed(state):
    shown = state.decision.evidence
    costs = [Cost(x, x, 0.0, 120.0, 12.0, 0.4, 0.2, "tokens at the prices of a test") for x in (0.5, 9.0)]
    rungs = [dataclasses.replace(r, cost=c) for r, c in zip(shown.rungs, costs, strict=False)]
    shown = dataclasses.replace(shown, rungs=(*rungs, shown.rungs[2]))
    verdict = decide(Rules(0.8, 0.03, 0.05, 1000), shown)
    decision = dataclasses.replace(state.decision, verdict=verdict, evidence=shown)
    page = render_report(dataclasses.replace(state, decision=decision))
    assert page.count("<svg") == 3 and "Difference in cost with each input halved and doubled" in page
    few = verdict.costs.of("few-shot")
    assert few.total == pytest.approx(12 * 9 + 2 * (140 + 100 * 0.009))  # a budget year: answers, and two updates
    for wanted in ("What it costs", f"{few.total:,.0f}", "hourly wage: $70", "not adequate", "token prices"):
        assert wanted in page, wanted
    assert math.isfinite(verdict.costs.difference) and f"{verdict.costs.crossings[0].above}, at every volume" in page
    assert "What it costs" not in render_report(
        dataclasses.replace(
            state, decision=dataclasses.replace(decision, verdict=dataclasses.replace(verdict, costs=None))
        )
    )


def test_why_cases_fail_stands_beside_samples(state):
    some = FailureSample("case1", f"input {HOSTILE}", "wanted this", "got that", "because of this")
    cluster = Cluster("format", "words around the answer", "wanted 'w'", 9, 0.9, 0.6, 0.98, (some, some))
    failures = Failures("few-shot", 1.0, 100, 12, 10, (cluster,), 7, 3.0, 0.5)
    evidence = dataclasses.replace(state.decision.evidence, failures=failures)
    decision = dataclasses.replace(state.decision, evidence=evidence)
    page = render_report(dataclasses.replace(state, decision=decision))
    assert HOSTILE not in page and "Why cases fail" not in render_report(state)
    for wanted in ("Why cases fail", "12 of 100 cases", "10 of them, drawn at random", "7 more answers", "60 – 98 %"):
        assert wanted in page, wanted
    assert page.count("<code>got that</code>") == 2 and page.count("words around the answer") == 1


def test_what_is_signed_comes_first_and_prints_without_the_appendix(state):
    long = dataclasses.replace(state.decision, cases=({**state.decision.cases[0], "input": "word " * 9000},) * 100)
    page = render_report(dataclasses.replace(state, decision=long))
    signed, appendix = page.split('<section class="appendix" id="appendix">')
    for wanted in ("Verdict: few-shot", "The ladder", "What was not tested", "Where the rungs differ", "decided by"):
        assert wanted in signed, wanted
    for wanted in ("<h2>Why</h2>", "What it costs", "Rung against rung", "Side by side"):
        assert wanted in appendix and wanted not in signed, wanted
    assert (
        len(re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", signed, flags=re.DOTALL)) < 8_000
    )  # however long the cases
    assert appendix.count("</section>") == 1 and ".appendix, details:not([open]) { display: none; }" in signed
    for over in (None, long):
        page = render_report(dataclasses.replace(state, decision=over))
        assert page.count("<section") == page.count("</section>") == 1
