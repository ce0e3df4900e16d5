"""A judge behind a real endpoint: `decide`, labels of people, the corrected verdict; what is asked, paid and kept."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from luthier.api import Project
from luthier.api._releasing import measured_records
from luthier.cli import main
from luthier.decide import Evidence, decide, rules_of
from luthier.errors import BudgetError, DataError, EvidenceError, ScorerError
from luthier.evaluate import answer_id
from luthier.web._dashboard import dashboard

PRICES = {"worker": {"input": 1.0, "output": 4.0}, "arbiter": {"input": 10.0, "output": 40.0}}
WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh notch orbit plume".split()


def chance(*parts: str) -> float:
    """A number in [0, 1) that is the same for the same texts."""
    return zlib.crc32("\n".join(parts).encode()) / 2**32


class Host:
    """An OpenAI-compatible server with two models: `worker`, which answers, and `arbiter`, which judges.

    The worker is right with `right[n]`, n the demonstrations it is shown (0 or more); a wrong answer of the shown one
    is long and polite, which the arbiter falls for. The arbiter errs otherwise in `slip` of the cases, and breaks its
    form in `babble` of them, for good in a third of these.
    """

    def __init__(self) -> None:
        self.right = {"plain": 0.55, "shown": 0.6}
        self.slip, self.babble, self.charmed = 0.04, 0.0, 0.8
        self.asked: list[tuple[str, str]] = []
        self.version = "arbiter"
        self._lock = threading.Lock()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                data = json.dumps(host.reply(body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        text = self.work(body["messages"]) if body["model"] == "worker" else self.judge(body["messages"])
        assert body["temperature"] == 0
        with self._lock:
            self.asked.append((body["model"], json.dumps(body["messages"])))
        return {
            "model": "worker" if body["model"] == "worker" else self.version,
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 50, "completion_tokens": 5},
        }

    def work(self, messages: list[dict[str, str]]) -> str:
        last = messages[-1]["content"]
        item = last.rpartition("\n")[2].removeprefix("last word of: ")
        shown = len(messages) > 2 or last.count("last word of:") > 1
        if chance("work", item) < self.right["shown" if shown else "plain"]:
            return item.split()[-1]
        wrong = item.split()[0]
        return f"Gladly! After careful thought, the word you are looking for is {wrong}." if shown else wrong

    def judge(self, messages: list[dict[str, str]]) -> str:
        asked = messages[0]["content"]
        if "[answer A " in asked:  # the longer one, unless they are the same
            a, b = part(asked, "answer A"), part(asked, "answer B")
            return "same" if a == b else "A" if len(a) > len(b) else "B"
        wanted, answer = part(asked, "wanted output"), part(asked, "answer")
        lasting = len(messages) == 1 or chance("for good", answer, wanted) < 1 / 3
        if lasting and chance("babble", answer, wanted) < self.babble:
            return "Well, I would say that this should pass"
        good = answer == wanted
        if answer.startswith("Gladly!") and chance("charm", answer, wanted) < self.charmed:
            good = True
        elif chance("slip", answer, wanted) < self.slip:
            good = not good
        return "Pass." if good else "**fail**"

    def count(self, model: str) -> int:
        return sum(name == model for name, _ in self.asked)

    def cost(self, model: str) -> float:
        price = PRICES[model]
        return self.count(model) * (50 * price["input"] + 5 * price["output"]) / 1e6


def part(text: str, name: str) -> str:
    """A part of what the judge is shown, between its marks."""
    return text.split(f"[{name} ", 1)[1].split("]\n", 1)[1].split(f"\n[end of {name} ", 1)[0]


@pytest.fixture
def host() -> Iterator[Host]:
    found = Host()
    yield found
    found.http.shutdown()
    found.http.server_close()


def write_task(
    folder: Path, host: Host, *, bar: float = 0.8, decide: dict[str, Any] | None = None, **score: Any
) -> Path:
    folder.mkdir(exist_ok=True)
    rng = random.Random(3)
    inputs = sorted({" ".join(rng.sample(WORDS, 5)) for _ in range(300)})
    rows = [{"prompt": f"last word of: {text}", "completion": text.split()[-1]} for text in inputs]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "prices.yaml").write_text(json.dumps({"date": "2026-01-31", "source": "test", "models": PRICES}), "utf-8")
    (folder / "rubric.md").write_text("The answer is the last word and nothing else.", "utf-8")
    task = {
        "task": "judged",
        "goal": "Give the last word.",
        "examples": "examples.jsonl",
        "score": {
            "kind": "judge",
            "model": f"{host.address}#arbiter",
            "rubric": "rubric.md",
            "calibration": "judged.csv",
        }
        | score,
        "bar": bar,
        "base": f"{host.address}#worker",
        "prices": "prices.yaml",
        "max_answer_tokens": 40,
        "split": {"test_cases": 120, "seed": 1},
        "decide": {"methods": ["prompt", "few-shot"], "development_cases": 8} | (decide or {}),
    }
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return folder


@contextmanager
def opened(folder: Path) -> Iterator[Project]:
    project = Project(folder)
    try:
        yield project
    finally:
        project.store.close()


def label(folder: Path, *, most: int | None = None, words: tuple[str, str] = ("pass", "fail")) -> int:
    """A person labels the table: right is the wanted word alone."""
    path = folder / "judged.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:most]:
        row["label"] = words[row["answer"] != row["wanted"]]
    write_rows(path, rows)
    return len(rows)


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_charmed_judge_adopts_nothing_once_people_have_labelled(host, tmp_path):
    host.charmed = 0.35
    folder = write_task(tmp_path / "task", host, bar=0.62)
    with opened(folder) as project:
        first = project.decide()
        assert first.kind == "not enough evidence" and "not calibrated: 0 of at least 60 labels" in first.sentence
        assert any("luthier judge --sample 60" in line for line in first.advice)
        decision = project.decision()
        assert all(len(rung.scores) == 120 for rung in decision.evidence.rungs)  # nothing stopped early
        alone = {v.rung: v.judged for v in first.rungs}
        uncorrected = decide(rules_of(project.task), replace(decision.evidence, judge=None))
        assert uncorrected.rung == "few-shot"  # what the judge alone would have adopted
        sheet = project.labelling.sheet()
        assert sheet.labelled == 0 and sheet.named
        text = (folder / "judged.csv").read_text("utf-8")
        assert "few-shot" not in text and "prompt," not in text and "worker" not in text
        before = list(host.asked)
        label(folder)
        found = project.labelling.calibrate()
        assert host.asked == before  # no model is asked
        truth = {
            rung: sum(r.answer == case["wanted"] for r, case in zip(records, decision.cases, strict=True)) / 120
            for rung, records in decision.records.items()
        }
        assert truth["few-shot"] < 0.62 and found.verdict.rung is None
        states = {v.rung: v for v in found.verdict.rungs}
        for rung, mean in truth.items():
            assert states[rung].low <= mean <= states[rung].high
            assert abs(states[rung].mean - mean) < 0.12
        assert alone["few-shot"] - states["few-shot"].mean > 0.1
        assert found.rungs["few-shot"].specificity.value < 0.75 < 0.9 < found.rungs["prompt"].specificity.value
        assert any("alone it says" in line for line in found.verdict.reasons)
        assert project.replay() == found.verdict  # from stored evidence, labels and all
        again = project.decide()
        assert again.rungs == found.verdict.rungs and host.asked == before  # neither answer nor judgement twice


def test_a_judge_that_knows_no_better_than_chance_on_a_rung_settles_nothing_there(host, tmp_path):
    folder = write_task(tmp_path / "task", host, bar=0.3)
    with opened(folder) as project:
        project.decide()
        project.labelling.sheet()
        label(folder)
        verdict = project.labelling.calibrate().verdict
        plain, shown = verdict.rungs
        assert (str(plain.state), str(shown.state)) == ("meets", "open")
        assert shown.youden < 0.5 < plain.youden and "does not know good answers of this rung" in shown.note


def test_an_honest_judge_and_labels_adopt_what_is_good(host, tmp_path):
    host.charmed, host.right = 0.0, {"plain": 0.3, "shown": 0.97}
    folder = write_task(tmp_path / "task", host, bar=0.8)
    with opened(folder) as project:
        project.decide()
        project.labelling.sheet(120)
        label(folder)
        found = project.labelling.calibrate()
        assert (found.verdict.kind, found.verdict.rung) == ("few-shot", "few-shot")
        assert [str(v.state) for v in found.verdict.rungs] == ["falls short", "meets"]
        gate = project.validate(quick=True)
        behaviour = next(check for check in gate.checks if check.name == "behaviour")
        assert behaviour.passed and "corrected by" in behaviour.reason


def test_a_table_grows_and_keeps_labels_and_wrong_ones_are_named_with_their_lines(host, tmp_path):
    folder = write_task(tmp_path / "task", host)
    with opened(folder) as project:
        with pytest.raises(EvidenceError, match="nothing has been decided"):
            project.labelling.sheet()
        project.decide()
        small = project.labelling.sheet(20)
        label(folder, most=5)
        large = project.labelling.sheet()
        assert large.rows > small.rows and large.labelled == 5
        path = folder / "judged.csv"
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
        assert [row["id"] for row in rows if row["label"]] == [row["id"] for row in rows[:5]]  # still on top
        gap = [row | {"label": ""} for row in rows[:2]] + rows[2:]  # the first case of both rungs has no label
        write_rows(path, gap)
        found = project.labelling.calibrate()
        assert (found.behind_gaps, found.overall.labels) == (3, 0)
        write_rows(path, rows)
        lines = path.read_text("utf-8").splitlines()
        good = "\n".join(lines)
        place = next(i for i, line in enumerate(lines) if line.endswith(","))
        path.write_text(
            "\n".join([*lines[:place], lines[place] + "perhaps", *lines[place + 1 :], "x1,,,,pass"]), "utf-8"
        )
        with pytest.raises(DataError, match=r"2 labels in judged\.csv") as told:
            project.labelling.calibrate()
        assert {p.line for p in told.value.problems} == {place + 1, len(lines) + 1}
        path.write_text(good.replace(",", ";"), "utf-8")  # as some spreadsheets save it: no comma stands in these texts
        assert project.labelling.calibrate().overall.labels >= 5
        path.write_text("key,answer\n", "utf-8")
        with pytest.raises(DataError, match="no column id and no column label"):
            project.decide()


def test_a_judge_that_babbles_is_asked_once_more_and_refused_when_it_goes_on(host, tmp_path):
    host.babble = 0.06  # a third of it for good: 2 % stay unjudged
    folder = write_task(tmp_path / "task", host)
    with opened(folder) as project:
        project.decide()
        judge = project.decision().evidence.judge
        records = [r for some in project.decision().records.values() for r in some]
        unjudged = [r for r in records if r.details.get("unjudged")]
        assert unjudged and all(r.score == 0.5 for r in unjudged)
        assert sum(judge.unjudged.values()) >= len({(r.case, r.answer) for r in unjudged})
        assert any("without a judgement" in line for line in project.replay().reasons)
    host.babble = 0.6
    with opened(write_task(tmp_path / "worse", host)) as project, pytest.raises(ScorerError, match="broke its form in"):
        project.decide()


def test_budget_and_cost_are_those_of_worker_and_judge_together_and_apart(host, tmp_path):
    folder = write_task(tmp_path / "task", host)
    with opened(folder) as project:
        project.decide()
        evidence = project.decision().evidence
        assert evidence.judge.usd == pytest.approx(host.cost("arbiter"))
        answers = {r.cost for some in project.decision().records.values() for r in some}
        assert answers == {(50 * 1 + 5 * 4) / 1e6}  # judging is in no rung's cost
    whole = host.cost("worker") + host.cost("arbiter")
    poor = Host()
    poor_folder = write_task(tmp_path / "poor", poor, decide={"budget": whole / 2})
    try:
        with opened(poor_folder) as project:
            with pytest.raises(BudgetError):
                project.decide()
            assert 0 < poor.cost("worker") + poor.cost("arbiter") <= whole / 2
        write_task(poor_folder, poor, decide={"budget": whole * 100})
        with opened(poor_folder) as project:
            project.decide()
            assert project.decision().evidence.judge.usd == pytest.approx(host.cost("arbiter"))
        assert max(Counter(poor.asked).values()) == 1  # nothing was asked twice
    finally:
        poor.http.shutdown()
        poor.http.server_close()


def test_a_judge_that_changes_its_version_gives_no_verdict(host, tmp_path):
    folder = write_task(tmp_path / "task", host)
    with opened(folder) as project:
        project.decide()
        project.labelling.sheet()
        label(folder)
        host.version = "arbiter-2"
        host.slip = 0.05
    task = json.loads((folder / "luthier.yaml").read_text())
    (folder / "luthier.yaml").write_text(
        json.dumps(task | {"max_answer_tokens": 41})
    )  # other requests, some new answers
    host.right = {"plain": 0.5, "shown": 0.62}
    with opened(folder) as project:
        verdict = project.decide()
        assert verdict.kind == "not enough evidence" and "the judge changed on the way" in verdict.sentence
        assert any("name one version" in line for line in verdict.advice)


def test_a_judge_of_the_same_family_is_refused_unless_it_is_allowed(host, tmp_path):
    folder = write_task(tmp_path / "task", host, model=f"{host.address}#worker")
    with opened(folder) as project, pytest.raises(ScorerError, match="of the family of the base") as told:
        project.decide()
    assert "same_family: true" in told.value.fix and not host.asked


def test_the_page_to_label_writes_the_same_table_and_takes_nothing_from_elsewhere(host, tmp_path):
    folder = write_task(tmp_path / "task", host, decide={"methods": ["prompt"]}, rubric="<b>Be</b> fair.")
    with opened(folder) as project:
        client = TestClient(dashboard(project), base_url="http://127.0.0.1")
        assert client.get("/label").status_code == 404  # there is no table yet
        project.decide()
        rows = project.labelling.sheet(6).rows
        for done in range(rows):
            page = client.get("/label").text
            assert f"{done} of {rows} answers are labelled" in page and "&lt;b&gt;Be&lt;/b&gt;" in page
            form = dict(re.findall(r'name="(token|id)" value="([^"]+)"', page))
            assert "prompt" not in page.split("<h2>answer", 1)[1]
            before = (folder / "judged.csv").read_bytes()
            assert client.post("/label", data=form | {"label": "pass", "token": "guess"}).status_code == 403
            assert client.post("/label", data=form | {"label": "maybe"}).status_code == 400
            assert client.post("/label", data=form | {"id": "a" * 16, "label": "pass"}).status_code == 400
            assert (folder / "judged.csv").read_bytes() == before
            assert client.post("/label", data=form | {"label": "fail"}).url.path == "/label"
        assert "All are" in client.get("/label").text
        assert client.get("/label", headers={"host": "evil.example"}).status_code == 400
        assert project.labelling.calibrate().overall.labels == rows
        assert project.labelling.sheet(12).labelled == rows  # and the table can still grow


def test_a_refresh_compares_with_the_champion_by_labels_of_both(host, tmp_path):
    host.charmed, host.right = 0.0, {"plain": 0.4, "shown": 0.97}
    folder = write_task(tmp_path / "task", host, bar=0.8)
    run = CliRunner()
    with opened(folder) as project:
        project.decide()
        project.labelling.sheet(160)
        label(folder)
        project.labelling.calibrate()
        assert project.validate(quick=True).passed
        project.promote()
    host.right = {"plain": 0.4, "shown": 0.7}  # what answers with a token more is worse, and charms the judge
    host.charmed = 1.0
    task = json.loads((folder / "luthier.yaml").read_text())
    (folder / "luthier.yaml").write_text(json.dumps(task | {"max_answer_tokens": 41}))
    with opened(folder) as project:
        first = project.refresh()
        old = {record.case: record.answer for record in measured_records(project.store, project.release())}
        assert first.sheet is not None and first.sheet.added > 0 and first.promoted is None
        assert "more" in first.reason and first.comparison.low < -0.03
        rows = list(csv.DictReader(io.StringIO((folder / "judged.csv").read_text("utf-8"))))
        assert {answer_id(case, answer) for case, answer in list(old.items())} & {row["id"] for row in rows}
    asked = run.invoke(main, ["refresh", "-C", str(folder)])
    assert asked.exit_code == 3 and "then: luthier refresh" in asked.output
    before = list(host.asked)
    for _ in range(6):  # label what is asked for until it is told
        label(folder)
        with opened(folder) as project:
            found = project.refresh()
        if found.sheet is None:
            break
    assert found.sheet is None and found.promoted is None and host.asked == before
    assert found.comparison.high < 0 and "worse than the champion" in found.reason
    assert found.comparison.low <= 0.7 - 0.97 + 0.05 <= found.comparison.high + 0.1
    assert run.invoke(main, ["refresh", "-C", str(folder)]).exit_code == 1
    host.version, host.right = "arbiter-2", {"plain": 0.4, "shown": 0.5}  # wrong answers that it has not seen
    (folder / "luthier.yaml").write_text(json.dumps(task | {"max_answer_tokens": 42}))
    with opened(folder) as project:
        found = project.refresh()
    assert found.sheet is None and found.promoted is None  # no label mends it
    assert "the judge changed on the way" in found.reason


def test_pairs_are_judged_in_both_orders_and_shown_by_length(host, tmp_path):
    folder = write_task(tmp_path / "task", host, decide={"methods": ["prompt", "few-shot"]}, mode="pairwise", bar=0.45)
    with opened(folder) as project:
        project.decide()
        evidence = project.decision().evidence
        assert set(evidence.rungs[0].scores) <= {0.0, 0.5, 1.0}
        least, middle, most = evidence.judge.by_length["few-shot"]
        assert least == 0.5 <= middle <= most == 1.0  # this judge likes what is long
        assert Evidence.from_dict(json.loads(json.dumps(evidence.as_dict()))) == evidence
        sheet = project.labelling.sheet()
        assert sheet.words == ("better", "same", "worse")
        label(folder, words=("same", "worse"))
        found = project.labelling.calibrate()
        assert found.verdict.rung is None and found.overall.specificity.value < 0.6


def test_the_command_line(host, tmp_path):
    folder = write_task(tmp_path / "task", host, bar=0.7)
    run = CliRunner()
    decided = run.invoke(main, ["decide", "-C", str(folder)])
    assert decided.exit_code == 3 and "luthier judge --sample 60" in decided.output
    written = run.invoke(main, ["judge", "-C", str(folder), "--sample", "60"])
    assert written.exit_code == 0 and "write pass or fail into the column `label`" in written.output
    label(folder)
    read = run.invoke(main, ["judge", "-C", str(folder)])
    assert "sensitivity" in read.output and "verdict: " in read.output
    power = run.invoke(main, ["decide", "-C", str(folder), "--power"])
    assert power.exit_code == 0 and "labels for 80 %" in power.output and "J = 0.9" in power.output
