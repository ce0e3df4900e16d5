"""The report stands on its own, escapes what comes from data, and says what is not there yet."""

import dataclasses
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from luthier.api import ReportState
from luthier.api._decisions import Decision
from luthier.decide import Cluster, Cost, Evidence, Failures, FailureSample, Rules, RungEvidence, decide
from luthier.evaluate import Record
from luthier.spec import load_task
from luthier.web import render_report
from luthier.web._labelling import render_label

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


HARMLESS = (
    HOSTILE,
    "<img src=x onerror=alert(1)> <a href='javascript:alert(1)'>x</a> </pre></code></td></main>",
    '" \' ` onmouseover=alert(1) x=" ]]> &lt; &amp;amp; &#0; {{ 7 * 7 }} {% raw %}',
    "e" + "\u0301" * 60 + " 👩‍👩‍👧‍👦 漢字",
    "\n\n first line empty",
)
UNSEEN = {
    "\x1b[31m": r"\x1b[31m",
    "a\x00b": r"a\x00b",
    "\x9b2J": r"\x9b2J",
    "user\u202egpj.exe": r"user\u202egpj.exe",
    "half \ud800": r"half \ud800",
    "\ufffe": r"\ufffe",
    "one\r\ntwo": "one\\r\ntwo",
}


class Page(HTMLParser):
    """The elements, attributes and texts of a page, each text as it is read by a person."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def of_texts(state: ReportState, *texts: str) -> ReportState:
    """The state with these texts in turn as inputs, wanted outputs and answers."""
    decision = state.decision
    cases = tuple(
        {**case, "input": texts[i % len(texts)], "wanted": texts[i % len(texts)]}
        for i, case in enumerate(decision.cases)
    )
    records = {
        rung: tuple(dataclasses.replace(r, answer=texts[i % len(texts)]) for i, r in enumerate(found))
        for rung, found in decision.records.items()
    }
    return dataclasses.replace(state, decision=dataclasses.replace(decision, cases=cases, records=records))


def test_texts_stand_unharmed_and_are_no_elements(state):
    page = Page(render_report(of_texts(state, *HARMLESS)))
    for text in HARMLESS:
        assert page.text.count(text) >= 4, text  # input, wanted, two answers
    plain = Page(render_report(state))
    assert (page.tags, page.attributes) == (plain.tags, plain.attributes)
    assert not page.tags & {"script", "img", "a", "iframe", "form"}


def test_what_cannot_be_seen_is_spelled_out(state):
    page = render_report(of_texts(state, *UNSEEN))
    page.encode("utf-8")
    assert not set("".join(UNSEEN)) & set(page) - set("".join(UNSEEN.values()))
    for shown in UNSEEN.values():
        assert Page(page).text.count(shown) >= 4, shown


def test_personal_data_are_masked_beside_answers_too(state):
    page = render_report(of_texts(state, "write to anna.meier@firma.ch", "IBAN CH56 0483 5012 3456 7800 9"))
    assert "anna.meier" not in page and "write to a…@….ch" in page
    assert "0483" not in page and "IBAN CH…" in page


@pytest.mark.parametrize("text", ["a\n" * 5000, "W" * 100_000, "word " * 20_000, "\x00" * 5000, "漢字" * 5000])
def test_no_text_takes_more_than_its_share_of_the_pages_that_are_signed(state, text):
    skipped = dataclasses.replace(state.decision.evidence.rungs[2], skipped=text)
    evidence = dataclasses.replace(state.decision.evidence, rungs=(*state.decision.evidence.rungs[:2], skipped))
    changed = of_texts(state, text)
    decision = dataclasses.replace(changed.decision, evidence=evidence)
    task = state.task.model_copy(update={"goal": text})
    page = render_report(dataclasses.replace(changed, task=task, decision=decision))
    signed, appendix = page.split('<section class="appendix" id="appendix">')
    assert signed.count('<div class="case">') == 1  # two, where their texts are short
    assert render_report(state).split('<section class="appendix"')[0].count('<div class="case">') == 2
    for shown in re.findall(r"<(?:pre|code|h1|li)>(.*?)</", signed.split("<main>")[1], re.DOTALL):
        assert len(shown) <= 340 and shown.strip().count("\n") < 8, shown[:80]
    for shown in re.findall(r"<(?:pre|code)>(.*?)</", signed.split("<main>")[1], re.DOTALL):
        assert shown.strip().count("\n") < 4, shown[:80]
    assert "The goal in full" in appendix and len(appendix) > 2 * len(text)  # the goal, and why a rung was not run
    assert "overflow-wrap: break-word" in signed and "td > div.note { min-width: 8em; }" in signed


def test_the_page_to_label_shows_texts_as_they_are(state):
    row = SimpleNamespace(id='"><b>', input=HARMLESS[1], wanted=HARMLESS[4], answer="\x1b[2J\x00 " + HARMLESS[2])
    found = SimpleNamespace(row=row, labelled=1, rows=2, words=("pass", "fail"), rubric=HOSTILE)
    page = render_label(SimpleNamespace(labelling=SimpleNamespace(next=lambda: found)), '"token')
    for text in (HARMLESS[1], HARMLESS[4], r"\x1b[2J\x00 " + HARMLESS[2], HOSTILE):
        assert text in Page(page).text
    assert not Page(page).tags & {"script", "img", "a", "b"} and "onerror" not in Page(page).attributes
    assert not set("\x1b\x00") & set(page)


@pytest.mark.parametrize("base", ["$\\frac$", "a$b_c$d", "x\x1b<b>&", "cost$"])
def test_a_base_of_any_name_is_drawn_by_its_name(state, base):
    rungs = [dataclasses.replace(r, rung=f"{r.rung} on {base}") for r in state.decision.evidence.rungs]
    evidence = dataclasses.replace(state.decision.evidence, rungs=tuple(rungs))
    verdict = decide(Rules(0.8, 0.03, 0.05, 1000), evidence)
    page = render_report(
        dataclasses.replace(
            state, decision=dataclasses.replace(state.decision, verdict=verdict, evidence=evidence, records={})
        )
    )
    for drawn in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        texts = "".join(ElementTree.fromstring(drawn).itertext())
        assert "few-shot on " + base.replace("\x1b", r"\x1b") in texts
