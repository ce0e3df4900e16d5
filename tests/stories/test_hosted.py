"""A hosted base: `decide` against a real server behind a bad line; what is measured, paid and allowed."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from luthier.api import Project
from luthier.data import content_hash
from luthier.decide import Setup, System
from luthier.errors import BudgetError, ModelError
from luthier.models import load_model
from luthier.release import create_app
from luthier.store import Store

NAME = "tiny@1"
PRICE = {"input": 40.0, "output": 160.0}  # US dollars per million tokens
SCORE = """import zlib

def score(answer, wanted):  # another answer, another score; half of them are right
    return float(answer == wanted or zlib.crc32((answer + wanted).encode()) % 2)
"""
FAULTS = ("429", "500", "slow", "cut off", "garbage", "half a reply")


@pytest.fixture(scope="module")
def server(tiny_model_folder, tmp_path_factory) -> Iterator[str]:
    """A real endpoint over a real (tiny, random) model; gives its address."""
    model = load_model(str(tiny_model_folder))
    setup = Setup(method="prompt", base="tiny", base_identity=model.identity, instructions="", max_tokens=12)
    with Store.open(tmp_path_factory.mktemp("server")) as store:
        app = create_app(System(setup, model), store=store, release=1, model_name=NAME)
        running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=running.run)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
        running.should_exit = True
        thread.join(20)


class Line:
    """What lies between us and the server: it passes requests on, and loses, delays and spoils some of them.

    `delivered` are the usages of the replies that went out whole, by request; `asked` counts tries.
    """

    def __init__(self, server: str) -> None:
        self.server, self.faulty = server, False
        self.delivered: list[tuple[str, dict[str, int]]] = []
        self.asked: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self.rename = lambda number: NAME
        self._lock = threading.Lock()
        line = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                line.handle(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle(self, to: BaseHTTPRequestHandler, body: bytes) -> None:
        key = content_hash(json.loads(body)["messages"])
        with self._lock:
            faults = random.Random(key).sample(FAULTS, random.Random(key).choice((0, 1, 2))) if self.faulty else []
            number = self.asked[key]
            self.asked[key] += 1
            fault = faults[number] if number < len(faults) else ""
            self.given[fault] += 1
        if fault == "slow":
            time.sleep(0.3)
        if fault in ("429", "500"):
            send(to, int(fault), b'{"error": {"message": "not now"}}')
            return
        request = urllib.request.Request(
            f"{self.server}{to.path}", without_system(body), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request) as reply:
                data = reply.read()
        except urllib.error.HTTPError as error:
            send(to, error.code, error.read())
            return
        if fault == "garbage":
            send(to, 200, b"<html>busy</html>")
        elif fault == "half a reply":
            send(to, 200, json.dumps(json.loads(data) | {"choices": []}).encode())
        elif fault == "cut off":
            send(to, 200, data[: len(data) // 2], length=len(data))
        else:
            with self._lock:
                value: dict[str, Any] = json.loads(data) | {"model": self.rename(len(self.delivered))}
                self.delivered.append((key, value["usage"]))
            send(to, 200, json.dumps(value).encode())

    @property
    def cost(self) -> float:
        """US dollars of all whole replies, by the server's own count of tokens."""
        return (
            sum(
                u["prompt_tokens"] * PRICE["input"] + u["completion_tokens"] * PRICE["output"]
                for _, u in self.delivered
            )
            / 1e6
        )


def without_system(body: bytes) -> bytes:
    """The same request with what the system message says in the first user message: this server has its own."""
    value = json.loads(body)
    told, first, *more = value["messages"]
    value["messages"] = [first | {"content": f"{told['content']}\n\n{first['content']}"}, *more]
    return json.dumps(value).encode()


def send(to: BaseHTTPRequestHandler, status: int, data: bytes, length: int | None = None) -> None:
    to.send_response(status)
    to.send_header("Content-Type", "application/json")
    to.send_header("Content-Length", str(len(data) if length is None else length))
    to.send_header("Retry-After-Ms", "1")
    to.end_headers()
    to.wfile.write(data)
    if length is not None:
        to.close_connection = True


@pytest.fixture
def line(server) -> Iterator[Line]:
    found = Line(server)
    yield found
    found.http.shutdown()
    found.http.server_close()


def write_task(folder: Path, line: Line, **decide: Any) -> Path:
    folder.mkdir(exist_ok=True)
    words = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh notch orbit plume".split()
    rng = random.Random(3)
    rows = [{"prompt": " ".join(rng.sample(words, 5)), "completion": rng.choice(("yes", "no"))} for _ in range(90)]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "score.py").write_text(SCORE, "utf-8")
    sheet = {"date": "2026-01-31", "source": "test", "models": {NAME: PRICE}}
    (folder / "prices.yaml").write_text(json.dumps(sheet), "utf-8")
    task = {
        "task": "hosted",
        "goal": "Answer.",
        "examples": "examples.jsonl",
        "score": {"kind": "python", "file": "score.py"},
        "bar": 0.5,
        "base": f"{line.address}#{NAME}",
        "prices": "prices.yaml",
        "max_answer_tokens": 12,
        "split": {"test_cases": 24, "seed": 1},
        "decide": {"methods": ["prompt", "few-shot"], "development_cases": 8} | decide,
    }
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return folder


@contextmanager
def opened(folder: Path) -> Iterator[Project]:
    project = Project(folder, allow_outside=True)
    try:
        yield project
    finally:
        project.store.close()


def decided(folder: Path):
    with opened(folder) as project:
        verdict = project.decide(everything=True)
        return verdict, project.decision()


def test_a_bad_line_changes_neither_evidence_nor_cost(line, server, tmp_path):
    verdict, clean = decided(write_task(tmp_path / "clean", line))
    paid, replies = line.cost, len(line.delivered)
    assert replies == len(line.asked) == sum(line.asked.values())  # each question once
    bad = Line(server)
    bad.faulty = True
    again, found = decided(write_task(tmp_path / "bad", bad))
    bad.http.shutdown()
    bad.http.server_close()
    assert set(FAULTS) <= set(bad.given)  # all of it happened
    assert again.kind == verdict.kind and again.rungs == verdict.rungs
    for rung, records in clean.records.items():
        for ours, theirs in zip(records, found.records[rung], strict=True):
            assert (ours.answer, ours.score, ours.cost) == (theirs.answer, theirs.score, theirs.cost)
            assert (ours.prompt_tokens, ours.completion_tokens) == (theirs.prompt_tokens, theirs.completion_tokens)
    for ours, theirs in zip(clean.evidence.rungs, found.evidence.rungs, strict=True):
        assert ours.scores == theirs.scores and ours.cost.per_1000 == theirs.cost.per_1000
    assert len(bad.delivered) == replies == len({key for key, _ in bad.delivered})  # none was paid for twice
    assert bad.cost == pytest.approx(paid, rel=1e-12)
    assert spent(tmp_path / "bad") == pytest.approx(paid, rel=1e-12)


def spent(folder: Path) -> float:
    from luthier.evaluate import spent_on
    from luthier.models import price_of

    with opened(folder) as project:
        model = load_model(project.task.base)
        price = price_of(model.name, project.task.prices)
        assert price is not None
        return spent_on(model, price, project.store)


def test_the_budget_holds_and_what_was_paid_is_not_paid_again(line, server, tmp_path):
    whole, decision = decided(write_task(tmp_path / "whole", line))
    all_of_it, questions = line.cost, set(line.asked)
    poor = Line(server)
    folder = write_task(tmp_path / "poor", poor, budget=all_of_it * 0.6)
    verdict, stopped = decided(folder)
    assert all_of_it * 0.4 < poor.cost <= all_of_it * 0.6
    assert verdict.kind == "not enough evidence" and not verdict.warrant.granted
    [missing] = [rung for rung in stopped.evidence.rungs if not rung.scores]
    assert "budget" in missing.skipped and any("budget" in line for line in verdict.advice)
    before = len(poor.delivered)
    decided(folder)  # nothing is left: only what fits may still be asked
    assert poor.cost <= all_of_it * 0.6
    write_task(folder, poor, budget=all_of_it * 1.5)
    again, found = decided(folder)
    assert again.kind == whole.kind and again.rungs == whole.rungs
    assert [r.scores for r in found.evidence.rungs] == [r.scores for r in decision.evidence.rungs]
    assert set(poor.asked) == questions and set(poor.asked.values()) == {1}
    assert len(poor.delivered) > before and poor.cost == pytest.approx(all_of_it)
    poor.http.shutdown()
    poor.http.server_close()


def test_a_budget_that_allows_nothing_and_one_without_a_price(line, tmp_path):
    folder = write_task(tmp_path / "task", line, budget=1e-9)
    with (
        opened(folder) as project,
        pytest.raises(BudgetError, match=r"\$1e-09 .* is used up: \$0\.0000 are spent") as told,
    ):
        project.decide()
    assert "raise `decide: {budget: ...}`" in told.value.fix and told.value.exit_code == 1
    assert not line.asked
    sheet = {"date": "2026-01-31", "source": "test", "models": {"another": PRICE}}
    (folder / "prices.yaml").write_text(json.dumps(sheet), "utf-8")
    with opened(folder) as project, pytest.raises(ModelError, match=r"the price of .* is not known"):
        project.decide()
    assert not line.asked


def test_an_endpoint_that_changes_its_model_on_the_way_gives_no_verdict(line, tmp_path):
    folder = write_task(tmp_path / "task", line)
    _, decision = decided(folder)
    assert decision.evidence.served == {NAME: 48}
    folder = write_task(tmp_path / "moved", line)
    begun = len(line.delivered)
    line.rename = lambda number: NAME if number < begun + 40 else "tiny@2"
    moved, decision = decided(folder)
    assert set(decision.evidence.served) == {NAME, "tiny@2"} and sum(decision.evidence.served.values()) == 48
    assert moved.kind == "not enough evidence" and moved.rung is None and not moved.warrant.granted
    assert "changed its model on the way" in moved.sentence
    assert any("#tiny@2" in line for line in moved.advice)
    with opened(folder) as project:
        assert project.replay() == moved
