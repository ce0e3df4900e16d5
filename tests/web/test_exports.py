"""Verdict and evidence in the formats of other tools: nothing is lost, and nothing in the data becomes markup."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from luthier.api import Project, ReportState
from luthier.api._decisions import Decision, keep_decision
from luthier.cli import main
from luthier.decide import Cost, Evidence, Rules, RungEvidence, decide
from luthier.errors import EvidenceError, ReportError
from luthier.evaluate import Record
from luthier.web import evidence_table, export_report, inspect_logs, render_junit, render_markdown

HOSTILE = "=1+1|<script>alert('x')</script>\n[a](http://b)\x01"
CASES = tuple(f"case{i}" for i in range(60))
SCORES = {"prompt": 12, "few-shot": 44, "fine-tune": 60}  # right of 60: falls short, open, meets


def rung(name: str, right: int) -> RungEvidence:
    cost = Cost(0.5, 50.0, None, 120.0, 12.0, 0.4, 0.25, "tokens at the prices of a test")
    scores = tuple(float(i * 37 % 60 < right) for i in range(60))  # well mixed
    return RungEvidence(name, name, "a base", f"system of {name}", scores, cost, {"chosen": HOSTILE})  # type: ignore[arg-type]


def record(case: str, score: float) -> Record:
    return Record(case, HOSTILE if score < 1 else "fine", score, {"exact": score}, 100, 40, 10, 0.25, "stop", 0.001)


def decision_of(**changes: Any) -> Decision:
    rungs = tuple(rung(name, right) for name, right in SCORES.items())
    skipped = RungEvidence("fine-tune + retrieval", "fine-tune + retrieval", "a base", "", (), skipped=HOSTILE)
    evidence = Evidence(CASES, CASES, (*rungs, skipped), True, "exact")
    decision = Decision(
        key="",
        created="2026-01-02T03:04:05+00:00",
        verdict=decide(Rules(0.8, 0.03, 0.05, 1000), evidence),
        evidence=evidence,
        records={r.rung: tuple(record(c, s) for c, s in zip(CASES, r.scores, strict=True)) for r in rungs},
        systems={r.rung: r.system for r in rungs},
        cases=tuple(
            {"id": c, "input": f"input {c} {HOSTILE}", "wanted": "fine", "source": "rows.jsonl:1"} for c in CASES
        ),
        split="s",
        data="d",
        findings=(),
    )
    return dataclasses.replace(decision, **changes)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A task in which something was decided."""
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', "utf-8")
    text = "task: demo\ngoal: Answer.\nexamples: rows.jsonl\nscore: {kind: exact}\nbar: 0.8\nbase: a-base\n"
    (tmp_path / "luthier.yaml").write_text(text, "utf-8")
    found = Project(tmp_path)
    keep_decision(decision_of(), found.store)
    return found


@pytest.fixture
def state(project: Project) -> ReportState:
    checks = [
        {"name": "behaviour", "passed": True, "reason": "fine"},
        {"name": "capability", "passed": False, "reason": HOSTILE},
    ]
    gate = {"rung": "fine-tune", "system": "x", "passed": False, "checks": checks}
    return dataclasses.replace(project.state(), gate=gate)


def test_junit_counts_what_does_not_meet(state: ReportState) -> None:
    assert state.decision is not None
    root = ET.fromstring(render_junit(state))
    suites = {suite.get("name"): suite for suite in root}
    states = {v.rung: str(v.state) for v in state.decision.verdict.rungs}
    assert states == {
        "prompt": "falls short", "few-shot": "open", "fine-tune": "meets", "fine-tune + retrieval": "not run",
    }  # fmt: skip
    assert list(suites) == ["verdict", *(f"rung {name}" for name in states), "gate fine-tune"]
    for name, found in states.items():
        suite = suites[f"rung {name}"]
        [case] = suite.findall("testcase")
        failure = case.find("failure")
        assert (failure is not None) == (found in ("falls short", "open"))
        assert failure is None or failure.get("type") == found
        assert (case.find("skipped") is not None) == (found == "not run")
        assert suite.get("failures") == str(int(failure is not None))
        assert suite.get("skipped") == str(int(found == "not run"))
    assert suites["gate fine-tune"].get("failures") == "1"
    assert suites["gate fine-tune"].get("tests") == "2"
    adopted = state.decision.verdict.rung is not None
    assert suites["verdict"].get("failures") == str(int(not adopted))
    assert root.get("tests") == str(len(root.findall(".//testcase"))) == "7"
    assert root.get("failures") == str(len(root.findall(".//failure")))
    assert float(suites["rung prompt"].get("time", "")) == pytest.approx(60 * 0.25)
    values = {p.get("name"): p.get("value") for p in suites["rung few-shot"].iter("property")}
    assert float(values["mean score"] or "") == pytest.approx(44 / 60)


def test_junit_keeps_to_the_common_schema(state: ReportState) -> None:
    """Order and names of junit-4.xsd as Jenkins publishes it."""
    allowed = {
        "testsuites": ({"name", "time", "tests", "failures", "disabled", "errors"}, ["testsuite"]),
        "testsuite": (
            {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id"},
            ["properties", "testcase", "system-out", "system-err"],
        ),
        "testcase": (
            {"name", "assertions", "time", "classname", "status"},
            ["skipped", "error", "failure", "system-out", "system-err"],
        ),
        "properties": (set(), ["property"]),
        "property": ({"name", "value"}, []),
        "failure": ({"type", "message"}, []),
        "skipped": (set(), []),
    }  # fmt: skip
    for element in ET.fromstring(render_junit(state)).iter():
        attributes, children = allowed[element.tag]
        assert set(element.attrib) <= attributes
        assert "name" in element.attrib or element.tag not in ("testsuite", "testcase", "property")
        places = [children.index(child.tag) for child in element]
        assert places == sorted(places)
        assert element.tag != "properties" or places


def test_markdown_has_the_verdict_and_no_markup_of_the_data(state: ReportState) -> None:
    assert state.decision is not None
    text = render_markdown(state)
    verdict = state.decision.verdict
    assert text.startswith(f"# demo: {verdict.kind}\n")
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    assert "\\[a\\](http://b)" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {4, 8}
    assert any("| 60 of 60 | open |" in line for line in table)
    assert "Gate of fine-tune: not passed" in text


def test_parquet_holds_every_answer_as_it_was_given(project: Project, tmp_path: Path) -> None:
    where = Path(export_report(project, "parquet", tmp_path / "new" / "e.parquet"))
    table = pq.read_table(where)
    decision = project.decision()
    assert table.num_rows == sum(len(records) for records in decision.records.values()) == 180
    rows = table.to_pylist()
    for row, (name, kept) in zip(rows, ((n, r) for n, rs in decision.records.items() for r in rs), strict=True):
        assert (row["rung"], row["case"], row["answer"], row["score"]) == (name, kept.case, kept.answer, kept.score)
        assert (row["prompt_tokens"], row["completion_tokens"], row["seconds"]) == (100, 10, 0.25)
        assert json.loads(row["details"]) == dict(kept.details)
        assert (row["wanted"], row["cost_usd"], row["group"]) == ("fine", 0.001, kept.case)
    about = json.loads(table.schema.metadata[b"luthier"])
    assert about["verdict"]["kind"] == decision.verdict.kind
    assert about["format"] == 1
    assert not list(where.parent.glob("*.new"))


def test_logs_of_inspect_say_what_was_measured(state: ReportState, project: Project) -> None:
    assert state.decision is not None
    logs = inspect_logs(state)
    assert len(logs) == 3
    for (file, log), name in zip(logs.items(), SCORES, strict=True):
        assert file.startswith("2026-01-02T03-04-05+00-00_")
        assert log["version"] == 2
        assert log["status"] == "success"
        assert log["eval"]["metadata"]["rung"] == name
        assert [s["id"] for s in log["samples"]] == list(CASES)
        values = [s["scores"]["exact"]["value"] for s in log["samples"]]
        assert sum(values) == SCORES[name]
        assert log["results"]["scores"][0]["metrics"]["mean"]["value"] == pytest.approx(SCORES[name] / 60)
        usage = log["stats"]["model_usage"]["a base"]
        assert (usage["input_tokens"], usage["input_tokens_cache_read"], usage["output_tokens"]) == (3600, 2400, 600)
        assert usage["total_tokens"] == 6600
        assert {s["output"]["choices"][0]["stop_reason"] for s in log["samples"]} == {"stop"}
    folder = Path(export_report(project, "inspect"))
    assert {p.name: json.loads(p.read_text("utf-8")) for p in folder.iterdir()} == json.loads(json.dumps(logs))


@pytest.mark.parametrize(
    ("kind", "name"), [("markdown", "report.md"), ("junit", "report.junit.xml"), ("html", "report.html")]
)
def test_the_command_line_writes_and_says_where(project: Project, kind: str, name: str) -> None:
    folder = str(project.task.folder)
    run = CliRunner().invoke(main, ["report", "--format", kind, "-C", folder])
    assert run.exit_code == 0, run.output
    assert run.output.strip() == str(project.home / name)
    out = project.task.folder / "elsewhere" / "x.txt"
    run = CliRunner().invoke(main, ["report", "--format", kind, "-C", folder, "--out", str(out), "--json"])
    assert json.loads(run.output) == {"report": str(out), "format": kind}
    assert out.read_text("utf-8") == (project.home / name).read_text("utf-8")


def test_what_cannot_be_written_is_said(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="is a folder"):
        export_report(project, "junit", tmp_path / "folder")
    with pytest.raises(ReportError, match="Inspect's logs are several"):
        export_report(project, "inspect", tmp_path / "file")
    with pytest.raises(ReportError, match="no file to write to"):
        export_report(project, "mlflow", tmp_path / "new")
    monkeypatch.setattr("luthier.web._mlflow.find_spec", lambda name: None)
    with pytest.raises(ReportError, match="mlflow is not installed") as caught:
        export_report(project, "mlflow")
    assert caught.value.fix == "pip install mlflow"
    (tmp_path / "empty").mkdir()
    for name in ("luthier.yaml", "rows.jsonl"):
        (tmp_path / "empty" / name).write_text((tmp_path / name).read_text("utf-8"), "utf-8")
    for kind in ("markdown", "junit", "parquet", "inspect", "mlflow"):
        with pytest.raises(EvidenceError, match="nothing has been decided"):
            export_report(Project(tmp_path / "empty"), kind)  # type: ignore[arg-type]


class FakeServer:
    """What MLflow's client would have kept."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.places: list[str] = []
        self.broken = False

    def client(self, tracking_uri: str) -> FakeServer:
        self.places.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        if self.broken:
            raise OSError("no answer from http://me:secret@there")
        return SimpleNamespace(experiment_id="7")

    def search_runs(self, experiments: list[str], filter_string: str, max_results: int) -> list[Any]:
        wanted = filter_string.split("'")[1]
        found = [key for key, run in self.runs.items() if run["tags"].get("luthier.decision") == wanted]
        return [SimpleNamespace(info=SimpleNamespace(run_id=key)) for key in found]

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str] | None = None) -> Any:
        key = f"r{len(self.runs)}"
        self.runs[key] = {
            "name": run_name,
            "tags": dict(tags or {}),
            "params": {},
            "metrics": {},
            "files": [],
            "end": None,
        }
        return SimpleNamespace(info=SimpleNamespace(run_id=key))

    def log_batch(self, run: str, metrics: Any, params: Any) -> None:
        self.runs[run]["metrics"] |= dict(metrics)
        self.runs[run]["params"] |= dict(params)

    def set_tag(self, run: str, key: str, value: str) -> None:
        self.runs[run]["tags"][key] = value

    def log_artifact(self, run: str, file: str) -> None:
        self.runs[run]["files"].append(Path(file).name)

    def set_terminated(self, run: str, status: str) -> None:
        self.runs[run]["end"] = status


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()
    mlflow, entities, exceptions = (ModuleType(f"mlflow{part}") for part in ("", ".entities", ".exceptions"))
    mlflow.MlflowClient = fake.client  # type: ignore[attr-defined]
    entities.Metric = lambda key, value, timestamp, step: (key, value)  # type: ignore[attr-defined]
    entities.Param = lambda key, value: (key, value)  # type: ignore[attr-defined]
    exceptions.MlflowException = type("MlflowException", (Exception,), {})  # type: ignore[attr-defined]
    for module in (mlflow, entities, exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("luthier.web._mlflow.find_spec", lambda name: object())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@there")
    return fake


def test_mlflow_gets_a_run_for_the_decision_and_one_for_each_rung(project: Project, server: FakeServer) -> None:
    where = export_report(project, "mlflow")
    assert where == "http://there#r0"
    assert server.places == ["http://me:secret@there"]
    parent, *children = server.runs.values()
    assert parent["params"]["kind"] == project.decision().verdict.kind
    assert parent["files"] == ["report.md", "evidence.parquet"]
    assert [run["name"] for run in children] == list(SCORES)
    assert [run["metrics"]["score"] for run in children] == pytest.approx([n / 60 for n in SCORES.values()])
    assert {run["tags"]["mlflow.parentRunId"] for run in children} == {"r0"}
    assert {run["end"] for run in server.runs.values()} == {"FINISHED"}
    assert export_report(project, "mlflow") == where  # the same decision is not logged twice
    assert len(server.runs) == 4


def test_a_server_that_does_not_answer_is_said_without_its_password(project: Project, server: FakeServer) -> None:
    server.broken = True
    with pytest.raises(ReportError) as caught:
        export_report(project, "mlflow")
    assert "http://there" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_table_is_empty_of_rungs_that_were_not_run(state: ReportState) -> None:
    assert set(evidence_table(state)["rung"].to_pylist()) == set(SCORES)


@pytest.mark.parametrize(
    "text",
    [
        "- item", "+ item", "* item", "1. one", "12) twelve", "---", "- - -", "===", "> quote", "# head", "```", "~~~",
        "<b>b</b>", "[x](javascript:alert(1))", "![i](http://b)", "<http://b>", "**b** __c__ ~~d~~ `e` \\", "a | b",
        "-0.05 and 0.9", "&lt; &amp;", "[x]: http://b",
    ],
)  # fmt: skip
def test_no_text_is_markup_in_markdown(text: str) -> None:
    from markdown_it import MarkdownIt  # comes with rich

    from luthier.web._markdown import plain

    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    shown = html.escape(text)
    assert reader.render(f"- {plain(text)}") == f"<ul>\n<li>{shown}</li>\n</ul>\n"
    assert reader.render(plain(text)) == f"<p>{shown}</p>\n"
    assert f"<td>{shown}</td>" in reader.render(f"| a |\n|---|\n| {plain(text)} |\n")


def test_markdown_spells_out_what_cannot_be_seen(state: ReportState) -> None:
    assert state.decision is not None
    verdict = dataclasses.replace(state.decision.verdict, reasons=("\x1b[31m \x00 \x9b \u202e \ud800 \ufffe",))
    text = render_markdown(dataclasses.replace(state, decision=dataclasses.replace(state.decision, verdict=verdict)))
    text.encode("utf-8")
    assert r"\\x1b\[31m \\x00 \\x9b \\u202e \\ud800 \\ufffe" in text
    assert not set("\x00\x01\x1b\x9b\u202e") & set(text)
