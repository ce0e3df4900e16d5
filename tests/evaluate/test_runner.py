"""The runner: every answer once, kept, continued after an interruption; scores always fresh."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from luthier.data import Example, Message, Source
from luthier.errors import DiskFullError, ModelError, ScorerError, StoreError
from luthier.evaluate import Record, Scored, make_scorer, measure, measure_together
from luthier.evaluate._scorers_python import PythonScorer
from luthier.models import Answer, Request
from luthier.spec import ExactScore


@dataclass
class Memory:
    """A store of answers in memory that counts its writes."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: list[int] = field(default_factory=list)
    full: bool = False

    def get_answers(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {key: self.rows[key] for key in keys if key in self.rows}

    def put_answers(self, items: Mapping[str, dict[str, Any]], model: str | None = None) -> None:
        if self.full:
            raise DiskFullError("no room is left", fix="free some")
        self.writes.append(len(items))
        self.rows.update(items)


@dataclass
class Fake:
    """A model that answers from the last one to the first and remembers what it was asked."""

    reply: Callable[[Request], str] = lambda request: request.messages[-1].content.upper()
    identity: str = "fake-1"
    name: str = "fake"
    asked: list[str] = field(default_factory=list)
    stop_after: int | None = None

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        for count, index in enumerate(reversed(range(len(requests)))):
            if count == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(requests[index].messages[-1].content)
            yield index, Answer(self.reply(requests[index]), 100, 10, 0.5, "stop", shared_tokens=60)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return 1


@dataclass
class Plain:
    """A system that asks the input as it stands."""

    model: Fake
    identity: str = "plain"

    def request(self, messages: Sequence[Message]) -> Request:
        return Request(tuple(messages), 16)


def cases(n: int) -> list[Example]:
    return [Example((Message("user", f"q{i}"),), f"Q{i}", source=Source("examples.jsonl", i + 1)) for i in range(n)]


EXACT = make_scorer(ExactScore(kind="exact"), [])


def test_records_stand_in_the_order_of_the_cases_whatever_the_model_does() -> None:
    store, model, seen = Memory(), Fake(), list[Record]()
    records = measure(Plain(model), cases(20), EXACT, store, on_record=seen.append)
    assert [r.case for r in records] == [c.id for c in cases(20)]
    assert [r.answer for r in records] == [f"Q{i}" for i in range(20)]
    assert [r.score for r in records] == [1.0] * 20
    assert [r.case for r in seen] == [r.case for r in reversed(records)]
    assert (records[0].prompt_tokens, records[0].shared_tokens, records[0].completion_tokens) == (100, 60, 10)
    assert max(store.writes) <= 8 and sum(store.writes) == 20


def test_what_is_known_is_not_asked_again() -> None:
    store = Memory()
    first = measure(Plain(Fake()), cases(10), EXACT, store)
    model = Fake()
    again = measure(Plain(model), cases(13), EXACT, store)
    assert sorted(model.asked) == ["q10", "q11", "q12"]
    assert again[:10] == first


def test_an_interrupted_run_keeps_every_answer_and_goes_on() -> None:
    store = Memory()
    with pytest.raises(KeyboardInterrupt):
        measure(Plain(Fake(stop_after=11)), cases(20), EXACT, store)
    assert len(store.rows) == 11
    model = Fake()
    records = measure(Plain(model), cases(20), EXACT, store)
    assert len(model.asked) == 9 and len(records) == 20


def test_the_same_request_is_asked_once() -> None:
    model = Fake()
    twice = [cases(1)[0], Example((Message("user", "q0"),), "other")]
    records = measure(Plain(model), twice, EXACT, Memory())
    assert model.asked == ["q0"]
    assert [r.score for r in records] == [1.0, 0.0]


def test_another_model_or_request_is_another_answer() -> None:
    store = Memory()
    measure(Plain(Fake()), cases(3), EXACT, store)
    other = Fake(identity="fake-2")
    measure(Plain(other), cases(3), EXACT, store)
    assert len(other.asked) == 3

    class Longer(Plain):
        def request(self, messages: Sequence[Message]) -> Request:
            return Request(tuple(messages), 17)

    longer = Fake()
    measure(Longer(longer), cases(3), EXACT, store)
    assert len(longer.asked) == 3


def test_a_changed_scorer_needs_no_new_answers() -> None:
    store = Memory()
    measure(Plain(Fake()), cases(3), EXACT, store)
    model = Fake()
    half = PythonScorer(lambda answer, wanted: 0.5)
    assert [r.score for r in measure(Plain(model), cases(3), half, store)] == [0.5] * 3
    assert model.asked == []


def test_a_failing_scorer_names_the_case_and_loses_no_answer() -> None:
    def score(answer: str, wanted: str) -> float:
        return 1.0 if answer != "Q2" else float("nan")

    store = Memory()
    with pytest.raises(ScorerError) as caught:
        measure(Plain(Fake()), cases(5), PythonScorer(score), store)
    text = str(caught.value)
    assert cases(5)[2].id in text and "examples.jsonl:3" in text and "gave nan" in text and "fix:" in text
    assert len(store.rows) == 3  # the model answers from the last to the first: q4, q3, q2


@pytest.mark.parametrize(
    ("indices", "what"), [([0, 1], "2 of 3"), ([0, 0], "unasked or twice"), ([0, 3], "unasked or twice")]
)
def test_a_model_that_skips_or_repeats_a_request_is_refused(indices: list[int], what: str) -> None:
    class Careless(Fake):
        def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
            for index in indices:
                yield index, Answer("x", 1, 1, 0.1, "stop")

    with pytest.raises(ModelError, match=what):
        measure(Plain(Careless()), cases(3), EXACT, Memory())


def test_a_full_disk_is_said() -> None:
    with pytest.raises(DiskFullError):
        measure(Plain(Fake()), cases(3), EXACT, Memory(full=True))


def test_an_answer_of_a_newer_version_is_refused() -> None:
    store = Memory()
    measure(Plain(Fake()), cases(1), EXACT, store)
    for row in store.rows.values():
        row["format"] = 99
    with pytest.raises(StoreError, match="format 99"):
        measure(Plain(Fake()), cases(1), EXACT, store)


def test_cost_is_by_the_price_sheet_and_none_without_a_price(tmp_path: Path) -> None:
    sheet = tmp_path / "prices.yaml"
    sheet.write_text(
        "{date: 2026-01-31, source: mine, models: {fake: {input: 2.0, cached: 0.5, output: 10.0}}}", encoding="utf-8"
    )
    priced = measure(Plain(Fake()), cases(1), EXACT, Memory(), prices=sheet)
    assert priced[0].cost == pytest.approx((40 * 2.0 + 60 * 0.5 + 10 * 10.0) / 1e6)
    assert measure(Plain(Fake()), cases(1), EXACT, Memory())[0].cost is None


def test_no_cases_is_no_work() -> None:
    store, model = Memory(), Fake()
    assert measure(Plain(model), [], EXACT, store) == []
    assert store.writes == [] and model.asked == []


def test_a_record_can_be_saved() -> None:
    record = measure(Plain(Fake()), cases(1), EXACT, Memory())[0]
    assert record.as_dict()["score"] == Scored(1.0).value


def test_several_systems_are_asked_together_and_what_they_share_once() -> None:
    class Longer(Plain):
        def request(self, messages: Sequence[Message]) -> Request:
            return Request(tuple(messages), 16 if messages[0].content == "q0" else 17)

    model, other, seen = Fake(), Fake(identity="fake-2", reply=lambda request: "no"), list[Record]()
    found = measure_together(
        [Plain(model), Longer(model), Plain(other)], cases(4), EXACT, Memory(), on_record=seen.append
    )
    assert sorted(model.asked) == ["q0", "q1", "q1", "q2", "q2", "q3", "q3"]
    assert len(other.asked) == 4 and len(seen) == 12
    assert [[r.score for r in records] for records in found] == [[1.0] * 4, [1.0] * 4, [0.0] * 4]
    assert all([r.case for r in records] == [c.id for c in cases(4)] for records in found)
